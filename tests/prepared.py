"""Programs in forks of a process that has aiq imported, which saves the second or two that the imports of each take.

A program is a process like any other, with standard streams, folder and environment of its own, killed and waited for
alone. What a test says about starting an interpreter (its encoding, what an import pulls in) needs a fresh one instead.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any

IMPORTED = (
    "aiq.cli.app",
    "aiq.cli.show",
    "aiq.cli.sql",
    "aiq.doctor",
    "aiq.engines.connect",
    "aiq.gateway.gateway",
    "aiq.ledger.tables",
    "deltalake",
    "duckdb",
    "pandas",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "pydantic.json_schema",
    "sqlglot.dialects.databricks",
    "sqlglot.dialects.duckdb",
    "sqlglot.optimizer.scope",
)
"""None of these starts threads that a fork would miss: DuckDB starts its own with a connection."""
_NUMBER = struct.Struct("!i")


class Program:
    """A program that runs, with the members of `subprocess.Popen` that tests use."""

    def __init__(self, args: Sequence[str], status: socket.socket, streams: Sequence[IO[str] | None]) -> None:
        self.args, self.returncode = args, None
        self.stdin, self.stdout, self.stderr = streams
        self._status = status
        self.pid = self._number()

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self.returncode is None and _has_said(self._status, 0):
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, when it has ended. Raises `subprocess.TimeoutExpired` after `timeout` seconds."""
        if self.returncode is None:
            if not _has_said(self._status, timeout):
                raise subprocess.TimeoutExpired(list(self.args), timeout or 0.0)
            self.returncode: int | None = self._number()
            self._status.close()
        return self.returncode or 0

    def send_signal(self, number: int) -> None:
        """Sends a signal to a program that has not ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends it at once."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, input: str = "") -> tuple[str, None]:
        """Writes `input`, closes standard input, and returns what is left of standard output when it has ended."""
        if self.stdin is not None and not self.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self.stdin.write(input)
                self.stdin.close()
        said = ""
        if self.stdout is not None and not self.stdout.closed:
            with self.stdout as stdout:
                said = stdout.read()
        self.wait()
        return said, None

    def _number(self) -> int:
        data = self._status.recv(_NUMBER.size, socket.MSG_WAITALL)
        assert len(data) == _NUMBER.size, f"the process that {self.args} is forked from has ended"
        number: int = _NUMBER.unpack(data)[0]
        return number


class Prepared:
    """The process that has aiq imported. Programs are named as to `python`: a file, `-c` or `-m`, then arguments."""

    def __init__(self) -> None:
        self._orders, theirs = socket.socketpair()
        self._lock = threading.Lock()
        """Held while an order is written, which two threads of a test may do at once."""
        with theirs:
            root = str(Path(__file__).resolve().parent.parent)
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": root},
            )

    def start(
        self,
        *words: object,
        stdin: int | None = None,
        stdout: int | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Program:
        """Starts a program. `stdin` and `stdout` are descriptors, `subprocess.PIPE`, or None for those of the test."""
        pipes: list[IO[str] | None] = [None, None, None]
        theirs: list[int] = []
        given: list[int] = []
        for number, wanted in enumerate((stdin, stdout, None)):
            if wanted == subprocess.PIPE:
                read, write = os.pipe()
                child, ours = (read, write) if number == 0 else (write, read)
                pipes[number] = open(ours, "w" if number == 0 else "r", encoding="utf-8")  # noqa: SIM115
                theirs.append(child)
                given.append(child)
            else:
                given.append(number if wanted is None else wanted)
        return self._send(words, given, theirs, pipes, env, cwd)

    def run(
        self,
        *words: object,
        stdin: str = "",
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program to its end, and returns its exit code and what it wrote."""
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            given.write(stdin.encode())
            given.seek(0)
            streams = [given.fileno(), out.fileno(), err.fileno()]
            program = self._send(words, streams, [], [None, None, None], env, cwd)
            try:
                program.wait(timeout)
            finally:
                program.kill()
            said = []
            for file in (out, err):
                file.seek(0)
                said.append(io.TextIOWrapper(file, "utf-8", newline=None).read())
            return subprocess.CompletedProcess(list(program.args), program.wait(), *said)

    def _send(
        self,
        words: Sequence[object],
        streams: Sequence[int],
        theirs: Sequence[int],
        pipes: Sequence[IO[str] | None],
        env: Mapping[str, str] | None,
        cwd: Path | None,
    ) -> Program:
        args = list(map(str, words))
        ours, status = socket.socketpair()
        order = {"args": args, "env": dict(os.environ if env is None else env), "cwd": str(cwd or Path.cwd())}
        with status:
            data = json.dumps(order).encode()
            with self._lock:
                socket.send_fds(self._orders, [_NUMBER.pack(len(data))], [*streams, status.fileno()])
                self._orders.sendall(data)
        for descriptor in theirs:
            os.close(descriptor)
        return Program(args, ours, pipes)


