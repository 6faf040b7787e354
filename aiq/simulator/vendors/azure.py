"""Azure OpenAI: the same bodies by deployment or under `/openai/v1`, with its own keys, quotas, errors and headers.

Source: Microsoft's "Azure OpenAI in Foundry Models REST API reference" and "Content filtering".
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from aiq.simulator.exchange import Call, Route, Task
from aiq.simulator.limits import Slices
from aiq.simulator.refusal import OverQuota, Refusal
from aiq.simulator.vendors import oauth
from aiq.simulator.vendors.base import Keys, bearer, only, openai_error
from aiq.simulator.vendors.openai import OpenAI, check_key

_ROUTES = {
    b"/openai/v1/chat/completions": Route("chat"),
    b"/openai/v1/responses": Route("chat", form="responses"),
    b"/openai/v1/completions": Route("completions"),
    b"/openai/v1/embeddings": Route("embeddings"),
}
_TOKEN = re.compile(rb"/[A-Za-z0-9._-]+/oauth2/v2\.0/token")
_SCOPE = "https://cognitiveservices.azure.com/.default"
_DEPLOYMENT = re.compile(rb"/openai/deployments/([^/]+)/(chat/completions|completions|embeddings)")
_TASKS: dict[bytes, Task] = {b"chat/completions": "chat", b"completions": "completions", b"embeddings": "embeddings"}


class Azure(OpenAI):
    """A resource with a deployment for every model."""

    name = "azure"
    bases = (("Azure OpenAI, by deployment", ""), ("Azure OpenAI, v1", "/openai/v1"))
    limits = Slices
    azure = True

    def route(self, method: bytes, path: bytes, query: bytes) -> Route | None:
        """By deployment, with an api-version; by the v1 path, with it as model; or a tenant's token server."""
        route = Route("page", form="token") if _TOKEN.fullmatch(path) else _ROUTES.get(path)
        if route is None and (match := _DEPLOYMENT.fullmatch(path)):
            if b"api-version=" not in query:
                raise Refusal(404, "Resource not found: the api-version query parameter is missing.", code="404")
            route = Route(_TASKS[match[2]], match[1].decode("latin-1"))
        if route is not None:
            only(method, b"POST", path)
        return route

    def authenticate(self, call: Call, route: Route, keys: Keys, now_s: float) -> str:
        """A key in `api-key`, or a token of Microsoft Entra ID."""
        if route.form == "token":
            return _application(call, keys)
        key = call.headers.get(b"api-key", b"").decode("latin-1") or bearer(call.headers)
        if not key:
            raise Refusal(401, "Access denied due to invalid subscription key or wrong API endpoint.")
        if oauth.is_token(key):
            if not oauth.is_valid(self.name, key, now_s):
                raise Refusal(401, "Unauthorized. Access token is missing, invalid, or expired.")
            return key
        check_key(key, keys)
        return key

    def page(self, call: Call, route: Route, now_s: float) -> bytes:
        """A token for an application of Microsoft Entra; the list of models."""
        if route.form != "token":
            return super().page(call, route, now_s)
        fields = oauth.form(call.body)
        if fields.get("grant_type") != "client_credentials":
            raise Refusal(400, "AADSTS70003: The grant type is not supported.", kind="unsupported_grant_type")
        if fields.get("scope") != _SCOPE:
            raise Refusal(400, "AADSTS70011: The provided value for scope is not valid.", kind="invalid_scope")
        return orjson.dumps(oauth.grant(self.name, fields["client_id"], now_s))

    def refused(self, refusal: Refusal, route: Route | None, number: int) -> tuple[bytes, bytes]:
        """OpenAI's body but for credentials, quotas and what the content filter stopped."""
        if route is not None and route.form == "token":
            return orjson.dumps({"error": refusal.kind, "error_description": refusal.message}), b""
        error: dict[str, Any] = openai_error(refusal)
        if refusal.status == 401:
            error = {"code": "401", "message": refusal.message}
        elif isinstance(refusal, OverQuota):
            error = {"code": "429", "message": refusal.message}
        elif refusal.code == "content_policy_violation":
            error |= {
                "code": "content_filter",
                "param": "prompt",
                "status": 400,
                "innererror": {
                    "code": "ResponsibleAIPolicyViolation",
                    "content_filter_result": {"violence": {"filtered": True, "severity": "high"}},
                },
            }
        return orjson.dumps({"error": error}), _gateway(number)

    def headers(self, route: Route, number: int, delay_s: float) -> bytes:
        """Those of OpenAI and of the gateway before it."""
        lines = super().headers(route, number, delay_s) + _gateway(number)
        return lines + b"x-ms-deployment-name: %b\r\n" % route.model.encode("latin-1") if route.model else lines


def _application(call: Call, keys: Keys) -> str:
    """The application whose id and secret a form holds."""
    fields = oauth.form(call.body)
    client, secret = fields.get("client_id", ""), fields.get("client_secret", "")
    if not client or secret != (keys.secret_of(client) or ""):
        raise Refusal(401, "AADSTS7000215: Invalid client secret provided.", kind="invalid_client")
    return client


def _gateway(number: int) -> bytes:
    return b"apim-request-id: aiq-%d\r\nx-ms-region: Simulated\r\n" % number
