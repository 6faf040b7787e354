"""The only place that opens sockets to providers. Knows HTTP and nothing of what it carries.

Two implementations of one protocol: `pyreqwest` (default; Rust, about 35 microseconds of CPU a request) and `httpx`
(where somebody brings its proxies, certificates or mock transports; tens of times dearer).
Redirects are never followed: they could carry a credential to another host.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from aiq.config.endpoint import Settings
from aiq.errors import ConfigError, ProviderError
from aiq.forked import note_use
from aiq.providers.base import HttpRequest, HttpResponse

if TYPE_CHECKING:
    import httpx
    import pyreqwest.client
    import pyreqwest.request
    import pyreqwest.response
    from pyreqwest.exceptions import PyreqwestError

T = TypeVar("T")

MAX_CONNECTIONS = 4096
MAX_REMEMBERED = 256
"""URLs and time limits that are kept as the HTTP client wants them."""


class ResponseStream(Protocol):
    """A response whose body is read as it comes. Whoever opened it closes it; closing ends an unfinished answer."""

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
    """Sends one POST and reads the whole response, or as it comes."""

    async def send(self, request: HttpRequest, timeout_s: float) -> HttpResponse:
        """Raises ProviderError of kind network, timeout or bad_answer (larger than the cap)."""
        ...

    async def stream(self, request: HttpRequest, timeout_s: float, wait_s: float) -> ResponseStream:
        """Returns with the headers. `timeout_s` is for the whole response, `wait_s` for the headers alone.

        Raises TimeoutError after `wait_s` seconds without them, and ProviderError as `send` does.
        """
        ...

    async def close(self) -> None: ...


def open_transport(settings: Settings) -> Transport:
    """The transport that the settings ask for. Raises ConfigError for an unusable proxy or CA file."""
    return HttpxTransport(settings) if settings.transport == "httpx" else PyreqwestTransport(settings)


def transport_settings(settings: Settings) -> tuple[object, ...]:
    """What a transport is made from: another value needs another transport."""
    return (
        settings.transport, settings.connect_timeout_s, settings.read_timeout_s, settings.max_response_bytes,
        settings.proxy, settings.ca_file,
    )  # fmt: skip


def _network(error: BaseException, url: str) -> ProviderError:
    """A connection that could not be used. The words come from the operating system, the place from the URL's host."""
    host = url.split("/", 3)[2].rsplit("@", 1)[-1]
    words = _innermost(error)
    return ProviderError(
        f"cannot reach {host}: {words}; check that the provider is up and the endpoint's URL is right",
        kind="network",
        status=503,
    )


def _innermost(error: BaseException) -> str:
    details: Any = getattr(error, "details", None)
    causes = details.get("causes") if isinstance(details, dict) else None
    if causes:
        return str(causes[-1]["message"])
    return str(error) or type(error).__name__


def _timed_out(timeout_s: float, read_timeout_s: float) -> ProviderError:
    name = "timeout_s" if timeout_s <= read_timeout_s else "read_timeout_s"
    return ProviderError(
        f"no answer within {min(timeout_s, read_timeout_s):g} s; raise {name} in conf/aiq.yml if the model needs more",
        kind="timeout",
        status=504,
    )


def _unusable_settings(error: Exception) -> ConfigError:
    return ConfigError(f"the HTTP client cannot be built: {error}; check proxy and ca_file", file="conf/aiq.yml")


def _too_large(limit: int) -> ProviderError:
    return ProviderError(
        f"the answer is larger than {limit:,} bytes; raise max_response_bytes in conf/aiq.yml if that is right",
        kind="bad_request",
        status=502,
    )


