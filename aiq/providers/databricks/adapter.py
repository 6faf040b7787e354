"""Another workspace's serving endpoints (`databricks-model-serving`). Must never know sockets, clocks or policy.

OpenAI's forms, without a model name and with Databricks' errors. Source: the REST API, "Serving endpoints", "Query";
"OAuth machine-to-machine" for service principals; "Query reasoning models" for `thinking`.
"""

from __future__ import annotations

import base64
from urllib.parse import quote

import orjson

from aiq.config.connections import DatabricksConfig, Secret
from aiq.errors import ErrorKind, ProviderError
from aiq.providers.abilities import Abilities
from aiq.providers.base import HttpRequest, HttpResponse
from aiq.providers.openai.adapter import OpenAIAdapter
from aiq.providers.wire.errors import error_from_body, shorten
from aiq.providers.wire.http import kind_of_status
from aiq.providers.wire.waiting import refusal
from aiq.providers.wire.words import TOO_LONG_STATUSES, is_too_long

_KIND_OF_CODE: dict[str, ErrorKind] = {
    "REQUEST_LIMIT_EXCEEDED": "rate_limited",
    "RESOURCE_EXHAUSTED": "rate_limited",
    "rate_limit_exceeded": "rate_limited",
    "PERMISSION_DENIED": "auth",
    "UNAUTHENTICATED": "auth",
    "RESOURCE_DOES_NOT_EXIST": "not_found",
    "ENDPOINT_NOT_FOUND": "not_found",
    "TEMPORARILY_UNAVAILABLE": "overloaded",
    "DEADLINE_EXCEEDED": "overloaded",
}
_WORDS: tuple[tuple[ErrorKind, tuple[str, ...]], ...] = (
    ("context_length", ("context length", "context window", "maximum context", "too many tokens")),
    ("content_filter", ("_guardrail_triggered", "content management policy", "content_filter", "content_policy")),
    ("quota_exhausted", ("insufficient_quota", "exceeded your current quota", "credit balance is too low")),
)
"""What an endpoint says of the provider behind it comes as its words; 400, or 429 for the last."""


class DatabricksAdapter(OpenAIAdapter):
    """Speaks to one serving endpoint of a workspace."""

    abilities = Abilities(own=frozenset({"thinking"}))
    _says_thoughts = True

    def _address(self) -> str:
        config = self._entity.config
        assert isinstance(config, DatabricksConfig)
        return f"{config.workspace_url}/serving-endpoints/{quote(self._entity.model, safe='')}/invocations"

    def _names_model(self) -> bool:
        return False

    def _credential(self) -> tuple[str, Secret | None]:
        config = self._entity.config
        assert isinstance(config, DatabricksConfig)
        if config.client_secret is not None:
            self._client_secret = config.client_secret.reveal()
            self._secrets = (self._client_secret,)
        return "authorization", config.api_token

    def token_request(self) -> HttpRequest | None:
        config = self._entity.config
        assert isinstance(config, DatabricksConfig)
        if config.client_id is None:
            return None
        pair = base64.b64encode(f"{config.client_id}:{self._client_secret}".encode()).decode()
        headers = [("content-type", "application/x-www-form-urlencoded"), ("authorization", f"Basic {pair}")]
        body = b"grant_type=client_credentials&scope=all-apis"
        return HttpRequest(f"{config.workspace_url}/oidc/v1/token", headers, body)

    def error(self, response: HttpResponse) -> ProviderError:
        return databricks_error(response, self._body(response))


def databricks_error(response: HttpResponse, body: str) -> ProviderError:
    """What an error of a serving endpoint means; `body` is its text without secrets.

    Its body is `{"error_code", "message"}`, or OpenAI's `{"error": {...}}`. A guardrail that blocked writes a JSON
    text into the message.
    """
    try:
        data = orjson.loads(body)
    except ValueError:
        data = None
    data = data if isinstance(data, dict) else {}
    inner = data.get("error")
    if isinstance(inner, dict):
        data = {"error_code": inner.get("type") or inner.get("code"), **inner}
    elif isinstance(inner, str):
        data = {"message": inner, **data}
    status = response.status
    code, message = data.get("error_code"), str(data.get("message") or data.get("detail") or "")
    named = _KIND_OF_CODE.get(code) if isinstance(code, str) else None
    kind: ErrorKind = named or kind_of_status(status)
    if status in TOO_LONG_STATUSES and is_too_long(message):
        kind = "context_length"
    if status in (400, 429):
        lower = message.lower()
        kind = next((said for said, words in _WORDS if any(word in lower for word in words)), kind)
    stated = data.get("code", code)
    if status == 200 and type(stated) is int and 400 <= stated < 600:
        status, kind = stated, kind_of_status(stated)
    elif status == 200:  # an error in the middle of a stream, or instead of an answer
        status = 429 if kind == "rate_limited" else 502
        kind = kind if kind in ("rate_limited", "overloaded") else "bad_answer"
    stated = data.get("retry_after")
    hint = float(stated) if isinstance(stated, int | float) and stated > 0 else None
    if 300 <= status < 400:
        message = f"HTTP {status}: the server redirects, and a redirect is never followed with a credential"
    words = shorten(message) or error_from_body(status, body)
    return refusal(words, kind=kind, status=status, response=response, body=body, words=message, hint_s=hint)
