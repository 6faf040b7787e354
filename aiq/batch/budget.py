"""What a statement may cost. Money is reserved before a call and settled after it, so that it is never overshot.

Used on the event loop only. Amounts in US dollars.
"""

from __future__ import annotations

import asyncio

from aiq.errors import BudgetExceeded


class Budget:
    """At most `limit_usd`, reservations included."""

    def __init__(self, limit_usd: float) -> None:
        self.limit_usd = limit_usd
        self.spent_usd = 0.0
        self.reserved_usd = 0.0
        self._settled = asyncio.Event()

    async def reserve(self, most_usd: float) -> None:
        """Waits until a call that costs at most this much fits.

        Raises BudgetExceeded when it cannot, because nothing that is under way will give anything back.
        """
        while self.spent_usd + self.reserved_usd + most_usd > self.limit_usd:
            if self.reserved_usd <= 0.0:
                left = max(0.0, self.limit_usd - self.spent_usd)
                raise BudgetExceeded(
                    f"the next request may cost ${most_usd:.6f}, but of aiq_max_cost_usd = {self.limit_usd:g} only "
                    f"${left:.6f} is left. What is answered is kept: raise the limit "
                    "(SET aiq_max_cost_usd = ...) and run the statement again, or lower max_tokens."
                )
            self._settled.clear()
            await self._settled.wait()
        self.reserved_usd += most_usd

    def settle(self, most_usd: float, cost_usd: float) -> None:
        """Turns a reservation into what the call cost."""
        self.reserved_usd = max(0.0, self.reserved_usd - most_usd)
        if self.reserved_usd < 1e-12:
            self.reserved_usd = 0.0
        self.spent_usd += cost_usd
        self._settled.set()
