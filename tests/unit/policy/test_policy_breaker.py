"""The circuit breaker: when it opens, who tries the entity, and when a statement waits no more."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aiq.policy.breaker import FIRST_PAUSE_S, MOST_SILENT_PROBES, OPENS_AFTER, OPENS_AT_ATTEMPT, Breaker


@pytest.fixture
def time(make: Any) -> Any:
    return make.time()


@pytest.fixture
def breaker(time: Any) -> Breaker:
    return Breaker(4, time.clock, time.sleep)


def fail(breaker: Breaker, error: Any, times: int = OPENS_AFTER, attempt: int = OPENS_AT_ATTEMPT) -> None:
    for _ in range(times):
        breaker.failed(error, "st-1", attempt)


@pytest.mark.parametrize(
    ("kind", "hint", "times", "attempt", "opens"),
    [
        ("overloaded", None, OPENS_AFTER, OPENS_AT_ATTEMPT, True),
        ("overloaded", None, OPENS_AFTER - 1, OPENS_AT_ATTEMPT, False),
        ("overloaded", None, OPENS_AFTER, OPENS_AT_ATTEMPT - 1, False),
        ("network", None, OPENS_AFTER, OPENS_AT_ATTEMPT, True),
        ("bad_answer", None, OPENS_AFTER, OPENS_AT_ATTEMPT, True),
        ("rate_limited", None, OPENS_AFTER, OPENS_AT_ATTEMPT, True),
        ("rate_limited", 1.0, OPENS_AFTER, OPENS_AT_ATTEMPT, False),
        ("timeout", None, OPENS_AFTER // 4, 1, True),
        ("auth", None, OPENS_AFTER, OPENS_AT_ATTEMPT, False),
        ("bad_request", None, OPENS_AFTER, OPENS_AT_ATTEMPT, False),
        ("content_filter", None, OPENS_AFTER, OPENS_AT_ATTEMPT, False),
    ],
)
def test_it_opens_after_failures_in_a_row_that_pass_by_themselves(
    make: Any, breaker: Breaker, kind: Any, hint: float | None, times: int, attempt: int, opens: bool
) -> None:
    fail(breaker, make.error(kind, retry_after_s=hint), times, attempt)
    assert breaker.is_open is opens


def test_an_answer_in_between_begins_the_count_again(make: Any, breaker: Breaker) -> None:
    for _ in range(5):
        fail(breaker, make.error("overloaded"), OPENS_AFTER - 1)
        breaker.answered(first=True)
    assert not breaker.is_open


def test_an_answer_that_was_billed_and_is_of_no_use_is_not_asked_for_again_and_again(
    make: Any, breaker: Breaker
) -> None:
    error = make.error("bad_answer")
    error.once = True
    fail(breaker, error)
    assert not breaker.is_open


def test_what_is_refused_for_want_of_a_stated_quota_is_no_outage(make: Any, breaker: Breaker) -> None:
    for _ in range(OPENS_AFTER):
        breaker.failed(make.error("rate_limited"), "st-1", OPENS_AT_ATTEMPT, lacking=True)
    assert not breaker.is_open


def test_with_no_retries_it_never_opens(make: Any, time: Any) -> None:
    breaker = Breaker(0, time.clock, time.sleep)
    fail(breaker, make.error("overloaded"))
    assert not breaker.is_open


def test_one_request_at_a_time_tries_it_with_growing_pauses(make: Any, time: Any, breaker: Breaker) -> None:
    fail(breaker, make.error("overloaded"))
    tried: list[tuple[float, bool]] = []
    started = time.clock()

    async def wait(fresh: bool) -> str:
        turn = await breaker.turn("st-1", fresh=fresh)
        if turn == "probe":
            tried.append((time.clock() - started, fresh))
            await time.sleep(1.0)
            breaker.probe_ended(failed=True)
        return turn

    async def all_of_them() -> list[str]:
        return list(await asyncio.gather(*(wait(fresh=number == 4) for number in range(6))))

    assert time.run(all_of_them()) == ["probe"] * 6
    pauses = [FIRST_PAUSE_S * 2**number for number in range(4)]
    due = [sum(pauses[: number + 1]) + number for number in range(4)]
    assert [at for at, _ in tried] == [*due, due[-1] + 1, due[-1] + 2]  # after four it is given up
    assert [fresh for _, fresh in tried] == [True] + [False] * 5
    assert breaker.given_up("st-1")


def test_an_answer_lets_all_go_on(make: Any, time: Any, breaker: Breaker) -> None:
    fail(breaker, make.error("overloaded"))

    async def wait() -> str:
        turn = await breaker.turn("st-1", fresh=False)
        if turn == "probe":
            breaker.answered(first=False)
            breaker.probe_ended(failed=False)
        return turn

    async def all_of_them() -> list[str]:
        return sorted(await asyncio.gather(*(wait() for _ in range(5))))

    assert time.run(all_of_them()) == ["go"] * 4 + ["probe"]


def test_a_statement_that_has_not_seen_it_fail_tries_it_at_once(make: Any, time: Any, breaker: Breaker) -> None:
    fail(breaker, make.error("overloaded"))
    started = time.clock()

    async def other() -> str:
        return await breaker.turn("st-2", fresh=True)

    assert time.run(other()) == "probe"
    assert time.clock() == started


def test_what_was_silent_is_given_up_without_being_sent(make: Any, time: Any, breaker: Breaker) -> None:
    fail(breaker, make.error("timeout"), attempt=1)

    async def turns() -> list[str]:
        taken = []
        for _ in range(MOST_SILENT_PROBES + 2):
            taken.append(await breaker.turn("st-1", fresh=True))
            if taken[-1] == "probe":
                breaker.probe_ended(failed=True)
        return taken

    assert time.run(turns()) == ["probe"] * MOST_SILENT_PROBES + ["give_up"] * 2


def test_what_was_silent_is_asked_for_all_that_was_sent_once_more_together(
    make: Any, time: Any, breaker: Breaker
) -> None:
    fail(breaker, make.error("timeout"), attempt=1)

    async def turns() -> list[str]:
        for _ in range(MOST_SILENT_PROBES):
            await breaker.turn("st-1", fresh=False)
            breaker.probe_ended(failed=True)
        return list(await asyncio.gather(*(breaker.turn("st-1", fresh=False) for _ in range(3))))

    assert time.run(turns()) == ["last"] * 3


def test_who_is_stopped_while_it_waits_leaves_its_place(make: Any, time: Any, breaker: Breaker) -> None:
    fail(breaker, make.error("overloaded"))

    async def stopped() -> list[str]:
        waiting = [asyncio.ensure_future(breaker.turn("st-1", fresh=False)) for _ in range(3)]
        await time.settle()
        waiting[0].cancel()
        probe = await waiting[1]  # the first in the line has gone
        waiting[2].cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        breaker.probe_ended(failed=False)
        return [probe, await breaker.turn("st-1", fresh=False)]

    assert time.run(stopped()) == ["probe", "probe"]


def test_a_probe_that_is_stopped_in_the_moment_of_its_turn_passes_it_on(make: Any, time: Any, breaker: Breaker) -> None:
    fail(breaker, make.error("overloaded"))

    async def stopped() -> str:
        assert await breaker.turn("st-2", fresh=True) == "probe"
        second = asyncio.ensure_future(breaker.turn("st-2", fresh=True))
        await time.settle()
        breaker.probe_ended(failed=False)
        second.cancel()  # it has its turn, and has not come to know it
        await asyncio.gather(second, return_exceptions=True)
        return await breaker.turn("st-2", fresh=True)

    assert time.run(stopped()) == "probe"


def test_the_share_that_fails_is_that_of_first_attempts(make: Any, breaker: Breaker) -> None:
    for number in range(100):
        if number % 4 == 0:
            fail(breaker, make.error("overloaded"), 1, attempt=1)
            fail(breaker, make.error("overloaded"), 5, attempt=2)  # of one row, which says nothing of the others
        else:
            breaker.answered(first=True)
    assert 0.2 < breaker.chance < 0.3