def _seconds(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


class PyreqwestTransport:
    """reqwest, by pyreqwest: TLS, HTTP/2, connection reuse. Bound to the event loop it is first used on."""

    def __init__(self, settings: Settings) -> None:
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
        try:
            if settings.proxy:
                builder = builder.proxy(ProxyBuilder.all(settings.proxy))
            if settings.ca_file:
                ssl.create_default_context(cafile=settings.ca_file)  # reqwest takes a file without a certificate
                builder = builder.add_root_certificate_pem(Path(settings.ca_file).read_bytes())
            self._client: pyreqwest.client.Client = builder.build()
            note_use("pyreqwest")
        except (PyreqwestError, OSError, ValueError) as error:
            raise _unusable_settings(error) from None
        self.limit, self._read_timeout_s = settings.max_response_bytes, settings.read_timeout_s
        self.failed, self._timed_out = PyreqwestError, RequestTimeoutError
        # A process has few endpoints, and each asks the same place with the same patience.
        self._url, self._seconds = lru_cache(MAX_REMEMBERED)(Url), lru_cache(MAX_REMEMBERED)(_seconds)

    async def send(self, request: HttpRequest, timeout_s: float) -> HttpResponse:
        try:
            call = (
                self._client.post(self._url(request.url))
                .headers(request.headers)
                .timeout(self._seconds(timeout_s))
                .body_bytes(request.body)
                .build_streamed()
            )
            async with call as response:
                reader = response.body_reader
                body = await reader.read(self.limit + 1)
                if body is None:
                    return HttpResponse(response.status, _headers(response), b"")
                if len(body) > self.limit:
                    raise _too_large(self.limit)
                return HttpResponse(response.status, _headers(response), memoryview(body))  # type: ignore[arg-type]
        except self._timed_out:
            raise _timed_out(timeout_s, self._read_timeout_s) from None
        except self.failed as error:
            raise _network(error, request.url) from None

    async def stream(self, request: HttpRequest, timeout_s: float, wait_s: float) -> ResponseStream:
        call = (
            self._client.post(self._url(request.url))
            .headers(request.headers)
            .timeout(self._seconds(timeout_s))
            .body_bytes(request.body)
            .streamed_read_buffer_limit(0)  # else it would collect the body's beginning before it returns
            .build_streamed()
        )
        stream = _PyreqwestStream(self, call, request.url, timeout_s)
        await stream.open(wait_s)
        return stream

    def translated(self, error: PyreqwestError, url: str, timeout_s: float) -> ProviderError:
        """What an error of pyreqwest means."""
        if isinstance(error, self._timed_out):
            return _timed_out(timeout_s, self._read_timeout_s)
        return _network(error, url)

    async def close(self) -> None:
        await self._client.close()


class _PyreqwestStream:
    """A response of pyreqwest. Its connection is used again only if the body was read to its end."""

    def __init__(
        self, transport: PyreqwestTransport, call: pyreqwest.request.StreamRequest, url: str, timeout_s: float
    ) -> None:
        self._transport, self._call, self._url, self._timeout_s = transport, call, url, timeout_s
        self._size = 0
        self.status = 0
        self.header: Callable[[str], str | None] = lambda name: None

    async def open(self, wait_s: float) -> None:
        try:
            async with asyncio.timeout(wait_s):
                response = await self._call.__aenter__()
        except self._transport.failed as error:
            raise self._transport.translated(error, self._url, self._timeout_s) from None
        self._reader = response.body_reader
        self.status, self.header = response.status, _headers(response)

    async def read(self, wait_s: float) -> bytes:
        try:
            async with asyncio.timeout(wait_s):
                piece = await self._reader.read_chunk()
        except self._transport.failed as error:
            raise self._transport.translated(error, self._url, self._timeout_s) from None
        if piece is None:
            return b""
        self._size += len(piece)
        if self._size > self._transport.limit:
            raise _too_large(self._transport.limit)
        return bytes(piece)

    async def close(self) -> None:
        await self._call.__aexit__(None, None, None)


def _headers(response: pyreqwest.response.Response) -> Callable[[str], str | None]:
    """Looks a header up. One that is not text is as good as absent."""

    def header(name: str) -> str | None:
        try:
            return response.get_header(name)
        except ValueError:
            return None

    return header


class HttpxTransport:
    """httpx, for those who need what only it can do. `transport` is any httpx transport, for example a mock."""

    def __init__(self, settings: Settings, transport: httpx.AsyncBaseTransport | None = None) -> None:
        import httpx

        try:
            verify = httpx.create_ssl_context()
            if settings.ca_file:
                verify.load_verify_locations(settings.ca_file)
            self._client = httpx.AsyncClient(
                verify=verify,
                proxy=settings.proxy,
                transport=transport,
                follow_redirects=False,
                timeout=httpx.Timeout(settings.read_timeout_s, connect=settings.connect_timeout_s, pool=None),
                limits=httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS),
            )
        except (OSError, ValueError, httpx.InvalidURL) as error:  # an SSLError is an OSError
            raise _unusable_settings(error) from None
        self.limit, self._read_timeout_s = settings.max_response_bytes, settings.read_timeout_s

    async def send(self, request: HttpRequest, timeout_s: float) -> HttpResponse:
        import httpx

        try:
            async with (
                asyncio.timeout(timeout_s),
                self._client.stream("POST", request.url, headers=request.headers, content=request.body) as response,
            ):
                chunks, size = [], 0
                async for chunk in response.aiter_bytes():
                    chunks.append(chunk)
                    size += len(chunk)
                    if size > self.limit:
                        raise _too_large(self.limit)
                return HttpResponse(response.status_code, response.headers.get, b"".join(chunks))
        except httpx.ConnectTimeout as error:
            raise _network(error, request.url) from None
        except (TimeoutError, httpx.TimeoutException):
            raise _timed_out(timeout_s, self._read_timeout_s) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _network(error, request.url) from None

    async def stream(self, request: HttpRequest, timeout_s: float, wait_s: float) -> ResponseStream:
        stream = _HttpxStream(self, request.url, timeout_s)
        try:
            await stream.open(
                self._client.stream("POST", request.url, headers=request.headers, content=request.body), wait_s
            )
        except BaseException:
            await stream.close()
            raise
        return stream

    def translated(self, error: Exception, url: str, timeout_s: float) -> ProviderError:
        """What an error of httpx means."""
        import httpx

        if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
            return _timed_out(timeout_s, self._read_timeout_s)
        return _network(error, url)

    async def close(self) -> None:
        with contextlib.suppress(RuntimeError):
            await self._client.aclose()


