"""What comes over a connection of `aiq serve` byte by byte: in pieces, too slowly, too much, or not HTTP at all."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import uvicorn

from aiq.serve import connection
from aiq.serve.connection import MAX_HEAD, Connection
from aiq.simulator.process import SimulatorProcess
from tests.conftest import ConfFolder
from tests.contract.test_serve_clients import SAID, Served, serving
from tests.processes import PATIENCE_S

PATH = "/serving-endpoints/chat/invocations"
BODY = orjson.dumps({"messages": SAID})


@pytest.fixture(scope="module")
def served(
    simulator_process: SimulatorProcess,
    make_conf: Callable[[Path, str], ConfFolder],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("wire")
    conf = make_conf(folder / "conf", simulator_process.url)
    conf.endpoint("chat")
    with serving(conf.path, folder / "home") as running:
        yield running


def opened(served: Served) -> socket.socket:
    url = httpx.URL(served.url)
    return socket.create_connection((url.host, url.port), timeout=PATIENCE_S)


def head(served: Served, *more: str, length: int = len(BODY), method: str = "POST", path: str = PATH) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: x", f"authorization: Bearer {served.token}", *more]
    return "\r\n".join([*lines, f"content-length: {length}", "", ""]).encode()


def replies(connected: socket.socket, count: int) -> list[tuple[int, bytes]]:
    """The status and the body of so many replies."""
    found = []
    with connected.makefile("rb") as lines:
        for _ in range(count):
            status, length = int(lines.readline().split()[1]), 0
            while (line := lines.readline().strip().lower()) != b"":
                length = int(line.partition(b":")[2]) if line.startswith(b"content-length") else length
            found.append((status, lines.read(length)))
    return found


def test_requests_sent_at_once_are_answered_in_their_order(served: Served) -> None:
    with opened(served) as connected:
        wrong = b"{}"
        connected.sendall(
            head(served) + BODY
            + head(served, length=0, method="GET", path="/healthz")
            + head(served, length=len(wrong)) + wrong
            + head(served) + BODY
        )  # fmt: skip
        found = replies(connected, 4)
    assert [status for status, _ in found] == [200, 200, 400, 200]
    assert b"hello there" in found[0][1] and b"hello there" in found[3][1] and b"ok" in found[1][1]


def test_a_client_that_expects_a_sign_gets_it(served: Served) -> None:
    with opened(served) as connected:
        connected.sendall(head(served, "expect: 100-continue"))
        assert connected.recv(1 << 10).startswith(b"HTTP/1.1 100 ")
        connected.sendall(BODY)
        assert replies(connected, 1)[0][0] == 200


def test_a_packed_body_in_single_bytes_is_read(served: Served) -> None:
    packed = gzip.compress(BODY)
    with opened(served) as connected:
        for piece in (head(served, "content-encoding: gzip", length=len(packed)), *(bytes([byte]) for byte in packed)):
            connected.sendall(piece)
        assert replies(connected, 1)[0][0] == 200


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PATCH"])
def test_methods_that_a_path_does_not_take(served: Served, method: str) -> None:
    with served.http() as http:
        reply = http.request(method, PATH)
    assert reply.status_code == 405 and (method == "HEAD") == (reply.content == b"")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),  # TLS
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: -5\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * (MAX_HEAD + 1) + b"\r\n", 431),
        (b"GET /" + b"y" * MAX_HEAD, 431),
    ],
    ids=["tls", "version", "length", "header", "line"],
)
def test_what_is_not_http_is_answered_all_the_same(served: Served, sent: bytes, status: int) -> None:
    with opened(served) as connected:
        connected.sendall(sent)
        [(found, body)] = replies(connected, 1)
        assert (found, set(orjson.loads(body))) == (status, {"error_code", "message"})
        with suppress(ConnectionResetError):  # what it has not read is thrown away
            assert connected.recv(1) == b""
    with served.http() as http:
        assert http.get("/healthz").status_code == 200


def test_a_thousand_idle_connections_are_in_nobodys_way(served: Served) -> None:
    with ExitStack() as stack:
        for number in range(1000):
            idle = stack.enter_context(opened(served))
            idle.sendall(head(served)[:number])  # some say nothing, some begin a head, some a body
        with served.http() as http:
            assert http.post(PATH, content=BODY).status_code == 200


WHOLE = b"GET / HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize("sent", [[b""], [b"GET / HT"], [b"\r\n\r\n"], [WHOLE, b"GET / HT"], [WHOLE, b"\r\n"]])
def test_a_head_that_does_not_end_is_given_up(sent: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_S", 0.05)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def work(bound: socket.socket) -> bytes:
        server = uvicorn.Server(uvicorn.Config(app, http=Connection, lifespan="off", log_config=None))
        serving = asyncio.ensure_future(server.serve(sockets=[bound]))
        reader, writer = await asyncio.open_connection(*bound.getsockname())
        for piece in sent[:-1]:
            writer.write(piece)
            assert b" 204 " in await reader.readuntil(b"\r\n\r\n")
        writer.write(sent[-1])
        found = await asyncio.wait_for(reader.read(), PATIENCE_S)  # until the server closes it
        writer.close()
        server.should_exit = True
        await serving
        return found

    with socket.create_server(("127.0.0.1", 0)) as bound:
        found = asyncio.run(work(bound))
    assert found.startswith(b"HTTP/1.1 408 ") and b"BAD_REQUEST" in found


def test_tags_of_the_header_stand_in_the_ledger(
    conf: ConfFolder, home: Path, ledger_rows: Callable[..., list[dict[str, Any]]]
) -> None:
    name = "Databricks-Ai-Gateway-Request-Tags"
    with serving(conf.path, home) as running, running.http() as http:

        def ask(tags: str, **more: Any) -> int:
            headers = {name: tags.encode()}
            return http.post(PATH, json={"messages": SAID, **more}, headers=headers).status_code

        assert ask('{"team": "größe"}', usage_context={"project": "p"}) == 200
        assert ask("{}") == 200
        for wrong in ("team=a", '["a"]', '{"a": 1}', '{"project": "q"}'):
            assert ask(wrong, usage_context={"project": "p"}) == 400
    usage = [dict(row["usage_context"] or {}) for row in ledger_rows("system.serving.endpoint_usage")]
    assert sorted(usage, key=len) == [{}, {"project": "p", "team": "größe"}]
