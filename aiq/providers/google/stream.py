"""Gemini's streamed answers: chunks as they come, and the whole answer they add up to. Must never know a socket.

Source: the Gemini API reference, `streamGenerateContent` with `alt=sse`: each event is a response with the next parts,
counts grow from event to event, and nothing says the end but the finish reason of each candidate.
"""

from __future__ import annotations

from typing import Any, Protocol

import orjson

from aiq.errors import ProviderError
from aiq.providers.base import Chunk, HttpResponse
from aiq.providers.google.answer import Message, finish_reason, read_parts, usage_of
from aiq.providers.wire.estimates import estimate_usage
from aiq.providers.wire.lenient import read_json
from aiq.providers.wire.sse import EventParser
from aiq.providers.wire.streams import ReadsErrors, ServerSentEvents
from aiq.request import Answer, Request, Usage

MAX_EVENT_BYTES = 32 * 1024 * 1024
"""An event may hold a picture that the model drew."""
MAX_CANDIDATES = 128
MAX_ERROR_BYTES = 16 * 1024
"""So much of a body's end is kept to find the error in it that ended the stream."""


class ReadsGemini(ReadsErrors, Protocol):
    """The part of the adapter that reads whole answers and errors, with what they do not say themselves."""

    model: str

    def now(self) -> int: ...


class _StreamedCandidate:
    """The parts of one candidate, as far as they are there."""

    __slots__ = ("calls", "first", "reason", "rest", "texts", "thoughts")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.thoughts: list[str] = []
        self.calls: list[dict[str, Any]] = []
        """Parts with a `functionCall`, as they came."""
        self.rest: dict[str, Any] = {}
        self.reason: str | None = None
        self.first = True


class GeminiStream(ServerSentEvents[ReadsGemini]):
    """Reads one streamed answer."""

    def __init__(self, adapter: ReadsGemini, request: Request, response: HttpResponse) -> None:
        super().__init__(adapter, request, response, EventParser(MAX_EVENT_BYTES))
        self._candidates: dict[int, _StreamedCandidate] = {}
        self._open = request.body.get("n") or 1
        self._envelope: dict[str, Any] = {}
        self._created = adapter.now()
        self._tail = b""
        self.complete = self._open <= 0

    def feed(self, piece: bytes) -> list[Chunk]:
        self._tail = (self._tail + piece)[-MAX_ERROR_BYTES:]
        return super().feed(piece)

    def end(self) -> Answer:
        error = None if self.complete else self._error_at_the_end()
        if error is not None:
            raise error
        return super().end()

    def _is_over(self, event: bytes) -> bool:
        return False  # a part may follow the finish reason of its candidate

    def _read(self, event: bytes) -> Chunk | None:
        return self.take(read_json(event), event)

    def _body(self) -> dict[str, Any]:
        candidates = [self._joined(index) for index in sorted(self._candidates)]
        return {**self._envelope, "candidates": candidates}

    def take(self, data: dict[str, Any], event: bytes = b"") -> Chunk | None:
        """One event's part of the answer. Raises ProviderError for an error, and what Python does for nonsense."""
        if data.get("error"):
            raise self._adapter.error(self._response._replace(body=event or orjson.dumps(data)))
        for name in ("responseId", "modelVersion", "usageMetadata", "promptFeedback"):
            value = data.get(name)
            if value is not None:
                self._envelope[name] = value
        choices: list[dict[str, Any]] = []
        text, token = "", False
        for part in data.get("candidates") or ():
            index = part.get("index", 0)
            if type(index) is not int or not 0 <= index < MAX_CANDIDATES:
                raise ValueError("not the number of a candidate")
            candidate = self._candidates.setdefault(index, _StreamedCandidate())
            message = self._add(candidate, part)
            more = bool(message.text or message.thoughts or message.calls)
            reason = self._finish(candidate, part.get("finishReason"), more=more)
            choices.append({"index": index, "delta": _delta(candidate, message), "finish_reason": reason})
            token |= more or (reason is not None and self._characters > 0)
            text += message.text or "" if index == 0 else ""
            candidate.first = False
        self.complete = self._open <= 0
        feedback = self._envelope.get("promptFeedback")
        if not self._candidates and isinstance(feedback, dict) and feedback.get("blockReason"):
            self._open, self.complete, self.ended = 0, True, True
        elif self.complete and data.get("usageMetadata") is not None:
            self.ended = True
        if not choices:
            return None
        model = self._envelope.get("modelVersion") or self._adapter.model
        chunk = {
            "id": self._envelope.get("responseId"),
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": model,
            "choices": choices,
        }
        return Chunk(chunk, text, token)

    def partial(self) -> Usage | None:
        if not self._characters:
            return None
        return usage_of(self._envelope) or estimate_usage(self._request, self._characters)

    def _add(self, candidate: _StreamedCandidate, part: dict[str, Any]) -> Message:
        parts = (part.get("content") or {}).get("parts") or ()
        message = read_parts(parts, self._envelope.get("responseId"), len(candidate.calls))
        if message.text:
            candidate.texts.append(message.text)
        if message.thoughts:
            candidate.thoughts.append(message.thoughts)
        candidate.calls += [each for each in parts if "functionCall" in each]
        if message.signature is not None:
            candidate.rest["thoughtSignature"] = message.signature
        if part.get("logprobsResult"):
            for name, items in part["logprobsResult"].items():
                if isinstance(items, list):
                    candidate.rest.setdefault("logprobsResult", {}).setdefault(name, []).extend(items)
        for name in ("groundingMetadata", "finishMessage"):
            if part.get(name):
                candidate.rest[name] = part[name]
        self._characters += message.characters
        return message

    def _finish(self, candidate: _StreamedCandidate, reason: Any, *, more: bool) -> str | None:
        if more and candidate.reason is not None:  # older models give a reason with each part
            candidate.reason, self.ended = None, False
            self._open += 1
        if reason is None or candidate.reason is not None:
            return None
        candidate.reason = str(reason)
        self._open -= 1
        return finish_reason(reason, bool(candidate.calls))

    def _joined(self, index: int) -> dict[str, Any]:
        """A candidate as a whole answer has it."""
        candidate = self._candidates[index]
        parts: list[dict[str, Any]] = []
        if candidate.thoughts:
            parts.append({"text": "".join(candidate.thoughts), "thought": True})
        rest = dict(candidate.rest)
        signature = rest.pop("thoughtSignature", None)
        if candidate.texts or signature is not None:
            parts.append({"text": "".join(candidate.texts)})
            if signature is not None:
                parts[-1]["thoughtSignature"] = signature
        parts += candidate.calls
        return {"content": {"role": "model", "parts": parts}, "finishReason": candidate.reason, "index": index, **rest}

    def _error_at_the_end(self) -> ProviderError | None:
        """The error that Google writes into a stream as it is, on lines of its own that are no event."""
        end = self._tail.replace(b"\r\n", b"\n").strip().rpartition(b"\n\n")[2]
        try:
            data = orjson.loads(end) if end[:1] in (b"{", b"[") else None
        except ValueError:
            return None
        data = data[0] if isinstance(data, list) and data else data
        if not isinstance(data, dict) or not data.get("error"):
            return None
        return self._adapter.error(self._response._replace(body=end))


def _delta(candidate: _StreamedCandidate, message: Message) -> dict[str, Any]:
    delta = message.body()
    if message.calls:
        first = len(candidate.calls) - len(message.calls)
        delta["tool_calls"] = [{"index": first + number, **call} for number, call in enumerate(message.calls)]
    return {"role": "assistant", **delta} if candidate.first else delta
