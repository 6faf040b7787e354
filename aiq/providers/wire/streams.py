"""How streamed answers are read, whatever their events say. Knows no vendor's events, and no socket."""

from __future__ import annotations

from aiq.providers.base import Adapter, Chunk, HttpResponse
from aiq.request import Answer, Request, Usage


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
