"""Slots: never more than the limit in flight, none lost, nobody forgotten."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiq.policy.concurrency import Gate


def gate(time: Any, most: int) -> Gate:
    return Gate(most, time.clock, time.sleep)


async def hold(gate: Gate, slots: int) -> None:
    for _ in range(slots):
        assert await gate.acquire()


@given(st.integers(1, 6), st.integers(1, 40), st.integers(0, 2**32))
@settings(max_examples=80, deadline=None)
def test_under_stress_no_slot_is_lost_and_everybody_is_served(make: Any, most: int, workers: int, seed: int) -> None:
    time, rng = make.time(), random.Random(seed)
    slots, served, ended = gate(time, most), list[int](), list[int]()
    held = 0

    async def work(number: int) -> None:
        nonlocal held
        for _ in range(3):
            patience = rng.choice([float("inf"), 1.0])
            if not await slots.acquire(patience):
                continue
            held += 1
            assert held == slots.in_flight - sleepers() <= most
            started, end = time.now, None
            try:
                await time.sleep(rng.choice([0.1, 1.0, 5.0]))
                end = rng.choice(
                    [
                        None,
                        None,
                        make.error("overloaded"),
                        make.error("rate_limited", retry_after_s=3.0),
                        make.error("bad_request"),
                    ]
                )
            except asyncio.CancelledError as cancelled:
                end = cancelled
                raise
            finally:
                held -= 1
                slots.release(started, end)
            served.append(number)
        ended.append(number)

    def sleepers() -> int:
        """Slots of those who wait for the end of a pause."""
        return slots.in_flight - held

    async def all_of_them() -> list[Any]:
        tasks = [asyncio.create_task(work(number)) for number in range(workers)]
        victims = rng.sample(tasks, len(tasks) // 3)
        for victim in victims:
            await time.sleep(rng.choice([0.0, 0.3, 2.0]))
            victim.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    results = time.run(all_of_them())
    assert not [error for error in results if isinstance(error, Exception)]
    assert slots.in_flight == held == 0
    assert len(ended) >= workers - workers // 3


def test_a_slot_goes_to_those_who_wait_in_the_order_they_came(make: Any) -> None:
    time = make.time()
    slots = gate(time, 1)
    served: list[int] = []

    async def work(number: int) -> None:
        await slots.acquire()
        served.append(number)
        slots.release(time.now, None)

    async def many() -> None:
        await asyncio.gather(*map(work, range(5)))

    time.run(many())
    assert served == list(range(5))


def test_who_gives_a_slot_back_cannot_overtake_those_who_wait(make: Any) -> None:
    time = make.time()
    slots = gate(time, 1)
    served: list[str] = []

    async def greedy() -> None:
        for _ in range(5):
            await slots.acquire()
            served.append("greedy")
            await time.sleep(1)
            slots.release(time.now, None)

    async def patient() -> None:
        await slots.acquire()
        served.append("patient")
        slots.release(time.now, None)

    async def both() -> None:
        await asyncio.gather(greedy(), patient())

    time.run(both())
    assert served[:2] == ["greedy", "patient"]


def test_a_round_of_overloads_halves_the_limit_once(make: Any) -> None:
    time = make.time()
    slots = gate(time, 16)

    async def work() -> None:
        await hold(slots, 16)
        started, time.now = time.now, time.now + 1
        for _ in range(16):
            slots.release(started, make.error("overloaded"))

    time.run(work())
    assert slots.limit == 8


def test_the_next_round_halves_it_again(make: Any) -> None:
    time = make.time()
    slots = gate(time, 16)

    async def work() -> None:
        for _ in range(2):
            await hold(slots, slots.limit)
            started, time.now = time.now + 0.5, time.now + 1
            while slots.in_flight:
                slots.release(started, make.error("overloaded"))

    time.run(work())
    assert slots.limit == 4


def test_the_limit_never_falls_below_one(make: Any) -> None:
    time = make.time()
    slots = gate(time, 2)

    async def work() -> None:
        for _ in range(5):
            await slots.acquire()
            time.now += 1
            slots.release(time.now, make.error("rate_limited"))

    time.run(work())
    assert slots.limit == 1


def test_a_window_of_answers_raises_the_limit_by_one_up_to_the_most(make: Any) -> None:
    time = make.time()
    slots = gate(time, 4)

    async def work() -> list[int]:
        await hold(slots, 4)
        for _ in range(4):
            slots.release(time.now, make.error("overloaded"))
        limits = []
        for _ in range(30):
            await slots.acquire()
            slots.release(time.now, None)
            limits.append(slots.limit)
        return limits

    limits = time.run(work())
    assert limits[:3] == [2, 2, 3]
    assert limits[-1] == 4


def test_silence_halves_the_limit(make: Any) -> None:
    time = make.time()
    slots = gate(time, 8)

    async def work() -> None:
        await hold(slots, 8)
        slots.release(time.now, make.error("timeout", 504))

    time.run(work())
    assert slots.limit == 4


@pytest.mark.parametrize("kind", ["network", "bad_request", "bad_answer"])
def test_other_errors_leave_the_limit_alone(make: Any, kind: str) -> None:
    time = make.time()
    slots = gate(time, 8)

    async def work() -> None:
        await hold(slots, 1)
        slots.release(time.now, make.error(kind))

    time.run(work())
    assert slots.limit == 8


def test_a_cancelled_call_does_not_raise_the_limit(make: Any) -> None:
    time = make.time()
    slots = gate(time, 8)

    async def work() -> None:
        await hold(slots, 8)
        slots.release(time.now, make.error("overloaded"))
        for _ in range(7):
            slots.release(time.now, asyncio.CancelledError())

    time.run(work())
    assert slots.limit == 4


def test_everybody_waits_for_the_hint_of_one(make: Any) -> None:
    time = make.time()
    slots = gate(time, 4)

    async def work() -> float:
        await slots.acquire()
        slots.release(time.now, make.error("rate_limited", 429, retry_after_s=7.0))
        started = time.now
        await slots.acquire()
        return float(time.now - started)

    assert time.run(work()) == 7.0


def test_a_waiter_cancelled_during_a_pause_leaves_its_slot_to_the_next(make: Any) -> None:
    time = make.time()
    slots = gate(time, 1)

    async def work() -> bool:
        await slots.acquire()
        first, second = (asyncio.create_task(slots.acquire()) for _ in range(2))
        await time.settle()
        slots.release(time.now, make.error("rate_limited", 429, retry_after_s=2.0))
        await time.settle()
        first.cancel()
        return await second is not None

    assert time.run(work())
    assert slots.in_flight == 1


def test_a_waiter_cancelled_in_the_instant_it_is_woken_leaves_its_slot_to_the_next(make: Any) -> None:
    time = make.time()
    slots = gate(time, 1)

    async def work() -> bool:
        await slots.acquire()
        first, second = (asyncio.create_task(slots.acquire()) for _ in range(2))
        await time.settle()
        slots.release(time.now, None)
        first.cancel()
        return await second is not None

    assert time.run(work())
    assert slots.in_flight == 1


def test_a_pause_longer_than_the_patience_gives_no_slot(make: Any) -> None:
    time = make.time()
    slots = gate(time, 2)

    async def work() -> tuple[bool, float]:
        await slots.acquire()
        slots.release(time.now, make.error("rate_limited", 429, retry_after_s=3600.0))
        return await slots.acquire(5.0) is not None, time.now

    assert time.run(work()) == (False, 1000.0)
    assert slots.in_flight == 0


def test_a_long_pause_sends_away_the_impatient_who_already_wait(make: Any) -> None:
    time = make.time()
    slots = gate(time, 1)

    async def work() -> tuple[list[Any], float]:
        await slots.acquire()
        waiters = [asyncio.create_task(slots.acquire(patience)) for patience in (float("inf"), 5.0, 5.0)]
        await time.settle()
        slots.release(time.now, make.error("rate_limited", 429, retry_after_s=3600.0))
        gone = await asyncio.gather(*waiters[1:])
        at = time.now
        assert await waiters[0]
        return gone, at

    assert time.run(work()) == ([None, None], 1000.0)
    assert time.now == 4600.0


def test_a_slot_is_taken_at_once_only_where_one_is_free(make: Any) -> None:
    slots = gate(make.time(), 1)
    assert slots.try_acquire()
    assert not slots.try_acquire()
    slots.release(0.0, None)
    assert slots.try_acquire()


def test_no_slot_is_taken_at_once_in_a_pause(make: Any) -> None:
    time = make.time()
    slots = gate(time, 2)
    assert slots.try_acquire()
    slots.release(time.now, make.error("rate_limited", retry_after_s=5.0))
    assert not slots.try_acquire()
    assert slots.pause_s == 5.0


def test_nobody_overtakes_those_who_wait(make: Any) -> None:
    time = make.time()
    slots = gate(time, 1)

    async def work() -> None:
        await hold(slots, 1)
        waiting = asyncio.ensure_future(slots.acquire())
        await time.settle()
        slots.release(0.0, None)
        assert not slots.try_acquire()
        assert await waiting

    time.run(work())
