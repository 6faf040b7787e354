"""How many requests a served entity has in flight, and when the next one goes. Knows no wire format.

Bounded by the configured concurrency; halved when the provider says it is overloaded, or nothing at all, and raised
again by one a window of successes (AIMD, as TCP does), never by latency, because that grows with an answer's length.
Where its answers state rate limits, requests go as fast as these allow; where they do not, and refusals say when to
ask again, as fast as it grants them (`pace`).
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable

from aiq.errors import ProviderError
from aiq.policy.pace import Pace
from aiq.policy.quota import UNMETERED, Costs, EntityQuota, PlaceInFlight
from aiq.policy.retry import MAX_WAIT_S
from aiq.providers.base import StatedLimits
from aiq.request import Request

_CONGESTION = frozenset({"rate_limited", "overloaded", "timeout"})


class _Waiter:
    """A request that waits for a slot."""

    __slots__ = ("patience_s", "request", "slot")

    def __init__(self, request: Request | None, patience_s: float) -> None:
        self.request, self.patience_s = request, patience_s
        self.slot: asyncio.Future[PlaceInFlight | None] = asyncio.get_running_loop().create_future()

    def would_go(self, wait_s: float, now: float) -> bool:
        """Whether it asks another entity rather than wait for so long."""
        deadline_s = self.request.deadline_s if self.request is not None else None
        return wait_s > self.patience_s or (deadline_s is not None and now + wait_s > deadline_s)


class Gate:
    """The slots of one served entity, first come first served. Used on the event loop only."""

    __slots__ = (
        "_clock",
        "_decreased_at",
        "_limit",
        "_most",
        "_next_at",
        "_pace",
        "_paused_until",
        "_quota",
        "_sleep",
        "_threshold",
        "_timer",
        "_waiters",
        "_wakes_at",
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
        self._waiters: deque[_Waiter] = deque()
        self._timer: asyncio.Task[None] | None = None
        self._wakes_at = math.inf
        self._quota: EntityQuota | None = None
        self._paused_until = self._next_at = self._threshold = 0.0
        self._pace = Pace()
        self._decreased_at = float("-inf")
        self.in_flight = 0

    @property
    def limit(self) -> int:
        """Slots at this moment; at least 1."""
        return max(1, int(self._limit))

    def try_acquire(self, request: Request | None = None) -> PlaceInFlight | None:
        """Takes a slot that is free at this moment. None, and no slot, where that has to be waited for."""
        if self.in_flight >= self.limit or self._waiters or self._delay_s() > 0.0:
            return None
        quota = self._quota
        if quota is None:
            self._goes()
            return UNMETERED
        costs = quota.costs(request)
        if quota.wait_s(costs) > 0.0:
            return None
        self._goes()
        return quota.take(costs)

    @property
    def pause_s(self) -> float:
        """Seconds until the end of a pause that the provider asked for; 0 without one."""
        return self._pause_s()

    @property
    def held_up(self) -> tuple[int, float]:
        """How many requests its provider makes wait, and the seconds until the next may go. Any thread."""
        if self._timer is None:
            return 0, 0.0
        return len(self._waiters), max(0.0, self._wakes_at - self._clock())

    def wait_s(self, request: Request | None = None) -> float:
        """Seconds that the provider makes a request wait that comes now: a pause, its pace, and its quota."""
        pause, quota = self._delay_s() + len(self._waiters) * self._pace.interval_s, self._quota
        if quota is None:
            return pause
        ahead = [quota.costs(waiter.request) for waiter in self._waiters]
        return max(pause, quota.wait_s(quota.costs(request), ahead))

    async def acquire(self, patience_s: float = math.inf, request: Request | None = None) -> PlaceInFlight | None:
        """Waits for a slot, first come first served, for the end of a pause and for quota.

        None, and no slot, where the provider makes it wait longer than `patience_s` seconds or the request's deadline.
        A request that waits has no slot.
        """
        if patience_s < math.inf and self.wait_s(request) > patience_s:
            return None
        slot = self.try_acquire(request)
        if slot is not None:
            return slot
        waiter = _Waiter(request, patience_s)
        self._waiters.append(waiter)
        if len(self._waiters) == 1:  # else a request waits for the first one already
            self._hand_over()
        try:
            return await waiter.slot
        except BaseException:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
                self._hand_over()
            elif not waiter.slot.cancelled() and (slot := waiter.slot.result()) is not None:
                self.settle(slot, None)
                self._give_back()  # it had been handed over, so it goes to the next one
            raise

    def learn(self, slot: PlaceInFlight, request: Request, stated: StatedLimits, *, refused: bool) -> bool:
        """Takes in the rate limits that an answer states. True where the request was refused for want of them."""
        if self._quota is None:
            self._quota = EntityQuota(self._clock)
        lacking = self._quota.learn(slot, request, stated, self.in_flight, refused=refused)
        if self._waiters:
            self._hand_over()
        return lacking

    def settle(self, slot: PlaceInFlight, output_tokens: int | None) -> None:
        """Tells what a request was billed, where that is counted in the end; None where nothing. Before `release`."""
        if self._quota is not None:
            self._quota.settle(slot, output_tokens)

    def release(self, started: float, end: BaseException | None, *, lacking: bool = False) -> None:
        """Gives the slot back. `started` is when the attempt was sent; `end` what it ended with, None for an answer.

        `lacking`: it was refused for want of a stated quota, which says nothing of how many may be in flight.
        """
        if end is None:
            if self._limit < self._most:
                step = 1.0 if self._limit < self._threshold else 1.0 / self._limit
                self._limit = min(self._most, self._limit + step)
            self._pace.granted(started, self._clock())
        elif isinstance(end, ProviderError) and end.kind in _CONGESTION:
            now, pace = self._clock(), self._pace
            of_pace = lacking or (end.kind == "rate_limited" and pace.interval_s > 0.0)
            if started > self._decreased_at and not of_pace:  # one decrease for all that were in flight together
                self._limit = max(1.0, min(self._limit, float(self.in_flight)) / 2)
                self._decreased_at, self._threshold = now, 0.0
            if end.retry_after_s and end.retry_after_s <= MAX_WAIT_S:
                if end.kind == "rate_limited" and self._quota is None:
                    pace.refused(started, now, end.retry_after_s)
                self._paused_until = max(self._paused_until, now + end.retry_after_s)
                self._dismiss(self._delay_s())
        self._give_back()

    def reopen(self) -> None:
        """An outage is over: slots come back by one an answer, up to half of the most, as TCP starts slowly."""
        self._threshold = self._most / 2

    def restore(self) -> None:
        """All slots at once: of what is silent nothing is learnt by asking for less."""
        self._limit = float(self._most)

    def _pause_s(self) -> float:
        if not self._paused_until:
            return 0.0
        pause = self._paused_until - self._clock()
        if pause <= 0.0:
            self._paused_until = pause = 0.0
        return pause

    def _delay_s(self) -> float:
        """Seconds until the next request may go: the rest of a pause, or of the interval that the provider grants."""
        if not self._pace.interval_s:
            return self._pause_s()
        return max(self._pause_s(), self._next_at - self._clock(), 0.0)

    def _goes(self) -> None:
        self.in_flight += 1
        if self._pace.interval_s:
            self._next_at = self._clock() + self._pace.interval_s

    def _give_back(self) -> None:
        """One slot less in use. A free slot is handed over here and now, so that no later request overtakes."""
        self.in_flight -= 1
        if self._waiters:
            self._hand_over()

    def _hand_over(self) -> None:
        """Slots to those who wait, as many as may go now; the others are looked at again when they may."""
        waiters = self._waiters
        while waiters and self.in_flight < self.limit:
            waiter = waiters[0]
            if waiter.slot.done():
                waiters.popleft()
                continue
            quota, wait_s = self._quota, self._delay_s()
            costs: Costs = ()
            if quota is not None:
                costs = quota.costs(waiter.request)
                wait_s = max(wait_s, quota.wait_s(costs))
            if wait_s > 0.0:
                if self._dismiss(wait_s):
                    continue
                self._wake_after(wait_s)
                return
            waiters.popleft()
            self._goes()
            waiter.slot.set_result(UNMETERED if quota is None else quota.take(costs))
        if not waiters and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _dismiss(self, wait_s: float) -> bool:
        """Those who would not wait for so long go and ask somebody else. False where there are none."""
        now, waiters, interval_s = self._clock(), self._waiters, self._pace.interval_s
        going = [waiter for place, waiter in enumerate(waiters) if waiter.would_go(wait_s + place * interval_s, now)]
        for waiter in going:
            waiters.remove(waiter)
            if not waiter.slot.done():
                waiter.slot.set_result(None)
        return bool(going)

    def _wake_after(self, wait_s: float) -> None:
        at = self._clock() + wait_s
        if self._timer is not None:
            if self._wakes_at <= at:  # and looks again
                return
            self._timer.cancel()
        self._wakes_at, self._timer = at, asyncio.ensure_future(self._wake(wait_s))

    async def _wake(self, wait_s: float) -> None:
        await self._sleep(wait_s)
        self._timer = None
        self._hand_over()
