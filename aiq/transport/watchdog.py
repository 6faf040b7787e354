"""Bounds the many short waits of one stream by one timer: `asyncio.timeout` sets and cancels one for each wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class Watchdog:
    """Ends a wait that is too long. Its timer is set again when it rings before the wait of that moment is over.

    For one wait at a time, on one event loop. Who makes it ends it with `stop`.
    """

    __slots__ = ("_due", "_rang", "_rings", "_task", "_timer")

    def __init__(self) -> None:
        self._timer: asyncio.Handle | None = None
        self._rings = 0.0
        """When, on the loop's clock: uvloop's handle of a time that has come does not tell."""
        self._task: asyncio.Task[object] | None = None
        self._due = 0.0
        self._rang = False

    async def wait(self, work: Awaitable[T], wait_s: float) -> T:
        """The result of `work`. Raises TimeoutError after `wait_s` seconds without it, and cancels it."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        self._due = due = loop.time() + wait_s
        if self._timer is None or self._rings > due:
            self.stop()
            self._set(loop)
        cancelled, self._task, self._rang = task.cancelling(), task, False
        try:
            return await work
        except BaseException as error:
            if self._rang and task.uncancel() <= cancelled and isinstance(error, asyncio.CancelledError):
                raise TimeoutError from None
            raise
        finally:
            self._task = None

    def stop(self) -> None:
        """Cancels the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self, loop: asyncio.AbstractEventLoop) -> None:
        self._rings = self._due
        self._timer = loop.call_at(self._due, self._ring, loop)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if self._task is None:
            return
        if loop.time() < self._due:
            self._set(loop)
            return
        self._rang = True
        self._task.cancel()
