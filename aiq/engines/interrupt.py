"""Stops a running statement when its connection is interrupted or Ctrl-C is pressed.

DuckDB's `interrupt()` waits for the Python function that is running, and that function is told nothing. So the
method is wrapped once, for all connections of the process: it first stops the statements of that connection.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import duckdb

from aiq.batch.statement import Statement

_running: dict[int, list[Statement]] = {}
_lock = threading.Lock()
_interrupt = duckdb.DuckDBPyConnection.interrupt


def _stop_then_interrupt(self: duckdb.DuckDBPyConnection) -> None:
    with _lock:
        statements = list(_running.get(id(self), ()))
    for statement in statements:
        statement.cancel()
    _interrupt(self)


duckdb.DuckDBPyConnection.interrupt = _stop_then_interrupt  # type: ignore[method-assign]


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
    """While inside, Ctrl-C stops the statement even when DuckDB runs its function on another thread."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    pressed = False

    def stop(number: int, frame: FrameType | None) -> Any:
        nonlocal pressed
        pressed = True
        statement.cancel()
        return before(number, frame)

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    except Exception:
        if pressed:  # DuckDB turns a Ctrl-C into errors of its own
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGINT, before)
