"""The pace that a provider grants which states no limits."""

from __future__ import annotations

from aiq.policy.pace import Pace


def test_a_burst_of_refusals_is_one_refusal_though_it_took_a_while_to_send() -> None:
    pace = Pace()
    pace.granted(0.0, 0.1)
    pace.refused(0.0, 0.1, 2.0)
    first_s = pace.interval_s
    for number in range(20):
        pace.refused(0.1 + number / 100, 0.3, 2.0)
    assert pace.interval_s == first_s
    now = 3.0
    for _ in range(10):
        now += pace.interval_s + 0.01
        pace.granted(now - 0.1, now)
    assert pace.interval_s < 1.2


def test_an_interval_that_was_too_short_grows_and_is_not_tried_again_soon() -> None:
    pace, now = Pace(), 0.1
    pace.granted(0.0, now)
    pace.refused(0.0, now, 2.0)
    for _ in range(300):
        now += max(pace.interval_s, 0.01)
        if pace.interval_s < 1.0:
            pace.refused(now, now, 2.0)
            now += 2.0
            assert pace.interval_s >= 0.99
        else:
            pace.granted(now, now)
    assert 0.95 <= pace.interval_s <= 1.1
