"""Other makers' models on Vertex AI: Claude and Mistral at `rawPredict`, the open models in OpenAI's form.

Source: Google Cloud's "Use partner models" and "Vertex AI Chat Completions API"; the `anthropic` SDK for Vertex.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from aiq.simulator.exchange import VendorCall, VendorRequest, VendorRoute
from aiq.simulator.refusal import VendorError
from aiq.simulator.vendors.anthropic import Anthropic
from aiq.simulator.vendors.base import Base, Keys, only
from aiq.simulator.vendors.google_errors import WORDS, body_of
from aiq.simulator.vendors.openai import OpenAI
from aiq.simulator.vendors.vertex import check_token

_RAW = re.compile(
    rb"/v1/projects/[^/]+/locations/[^/]+/publishers/(anthropic|mistralai)/models/([^/:]+):(rawPredict|streamRawPredict)"
)
_OPENAI = re.compile(rb"/v1/projects/[^/]+/locations/[^/]+/endpoints/openapi/chat/completions")
_CLAUDE_VERSIONS = ("vertex-2023-10-16", "2026-10-21")
_GOOGLES = frozenset({"401", "402", "403", "quota-exhausted"})
_GOOGLES_STATUSES = frozenset({401, 402, 403, 429})
_MISTRALS = frozenset({
    "model", "messages", "temperature", "top_p", "max_tokens", "stream", "stop", "random_seed", "response_format",
    "tools", "tool_choice", "presence_penalty", "frequency_penalty", "n", "prediction", "parallel_tool_calls",
    "safe_prompt",
})  # fmt: skip
"""What Mistral's API takes; it refuses everything else."""


class _BehindGoogle(Base):
    """What Google does before a request reaches the maker's own server: it looks at tokens and quotas."""

    listed = False
    """Whether an error stands in a list, as some of Google's servers have it."""

    def authenticate(self, call: VendorCall, route: VendorRoute, keys: Keys, now_s: float) -> str:
        """An access token of Google's."""
        return check_token(call, now_s)

    def refusal(self, fault: str) -> VendorError | None:
        """Google's words for what it refuses itself."""
        if fault not in _GOOGLES:
            return super().refusal(fault)
        status, words = WORDS[fault]
        return VendorError(status, words)

    def refused(self, refusal: VendorError, route: VendorRoute | None, number: int) -> tuple[bytes, bytes]:
        """Google's form where it is Google that refuses."""
        if refusal.status not in _GOOGLES_STATUSES:
            return super().refused(refusal, route, number)
        body = body_of(refusal, route.model if route is not None else "")
        return orjson.dumps([body] if self.listed else body), b""


class VertexClaude(_BehindGoogle, Anthropic):
    """Claude, with Google's tokens and errors before it."""

    name = "vertex-claude"
    bases = (("Claude on Vertex AI", "/v1"),)

    def route(self, method: bytes, path: bytes, query: bytes) -> VendorRoute | None:
        """The model and whether it streams stand in the path."""
        return _raw(method, path, b"anthropic")

    def read(self, body: dict[str, Any], route: VendorRoute) -> VendorRequest:
        """A message, whose version stands in its body and whose model does not."""
        if body.get("anthropic_version") not in _CLAUDE_VERSIONS:
            raise VendorError(400, f"anthropic_version: Input should be '{_CLAUDE_VERSIONS[0]}'")
        if "model" in body:
            raise VendorError(400, "model: Extra inputs are not permitted")
        if bool(body.get("stream")) != bool(route.stream):
            raise VendorError(400, "stream: does not match the method of the request")
        message = {name: value for name, value in body.items() if name != "anthropic_version"}
        return super().read({**message, "model": route.model}, route)


class VertexMistral(_BehindGoogle, OpenAI):
    """Mistral's own API, which takes no field that it does not know."""

    name = "vertex-mistral"
    bases = (("Mistral on Vertex AI", "/v1"),)

    def route(self, method: bytes, path: bytes, query: bytes) -> VendorRoute | None:
        """The model and whether it streams stand in the path."""
        return _raw(method, path, b"mistralai")

    def read(self, body: dict[str, Any], route: VendorRoute) -> VendorRequest:
        """A chat, in Mistral's names."""
        unknown = sorted(set(body) - _MISTRALS)
        if unknown:
            raise VendorError(422, f"Extra inputs are not permitted: {', '.join(unknown)}")
        if body.get("model") != route.model.partition("@")[0]:
            raise VendorError(400, "model: must be that of the path")
        if bool(body.get("stream")) != bool(route.stream):
            raise VendorError(400, "stream: does not match the method of the request")
        known = {name: value for name, value in body.items() if name not in ("random_seed", "safe_prompt")}
        if body.get("stream"):
            known["stream_options"] = {"include_usage": True}
        return super().read(known, route)


class VertexOpenAI(_BehindGoogle, OpenAI):
    """Llama and other open models, named `<maker>/<model>`."""

    name = "vertex-openai"
    bases = (("Open models on Vertex AI", "/v1"),)
    listed = True

    def route(self, method: bytes, path: bytes, query: bytes) -> VendorRoute | None:
        """One path for all models of a region."""
        if _OPENAI.fullmatch(path) is None:
            return None
        only(method, b"POST", path)
        return VendorRoute("chat")

    def read(self, body: dict[str, Any], route: VendorRoute) -> VendorRequest:
        """A chat of a model that is named with its maker."""
        if "/" not in str(body.get("model")):
            raise VendorError(400, "The model must be of the form PUBLISHER/MODEL.")
        return super().read(body, route)


def _raw(method: bytes, path: bytes, maker: bytes) -> VendorRoute | None:
    found = _RAW.fullmatch(path)
    if found is None or found[1] != maker:
        return None
    only(method, b"POST", path)
    return VendorRoute("chat", found[2].decode("latin-1").replace("%40", "@"), stream=found[3] == b"streamRawPredict")
