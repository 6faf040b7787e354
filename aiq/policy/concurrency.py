"""How many requests a served entity has in flight. Knows nothing of what they carry.

Bounded by the configured concurrency; halved when the provider says it is overloaded and raised again by one a
window of successes (AIMD, as TCP does), never by latency, because an answer's latency grows with its length.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from aiq.errors import ProviderError

_CONGESTION = frozenset({"rate_limited", "overloaded"})


class Gate:
    """The slots of one served entity. Used on the event loop only."""

    __slots__ = (
        "_clock",
        "_decreased_at",
        "_limit",
        "_loop_sleep",
        "_most",
        "_paused_until",
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
        self._clock, self._loop_sleep = clock, sleep
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._paused_until = 0.0
        self._decreased_at = float("-inf")
        self.in_flight = 0

    @property
    def limit(self) -> int:
        """Slots at this moment; at least 1."""
        return max(1, int(self._limit))

    async def acquire(self) -> None:
        """Waits for a slot, first come first served, and for the end of a pause the provider asked for."""
        if self.in_flight < self.limit and not self._waiters and not self._paused_until:
            self.in_flight += 1
            return
        while True:
            if pause := self._paused_until:
                if (wait := pause - self._clock()) > 0:
                    await self._loop_sleep(wait)
                    continue
                self._paused_until = 0.0
            if self.in_flight < self.limit:
                self.in_flight += 1
                return
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake()  # the slot it was woken for goes to the next one
                else:
                    self._waiters.remove(waiter)
                raise

    def release(self, started: float, error: ProviderError | None) -> None:
        """Gives the slot back. `started` is when the attempt was sent; `error` its end, None for an answer."""
        self.in_flight -= 1
        if error is None:
            if self._limit < self._most:
                self._limit = min(self._most, self._limit + 1.0 / self._limit)
        elif error.kind in _CONGESTION:
            if started > self._decreased_at:  # one decrease for all that were in flight together
                self._limit = max(1.0, min(self._limit, self.in_flight + 1.0) / 2)
                self._decreased_at = self._clock()
            if error.retry_after_s:
                self._paused_until = max(self._paused_until, self._clock() + error.retry_after_s)
        self._wake()

    def _wake(self) -> None:
        free = self.limit - self.in_flight
        while self._waiters and free > 0:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                free -= 1
