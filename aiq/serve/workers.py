"""Several processes that serve one socket: limits, tokens and the ledger are shared by the home.

A worker that dies is replaced. `python -m aiq.serve.workers` is one of them, and its parent tells it what to serve.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from aiq.errors import ConfigError
from aiq.serve.metrics import FOLDER

_READY = "ready"
_SOONEST_S = 1.0
"""Between the deaths of workers, so that one that cannot live does not take a core."""


class WorkerProcesses:
    """The workers of one socket. In the main thread."""

    def __init__(self, bound: socket.socket, count: int, options: dict[str, Any]) -> None:
        """`options` are those of `aiq.serve.app`, with `cert` and `key`."""
        self._bound, self._count, self._options = bound, count, options
        self._running: list[subprocess.Popen[str]] = []
        self._ending = threading.Event()

    def run(self, ready: Callable[[], None]) -> None:
        """Serves until SIGINT or SIGTERM, then lets what is under way end. Raises ConfigError where none can start."""
        before = {number: signal.signal(number, self._end) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            with tempfile.TemporaryDirectory(prefix="aiq-metrics-") as folder:
                self._folder = folder
                self._running = [self._started() for _ in range(self._count)]
                for worker in self._running:
                    self._wait_for(worker)
                if not self._ending.is_set():
                    ready()
                while not self._ending.wait(_SOONEST_S):
                    self._replace_dead()
                self._stop()
        finally:
            self._stop()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _started(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "aiq.serve.workers", json.dumps({**self._options, "fd": self._bound.fileno()})],
            pass_fds=[self._bound.fileno()],
            env={**os.environ, FOLDER: self._folder},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C reaches the parent, which ends them
        )

    def _wait_for(self, worker: subprocess.Popen[str]) -> None:
        assert worker.stdout is not None
        for line in worker.stdout:
            if line.strip() == _READY:
                return
        if not self._ending.is_set():
            raise ConfigError("a worker of the server could not start; what it printed above says why")

    def _replace_dead(self) -> None:
        for at, worker in enumerate(self._running):
            if worker.poll() is not None:
                print(f"worker {worker.pid} ended with {worker.returncode}; another takes its place", file=sys.stderr)
                _forget(self._folder, worker.pid)
                self._running[at] = self._started()

    def _end(self, signum: int, frame: FrameType | None) -> None:
        self._ending.set()

    def _stop(self) -> None:
        for worker in self._running:
            if worker.poll() is None:
                worker.terminate()
        for worker in self._running:
            worker.wait()
            if worker.stdout is not None:
                worker.stdout.close()


def _forget(folder: str, pid: int) -> None:
    """What a dead worker was busy with is nobody's any more; what it has counted stays."""
    for path in Path(folder).glob(f"gauge_live*_{pid}.db"):
        path.unlink(missing_ok=True)


def main(options_json: str) -> None:
    """One worker."""
    from aiq.serve import app  # after the parent's folder is in the environment
    from aiq.serve.server import run

    options = json.loads(options_json)
    parent = os.getppid()

    def end_with_parent() -> None:
        """A parent that was killed tells nobody to end."""
        waiting = threading.Event()
        while os.getppid() == parent:
            waiting.wait(1.0)
        os.kill(os.getpid(), signal.SIGTERM)

    with socket.socket(fileno=options["fd"]) as bound:
        served = app(options["conf"], options["home"], read_only=options["read_only"])
        threading.Thread(target=end_with_parent, daemon=True).start()
        cert, key = (None if options[name] is None else Path(options[name]) for name in ("cert", "key"))

        def ready() -> None:
            with contextlib.suppress(BrokenPipeError):
                print(_READY, flush=True)

        run(served, bound, ready, cert=cert, key=key)


if __name__ == "__main__":
    main(sys.argv[1])
