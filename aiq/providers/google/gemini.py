"""Gemini's wire format, `generateContent`, wherever it is served. Must never know an address, sockets or policy.

`palm.py` (the Gemini API) and `vertex.py` add where it is and which credential goes there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import orjson

from aiq.config.endpoint import ServedEntity
from aiq.errors import ProviderError
from aiq.providers.base import HttpRequest, HttpResponse, StatedLimits, StreamDecoder
from aiq.providers.google.answer import finish_reason, log_probabilities, read_parts, usage_of
from aiq.providers.google.embeddings import vectors_of
from aiq.providers.google.errors import error_of
from aiq.providers.google.request import generate_content, thinks_in_levels
from aiq.providers.google.stream import GeminiStream
from aiq.providers.wire.errors import shorten, unusable
from aiq.providers.wire.estimates import estimate_usage
from aiq.providers.wire.external import ExternalAdapter
from aiq.providers.wire.openai_form import usage_body
from aiq.providers.wire.streams import WholeBody, is_events, is_stream, read_events
from aiq.providers.wire.usage import known_or_estimated
from aiq.providers.wire.wholeness import check_end, check_said, end_of
from aiq.request import Answer, Request, Usage


class GeminiAdapter(ExternalAdapter, ABC):
    """What Google's two ways to a model have in common. They set `address` and `_stream_url`, and add credentials."""

    address: str
    _stream_url: str
    _headers: list[tuple[str, str]]

    def __init__(self, entity: ServedEntity, clock: Callable[[], float]) -> None:
        super().__init__(entity, clock)
        self.model = entity.model
        self._levels = thinks_in_levels(entity.model)

    def now(self) -> int:
        """The time of an answer, which Gemini does not tell."""
        return int(self._clock())

    def stated_limits(self, response: HttpResponse) -> StatedLimits | None:
        return None

    @abstractmethod
    def prepare(self) -> None:
        """Looks the credential up. Raises SecretError where there is none."""

    def decoder(self, request: Request, response: HttpResponse) -> StreamDecoder:
        return GeminiStream(self, request, response) if is_stream(response) else WholeBody(self, request, response)

    def encode(self, request: Request, *, stream: bool = False) -> HttpRequest:
        if request.task == "llm/v1/embeddings":
            return HttpRequest(self.address, self._headers, orjson.dumps(self._embed(request.body)))
        wire = generate_content(request.body, self._levels, self._refuse)
        return HttpRequest(self._stream_url if stream else self.address, self._headers, orjson.dumps(wire))

    def decode(self, request: Request, response: HttpResponse) -> Answer:
        if response.status != 200:
            raise self.error(response)
        if is_events(response.body) and request.task != "llm/v1/embeddings":
            return read_events(GeminiStream(self, request, response), response)
        data = self._json(response)
        if isinstance(data, list) and data:  # a stream as an array: `alt=sse` got lost on the way
            return self._streamed(request, data, response)
        if isinstance(data, dict) and data.get("error"):
            raise self.error(response)
        return self.answer(request, data, response)

    def error(self, response: HttpResponse) -> ProviderError:
        """What a response that is an error means."""
        return error_of(response, self._redact)

    def answer(self, request: Request, data: Any, response: HttpResponse) -> Answer:
        """The answer that a parsed body holds. Raises ProviderError where it is not usable."""
        try:
            if request.task == "llm/v1/embeddings":
                return self._embeddings(request, data)
            return self._completion(request, data, response)
        except (KeyError, TypeError, IndexError, AttributeError, ValueError, OverflowError):
            body = self._body(response)
            error = unusable(
                f"the answer is JSON, but not of the form that {request.task} promises: {shorten(body[:300])}",
                response,
                body=body,
                once=True,
            )
            error.usage = usage_of(data)
            raise error from None

    @abstractmethod
    def _embed(self, body: dict[str, Any]) -> dict[str, Any]:
        """A request for embeddings."""

    def _completion(self, request: Request, data: dict[str, Any], response: HttpResponse) -> Answer:
        usage = usage_of(data)
        candidates = data.get("candidates")
        if not candidates:
            raise self._nothing(data, usage, response)
        identity, choices, characters = data.get("responseId"), [], 0
        for number, candidate in enumerate(candidates):
            message = read_parts((candidate.get("content") or {}).get("parts") or (), identity)
            reason = candidate.get("finishReason")
            finished = finish_reason(reason, bool(message.calls))
            if number == 0:
                first, first_reason, text, first_finished = message, reason, message.text, finished
                why = shorten(self._redact(str(candidate.get("finishMessage") or "")))
            characters += message.characters
            choice = {
                "index": candidate.get("index", number),
                "message": {"role": "assistant", "content": None, **message.body()},
                "finish_reason": finished,
            }
            if candidate.get("logprobsResult"):
                choice["logprobs"] = log_probabilities(candidate["logprobsResult"])
            choices.append(choice)
        usage = known_or_estimated(usage, request, characters)
        end, body = end_of("google", first_reason), self._body(response)
        check_end(end, first_reason, raw=body, usage=usage, why=why)
        if not first.calls:
            check_said(text, end, request.body, reasoned=bool(first.thoughts), raw=body, usage=usage)
        model = str(data.get("modelVersion") or self.model)
        logged = {
            "id": identity,
            "object": "chat.completion",
            "created": self.now(),
            "model": model,
            "choices": choices,
            "usage": usage_body(usage),
        }
        raw = self._recorded(orjson.dumps(logged).decode())
        return Answer(text, usage, model, first_finished, raw)

    def _embeddings(self, request: Request, data: dict[str, Any]) -> Answer:
        texts = request.body["input"]
        vectors, tokens = vectors_of(data, 1 if isinstance(texts, str) else len(texts))
        usage = estimate_usage(request, 0) if tokens is None else Usage(tokens, 0)
        items = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]
        logged = {"object": "list", "data": items, "model": self.model, "usage": usage_body(usage)}
        return Answer(vectors, usage, self.model, None, orjson.dumps(logged).decode())

    def _streamed(self, request: Request, events: list[Any], response: HttpResponse) -> Answer:
        stream = GeminiStream(self, request, response)
        for event in events:
            try:
                stream.take(event)
            except (KeyError, TypeError, IndexError, AttributeError, ValueError):
                body = self._body(response)
                words = f"the answer is a list, but not of responses: {shorten(body[:300])}"
                raise unusable(words, response, body=body) from None
        return stream.end()

    def _nothing(self, data: dict[str, Any], usage: Usage | None, response: HttpResponse) -> ProviderError:
        """Why there is no candidate."""
        feedback = data.get("promptFeedback")
        reason = feedback.get("blockReason") if isinstance(feedback, dict) else None
        if reason:
            assert isinstance(feedback, dict)
            words = f"the provider's filter blocked the prompt ({reason})"
            return self._filtered(words, feedback.get("blockReasonMessage"), usage, response)
        error = unusable("the answer holds no candidate", response, body=self._body(response), once=True)
        error.usage = usage
        return error

    def _filtered(self, words: str, why: Any, usage: Usage | None, response: HttpResponse) -> ProviderError:
        words = shorten(self._redact(f"{words}: {why}" if why else words))
        return ProviderError(words, kind="content_filter", status=400, body=self._body(response), usage=usage)
