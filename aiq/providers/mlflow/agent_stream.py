"""The stream of a ChatAgent of MLflow. Must never know a socket. Source: MLflow's `mlflow.types.agent`."""

from __future__ import annotations

from typing import Any

import orjson

from aiq.providers.base import Chunk, HttpResponse
from aiq.providers.openai.responses_stream import MAX_RESPONSE_BYTES
from aiq.providers.wire.lenient import read_json
from aiq.providers.wire.openai_form import chunk
from aiq.providers.wire.sse import EventParser
from aiq.providers.wire.streams import ReadsErrors, ServerSentEvents, is_done
from aiq.request import AGENTS_DELTA, AGENTS_OWN, Request

MAX_MESSAGES = 1024
_SAID = ("content", "tool_calls", "attachments")
"""Members of a delta that are something: one with none of them has a role, an end or a usage."""


class ChatAgentStream(ServerSentEvents[ReadsErrors]):
    """Reads the stream of a ChatAgent: deltas of messages by their id, and no last word but the stream's end.

    An agent may stop in the middle of a sentence without a trace, so only a stream that says `[DONE]`, or why it
    finished, is a whole answer.
    """

    def __init__(self, adapter: ReadsErrors, request: Request, response: HttpResponse) -> None:
        super().__init__(adapter, request, response, EventParser(MAX_RESPONSE_BYTES))
        self._messages: dict[str, dict[str, Any]] = {}
        self._end: dict[str, Any] = {}

    def _is_over(self, event: bytes) -> bool:
        self.ended = self.ended or is_done(event)
        return self.ended

    @property
    def _is_complete(self) -> bool:
        return bool(self._messages) and (self.ended or self.complete)

    def _body(self) -> dict[str, Any]:
        return {**self._end, "messages": list(self._messages.values())}

    def _read(self, event: bytes) -> Chunk | None:
        data = read_json(event)
        if data.get("error") or data.get("error_code") or data.get("object") == "error":
            raise self._adapter.error(self._response._replace(body=orjson.dumps(data)))
        for name in ("finish_reason", "usage", *AGENTS_OWN):
            if data.get(name) is not None:
                self._end[name] = data[name]
        self.complete = "finish_reason" in self._end
        delta = data.get("delta")
        if delta is None:
            return None
        message = self._messages.get(str(delta.get("id")))
        if message is None:
            if len(self._messages) >= MAX_MESSAGES:
                raise ValueError("too many messages")
            message = self._messages[str(delta.get("id"))] = {"role": delta["role"], "content": None}
        for name, value in delta.items():
            if name == "content":
                if value:
                    message["content"] = (message["content"] or "") + value
                    self._characters += len(value)
            elif value is not None:
                message[name] = value
        if not any(delta.get(name) for name in _SAID):
            return None
        if delta["role"] != "assistant" or not delta.get("content"):  # what it does before it answers
            made = chunk(id=delta.get("id"), created=0, model="", delta={})
            return Chunk({**made, "choices": [], AGENTS_DELTA: delta}, "", True)
        said = {"role": "assistant", "content": delta["content"]}
        made = chunk(id=delta.get("id"), created=0, model="", delta=said)
        return Chunk({**made, AGENTS_DELTA: delta}, delta["content"], True)
