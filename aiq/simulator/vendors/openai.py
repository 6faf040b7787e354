"""OpenAI: chat completions, responses, legacy completions, embeddings and the list of models, under `/v1`.

Source: OpenAI's API reference and its guide to error codes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from aiq.simulator import faults
from aiq.simulator.exchange import Counts, Said, VendorCall, VendorRequest, VendorRoute
from aiq.simulator.refusal import VendorError
from aiq.simulator.tokens import CACHE_FROM_TOKENS, chat_tokens, input_tokens, tool_tokens
from aiq.simulator.vendors import openai_format, responses, responses_format
from aiq.simulator.vendors.base import Base, Keys, bearer, event, only
from aiq.simulator.vendors.openai_parameters import CHAT, COMPLETIONS, EMBEDDINGS, as_inputs, check_body
from aiq.simulator.vendors.openai_tools import choice_of, tools_of

_ROUTES = {
    b"/v1/chat/completions": VendorRoute("chat"),
    b"/v1/completions": VendorRoute("completions"),
    b"/v1/embeddings": VendorRoute("embeddings"),
    b"/v1/responses": VendorRoute("chat", form="responses"),
    b"/v1/models": VendorRoute("page"),
}


class OpenAI(Base):
    """OpenAI's own platform."""

    name = "openai"
    bases: tuple[tuple[str, str], ...] = (("OpenAI, and servers like it", "/v1"),)
    not_json = (
        "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library "
        "correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)"
    )
    azure = False

    def route(self, method: bytes, path: bytes, query: bytes) -> VendorRoute | None:
        """One of the five paths."""
        route = _ROUTES.get(path)
        if route is not None:
            only(method, b"GET" if route.task == "page" else b"POST", path)
        return route

    def authenticate(self, call: VendorCall, route: VendorRoute, keys: Keys, now_s: float) -> str:
        """A bearer token."""
        key = bearer(call.headers)
        if not key:
            raise VendorError(
                401,
                "You didn't provide an API key. You need to provide your API key in an "
                "Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
            )
        check_key(key, keys)
        return key

    def page(self, call: VendorCall, route: VendorRoute, now_s: float) -> bytes:
        """The list of models."""
        names = ["gpt-4o", "gpt-4o-mini", "text-embedding-3-small", *faults.model_names()]
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "aiq-simulator"} for name in names]
        return orjson.dumps({"object": "list", "data": data})

    def read(self, body: dict[str, Any], route: VendorRoute) -> VendorRequest:
        """Chat completions, responses, completions or embeddings."""
        model = route.model or body.get("model") or ""
        if route.form == "responses":
            asked = responses.read(body, model, route)
            asked.tier = tier_of(body)
            if asked.prompt_tokens >= CACHE_FROM_TOKENS:
                asked.cacheable = text_of(asked.messages)
            return asked
        if route.task == "chat":
            check_body(body, CHAT, "messages", model)
            return chat(body, model, route)
        inputs_of = "input" if route.task == "embeddings" else "prompt"
        check_body(body, EMBEDDINGS if route.task == "embeddings" else COMPLETIONS, inputs_of, model)
        inputs = as_inputs(body[inputs_of])
        tokens = input_tokens(inputs)
        asked = VendorRequest(route.task, model, body, tokens, tokens, inputs=inputs, route=route)
        if route.task == "embeddings":
            asked.dimensions = body.get("dimensions")
        else:
            _sampling(asked, body, body.get("max_tokens"))
        return asked

    def full_body(self, asked: VendorRequest, said: Said) -> dict[str, Any]:
        """A `chat.completion`, a `response` or a `text_completion`."""
        if asked.route.form == "responses":
            return responses_format.response(asked, said)
        return openai_format.completion(self._envelope(asked, said), said)

    def stream(self, asked: VendorRequest, said: Said) -> list[bytes]:
        """Its chunks, with usage where `stream_options` ask for it; or the events of a response."""
        if asked.route.form == "responses":
            return list(responses_format.stream(asked, said))
        include_usage = bool((asked.body.get("stream_options") or {}).get("include_usage"))
        return list(openai_format.stream(self._envelope(asked, said), said, include_usage))

    def _envelope(self, asked: VendorRequest, said: Said) -> openai_format.Envelope:
        is_chat = asked.task == "chat"
        identity = f"{'chatcmpl' if is_chat else 'cmpl'}-sim{said.number:012d}"
        tier = asked.tier if asked.body.get("service_tier") else None
        return openai_format.Envelope(identity, said.created, asked.model, is_chat, self.azure, tier)

    def embeddings(self, asked: VendorRequest, vectors: Sequence[list[float]], counts: Counts | None) -> dict[str, Any]:
        """A `list` of floats or base64."""
        return openai_format.embeddings(vectors, asked.model, counts, asked.body.get("encoding_format") == "base64")

    def error_event(self, refusal: VendorError) -> bytes:
        """The error object with the status as its code, as servers that speak OpenAI's protocol send it."""
        return event({"error": {"message": refusal.message, "type": refusal.kind, "code": refusal.status}})

    def stream_error(self, refusal: VendorError, route: VendorRoute) -> bytes:
        """The same as an event of the Responses API."""
        return responses_format.error(refusal) if route.form == "responses" else self.error_event(refusal)

    def headers(self, route: VendorRoute, number: int, delay_s: float) -> bytes:
        """How long it took."""
        return b"openai-processing-ms: %d\r\n" % (delay_s * 1000)


