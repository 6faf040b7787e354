"""OpenAI's streamed answers: chunks as they come, and the whole answer they add up to. Must never know a socket.

Source: the OpenAI API reference, "Streaming": events of JSON, the usage in one without choices, `[DONE]` at the end.
Servers that speak the same leave out the usage or `[DONE]`, so an answer is whole when each choice has its reason.
"""

from __future__ import annotations

from typing import Any

import orjson

from aiq.providers.base import Chunk, HttpResponse
from aiq.providers.wire.content import spoken
from aiq.providers.wire.lenient import read_json
from aiq.providers.wire.sse import EventParser
from aiq.providers.wire.streams import MAX_EVENT_BYTES, ReadsErrors, ServerSentEvents, is_done
from aiq.request import Request

_TELLING = frozenset({"message", "msg", "status", "status_code", "code", "reason", "base_resp", "exception", "title"})
"""Members of an event that is no chunk and may well tell that something went wrong."""
MAX_CHOICES = 128
"""OpenAI's limit of `n`; also of tool calls in one answer."""


_LISTS = frozenset({"reasoning_details", "thinking_blocks"})
"""Thoughts as routers send them: each event has new ones."""


class OpenAIStream(ServerSentEvents[ReadsErrors]):
    """Reads one streamed chat completion or completion."""

    def __init__(self, adapter: ReadsErrors, request: Request, response: HttpResponse) -> None:
        super().__init__(adapter, request, response, EventParser(MAX_EVENT_BYTES))
        self._choices: dict[int, dict[str, Any]] = {}
        self._open = request.body.get("n") or 1
        self._reasons_repeat = self._said = self._odd = False
        self.complete = self._open <= 0
        self._envelope: dict[str, Any] = {}
        self._usage: Any = None
        self._tier: dict[str, Any] = {}

    def _is_over(self, event: bytes) -> bool:
        self.ended = self.ended or is_done(event)
        return self.ended

    def _body(self) -> dict[str, Any]:
        choices = [self._choices[index] for index in sorted(self._choices)]
        return {
            **self._envelope,
            **self._tier,
            "choices": [_joined(choice) for choice in choices],
            "usage": self._usage,
        }

    @property
    def _is_complete(self) -> bool:
        """A server that gives a reason with each chunk says the end by `[DONE]` alone."""
        if self._open > 0:  # `[DONE]` without a reason: an end, unless something else than chunks came before it
            return self.ended and not self._odd
        return self.ended or not self._reasons_repeat

    def _is_error(self, data: Any) -> bool:
        """Whether an event tells an error."""
        return is_error(data)

    def _read(self, event: bytes) -> Chunk | None:
        data = read_json(event)
        if self._is_error(data):
            raise self._adapter.error(self._response._replace(body=event))
        usage = data.get("usage")
        if usage is None and isinstance(data.get("x_groq"), dict):
            usage = data["x_groq"].get("usage")
        if usage is not None and (not self._usage or _counts(usage)):
            self._usage = usage  # not a row of zeros in place of what was counted
        if data.get("service_tier"):
            self._tier["service_tier"] = data["service_tier"]
        if not self._envelope:
            kind = "chat.completion" if self._request.task == "llm/v1/chat" else "text_completion"
            self._envelope = {"id": data.get("id"), "object": kind, "created": data.get("created")}
        if data.get("model"):
            self._envelope["model"] = data["model"]
        choices = data.get("choices")
        if not choices:  # the usage, or Azure's word on the prompt
            self._odd = self._odd or ("choices" not in data and usage is None and bool(data.keys() & _TELLING))
            self.complete = self._open <= 0 and not self._reasons_repeat
            self.ended = self.complete and usage is not None
            return None
        text, token = "", False
        for part in choices:
            index = part.get("index", 0)
            if type(index) is not int or not 0 <= index < MAX_CHOICES:
                raise ValueError("not the number of a choice")
            if part.get("usage") and not self._usage:  # Moonshot's place for it
                self._usage = part["usage"]
            if part.get("error"):  # a router's, in place of the rest
                body = orjson.dumps({"error": part["error"]})
                raise self._adapter.error(self._response._replace(body=body))
            choice = self._choices.setdefault(index, {"index": index, "finish_reason": None})
            added, new = self._add(choice, part)
            token |= new
            text += added if index == 0 else ""
        return Chunk(data, text, token)

    def _add(self, choice: dict[str, Any], part: dict[str, Any]) -> tuple[str, bool]:
        """Adds a chunk's part of a choice: its new text, and whether there was anything new at all."""
        if part.get("logprobs"):
            for name, items in part["logprobs"].items():
                choice.setdefault("logprobs", {}).setdefault(name, []).extend(items or ())
        if self._request.task == "llm/v1/chat":
            before, delta = self._characters, part.get("delta") or {}
            if isinstance(delta.get("content"), list):
                delta = part["delta"] = _with_text(delta)
            text = delta.get("content") or ""
            self._merge(choice.setdefault("message", {"role": "assistant", "content": None}), delta)
            token = self._characters > before or bool(delta.get("tool_calls"))
        else:
            text = part.get("text") or ""
            choice.setdefault("text", []).append(text)
            self._characters += len(text)
            token = bool(text)
        reason = part.get("finish_reason")
        reason = None if isinstance(reason, str) and reason.lower() in ("", "null", "none") else reason
        if token and choice["finish_reason"] is not None:  # it went on after its reason
            choice["finish_reason"], self._reasons_repeat = None, True
            self._open += 1
        if reason and choice["finish_reason"] is None:
            choice["finish_reason"] = reason
            self._open -= 1
            # A reason that comes with text may be one that comes with each: only the end says that it was the last.
            self.complete = self._open <= 0 and not token and not self._reasons_repeat
        self._said = self._said or token
        return text, token or (bool(reason) and self._said)  # an end of nothing is no part of an answer

    def _merge(self, message: dict[str, Any], delta: dict[str, Any]) -> None:
        """Adds a delta: texts grow (as lists of their pieces), what has an index belongs to the one of that index."""
        for name, value in delta.items():
            if value is None or value == "":
                continue
            if name in ("role", "id", "type", "name", "index"):
                message[name] = value
            elif isinstance(value, str):
                pieces = message.get(name)
                if not isinstance(pieces, list):
                    pieces = message[name] = []
                pieces.append(value)
                self._characters += len(value)
            elif name == "tool_calls":
                calls = message.setdefault(name, {})
                for call in value:
                    index = call.get("index", len(calls))
                    if not 0 <= index < MAX_CHOICES:
                        raise ValueError("not the number of a tool call")
                    self._merge(calls.setdefault(index, {}), {k: v for k, v in call.items() if k != "index"})
            elif name in _LISTS and isinstance(value, list):
                message[name] = [*message.get(name, ()), *value]
            elif isinstance(value, dict):
                self._merge(message.setdefault(name, {}), value)
            else:
                message[name] = value


