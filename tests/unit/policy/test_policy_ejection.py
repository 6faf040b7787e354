"""An entity that fails is ejected, probed by one request after a while, and back when the probe is answered."""

from __future__ import annotations

from typing import Any

import pytest

from aiq.policy.context import context_window
from aiq.policy.ejection import FAILURES_IN_A_ROW, FIRST_PAUSE_S, FIRST_REFUSED_PAUSE_S, LONGEST_PAUSE_S, Health


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(clock)


def fail(health: Health, times: int, kind: Any = "overloaded") -> None:
    for _ in range(times):
        health.failed(kind, probe=False)


def test_a_few_failures_eject_nobody(health: Health) -> None:
    fail(health, FAILURES_IN_A_ROW - 1)
    assert health.available()


def test_failures_in_a_row_eject(health: Health) -> None:
    fail(health, FAILURES_IN_A_ROW)
    assert not health.available()


def test_an_answer_begins_the_row_again(health: Health) -> None:
    fail(health, FAILURES_IN_A_ROW - 1)
    health.answered()
    fail(health, FAILURES_IN_A_ROW - 1)
    assert health.available()


@pytest.mark.parametrize("kind", ["quota_exhausted", "auth", "not_found"])
def test_a_refusal_that_does_not_pass_ejects_at_once(health: Health, clock: Clock, kind: Any) -> None:
    health.failed(kind, probe=False)
    assert not health.available()
    clock.now += FIRST_REFUSED_PAUSE_S
    assert health.available()


@pytest.mark.parametrize("kind", ["rate_limited", "content_filter", "bad_request", "context_length", "adapted"])
def test_what_is_the_requests_own_fault_ejects_nobody(health: Health, kind: Any) -> None:
    fail(health, 3 * FAILURES_IN_A_ROW, kind)
    assert health.available()


def test_one_request_probes_and_the_others_do_not(health: Health, clock: Clock) -> None:
    fail(health, FAILURES_IN_A_ROW)
    assert not health.ask()
    clock.now += FIRST_PAUSE_S
    assert health.available() and health.ask()
    assert not health.available() and not health.ask()


def test_an_answered_probe_brings_it_back(health: Health, clock: Clock) -> None:
    fail(health, FAILURES_IN_A_ROW)
    clock.now += FIRST_PAUSE_S
    health.ask()
    health.answered()
    assert health.available() and not health.ask()


def test_each_failed_probe_doubles_the_pause_up_to_half_a_minute(health: Health, clock: Clock) -> None:
    fail(health, FAILURES_IN_A_ROW)
    pauses = []
    for _ in range(6):
        began = clock.now
        while not health.available():
            clock.now += 1
        pauses.append(clock.now - began)
        health.failed("overloaded", probe=health.ask())
    assert pauses == [5, 10, 20, 25, 25, 25]
    assert LONGEST_PAUSE_S <= 30


def test_a_probe_that_nobody_waited_for_leaves_the_next_one_to_another(health: Health, clock: Clock) -> None:
    fail(health, FAILURES_IN_A_ROW)
    clock.now += FIRST_PAUSE_S
    health.left(probe=health.ask())
    assert health.available()


def test_a_failure_that_was_sent_before_the_ejection_does_not_lengthen_it(health: Health, clock: Clock) -> None:
    fail(health, FAILURES_IN_A_ROW)
    clock.now += FIRST_PAUSE_S - 1
    fail(health, 20)
    clock.now += 1
    assert health.available()


def test_a_hint_lengthens_the_pause(health: Health, clock: Clock) -> None:
    health.failed("quota_exhausted", probe=False, retry_after_s=600.0)
    clock.now += 599
    assert not health.available()
    clock.now += 1
    assert health.available()


def test_a_probe_that_was_rate_limited_is_made_again_after_the_pause(health: Health, clock: Clock) -> None:
    fail(health, FAILURES_IN_A_ROW)
    clock.now += FIRST_PAUSE_S
    health.failed("rate_limited", probe=health.ask(), retry_after_s=7.0)
    clock.now += 6.9
    assert not health.available()
    clock.now += 0.2
    assert health.available()


def test_the_context_of_a_model_is_the_published_one(make: Any) -> None:
    assert context_window(make.entity(model="gpt-4o")) == 128_000
    assert context_window(make.entity(model="gemini-2.5-flash", provider="palm")) == 1_048_576


def test_the_files_word_on_the_context_comes_first(make: Any) -> None:
    assert context_window(make.entity(model="gpt-4o", context_window=4_096)) == 4_096


def test_the_context_of_an_unknown_model_is_unknown(make: Any) -> None:
    assert context_window(make.entity(model="my-own")) is None
