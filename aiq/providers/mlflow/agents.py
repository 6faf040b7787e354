"""Agents behind a URL, as MLflow serves and Databricks names them. Must never know sockets, clocks or policy.

`agent/v1/responses` is MLflow's ResponsesAgent; `agent/v2/chat` its ChatAgent, which is the older one. Inside aiq a
request to an agent is a chat. Source: MLflow's `mlflow.types.responses` and `mlflow.types.agent`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from aiq.config.endpoint import ServedEntity
from aiq.providers.base import HttpRequest, HttpResponse, StreamDecoder
from aiq.providers.mlflow.agent_stream import ChatAgentStream
from aiq.providers.mlflow.model_server import ModelServerAdapter
from aiq.providers.openai.responses import has_recording, responses_answer, responses_body
from aiq.providers.openai.responses_stream import ResponsesStream
from aiq.providers.wire.content import spoken
from aiq.providers.wire.errors import shorten, unusable
from aiq.providers.wire.openai_form import completion
from aiq.providers.wire.streams import WholeBody, is_events, is_stream, read_events
from aiq.providers.wire.usage import known_or_estimated, stated_usage
from aiq.providers.wire.wholeness import check_end, check_said, end_of
from aiq.request import AGENTS_OWN, Answer, Request


class AgentAdapter(ModelServerAdapter):
    """Speaks to one agent. What it costs its owner is not known here, so its tokens are those that it reports."""

    def __init__(self, entity: ServedEntity, clock: Callable[[], float]) -> None:
        super().__init__(entity, clock)
        self._responses = entity.task == "agent/v1/responses"

    def streams(self, request: Request) -> bool:
        return True

    def encode(self, request: Request, *, stream: bool = False) -> HttpRequest:
        body = responses_body(request.body) if self._responses else dict(request.body)
        if self._responses and has_recording(body):
            self._refuse("takes no recordings for an agent of the Responses API")
        if stream:
            body["stream"] = True
        return HttpRequest(self.address, self._headers, orjson.dumps(body))

    def decoder(self, request: Request, response: HttpResponse) -> StreamDecoder:
        return self._stream(request, response) if is_stream(response) else WholeBody(self, request, response)

    def _stream(self, request: Request, response: HttpResponse) -> StreamDecoder:
        if self._responses:
            return ResponsesStream(self, request, response, items_end=True)
        return ChatAgentStream(self, request, response)

    def decode(self, request: Request, response: HttpResponse) -> Answer:
        if response.status != 200:
            raise self.error(response)
        if is_events(response.body):
            return read_events(self._stream(request, response), response)
        return self.answer(request, self._json(response), response)

    def answer(self, request: Request, data: Any, response: HttpResponse) -> Answer:
        """The answer that a parsed body holds. Raises ProviderError where it is not usable."""
        raw = self._body(response)
        try:
            if self._responses:
                answer = responses_answer(request, _unanswered(data), raw, self._model, self._redact, self._recorded)
            else:
                answer = self._chat(request, data)
            return answer._replace(raw=self._with_own(answer.raw, data))
        except (KeyError, TypeError, IndexError, AttributeError, ValueError, OverflowError):
            words = f"the answer is JSON, but not of the form that {self._entity.task} promises: {shorten(raw[:300])}"
            raise unusable(words, response, body=raw, once=True) from None

    def _with_own(self, raw: str, data: dict[str, Any]) -> str:
        """The recorded answer with what an agent gives beside it: its items or messages, its outputs, its trace."""
        own = {name: data[name] for name in ("output", "messages", *AGENTS_OWN) if data.get(name)}
        return self._recorded(orjson.dumps({**orjson.loads(raw), **own}).decode())

    def _chat(self, request: Request, data: dict[str, Any]) -> Answer:
        messages = data["messages"]
        said = [each for each in messages if each["role"] == "assistant"]
        content, thoughts = spoken(said[-1].get("content"))
        usage = known_or_estimated(stated_usage(data), request, len(content or ""))
        reason = data.get("finish_reason")
        calls, raw = said[-1].get("tool_calls"), orjson.dumps(data).decode()
        end = end_of("openai", reason)
        check_end(end, reason, raw=raw, usage=usage)
        if not calls:
            check_said(content, end, request.body, reasoned=bool(thoughts), raw=raw, usage=usage)
        reason = reason if isinstance(reason, str) else "stop"
        logged = completion(
            id=said[-1].get("id"),
            created=int(self._clock()),
            model=self._model,
            content=content,
            finish_reason=reason,
            usage=usage,
            tool_calls=calls,
            reasoning=thoughts,
        )
        return Answer(content, usage, self._model, reason, self._recorded(orjson.dumps(logged).decode()))


def _unanswered(data: dict[str, Any]) -> dict[str, Any]:
    """A response without the calls of tools that its agent has answered itself: they ask nothing of the caller."""
    items = data["output"]
    answered = {item.get("call_id") for item in items if item.get("type") == "function_call_output"}
    if not answered:
        return data
    left = [item for item in items if item.get("type") != "function_call" or item.get("call_id") not in answered]
    return {**data, "output": left}
