"""Runs the application under uvicorn, on the loop on which the gateway lives: no request changes threads."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from types import FrameType

import uvicorn

from aiq.batch.loop import submit
from aiq.errors import ConfigError
from aiq.serve.app import App
from aiq.serve.connection import Connection

DRAIN_S = 30
"""How long answers that are under way may take when the server ends."""
_IDLE_S = 75
"""After which an unused connection is closed."""
_BACKLOG = 2048


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A bound socket. Raises ConfigError where the address cannot be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        bound = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --port") from None
    with bound:
        yield bound


def run(
    app: App, bound: socket.socket, ready: Callable[[], None], *, cert: Path | None = None, key: Path | None = None
) -> None:
    """Serves until SIGINT or SIGTERM, then lets what is under way end. In the main thread. `ready` is called once."""
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # the application logs for itself
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,  # the application reads them itself
        timeout_keep_alive=_IDLE_S,
        timeout_graceful_shutdown=DRAIN_S,
        ssl_certfile=None if cert is None else str(cert),
        ssl_keyfile=None if key is None else str(key),
    )
    config.load()  # here, so that a wrong certificate is an error of this thread
    server = uvicorn.Server(config)
    ending = threading.Event()

    def end(signum: int, frame: FrameType | None) -> None:
        if ending.is_set():
            server.force_exit = True
        app.draining = server.should_exit = True
        ending.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        serving: Future[None] = submit(server.serve(sockets=[bound]))
        while not server.started and not serving.done():
            ending.wait(0.01)
        if server.started:
            ready()
        while not serving.done():
            with contextlib.suppress(TimeoutError):
                serving.result(timeout=0.5)
        serving.result()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
