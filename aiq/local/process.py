"""Starts the server of a home as a process of its own, and ends it."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from aiq.config.local import LocalServer, running_server, server_folder
from aiq.errors import ConfigError
from aiq.local.models import chat_model

_POLL_S = 0.05
_PATIENCE_S = 10.0


def default_threads() -> int:
    """Half of the cores, at most 4: with all of them, threads that wait for one another make a busy machine crawl."""
    return max(1, min(4, (os.cpu_count() or 2) // 2))


def start_server(
    home: Path, *, port: int, threads: int, model: Path | None, patience_s: float | None = None
) -> LocalServer:
    """Starts a server and waits until it answers, `patience_s` seconds at most (None: as long as it takes).

    `port` is that of chat, and the next that of embeddings; 0 takes free ones.
    Raises ConfigError where it runs already, what it needs is not installed, or it does not start.
    """
    if (running := running_server(home)) is not None:
        raise ConfigError(f"the server of this home runs already (process {running.pid}); `aiq local down` ends it")
    file = chat_model(model)
    folder = server_folder(home)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = folder / "log"
    log.unlink(missing_ok=True)
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    asked = {"home": str(home), "port": port, "threads": threads, "model": str(file)}
    with os.fdopen(os.open(log, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600), "wb") as errors:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "aiq.local", json.dumps(asked)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # it stays when the terminal goes
        )
    assert child.stdout is not None
    try:
        with child.stdout:
            said = _first_words(child.stdout, patience_s)
        server = running_server(home)
    except BaseException:
        child.kill()
        child.wait()
        raise
    if server is None or "error" in said:
        child.kill()
        child.wait()
        words = said.get("error", "its process ended before it answered")
        raise ConfigError(f"the local server did not start: {words} (its log: {log})")
    return server


def stop_server(home: Path) -> bool:
    """Ends the server and waits for its end. False where none runs."""
    server = running_server(home)
    if server is None:
        return False
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.kill(server.pid, number)
        end = time.monotonic() + _PATIENCE_S
        while is_locked(home):
            if time.monotonic() > end:
                break
            time.sleep(_POLL_S)
        else:
            return True
    raise ConfigError(f"process {server.pid} of the local server does not end")


def is_locked(home: Path) -> bool:
    """Whether the process of a server is there, whether or not it answers."""
    try:
        with open(server_folder(home) / "lock", "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _first_words(stdout: IO[bytes], patience_s: float | None) -> dict[str, object]:
    """What the process says of itself, in one line that it writes at once."""
    waiting = select.poll()
    waiting.register(stdout, select.POLLIN | select.POLLHUP)
    if not waiting.poll(None if patience_s is None else patience_s * 1000):
        return {"error": f"it did not answer within {patience_s:.0f} seconds"}
    try:
        said = json.loads(stdout.readline())
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
