"""Cohere: chat and embeddings of its API's version 2, with a trial key's limits and headers.

Source: Cohere's OpenAPI description, its pages of errors and of rate limits; the trial headers as its SDK's users see
them (cohere-typescript, issue 222).
"""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from aiq.simulator.answers import pieces_of
from aiq.simulator.exchange import Choice, Counts, Said, VendorCall, VendorRequest, VendorRoute
from aiq.simulator.profile import Quota
from aiq.simulator.quota import RefillingBucket
from aiq.simulator.refusal import OverQuota, VendorError
from aiq.simulator.tokens import chat_tokens, input_tokens, tool_tokens
from aiq.simulator.vendors.base import Base, Keys, bearer, event, instructed_schema, only
from aiq.simulator.vendors.cohere_parameters import check_chat, check_embed
from aiq.simulator.vendors.openai import text_of
from aiq.simulator.vendors.openai_tools import tools_of

OWN_TOKENS = 66
"""What Cohere puts around a prompt: it is counted, and not billed."""
THOUGHT = "Let me think. "

_ROUTES = {b"/v2/chat": VendorRoute("chat"), b"/v2/embed": VendorRoute("embeddings")}
_TRIAL = (
    "You are using a Trial key, which is limited to {} API calls / {}. You can continue to use the Trial key for free "
    "or upgrade to a Production key with higher rate limits at 'https://dashboard.cohere.com/api-keys'. Contact us on "
    "'https://discord.gg/XW44jPfYJu' or email us at support@cohere.com with any questions"
)
_WORDS: dict[str, tuple[int, str]] = {
    "401": (401, "invalid api token"),
    "402": (
        402,
        "Please add or update your payment method at https://dashboard.cohere.com/billing?tab=payment to continue",
    ),
    "404": (404, "model not found, make sure the correct model ID was used and that you have access to the model."),
    "429-unhinted": (429, "Please wait and try again later"),
    "context-length": (
        400,
        "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 4292. Try using a shorter "
        "prompt, or enabling prompt truncating.",
    ),
    "content-filter": (498, "the request contains a deny-listed token"),
    "quota-exhausted": (429, _TRIAL.format(1000, "month")),
}
_REASONS = {"stop": "COMPLETE", "length": "MAX_TOKENS", "tool_calls": "TOOL_CALL", "content_filter": "ERROR"}


class TrialKey:
    """Calls a minute, which a trial key is told of in headers; each text of an embeddings call is one."""

    def __init__(self, quota: Quota, now_s: float) -> None:
        self._calls = RefillingBucket(quota.rpm, now_s) if quota.rpm else None

    def admit(self, asked: VendorRequest, now_s: float, epoch_s: float) -> bytes:
        """Headers `x-trial-endpoint-call-*`; when to come back is not told."""
        bucket = self._calls
        if bucket is None:
            return b""
        bucket.level(now_s)
        needed = len(asked.inputs) if asked.task == "embeddings" else 1
        if not bucket.has(needed):
            details = {
                "unit": "requests",
                "limit": bucket.limit,
                "used": bucket.limit - bucket.remaining,
                "asked": needed,
            }
            words = _TRIAL.format(bucket.limit, "minute")
            wait_s = None if needed > bucket.limit else bucket.wait_s(needed)
            raise OverQuota(429, words, headers=self._headers(bucket), retry_s=wait_s, details=details)
        bucket.take(needed)
        return self._headers(bucket)

    @staticmethod
    def _headers(bucket: RefillingBucket) -> bytes:
        shown = (bucket.limit, bucket.remaining)
        lines = b"x-trial-endpoint-call-limit: %d\r\nx-trial-endpoint-call-remaining: %d\r\n" % shown
        return lines + b"x-endpoint-monthly-call-limit: 1000\r\n"

    def settle(self, asked: VendorRequest, counts: Counts | None, now_s: float) -> None:
        """Nothing is given back."""


