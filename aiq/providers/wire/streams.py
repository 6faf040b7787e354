"""How streamed answers are read, whatever their events say. Knows no vendor's events, and no socket."""

from __future__ import annotations

import codecs
from abc import ABC, abstractmethod
from typing import Any, Generic, Protocol, TypeVar

import orjson

from aiq.errors import ProviderError
from aiq.providers.base import Adapter, Chunk, HttpResponse, StreamDecoder
from aiq.providers.wire.errors import shorten, unusable
from aiq.providers.wire.estimates import estimate_usage
from aiq.providers.wire.event_stream import EventMessage
from aiq.providers.wire.sse import ErrorEvent
from aiq.request import Answer, Request, Usage

MAX_EVENT_BYTES = 8 * 1024 * 1024
"""Of one event, where a provider's events are not larger by their nature."""


class ReadsAnswers(Protocol):
    """The part of an adapter that reads whole answers of its format."""

    def answer(self, request: Request, data: Any, response: HttpResponse) -> Answer: ...


class ReadsErrors(ReadsAnswers, Protocol):
    """The part of an adapter that reads whole answers and errors of its format."""

    def error(self, response: HttpResponse) -> ProviderError: ...


A = TypeVar("A", bound=ReadsAnswers)
E = TypeVar("E", bytes, EventMessage)


class EventReader(Protocol[E]):
    """Finds events in bytes that arrive in any pieces. Raises ValueError for what it cannot read."""

    def feed(self, piece: bytes) -> list[E]: ...


class EventStream(ABC, Generic[A, E]):
    """Reads one streamed answer. A vendor's class says what an event means (`_read`) and what they add up to (`_body`).

    `ended` and `complete` are those of `StreamDecoder`; an answer of which the stream says neither is not complete.
    """

    def __init__(self, adapter: A, request: Request, response: HttpResponse, events: EventReader[E]) -> None:
        self._adapter, self._request, self._response = adapter, request, response
        self._events: EventReader[E] = events
        self._characters = 0
        """Of the answer so far: texts, thoughts, arguments of tools."""
        self.ended = self.complete = False

    def feed(self, piece: bytes) -> list[Chunk]:
        """The chunks that a piece of the body completes. Raises ProviderError for an error in the stream."""
        try:
            events = self._events.feed(piece)
        except ValueError as error:
            raise unusable(f"the stream cannot be read: {error}", self._response) from None
        chunks = []
        for event in events:
            if self._is_over(event):
                break
            try:
                chunk = self._read_any(event)
            except (KeyError, TypeError, IndexError, AttributeError, ValueError):
                payload = event.payload if isinstance(event, EventMessage) else event
                words = shorten(payload[:300].decode("utf-8", "replace"))
                raise unusable(f"an event of the stream is malformed: {words}", self._response) from None
            if chunk is not None:
                chunks.append(chunk)
        return chunks

    def end(self) -> Answer:
        """The whole answer, when the body is over. Raises ProviderError where it broke off or is unusable."""
        if not self._is_complete:
            begun = "before the answer was finished" if self._characters else "without an answer"
            raise unusable(f"the stream ended {begun}", self._response)
        body = self._body()
        return self._adapter.answer(self._request, body, self._response._replace(body=orjson.dumps(body)))

    def partial(self) -> Usage | None:
        """What the provider is likely to bill if it is left now, estimated; None before the first token."""
        return estimate_usage(self._request, self._characters) if self._characters else None

    @property
    def _is_complete(self) -> bool:
        return self.ended or self.complete

    def _is_over(self, event: E) -> bool:
        """Whether an event, and what follows it, is no part of the answer."""
        return self.ended

    def _read_any(self, event: E) -> Chunk | None:
        return self._read(event)

    @abstractmethod
    def _read(self, event: E) -> Chunk | None:
        """Takes one event. Raises ProviderError for an error, and what Python raises for nonsense."""

    @abstractmethod
    def _body(self) -> dict[str, Any]:
        """The whole answer in the provider's form."""


R = TypeVar("R", bound=ReadsErrors)


class ServerSentEvents(EventStream[R, bytes], Generic[R]):
    """Reads one answer out of server-sent events. An event that is called `error` is one, in whatever words."""

    def _read_any(self, event: bytes) -> Chunk | None:
        if isinstance(event, ErrorEvent):
            raise self._adapter.error(self._response._replace(body=bytes(event)))
        return self._read(event)


def read_events(decoder: StreamDecoder, response: HttpResponse) -> Answer:
    """The answer of a body that is a stream, though none was asked for."""
    decoder.feed(bytes(response.body))
    return decoder.end()


def is_events(body: bytes) -> bool:
    """Whether a body is a stream of events, whatever its headers say."""
    return bytes(body[:64]).removeprefix(codecs.BOM_UTF8).lstrip().startswith((b"data:", b"event:", b"id:", b":"))


def is_done(event: bytes) -> bool:
    """Whether an event is OpenAI's last word, which others use too."""
    return event.strip() == b"[DONE]"


class WholeBody:
    """Reads a response that is not a stream, though one was asked for: an error, or a server that cannot stream."""

    ended = complete = False

    def __init__(self, adapter: Adapter, request: Request, response: HttpResponse) -> None:
        self._adapter, self._request, self._response = adapter, request, response
        self._pieces: list[bytes] = []

    def feed(self, piece: bytes) -> list[Chunk]:
        self._pieces.append(piece)
        return []

    def end(self) -> Answer:
        return self._adapter.decode(self._request, self._response._replace(body=b"".join(self._pieces)))

    def partial(self) -> Usage | None:
        return None


def is_stream(response: HttpResponse) -> bool:
    """Whether a response holds server-sent events, as far as its status and headers say."""
    kind = (response.header("content-type") or "").lower()
    return response.status == 200 and not ("json" in kind or "html" in kind)
