"""The bodies of OpenAI's answers, whole and as server-sent events. Knows no HTTP and decides nothing.

Azure's additions (content filter results) are made where `azure` is true. Source: OpenAI's API reference for chat
completions and completions (objects and streamed chunks).
"""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from aiq.simulator.answers import pieces_of
from aiq.simulator.exchange import Choice, Counts, Said
from aiq.simulator.vendors.base import event

_SAFE = {category: {"filtered": False, "severity": "safe"} for category in ("hate", "self_harm", "sexual", "violence")}


class Envelope(NamedTuple):
    """What the answers to one request share. `chat` false: the legacy completions format.

    `tier` is the service tier, where the request names one.
    """

    id: str
    created: int
    model: str
    chat: bool
    azure: bool
    tier: str | None = None


def usage(counts: Counts) -> dict[str, Any]:
    """The `usage` object of chat and completions."""
    return {
        "prompt_tokens": counts.input,
        "completion_tokens": counts.output,
        "total_tokens": counts.input + counts.output,
        "prompt_tokens_details": {"cached_tokens": counts.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": counts.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def completion(envelope: Envelope, said: Said) -> dict[str, Any]:
    """A `chat.completion` or `text_completion` object."""
    body = _base(envelope, "chat.completion" if envelope.chat else "text_completion")
    body["choices"] = [_choice(envelope, i, choice) for i, choice in enumerate(said.choices)]
    if said.counts is not None:
        body["usage"] = usage(said.counts)
    if envelope.azure:
        body["prompt_filter_results"] = _prompt_filter()
    return body


def _base(envelope: Envelope, kind: str) -> dict[str, Any]:
    return {
        "id": envelope.id,
        "object": kind,
        "created": envelope.created,
        "model": envelope.model,
        "system_fingerprint": "aiq-simulator",
        **({} if envelope.tier is None else {"service_tier": envelope.tier}),
    }


def _prompt_filter() -> list[dict[str, Any]]:
    return [{"prompt_index": 0, "content_filter_results": _SAFE}]


def _choice(envelope: Envelope, index: int, choice: Choice) -> dict[str, Any]:
    if envelope.chat:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": choice.text,
            "refusal": choice.refusal,
            "annotations": [],
        }
        if choice.tool_calls:
            message["tool_calls"] = _tool_calls(choice)
        body: dict[str, Any] = {"index": index, "message": message, "logprobs": None}
    else:
        body = {"index": index, "text": choice.text, "logprobs": None}
    body["finish_reason"] = choice.finish_reason
    if envelope.azure:
        body["content_filter_results"] = _SAFE
    return body


def _tool_calls(choice: Choice) -> list[dict[str, Any]]:
    return [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in choice.tool_calls
    ]


def stream(envelope: Envelope, said: Said, include_usage: bool) -> Iterator[bytes]:
    """The `data:` events of a streamed answer, `[DONE]` last; the usage chunk before it when asked for."""
    base = _base(envelope, "chat.completion.chunk" if envelope.chat else "text_completion")
    base["usage"] = None
    counted = usage(said.counts) if include_usage and said.counts is not None else None
    if envelope.azure:
        yield event({**base, "id": "", "model": "", "choices": [], "prompt_filter_results": _prompt_filter()})
    for index, choice in enumerate(said.choices):
        if counted and said.fault == "middle-usage":
            yield event({**base, "choices": [], "usage": counted})
        deltas = _deltas(choice) if envelope.chat else [{"text": piece} for piece in pieces_of(choice.text or "")]
        for delta in deltas:
            part = {"delta": delta, "logprobs": None} if envelope.chat else {**delta, "logprobs": None}
            yield event({**base, "choices": [{"index": index, **part, "finish_reason": None}]})
        last: dict[str, Any] = {"delta": {}} if envelope.chat else {"text": ""}
        for _ in range(2 if said.fault == "two-finish" else 1):
            yield event({**base, "choices": [{"index": index, **last, "finish_reason": choice.finish_reason}]})
    if counted and said.fault != "middle-usage":
        for _ in range(2 if said.fault == "duplicate-usage" else 1):
            yield event({**base, "choices": [], "usage": counted})
    yield b"data: [DONE]\n\n"


def _deltas(choice: Choice) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": None if choice.tool_calls else "", "refusal": None}
    for index, call in enumerate(choice.tool_calls):
        function: dict[str, Any] = {"name": call.name, "arguments": ""}
        yield {"tool_calls": [{"index": index, "id": call.id, "type": "function", "function": function}]}
        for piece in pieces_of(call.arguments):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}
    for piece in pieces_of(choice.text or ""):
        yield {"content": piece}
    for piece in pieces_of(choice.refusal or ""):
        yield {"refusal": piece}


def embeddings(vectors: Sequence[list[float]], model: str, counts: Counts | None, base64: bool) -> dict[str, Any]:
    """The `list` object of an embeddings answer; base64 is little-endian 32-bit floats."""
    data = [
        {"object": "embedding", "index": i, "embedding": _packed(vector) if base64 else vector}
        for i, vector in enumerate(vectors)
    ]
    body: dict[str, Any] = {"object": "list", "data": data, "model": model}
    if counts is not None:
        body["usage"] = {"prompt_tokens": counts.input, "total_tokens": counts.input}
    return body


def _packed(vector: list[float]) -> str:
    return b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
