"""The simulator as a process, and its HTTP/1.1 on the wire, byte by byte."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from aiq.errors import ConfigError
from aiq.simulator.process import SimulatorProcess
from aiq.simulator.profile import Latency, Profile
from tests.processes import PATIENCE_S, line_with

_BODY = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "Hi"}]})


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    with SimulatorProcess.start(Profile(latency=Latency(fixed_ms=1))) as process:
        yield process


def _post(body: bytes = _BODY, extra: str = "") -> bytes:
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-12345678\r\n"
    return f"{head}{extra}content-length: {len(body)}\r\n\r\n".encode() + body


def _exchange(simulator: SimulatorProcess, data: bytes) -> bytes:
    """Send the bytes and read until the server closes."""
    received = b""
    with socket.create_connection(("127.0.0.1", simulator.port), timeout=PATIENCE_S) as connection:
        connection.sendall(data)
        while chunk := connection.recv(65536):
            received += chunk
    return received


_CLOSE = "connection: close\r\n"


def test_pipelined_requests_are_answered_in_their_order(simulator: SimulatorProcess) -> None:
    bodies = [orjson.dumps({"model": f"m{i}", "messages": [{"role": "user", "content": "Hi"}]}) for i in range(200)]
    data = b"".join(map(_post, bodies[:-1])) + _post(bodies[-1], _CLOSE)
    received = _exchange(simulator, data)
    order = [int(name) for name in re.findall(rb'"model":"m(\d+)"', received)]
    assert order == list(range(200))


def test_a_request_may_arrive_one_byte_at_a_time(simulator: SimulatorProcess) -> None:
    with socket.create_connection(("127.0.0.1", simulator.port), timeout=PATIENCE_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in _post(extra=_CLOSE):
            connection.send(bytes([byte]))
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")


def test_what_is_not_http_is_refused_and_closed(simulator: SimulatorProcess) -> None:
    assert _exchange(simulator, b"\x16\x03\x01 hello\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_a_good_request_before_a_bad_one_is_still_answered(simulator: SimulatorProcess) -> None:
    received = _exchange(simulator, _post() + b"garbage\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 200 ") and b"HTTP/1.1 400 " in received


def test_a_body_over_32_mb_is_refused_before_it_is_sent(simulator: SimulatorProcess) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 33554433\r\n\r\n"
    assert _exchange(simulator, head).startswith(b"HTTP/1.1 413 ")


def test_a_chunked_body_over_32_mb_is_refused(simulator: SimulatorProcess) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    mb = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    assert _exchange(simulator, head + mb * 33).startswith(b"HTTP/1.1 413 ")


def test_a_client_that_asks_first_is_told_to_continue(simulator: SimulatorProcess) -> None:
    received = _exchange(simulator, _post(extra=_CLOSE + "expect: 100-continue\r\n"))
    assert received.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


def test_a_truncated_body_has_the_length_it_announces(simulator: SimulatorProcess) -> None:
    body = orjson.dumps({"model": "sim-truncated", "messages": [{"role": "user", "content": "Hi"}]})
    head, _, sent = _exchange(simulator, _post(body, _CLOSE)).partition(b"\r\n\r\n")
    assert f"content-length: {len(sent)}".encode() in head


def test_a_cut_body_is_shorter_than_announced(simulator: SimulatorProcess) -> None:
    body = orjson.dumps({"model": "sim-cut", "messages": [{"role": "user", "content": "Hi"}]})
    head, _, sent = _exchange(simulator, _post(body)).partition(b"\r\n\r\n")
    assert int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]) > len(sent) > 0


def test_a_half_closed_connection_ends_after_half_of_the_body(simulator: SimulatorProcess) -> None:
    body = orjson.dumps({"model": "sim-half-close", "messages": [{"role": "user", "content": "Hi"}]})
    head, _, sent = _exchange(simulator, _post(body)).partition(b"\r\n\r\n")
    assert int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]) > len(sent) > 0


def test_headers_may_drip_in(simulator: SimulatorProcess) -> None:
    body = orjson.dumps({"model": "sim-slow-headers-200", "messages": [{"role": "user", "content": "Hi"}]})
    with socket.create_connection(("127.0.0.1", simulator.port), timeout=PATIENCE_S) as connection:
        connection.sendall(_post(body, _CLOSE))
        pieces = []
        while chunk := connection.recv(65536):
            pieces.append(chunk)
    assert b"\r\n\r\n" not in pieces[0] and b"".join(pieces).startswith(b"HTTP/1.1 200 OK\r\n")
    assert len(pieces) > 5


def test_a_reset_comes_before_any_header(simulator: SimulatorProcess) -> None:
    body = orjson.dumps({"model": "sim-reset", "messages": [{"role": "user", "content": "Hi"}]})
    with pytest.raises(ConnectionResetError):
        _exchange(simulator, _post(body))


def test_statistics_and_attempts_are_cleared_by_a_reset(simulator: SimulatorProcess) -> None:
    _exchange(simulator, _post(extra=_CLOSE))
    simulator.reset()
    assert (simulator.stats()["requests"], simulator.attempts()) == (0, [])


def test_a_port_in_use_is_told_plainly(simulator: SimulatorProcess) -> None:
    with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{simulator.port}"):
        SimulatorProcess.start(port=simulator.port)


def test_a_simulator_that_ends_before_it_listens_is_an_error_with_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho\nexit 3\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(ConfigError, match="ended with exit code 3"):
        SimulatorProcess.start()


def test_an_empty_line_before_the_port_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nread profile\necho\necho '{\"port\": 4711}'\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    with SimulatorProcess.start() as process:
        assert process.port == 4711


def test_a_stopped_simulator_is_gone() -> None:
    process = SimulatorProcess.start()
    process.stop()
    process.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", process.port), timeout=PATIENCE_S)


def test_a_simulator_dies_with_its_parent() -> None:
    script = (
        "import sys, time\n"
        "from aiq.simulator.process import SimulatorProcess\n"
        "process = SimulatorProcess.start()\n"
        "print(process.port, flush=True)\n"
        "time.sleep(60)\n"
    )
    root = str(Path(__file__).resolve().parents[2])
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": root}
    )
    assert parent.stdout is not None
    with parent.stdout, socket.create_connection(("127.0.0.1", int(line_with(parent))), 10) as client:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        # The read ends when the simulator does: its end closes the connection.
        assert client.recv(1) == b""


def test_the_command_line_serves_and_says_where() -> None:
    root = str(Path(__file__).resolve().parents[2])
    process = subprocess.Popen(
        [sys.executable, "-m", "aiq.simulator", "--port", "0"],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert process.stdout is not None
    with process.stdout:
        line_with(process, "http://127.0.0.1:")
        process.terminate()
        assert process.wait() == 0
