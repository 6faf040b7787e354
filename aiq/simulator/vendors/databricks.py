"""Databricks serving endpoints: `/serving-endpoints/<name>/invocations` for chat, completions, embeddings and scoring,
and OpenAI's paths below `/serving-endpoints`.

Source: Databricks' REST API, "Query a serving endpoint", "Query reasoning models", and "Authorize service
principal access (OAuth M2M)".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import orjson

from aiq.simulator.exchange import Counts, Said, Task, VendorCall, VendorRequest, VendorRoute
from aiq.simulator.limits import RollingMinute
from aiq.simulator.refusal import VendorError
from aiq.simulator.vendors import oauth
from aiq.simulator.vendors.base import Keys, bearer, only
from aiq.simulator.vendors.mlflow import MLflow
from aiq.simulator.vendors.openai import OpenAI

_INVOCATIONS = re.compile(rb"/serving-endpoints/([^/]+)/invocations")
_OPENAI = {
    b"/serving-endpoints/chat/completions": VendorRoute("chat", form="openai"),
    b"/serving-endpoints/completions": VendorRoute("completions", form="openai"),
    b"/serving-endpoints/embeddings": VendorRoute("embeddings", form="openai"),
    b"/serving-endpoints/responses": VendorRoute("chat", form="responses"),
}
_TOKEN = b"/oidc/v1/token"
_OWN = frozenset({"client_request_id", "usage_context", "extra_params", "databricks_options"})
_UNSUPPORTED = ("background", "store", "conversation", "service_tier")
"""What Databricks does not take of the Responses API."""
_TASKS: dict[str, Task] = {"messages": "chat", "prompt": "completions", "input": "embeddings"}
_MLFLOW = MLflow()


class Databricks(OpenAI):
    """A workspace that serves language models in OpenAI's form, and custom models in MLflow's."""

    name = "databricks"
    bases = (("Databricks workspace", ""), ("Databricks, OpenAI's clients", "/serving-endpoints"))
    limits = RollingMinute

    def route(self, method: bytes, path: bytes, query: bytes) -> VendorRoute | None:
        """An endpoint's path, OpenAI's paths with the endpoint as model, or the token server's."""
        if path == _TOKEN:
            route = VendorRoute("page", form="token")
        elif path in _OPENAI:
            route = _OPENAI[path]
        elif match := _INVOCATIONS.fullmatch(path):
            route = VendorRoute("chat", match[1].decode("latin-1"), form="invocations")
        else:
            return None
        only(method, b"POST", path)
        return route

    def authenticate(self, call: VendorCall, route: VendorRoute, keys: Keys, now_s: float) -> str:
        """A token that somebody made, or one that the token server granted and that is not over."""
        if route.form == "token":
            name, secret = oauth.basic(call.headers)
            if not name or secret != (keys.secret_of(name) or ""):
                raise VendorError(401, "Client authentication failed", kind="invalid_client")
            return name
        key = bearer(call.headers)
        if not key:
            raise VendorError(401, "Credential was not sent or was of an unsupported type for this API.")
        if oauth.is_token(key):
            if not oauth.is_valid(self.name, key, now_s):
                raise VendorError(401, "Token is expired or invalid.")
        elif not keys.accepts(key):
            raise VendorError(403, "Invalid access token.")
        return key

    def page(self, call: VendorCall, route: VendorRoute, now_s: float) -> bytes:
        """A token for a service principal."""
        fields = oauth.form(call.body)
        if fields.get("grant_type") != "client_credentials":
            raise VendorError(400, "grant_type must be client_credentials", kind="unsupported_grant_type")
        if fields.get("scope") != "all-apis":
            raise VendorError(400, "scope must be all-apis", kind="invalid_scope")
        return orjson.dumps(oauth.grant(self.name, oauth.basic(call.headers)[0], now_s))

    def read(self, body: dict[str, Any], route: VendorRoute) -> VendorRequest:
        """What the body's own shape asks for: messages, a prompt, an input, or records to score."""
        if route.form == "responses":
            for name in _UNSUPPORTED:
                if body.get(name):
                    raise VendorError(400, f"'{name}' is not supported.", param=name)
        if route.form in ("openai", "responses"):
            return super().read({name: body[name] for name in body if name not in _OWN}, route)
        given = [name for name in _TASKS if name in body]
        if not given:
            return _MLFLOW.read(body, route)
        if len(given) > 1:
            raise VendorError(400, f"Give only one of {', '.join(given)}.")
        if "model" in body:
            raise VendorError(400, "Unexpected field 'model': the path names the endpoint.", param="model")
        extra = body.get("extra_params") or {}
        inner = {name: body[name] for name in body if name not in _OWN} | {"model": route.model, **extra}
        thinking = _thinking(inner.pop("thinking", None), inner)
        asked = super().read(inner, route._replace(task=_TASKS[given[0]]))
        asked.body = {**asked.body, "thinking": thinking} if thinking else asked.body
        return asked

    def full_body(self, asked: VendorRequest, said: Said) -> dict[str, Any]:
        """OpenAI's form, or predictions; with the summary of its thoughts as a part, if it was to think."""
        if asked.task == "scoring":
            return _MLFLOW.full_body(asked, said)
        answer = super().full_body(asked, said)
        if asked.body.get("thinking"):
            for choice in answer["choices"]:
                message = choice["message"]
                message["content"] = [_THOUGHTS, {"type": "text", "text": message["content"] or ""}]
        return answer

    def stream(self, asked: VendorRequest, said: Said) -> list[bytes]:
        """OpenAI's chunks, each with the usage so far, as Databricks sends them."""
        asked.body = {**asked.body, "stream_options": {"include_usage": True}}
        return super().stream(asked, said)

    def embeddings(self, asked: VendorRequest, vectors: Sequence[list[float]], counts: Counts | None) -> dict[str, Any]:
        """OpenAI's form."""
        return super().embeddings(asked, vectors, counts)

    def refused(self, refusal: VendorError, route: VendorRoute | None, number: int) -> tuple[bytes, bytes]:
        """An error code and a message; the token server's own form."""
        if route is not None and route.form == "token":
            return orjson.dumps({"error": refusal.kind, "error_description": refusal.message}), b""
        return _MLFLOW.refused(refusal, route, number)

    def headers(self, route: VendorRoute, number: int, delay_s: float) -> bytes:
        """Which model answered."""
        return b"served-model-name: %b\r\n" % (route.model or "simulated").encode("latin-1", "replace")


_THOUGHTS = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "simulated thoughts"}]}


def _thinking(value: Any, body: dict[str, Any]) -> dict[str, Any] | None:
    """What Claude is told of thinking; None where it is not to think. Refuses (400) as Anthropic does."""
    if value is None or value.get("type") == "disabled":
        return None
    budget, most = value.get("budget_tokens"), body.get("max_tokens")
    if value.get("type") == "enabled" and (not isinstance(budget, int) or budget < 1024):
        raise VendorError(400, "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
    if isinstance(budget, int) and isinstance(most, int) and budget >= most:
        raise VendorError(400, "`max_tokens` must be greater than `thinking.budget_tokens`.")
    return dict(value)
