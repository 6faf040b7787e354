"""Streams of the Responses API: events as they come, and the response that the last of them holds.

Must never know a socket. Source: the OpenAI API reference, "Responses", "Streaming events"; agents of MLflow end with
`response.completed` or simply stop, and then their finished items are the answer.
"""

from __future__ import annotations

from typing import Any, Protocol

import orjson

from aiq.errors import ProviderError
from aiq.providers.base import Chunk, HttpResponse
from aiq.providers.wire.errors import shorten, unusable
from aiq.providers.wire.estimates import estimate_usage
from aiq.providers.wire.openai_form import chunk
from aiq.providers.wire.sse import EventParser, EventTooLarge
from aiq.request import Answer, Request, Usage

MAX_EVENT_BYTES = 32 * 1024 * 1024
"""The last event holds the whole response."""
MAX_ITEMS = 1024
_LAST = ("response.completed", "response.incomplete", "response.failed")


class _Whole(Protocol):
    """What knows whole responses and errors of the same format."""

    def answer(self, request: Request, data: Any, response: HttpResponse) -> Answer: ...

    def error(self, response: HttpResponse) -> ProviderError: ...


class ResponsesStream:
    """Reads one streamed response. `items_end`: its finished items are an answer, without a last event."""

    def __init__(self, whole: _Whole, request: Request, response: HttpResponse, *, items_end: bool = False) -> None:
        self._whole, self._request, self._response, self._items_end = whole, request, response, items_end
        self._events = EventParser(MAX_EVENT_BYTES)
        self._last: dict[str, Any] | None = None
        self._items: list[Any] = []
        self._calls: dict[Any, int] = {}
        self._id: str | None = None
        self._model = ""
        self._created = 0
        self._characters = 0
        self._begun = False
        self._done = False

    @property
    def ended(self) -> bool:
        return self._last is not None or self._done

    @property
    def complete(self) -> bool:
        return self._last is not None

    def feed(self, piece: bytes) -> list[Chunk]:
        try:
            events = self._events.feed(piece)
        except EventTooLarge as error:
            raise unusable(f"the stream cannot be read: {error}", self._response) from None
        chunks: list[Chunk] = []
        for event in events:
            if self.ended:
                break
            if event.strip() == b"[DONE]":
                self._done = True
                break
            try:
                made = self._chunk(event)
            except (KeyError, TypeError, IndexError, AttributeError, ValueError):
                words = shorten(event[:300].decode("utf-8", "replace"))
                raise unusable(f"an event of the stream is malformed: {words}", self._response) from None
            if made is not None:
                chunks.append(made)
        return chunks

    def end(self) -> Answer:
        data = self._last
        if data is None and self._items_end and self._items:
            data = {"status": "completed", "output": self._items}
        if data is None:
            begun = "before the answer was finished" if self._characters else "without an answer"
            raise unusable(f"the stream ended {begun}", self._response)
        if not data.get("output") and self._items:
            data = {**data, "output": self._items}
        return self._whole.answer(self._request, data, self._response._replace(body=orjson.dumps(data)))

    def partial(self) -> Usage | None:
        return estimate_usage(self._request, self._characters) if self._characters else None

    def _chunk(self, event: bytes) -> Chunk | None:
        data = orjson.loads(event)
        kind = data["type"]
        if kind == "error" or (data.get("error") and not kind.startswith("response.")):
            body = data.get("error") or {"message": data.get("message"), "code": data.get("code")}
            raise self._whole.error(self._response._replace(body=orjson.dumps({"error": body})))
        if kind in _LAST:
            self._last = data["response"]
            self._last["output"]  # what has none is malformed
            return None
        if kind in ("response.created", "response.in_progress"):
            response = data["response"]
            self._id, self._model = response.get("id"), str(response.get("model") or "")
            self._created = int(response.get("created_at") or 0)
            return None
        if kind == "response.output_text.delta":
            text = data["delta"]
            self._characters += len(text)
            return self._piece({"content": text}, text)
        if kind == "response.refusal.delta":
            self._characters += len(data["delta"])
            return self._piece({"refusal": data["delta"]}, "")
        if kind == "response.output_item.added" and data["item"].get("type") == "function_call":
            item, index = data["item"], len(self._calls)
            if index >= MAX_ITEMS:
                raise ValueError("too many tool calls")
            self._calls[data.get("output_index")] = index
            function = {"name": item["name"], "arguments": ""}
            call = {"index": index, "id": item["call_id"], "type": "function", "function": function}
            return self._piece({"tool_calls": [call]}, "")
        if kind == "response.function_call_arguments.delta":
            index = self._calls[data.get("output_index")]
            self._characters += len(data["delta"])
            return self._piece({"tool_calls": [{"index": index, "function": {"arguments": data["delta"]}}]}, "")
        if kind == "response.output_item.done":
            if len(self._items) >= MAX_ITEMS:
                raise ValueError("too many items")
            self._items.append(data["item"])
        return None

    def _piece(self, delta: dict[str, Any], text: str) -> Chunk:
        if not self._begun:
            self._begun = True
            delta = {"role": "assistant", **delta}
        return Chunk(chunk(id=self._id, created=self._created, model=self._model, delta=delta), text, True)