def _has_said(status: socket.socket, timeout: float | None) -> bool:
    """Waits for a socket to be read, `timeout` seconds at most; `select` would take no number above 1,023."""
    waiting = select.poll()
    waiting.register(status, select.POLLIN)
    return bool(waiting.poll(None if timeout is None else timeout * 1000))


@cache
def prepared() -> Prepared:
    """The one of this process, which ends with it."""
    return Prepared()


def _serve(orders: socket.socket) -> dict[str, Any] | None:
    """Forks once for each order. Returns the order in the fork; None when there will be no more."""
    woken, wake = socket.socketpair()
    for end in (woken, wake):
        end.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    running: dict[int, socket.socket] = {}
    waiting = select.poll()  # `select` would take no number above 1,023, and `orders` has the number of its worker
    for end in (orders, woken):
        waiting.register(end, select.POLLIN)
    while True:
        ready = {number for number, _ in waiting.poll()}
        if woken.fileno() in ready:
            with contextlib.suppress(BlockingIOError):
                woken.recv(4096)
            for pid in list(running):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    with running.pop(pid) as told, contextlib.suppress(OSError):
                        told.sendall(_NUMBER.pack(os.waitstatus_to_exitcode(status)))
        if orders.fileno() not in ready:
            continue
        size, descriptors, _, _ = socket.recv_fds(orders, _NUMBER.size, 4)
        if not size:
            return None
        data, most = b"", _NUMBER.unpack(size)[0]
        while len(data) < most:  # a child that ends in the middle cuts a read short
            data += orders.recv(most - len(data))
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for number, descriptor in enumerate(descriptors[:3]):
                os.dup2(descriptor, number)
            for descriptor in descriptors:
                os.close(descriptor)
            for sock in (orders, woken, wake, *running.values()):
                sock.close()
            order: dict[str, Any] = json.loads(data)
            return order
        status = socket.socket(fileno=descriptors.pop())
        for descriptor in descriptors:
            os.close(descriptor)
        running[pid] = status
        with contextlib.suppress(OSError):
            status.sendall(_NUMBER.pack(pid))


def _become(order: Mapping[str, Any]) -> None:
    """Runs the program of an order in this process, as `python` would."""
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    # They stay open to the end of the process.
    sys.stdin = io.TextIOWrapper(open(0, "rb", closefd=False), "utf-8")  # noqa: SIM115
    sys.stdout = io.TextIOWrapper(open(1, "wb", closefd=False), "utf-8")  # noqa: SIM115
    sys.stderr = io.TextIOWrapper(
        open(2, "wb", closefd=False),  # noqa: SIM115
        "utf-8",
        "backslashreplace",
        line_buffering=True,
    )
    first, *more = order["args"]
    sys.path[0] = str(Path(first).parent.absolute()) if first not in ("-c", "-m") else order["cwd"]
    if first == "-c":
        sys.argv = ["-c", *more[1:]]
        exec(compile(more[0], "<string>", "exec"), sys.modules["__main__"].__dict__)
    elif first == "-m":
        sys.argv = more
        runpy.run_module(more[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [first, *more]
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    for _name in IMPORTED:
        importlib.import_module(_name)
    if (_order := _serve(socket.socket(fileno=int(sys.argv[1])))) is not None:
        _become(_order)