class Cohere(Base):
    """The platform at api.cohere.com."""

    name = "cohere"
    bases = (("Cohere", ""),)
    limits = TrialKey
    not_json = "invalid json syntax: invalid character in the body"
    broken_event = b'event: content-delta\ndata: {"type": "content-delta", "delta": {"mess\n\n'

    def route(self, method: bytes, path: bytes, query: bytes) -> VendorRoute | None:
        """The two paths."""
        route = _ROUTES.get(path)
        if route is not None:
            only(method, b"POST", path)
        return route

    def authenticate(self, call: VendorCall, route: VendorRoute, keys: Keys, now_s: float) -> str:
        """A bearer token."""
        key = bearer(call.headers)
        if not key:
            raise VendorError(401, "no api key supplied")
        if not keys.accepts(key):
            raise VendorError(401, "invalid api token")
        return key

    def read(self, body: dict[str, Any], route: VendorRoute) -> VendorRequest:
        """A chat, or texts to embed."""
        if route.task == "embeddings":
            check_embed(body)
            tokens = input_tokens(body["texts"])
            asked = VendorRequest("embeddings", body["model"], body, tokens, tokens, inputs=body["texts"], route=route)
            asked.dimensions = body.get("output_dimension")
            return asked
        check_chat(body)
        messages = body["messages"]
        asked = VendorRequest("chat", body["model"], body, chat_tokens(messages), messages=messages, route=route)
        if body.get("tools"):
            asked.tools, asked.tool_choice = tools_of(body["tools"]), (body.get("tool_choice") or "auto").lower()
            asked.prompt_tokens += tool_tokens(asked.tools)
        wanted = body.get("response_format") or {}
        asked.json = wanted.get("type") == "json_object"
        if asked.json:
            asked.schema = wanted.get("json_schema", wanted.get("schema")) or instructed_schema(messages)
        asked.limit, asked.stop = body.get("max_tokens"), body.get("stop_sequences") or ()
        asked.sampling = tuple(body.get(name) for name in ("seed", "temperature", "p", "k"))
        thinking = body.get("thinking")
        if thinking:
            asked.effort = "none" if thinking["type"] == "disabled" else "high"
        asked.stream, asked.reserve = bool(body.get("stream")), asked.prompt_tokens
        if asked.prompt_tokens >= 1024:
            asked.cacheable = text_of(messages)
        return asked

    def full_body(self, asked: VendorRequest, said: Said) -> dict[str, Any]:
        """A message with its usage; without a message for the fault `empty`."""
        body: dict[str, Any] = {"id": _identity(said)}
        for choice in said.choices[:1]:
            body |= {"finish_reason": _reason(choice), "message": _message(choice)}
        if said.counts is not None:
            body["usage"] = _usage(said.counts)
        return body

    def stream(self, asked: VendorRequest, said: Said) -> list[bytes]:
        """Events with their names, and `[DONE]`."""
        begin = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
        pieces = [_event("message-start", id=_identity(said), delta={"message": begin})]
        for choice in said.choices[:1]:
            pieces += _events(choice)
            end: dict[str, Any] = {"finish_reason": _reason(choice)}
            if said.counts is not None:
                end["usage"] = _usage(said.counts)
            pieces += [_event("message-end", delta=end)] * (2 if said.fault == "two-finish" else 1)
        return [*pieces, b"data: [DONE]\n\n"]

    def embeddings(self, asked: VendorRequest, vectors: Sequence[list[float]], counts: Counts | None) -> dict[str, Any]:
        """Each form that was asked for."""
        forms = asked.body.get("embedding_types") or ["float"]
        body: dict[str, Any] = {
            "id": "emb-sim",
            "embeddings": {form: [_formed(vector, form) for vector in vectors] for form in forms},
            "texts": asked.body["texts"],
            "response_type": "embeddings_by_type",
            "meta": {"api_version": {"version": "2"}},
        }
        if counts is not None:
            body["meta"]["billed_units"] = {"input_tokens": float(counts.input)}
        return body

    def refusal(self, fault: str) -> VendorError | None:
        """Cohere's words."""
        if fault.startswith("429") and fault not in _WORDS:
            return VendorError(429, _TRIAL.format(40, "minute"))
        return VendorError(*_WORDS[fault]) if fault in _WORDS else None

    def refused(self, refusal: VendorError, route: VendorRoute | None, number: int) -> tuple[bytes, bytes]:
        """An id and a message."""
        return orjson.dumps({"id": f"err-sim{number:08d}", "message": refusal.message}), b""

    def error_event(self, refusal: VendorError) -> bytes:
        """The last event, with a reason that is an error."""
        return _event("message-end", delta={"finish_reason": "ERROR", "error": refusal.message})

    def headers(self, route: VendorRoute, number: int, delay_s: float) -> bytes:
        """A trace id."""
        return b"x-debug-trace-id: sim%d\r\n" % number


