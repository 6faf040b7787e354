"""Both transports before real servers: the same conduct, whatever the server does."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from aiq.config.endpoint import Settings
from aiq.errors import ConfigError, ProviderError
from aiq.providers.base import HttpRequest, HttpResponse
from aiq.simulator.process import SimulatorProcess
from aiq.transport import open_transport

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Hint: yes\r\n\r\n{}"
LIMIT = 100_000
Send = Callable[..., HttpResponse]


@pytest.fixture(params=["pyreqwest", "httpx"])
def base(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return Settings(transport=request.param, max_response_bytes=LIMIT, connect_timeout_s=5)


@pytest.fixture
def send(base: Settings) -> Send:
    """Sends `times` requests one after the other over one transport, and returns the last response."""

    def run(url: str, *, times: int = 1, timeout_s: float = 20, body: bytes = b"{}", **settings: Any) -> HttpResponse:
        async def work() -> HttpResponse:
            transport = open_transport(replace(base, **settings))
            headers = [("content-type", "application/json"), ("authorization", "Bearer sk-secret")]
            try:
                for _ in range(times):
                    response = await transport.send(HttpRequest(url, headers, body), timeout_s)
                return response
            finally:
                await transport.close()

        return asyncio.run(work())

    return run


def failure(send: Send, *arguments: Any, **settings: Any) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        send(*arguments, **settings)
    return caught.value


def test_a_request_reaches_the_simulator_and_its_answer_comes_back(send: Send) -> None:
    with SimulatorProcess.start() as simulator:
        body = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}]}'
        response = send(f"{simulator.url}/v1/chat/completions", body=body)
        assert response.status == 200
        assert b"choices" in bytes(response.body)


def test_a_connection_is_used_again(send: Send, raw_server: Any) -> None:
    server = raw_server(OK)
    send(server.url(), times=5)
    assert (server.connections, len(server.requests)) == (1, 5)


def test_headers_are_found_in_any_case_and_absent_ones_are_none(send: Send, raw_server: Any) -> None:
    header = send(raw_server(OK).url()).header
    assert (header("x-hint"), header("X-HINT"), header("retry-after")) == ("yes", "yes", None)


def test_a_header_that_is_not_text_does_no_harm(send: Send, raw_server: Any) -> None:
    reply = b"HTTP/1.1 429 Slow\r\nContent-Length: 0\r\nRetry-After: \xff\xfe\r\n\r\n"
    response = send(raw_server(reply).url())
    assert response.status == 429
    assert response.header("retry-after") in (None, "ÿþ")


def test_a_port_where_nobody_listens_is_a_network_error(send: Send) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    error = failure(send, f"http://127.0.0.1:{port}/v1")
    assert (error.kind, error.status) == ("network", 503)
    assert f"127.0.0.1:{port}" in error.reason


def test_a_reset_is_a_network_error(send: Send, raw_server: Any) -> None:
    def reset(connection: socket.socket, request: bytes) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    assert failure(send, raw_server(reset).url()).kind == "network"


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
        b"garbage\r\n\r\n",
        b"",
    ],
)
def test_half_an_answer_is_a_network_error(send: Send, raw_server: Any, reply: bytes) -> None:
    assert failure(send, raw_server(reply, close=True).url()).kind == "network"


def test_silence_ends_at_the_timeout_of_the_request(send: Send, raw_server: Any) -> None:
    error = failure(send, raw_server(lambda *_: None).url(), timeout_s=0.2)
    assert (error.kind, error.status) == ("timeout", 504)
    assert "0.2 s" in error.reason


def test_silence_ends_at_the_read_timeout(send: Send, raw_server: Any) -> None:
    error = failure(send, raw_server(lambda *_: None).url(), read_timeout_s=0.2)
    assert error.kind == "timeout"
    assert "read_timeout_s" in error.reason


def test_an_answer_that_drips_ends_at_the_timeout_of_the_request(send: Send, raw_server: Any) -> None:
    gone = threading.Event()

    def drip(connection: socket.socket, request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not gone.wait(0.05):
            connection.sendall(b" ")

    try:
        assert failure(send, raw_server(drip).url(), timeout_s=0.4).kind == "timeout"
    finally:
        gone.set()


def chunked(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


def gzipped(body: bytes) -> bytes:
    packed = gzip.compress(body)
    return b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s" % (len(packed), packed)


@pytest.mark.parametrize("reply", [chunked(bytes(LIMIT + 1)), gzipped(bytes(50_000_000))], ids=["chunked", "gzip"])
def test_an_answer_beyond_the_limit_is_refused(send: Send, raw_server: Any, reply: bytes) -> None:
    error = failure(send, raw_server(reply).url())
    assert "max_response_bytes" in error.reason


@pytest.mark.parametrize("reply", [chunked(bytes(LIMIT)), gzipped(bytes(LIMIT))], ids=["chunked", "gzip"])
def test_an_answer_of_just_the_limit_is_taken(send: Send, raw_server: Any, reply: bytes) -> None:
    assert len(send(raw_server(reply).url()).body) == LIMIT


def test_a_redirect_is_not_followed(send: Send, raw_server: Any) -> None:
    target = raw_server(OK)
    reply = f"HTTP/1.1 307 Moved\r\nLocation: {target.url()}\r\nContent-Length: 0\r\n\r\n".encode()
    assert send(raw_server(reply).url()).status == 307
    assert target.connections == 0


@pytest.fixture
def authority(tmp_path: Path) -> tuple[ssl.SSLContext, str]:
    """A server's TLS settings, and the file of the CA that signed it."""
    ca, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return context, str(tmp_path / "ca.pem")


