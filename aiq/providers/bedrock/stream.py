"""Bedrock's ConverseStream: chunks in OpenAI's form as they come, and the whole answer. Must never know a socket.

Source: the Amazon Bedrock API reference, ConverseStream: blocks by index, `messageStop`, then `metadata` with the
usage; exceptions come in the stream, after a 200.
"""

from __future__ import annotations

from typing import Any, Protocol

import orjson

from aiq.errors import ProviderError
from aiq.providers.base import Chunk, HttpResponse
from aiq.providers.bedrock.answer import finish_reason
from aiq.providers.bedrock.errors import exception_name
from aiq.providers.bedrock.request import ANSWER_TOOL
from aiq.providers.wire.errors import shorten
from aiq.providers.wire.event_stream import EventMessage, MessageParser
from aiq.providers.wire.openai_form import chunk
from aiq.providers.wire.streams import MAX_EVENT_BYTES, EventStream, ReadsAnswers
from aiq.request import Request

MAX_BLOCKS = 1024
"""Blocks in one answer: texts, thoughts, tool calls."""


class ReadsExceptions(ReadsAnswers, Protocol):
    """The part of the adapter that reads whole answers and the exceptions in a stream."""

    def exception(
        self, request: Request, response: HttpResponse, name: str, words: str, body: str
    ) -> ProviderError: ...


class _Block:
    """One block of the answer. `call` is its number among the tool calls, None where it is none or the answer."""

    __slots__ = ("call", "pieces", "start", "thoughts")

    def __init__(self) -> None:
        self.start: dict[str, Any] | None = None
        self.pieces: list[str] = []
        self.thoughts: list[str] = []
        self.call: int | None = None


class ConverseStream(EventStream[ReadsExceptions, EventMessage]):
    """Reads one streamed answer."""

    def __init__(
        self,
        adapter: ReadsExceptions,
        request: Request,
        response: HttpResponse,
        model: str,
        created: int,
        *,
        hold: bool = False,
    ) -> None:
        """With `hold` a text is kept back until the end, because a tool call may be the answer."""
        super().__init__(adapter, request, response, MessageParser(MAX_EVENT_BYTES))
        self._hold = hold
        self._model, self._created, self._id = model, created, response.header("x-amzn-requestid")
        self._blocks: dict[int, _Block] = {}
        self._calls = 0
        self._answered = False
        self._reason: str | None = None
        self._usage: Any = None
        self._terms: dict[str, Any] = {}

    def _body(self) -> dict[str, Any]:
        content = [block for index in sorted(self._blocks) for block in _joined(self._blocks[index])]
        return {
            "output": {"message": {"role": "assistant", "content": content}},
            "stopReason": self._reason,
            "usage": self._usage,
            **self._terms,
        }

    def _read(self, event: EventMessage) -> Chunk | None:
        headers, payload = event
        if headers[":message-type"] != "event":
            raise self._failed(headers, payload)
        kind = headers.get(":event-type")
        if kind == "contentBlockDelta":
            data = orjson.loads(payload)
            return self._delta(self._block(data), data["delta"])
        if kind == "contentBlockStart":
            data = orjson.loads(payload)
            return self._start(self._block(data), data["start"])
        if kind == "messageStart":
            return self._chunk({"role": "assistant", "content": ""})
        if kind == "messageStop":
            return self._stop(orjson.loads(payload))
        if kind == "metadata":
            data = orjson.loads(payload)
            self._usage = data.get("usage") or self._usage
            self._terms = {name: data[name] for name in ("serviceTier", "performanceConfig") if name in data}
            self.ended = self.complete
        return None

    def _block(self, data: dict[str, Any]) -> _Block:
        index = data["contentBlockIndex"]
        if type(index) is not int or not 0 <= index < MAX_BLOCKS:
            raise ValueError("not the number of a block")
        block = self._blocks.get(index)
        if block is None:
            block = self._blocks[index] = _Block()
        return block

    def _start(self, block: _Block, start: dict[str, Any]) -> Chunk | None:
        used = start.get("toolUse")
        if used is None:
            return None
        name, identity = used["name"], used["toolUseId"]
        if not isinstance(name, str) or not isinstance(identity, str) or block.start is not None:
            raise TypeError("a tool call has an id and a name, once")
        block.start = {"toolUseId": identity, "name": name}
        if name == ANSWER_TOOL:
            self._answered = True
            return None
        block.call, self._calls = self._calls, self._calls + 1
        call = {"index": block.call, "id": identity, "type": "function"}
        return self._chunk({"tool_calls": [{**call, "function": {"name": name, "arguments": ""}}]}, token=True)

    def _delta(self, block: _Block, delta: dict[str, Any]) -> Chunk | None:
        if "text" in delta:
            text = delta["text"]
            self._add(block.pieces, text)
            return None if self._hold else self._chunk({"content": text}, text, token=bool(text))
        if "toolUse" in delta:
            piece = delta["toolUse"]["input"]
            if block.start is None:
                raise ValueError("arguments of a tool call that has not begun")
            self._add(block.pieces, piece)
            if block.call is None:
                return self._chunk({"content": piece}, piece, token=bool(piece))
            called = {"index": block.call, "function": {"arguments": piece}}
            return self._chunk({"tool_calls": [called]}, token=bool(piece))
        if "reasoningContent" in delta:
            thought = delta["reasoningContent"].get("text")
            if thought is None:  # its signature, or what is not to be read
                return None
            self._add(block.thoughts, thought)
            return self._chunk({"reasoning_content": thought}, token=bool(thought))
        return None

    def _stop(self, data: dict[str, Any]) -> Chunk | None:
        reason = data["stopReason"]
        if not isinstance(reason, str):
            raise TypeError("a reason is text")
        if self._reason is not None:
            return None
        self._reason, self.complete = reason, True
        finish = finish_reason(reason, calls=self._calls > 0, answered=self._answered)
        if self._hold and not self._answered:
            text = "".join(piece for block in self._blocks.values() if block.start is None for piece in block.pieces)
            return self._chunk({"content": text}, text, token=True, finish=finish)
        return self._chunk({}, token=bool(self._characters or self._calls), finish=finish)

    def _add(self, pieces: list[str], text: Any) -> None:
        if not isinstance(text, str):
            raise TypeError("not text")
        pieces.append(text)
        self._characters += len(text)

    def _chunk(self, delta: dict[str, Any], text: str = "", *, token: bool = False, finish: str | None = None) -> Chunk:
        data = chunk(id=self._id, created=self._created, model=self._model, delta=delta, finish_reason=finish)
        return Chunk(data, text, token)

    def _failed(self, headers: dict[str, str], payload: bytes) -> ProviderError:
        body = payload.decode("utf-8", "replace")
        name, words = headers.get(":exception-type"), ""
        if name is None:  # an error of the transport rather than of the service
            name, words = headers.get(":error-code", ""), headers.get(":error-message", "")
        try:
            words = words or str(orjson.loads(payload).get("message") or "")
        except (ValueError, AttributeError):
            words = words or shorten(body[:300])
        return self._adapter.exception(self._request, self._response, exception_name(name), words, body)


def _joined(block: _Block) -> list[dict[str, Any]]:
    """A block as a complete answer has it; nothing where the block is empty."""
    text = "".join(block.pieces)
    if block.start is not None:
        return [{"toolUse": {**block.start, "input": text or "{}"}}]
    thoughts = [{"reasoningContent": {"reasoningText": {"text": "".join(block.thoughts)}}}] if block.thoughts else []
    return [*thoughts, {"text": text}] if block.pieces else thoughts
