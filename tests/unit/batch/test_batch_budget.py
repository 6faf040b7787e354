"""Reservations: what fits goes on, what may fit later waits, what never will is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from aiq.batch.budget import Budget
from aiq.errors import BudgetExceeded


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 20))


async def settle() -> None:
    """Lets all others run until they wait for something."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_what_fits_is_reserved_at_once() -> None:
    async def work() -> None:
        budget = Budget(1.0)
        await budget.reserve(0.4)
        await budget.reserve(0.6)
        assert budget.reserved_usd == pytest.approx(1.0)

    run(work())


def test_what_is_dearer_than_the_budget_is_refused() -> None:
    async def work() -> None:
        budget = Budget(1.0)
        with pytest.raises(BudgetExceeded, match=r"may cost \$1\.100000"):
            await budget.reserve(1.1)
        assert budget.reserved_usd == 0.0

    run(work())


def test_a_call_waits_for_what_others_may_give_back() -> None:
    async def work() -> None:
        budget = Budget(1.0)
        await budget.reserve(0.9)
        waiting = asyncio.create_task(budget.reserve(0.5))
        await settle()
        assert not waiting.done()
        budget.settle(0.9, 0.1)
        await waiting
        assert (budget.spent_usd, budget.reserved_usd) == pytest.approx((0.1, 0.5))

    run(work())


def test_a_call_is_refused_when_nothing_under_way_can_make_room() -> None:
    async def work() -> None:
        budget = Budget(1.0)
        await budget.reserve(0.9)
        waiting = asyncio.create_task(budget.reserve(0.5))
        await settle()
        budget.settle(0.9, 0.8)
        with pytest.raises(BudgetExceeded, match=r"only \$0\.200000 is left"):
            await waiting

    run(work())


def test_all_who_wait_are_refused_when_the_money_is_gone() -> None:
    async def work() -> None:
        budget = Budget(1.0)
        await budget.reserve(1.0)
        waiting = [asyncio.create_task(budget.reserve(0.5)) for _ in range(20)]
        await settle()
        budget.settle(1.0, 1.0)
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(end, BudgetExceeded) for end in ends)

    run(work())


def test_of_many_who_wait_no_more_go_on_than_fit() -> None:
    async def work() -> None:
        budget = Budget(1.0)
        await budget.reserve(1.0)
        waiting = [asyncio.create_task(budget.reserve(0.3)) for _ in range(20)]
        await settle()
        budget.settle(1.0, 0.0)
        await settle()
        assert sum(one.done() for one in waiting) == 3
        assert budget.reserved_usd <= 1.0
        for one in waiting:
            one.cancel()

    run(work())


def test_a_wait_that_is_cancelled_reserves_nothing() -> None:
    async def work() -> None:
        budget = Budget(1.0)
        await budget.reserve(1.0)
        waiting = asyncio.create_task(budget.reserve(0.5))
        await settle()
        waiting.cancel()
        await settle()
        budget.settle(1.0, 0.5)
        assert budget.reserved_usd == 0.0
        await budget.reserve(0.5)

    run(work())


def test_many_calls_never_spend_more_than_the_budget() -> None:
    async def work() -> None:
        budget, most, cost = Budget(10.0), 0.07, 0.05

        async def call() -> None:
            await budget.reserve(most)
            assert budget.spent_usd + budget.reserved_usd <= budget.limit_usd + 1e-9
            await asyncio.sleep(0)
            budget.settle(most, cost)

        ends = await asyncio.gather(*(call() for _ in range(1000)), return_exceptions=True)
        assert budget.limit_usd - most <= budget.spent_usd <= budget.limit_usd
        assert {type(end) for end in ends} == {type(None), BudgetExceeded}

    run(work())


def test_rounding_of_many_settlements_leaves_no_reservation() -> None:
    async def work() -> None:
        budget = Budget(1.0)
        for _ in range(1000):
            await budget.reserve(0.1)
            await budget.reserve(0.2)
            budget.settle(0.1, 0.0)
            budget.settle(0.2, 0.0)
        assert budget.reserved_usd == 0.0
        with pytest.raises(BudgetExceeded):
            await budget.reserve(1.5)

    run(work())


def test_free_calls_pass_when_the_money_is_gone() -> None:
    async def work() -> None:
        budget = Budget(1.0)
        await budget.reserve(1.0)
        budget.settle(1.0, 1.0)
        await budget.reserve(0.0)

    run(work())


