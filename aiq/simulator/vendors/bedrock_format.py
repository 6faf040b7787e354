"""What Bedrock answers: Converse's body, its stream of events, and the embeddings of Titan and Cohere.

Source: the Amazon Bedrock API reference (Converse, ConverseStream, InvokeModel) and the models' own pages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from aiq.simulator.answers import pieces_of
from aiq.simulator.exchange import Choice, Counts, Said, VendorRequest
from aiq.simulator.vendors.event_stream import event

THOUGHTS = "[simulated] The prompt was considered."
_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "content_filtered",
}
_METRICS = {"latencyMs": 1}


def usage(counts: Counts) -> dict[str, Any]:
    """`usage`, whose input is what the cache had no part in."""
    body: dict[str, Any] = {
        "inputTokens": counts.input - counts.cached - counts.written,
        "outputTokens": counts.output,
        "totalTokens": counts.input + counts.output,
    }
    if counts.cached or counts.written:
        body |= {"cacheReadInputTokens": counts.cached, "cacheWriteInputTokens": counts.written}
    if counts.written_1h:
        body["cacheDetails"] = [{"ttl": "1h", "inputTokens": counts.written_1h}]
    return body


def _billed(counts: Counts) -> dict[str, Any]:
    """The usage, and the service tier that it is billed by."""
    tier = {} if counts.tier == "default" else {"serviceTier": {"type": counts.tier}}
    return {"usage": usage(counts), **tier}


def _stop_reason(choice: Choice) -> str:
    if choice.refusal is not None:
        return "content_filtered"
    return "stop_sequence" if choice.stopped_by is not None else _STOP_REASONS[choice.finish_reason]


def full_body(said: Said) -> dict[str, Any]:
    """The answer of Converse."""
    body: dict[str, Any] = {"output": {}, "stopReason": "end_turn", "metrics": _METRICS}
    for choice in said.choices[:1]:
        blocks: list[dict[str, Any]] = []
        if choice.reasoning:
            blocks.append({"reasoningContent": {"reasoningText": {"text": THOUGHTS, "signature": "c2ln"}}})
        text = choice.refusal or choice.text
        if text:
            blocks.append({"text": text})
        for call in choice.tool_calls:
            blocks.append({"toolUse": {"toolUseId": call.id, "name": call.name, "input": orjson.loads(call.arguments)}})
        body |= {"output": {"message": {"role": "assistant", "content": blocks}}, "stopReason": _stop_reason(choice)}
    if said.counts is not None:
        body |= _billed(said.counts)
    return body


def stream(said: Said) -> Iterator[bytes]:
    """The same as events; the usage is in the last."""
    counted = None
    if said.counts is not None:
        counted = _event("metadata", {**_billed(said.counts), "metrics": _METRICS})
    for choice in said.choices[:1]:
        yield _event("messageStart", {"role": "assistant"})
        if counted and said.fault == "middle-usage":
            yield counted
        yield from _blocks(choice)
        for _ in range(2 if said.fault == "two-finish" else 1):
            yield _event("messageStop", {"stopReason": _stop_reason(choice)})
    if said.fault == "middle-usage":
        return
    for _ in range(2 if said.fault == "duplicate-usage" else 1):
        yield counted or _event("metadata", {"metrics": _METRICS})


def _blocks(choice: Choice) -> Iterator[bytes]:
    index = 0
    if choice.reasoning:
        deltas = [{"reasoningContent": {"text": piece}} for piece in pieces_of(THOUGHTS)]
        yield from _block(index, [*deltas, {"reasoningContent": {"signature": "c2ln"}}])
        index += 1
    text = choice.refusal or choice.text
    if text:
        yield from _block(index, [{"text": piece} for piece in pieces_of(text)])
        index += 1
    for call in choice.tool_calls:
        start = {"toolUse": {"toolUseId": call.id, "name": call.name}}
        yield _event("contentBlockStart", {"contentBlockIndex": index, "start": start})
        yield from _block(index, [{"toolUse": {"input": piece}} for piece in pieces_of(call.arguments)])
        index += 1


def _block(index: int, deltas: Sequence[Mapping[str, Any]]) -> Iterator[bytes]:
    for delta in deltas:
        yield _event("contentBlockDelta", {"contentBlockIndex": index, "delta": delta})
    yield _event("contentBlockStop", {"contentBlockIndex": index})


def _event(name: str, payload: Mapping[str, Any]) -> bytes:
    # A field without meaning hides the length of a piece from whoever watches the wire.
    return event(name, orjson.dumps({**payload, "p": "abcdefghijklmnopqrstuvwxyz"[: 1 + len(payload) % 26]}))


def embeddings(asked: VendorRequest, vectors: Sequence[list[float]], counts: Counts | None) -> dict[str, Any]:
    """One vector of Titan's, or Cohere's of all texts."""
    if asked.route.form == "titan":
        body: dict[str, Any] = {"embedding": vectors[0]} if vectors else {}
        return body if counts is None else {**body, "inputTextTokenCount": counts.input}
    if asked.body.get("embedding_types"):
        return {"id": "sim", "embeddings": {"float": vectors}, "response_type": "embeddings_by_type"}
    return {"id": "sim", "texts": asked.inputs, "embeddings": vectors, "response_type": "embeddings_floats"}
