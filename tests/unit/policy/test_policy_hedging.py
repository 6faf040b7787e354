"""A second request is worth its price after the 95th percentile of the last answers' latencies."""

from __future__ import annotations

from aiq.policy.hedging import FEWEST, REMEMBERED, Latencies


def known(*latencies_s: float) -> Latencies:
    found = Latencies()
    for latency_s in latencies_s:
        found.add(latency_s)
    return found


def test_few_answers_say_nothing() -> None:
    assert known(*[1.0] * (FEWEST - 1)).delay_s is None


def test_the_delay_is_the_95th_percentile() -> None:
    assert known(*range(1, 101)).delay_s == 95


def test_what_is_long_ago_is_forgotten() -> None:
    assert known(*[9.0] * REMEMBERED, *[1.0] * REMEMBERED).delay_s == 1.0
