"""Cohere: chat and embeddings by version 2 of its API. Must never know sockets or policy.

Source: Cohere's OpenAPI description, its page of errors and its page of rate limits.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import Any

import orjson

from aiq.config.connections import KeyConfig
from aiq.config.endpoint import ServedEntity
from aiq.errors import ErrorKind, ProviderError
from aiq.providers.abilities import Abilities
from aiq.providers.base import HttpRequest, HttpResponse, StatedLimit, StatedLimits, StreamDecoder
from aiq.providers.cohere.answer import FAILED, content_of, finish_reason, usage_of
from aiq.providers.cohere.request import HONOURED, MOST_TEXTS, OWN, chat_body, embeddings_body
from aiq.providers.cohere.stream import CohereStream
from aiq.providers.openai.adapter import vector
from aiq.providers.wire.errors import error_from_body, shorten, unusable
from aiq.providers.wire.external import ExternalAdapter
from aiq.providers.wire.http import kind_of_status
from aiq.providers.wire.openai_form import completion, tool_call
from aiq.providers.wire.streams import WholeBody, is_events, is_stream, read_events
from aiq.providers.wire.usage import known_or_estimated
from aiq.providers.wire.waiting import refusal
from aiq.providers.wire.wholeness import check_end, check_said, end_of
from aiq.providers.wire.words import is_too_long
from aiq.request import Answer, Request, Usage

ADDRESS = "https://api.cohere.com"

_KINDS: dict[int, ErrorKind] = {
    498: "content_filter",  # "a request or response contains a deny-listed token"
    499: "overloaded",  # cancelled: "try the request again"
    501: "bad_request",
}
_TOO_LONG = re.compile(
    r"too many tokens(?!: max tokens)|context (length|window)|(input|prompt|message)s? (is|are) too long", re.IGNORECASE
)
_COUNT = re.compile(r"\d{1,9}", re.ASCII)
_OF_A_MONTH = re.compile(r"/ ?month|per month|monthly", re.IGNORECASE)


class CohereAdapter(ExternalAdapter):
    """Speaks to one model."""

    abilities = Abilities(
        {"llm/v1/chat": HONOURED, "llm/v1/embeddings": frozenset({"dimensions"})},
        own=OWN,
        most_inputs=lambda model: MOST_TEXTS,
    )

    def __init__(self, entity: ServedEntity, clock: Callable[[], float]) -> None:
        super().__init__(entity, clock)
        assert isinstance(entity.config, KeyConfig)
        self._config = entity.config
        base = (entity.config.api_base or ADDRESS).rstrip("/")
        base = base.removesuffix("/v1").removesuffix("/v2")  # an address of the SDK's first version has it
        self.address = self._url = f"{base}/v2/{'embed' if entity.task == 'llm/v1/embeddings' else 'chat'}"
        self._headers: list[tuple[str, str]] = []

    def prepare(self) -> None:
        if not self._headers:
            key = self._config.api_key.reveal()
            self._secrets = (key,)
            self._headers = [("content-type", "application/json"), ("authorization", f"Bearer {key}")]

    def stated_limits(self, response: HttpResponse) -> StatedLimits | None:
        """Of a trial key, in calls a minute; for others Cohere states nothing."""
        left = response.header("x-trial-endpoint-call-remaining")
        if left is None:
            return None
        limit = response.header("x-trial-endpoint-call-limit") or ""
        if not (_COUNT.fullmatch(limit) and _COUNT.fullmatch(left) and int(limit)):
            return None
        return StatedLimits(StatedLimit(float(limit), min(float(left), float(limit)), None), None)

    def encode(self, request: Request, *, stream: bool = False) -> HttpRequest:
        model, refuse = self._entity.model, self._refuse
        try:
            if request.task == "llm/v1/embeddings":
                body = embeddings_body(request.body, model, refuse)
            else:
                body = chat_body(request.body, model, refuse, stream=stream)
            return HttpRequest(self._url, self._headers, orjson.dumps(body))
        except (KeyError, TypeError, AttributeError, ValueError):
            refuse("takes messages, tools and response_format in OpenAI's form, and these are not")

    def decoder(self, request: Request, response: HttpResponse) -> StreamDecoder:
        return self._stream(request, response) if is_stream(response) else WholeBody(self, request, response)

    def _stream(self, request: Request, response: HttpResponse) -> StreamDecoder:
        return CohereStream(self, request, response, self._entity.model, int(self._clock()))

    def decode(self, request: Request, response: HttpResponse) -> Answer:
        if response.status != 200:
            raise self.error(response)
        if is_events(response.body) and request.task != "llm/v1/embeddings":
            return read_events(self._stream(request, response), response)
        data = self._json(response)
        if isinstance(data, dict) and isinstance(data.get("message"), str):  # an error in a 200
            raise self.error(response)
        if request.task == "llm/v1/embeddings":
            return self._embeddings(request, data, response)
        return self.answer(request, data, response)

    def answer(self, request: Request, data: Any, response: HttpResponse) -> Answer:
        """The answer that a body of `/v2/chat` holds. Raises ProviderError where it is not usable."""
        usage = None
        try:
            usage = usage_of(data.get("usage"))
            reason = str(data["finish_reason"])
            if reason in FAILED:
                raise self.failed(reason, data.get("error"), usage)
            texts, thoughts = content_of(data["message"])
            calls = [
                tool_call(call["id"], call["function"]["name"], call["function"].get("arguments") or "{}")
                for call in data["message"].get("tool_calls") or ()
            ]
            text = "".join(texts) if texts else None
            usage = known_or_estimated(usage, request, sum(map(len, texts)) + sum(map(len, thoughts)))
            finish, end, body = finish_reason(reason), end_of("cohere", reason), self._body(response)
            check_end(end, reason, raw=body, usage=usage)
            if not calls:
                check_said(text, end, request.body, reasoned=bool(thoughts), raw=body, usage=usage)
            id, created, model = data.get("id"), int(self._clock()), self._entity.model
            logged = completion(
                id=id if isinstance(id, str) else None, created=created, model=model, content=text,
                finish_reason=finish, usage=usage, tool_calls=calls, reasoning="".join(thoughts),
            )  # fmt: skip
            return Answer(text, usage, model, finish, self._recorded(orjson.dumps(logged).decode()))
        except (KeyError, TypeError, IndexError, AttributeError, ValueError):
            raise self._unusable("/v2/chat", response, usage) from None

    def _embeddings(self, request: Request, data: Any, response: HttpResponse) -> Answer:
        usage = None
        try:
            usage = usage_of(data.get("meta"))
            form = (request.body.get("embedding_types") or ["float"])[0]
            vectors = [vector(each) for each in data["embeddings"][form]]
            texts = request.body["input"]
            if len(vectors) != (1 if isinstance(texts, str) else len(texts)):
                raise ValueError("not one vector per input")
        except (KeyError, TypeError, IndexError, AttributeError, struct.error, ValueError, OverflowError):
            raise self._unusable("/v2/embed", response, usage) from None
        return Answer(vectors, known_or_estimated(usage, request, 0), self._entity.model, None, self._body(response))

    def failed(self, reason: str, words: Any, usage: Usage | None) -> ProviderError:
        """What a finish reason that is an error means."""
        kind, status, what = FAILED[reason]
        reason_given = shorten(self._redact(words)) if isinstance(words, str) and words else f"finish_reason {reason}"
        return ProviderError(f"{what}: {reason_given}", kind=kind, status=status, usage=usage)

    def error(self, response: HttpResponse) -> ProviderError:
        """What a response that is an error means."""
        status, body = response.status, self._body(response)
        try:
            words = orjson.loads(response.body).get("message")
        except (ValueError, AttributeError):
            words = None
        if status == 200:  # in a stream, or with the wrong status: as bad as a failure of theirs
            status = 502
        message = shorten(self._redact(words)) if isinstance(words, str) else ""
        message = message or error_from_body(status, body)
        if 300 <= status < 400:
            message = f"HTTP {status}: the provider redirects, and a redirect is never followed with a credential"
        kind = _KINDS.get(status) or kind_of_status(status)
        if status == 429 and _OF_A_MONTH.search(message):
            kind = "quota_exhausted"
        elif status in (400, 413, 422) and (_TOO_LONG.search(message) or is_too_long(message)):
            kind = "context_length"
        return refusal(message, kind=kind, status=status, response=response, body=body)

    def _unusable(self, path: str, response: HttpResponse, usage: Usage | None) -> ProviderError:
        body = self._body(response)
        words = f"the answer is JSON, but not of the form that {path} promises: {shorten(body[:300])}"
        error = unusable(words, response, body=body, once=True)
        error.usage = usage  # it is billed all the same
        return error
