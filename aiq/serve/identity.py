"""Who asks: the token of a request, in any of the ways that clients show one, and OAuth for machines.

`/.well-known/databricks-config` and the two addresses below `/oidc` are asked by Databricks' clients before anything
else; they are answered from memory, to anybody, and never limited.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from typing import Any
from urllib.parse import parse_qs

from aiq.errors import LedgerError
from aiq.request import Caller
from aiq.serve.http import Exchange
from aiq.serve.refusals import Refusal
from aiq.serve.tokens import Token, Tokens

ACCESS_S = 3600
"""How long an access token of OAuth holds."""
_WORKSPACE = "0"


class Identity:
    """Knows callers by the tokens of a home."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def token_of(self, exchange: Exchange) -> Token:
        """The token that a request shows. Raises Refusal 401 without a good one."""
        shown = _shown(exchange)
        try:
            found = self._tokens.find(shown) if shown else None
        except LedgerError:
            raise Refusal(500, "INTERNAL_ERROR", "the tokens of this server cannot be read") from None
        if found is None:
            why = "the token is unknown, revoked or over" if shown else "there is no token in the request"
            raise Refusal(401, "UNAUTHENTICATED", f"{why}; send `Authorization: Bearer <token>`")
        return found

    async def access_token(self, exchange: Exchange) -> None:
        """OAuth's client credentials: a service principal's id and token for an access token that ends by itself."""
        form = {name: values[-1] for name, values in parse_qs((await exchange.body()).decode("latin-1")).items()}
        name, secret = _basic(exchange) or (form.get("client_id", ""), form.get("client_secret", ""))
        if form.get("grant_type") != "client_credentials":
            await _oauth_error(exchange, 400, "unsupported_grant_type", "grant_type must be client_credentials")
            return
        try:
            found = self._tokens.find(secret) if secret else None
        except LedgerError:
            await _oauth_error(exchange, 500, "server_error", "the tokens of this server cannot be read")
            return
        its_own = found is not None and found.service_principal and found.parent is None
        if found is None or not its_own or not secrets.compare_digest(found.user.encode(), name.encode()):
            await _oauth_error(exchange, 401, "invalid_client", "no service principal has this id and this secret")
            return
        token = self._tokens.access(found, ACCESS_S)
        reply = {"access_token": token, "token_type": "Bearer", "expires_in": ACCESS_S, "scope": "all-apis"}
        await exchange.reply_json(200, reply, [(b"cache-control", b"no-store")])


def caller_of(token: Token) -> Caller:
    """The caller that a token speaks for."""
    return Caller(token.user, token.groups)


def discovery(exchange: Exchange, workspace: str | None) -> dict[str, str]:
    """What Databricks' clients read before their first request."""
    return {"oidc_endpoint": f"{exchange.base}/oidc", "workspace_id": workspace or _WORKSPACE, "cloud": "AWS"}


def authorization_server(exchange: Exchange) -> dict[str, Any]:
    """Where OAuth's tokens are had."""
    return {
        "issuer": f"{exchange.base}/oidc",
        "token_endpoint": f"{exchange.base}/oidc/v1/token",
        "authorization_endpoint": f"{exchange.base}/oidc/v1/authorize",
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
    }


def me(token: Token) -> dict[str, Any]:
    """A caller as SCIM describes one."""
    return {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "id": token.user,
        "userName": token.user,
        "displayName": token.user,
        "active": True,
        "emails": [{"value": token.user, "primary": True, "type": "work"}],
        "groups": [{"display": group, "value": group, "type": "direct"} for group in token.groups],
    }


def workspace_header(workspace: str | None) -> list[tuple[bytes, bytes]]:
    return [(b"x-databricks-org-id", (workspace or _WORKSPACE).encode())]


def _shown(exchange: Exchange) -> str:
    scheme, _, value = (exchange.header("authorization") or "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        name, password = _basic(exchange) or ("", "")
        return password if name == "token" else ""
    return exchange.header("x-api-key") or exchange.header("x-goog-api-key") or ""


def _basic(exchange: Exchange) -> tuple[str, str] | None:
    scheme, _, value = (exchange.header("authorization") or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return name, password


async def _oauth_error(exchange: Exchange, status: int, error: str, description: str) -> None:
    await exchange.reply_json(status, {"error": error, "error_description": description})
