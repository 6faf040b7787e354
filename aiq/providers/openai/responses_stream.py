"""Streams of the Responses API: events as they come, and the response that the last of them holds.

Must never know a socket. Source: the OpenAI API reference, "Responses", "Streaming events"; agents of MLflow end with
`response.completed` or simply stop, and then their finished items are the answer.
"""

from __future__ import annotations

from typing import Any

import orjson

from aiq.providers.base import Chunk, HttpResponse
from aiq.providers.wire.lenient import read_json
from aiq.providers.wire.openai_form import chunk
from aiq.providers.wire.sse import EventParser
from aiq.providers.wire.streams import ReadsErrors, ServerSentEvents, is_done
from aiq.request import AGENTS_ITEM, AGENTS_OWN, Request

MAX_RESPONSE_BYTES = 32 * 1024 * 1024
"""The last event holds the whole response."""
MAX_ITEMS = 1024
_LAST = ("response.completed", "response.incomplete", "response.failed")


class ResponsesStream(ServerSentEvents[ReadsErrors]):
    """Reads one streamed response. `items_end`: its finished items are an answer, without a last event."""

    def __init__(
        self, adapter: ReadsErrors, request: Request, response: HttpResponse, *, items_end: bool = False
    ) -> None:
        super().__init__(adapter, request, response, EventParser(MAX_RESPONSE_BYTES))
        self._items_end = items_end
        self._last: dict[str, Any] | None = None
        self._items: list[Any] = []
        self._calls: dict[Any, int] = {}
        self._id: str | None = None
        self._model = ""
        self._created = 0
        self._begun = self._told = False  # `_told`: the message that is being sent has sent text
        self._own: dict[str, Any] = {}

    def _is_over(self, event: bytes) -> bool:
        self.ended = self.ended or is_done(event)
        return self.ended

    @property
    def _is_complete(self) -> bool:
        return self.complete or (self._items_end and bool(self._items))

    def _body(self) -> dict[str, Any]:
        data = self._last or {"status": "completed", "output": self._items}
        data = data if data.get("output") or not self._items else {**data, "output": self._items}
        return {**data, **self._own}

    def _read(self, event: bytes) -> Chunk | None:
        data = read_json(event)
        kind = data["type"] if "type" in data or not data.get("error") else "error"
        self._own |= {name: data[name] for name in AGENTS_OWN if data.get(name)}
        if kind == "error" or (data.get("error") and not kind.startswith("response.")):
            body = data.get("error") or {"message": data.get("message"), "code": data.get("code")}
            raise self._adapter.error(self._response._replace(body=orjson.dumps({"error": body})))
        if kind in _LAST:
            self._last = data["response"]
            self._last["output"]  # what has none is malformed
            self.ended = self.complete = True
            return None
        if kind in ("response.created", "response.in_progress"):
            response = data["response"]
            self._id, self._model = response.get("id"), str(response.get("model") or "")
            self._created = int(response.get("created_at") or 0)
            return None
        if kind == "response.output_text.delta":
            text = data["delta"]
            self._characters += len(text)
            self._told = True
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
            return self._done(data["item"]) if self._items_end else None
        return None

    def _done(self, item: dict[str, Any]) -> Chunk | None:
        """An agent's item as a chunk: what it does meanwhile, or a message of which it has sent no text before."""
        if item.get("type") != "message":
            return Chunk({**self._chunk({}), "choices": [], AGENTS_ITEM: item}, "", True)
        told, self._told = self._told, False
        text = "".join(part.get("text") or "" for part in item["content"] if part.get("type") == "output_text")
        return None if told or not text else self._piece({"content": text}, text)

    def _piece(self, delta: dict[str, Any], text: str) -> Chunk:
        if not self._begun:
            self._begun = True
            delta = {"role": "assistant", **delta}
        return Chunk(self._chunk(delta), text, True)

    def _chunk(self, delta: dict[str, Any]) -> dict[str, Any]:
        return chunk(id=self._id, created=self._created, model=self._model, delta=delta)