def _identity(said: Said) -> str:
    return f"sim{said.number:012d}"


def _reason(choice: Choice) -> str:
    return "STOP_SEQUENCE" if choice.stopped_by is not None else _REASONS[choice.finish_reason]


def _message(choice: Choice) -> dict[str, Any]:
    content = [{"type": "thinking", "thinking": THOUGHT}] if choice.reasoning else []
    said = choice.text if choice.refusal is None else choice.refusal
    if said is not None:
        content.append({"type": "text", "text": said})
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if choice.tool_calls:
        message["tool_plan"] = _plan(choice)
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in choice.tool_calls
        ]
    return message


def _plan(choice: Choice) -> str:
    return f"I will use {' and '.join(call.name for call in choice.tool_calls)}."


def _usage(counts: Counts) -> dict[str, Any]:
    """Counts as floats, as Cohere writes them."""
    return {
        "billed_units": {"input_tokens": float(counts.input), "output_tokens": float(counts.output)},
        "tokens": {"input_tokens": float(counts.input + OWN_TOKENS), "output_tokens": float(counts.output)},
        "cached_tokens": float(counts.cached),
    }


def _event(kind: str, **data: Any) -> bytes:
    return event({"type": kind, **data}, kind)


def _content(kind: str, index: int, content: Mapping[str, str]) -> bytes:
    return _event(kind, index=index, delta={"message": {"content": content}})


def _events(choice: Choice) -> Iterator[bytes]:
    index = 0
    if choice.reasoning:
        yield _content("content-start", index, {"type": "thinking", "thinking": ""})
        for piece in pieces_of(THOUGHT):
            yield _content("content-delta", index, {"thinking": piece})
        yield _event("content-end", index=index)
        index += 1
    said = choice.text if choice.refusal is None else choice.refusal
    if said is not None:
        yield _content("content-start", index, {"type": "text", "text": ""})
        for piece in pieces_of(said):
            yield _content("content-delta", index, {"text": piece})
        yield _event("content-end", index=index)
    if choice.tool_calls:
        for piece in pieces_of(_plan(choice)):
            yield _event("tool-plan-delta", delta={"message": {"tool_plan": piece}})
    for index, call in enumerate(choice.tool_calls):
        start = {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
        yield _event("tool-call-start", index=index, delta={"message": {"tool_calls": start}})
        for piece in pieces_of(call.arguments):
            part = {"function": {"arguments": piece}}
            yield _event("tool-call-delta", index=index, delta={"message": {"tool_calls": part}})
        yield _event("tool-call-end", index=index)


def _formed(vector: list[float], form: str) -> list[float] | list[int] | str:
    """A vector in one of the forms of embeddings; binary ones have a bit a dimension."""
    if form == "float":
        return vector
    if form == "base64":
        return b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    if form in ("int8", "uint8"):
        most = max(map(abs, vector), default=0.0) or 1.0
        return [round(value / most * 127) + (128 if form == "uint8" else 0) for value in vector]
    padded = vector + [0.0] * (-len(vector) % 8)
    eights = (padded[start : start + 8] for start in range(0, len(padded), 8))
    packed = [sum((value > 0) << (7 - place) for place, value in enumerate(eight)) for eight in eights]
    return [byte - 128 if form == "binary" else byte for byte in packed]
