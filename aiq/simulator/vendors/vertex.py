"""Gemini on Vertex AI: the Gemini API's wire form under a project's path, with a service account's access tokens.

The account's key pair is made when it is first asked for, and `GET /google/service-account.json` gives the key file
out. Source: the Vertex AI API reference; Google's "Using OAuth 2.0 for server to server applications".
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from typing import Any

import orjson

from aiq.simulator.exchange import VendorCall, VendorRoute
from aiq.simulator.refusal import VendorError
from aiq.simulator.vendors import oauth
from aiq.simulator.vendors.base import Keys, bearer, only
from aiq.simulator.vendors.gemini import Gemini

_PATH = re.compile(
    rb"/(?:v1|v1beta1)/projects/([^/]+)/locations/([^/]+)/(?:publishers/google/models|endpoints)/([^/:]+):(\w+)"
)
KEY_FILE, TOKEN = b"/google/service-account.json", b"/token"
EMAIL = "aiq@simulated.iam.gserviceaccount.com"
"""The account of the key file. Another one with the same key is as good: tokens of `<name>-<n>s@...` live n seconds."""
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_GOOGLES = "https://oauth2.googleapis.com/token"
"""The audience that Google's own library names, wherever it asks."""
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


class Vertex(Gemini):
    """Vertex AI, the token server of Google's OAuth, and the service account's key."""

    name = "vertex"
    bases = (("Vertex AI", ""), ("Vertex AI, an account's key", KEY_FILE.decode()))
    vertex = True

    def __init__(self) -> None:
        self._private_key: Any = None

    def route(self, method: bytes, path: bytes, query: bytes) -> VendorRoute | None:
        """A method of a model or of an endpoint in a project; the token server; the key file."""
        if path == KEY_FILE:
            only(method, b"GET", path)
            return VendorRoute("page", form="key")
        if path == TOKEN:
            only(method, b"POST", path)
            return VendorRoute("page", form="token")
        found = _PATH.fullmatch(path)
        if found is None:
            return None
        if found[4] == b"predict":
            return VendorRoute("embeddings", found[3].decode("latin-1"), "predict", False)
        return self.method(method, found[3], found[4], query)

    def authenticate(self, call: VendorCall, route: VendorRoute, keys: Keys, now_s: float) -> str:
        """An access token that was granted here and is not over. Counted is by project, as Google does."""
        if route.form == "key":
            return ""
        if route.form == "token":
            return self._account(call, keys, now_s)
        return check_token(call, now_s)

    def page(self, call: VendorCall, route: VendorRoute, now_s: float) -> bytes:
        """A token, or the key file."""
        if route.form == "token":
            account = _claims(oauth.form(call.body).get("assertion", ""))["iss"]
            return orjson.dumps(oauth.grant(self.name, account.partition("@")[0], now_s))
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        pem = self._key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        key = {
            "type": "service_account",
            "project_id": "simulated",
            "private_key_id": "simulated",
            "private_key": pem,
            "client_email": EMAIL,
            "client_id": "1",
            "token_uri": _token_uri(call),
        }
        return orjson.dumps(key, option=orjson.OPT_INDENT_2)

    def refused(self, refusal: VendorError, route: VendorRoute | None, number: int) -> tuple[bytes, bytes]:
        """The token server's own form, or google.rpc.Status."""
        if route is not None and route.form == "token":
            return orjson.dumps({"error": refusal.kind, "error_description": refusal.message}), b""
        return super().refused(refusal, route, number)

    def _account(self, call: VendorCall, keys: Keys, now_s: float) -> str:
        """Who signed an assertion that asks for a token."""
        fields = oauth.form(call.body)
        if fields.get("grant_type") != _GRANT:
            raise VendorError(400, "Invalid grant_type", kind="unsupported_grant_type")
        assertion = fields.get("assertion", "")
        claims = _claims(assertion)
        self._verify(assertion)
        account = claims["iss"]
        if not keys.accepts(account):
            raise VendorError(400, "Invalid grant: account not found", kind="invalid_grant")
        issued, ends = claims.get("iat"), claims.get("exp")
        if type(issued) is not int or type(ends) is not int or not issued - 300 <= now_s < ends <= issued + 3600:
            raise VendorError(
                400,
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your "
                "iat and exp values in the JWT claim.",
                kind="invalid_grant",
            )
        if claims.get("aud") not in (_token_uri(call), _GOOGLES):
            raise VendorError(400, "Invalid JWT: Failed audience check.", kind="invalid_grant")
        if _SCOPE not in str(claims.get("scope", "")).split():
            raise VendorError(400, "Invalid OAuth scope or ID token audience provided.", kind="invalid_scope")
        return str(account)

    def _verify(self, assertion: str) -> None:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.hashes import SHA256

        signed, _, signature = assertion.rpartition(".")
        try:
            self._key().public_key().verify(_decoded(signature), signed.encode(), PKCS1v15(), SHA256())
        except (InvalidSignature, ValueError):
            raise VendorError(400, "Invalid JWT Signature.", kind="invalid_grant") from None

    def _key(self) -> Any:
        if self._private_key is None:
            from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

            self._private_key = generate_private_key(65537, 2048)
        return self._private_key


def check_token(call: VendorCall, now_s: float) -> str:
    """The project of a call with an access token that was granted here and is not over. Raises VendorError (401)."""
    token = bearer(call.headers)
    if not token:
        raise VendorError(
            401,
            "Request is missing required authentication credential. Expected OAuth 2 access token, login cookie or "
            "other valid authentication credential.",
            details={"reason": "CREDENTIALS_MISSING"},
        )
    if not oauth.is_token(token) or not oauth.is_valid(Vertex.name, token, now_s):
        raise VendorError(
            401,
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other "
            "valid authentication credential.",
            details={"reason": "ACCESS_TOKEN_EXPIRED"},
        )
    return call.target.split(b"/")[3].decode("latin-1")


def _token_uri(call: VendorCall) -> str:
    """The token server's address, as whoever calls knows this machine."""
    return f"http://{call.headers.get(b'host', b'').decode('latin-1')}{TOKEN.decode()}"


def _claims(assertion: str) -> dict[str, Any]:
    """What an assertion says, signed or not. Refuses what is no JSON web token of RS256."""
    try:
        head, claims = (orjson.loads(_decoded(part)) for part in assertion.split(".")[:2])
        readable = head["alg"] == "RS256" and isinstance(claims["iss"], str)
    except (ValueError, KeyError, TypeError):
        readable = False
    if not readable:
        raise VendorError(400, "Bad Request: the assertion is no JWT signed with RS256.", kind="invalid_grant")
    found: dict[str, Any] = claims
    return found


def _decoded(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))
