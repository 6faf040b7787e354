"""Cohere's streamed answers: chunks in OpenAI's form, and the whole answer they add up to. Must never know a socket.

Source: Cohere's OpenAPI description of the events of `/v2/chat`. `message-end` is the last word, with the usage.
"""

from __future__ import annotations

from typing import Any, Protocol

from aiq.errors import ProviderError
from aiq.providers.base import Chunk, HttpResponse
from aiq.providers.cohere.answer import FAILED, finish_reason, text_of, usage_of
from aiq.providers.wire.lenient import read_json
from aiq.providers.wire.openai_form import chunk
from aiq.providers.wire.sse import EventParser
from aiq.providers.wire.streams import MAX_EVENT_BYTES, ReadsErrors, ServerSentEvents, is_done
from aiq.request import Request, Usage

MAX_CALLS = 128
"""Tool calls in one answer."""


class ReadsFailures(ReadsErrors, Protocol):
    """The part of the adapter that reads whole answers, errors, and answers that failed."""

    def failed(self, reason: str, words: Any, usage: Usage | None) -> ProviderError: ...


class CohereStream(ServerSentEvents[ReadsFailures]):
    """Reads one streamed chat."""

    def __init__(
        self, adapter: ReadsFailures, request: Request, response: HttpResponse, model: str, created: int
    ) -> None:
        super().__init__(adapter, request, response, EventParser(MAX_EVENT_BYTES))
        self._model, self._created = model, created
        self._id: str | None = None
        self._texts: list[str] = []
        self._has_text = False
        self._thoughts: list[str] = []
        self._calls: dict[int, dict[str, Any]] = {}
        self._arguments: dict[int, list[str]] = {}
        self._end: dict[str, Any] = {}

    def _is_over(self, event: bytes) -> bool:
        return self.ended or is_done(event)

    def _body(self) -> dict[str, Any]:
        content: list[dict[str, str]] = []
        if self._thoughts:
            content.append({"type": "thinking", "thinking": "".join(self._thoughts)})
        if self._has_text:
            content.append({"type": "text", "text": "".join(self._texts)})
        for index, call in self._calls.items():
            call["function"]["arguments"] = "".join(self._arguments[index])
        message = {"content": content, "tool_calls": [self._calls[index] for index in sorted(self._calls)]}
        return {**self._end, "id": self._id, "message": message}

    def _read(self, event: bytes) -> Chunk | None:
        data = read_json(event)
        kind = data.get("type")
        if kind is None and isinstance(data.get("message"), str):
            raise self._adapter.error(self._response._replace(body=event))
        if kind == "message-start":
            self._id = data.get("id") or None
            return self._made({"role": "assistant", "content": ""})
        if kind in ("content-start", "content-delta"):
            return self._content(data["delta"]["message"]["content"])
        if kind == "tool-plan-delta":
            return self._thought(data["delta"]["message"]["tool_plan"])
        if kind in ("tool-call-start", "tool-call-delta"):
            return self._call(data["index"], data["delta"]["message"]["tool_calls"])
        if kind == "message-end":
            return self._last(data["delta"])
        return None  # the end of a part, or a citation

    def _content(self, content: dict[str, Any]) -> Chunk | None:
        text = content.get("text")
        if text is None:
            return self._thought(content.get("thinking") or "")
        self._has_text = True
        if not text:
            return None
        self._texts.append(text_of(text))
        self._characters += len(text)
        return self._made({"content": text}, text, token=True)

    def _thought(self, text: str) -> Chunk | None:
        if not text:
            return None
        self._thoughts.append(text_of(text))
        self._characters += len(text)
        return self._made({"reasoning_content": text}, token=True)

    def _call(self, index: Any, part: dict[str, Any]) -> Chunk:
        if type(index) is not int or not 0 <= index < MAX_CALLS:
            raise ValueError("not the number of a tool call")
        arguments = text_of(part["function"].get("arguments") or "")
        fragment: dict[str, Any] = {"index": index, "function": {"arguments": arguments}}
        if index not in self._calls:
            id, name = text_of(part["id"]), text_of(part["function"]["name"])
            self._calls[index] = {"id": id, "type": "function", "function": {"name": name}}
            self._arguments[index] = []
            fragment = {
                "index": index,
                "id": id,
                "type": "function",
                "function": {"name": name, "arguments": arguments},
            }
        self._arguments[index].append(arguments)
        self._characters += len(arguments) + 1
        return self._made({"tool_calls": [fragment]}, token=True)

    def _last(self, delta: dict[str, Any]) -> Chunk:
        self._end = {name: delta[name] for name in ("finish_reason", "usage", "error") if name in delta}
        reason = text_of(delta["finish_reason"])
        if reason in FAILED:
            raise self._adapter.failed(reason, delta.get("error"), usage_of(delta.get("usage")))
        self.ended = self.complete = True
        return self._made({}, token=self._characters > 0, finish_reason=finish_reason(reason))

    def _made(self, delta: dict[str, Any], text: str = "", *, token: bool = False, **more: Any) -> Chunk:
        data = chunk(id=self._id, created=self._created, model=self._model, delta=delta, **more)
        return Chunk(data, text, token)