def test_an_unknown_certificate_is_refused(send: Send, raw_server: Any, authority: Any) -> None:
    server = raw_server(OK, authority[0])
    error = failure(send, server.url("https"))
    assert error.kind == "certificate" and "ca_file" in error.reason
    assert server.requests == []


def test_a_certificate_of_the_ca_file_is_accepted(send: Send, raw_server: Any, authority: Any) -> None:
    assert send(raw_server(OK, authority[0]).url("https"), ca_file=authority[1]).status == 200


def test_a_certificate_for_another_host_is_refused(send: Send, raw_server: Any, tmp_path: Path) -> None:
    ca, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("elsewhere.test").configure_cert(context)
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    server = raw_server(OK, context)
    assert failure(send, server.url("https"), ca_file=str(tmp_path / "ca.pem")).kind == "certificate"
    assert server.requests == []


def test_a_proxy_is_asked_for_an_http_url(send: Send, raw_server: Any) -> None:
    proxy = raw_server(OK)
    assert send("http://provider.test/v1/chat", proxy=f"http://127.0.0.1:{proxy.port}").status == 200
    assert proxy.requests[0].startswith(b"POST http://provider.test/v1/chat HTTP/1.1\r\n")


def test_a_proxy_tunnels_an_https_url_and_sees_no_credential(send: Send, raw_server: Any, authority: Any) -> None:
    target = raw_server(OK, authority[0])

    def tunnel(client: socket.socket, request: bytes) -> None:
        with socket.create_connection(("127.0.0.1", target.port)) as server:
            client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            back = threading.Thread(target=pump, args=(server, client), daemon=True)
            back.start()
            pump(client, server)

    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass

    proxy = raw_server(tunnel)
    settings = {"proxy": f"http://127.0.0.1:{proxy.port}", "ca_file": authority[1]}
    assert send(target.url("https"), **settings).status == 200
    assert proxy.requests[0].startswith(b"CONNECT 127.0.0.1:")
    assert b"sk-secret" not in proxy.requests[0]
    assert b"sk-secret" in target.requests[0]


def test_a_cancelled_request_closes_its_connection_by_its_timeout_at_the_latest(
    base: Settings, raw_server: Any
) -> None:
    """httpx closes it at once; pyreqwest 0.15 does not abort a request, it only stops listening."""
    asked, closed = threading.Event(), threading.Event()

    def wait(connection: socket.socket, request: bytes) -> None:
        asked.set()
        connection.settimeout(20)
        if connection.recv(1) == b"":
            closed.set()

    server = raw_server(wait)

    async def work() -> None:
        transport = open_transport(base)
        task = asyncio.create_task(transport.send(HttpRequest(server.url(), [], b"{}"), 3))
        await asyncio.to_thread(asked.wait, 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(closed.wait, 20)
        await transport.close()

    asyncio.run(work())


@pytest.mark.parametrize("settings", [{"ca_file": "/nowhere/ca.pem"}, {"proxy": "nonsense://[::"}])
def test_unusable_settings_are_a_config_error(base: Settings, settings: Any) -> None:
    with pytest.raises(ConfigError, match="proxy and ca_file"):
        open_transport(replace(base, **settings))


def test_a_ca_file_without_a_certificate_is_a_config_error(base: Settings, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ConfigError):
        open_transport(replace(base, ca_file=str(tmp_path / "ca.pem")))


@pytest.mark.parametrize("url", ["http://user:pass@127.0.0.1:1/v1?key=sk-in-url"])
def test_an_error_shows_nothing_of_the_url_but_the_host(send: Send, url: str) -> None:
    words = str(failure(send, url))
    assert "127.0.0.1:1" in words
    assert "pass" not in words and "sk-in-url" not in words
