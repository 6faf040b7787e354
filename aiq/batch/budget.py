"""What a statement may cost. Money is reserved before a call and settled after it, so that it is never overshot.

Used on the event loop only. Amounts in US dollars.
"""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType

from aiq.errors import BudgetExceeded


class Budget:
    """At most `limit_usd`, reservations included. Who does not fit yet waits in line.

    A provider may bill more than a call can cost by its limits: reasoning beyond `max_tokens`. A call that cost more
    than was reserved for it raises all later reservations by as much; `first_alone` so that there is one to learn from.
    """

    def __init__(self, limit_usd: float, *, first_alone: bool = False) -> None:
        self.limit_usd = limit_usd
        self.spent_usd = 0.0
        self.reserved_usd = 0.0
        self._factor = 1.0
        self._tried = not first_alone
        self._under_way = 0
        self._waiting: deque[tuple[float, asyncio.Future[float]]] = deque()

    def reservation(self, most_usd: float) -> Reservation:
        """What one request holds while it is asked: `async with budget.reservation(most_usd) as held`."""
        return Reservation(self, most_usd)

    async def reserve(self, most_usd: float) -> float:
        """Waits until a call that costs at most this much fits; one that costs nothing never waits.

        Returns what is reserved, which `settle` is told. Raises BudgetExceeded when it cannot, because nothing that is
        under way will give anything back.
        """
        if not most_usd or (not self._waiting and self._fits(most_usd)):
            return self._take(most_usd)
        if not self._under_way:
            raise self._exceeded(most_usd)
        turn: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting.append((most_usd, turn))
        try:
            return await turn
        except asyncio.CancelledError:
            if not turn.cancelled() and turn.exception() is None:  # its turn came just before
                self.settle(turn.result(), 0.0)
            else:
                self._go_on()  # whoever is behind it may be smaller
            raise

    def settle(self, reserved_usd: float, cost_usd: float) -> None:
        """Turns a reservation into what the call cost."""
        self._under_way -= 1
        self.reserved_usd = max(0.0, self.reserved_usd - reserved_usd) if self._under_way else 0.0
        self.spent_usd += cost_usd
        self._tried = self._tried or reserved_usd > 0
        if cost_usd > reserved_usd > 0:
            self._factor *= cost_usd / reserved_usd
        self._go_on()

    def _go_on(self) -> None:
        """Lets those at the head of the line go on that fit now, and refuses those that never will."""
        while self._waiting:
            most_usd, turn = self._waiting[0]
            if not turn.done():
                if self._fits(most_usd):
                    turn.set_result(self._take(most_usd))
                elif self._under_way:
                    return
                else:
                    turn.set_exception(self._exceeded(most_usd))
            self._waiting.popleft()

    def _fits(self, most_usd: float) -> bool:
        if not self._tried and self.reserved_usd:
            return False
        return self.spent_usd + self.reserved_usd + most_usd * self._factor <= self.limit_usd

    def _take(self, most_usd: float) -> float:
        self._under_way += 1
        self.reserved_usd += most_usd * self._factor
        return most_usd * self._factor

    def _exceeded(self, most_usd: float) -> BudgetExceeded:
        most_usd *= self._factor
        left = max(0.0, self.limit_usd - self.spent_usd)
        return BudgetExceeded(
            f"the next request may cost ${most_usd:.6f}, but of aiq_max_cost_usd = {self.limit_usd:g} only "
            f"${left:.6f} is left. What is answered is kept: raise the limit "
            "(SET aiq_max_cost_usd = ...) and run the statement again, or lower max_tokens."
        )


class Reservation:
    """Enough of a budget for one attempt of a request; `cost_usd` is what the last attempt turned out to cost.

    As long as nobody says, that is all of it: a call that ended in nobody's hands may have been billed.
    """

    def __init__(self, budget: Budget, most_usd: float) -> None:
        self._budget = budget
        self.most_usd = self.cost_usd = most_usd
        self._held = False

    async def __aenter__(self) -> Reservation:
        self.most_usd = self.cost_usd = await self._budget.reserve(self.most_usd)
        self._held = True
        return self

    async def next_attempt(self, cost_usd: float | None, most_usd: float) -> None:
        """An attempt cost this and failed: it is spent, and `most_usd` is reserved for another one.

        `cost_usd` None: nobody knows, so it is taken to have cost all that was reserved. Raises BudgetExceeded.
        """
        if cost_usd is None:
            cost_usd = self.most_usd
        if not cost_usd and most_usd <= self.most_usd:
            return
        self._settle(cost_usd)
        self.most_usd = self.cost_usd = await self._budget.reserve(most_usd)
        self._held = True

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._held:  # not where there was no money for another attempt
            self._settle(self.cost_usd)

    def _settle(self, cost_usd: float) -> None:
        self._held = False
        self._budget.settle(self.most_usd, cost_usd)
