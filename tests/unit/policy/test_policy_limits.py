"""Rate limits hold over every rolling minute, and a request waits exactly as long as it must."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiq.config.endpoint import RateLimit
from aiq.errors import PolicyError
from aiq.policy.limits import WINDOW_S, RateLimiter, Window

ENDPOINT_2, USER_1 = RateLimit(2), RateLimit(1, "user")


def limiter(make: Any, time: Any, *limits: RateLimit) -> RateLimiter:
    return RateLimiter(make.endpoint(limits=limits), time.clock, time.sleep)


@given(st.integers(1, 5), st.lists(st.integers(0, 40).map(float), min_size=1, max_size=60))
@settings(max_examples=150, deadline=None)
def test_a_window_grants_exactly_what_counting_the_last_minute_would_grant(calls: int, gaps: list[float]) -> None:
    window, granted, now = Window(calls), list[float](), 0.0
    for gap in gaps:
        now += gap
        expected = sum(now - WINDOW_S < at <= now for at in granted) < calls
        assert (window.wait_s(now) == 0.0) is expected
        if expected:
            window.grant(now)
            granted.append(now)


@given(st.integers(1, 4), st.lists(st.floats(0, 30), min_size=1, max_size=40), st.floats(0, 1e6))
@settings(max_examples=100, deadline=None)
def test_who_waits_exactly_as_told_is_granted_at_the_next_try(calls: int, gaps: list[float], start: float) -> None:
    window, now = Window(calls), start
    for gap in gaps:
        now += gap
        now += window.wait_s(now)
        assert window.wait_s(now) == 0.0
        window.grant(now)


@given(st.integers(1, 4), st.integers(1, 3), st.lists(st.tuples(st.floats(0, 20), st.sampled_from("ab")), max_size=25))
@settings(max_examples=40, deadline=None)
def test_no_rolling_minute_holds_more_than_the_limits(
    make: Any, shared: int, own: int, arrivals: list[tuple[float, str]]
) -> None:
    time = make.time()
    limits = limiter(make, time, RateLimit(shared), RateLimit(own, "user"))
    granted: list[tuple[float, str]] = []

    async def ask(at: float, user: str) -> None:
        await time.sleep(at)
        await limits.acquire(make.request(user))
        granted.append((time.now, user))

    async def all_of_them() -> None:
        await asyncio.gather(*(ask(at, user) for at, user in arrivals))

    time.run(all_of_them())
    assert len(granted) == len(arrivals)
    for start, _ in granted:
        minute = [user for at, user in granted if start <= at < start + WINDOW_S - 1e-6]
        assert len(minute) <= shared
        assert all(minute.count(user) <= own for user in minute)


def test_a_refused_request_charges_no_window(make: Any) -> None:
    time = make.time()
    limits = limiter(make, time, RateLimit(2), USER_1)
    assert limits.try_acquire("ann") == 0.0
    assert limits.try_acquire("ann") == WINDOW_S  # her own limit; the endpoint's second call is still there
    assert limits.try_acquire("bob") == 0.0


def test_an_exhausted_endpoint_charges_no_user(make: Any) -> None:
    time = make.time()
    limits = limiter(make, time, RateLimit(1), USER_1)
    limits.try_acquire("ann")
    assert limits.try_acquire("bob") == WINDOW_S
    time.now += WINDOW_S
    assert limits.try_acquire("bob") == 0.0


def test_a_limit_of_ones_own_replaces_the_default(make: Any) -> None:
    limits = limiter(make, make.time(), USER_1, RateLimit(3, "user", "ann"))
    assert [limits.try_acquire("ann") for _ in range(3)] == [0.0, 0.0, 0.0]
    assert limits.try_acquire("ann") > 0
    assert limits.try_acquire("bob") == 0.0
    assert limits.try_acquire("bob") > 0


def test_those_who_wait_are_served_in_the_order_they_came(make: Any) -> None:
    time = make.time()
    limits = limiter(make, time, RateLimit(1))
    served: list[int] = []

    async def ask(number: int) -> None:
        await limits.acquire(make.request())
        served.append(number)

    async def many() -> None:
        await asyncio.gather(*map(ask, range(6)))

    time.run(many())
    assert served == list(range(6))
    assert time.now == 1000 + 5 * WINDOW_S


def test_a_user_over_the_own_limit_holds_up_nobody_else(make: Any) -> None:
    time = make.time()
    limits = limiter(make, time, RateLimit(100), USER_1)

    async def work() -> float:
        await limits.acquire(make.request("ann"))
        waiting = asyncio.create_task(limits.acquire(make.request("ann")))
        await time.settle()
        waited = await limits.acquire(make.request("bob"))
        waiting.cancel()
        return waited

    assert time.run(work()) == 0.0


def test_a_waiter_that_is_cancelled_takes_no_grant(make: Any) -> None:
    time = make.time()
    limits = limiter(make, time, RateLimit(1))

    async def work() -> list[float]:
        await limits.acquire(make.request())
        waiters = [asyncio.create_task(limits.acquire(make.request())) for _ in range(3)]
        await time.settle()
        waiters[0].cancel()
        waiters[1].cancel()
        await asyncio.gather(*waiters, return_exceptions=True)
        return [waiters[2].result()]

    assert time.run(work()) == [WINDOW_S]


def test_the_wait_is_reported(make: Any) -> None:
    time = make.time()
    limits = limiter(make, time, RateLimit(1))

    async def work() -> tuple[float, float]:
        return await limits.acquire(make.request()), await limits.acquire(make.request())

    assert time.run(work()) == (0.0, WINDOW_S)


@pytest.mark.parametrize(("limits", "end"), [([RateLimit(1)], "exceeded"), ([USER_1], "exceeded for user")])
def test_a_deadline_before_the_turn_is_a_429_in_databricks_words(make: Any, limits: Any, end: str) -> None:
    time = make.time()
    bucket = limiter(make, time, *limits)

    async def work() -> None:
        await bucket.acquire(make.request())
        time.now += 20
        await bucket.acquire(make.request(deadline_s=time.now + 30))

    with pytest.raises(PolicyError) as caught:
        time.run(work())
    assert caught.value.reason == (
        f"User defined rate limit(s) exceeded for 'chat'. Requests-per-minute (RPM) rate limit {end}"
    )
    assert (caught.value.status, caught.value.error_code) == (429, "REQUEST_LIMIT_EXCEEDED")
    assert caught.value.retry_after_s == 40


def test_the_words_of_a_429_name_the_limit_that_is_the_last_to_grant(make: Any) -> None:
    time = make.time()
    bucket = limiter(make, time, RateLimit(1), RateLimit(2, "user"))

    async def work() -> None:
        await bucket.acquire(make.request())
        await bucket.acquire(make.request(deadline_s=time.now + 1))

    with pytest.raises(PolicyError, match="exceeded'") as caught:
        time.run(work())
    assert not caught.value.reason.endswith("for user")


@pytest.mark.parametrize(
    "limits", [[RateLimit(0)], [RateLimit(0, "user")], [RateLimit(9), RateLimit(0, "user", "ann")]]
)
def test_a_limit_of_no_calls_blocks_with_403(make: Any, limits: Any) -> None:
    time = make.time()
    with pytest.raises(PolicyError) as caught:
        time.run(limiter(make, time, *limits).acquire(make.request("ann")))
    assert (caught.value.status, caught.value.error_code) == (403, "PERMISSION_DENIED")


def test_an_endpoint_without_limits_never_waits(make: Any) -> None:
    time = make.time()
    limits = limiter(make, time)
    assert not limits.limited
    assert [limits.try_acquire("ann") for _ in range(100)] == [0.0] * 100
