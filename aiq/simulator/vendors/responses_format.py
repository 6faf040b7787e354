"""The bodies of the Responses API's answers, whole and as events with sequence numbers. Decides nothing.

Source: OpenAI's API reference, "The response object" and "Streaming events".
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from aiq.simulator.answers import pieces_of
from aiq.simulator.exchange import Choice, Counts, Said, VendorRequest
from aiq.simulator.refusal import VendorError
from aiq.simulator.vendors.base import event

_ECHOED: dict[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "store": True,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
}


def usage(counts: Counts) -> dict[str, Any]:
    """The `usage` object of a response."""
    return {
        "input_tokens": counts.input,
        "input_tokens_details": {"cached_tokens": counts.cached, "cache_write_tokens": 0},
        "output_tokens": counts.output,
        "output_tokens_details": {"reasoning_tokens": counts.reasoning},
        "total_tokens": counts.input + counts.output,
    }


def response(asked: VendorRequest, said: Said) -> dict[str, Any]:
    """A `response` object that is over."""
    body = _envelope(asked, said)
    cut = any(choice.finish_reason == "length" for choice in said.choices)
    body["status"] = "incomplete" if cut else "completed"
    body["incomplete_details"] = {"reason": "max_output_tokens"} if cut else None
    body["output"] = [item for choice in said.choices for item in _items(said, choice)]
    body["usage"] = None if said.counts is None else usage(said.counts)
    return body


def _envelope(asked: VendorRequest, said: Said) -> dict[str, Any]:
    body: dict[str, Any] = {
        "id": f"resp_sim{said.number:012d}",
        "object": "response",
        "created_at": said.created,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "model": asked.model,
        "output": [],
        "usage": None,
    }
    for name, default in _ECHOED.items():
        given = asked.body.get(name)
        body[name] = default if given is None else given
    body["text"] = {"format": {"type": "text"}, **(asked.body.get("text") or {})}
    body["reasoning"] = {"effort": asked.effort, "summary": None}
    if asked.body.get("service_tier"):
        body["service_tier"] = asked.tier
    return body


def _items(said: Said, choice: Choice) -> Iterator[dict[str, Any]]:
    """The output items of an answer: thoughts, calls of functions, and a message."""
    if choice.reasoning:
        yield {"id": f"rs_sim{said.number:012d}", "type": "reasoning", "summary": []}
    for position, call in enumerate(choice.tool_calls):
        yield {
            "id": f"fc_sim{said.number:012d}_{position}",
            "type": "function_call",
            "status": "completed",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments,
        }
    if choice.tool_calls:
        return
    content: list[dict[str, Any]] = []
    if choice.refusal is not None:
        content.append({"type": "refusal", "refusal": choice.refusal})
    elif choice.text is not None:
        content.append({"type": "output_text", "text": choice.text, "annotations": [], "logprobs": []})
    yield {
        "id": f"msg_sim{said.number:012d}",
        "type": "message",
        "status": "incomplete" if choice.finish_reason == "length" else "completed",
        "role": "assistant",
        "content": content,
    }


def stream(asked: VendorRequest, said: Said) -> Iterator[bytes]:
    """The events of a streamed response; `response.completed` or `response.incomplete` is the last."""
    numbers = itertools.count()

    def numbered(kind: str, **fields: Any) -> bytes:
        return event({"type": kind, "sequence_number": next(numbers), **fields}, kind)

    begun, final = _envelope(asked, said), response(asked, said)
    if said.fault in ("middle-usage", "duplicate-usage"):
        begun["usage"] = final["usage"]
    if said.fault == "middle-usage":
        final["usage"] = None
    yield numbered("response.created", response=begun)
    yield numbered("response.in_progress", response=begun)
    for index, item in enumerate(final["output"]):
        yield from _item(numbered, index, item)
    for _ in range(2 if said.fault == "two-finish" else 1):
        yield numbered(f"response.{final['status']}", response=final)


def _item(numbered: Any, index: int, item: dict[str, Any]) -> Iterator[bytes]:
    where = {"item_id": item["id"], "output_index": index}
    if item["type"] == "function_call":
        yield numbered(
            "response.output_item.added",
            output_index=index,
            item={**item, "status": "in_progress", "arguments": ""},
        )
        for piece in pieces_of(item["arguments"]):
            yield numbered("response.function_call_arguments.delta", **where, delta=piece)
        yield numbered("response.function_call_arguments.done", **where, arguments=item["arguments"])
    elif item["type"] == "message":
        begun = {**item, "status": "in_progress", "content": []}
        yield numbered("response.output_item.added", output_index=index, item=begun)
        for content_index, part in enumerate(item["content"]):
            name = "refusal" if part["type"] == "refusal" else "text"
            kind = "response.refusal" if name == "refusal" else "response.output_text"
            more: dict[str, Any] = {} if name == "refusal" else {"logprobs": []}
            at = {**where, "content_index": content_index}
            yield numbered("response.content_part.added", **at, part={**part, name: ""})
            for piece in pieces_of(part[name]):
                yield numbered(f"{kind}.delta", **at, delta=piece, **more)
            yield numbered(f"{kind}.done", **at, **{name: part[name]}, **more)
            yield numbered("response.content_part.done", **at, part=part)
    else:
        yield numbered("response.output_item.added", output_index=index, item=item)
    yield numbered("response.output_item.done", output_index=index, item=item)


def error(refusal: VendorError) -> bytes:
    """The event that tells an error in the middle of a stream."""
    fields = {"code": refusal.code or refusal.kind, "message": refusal.message, "param": refusal.param}
    return event({"type": "error", "sequence_number": 0, **fields}, "error")
