"""One request of a statement, within what the statement may cost. Used on the event loop only."""

from __future__ import annotations

from aiq.batch.budget import Budget
from aiq.batch.observer import Observer
from aiq.errors import RequestFailed
from aiq.gateway import Gateway
from aiq.request import Answer, Request


async def paid(gateway: Gateway, budget: Budget | None, observer: Observer | None, request: Request) -> Answer:
    """The answer. Raises RequestFailed, and BudgetExceeded where nothing is left for it."""
    answer_one = gateway.answer if observer is None else observer.timed(gateway.answer)
    if budget is None:
        return await answer_one(request)
    async with budget.reservation(gateway.most_it_costs(request)) as held:

        async def next_attempt(cost_usd: float | None, asked: Request) -> None:
            await held.next_attempt(cost_usd, gateway.most_it_costs(asked))

        try:
            answer = await answer_one(request, next_attempt)
        except RequestFailed as error:
            held.cost_usd = gateway.cost_of_failure(error, held.most_usd)
            raise
        if answer.cost_usd is not None:  # else it may have cost all that was reserved
            held.cost_usd = answer.cost_usd
        return answer
