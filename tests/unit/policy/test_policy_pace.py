"""The pace that a provider grants which states no limits."""

from __future__ import annotations

from aiq.policy.pace import BURST, Pace


def refused_together(pace: Pace, at: float, times: int = BURST) -> None:
    for number in range(times):
        pace.refused(at + number / 1000, at + 0.1, 2.0)


def test_a_burst_of_refusals_is_one_refusal_though_it_took_a_while_to_send() -> None:
    pace = Pace()
    pace.granted(0.0, 0.1)
    refused_together(pace, 0.0)
    first_s = pace.interval_s
    assert 0 < first_s < 2.3
    refused_together(pace, 0.2, 40)
    assert pace.interval_s == first_s
    now = 3.0
    for _ in range(10):
        now += pace.interval_s + 0.01
        pace.granted(now - 0.1, now)
    assert pace.interval_s < 1.2


def test_a_few_refusals_among_others_say_nothing_of_a_pace() -> None:
    pace, now = Pace(), 0.0
    for _ in range(20):
        pace.granted(now, now + 0.1)
        refused_together(pace, now, BURST - 1)
        now += 3.0
        assert pace.interval_s == 0.0


def test_an_interval_that_was_too_short_grows_and_is_not_tried_again_soon() -> None:
    pace, now = Pace(), 2.2
    pace.granted(0.0, 0.1)
    refused_together(pace, 0.0)
    for _ in range(300):
        now += max(pace.interval_s, 0.01)
        if pace.interval_s < 1.0:
            pace.refused(now, now, 2.0)
            now += 2.0
            assert pace.interval_s >= 0.99
        else:
            pace.granted(now, now)
    assert 0.95 <= pace.interval_s <= 1.1
