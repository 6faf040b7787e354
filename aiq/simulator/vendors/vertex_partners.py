"""Other makers' models on Vertex AI: Claude and Mistral at `rawPredict`, the open models in OpenAI's form.

Source: Google Cloud's "Use partner models" and "Vertex AI Chat Completions API"; the `anthropic` SDK for Vertex.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from aiq.simulator.exchange import Asked, Call, Route
from aiq.simulator.refusal import Refusal
from aiq.simulator.vendors.anthropic import Anthropic
from aiq.simulator.vendors.base import Keys, only
from aiq.simulator.vendors.google_errors import body_of
from aiq.simulator.vendors.openai import OpenAI
from aiq.simulator.vendors.vertex import check_token

_RAW = re.compile(
    rb"/v1/projects/[^/]+/locations/[^/]+/publishers/(anthropic|mistralai)/models/([^/:]+):(rawPredict|streamRawPredict)"
)
_OPENAI = re.compile(rb"/v1/projects/[^/]+/locations/[^/]+/endpoints/openapi/chat/completions")
_CLAUDE_VERSIONS = ("vertex-2023-10-16", "2026-10-21")
_MISTRALS = frozenset({
    "model", "messages", "temperature", "top_p", "max_tokens", "stream", "stop", "random_seed", "response_format",
    "tools", "tool_choice", "presence_penalty", "frequency_penalty", "n", "prediction", "parallel_tool_calls",
    "safe_prompt",
})  # fmt: skip
"""What Mistral's API takes; it refuses everything else."""


class VertexClaude(Anthropic):
    """Claude, with Google's tokens and errors before it."""

    name = "vertex-claude"
    bases = (("Claude on Vertex AI", "/v1"),)

    def route(self, method: bytes, path: bytes, query: bytes) -> Route | None:
        """The model and whether it streams stand in the path."""
        return _raw(method, path, b"anthropic")

    def authenticate(self, call: Call, route: Route, keys: Keys, now_s: float) -> str:
        """An access token of Google's."""
        return check_token(call, now_s)

    def read(self, body: dict[str, Any], route: Route) -> Asked:
        """A message, whose version stands in its body and whose model does not."""
        if body.get("anthropic_version") not in _CLAUDE_VERSIONS:
            raise Refusal(400, f"anthropic_version: Input should be '{_CLAUDE_VERSIONS[0]}'")
        if "model" in body:
            raise Refusal(400, "model: Extra inputs are not permitted")
        if bool(body.get("stream")) != bool(route.stream):
            raise Refusal(400, "stream: does not match the method of the request")
        message = {name: value for name, value in body.items() if name != "anthropic_version"}
        return super().read({**message, "model": route.model}, route)

    def refused(self, refusal: Refusal, route: Route | None, number: int) -> tuple[bytes, bytes]:
        """Google's form where it is Google that refuses."""
        return _googles(refusal, route) if refusal.status in (401, 429) else super().refused(refusal, route, number)


class VertexMistral(OpenAI):
    """Mistral's own API, which takes no field that it does not know."""

    name = "vertex-mistral"
    bases = (("Mistral on Vertex AI", "/v1"),)

    def route(self, method: bytes, path: bytes, query: bytes) -> Route | None:
        """The model and whether it streams stand in the path."""
        return _raw(method, path, b"mistralai")

    def authenticate(self, call: Call, route: Route, keys: Keys, now_s: float) -> str:
        """An access token of Google's."""
        return check_token(call, now_s)

    def read(self, body: dict[str, Any], route: Route) -> Asked:
        """A chat, in Mistral's names."""
        unknown = sorted(set(body) - _MISTRALS)
        if unknown:
            raise Refusal(422, f"Extra inputs are not permitted: {', '.join(unknown)}")
        if body.get("model") != route.model.partition("@")[0]:
            raise Refusal(400, "model: must be that of the path")
        if bool(body.get("stream")) != bool(route.stream):
            raise Refusal(400, "stream: does not match the method of the request")
        known = {name: value for name, value in body.items() if name not in ("random_seed", "safe_prompt")}
        if body.get("stream"):
            known["stream_options"] = {"include_usage": True}
        return super().read(known, route)

    def refused(self, refusal: Refusal, route: Route | None, number: int) -> tuple[bytes, bytes]:
        """Google's form where it is Google that refuses."""
        return _googles(refusal, route) if refusal.status in (401, 429) else super().refused(refusal, route, number)


class VertexOpenAI(OpenAI):
    """Llama and other open models, named `<maker>/<model>`."""

    name = "vertex-openai"
    bases = (("Open models on Vertex AI", "/v1"),)

    def route(self, method: bytes, path: bytes, query: bytes) -> Route | None:
        """One path for all models of a region."""
        if _OPENAI.fullmatch(path) is None:
            return None
        only(method, b"POST", path)
        return Route("chat")

    def authenticate(self, call: Call, route: Route, keys: Keys, now_s: float) -> str:
        """An access token of Google's."""
        return check_token(call, now_s)

    def read(self, body: dict[str, Any], route: Route) -> Asked:
        """A chat of a model that is named with its maker."""
        if "/" not in str(body.get("model")):
            raise Refusal(400, "The model must be of the form PUBLISHER/MODEL.")
        return super().read(body, route)

    def refused(self, refusal: Refusal, route: Route | None, number: int) -> tuple[bytes, bytes]:
        """Google's form, in a list as some of its servers have it."""
        body, lines = _googles(refusal, route)
        return b"[" + body + b"]", lines


def _googles(refusal: Refusal, route: Route | None) -> tuple[bytes, bytes]:
    return orjson.dumps(body_of(refusal, route.model if route is not None else "")), b""


def _raw(method: bytes, path: bytes, maker: bytes) -> Route | None:
    found = _RAW.fullmatch(path)
    if found is None or found[1] != maker:
        return None
    only(method, b"POST", path)
    return Route("chat", found[2].decode("latin-1").replace("%40", "@"), stream=found[3] == b"streamRawPredict")
