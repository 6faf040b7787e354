"""How many requests a served entity has in flight. Knows nothing of what they carry.

Bounded by the configured concurrency; halved when the provider says it is overloaded, or nothing at all, and raised
again by one a window of successes (AIMD, as TCP does), never by latency, because that grows with an answer's length.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable

from aiq.errors import ProviderError

_CONGESTION = frozenset({"rate_limited", "overloaded", "timeout"})


class Gate:
    """The slots of one served entity. Used on the event loop only."""

    __slots__ = (
        "_clock",
        "_decreased_at",
        "_limit",
        "_most",
        "_paused_until",
        "_sleep",
        "_waiters",
        "in_flight",
    )

    def __init__(
        self,
        most: int,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`most` slots at the most; `clock` is monotonic, in seconds."""
        self._most, self._limit = most, float(most)
        self._clock, self._sleep = clock, sleep
        self._waiters: deque[tuple[asyncio.Future[bool], float]] = deque()
        self._paused_until = 0.0
        self._decreased_at = float("-inf")
        self.in_flight = 0

    @property
    def limit(self) -> int:
        """Slots at this moment; at least 1."""
        return max(1, int(self._limit))

    def try_acquire(self) -> bool:
        """Takes a slot that is free at this moment; False, and no slot, where there is none or there is a pause."""
        if self.in_flight >= self.limit or self._waiters or self._pause_s() > 0.0:
            return False
        self.in_flight += 1
        return True

    @property
    def pause_s(self) -> float:
        """Seconds until the end of a pause that the provider asked for; 0 without one."""
        return self._pause_s()

    async def acquire(self, patience_s: float = math.inf) -> bool:
        """Waits for a slot, first come first served, and for the end of a pause the provider asked for.

        False, and no slot, where that pause is longer than `patience_s` seconds.
        """
        if self._pause_s() > patience_s:
            return False
        if self.in_flight < self.limit and not self._waiters:
            self.in_flight += 1
        elif not await self._turn(patience_s):
            return False
        try:
            while (pause := self._pause_s()) > 0.0:
                if pause > patience_s:
                    self._give_back()
                    return False
                await self._sleep(pause)
        except BaseException:
            self._give_back()
            raise
        return True

    def release(self, started: float, end: BaseException | None) -> None:
        """Gives the slot back. `started` is when the attempt was sent; `end` what it ended with, None for an answer."""
        if end is None:
            if self._limit < self._most:
                self._limit = min(self._most, self._limit + 1.0 / self._limit)
        elif isinstance(end, ProviderError) and end.kind in _CONGESTION:
            if started > self._decreased_at:  # one decrease for all that were in flight together
                self._limit = max(1.0, min(self._limit, float(self.in_flight)) / 2)
                self._decreased_at = self._clock()
            if end.retry_after_s:
                self._paused_until = max(self._paused_until, self._clock() + end.retry_after_s)
                self._dismiss()
        self._give_back()

    async def _turn(self, patience_s: float) -> bool:
        """Waits until a slot is handed over (True), or a pause begins that is too long to wait for."""
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        entry = (waiter, patience_s)
        self._waiters.append(entry)
        try:
            return await waiter
        except BaseException:
            if entry in self._waiters:
                self._waiters.remove(entry)
            elif not waiter.cancelled() and waiter.result():
                self._give_back()  # it had been handed over, so it goes to the next one
            raise

    def _pause_s(self) -> float:
        if not self._paused_until:
            return 0.0
        pause = self._paused_until - self._clock()
        if pause <= 0.0:
            self._paused_until = pause = 0.0
        return pause

    def _give_back(self) -> None:
        """One slot less in use. A free slot is handed over here and now, so that nobody who comes later overtakes."""
        self.in_flight -= 1
        while self._waiters and self.in_flight < self.limit:
            waiter, _ = self._waiters.popleft()
            if not waiter.done():
                self.in_flight += 1
                waiter.set_result(True)

    def _dismiss(self) -> None:
        """Those who would not wait for the pause go and ask somebody else."""
        pause, waiters = self._pause_s(), self._waiters
        self._waiters = deque(entry for entry in waiters if entry[1] >= pause)
        for waiter, patience_s in waiters:
            if patience_s < pause and not waiter.done():
                waiter.set_result(False)