def _joined(choice: dict[str, Any]) -> dict[str, Any]:
    """A choice as a whole answer has it."""
    return {name: _join(name, value) for name, value in choice.items()}


def _join(name: str, value: Any) -> Any:
    if name == "tool_calls" and isinstance(value, dict):
        return [_joined(value[index]) for index in sorted(value)]
    if isinstance(value, list) and value and all(isinstance(piece, str) for piece in value):
        return "".join(value)
    if isinstance(value, dict) and name != "logprobs":
        return _joined(value)
    return value


def _counts(usage: Any) -> bool:
    """Whether a usage counts anything."""
    values = usage.values() if isinstance(usage, dict) else ()
    return any(isinstance(value, int | float) and value > 0 for value in values)


def is_error(data: Any) -> bool:
    """Whether a body or an event of a 200 is an error: by its name, or by what stands in the answer's place."""
    if not isinstance(data, dict):
        return False
    if data.get("error") or data.get("object") == "error" or data.get("type") == "error":
        return True
    reported = data.get("error_code") or data.get("detail") or (data.get("message") and data.get("code"))
    return bool(reported) and "choices" not in data and "data" not in data


def _with_text(delta: dict[str, Any]) -> dict[str, Any]:
    """A delta whose content is a list of parts, with the text and the thoughts of those."""
    text, thoughts = spoken(delta["content"])
    said = {name: value for name, value in delta.items() if name != "content"}
    if text is not None:
        said["content"] = text
    if thoughts:
        said["reasoning_content"] = thoughts
    return said
