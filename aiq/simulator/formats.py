"""The bodies of OpenAI's answers, whole and as server-sent events. Knows no HTTP and decides nothing.

Azure's additions (content filter results) are made where `azure` is true.
"""

from __future__ import annotations

import re
import struct
from base64 import b64encode
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import orjson

from aiq.simulator.answers import Choice

_SAFE = {category: {"filtered": False, "severity": "safe"} for category in ("hate", "self_harm", "sexual", "violence")}
_PIECE = re.compile(r"\s*\S{1,8}|\s+")
REFUSED = "I'm sorry, but I can't help with that."


class Envelope(NamedTuple):
    """What the answers to one request share. `chat` false: the legacy completions format."""

    id: str
    created: int
    model: str
    chat: bool
    azure: bool


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
    """The `usage` object of chat and completions."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def completion(envelope: Envelope, choices: Sequence[Choice], counts: dict[str, Any]) -> dict[str, Any]:
    """A `chat.completion` or `text_completion` object."""
    body = _base(envelope, "chat.completion" if envelope.chat else "text_completion")
    body["choices"] = [_choice(envelope, i, choice) for i, choice in enumerate(choices)]
    body["usage"] = counts
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
    }


def _prompt_filter() -> list[dict[str, Any]]:
    return [{"prompt_index": 0, "content_filter_results": _SAFE}]


def _choice(envelope: Envelope, index: int, choice: Choice) -> dict[str, Any]:
    if envelope.chat:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": choice.text,
            "refusal": None,
            "annotations": [],
        }
        body: dict[str, Any] = {"index": index, "message": message, "logprobs": None}
    else:
        body = {"index": index, "text": choice.text, "logprobs": None}
    body["finish_reason"] = choice.finish_reason
    if envelope.azure:
        body["content_filter_results"] = _SAFE
    return body


def stream(
    envelope: Envelope,
    choices: Sequence[Choice],
    counts: dict[str, Any],
    include_usage: bool,
    *,
    part: Literal["content", "refusal"] = "content",
) -> Iterator[bytes]:
    """The `data:` events of a streamed answer, `[DONE]` last; the usage chunk before it when asked for.

    `part` is what the texts of the choices are in a chat.
    """
    base = _base(envelope, "chat.completion.chunk" if envelope.chat else "text_completion")
    base["usage"] = None
    if envelope.azure:
        yield event({**base, "id": "", "model": "", "choices": [], "prompt_filter_results": _prompt_filter()})
    for index, choice in enumerate(choices):
        if envelope.chat:
            first = {"role": "assistant", "content": "", "refusal": None}
            yield event({**base, "choices": [{"index": index, "delta": first, "finish_reason": None}]})
        for piece in _PIECE.findall(choice.text):
            said = {"delta": {part: piece}} if envelope.chat else {"text": piece}
            yield event({**base, "choices": [{"index": index, **said, "logprobs": None, "finish_reason": None}]})
        last: dict[str, Any] = {"delta": {}} if envelope.chat else {"text": ""}
        yield event({**base, "choices": [{"index": index, **last, "finish_reason": choice.finish_reason}]})
    if include_usage:
        yield event({**base, "choices": [], "usage": counts})
    yield b"data: [DONE]\n\n"


def event(value: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: %b\n\n" % orjson.dumps(value)


def embeddings(vectors: Sequence[list[float]], model: str, tokens: int, base64: bool) -> dict[str, Any]:
    """The `list` object of an embeddings answer; base64 is little-endian 32-bit floats."""
    data = [
        {"object": "embedding", "index": i, "embedding": _packed(vector) if base64 else vector}
        for i, vector in enumerate(vectors)
    ]
    counts = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": model, "usage": counts}


def _packed(vector: list[float]) -> str:
    return b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def split_inside_characters(events: Sequence[bytes]) -> list[bytes]:
    """The same bytes in more pieces: an event with a multi-byte character is cut inside its last one."""
    pieces = []
    for data in events:
        at = next((i for i in range(len(data) - 1, 0, -1) if data[i] & 0xC0 == 0x80), 0)
        pieces += [data[:at], data[at:]] if at else [data]
    return pieces
