"""Agents behind a URL, as MLflow serves and Databricks names them. Must never know sockets, clocks or policy.

`agent/v1/responses` is MLflow's ResponsesAgent; `agent/v2/chat` its ChatAgent, which is the older one. Inside aiq a
request to an agent is a chat. Source: MLflow's `mlflow.types.responses` and `mlflow.types.agent`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from aiq.config.endpoint import ServedEntity
from aiq.errors import ProviderError
from aiq.providers.base import Chunk, HttpRequest, HttpResponse, StreamDecoder
from aiq.providers.mlflow.model_server import ModelServerAdapter
from aiq.providers.openai.adapter import openai_usage
from aiq.providers.openai.responses import responses_answer, responses_body
from aiq.providers.openai.responses_stream import MAX_EVENT_BYTES, ResponsesStream
from aiq.providers.wire.errors import shorten, unusable
from aiq.providers.wire.estimates import estimate_usage
from aiq.providers.wire.openai_form import chunk, completion
from aiq.providers.wire.sse import EventParser, EventTooLarge
from aiq.providers.wire.streams import WholeBody, is_stream
from aiq.request import Answer, Request, Usage

MAX_MESSAGES = 1024


class AgentAdapter(ModelServerAdapter):
    """Speaks to one agent. What it costs its owner is not known here, so its tokens are those that it reports."""

    def __init__(self, entity: ServedEntity, clock: Callable[[], float]) -> None:
        super().__init__(entity, clock)
        self._responses = entity.task == "agent/v1/responses"

    def streams(self, request: Request) -> bool:
        return True

    def encode(self, request: Request, *, stream: bool = False) -> HttpRequest:
        body = responses_body(request.body) if self._responses else dict(request.body)
        if stream:
            body["stream"] = True
        return HttpRequest(self.address, self._headers, orjson.dumps(body))

    def decoder(self, request: Request, response: HttpResponse) -> StreamDecoder:
        if not is_stream(response):
            return WholeBody(self, request, response)
        if self._responses:
            return ResponsesStream(self, request, response, items_end=True)
        return ChatAgentStream(self, request, response)

    def decode(self, request: Request, response: HttpResponse) -> Answer:
        if response.status != 200:
            raise self.error(response)
        return self.answer(request, self._json(response), response)

    def answer(self, request: Request, data: Any, response: HttpResponse) -> Answer:
        """The answer that a parsed body holds. Raises ProviderError where it is not usable."""
        raw = self._body(response)
        try:
            if self._responses:
                return responses_answer(request, data, raw, self._model, self._redact)
            return self._chat(request, data)
        except (KeyError, TypeError, IndexError, AttributeError, ValueError, OverflowError):
            words = f"the answer is JSON, but not of the form that {self._entity.task} promises: {shorten(raw[:300])}"
            raise unusable(words, response, body=raw) from None

    def _chat(self, request: Request, data: dict[str, Any]) -> Answer:
        messages = data["messages"]
        said = [each for each in messages if each["role"] == "assistant"]
        content = said[-1].get("content")
        if content is not None and not isinstance(content, str):
            raise TypeError("content is not text")
        usage = openai_usage(data.get("usage")) or estimate_usage(request, len(content or ""))
        reason = data.get("finish_reason")
        reason = reason if isinstance(reason, str) else "stop"
        whole = completion(
            id=said[-1].get("id"),
            created=int(self._clock()),
            model=self._model,
            content=content,
            finish_reason=reason,
            usage=usage,
            tool_calls=said[-1].get("tool_calls"),
        )
        return Answer(content, usage, self._model, reason, self._redact(orjson.dumps(whole).decode()))


class ChatAgentStream:
    """Reads the stream of a ChatAgent: deltas of messages by their id, and no last word but the stream's end.

    An agent may stop in the middle of a sentence without a trace, so only a stream that says `[DONE]`, or why it
    finished, is a whole answer.
    """

    def __init__(self, whole: AgentAdapter, request: Request, response: HttpResponse) -> None:
        self._whole, self._request, self._response = whole, request, response
        self._events = EventParser(MAX_EVENT_BYTES)
        self._messages: dict[str, dict[str, Any]] = {}
        self._end: dict[str, Any] = {}
        self._characters = 0
        self.ended = False

    @property
    def complete(self) -> bool:
        return "finish_reason" in self._end

    def feed(self, piece: bytes) -> list[Chunk]:
        try:
            events = self._events.feed(piece)
        except EventTooLarge as error:
            raise unusable(f"the stream cannot be read: {error}", self._response) from None
        chunks: list[Chunk] = []
        for event in events:
            if event.strip() == b"[DONE]":
                self.ended = True
                break
            try:
                made = self._chunk(orjson.loads(event))
            except (KeyError, TypeError, AttributeError, ValueError):
                words = shorten(event[:300].decode("utf-8", "replace"))
                raise unusable(f"an event of the stream is malformed: {words}", self._response) from None
            if made is not None:
                chunks.append(made)
        return chunks

    def end(self) -> Answer:
        if not (self.ended or self.complete) or not self._messages:
            begun = "before the answer was finished" if self._characters else "without an answer"
            raise unusable(f"the stream ended {begun}", self._response)
        data = {**self._end, "messages": list(self._messages.values())}
        return self._whole.answer(self._request, data, self._response._replace(body=orjson.dumps(data)))

    def partial(self) -> Usage | None:
        return estimate_usage(self._request, self._characters) if self._characters else None

    def _chunk(self, data: dict[str, Any]) -> Chunk | None:
        if data.get("error") or data.get("error_code"):
            raise self._error(data)
        for name in ("finish_reason", "usage"):
            if data.get(name) is not None:
                self._end[name] = data[name]
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
        if delta["role"] != "assistant" or not delta.get("content"):
            return None
        said = {"role": "assistant", "content": delta["content"]}
        return Chunk(chunk(id=delta.get("id"), created=0, model="", delta=said), delta["content"], True)

    def _error(self, data: dict[str, Any]) -> ProviderError:
        return self._whole.error(self._response._replace(body=orjson.dumps(data)))
