"""What a transport does: sends a POST, and reads its response at once or as it comes. Knows HTTP, not its contents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from aiq.providers.base import HttpRequest, HttpResponse

MAX_CONNECTIONS = 4096


class ResponseStream(Protocol):
    """A response whose body is read as it comes. It is closed by its opener, which ends an unfinished answer."""

    @property
    def status(self) -> int: ...

    @property
    def header(self) -> Callable[[str], str | None]: ...

    async def read(self, wait_s: float) -> bytes:
        """The next piece of the body, empty at its end.

        Raises TimeoutError after `wait_s` seconds without one, and ProviderError of kind network, timeout (of the
        whole request) or bad_request (larger than the cap).
        """
        ...

    async def close(self) -> None: ...


class Transport(Protocol):
    """Sends one POST and reads the response at once, or as it comes."""

    async def send(self, request: HttpRequest, timeout_s: float) -> HttpResponse:
        """Raises ProviderError of kind network, timeout or bad_answer (larger than the cap)."""
        ...

    async def stream(self, request: HttpRequest, timeout_s: float, wait_s: float) -> ResponseStream:
        """Returns with the headers. `timeout_s` is for the whole response, `wait_s` for the headers alone.

        Raises TimeoutError after `wait_s` seconds without them, and ProviderError as `send` does.
        """
        ...

    async def close(self) -> None: ...
