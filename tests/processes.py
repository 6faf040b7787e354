"""Processes that tests start: what they say when they are ready, and what they said where they ended before that."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from aiq.simulator.process import SimulatorProcess
from tests.prepared import Program

PATIENCE_S = 300.0
"""Turns a hang into an error. Longer than a wait takes on a busy machine, so no test depends on how fast one is."""
_POLL_S = 0.02
CLIENTS = Path(os.environ.get("AIQ_TEST_CLIENTS", Path(__file__).parents[1] / ".venv-clients" / "bin" / "python"))
"""The Python of the environment that `make test` makes for MLflow, LangChain and OpenAI's agents."""
_PORTS = range(20_000, 32_000)
"""Below those that systems give to whoever asks for any port, so that no client gets one between choice and use."""


def line_with(process: subprocess.Popen[Any] | Program, words: str = "", log: Path | None = None) -> str:
    """The next line of a process that is not empty and has these words. It is read from its pipe, or from its `log`.

    Fails with the exit code and all the output where the process ends first.
    """
    seen: list[str] = []
    for line in _piped(process) if log is None else _logged(process, log):
        if line.strip() and words.lower() in line.lower():
            return line.strip()
        seen.append(line)
    process.wait(PATIENCE_S)
    if process.stderr is not None:
        seen.append(_text(process.stderr.read()))
    raise AssertionError(
        f"{process.args} ended with exit code {process.returncode} before it said {words!r}; its output:\n"
        + ("".join(seen).strip() or "(none here; what it wrote to standard error may be among what was captured)")
    )


def _piped(process: subprocess.Popen[Any] | Program) -> Any:
    assert process.stdout is not None, "the process needs stdout=PIPE"
    return iter(lambda: _text(process.stdout.readline()), "")  # type: ignore[union-attr]


def _logged(process: subprocess.Popen[Any] | Program, log: Path) -> Any:
    deadline, ended = time.monotonic() + PATIENCE_S, False
    with log.open(errors="replace") as lines:
        while not ended:
            ended = process.poll() is not None  # asked first, so that its last lines are read
            while line := lines.readline():
                yield line
            assert time.monotonic() < deadline, f"{process.args} is not ready:\n{log.read_text(errors='replace')}"
            time.sleep(_POLL_S)


def _text(said: str | bytes) -> str:
    return said.decode(errors="replace") if isinstance(said, bytes) else said


def clients_python(*words: str, folder: Path, own: dict[str, str]) -> subprocess.Popen[str]:
    """Starts a Python of the environment `.venv-clients`, which tells nobody what it does."""
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
    # Without our variables of the same clients, and without our packages.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DATABRICKS_", "MLFLOW_"))}
    return subprocess.Popen(
        [str(CLIENTS), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env={**kept, "PYTHONPATH": "", "PYTHONWARNINGS": "ignore", "HOME": str(folder), **quiet, **own},
    )


def answering(simulator: SimulatorProcess, answered: int, in_flight: int = 1) -> None:
    """Returns when a simulator has answered so many requests, and at least so many are in flight."""
    deadline = time.monotonic() + PATIENCE_S
    while (stats := simulator.stats())["ok"] < answered or stats["in_flight"] < in_flight:
        assert time.monotonic() < deadline, "the statement makes no progress"
        time.sleep(_POLL_S)


def idle(simulator: SimulatorProcess) -> dict[str, Any]:
    """A simulator's statistics once nothing is in flight any more."""
    deadline = time.monotonic() + PATIENCE_S
    while (stats := simulator.stats())["in_flight"]:
        assert time.monotonic() < deadline, "requests stay in flight"
        time.sleep(_POLL_S)
    return stats


def requests_of(simulator: SimulatorProcess) -> int:
    """The requests that a simulator has seen, once nothing is in flight any more."""
    return int(idle(simulator)["requests"])


def free_port() -> int:
    """A port for a server that cannot choose one itself."""
    while True:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", random.SystemRandom().choice(_PORTS)))
            except OSError:
                continue
            port: int = probe.getsockname()[1]
            return port


class RedisServer:
    """A redis-server without persistence, that can be stopped and started again. Without one the test is skipped."""

    def __init__(self, folder: Path, *options: str) -> None:
        if shutil.which("redis-server") is None:
            pytest.skip("redis-server is not installed (apt-get install redis-server)")
        pytest.importorskip("redis")
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._log, self._options = folder / f"redis-{self.port}.log", options
        self.start()

    def start(self) -> None:
        """Returns when it accepts connections."""
        words = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", *self._options]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(["redis-server", *words], stdout=log, stderr=log)
        line_with(self._process, "ready to accept connections", self._log)

    def stop(self) -> None:
        """Kills it: what it knew is gone. A second time has no effect."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> RedisServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
