"""The transport for what only httpx can do, and for tests that bring an httpx transport of their own."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from aiq.config.endpoint import Settings
from aiq.config.tls import TlsConfig
from aiq.errors import ProviderError
from aiq.providers.base import HttpRequest, HttpResponse
from aiq.transport.failures import broken_off, check_tls, timed_out, too_large, unreachable, unusable_settings
from aiq.transport.protocol import MAX_CONNECTIONS, ResponseStream

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")


class HttpxTransport:
    """httpx. `transport` is any transport of httpx, for example a mock."""

    def __init__(
        self, settings: Settings, transport: httpx.AsyncBaseTransport | None = None, *, tls: TlsConfig | None = None
    ) -> None:
        import httpx

        verify = httpx.create_ssl_context()
        if tls is not None:
            check_tls(tls, verify)
        try:
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
            raise unusable_settings(error) from None
        self._proxy = settings.proxy
        self.limit, self._read_timeout_s = settings.max_response_bytes, settings.read_timeout_s

    async def send(self, request: HttpRequest, timeout_s: float) -> HttpResponse:
        import httpx

        begun = False
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._client.stream("POST", request.url, headers=request.headers, content=request.body) as response,
            ):
                begun = True
                chunks, size = [], 0
                async for chunk in response.aiter_bytes():
                    chunks.append(chunk)
                    size += len(chunk)
                    if size > self.limit:
                        raise too_large(self.limit)
                return HttpResponse(response.status_code, response.headers.get, b"".join(chunks))
        except httpx.ConnectTimeout as error:
            raise unreachable(error, request.url, self._proxy) from None
        except (TimeoutError, httpx.TimeoutException):
            raise timed_out(timeout_s, self._read_timeout_s) from None
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
            raise broken_off(error, request.url) if begun else unreachable(error, request.url, self._proxy) from None

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

    def translated(self, error: Exception, url: str, timeout_s: float, *, begun: bool) -> ProviderError:
        """What an error of httpx means; `begun` where the answer had."""
        import httpx

        if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
            return timed_out(timeout_s, self._read_timeout_s)
        return broken_off(error, url) if begun else unreachable(error, url, self._proxy)

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
            raise too_large(self._transport.limit)
        return piece

    async def _bounded(self, work: Awaitable[T], wait_s: float) -> T:
        import httpx

        left_s = self._ends - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(min(wait_s, left_s)):
                return await work
        except TimeoutError:
            if left_s <= wait_s:
                raise timed_out(self._timeout_s, self._timeout_s) from None
            raise
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
            raise self._transport.translated(error, self._url, self._timeout_s, begun=self.status > 0) from None

    async def close(self) -> None:
        await self._call.aclose()
