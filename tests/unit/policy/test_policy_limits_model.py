"""Every decision of the limiter against an exact model: a list of all charges, times as fractions.

The same for limits in memory and in a file, with clocks that jump and machines that are started anew. Limits are small
here, so that no process takes more than it needs and the answer is one and only.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import Coroutine
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, rule

from aiq.config.endpoint import Endpoint, RateLimit
from aiq.errors import PolicyError
from aiq.policy.limits import Grant, RateLimiter
from aiq.policy.limits.file_store import FileStore
from aiq.policy.limits.leases import NEED_US, LeasedBook
from aiq.request import Caller, Request, Usage

T = TypeVar("T")
LIMITS = (
    RateLimit(5),
    RateLimit(3, "user"),
    RateLimit(4, "user", "ann"),
    RateLimit(6, "user_group", "staff", period_s=90),
    RateLimit(4, "user_group", "admins", period_s=90),
    RateLimit(40, unit="tokens"),
    RateLimit(25, "user", unit="output_tokens", period_s=90),
    RateLimit(3, unit="concurrency", period_s=0),
)
CALLERS = (Caller("ann"), Caller("bob", ("staff",)), Caller("cy", ("staff", "admins")))

Place = tuple[str, str]


class Model:
    """All charges that were ever made: their place, time, and amount."""

    def __init__(self) -> None:
        self.charges: dict[int, list[Any]] = {}
        self._numbers = itertools.count()

    def used(self, place: Place, period_s: int, now: Fraction) -> int:
        return sum(
            n for where, at, n in self.charges.values() if where == place and (not period_s or now - period_s < at)
        )

    def add(self, place: Place, now: Fraction, amount: int) -> int:
        number = next(self._numbers)
        self.charges[number] = [place, now, amount]
        return number


def clauses(caller: Caller, tokens_out: int) -> list[tuple[list[tuple[Place, int, int]], int, str]]:
    """What a request needs: the places one of which must have room, the amount, the unit."""
    own = (("calls", "user ann"), 4, 60) if caller.user == "ann" else (("calls", f"user {caller.user}"), 3, 60)
    found = [
        ([(("calls", "all"), 5, 60)], 1, "calls"),
        ([own], 1, "calls"),
        ([(("tokens", "all"), 40, 60)], 1 + tokens_out, "tokens"),
        ([(("output", caller.user), 25, 90)], tokens_out, "output"),
        ([(("concurrency", "all"), 3, 0)], 1, "concurrency"),
    ]
    amounts = {"staff": 6, "admins": 4}
    groups = [(("calls", f"group {group}"), amounts[group], 90) for group in caller.groups]
    if groups:
        found.append((groups, 1, "calls"))
    return found


class LimiterMachine(RuleBasedStateMachine):
    """Memory. Subclassed for the file."""

    grants: Bundle[Any] = Bundle("grants")
    lease_s = Fraction(0)
    """What is granted counts so much longer than a period."""

    def book(self) -> Any:
        return None

    @initialize()
    def start(self) -> None:
        self.now, self.model, self.loop = Fraction(1000), Model(), asyncio.new_event_loop()
        endpoint = Endpoint("chat", "e", "llm/v1/chat", (), "f", aiq_rate_limits=LIMITS)
        self.limiter = RateLimiter(endpoint, self.clock, self.sleep, book=self.book())

    def clock(self) -> float:
        return float(self.now)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        async def and_settle() -> T:
            result = await work
            for _ in range(5):
                await asyncio.sleep(0)
            return result

        return self.loop.run_until_complete(and_settle())

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.run(asyncio.sleep(0))
            self.loop.close()

    @rule(seconds=st.sampled_from([Fraction(1, 10**6), Fraction(1), Fraction(59), Fraction(60), Fraction(7, 3)]))
    def time_passes(self, seconds: Fraction) -> None:
        end = Fraction(round((self.now + seconds) * 10**6), 10**6)
        while self.now < end:  # in steps, so that what a process does now and then is done
            self.now = min(end, self.now + 10)
            self.run(asyncio.sleep(0))

    @rule(target=grants, caller=st.sampled_from(CALLERS), tokens_out=st.integers(1, 24))
    def ask(self, caller: Caller, tokens_out: int) -> Any:
        body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": tokens_out}
        request = Request("chat", "llm/v1/chat", body, caller, "s")
        needed = clauses(caller, tokens_out)
        expected = all(
            any(self.model.used(place, period, self.now) + amount <= limit for place, limit, period in places)
            for places, amount, _ in needed
        )
        grant, retry_s = self.run(self.attempt(request))
        assert (grant is not None) is expected
        if grant is None:
            self.check_retry(needed, retry_s)
            return None
        numbers = [
            (self.model.add(place, self.now + self.lease_s, amount), amount, unit)
            for places, amount, unit in needed
            for place, _, _ in places
        ]
        return grant, numbers

    def check_retry(self, needed: Any, retry_s: float) -> None:
        """Whoever waits exactly that long is granted, if only time passes; a microsecond less is too little."""
        if self.model.used(("concurrency", "all"), 0, self.now) >= 3:
            return

        def fits(at: Fraction) -> bool:
            return all(
                any(self.model.used(place, period, at) + amount <= limit for place, limit, period in places)
                for places, amount, _ in needed
            )

        at = self.now + Fraction(round(retry_s * 10**6), 10**6)
        assert fits(at) and not fits(at - Fraction(1, 10**6))

    async def attempt(self, request: Request) -> tuple[Grant | None, float]:
        try:
            return await self.limiter.acquire(request, wait=False), 0.0
        except PolicyError as error:
            assert error.status == 429 and error.retry_after_s is not None
            return None, error.retry_after_s

    @rule(grant=consumes(grants), used_in=st.integers(0, 3), used_out=st.integers(0, 40), known=st.booleans())
    def settle(self, grant: Any, used_in: int, used_out: int, known: bool) -> None:
        if grant is None:
            return
        usage = Usage(used_in, used_out, estimated=True) if known else None
        self.run(self.settled(grant[0], usage))
        for number, reserved, unit in grant[1]:
            charge = self.model.charges[number]
            if unit == "concurrency":
                charge[2] = 0
            elif unit in ("tokens", "output") and known:
                used = used_out if unit == "output" else used_in + used_out
                if used > reserved:
                    self.model.add(charge[0], self.now, used - reserved)
                else:
                    charge[2] = used

    async def settled(self, grant: Grant, usage: Usage | None) -> None:
        self.limiter.settle(grant, usage, None)

    @rule(grant=consumes(grants))
    def release(self, grant: Any) -> None:
        if grant is None:
            return
        self.run(self.released(grant[0]))
        for number, _, _ in grant[1]:
            self.model.charges[number][2] = 0

    async def released(self, grant: Grant) -> None:
        self.limiter.release(grant)


class FileLimiterMachine(LimiterMachine):
    """The same in a file, whose machine may be started anew and whose wall clock may be set."""

    lease_s = Fraction(NEED_US, 10**6)

    def book(self) -> Any:
        self.home = Path(tempfile.mkdtemp())
        # Each time it is up for less than before: otherwise nobody could tell, and charges would count too long.
        self.booted, self.up_before, self.wall_offset = self.now, 10**8, 0.0
        self.store = FileStore(self.home, clock=self.uptime, wall=self.wall)
        return LeasedBook(self.store, self.clock, self.sleep)

    def uptime(self) -> float:
        return float(self.now - self.booted + self.up_before)

    def wall(self) -> float:
        return float(self.now) + self.wall_offset

    @rule(seconds=st.sampled_from([-3600.0, 86400.0]))
    def the_wall_clock_is_set(self, seconds: float) -> None:
        self.run(self.touch())
        self.wall_offset += seconds
        self.run(self.touch())

    @rule()
    def the_machine_is_started_anew(self) -> None:
        self.run(self.touch())
        self.booted = self.now
        self.up_before -= 10**6

    async def touch(self) -> None:
        """Another process uses the store."""
        await self.store.exchange([], [])

    def teardown(self) -> None:
        if hasattr(self, "home"):
            self.run(self.store.close())
            shutil.rmtree(self.home)
        super().teardown()


_SETTINGS = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestLimitsInMemory = LimiterMachine.TestCase
TestLimitsInMemory.settings = _SETTINGS
TestLimitsInAFile = FileLimiterMachine.TestCase
TestLimitsInAFile.settings = settings(_SETTINGS, max_examples=25)
