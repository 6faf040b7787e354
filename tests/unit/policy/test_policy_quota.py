"""A gate before a provider with a quota: nearly all of it is used, hardly anybody is refused, and nothing stands still.

The provider is a token bucket in exact terms; time is virtual, so minutes of traffic pass in no time.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiq.policy.concurrency import Gate
from aiq.policy.quota import LONGEST_WAIT_S, UNMETERED, PlaceInFlight
from aiq.providers.base import StatedLimit, StatedLimits
from aiq.providers.wire.http import reset_s, stated_limits
from aiq.request import Request

Count = Callable[[Request], float]


def as_openai(request: Request) -> float:
    """The larger of `max_tokens` and a count of the prompt that is not ours."""
    return float(max(request.body["max_tokens"], len(request.body["messages"][0]["content"]) // 4 + 3))


def as_azure(request: Request) -> float:
    return float(request.body["max_tokens"] + len(request.body["messages"][0]["content"]) // 4 + 3)


class Provider:
    """`limit` of a unit in `period_s`, refilled all the time, or (`window`) at once when the period is over."""

    def __init__(self, time: Any, limit: float, period_s: float = 60.0, *, window: bool = False) -> None:
        self.time, self.limit, self.period_s, self.window = time, limit, period_s, window
        self.level, self.at = limit, time.now
        self.admitted = self.refused = 0
        self.units = 0.0

    def admit(self, units: float) -> tuple[bool, StatedLimit]:
        elapsed, now = self.time.now - self.at, self.time.now
        if self.window:
            if elapsed >= self.period_s:
                self.level, self.at = self.limit, now
        else:
            self.level, self.at = min(self.limit, self.level + elapsed * self.limit / self.period_s), now
        fits = self.level >= units
        if fits:
            self.level -= units
            self.admitted += 1
            self.units += units
        else:
            self.refused += 1
        return fits, self.stated()

    def stated(self) -> StatedLimit:
        if self.window:
            return StatedLimit(self.limit, math.floor(self.level), self.at + self.period_s - self.time.now)
        reset_s = math.ceil((self.limit - self.level) * self.period_s / self.limit * 1000) / 1000
        return StatedLimit(self.limit, math.floor(self.level), reset_s or None)

    def hint_s(self, units: float) -> float:
        if self.window:
            return float(self.at + self.period_s - self.time.now)
        return float((units - self.level) * self.period_s / self.limit)


class Traffic:
    """More requests than a provider allows, through one gate."""

    def __init__(
        self, make: Any, provider: Provider, *, seed: int = 0, slots: int = 256, latency_s: float = 1.0
    ) -> None:
        self.make, self.provider, self.rng = make, provider, random.Random(seed)
        self.time, self.latency_s = provider.time, latency_s
        self.gate = Gate(slots, self.time.clock, self.time.sleep)
        self.longest_s = 0.0

    async def keep_busy(self, seconds: float, *, tokens: Count | None = None, headers_at_the_end: bool = False) -> None:
        end = self.time.now + seconds
        tasks = [asyncio.create_task(self._busy(end, tokens, headers_at_the_end)) for _ in range(300)]
        await self.time.sleep(seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _busy(self, end: float, tokens: Count | None, late: bool) -> None:
        rng, gate, time = self.rng, self.gate, self.time
        while time.now < end:
            request = self.make.request(text="x" * rng.randint(1, 2000))
            request.body["max_tokens"] = rng.randint(1, 1000)
            units = tokens(request) if tokens is not None else 1.0
            since = time.now
            slot = await gate.acquire(request=request)
            assert slot is not None
            self.longest_s = max(self.longest_s, time.now - since)
            started, error = time.now, None
            try:
                await time.sleep(rng.uniform(0.005, 0.03))
                fits, stated = self.provider.admit(units)
                hint_s = self.provider.hint_s(units)
                if fits:
                    await time.sleep(rng.lognormvariate(math.log(self.latency_s), 0.5))
                    stated = self.provider.stated() if late else stated
                limits = StatedLimits(None, stated) if tokens is not None else StatedLimits(stated, None)
                lacking = gate.learn(slot, request, limits, refused=not fits)
                error = None if fits else self.make.error("rate_limited", 429, retry_after_s=hint_s)
            except BaseException as failure:
                gate.release(started, failure)
                raise
            gate.release(started, error, lacking=lacking)


def shares(provider: Provider, seconds: float) -> tuple[float, float]:
    """What was used of what was allowed, and what was refused of what was asked."""
    allowed = provider.limit * (1 + seconds / provider.period_s)
    return provider.units / allowed, provider.refused / (provider.admitted + provider.refused)


@pytest.mark.parametrize("latency_s", [0.05, 1.0, 5.0])
def test_a_quota_of_requests_is_used_and_hardly_anybody_is_refused(make: Any, latency_s: float) -> None:
    provider = Provider(make.time(), 600)
    traffic = Traffic(make, provider, latency_s=latency_s)
    provider.time.run(traffic.keep_busy(120.0))
    used, refused = shares(provider, 120.0)
    assert used >= 0.97 and refused <= 0.01, (used, refused)


@pytest.mark.parametrize("count", [as_openai, as_azure])
def test_a_quota_of_tokens_is_used_however_they_are_counted(make: Any, count: Count) -> None:
    provider = Provider(make.time(), 300_000)
    traffic = Traffic(make, provider)
    provider.time.run(traffic.keep_busy(120.0, tokens=count))
    used, refused = shares(provider, 120.0)
    assert used >= 0.97 and refused <= 0.01, (used, refused)


def test_headers_that_tell_of_the_end_of_an_answer_do_as_well(make: Any) -> None:
    provider = Provider(make.time(), 600)
    traffic = Traffic(make, provider)
    provider.time.run(traffic.keep_busy(120.0, headers_at_the_end=True))
    used, refused = shares(provider, 120.0)
    assert used >= 0.97 and refused <= 0.01, (used, refused)


def test_a_quota_of_a_day_is_recognised_by_its_reset(make: Any) -> None:
    provider = Provider(make.time(), 500, 86_400.0)
    traffic = Traffic(make, provider)
    provider.time.run(traffic.keep_busy(600.0))
    assert provider.admitted >= 495
    assert provider.refused <= 600 / LONGEST_WAIT_S


def test_processes_that_share_a_key_share_its_quota(make: Any) -> None:
    provider = Provider(make.time(), 600)
    each = [Traffic(make, provider, seed=seed, slots=64) for seed in range(4)]

    async def together() -> None:
        await asyncio.gather(*(traffic.keep_busy(240.0) for traffic in each))

    provider.time.run(together())
    used, refused = shares(provider, 240.0)
    assert used >= 0.97 and refused <= 0.02, (used, refused)


def test_a_window_that_is_refilled_at_once_is_used(make: Any) -> None:
    provider = Provider(make.time(), 600, window=True)
    traffic = Traffic(make, provider)
    provider.time.run(traffic.keep_busy(299.0))
    assert provider.admitted >= 0.97 * 5 * 600
    assert provider.refused <= 0.01 * provider.admitted


def stating(remaining: float, limit: float = 600.0, reset_s: float | None = None) -> StatedLimits:
    if reset_s is None and remaining < limit:
        reset_s = (limit - remaining) * 60 / limit
    return StatedLimits(StatedLimit(limit, remaining, reset_s), None)


def used_up(make: Any, time: Any, slots: int = 64, **changes: Any) -> Gate:
    """A gate of whose quota nothing is left, and nothing in flight: room for one more comes after 0.4 s."""
    gate = Gate(slots, time.clock, time.sleep)
    slot = gate.try_acquire(make.request())
    assert slot is not None
    gate.learn(slot, make.request(), stating(0.0, **changes), refused=False)
    gate.release(time.now, None)
    return gate


def test_without_stated_limits_nobody_waits(make: Any) -> None:
    time = make.time()
    gate = Gate(1000, time.clock, time.sleep)
    assert [gate.try_acquire(make.request()) for _ in range(1000)] == [UNMETERED] * 1000


def test_what_left_before_the_first_answer_is_not_given_out_again(make: Any) -> None:
    time = make.time()
    gate = Gate(1000, time.clock, time.sleep)
    early = [gate.try_acquire() for _ in range(50)]
    assert early[0] is not None
    gate.learn(early[0], make.request(), stating(59.0, 60.0), refused=False)
    more = 0
    while gate.try_acquire() is not None:
        more += 1
    assert more == 60 - 50 - 1  # half a percent of 60 is kept, so one is


def test_a_request_waits_until_the_bucket_has_refilled(make: Any) -> None:
    time = make.time()
    gate = used_up(make, time)

    async def work() -> float:
        assert gate.try_acquire() is None
        await gate.acquire()
        return float(time.now - 1000.0)

    assert time.run(work()) == pytest.approx(0.4, abs=0.01)  # 1 and the reserve of 3, at 10 a second


def test_who_waits_for_quota_holds_no_slot(make: Any) -> None:
    time = make.time()
    gate = used_up(make, time)

    async def work() -> tuple[int, int]:
        waiting = asyncio.create_task(gate.acquire())
        await time.settle()
        before = gate.in_flight
        await waiting
        return before, gate.in_flight

    assert time.run(work()) == (0, 1)


def test_quota_goes_to_those_who_wait_in_the_order_they_came(make: Any) -> None:
    time = make.time()
    gate = used_up(make, time)
    served: list[int] = []

    async def work(number: int) -> None:
        await gate.acquire()
        served.append(number)

    async def many() -> None:
        await asyncio.gather(*map(work, range(8)))

    time.run(many())
    assert served == list(range(8))


def test_who_stops_waiting_for_quota_leaves_it_to_the_next(make: Any) -> None:
    time = make.time()
    gate = used_up(make, time)

    async def work() -> float:
        first, second = (asyncio.create_task(gate.acquire()) for _ in range(2))
        await time.settle()
        first.cancel()
        await second
        return float(time.now - 1000.0)

    assert time.run(work()) == pytest.approx(0.4, abs=0.01)
    assert gate.in_flight == 1


def test_a_wait_longer_than_the_patience_gives_no_slot(make: Any) -> None:
    time = make.time()
    gate = used_up(make, time, limit=6.0)  # one in 10 s

    async def work() -> tuple[PlaceInFlight | None, float]:
        return await gate.acquire(5.0), time.now

    assert time.run(work()) == (None, 1000.0)


def test_those_who_wait_before_count_for_the_patience(make: Any) -> None:
    time = make.time()
    gate = used_up(make, time)

    async def work() -> PlaceInFlight | None:
        before = [asyncio.create_task(gate.acquire()) for _ in range(60)]
        await time.settle()
        late = await gate.acquire(5.0)
        for task in before:
            task.cancel()
        return late

    assert time.run(work()) is None


def test_whoever_would_miss_a_deadline_is_sent_away_when_it_shows(make: Any) -> None:
    time = make.time()
    gate = Gate(1, time.clock, time.sleep)

    async def work() -> tuple[PlaceInFlight | None, float]:
        slot = gate.try_acquire()
        assert slot is not None
        waiting = asyncio.create_task(gate.acquire(30.0, make.request(deadline_s=1003.0)))
        await time.settle()
        gate.learn(slot, make.request(), stating(0.0, 6.0), refused=False)
        gate.release(1000.0, None)
        return await waiting, time.now

    assert time.run(work()) == (None, 1000.0)


def test_a_refusal_for_want_of_quota_leaves_the_concurrency_alone(make: Any) -> None:
    time = make.time()
    gate = Gate(16, time.clock, time.sleep)
    slots = [gate.try_acquire() for _ in range(16)]
    assert slots[0] is not None
    lacking = gate.learn(slots[0], make.request(), stating(0.0), refused=True)
    gate.release(time.now, make.error("rate_limited", 429), lacking=lacking)
    assert lacking
    assert gate.limit == 16


def test_a_refusal_with_quota_left_is_an_overload(make: Any) -> None:
    time = make.time()
    gate = Gate(16, time.clock, time.sleep)
    slots = [gate.try_acquire() for _ in range(16)]
    assert slots[0] is not None
    lacking = gate.learn(slots[0], make.request(), stating(500.0), refused=True)
    gate.release(time.now, make.error("rate_limited", 429), lacking=lacking)
    assert not lacking
    assert gate.limit == 8


def test_a_hint_is_waited_for_though_the_quota_seems_to_have_room(make: Any) -> None:
    time = make.time()
    gate = Gate(16, time.clock, time.sleep)

    async def work() -> float:
        slot = await gate.acquire()
        assert slot is not None
        gate.learn(slot, make.request(), stating(500.0), refused=True)
        gate.release(time.now, make.error("rate_limited", 429, retry_after_s=7.0))
        await gate.acquire()
        return float(time.now - 1000.0)

    assert time.run(work()) == 7.0


def test_a_prompt_larger_than_the_quota_is_asked_of_a_full_bucket(make: Any) -> None:
    time = make.time()
    gate = Gate(16, time.clock, time.sleep)
    large = make.request(text="x" * 8000)

    async def work() -> float:
        slot = await gate.acquire(request=large)
        assert slot is not None
        gate.learn(slot, large, StatedLimits(None, StatedLimit(1000.0, 0.0, 60.0)), refused=True)
        gate.release(time.now, make.error("rate_limited", 429), lacking=True)
        await gate.acquire(request=large)
        return float(time.now - 1000.0)

    assert time.run(work()) == pytest.approx(60.0, abs=0.1)


NUMBERS = st.sampled_from(["0", "1", "60", "59.5", "-5", "1e400", "NaN", "-inf", "", "many", "1,000", "9" * 400, "٣"])
RESETS = st.sampled_from(
    [
        "120ms",
        "1s",
        "6m0s",
        "0s",
        "-1s",
        "1e9s",
        "nan",
        "inf",
        "h",
        "m",
        "9999h",
        "1700000000",
        "2031-01-01T00:00:00Z",
        "",
    ]
)
HEADERS = st.dictionaries(
    st.sampled_from(
        [f"x_ratelimit_{name}_{unit}" for name in ("limit", "remaining") for unit in ("requests", "tokens")]
    ),
    NUMBERS | st.text(max_size=12),
)
RESET_HEADERS = st.dictionaries(
    st.sampled_from([f"x_ratelimit_reset_{unit}" for unit in ("requests", "tokens")]), RESETS | st.text(max_size=12)
)


@given(HEADERS, RESET_HEADERS)
@settings(deadline=None)
def test_odd_headers_are_clamped_or_left_out(make: Any, headers: dict[str, str], resets: dict[str, str]) -> None:
    stated = stated_limits(make.response(b"", **headers, **resets))
    for limit in stated or ():
        if limit is not None:
            assert 1 <= limit.limit <= 1e12
            assert 0 <= limit.remaining <= limit.limit
            assert limit.reset_s is None or 0 < limit.reset_s <= 86_400


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120ms", 0.12),
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("1m30.5s", 90.5),
        ("1h2m3s", 3723.0),
        ("59m59s999ms", 3599.999),
        ("2.5", 2.5),
        ("1d", 86_400.0),
        ("2d", None),
        ("0s", None),
        ("-1s", None),
        ("1700000000", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_a_reset_is_a_duration(text: str | None, seconds: float | None) -> None:
    assert reset_s(text) == (seconds if seconds is None else pytest.approx(seconds))


LIMITS = st.one_of(
    st.none(),
    st.builds(
        lambda limit, share, reset_s: StatedLimit(limit, limit * share, reset_s),
        st.sampled_from([1.0, 3.0, 600.0, 1e6, 1e12]),
        st.sampled_from([0.0, 0.001, 0.5, 1.0]),
        st.sampled_from([None, 1e-9, 0.01, 60.0, 86_400.0]),
    ),
)


@given(st.lists(st.tuples(LIMITS, LIMITS, st.booleans()), min_size=1, max_size=30), st.integers(1, 8), st.booleans())
@settings(deadline=None, max_examples=150)
def test_whatever_is_stated_nobody_waits_for_ever(make: Any, said: list[Any], workers: int, cancelling: bool) -> None:
    time, turns = make.time(), list(said)
    gate = Gate(4, time.clock, time.sleep)

    async def ask(requests: StatedLimit | None, tokens: StatedLimit | None, refused: bool) -> None:
        request = make.request(text="x" * 100)
        slot = await gate.acquire(request=request)
        assert slot is not None
        end: BaseException | None = make.error("rate_limited", 429) if refused else None
        try:
            await time.sleep(0.1)
            gate.learn(slot, request, StatedLimits(requests, tokens), refused=refused)
        except BaseException as failure:
            end = failure
            raise
        finally:
            gate.release(time.now, end)

    async def work() -> None:
        while turns:
            await ask(*turns.pop())

    async def all_of_them() -> None:
        tasks = [asyncio.create_task(work()) for _ in range(workers)]
        if cancelling:
            for task in tasks[: workers // 2]:
                await time.sleep(0.07)
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    time.run(all_of_them())
    assert gate.in_flight == 0
    assert cancelling or not turns
    assert time.now - 1000.0 <= (len(said) + 1) * (LONGEST_WAIT_S + 0.2)
