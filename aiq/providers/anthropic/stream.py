"""Anthropic's streamed answers: OpenAI's chunks as they come, and the message they add up to. Must never know a socket.

Source: the Claude API's "Streaming messages": a message begins, its content blocks come one after the other, each in
deltas, then its stop reason with the whole usage; pings between them, an error at any time.
"""

from __future__ import annotations

from typing import Any

import orjson

from aiq.providers.base import Chunk, HttpResponse
from aiq.providers.wire.estimates import estimate_tokens
from aiq.providers.wire.lenient import read_json
from aiq.providers.wire.openai_form import chunk, count
from aiq.providers.wire.sse import EventParser
from aiq.providers.wire.streams import MAX_EVENT_BYTES, ReadsErrors, ServerSentEvents
from aiq.providers.wire.wholeness import OPENAI_REASON, end_of
from aiq.request import Request, Usage

MAX_BLOCKS = 1024


class AnthropicStream(ServerSentEvents[ReadsErrors]):
    """Reads one streamed message."""

    def __init__(self, adapter: ReadsErrors, request: Request, response: HttpResponse, created: int) -> None:
        """`created` is in seconds since 1970."""
        super().__init__(adapter, request, response, EventParser(MAX_EVENT_BYTES))
        self._created = created
        self._message: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self._blocks: dict[int, dict[str, Any]] = {}
        self._pieces: dict[int, list[str]] = {}
        self._calls: dict[int, int] = {}  # block -> which call of a tool it is

    def _body(self) -> dict[str, Any]:
        content = [self._full_block(index) for index in sorted(self._blocks)]
        return {**self._message, "content": content, "usage": self._usage}

    def partial(self) -> Usage | None:
        tokens_in = count(self._usage.get("input_tokens"))
        if not self._characters or tokens_in is None:
            return super().partial()
        read = count(self._usage.get("cache_read_input_tokens")) or 0
        written = count(self._usage.get("cache_creation_input_tokens")) or 0
        tokens_out = estimate_tokens(self._characters)
        return Usage(tokens_in + read + written, tokens_out, read, estimated=True, cache_write_tokens=written)

    def _read(self, event: bytes) -> Chunk | None:
        data = read_json(event)
        kind = data.get("type")
        if kind == "content_block_delta":
            return self._delta(data["index"], data["delta"])
        if kind == "content_block_start":
            return self._start(data["index"], data["content_block"])
        if kind == "content_block_stop":
            return self._stop(data["index"])
        if kind == "message_start":
            message = data["message"]
            self._usage.update(message.get("usage") or {})
            self._message = {"id": message.get("id"), "model": message.get("model"), "stop_reason": None}
            return self._chunk({"role": "assistant", "content": ""}, token=False)
        if kind == "message_delta":
            return self._finish(data)
        if kind == "message_stop":
            self.ended = self.complete
        elif kind == "error" or data.get("error"):
            raise self._adapter.error(self._response._replace(body=event))
        return None  # a ping, or what there may yet be

    def _start(self, index: Any, block: dict[str, Any]) -> Chunk | None:
        if type(index) is not int or not 0 <= index < MAX_BLOCKS or index in self._blocks:
            raise ValueError("not the number of a new block")
        kind = block["type"]
        self._blocks[index], self._pieces[index] = block, []
        if kind == "text" and block["text"]:
            return self._text(index, block["text"])
        if kind == "thinking" and block.get("thinking"):
            return self._thought(index, block["thinking"])
        if kind == "tool_use":
            number = self._calls[index] = len(self._calls)
            call = {"id": block["id"], "type": "function", "function": {"name": block["name"], "arguments": ""}}
            return self._chunk({"tool_calls": [{"index": number, **call}]})
        return None

    def _delta(self, index: int, delta: dict[str, Any]) -> Chunk | None:
        kind, block = delta["type"], self._blocks[index]["type"]
        if kind == "text_delta" and block == "text":
            return self._text(index, delta["text"])
        if kind == "input_json_delta" and block == "tool_use":
            return self._arguments(index, delta["partial_json"])
        if kind == "thinking_delta" and block == "thinking":
            return self._thought(index, delta["thinking"])
        return None  # signatures, citations, and the tools that run at the provider

    def _stop(self, index: int) -> Chunk | None:
        if self._blocks[index]["type"] != "tool_use" or self._pieces[index]:
            return None
        return self._arguments(index, orjson.dumps(self._blocks[index].get("input") or {}).decode())

    def _finish(self, data: dict[str, Any]) -> Chunk | None:
        for name, value in (data.get("usage") or {}).items():
            if value or name not in self._usage:  # a nought of a proxy does not undo what the beginning counted
                self._usage[name] = value
        reason = data["delta"].get("stop_reason")
        if reason is None:
            return None
        self._message["stop_reason"], self._message["stop_details"] = reason, data["delta"].get("stop_details")
        self.complete = True
        finish_reason = OPENAI_REASON.get(end_of("anthropic", reason))
        if finish_reason in (None, "content_filter"):  # an error, when the stream is over
            return None
        return self._chunk({}, finish_reason=finish_reason, token=bool(self._characters or self._calls))

    def _text(self, index: int, text: str) -> Chunk | None:
        return self._chunk({"content": text}, text=text) if self._add(index, text) else None

    def _thought(self, index: int, text: str) -> Chunk | None:
        return self._chunk({"reasoning_content": text}) if self._add(index, text) else None

    def _arguments(self, index: int, text: str) -> Chunk | None:
        if not self._add(index, text):
            return None
        return self._chunk({"tool_calls": [{"index": self._calls[index], "function": {"arguments": text}}]})

    def _add(self, index: int, text: str) -> bool:
        if not isinstance(text, str):
            raise TypeError("not a text")
        if text:
            self._pieces[index].append(text)
            self._characters += len(text)
        return bool(text)

    def _chunk(
        self, delta: dict[str, Any], text: str = "", finish_reason: str | None = None, *, token: bool = True
    ) -> Chunk:
        model = str(self._message.get("model") or "")
        data = chunk(
            id=self._message.get("id"), created=self._created, model=model, delta=delta, finish_reason=finish_reason
        )
        return Chunk(data, text, token)

    def _full_block(self, index: int) -> dict[str, Any]:
        block, text = self._blocks[index], "".join(self._pieces[index])
        kind = block["type"]
        if kind == "tool_use":
            return {**block, "input": text or "{}"}
        return {**block, kind: text} if kind in ("text", "thinking") else block
