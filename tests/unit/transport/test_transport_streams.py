"""Responses that are read as they come, by both transports, from servers that say exactly what a test wants."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from aiq.config.endpoint import Settings
from aiq.errors import ProviderError
from aiq.providers.base import HttpRequest
from aiq.transport import ResponseStream, Transport, open_transport
from tests.processes import PATIENCE_S

T = TypeVar("T")
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
LIMIT = 100_000
Work = Callable[[Transport, HttpRequest], Awaitable[T]]


@pytest.fixture(params=["pyreqwest", "httpx"])
def base(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return Settings(transport=request.param, max_response_bytes=LIMIT, connect_timeout_s=5)


@pytest.fixture
def run(base: Settings) -> Callable[..., Any]:
    """`run(work, url)`: what `work(transport, request)` returns."""

    def start(work: Work[T], url: str, **settings: Any) -> T:
        async def bounded() -> T:
            transport = open_transport(replace(base, **settings))
            try:
                async with asyncio.timeout(30):
                    return await work(transport, HttpRequest(url, [("content-type", "application/json")], b"{}"))
            finally:
                await transport.close()

        return asyncio.run(bounded())

    return start


def piece(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def rest(stream: ResponseStream) -> bytes:
    data = b""
    while more := await stream.read(20):
        data += more
    return data


def test_a_piece_arrives_before_the_next_is_sent(run: Any, raw_server: Any) -> None:
    read = threading.Event()

    def send(connection: socket.socket, request: bytes) -> None:
        connection.sendall(HEAD + piece(b"first"))
        read.wait(PATIENCE_S)
        connection.sendall(piece(b"second") + b"0\r\n\r\n")

    async def work(transport: Transport, request: HttpRequest) -> tuple[Any, ...]:
        stream = await transport.stream(request, 20, 20)
        first = await stream.read(20)
        read.set()
        second = await rest(stream)
        await stream.close()
        return stream.status, stream.header("content-type"), first, second

    assert run(work, raw_server(send).url()) == (200, "text/event-stream", b"first", b"second")


def test_a_stream_that_was_read_to_its_end_leaves_its_connection_for_the_next(run: Any, raw_server: Any) -> None:
    server = raw_server(HEAD + piece(b"all") + b"0\r\n\r\n")

    async def work(transport: Transport, request: HttpRequest) -> list[bytes]:
        found = []
        for _ in range(3):
            stream = await transport.stream(request, 20, 20)
            found.append(await rest(stream))
            await stream.close()
        return found

    assert run(work, server.url()) == [b"all"] * 3
    assert server.connections == 1


def begun(closed: threading.Event) -> Callable[[socket.socket, bytes], None]:
    """Sends the beginning of a stream, and notices when the client leaves."""

    def send(connection: socket.socket, request: bytes) -> None:
        connection.sendall(HEAD + piece(b"first"))
        connection.settimeout(20)
        try:
            gone = connection.recv(1) == b""
        except ConnectionError:
            gone = True
        if gone:
            closed.set()

    return send


def test_closing_an_unfinished_stream_ends_it_at_the_server(run: Any, raw_server: Any) -> None:
    closed = threading.Event()

    async def work(transport: Transport, request: HttpRequest) -> bool:
        stream = await transport.stream(request, 300, 300)
        await stream.read(20)
        await stream.close()
        return await asyncio.to_thread(closed.wait, 20)

    assert run(work, raw_server(begun(closed)).url())


def test_silence_between_pieces_is_a_timeout_of_the_reader(run: Any, raw_server: Any) -> None:
    closed = threading.Event()

    async def work(transport: Transport, request: HttpRequest) -> bool:
        stream = await transport.stream(request, 300, 300)
        await stream.read(20)
        with pytest.raises(TimeoutError):
            await stream.read(0.05)
        await stream.close()
        return await asyncio.to_thread(closed.wait, 20)

    assert run(work, raw_server(begun(closed)).url())


def test_silence_before_the_headers_is_a_timeout_of_the_reader(run: Any, raw_server: Any) -> None:
    async def work(transport: Transport, request: HttpRequest) -> None:
        with pytest.raises(TimeoutError):
            await transport.stream(request, 20, 0.05)

    run(work, raw_server(lambda *_: None).url())


@pytest.mark.parametrize(("timeout_s", "read_timeout_s"), [(1.0, 20.0), (20.0, 1.0)])
def test_the_timeouts_of_the_settings_hold_in_a_stream(
    run: Any, raw_server: Any, timeout_s: float, read_timeout_s: float
) -> None:
    async def work(transport: Transport, request: HttpRequest) -> str:
        stream = await transport.stream(request, timeout_s, 20)
        await stream.read(20)
        with pytest.raises(ProviderError) as caught:
            await stream.read(30)
        await stream.close()
        return caught.value.kind

    assert run(work, raw_server(begun(threading.Event())).url(), read_timeout_s=read_timeout_s) == "timeout"


def test_a_stream_that_is_cut_is_a_network_error(run: Any, raw_server: Any) -> None:
    async def work(transport: Transport, request: HttpRequest) -> str:
        stream = await transport.stream(request, 20, 20)
        with pytest.raises(ProviderError) as caught:
            await rest(stream)
        await stream.close()
        return caught.value.kind

    assert run(work, raw_server(HEAD + piece(b"first"), close=True).url()) == "network"


def test_a_server_that_closes_before_the_headers_is_a_network_error(run: Any, raw_server: Any) -> None:
    async def work(transport: Transport, request: HttpRequest) -> str:
        with pytest.raises(ProviderError) as caught:
            await transport.stream(request, 20, 20)
        return caught.value.kind

    assert run(work, raw_server(b"", close=True).url()) == "network"


def test_a_stream_is_bounded_in_size(run: Any, raw_server: Any) -> None:
    body = piece(b"x" * 60_000) * 2 + b"0\r\n\r\n"

    async def work(transport: Transport, request: HttpRequest) -> None:
        stream = await transport.stream(request, 20, 20)
        with pytest.raises(ProviderError, match="larger than 100,000 bytes"):
            await rest(stream)
        await stream.close()

    run(work, raw_server(HEAD + body).url())


def test_a_compressed_stream_is_read(run: Any, raw_server: Any) -> None:
    head = HEAD.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")

    async def work(transport: Transport, request: HttpRequest) -> bytes:
        stream = await transport.stream(request, 20, 20)
        try:
            return await rest(stream)
        finally:
            await stream.close()

    assert run(work, raw_server(head + piece(gzip.compress(b"hello")) + b"0\r\n\r\n").url()) == b"hello"


def test_a_cancelled_read_can_be_closed(run: Any, raw_server: Any) -> None:
    closed = threading.Event()

    async def work(transport: Transport, request: HttpRequest) -> bool:
        stream = await transport.stream(request, 300, 300)
        await stream.read(20)
        reading = asyncio.ensure_future(stream.read(20))
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await stream.close()
        return await asyncio.to_thread(closed.wait, 20)

    assert run(work, raw_server(begun(closed)).url())
