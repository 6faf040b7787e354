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
