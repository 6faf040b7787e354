"""How tests wait for the processes that they start."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import free_port, line_with


def start(program: str, log: Path | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program]
    if log is not None:
        with log.open("wb") as file:
            return subprocess.Popen(command, stdout=file, stderr=file, text=True)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_empty_lines_and_other_words_before_a_line_are_passed_over() -> None:
    with start("print(); print('loading'); print(); print(' ready at 4711 ')") as process:
        assert line_with(process, "Ready") == "ready at 4711"


def test_a_process_that_ends_first_is_an_error_with_its_exit_code_and_all_it_said() -> None:
    with (
        start("import sys; print('loading'); sys.exit('no such file')") as process,
        pytest.raises(AssertionError, match=r"exit code 1 before it said 'ready'; its output:\nloading\nno such file"),
    ):
        line_with(process, "ready")


def test_a_log_is_read_as_an_output_is(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with start("print(); print('ready')", log) as process:
        assert line_with(process, "ready", log) == "ready"
    with start("raise SystemExit('in use')", log) as process, pytest.raises(AssertionError, match="in use"):
        line_with(process, "ready", log)


def test_a_free_port_is_none_that_a_client_is_given() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as server:
        assert server.getsockname()[1] < 32_000
