"""One background event loop per process, on a thread of its own. Knows nothing of what runs on it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_thread: threading.Thread | None = None


def background_loop() -> asyncio.AbstractEventLoop:
    """The process' loop, started at the first call. uvloop where it is installed: half the CPU of a request."""
    global _loop, _thread
    with _lock:
        if _loop is None:
            try:
                import uvloop

                _loop = uvloop.new_event_loop()
            except ImportError:
                _loop = asyncio.new_event_loop()
            started = threading.Event()
            _thread = threading.Thread(target=_run, args=(_loop, started), name="aiq-loop", daemon=True)
            _thread.start()
            started.wait()
        return _loop


def loop_is_running() -> bool:
    """True once something asked for the loop."""
    return _loop is not None


def submit(work: Coroutine[Any, Any, T]) -> Future[T]:
    """Runs a coroutine on the background loop, from any other thread."""
    return asyncio.run_coroutine_threadsafe(work, background_loop())


def call_soon(work: Callable[..., object], *args: Any) -> None:
    """Calls a function on the background loop, from any other thread."""
    background_loop().call_soon_threadsafe(work, *args)


def stop_loop() -> None:
    """Stops the loop and waits for its thread, so that nothing of it runs while the interpreter goes down."""
    global _loop, _thread
    with _lock:
        loop, thread = _loop, _thread
        _loop = _thread = None
    if loop is not None and thread is not None:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=5)


def _run(loop: asyncio.AbstractEventLoop, started: threading.Event) -> None:
    asyncio.set_event_loop(loop)
    loop.call_soon(started.set)
    with contextlib.suppress(RuntimeError):
        loop.run_forever()


def _forget_after_fork() -> None:
    """The loop's thread does not exist in a forked child; the child starts its own."""
    global _loop, _lock, _thread
    _loop, _thread, _lock = None, None, threading.Lock()


os.register_at_fork(after_in_child=_forget_after_fork)
