"""One window against what counting every charge by itself says."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from aiq.policy.limits.window import EXACT_LIMIT, NEVER, InFlight, Window

MINUTE_US = 60_000_000


@given(
    st.integers(1, 40),
    st.lists(st.tuples(st.integers(0, 40_000_000), st.integers(1, 20)), min_size=1, max_size=60),
)
@settings(max_examples=200, deadline=None)
def test_a_window_grants_exactly_what_counting_the_last_minute_would_grant(
    limit: int, asked: list[tuple[int, int]]
) -> None:
    window, log, now = Window(limit, MINUTE_US), list[tuple[Fraction, int]](), 0
    for gap, amount in asked:
        now += gap
        minute = sum(n for at, n in log if Fraction(now, 10**6) - 60 < at)
        assert window.room(now) == limit - minute
        if minute + amount <= limit:
            window.charge(now, amount)
            log.append((Fraction(now, 10**6), amount))


@given(
    st.integers(1, 30),
    st.lists(st.tuples(st.integers(0, 30_000_000), st.integers(1, 30)), min_size=1, max_size=40),
)
@settings(max_examples=150, deadline=None)
def test_who_waits_exactly_as_told_is_granted_and_a_microsecond_less_is_not(
    limit: int, asked: list[tuple[int, int]]
) -> None:
    window, now = Window(limit, MINUTE_US), 0
    for gap, amount in asked:
        amount = min(amount, limit)
        now += gap
        wait = window.wait_us(now, amount)
        if wait:
            assert window.room(now + wait - 1) < amount
        now += wait
        assert window.room(now) >= amount
        window.charge(now, amount)


@given(
    st.integers(EXACT_LIMIT + 1, 5000),
    st.lists(st.tuples(st.integers(0, 100_000), st.integers(1, 500)), min_size=1, max_size=300),
)
@settings(max_examples=60, deadline=None)
def test_charges_kept_together_never_let_more_through_and_lose_a_thousandth(
    limit: int, asked: list[tuple[int, int]]
) -> None:
    window, log, now = Window(limit, 1_000_000), list[tuple[int, int]](), 0
    for gap, amount in asked:
        now += gap
        if window.room(now) >= amount:
            window.charge(now, amount)
            log.append((now, amount))
        else:
            assert sum(n for at, n in log if now - 1_001_000 < at) + amount > limit
        assert sum(n for at, n in log if now - 1_000_000 < at) <= limit


def test_a_refund_never_exceeds_what_still_counts() -> None:
    window = Window(10, MINUTE_US)
    charge = window.charge(0, 10)
    window.refund(charge, 4)
    assert window.room(0) == 4
    assert window.room(MINUTE_US) == 10
    window.refund(charge, 6)
    assert window.room(MINUTE_US) == 10


def test_a_debt_is_worked_off_before_anything_else() -> None:
    window = Window(10, MINUTE_US)
    window.charge(0, 8)
    window.charge(1_000_000, 7)
    assert window.room(1_000_000) == -5
    assert window.wait_us(1_000_000, 1) == MINUTE_US - 1_000_000
    assert window.wait_us(1_000_000, 4) == MINUTE_US


def test_more_than_the_limit_never_fits() -> None:
    assert Window(10, MINUTE_US).wait_us(0, 11) == NEVER


def test_a_busy_window_stays_small() -> None:
    window = Window(10**9, MINUTE_US)
    for now in range(0, 2 * MINUTE_US, 600):
        window.room(now)
        window.charge(now, 1)
    assert len(window._charges) <= 1001


def test_places_in_flight_come_back() -> None:
    places = InFlight(2)
    places.charge(0, 2)
    assert places.room(0) == 0
    places.refund(None, 1)
    assert places.room(0) == 1