def test_those_who_wait_go_on_in_the_order_in_which_they_came() -> None:
    async def work() -> None:
        budget, order = Budget(1.0), list[float]()
        await budget.reserve(1.0)

        async def call(most_usd: float) -> None:
            await budget.reserve(most_usd)
            order.append(most_usd)
            budget.settle(most_usd, 0.0)

        calls = [asyncio.create_task(call(most_usd)) for most_usd in (0.9, 0.1, 0.8, 0.2)]
        await settle()
        budget.settle(1.0, 0.0)
        await asyncio.gather(*calls)
        assert order == [0.9, 0.1, 0.8, 0.2]

    run(work())


def test_a_free_call_does_not_wait_in_line() -> None:
    async def work() -> None:
        budget = Budget(1.0)
        await budget.reserve(1.0)
        waiting = asyncio.create_task(budget.reserve(0.5))
        await settle()
        await budget.reserve(0.0)
        waiting.cancel()

    run(work())


def test_who_is_cancelled_lets_the_smaller_one_behind_it_go_on() -> None:
    async def work() -> None:
        budget = Budget(1.0)
        await budget.reserve(0.5)
        large, small = (asyncio.create_task(budget.reserve(most_usd)) for most_usd in (0.9, 0.3))
        await settle()
        assert not small.done()
        large.cancel()
        await asyncio.wait_for(small, 5)
        assert budget.reserved_usd == pytest.approx(0.8)

    run(work())


def test_who_is_cancelled_when_its_turn_has_come_gives_it_back() -> None:
    async def work() -> None:
        budget = Budget(1.0)
        await budget.reserve(1.0)
        first, second = (asyncio.create_task(budget.reserve(1.0)) for _ in range(2))
        await settle()
        budget.settle(1.0, 0.0)
        first.cancel()
        await asyncio.wait_for(second, 5)
        assert first.cancelled() and budget.reserved_usd == pytest.approx(1.0)

    run(work())


def test_a_reservation_gives_back_what_was_not_spent() -> None:
    async def work() -> None:
        budget = Budget(1.0)
        async with budget.reservation(0.9) as held:
            held.cost_usd = 0.1
        assert (budget.spent_usd, budget.reserved_usd) == pytest.approx((0.1, 0.0))

    run(work())


def test_a_call_that_ends_in_nobodys_hands_was_paid() -> None:
    async def work() -> None:
        budget = Budget(1.0)
        with pytest.raises(OSError):
            async with budget.reservation(0.9):
                raise OSError
        assert budget.spent_usd == pytest.approx(0.9)

    run(work())


def test_a_billed_attempt_is_spent_before_the_next_one() -> None:
    async def work() -> None:
        budget = Budget(1.0)
        async with budget.reservation(0.4) as held:
            await held.next_attempt(0.3, held.most_usd)
            assert (budget.spent_usd, budget.reserved_usd) == pytest.approx((0.3, 0.4))
            held.cost_usd = 0.2
        assert (budget.spent_usd, budget.reserved_usd) == pytest.approx((0.5, 0.0))

    run(work())


def test_an_attempt_that_was_not_billed_needs_no_second_reservation() -> None:
    async def work() -> None:
        budget = Budget(1.0)
        async with budget.reservation(1.0) as held:
            await held.next_attempt(0.0, held.most_usd)
            assert budget.reserved_usd == pytest.approx(1.0)

    run(work())


def test_an_attempt_that_may_cost_more_holds_more() -> None:
    async def work() -> None:
        budget = Budget(1.0)
        async with budget.reservation(0.2) as held:
            await held.next_attempt(0.0, 0.5)
            assert (budget.spent_usd, budget.reserved_usd) == pytest.approx((0.0, 0.5))
        assert (budget.spent_usd, budget.reserved_usd) == pytest.approx((0.5, 0.0))

    run(work())


def test_without_money_for_another_attempt_the_request_ends() -> None:
    async def work() -> None:
        budget = Budget(1.0)
        with pytest.raises(BudgetExceeded):
            async with budget.reservation(0.6) as held:
                await held.next_attempt(0.5, held.most_usd)
        assert (budget.spent_usd, budget.reserved_usd) == pytest.approx((0.5, 0.0))
        async with budget.reservation(0.4):
            assert budget.reserved_usd == pytest.approx(0.4)

    run(work())
