"""Stops a running statement when its connection is interrupted or Ctrl-C is pressed.

DuckDB's `interrupt()` waits for the Python function that is running, and that function is told nothing. So the
method is wrapped once, for all connections of the process (`wrap_interrupt`): it first stops the statements of that
connection.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import duckdb

from aiq.batch.statement import Statement

stopping_signals: set[int] = {signal.SIGINT}
"""Those that stop a statement at once. A program whose handler of another one raises KeyboardInterrupt adds it."""
_running: dict[int, list[Statement]] = {}
_lock = threading.Lock()
_interrupt = duckdb.DuckDBPyConnection.interrupt


def wrap_interrupt() -> None:
    """Wraps `interrupt()` of all connections; a second call changes nothing."""
    duckdb.DuckDBPyConnection.interrupt = _stop_then_interrupt  # type: ignore[method-assign]


def _stop_then_interrupt(self: duckdb.DuckDBPyConnection) -> None:
    with _lock:
        statements = list(_running.get(id(self), ()))
    for statement in statements:
        statement.cancel()
    _interrupt(self)


@contextmanager
def running(con: duckdb.DuckDBPyConnection, statement: Statement) -> Iterator[None]:
    """While inside, `con.interrupt()` stops the statement."""
    key = id(con)
    with _lock:
        _running.setdefault(key, []).append(statement)
    try:
        yield
    finally:
        with _lock:
            _running[key].remove(statement)
            if not _running[key]:
                del _running[key]


@contextmanager
def stopped_by_ctrl_c(statement: Statement) -> Iterator[None]:
    """While inside, Ctrl-C stops the statement even when DuckDB runs its function on another thread.

    Python's own handler has to wait until DuckDB gives the main thread back, so the signal is seen through the
    wake-up file descriptor, which the operating system's handler writes to at once. Raises KeyboardInterrupt then.
    """
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or not callable(signal.getsignal(signal.SIGINT)):
        yield
        return
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    pressed = threading.Event()

    def watch() -> None:
        while signals := reader.recv(64):
            if before != -1:
                with suppress(OSError):
                    os.write(before, signals)
            if not stopping_signals.isdisjoint(signals):
                pressed.set()
                statement.cancel()

    watcher = threading.Thread(target=watch, name="aiq-ctrl-c", daemon=True)
    watcher.start()
    try:
        yield
    except Exception as error:
        if pressed.is_set() or "KeyboardInterrupt" in str(error):  # DuckDB turns a Ctrl-C into errors of its own
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.set_wakeup_fd(before)
        writer.close()
        watcher.join()
        reader.close()
