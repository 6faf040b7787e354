"""Azure OpenAI: the same bodies by deployment or under `/openai/v1`, with its own keys, quotas, errors and headers; and
the token server of Microsoft Entra, at `/<tenant>/oauth2/v2.0/token`.

Source: Microsoft's "Azure OpenAI in Foundry Models REST API reference", "Content filtering", and "OAuth 2.0 client
credentials flow on the Microsoft identity platform".
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from aiq.simulator.exchange import Task, VendorCall, VendorRoute
from aiq.simulator.limits import Slices
from aiq.simulator.refusal import OverQuota, VendorError
from aiq.simulator.vendors import oauth
from aiq.simulator.vendors.base import Keys, bearer, only, openai_error
from aiq.simulator.vendors.openai import OpenAI, check_key

_ROUTES = {
    b"/openai/v1/chat/completions": VendorRoute("chat"),
    b"/openai/v1/responses": VendorRoute("chat", form="responses"),
    b"/openai/v1/completions": VendorRoute("completions"),
    b"/openai/v1/embeddings": VendorRoute("embeddings"),
}
_FOUNDRY = {b"/models/chat/completions": VendorRoute("chat"), b"/models/embeddings": VendorRoute("embeddings")}
_DEPLOYMENT = re.compile(rb"/openai/deployments/([^/]+)/(chat/completions|completions|embeddings)")
_TOKEN = re.compile(rb"/([^/]+)/oauth2/v2\.0/token")
_SCOPES = frozenset(f"https://cognitiveservices.azure.{cloud}/.default" for cloud in ("com", "us", "cn"))
_BAD_TOKEN = (
    "Unauthorized. Access token is missing, invalid, audience is incorrect (https://cognitiveservices.azure.com), or "
    "have expired."
)
_TASKS: dict[bytes, Task] = {b"chat/completions": "chat", b"completions": "completions", b"embeddings": "embeddings"}


class Azure(OpenAI):
    """A resource with a deployment for every model."""

    name = "azure"
    bases = (("Azure OpenAI, by deployment", ""), ("Azure OpenAI, v1", "/openai/v1"), ("Azure AI Foundry", "/models"))
    limits = Slices
    azure = True

    def route(self, method: bytes, path: bytes, query: bytes) -> VendorRoute | None:
        """By deployment, with an api-version; or by the v1 path, with the deployment as model."""
        route = _ROUTES.get(path)
        if route is None and path in _FOUNDRY:
            if b"api-version=" not in query:
                raise VendorError(404, "Resource not found: the api-version query parameter is missing.", code="404")
            route = _FOUNDRY[path]
        if route is None and (match := _DEPLOYMENT.fullmatch(path)):
            if b"api-version=" not in query:
                raise VendorError(404, "Resource not found: the api-version query parameter is missing.", code="404")
            route = VendorRoute(_TASKS[match[2]], match[1].decode("latin-1"))
        if route is None and _TOKEN.fullmatch(path):
            route = VendorRoute("page", form="token")
        if route is not None:
            only(method, b"POST", path)
        return route

    def authenticate(self, call: VendorCall, route: VendorRoute, keys: Keys, now_s: float) -> str:
        """A key in `api-key`, or a token of Microsoft Entra that is not over; the token server's application."""
        if route.form == "token":
            return _application(call, keys)
        key = call.headers.get(b"api-key", b"").decode("latin-1")
        token = bearer(call.headers)
        if not key and not token:
            raise VendorError(401, "Access denied due to invalid subscription key or wrong API endpoint.")
        if not key and oauth.is_token(token):
            if not oauth.is_valid(self.name, token, now_s):
                raise VendorError(401, _BAD_TOKEN)
            return token
        if key:
            check_key(key, keys)
        elif not keys.accepts(token):
            raise VendorError(401, _BAD_TOKEN)
        return key or token

    def page(self, call: VendorCall, route: VendorRoute, now_s: float) -> bytes:
        """A token for an application; the list of models."""
        if route.form != "token":
            return super().page(call, route, now_s)
        issued = oauth.grant(self.name, oauth.form(call.body)["client_id"], now_s)
        del issued["scope"]
        return orjson.dumps({**issued, "ext_expires_in": issued["expires_in"]})

    def refused(self, refusal: VendorError, route: VendorRoute | None, number: int) -> tuple[bytes, bytes]:
        """OpenAI's body but for credentials, quotas and what the content filter stopped."""
        if route is not None and route.form == "token":
            codes = [int(number) for number in re.findall(r"AADSTS(\d+)", refusal.message)]
            reply = {"error": refusal.kind, "error_description": refusal.message, "error_codes": codes}
            return orjson.dumps(reply), b""
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

    def headers(self, route: VendorRoute, number: int, delay_s: float) -> bytes:
        """Those of OpenAI and of the gateway before it."""
        lines = super().headers(route, number, delay_s) + _gateway(number)
        return lines + b"x-ms-deployment-name: %b\r\n" % route.model.encode("latin-1") if route.model else lines


def _application(call: VendorCall, keys: Keys) -> str:
    """The id of the application that asks for a token. Raises VendorError, in Entra's words."""
    fields = oauth.form(call.body)
    name = fields.get("client_id", "")
    if not name:
        raise VendorError(400, "AADSTS900144: The request body must contain the following parameter: 'client_id'.",
                      kind="invalid_request")  # fmt: skip
    if fields.get("grant_type") != "client_credentials":
        raise VendorError(
            400, "AADSTS70003: The app requested an unsupported grant type.", kind="unsupported_grant_type"
        )
    if fields.get("scope") not in _SCOPES:
        raise VendorError(400, "AADSTS70011: The provided value for the input parameter 'scope' is not valid.",
                      kind="invalid_scope")  # fmt: skip
    secret = keys.secret_of(name)
    if secret is None:
        raise VendorError(400, f"AADSTS700016: Application with identifier '{name}' was not found in the directory.",
                      kind="unauthorized_client")  # fmt: skip
    if fields.get("client_secret") != secret:
        raise VendorError(
            401, f"AADSTS7000215: Invalid client secret provided for app '{name}'.", kind="invalid_client"
        )
    return name


def _gateway(number: int) -> bytes:
    return b"apim-request-id: aiq-%d\r\nx-ms-region: Simulated\r\n" % number
