"""The bodies of Anthropic's answers, whole and as server-sent events. Knows no HTTP and decides nothing.

Source: the Claude API reference, "Create a Message" and "Streaming messages".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from aiq.simulator.answers import pieces_of
from aiq.simulator.exchange import Choice, Counts, Said, VendorRequest
from aiq.simulator.vendors.base import event

THOUGHTS = "Simulated thoughts: nobody thinks here."
SIGNATURE = "c2ltdWxhdGVk"
_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}


def usage(counts: Counts) -> dict[str, Any]:
    """`usage`: the input excludes what was read from the cache and written to it."""
    used: dict[str, Any] = {
        "input_tokens": counts.input - counts.cached - counts.written,
        "cache_creation_input_tokens": counts.written,
        "cache_read_input_tokens": counts.cached,
        "cache_creation": {
            "ephemeral_5m_input_tokens": counts.written - counts.written_1h,
            "ephemeral_1h_input_tokens": counts.written_1h,
        },
        "output_tokens": counts.output,
        "service_tier": "standard",
    }
    if counts.reasoning:
        used["output_tokens_details"] = {"thinking_tokens": counts.reasoning}
    return used


def message(asked: VendorRequest, said: Said) -> dict[str, Any]:
    """A `message` object."""
    choice = said.choices[0] if said.choices else Choice("", "stop", 0)
    body = {**_base(asked, said), "content": _content(choice), **_ending(choice)}
    if said.counts is not None:
        body["usage"] = usage(said.counts)
    return body


def _base(asked: VendorRequest, said: Said) -> dict[str, Any]:
    return {"id": f"msg_sim{said.number:012d}", "type": "message", "role": "assistant", "model": asked.model}


def _content(choice: Choice) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if choice.reasoning:
        blocks.append({"type": "thinking", "thinking": THOUGHTS, "signature": SIGNATURE})
    if choice.text:
        blocks.append({"type": "text", "text": choice.text, "citations": None})
    for call in choice.tool_calls:
        blocks.append({
            "type": "tool_use", "id": call.id.replace("call_", "toolu_"), "name": call.name,
            "input": orjson.loads(call.arguments),
        })  # fmt: skip
    return blocks


def _ending(choice: Choice) -> dict[str, Any]:
    reason: str = "refusal" if choice.refusal else _REASONS[choice.finish_reason]
    if choice.stopped_by is not None and reason == "end_turn":
        reason = "stop_sequence"
    details = None
    if reason == "refusal":
        details = {"type": "refusal", "category": "general_harms", "explanation": choice.refusal}
    return {"stop_reason": reason, "stop_sequence": choice.stopped_by, "stop_details": details}


def stream(asked: VendorRequest, said: Said) -> Iterator[bytes]:
    """The events of a streamed message: `message_stop` is the last."""
    choice = said.choices[0] if said.choices else Choice("", "stop", 0)
    begun: dict[str, Any] = {**_base(asked, said), "content": [], "stop_reason": None, "stop_sequence": None}
    if said.counts is not None:
        begun["usage"] = usage(said.counts._replace(output=min(1, said.counts.output), reasoning=0))
    yield event({"type": "message_start", "message": begun}, "message_start")
    yield event({"type": "ping"}, "ping")
    for index, block in enumerate(_content(choice)):
        empty, deltas = _begun(block)
        yield event({"type": "content_block_start", "index": index, "content_block": empty}, "content_block_start")
        for delta in deltas:
            yield event({"type": "content_block_delta", "index": index, "delta": delta}, "content_block_delta")
        yield event({"type": "content_block_stop", "index": index}, "content_block_stop")
    last: dict[str, Any] = {"type": "message_delta", "delta": _ending(choice)}
    if said.counts is not None:
        last["usage"] = usage(said.counts)
    for _ in range(2 if said.fault in ("two-finish", "duplicate-usage") else 1):
        yield event(last, "message_delta")
    yield event({"type": "message_stop"}, "message_stop")


def _begun(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A block as it begins, and what is added to it."""
    if block["type"] == "text":
        deltas = [{"type": "text_delta", "text": piece} for piece in pieces_of(block["text"])]
        return {**block, "text": ""}, deltas
    if block["type"] == "thinking":
        deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces_of(block["thinking"])]
        return {**block, "thinking": "", "signature": ""}, [
            *deltas, {"type": "signature_delta", "signature": block["signature"]}
        ]  # fmt: skip
    text = orjson.dumps(block["input"]).decode() if block["input"] else ""
    pieces = ["", *pieces_of(text)]  # the first one is always empty
    return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