class _HttpxStream:
    """A response of httpx."""

    def __init__(self, transport: HttpxTransport, url: str, timeout_s: float) -> None:
        self._transport, self._url, self._timeout_s = transport, url, timeout_s
        self._ends = asyncio.get_running_loop().time() + timeout_s
        self._call = contextlib.AsyncExitStack()
        self._size = 0
        self.status = 0
        self.header: Callable[[str], str | None] = lambda name: None

    async def open(self, call: contextlib.AbstractAsyncContextManager[httpx.Response], wait_s: float) -> None:
        response = await self._bounded(self._call.enter_async_context(call), wait_s)
        self.status, self.header = response.status_code, response.headers.get
        self._pieces = response.aiter_bytes()

    async def read(self, wait_s: float) -> bytes:
        piece = await self._bounded(anext(self._pieces, b""), wait_s)
        self._size += len(piece)
        if self._size > self._transport.limit:
            raise _too_large(self._transport.limit)
        return piece

    async def _bounded(self, work: Awaitable[T], wait_s: float) -> T:
        import httpx

        left_s = self._ends - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(min(wait_s, left_s)):
                return await work
        except TimeoutError:
            if left_s <= wait_s:
                raise _timed_out(self._timeout_s, self._timeout_s) from None
            raise
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._transport.translated(error, self._url, self._timeout_s) from None

    async def close(self) -> None:
        await self._call.aclose()
