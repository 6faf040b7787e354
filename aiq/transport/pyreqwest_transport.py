"""The default transport: reqwest, by pyreqwest."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from aiq.config.endpoint import Settings
from aiq.config.tls import TlsConfig
from aiq.errors import ProviderError
from aiq.forked import note_use
from aiq.providers.base import HttpRequest, HttpResponse
from aiq.transport.failures import broken_off, check_tls, timed_out, too_large, unreachable, unusable_settings
from aiq.transport.httpx_transport import HttpxTransport
from aiq.transport.protocol import MAX_CONNECTIONS, ResponseStream
from aiq.transport.watchdog import Watchdog

if TYPE_CHECKING:
    import pyreqwest.client
    import pyreqwest.request
    import pyreqwest.response
    from pyreqwest.exceptions import PyreqwestError

_TOO_MANY_HEADERS = "message head is too large"
"""Of more than 100 headers, a bound of reqwest that cannot be set."""
MAX_REMEMBERED = 256
"""URLs and time limits that are kept as the HTTP client wants them."""


def _seconds(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


class PyreqwestTransport:
    """reqwest, by pyreqwest: TLS, HTTP/2, connection reuse. Bound to the event loop it is first used on."""

    def __init__(self, settings: Settings, *, tls: TlsConfig | None = None) -> None:
        from pyreqwest.client import ClientBuilder
        from pyreqwest.exceptions import PyreqwestError, RequestTimeoutError
        from pyreqwest.http import Url
        from pyreqwest.proxy import ProxyBuilder

        builder = (
            ClientBuilder()
            .runtime_multithreaded(False)
            .follow_redirects(False)
            .referer(False)
            .max_connections(MAX_CONNECTIONS)
            .pool_max_idle_per_host(MAX_CONNECTIONS)
            .pool_idle_timeout(timedelta(seconds=60))
            .connect_timeout(timedelta(seconds=settings.connect_timeout_s))
            .read_timeout(timedelta(seconds=settings.read_timeout_s))
            .tcp_nodelay(True)
        )
        if tls is not None:
            check_tls(tls, ssl.create_default_context())  # reqwest takes a certificate with another's key
        try:
            if tls is not None and tls.ca_file:
                builder = builder.add_root_certificate_pem(Path(tls.ca_file).read_bytes())
            if tls is not None and tls.client_certificate and tls.client_key:
                files = dict.fromkeys((tls.client_certificate, tls.client_key))
                builder = builder.identity_pem(b"\n".join(Path(file).read_bytes() for file in files))
            if settings.proxy:
                builder = builder.proxy(ProxyBuilder.all(settings.proxy))
            if settings.ca_file:
                ssl.create_default_context(cafile=settings.ca_file)  # reqwest takes a file without a certificate
                builder = builder.add_root_certificate_pem(Path(settings.ca_file).read_bytes())
            self._client: pyreqwest.client.Client = builder.build()
            note_use("pyreqwest")
        except (PyreqwestError, OSError, ValueError) as error:
            raise unusable_settings(error) from None
        self._settings, self._tls = settings, tls
        self._httpx: HttpxTransport | None = None
        self._many_headers: set[str] = set()
        self.limit, self._read_timeout_s = settings.max_response_bytes, settings.read_timeout_s
        self.failed, self._timed_out = PyreqwestError, RequestTimeoutError
        # A process has few endpoints, and each asks the same place with the same patience.
        self._url, self._seconds = lru_cache(MAX_REMEMBERED)(Url), lru_cache(MAX_REMEMBERED)(_seconds)

    async def send(self, request: HttpRequest, timeout_s: float) -> HttpResponse:
        if self._many_headers and _origin(request.url) in self._many_headers:
            return await self._other().send(request, timeout_s)
        begun = False
        try:
            async with (
                # In no local: what its headers say would be in tracebacks that show locals.
                self._client.post(self._url(request.url))
                .headers(request.headers)
                .timeout(self._seconds(timeout_s))
                .body_bytes(request.body)
                .build_streamed()
            ) as response:
                begun = True
                reader = response.body_reader
                body = await reader.read(self.limit + 1)
                if body is None:
                    return HttpResponse(response.status, _headers(response), b"")
                if len(body) > self.limit:
                    raise too_large(self.limit)
                return HttpResponse(response.status, _headers(response), memoryview(body))  # type: ignore[arg-type]
        except self._timed_out:
            raise timed_out(timeout_s, self._read_timeout_s) from None
        except self.failed as error:
            raise broken_off(error, request.url) if begun else self._unreachable(error, request.url) from None

    async def stream(self, request: HttpRequest, timeout_s: float, wait_s: float) -> ResponseStream:
        if self._many_headers and _origin(request.url) in self._many_headers:
            return await self._other().stream(request, timeout_s, wait_s)
        stream = _PyreqwestStream(
            self,
            self._client.post(self._url(request.url))
            .headers(request.headers)
            .timeout(self._seconds(timeout_s))
            .body_bytes(request.body)
            .streamed_read_buffer_limit(0)  # else it would collect the body's beginning before it returns
            .build_streamed(),
            request.url,
            timeout_s,
        )
        await stream.open(wait_s)
        return stream

    def translated(self, error: PyreqwestError, url: str, timeout_s: float, *, begun: bool) -> ProviderError:
        """What an error of pyreqwest means; `begun` where the answer had."""
        if isinstance(error, self._timed_out):
            return timed_out(timeout_s, self._read_timeout_s)
        return broken_off(error, url) if begun else self._unreachable(error, url)

    def _unreachable(self, error: PyreqwestError, url: str) -> ProviderError:
        found = unreachable(error, url, self._settings.proxy)
        if _TOO_MANY_HEADERS in found.reason:  # what is asked of this server from now on goes through httpx
            self._many_headers.add(_origin(url))
            found.kind = "adapted"
        return found

    def _other(self) -> HttpxTransport:
        if self._httpx is None:
            self._httpx = HttpxTransport(self._settings, tls=self._tls)
        return self._httpx

    async def close(self) -> None:
        await self._client.close()
        if self._httpx is not None:
            await self._httpx.close()


class _PyreqwestStream:
    """A response of pyreqwest. Its connection is used again only if the body was read to its end."""

    def __init__(
        self, transport: PyreqwestTransport, call: pyreqwest.request.StreamRequest, url: str, timeout_s: float
    ) -> None:
        self._transport, self._call, self._url, self._timeout_s = transport, call, url, timeout_s
        self._watchdog, self._size = Watchdog(), 0
        self.status = 0
        self.header: Callable[[str], str | None] = lambda name: None

    async def open(self, wait_s: float) -> None:
        try:
            async with asyncio.timeout(wait_s):
                response = await self._call.__aenter__()
        except self._transport.failed as error:
            raise self._transport.translated(error, self._url, self._timeout_s, begun=False) from None
        self._reader = response.body_reader
        self.status, self.header = response.status, _headers(response)

    async def read(self, wait_s: float) -> bytes:
        try:
            piece = await self._watchdog.wait(self._reader.read_chunk(), wait_s)
        except self._transport.failed as error:
            raise self._transport.translated(error, self._url, self._timeout_s, begun=True) from None
        if piece is None:
            return b""
        self._size += len(piece)
        if self._size > self._transport.limit:
            raise too_large(self._transport.limit)
        return bytes(piece)

    async def close(self) -> None:
        self._watchdog.stop()
        await self._call.__aexit__(None, None, None)


def _origin(url: str) -> str:
    return url.split("/", 3)[2]


def _headers(response: pyreqwest.response.Response) -> Callable[[str], str | None]:
    """Looks a header up. One that is not text is as good as absent."""

    def header(name: str) -> str | None:
        try:
            return response.get_header(name)
        except ValueError:
            return None

    return header
