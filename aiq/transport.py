"""The only place that opens sockets to providers. Knows HTTP and nothing of what it carries.

Two implementations of one protocol: `pyreqwest` (default; Rust, about 35 microseconds of CPU a request) and `httpx`
(where somebody brings its proxies, certificates or mock transports; tens of times dearer).
Redirects are never followed: they could carry a credential to another host.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from aiq.config.endpoint import Settings
from aiq.errors import ConfigError, ProviderError
from aiq.providers.base import HttpRequest, HttpResponse

if TYPE_CHECKING:
    import httpx
    import pyreqwest.client
    import pyreqwest.response

MAX_CONNECTIONS = 4096


class Transport(Protocol):
    """Sends one POST and reads the whole response."""

    async def send(self, request: HttpRequest, timeout_s: float) -> HttpResponse:
        """Raises ProviderError of kind network, timeout or bad_answer (larger than the cap)."""
        ...

    async def close(self) -> None: ...


def open_transport(settings: Settings) -> Transport:
    """The transport that the settings ask for. Raises ConfigError for an unusable proxy or CA file."""
    return HttpxTransport(settings) if settings.transport == "httpx" else PyreqwestTransport(settings)


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


class PyreqwestTransport:
    """reqwest, by pyreqwest: TLS, HTTP/2, connection reuse. Bound to the event loop it is first used on."""

    def __init__(self, settings: Settings) -> None:
        from pyreqwest.client import ClientBuilder
        from pyreqwest.exceptions import PyreqwestError
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
        except (PyreqwestError, OSError, ValueError) as error:
            raise _unusable_settings(error) from None
        self._limit, self._read_timeout_s = settings.max_response_bytes, settings.read_timeout_s

    async def send(self, request: HttpRequest, timeout_s: float) -> HttpResponse:
        from pyreqwest.exceptions import PyreqwestError, RequestTimeoutError

        try:
            call = (
                self._client.post(request.url)
                .headers(request.headers)
                .timeout(timedelta(seconds=timeout_s))
                .body_bytes(request.body)
                .build_streamed()
            )
            async with call as response:
                reader = response.body_reader
                body = await reader.read(self._limit + 1)
                if body is None:
                    return HttpResponse(response.status, _headers(response), b"")
                if len(body) > self._limit:
                    raise _too_large(self._limit)
                return HttpResponse(response.status, _headers(response), memoryview(body))  # type: ignore[arg-type]
        except RequestTimeoutError:
            raise _timed_out(timeout_s, self._read_timeout_s) from None
        except PyreqwestError as error:
            raise _network(error, request.url) from None

    async def close(self) -> None:
        await self._client.close()


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
        self._limit, self._read_timeout_s = settings.max_response_bytes, settings.read_timeout_s

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
                    if size > self._limit:
                        raise _too_large(self._limit)
                return HttpResponse(response.status_code, response.headers.get, b"".join(chunks))
        except httpx.ConnectTimeout as error:
            raise _network(error, request.url) from None
        except (TimeoutError, httpx.TimeoutException):
            raise _timed_out(timeout_s, self._read_timeout_s) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _network(error, request.url) from None

    async def close(self) -> None:
        with contextlib.suppress(RuntimeError):
            await self._client.aclose()
