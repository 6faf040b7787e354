"""One request to a public address of the web, checked where the connection is made. Imported when one is wanted.

A name is resolved once, every address of it is looked at, and the connection goes to one of them: whoever answers
differently the second time is not asked. Follows no redirect. Gets images, without a credential, and posts JSON.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any
from urllib.parse import quote, urlsplit

import httpcore

from aiq.image import media_type
from aiq.policy.addresses import NotPublic, WebAddress, is_public, web_address

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]

_MAGIC_BYTES = 12
"""After so many bytes an image is recognised."""


class NoImage(ValueError):
    """There is no image to be had. Its words say why, after the link."""


async def resolved(host: str, port: int) -> Sequence[Address]:
    """The addresses of a name, or an address itself. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ip_address(str(place[0]).partition("%")[0]) for *_, place in found]


class PublicWeb:
    """A connection for each image. `resolve` and `allowed` are for tests: addresses, and which may be spoken to."""

    def __init__(self, resolve: Resolve = resolved, allowed: Callable[[Address], bool] = is_public) -> None:
        self._network = _Network(resolve, allowed)

    async def image(self, url: str, limit: int, ca_file: str | None) -> tuple[bytes, str]:
        """The image and its media type, of at most `limit` bytes. `ca_file` adds certificates that are trusted.

        Raises NoImage and NotPublic.
        """
        where = web_address(url)
        if where.scheme != "https":
            raise NoImage("is not at an https address")
        place, host = _place(url, where)
        headers = [
            ("host", _host_header(host, where.port)),
            ("accept", "image/*"),
            ("accept-encoding", "identity"),
            ("user-agent", "aiq"),
        ]
        try:
            async with (
                httpcore.AsyncConnectionPool(_ssl_context(ca_file), network_backend=self._network) as pool,
                pool.stream("GET", place, headers=headers) as response,
            ):
                return await _read(response, limit)
        except (OSError, httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as error:
            raise NoImage(f"cannot be fetched: {str(error) or type(error).__name__}") from None

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], ca_file: str | None, *, listed: bool, timeout_s: float
    ) -> int:
        """Posts JSON; returns the status of the answer, whose body is not read.

        `listed`: the user has named the host as one that may be inside, and over plain http. Raises NotPublic, OSError.
        """
        where = web_address(url, public=not listed)
        if where.scheme != "https" and not listed:
            raise NotPublic("is not at an https address")
        place, host = _place(url, where)
        sent = {
            "host": _host_header(host, where.port, where.scheme),
            "content-type": "application/json",
            "user-agent": "aiq",
            **headers,
            "content-length": str(len(body)),
        }
        limits = {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), timeout_s)}
        network = _Network(self._network.resolve, lambda _: True) if listed else self._network
        try:
            async with (
                asyncio.timeout(timeout_s),
                httpcore.AsyncConnectionPool(_ssl_context(ca_file), network_backend=network) as pool,
                pool.stream("POST", place, headers=[*sent.items()], content=body, extensions=limits) as response,
            ):
                return response.status
        except TimeoutError:
            raise OSError(f"no answer within {timeout_s:g} s") from None
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as error:
            raise OSError(str(error) or type(error).__name__) from None


async def _read(response: httpcore.Response, limit: int) -> tuple[bytes, str]:
    if 300 <= response.status < 400:
        raise NoImage("redirects, and a redirect is not followed")
    if response.status != 200:
        raise NoImage(f"is not there: HTTP {response.status}")
    headers = {name.lower(): value for name, value in response.headers}
    if not headers.get(b"content-type", b"").lower().startswith(b"image/"):
        raise NoImage("is not an image, as its content-type says")
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise NoImage("is compressed, which was not asked for")
    size = headers.get(b"content-length", b"0")
    if size.isdigit() and int(size) > limit:
        raise NoImage(f"is larger than {limit:,} bytes")
    blob, mime = bytearray(), None
    async for piece in response.aiter_stream():
        blob += piece
        if len(blob) > limit:
            raise NoImage(f"is larger than {limit:,} bytes")
        if mime is None and len(blob) >= _MAGIC_BYTES:
            mime = _known(blob)
    return bytes(blob), mime or _known(blob)


def _known(blob: bytearray) -> str:
    mime = media_type(bytes(blob[:_MAGIC_BYTES]))
    if mime is None:
        raise NoImage("is no JPEG, PNG, GIF or WEBP image")
    return mime


class _Network(httpcore.AsyncNetworkBackend):
    """Connects to the addresses that may be spoken to, and to no others."""

    def __init__(self, resolve: Resolve, allowed: Callable[[Address], bool]) -> None:
        self.resolve, self._allowed, self._inner = resolve, allowed, httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await self.resolve(host, port)
        if not addresses:
            raise OSError("its name has no address")
        if not all(map(self._allowed, addresses)):
            raise NotPublic("leads to a private or reserved address")
        for address in addresses[:-1]:
            try:
                return await self._inner.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except httpcore.ConnectError:
                continue
        return await self._inner.connect_tcp(str(addresses[-1]), port, timeout, local_address, socket_options)

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        raise NotPublic("leads to this machine")


def _place(url: str, where: WebAddress) -> tuple[httpcore.URL, str]:
    """Where to connect, and the host in ASCII. Raises NotPublic."""
    try:
        host = where.host if where.address is not None else where.host.encode("idna").decode()
    except UnicodeError:
        raise NotPublic("has a host that cannot be read") from None
    return httpcore.URL(scheme=where.scheme, host=host, port=where.port, target=_target(url)), host


def _target(url: str) -> str:
    parts = urlsplit(url)
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
    return f"{path}?{quote(parts.query, safe='/?%:@!$&()*+,;=~')}" if parts.query else path


def _host_header(host: str, port: int, scheme: str = "https") -> str:
    name = f"[{host}]" if ":" in host else host
    return name if port == (443 if scheme == "https" else 80) else f"{name}:{port}"


@lru_cache(maxsize=8)
def _ssl_context(ca_file: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context
