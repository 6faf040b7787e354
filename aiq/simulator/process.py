"""A simulated provider as a child process, for tests, benchmarks and the demo.

Knows only its URL and control routes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

from aiq.errors import ConfigError
from aiq.simulator.profile import FaultRate, Profile

_STOP_TIMEOUT_S = 10.0


class SimulatorProcess:
    """A running simulator. A context manager; it also ends by itself when this process does."""

    def __init__(self, child: subprocess.Popen[bytes], host: str, port: int) -> None:
        self._child, self.port = child, port
        self.url = f"http://{host}:{port}"
        # A proxy in the environment must not see traffic to this machine.
        self._opener = build_opener(ProxyHandler({}))

    @classmethod
    def start(cls, profile: Profile | None = None, port: int = 0) -> SimulatorProcess:
        """Start a child and wait until it accepts connections. `port` 0 takes the profile's, or a free one.

        Raises ConfigError when the port is in use or the child dies.
        """
        profile = profile or Profile()
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        child = subprocess.Popen(
            [sys.executable, "-m", "aiq.simulator", "--child", "--port", str(port or profile.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            # A Ctrl-C at the terminal is for the parent, which stops the child when it is done with it.
            start_new_session=True,
        )
        assert child.stdin is not None and child.stdout is not None
        try:
            with suppress(BrokenPipeError):  # it has ended: what it said, and how, tells more
                child.stdin.write(json.dumps(profile.to_dict()).encode() + b"\n")
                child.stdin.flush()
            said = json.loads(_first_line(child))
        except (OSError, ValueError) as error:
            said = {"error": str(error)}
        except BaseException:
            _end(child)
            raise
        if "error" in said:
            _end(child)
            raise ConfigError(f"the simulator did not start: {said['error']}", field="port")
        return cls(child, profile.host, said["port"])

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._child.pid

    def stats(self) -> dict[str, Any]:
        """`GET /__stats`: requests, tokens, statuses, over_quota, in_flight."""
        stats: dict[str, Any] = self._ask("GET", "/__stats")
        return stats

    def attempts(self) -> list[dict[str, Any]]:
        """`GET /__attempts`: every request as it came in, oldest first."""
        attempts: list[dict[str, Any]] = self._ask("GET", "/__attempts")["attempts"]
        return attempts

    def invoice(self) -> list[dict[str, Any]]:
        """`GET /__invoice`: what was billed, a line for each vendor, key and model."""
        lines: list[dict[str, Any]] = self._ask("GET", "/__invoice")["lines"]
        return lines

    def reset(self) -> None:
        """`POST /__reset`: clear statistics, attempts, quotas and the memory of the `-once` faults."""
        self._ask("POST", "/__reset")

    def set_faults(self, *faults: FaultRate) -> None:
        """`POST /__faults`: from now on, and until `reset`, these strike instead of the profile's."""
        body = [
            {"kind": f.kind, "rate": f.rate, "models": list(f.models), "after": f.after, "until": f.until}
            for f in faults
        ]
        self._ask("POST", "/__faults", json.dumps(body).encode())

    def stop(self) -> None:
        """Terminate the child and wait for it. A second call does nothing."""
        _end(self._child)

    def _ask(self, method: str, path: str, body: bytes = b"") -> Any:
        request = Request(self.url + path, method=method, data=body if method == "POST" else None)
        with self._opener.open(request, timeout=30) as response:
            return json.load(response)

    def __enter__(self) -> SimulatorProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _first_line(child: subprocess.Popen[bytes]) -> bytes:
    """What a child says first. An error that names its exit code where it ends without a word."""
    assert child.stdout is not None
    for line in child.stdout:
        if line.strip():
            return line
    status = child.wait()
    words = f"its process ended with exit code {status} before it listened; standard error says why"
    return json.dumps({"error": words}).encode()


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):  # it has ended without reading what it was sent
                pipe.close()
