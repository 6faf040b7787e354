"""Runs a simulated provider on a TCP port of this machine until it is told to stop. Knows no command line."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable

from aiq.errors import ConfigError
from aiq.simulator.profile import Profile
from aiq.simulator.provider import Provider
from aiq.simulator.wire import VendorConnection


def run(
    profile: Profile,
    port: int | None = None,
    on_ready: Callable[[int], None] | None = None,
    *,
    until_eof_of: int | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM, or until the file descriptor `until_eof_of` (a pipe) reaches its end.

    `port` overrides the profile's; 0 takes a free one. `on_ready` is called with the port once it accepts
    connections. Raises ConfigError when the port cannot be had.
    """
    asked = profile.port if port is None else port
    loop = _new_loop()
    try:
        provider = Provider(profile)
        try:
            server = loop.run_until_complete(
                loop.create_server(lambda: VendorConnection(provider, loop), profile.host, asked, backlog=1024)
            )
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f"the simulator cannot listen on {profile.host}:{asked}: {error}. Choose another "
                "port, or 0 for a free one",
                field="port",
            ) from error
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, loop.stop)
        if until_eof_of is not None:
            loop.add_reader(until_eof_of, _stop_at_eof, loop, until_eof_of)
        if on_ready is not None:
            # From inside the loop: uvloop loses a signal that comes before it runs.
            loop.call_soon(on_ready, server.sockets[0].getsockname()[1])
        loop.run_forever()
        server.close()
    finally:
        loop.close()


def _stop_at_eof(loop: asyncio.AbstractEventLoop, pipe: int) -> None:
    if not os.read(pipe, 65536):
        loop.stop()


def _new_loop() -> asyncio.AbstractEventLoop:
    """uvloop's event loop where it is installed: it halves the CPU of a request."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