def check_key(key: str, keys: Keys) -> None:
    """Refuse (401) a wrong key, showing no more of it than its end."""
    if not keys.accepts(key):
        shown = key[-4:] if len(key) > 8 else ""
        raise VendorError(401, f"Incorrect API key provided: ***{shown}.", code="invalid_api_key")


def chat(body: dict[str, Any], model: str, route: VendorRoute) -> VendorRequest:
    """What a validated body of chat completions asks."""
    messages = body["messages"]
    asked = VendorRequest("chat", model, body, chat_tokens(messages), messages=messages, route=route)
    if body.get("tools"):
        asked.tools, asked.tool_choice = tools_of(body["tools"]), choice_of(body.get("tool_choice"))
        asked.parallel = body.get("parallel_tool_calls") is not False
        asked.prompt_tokens += tool_tokens(asked.tools)
    _sampling(asked, body, body.get("max_completion_tokens") or body.get("max_tokens"))
    response_format = body.get("response_format")
    if response_format:
        asked.json = response_format["type"] == "json_object"
        if response_format["type"] == "json_schema":
            asked.schema = response_format["json_schema"]["schema"]
    asked.effort, asked.tier = body.get("reasoning_effort"), tier_of(body)
    # A shorter one is not worth joining its texts.
    if asked.prompt_tokens >= CACHE_FROM_TOKENS:
        asked.cacheable = text_of(messages)
    return asked


def tier_of(body: Mapping[str, Any]) -> str:
    """The service tier that a request gets: the one it asks for."""
    asked = body.get("service_tier")
    return "default" if asked in (None, "auto") else str(asked)


def text_of(messages: Sequence[Mapping[str, Any]]) -> str:
    """All texts of chat messages, each ended by a zero byte: what a cache compares."""
    texts = []
    for message in messages:
        content = message.get("content")
        parts = content if isinstance(content, list) else [{"text": content or ""}]
        texts += [part.get("text") or "" for part in parts]
    return "\0".join(texts)


def _sampling(asked: VendorRequest, body: dict[str, Any], limit: int | None) -> None:
    stop = body.get("stop") or ()
    asked.n, asked.limit, asked.stop = body.get("n") or 1, limit, [stop] if isinstance(stop, str) else stop
    asked.sampling = (body.get("seed"), body.get("temperature"), body.get("top_p"))
    asked.stream = bool(body.get("stream"))
    asked.reserve = max(asked.prompt_tokens, limit or 0)
