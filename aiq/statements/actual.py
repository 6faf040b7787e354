"""What each call of one statement took while it ran: the actual side of `EXPLAIN AI ANALYZE`.

The ledger knows statements and endpoints, not the places in a statement where calls stand.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from aiq.errors import RequestFailed
from aiq.request import Answer, Request, Usage
from aiq.statements.history import Taken


class _Paid(NamedTuple):
    """What the gateway did for one request; times in seconds of the clock."""

    rows: int
    usage: Usage | None
    cost_usd: float | None
    start: float
    end: float


class _Site:
    """One call site: the rows of its largest evaluation, and the requests that had an answer."""

    def __init__(self) -> None:
        self.rows = self.rows_of_run = 0
        self.known: set[bytes] = set()
        self.run: object = self


class Actuals:
    """Observes a statement: which call looked up which requests, and what each of them took."""

    def __init__(
        self,
        cost_of_failure: Callable[[RequestFailed, float], float | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`cost_of_failure` as of a gateway: the US dollars of a request that failed. `clock` in seconds."""
        self._cost_of_failure, self._clock = cost_of_failure, clock
        self.statement_id = ""
        self._order: list[object] = []
        self._sites: dict[object, _Site] = {}
        self._paid: dict[bytes, list[_Paid]] = {}
        self._lock = threading.Lock()

    def numbered(self, site: object) -> None:
        """Call sites are kept in this order."""
        self._order.append(site)
        self._sites[site] = _Site()

    def evaluated(self, site: object, rows: int, run: object) -> None:
        """Of several evaluations, the largest tells how many rows there are."""
        with self._lock:
            seen = self._sites.setdefault(site, _Site())
            if run is not seen.run:  # another evaluation of the same rows
                seen.run, seen.rows_of_run = run, 0
            seen.rows_of_run += rows
            seen.rows = max(seen.rows, seen.rows_of_run)

    def found(self, site: object, keys: Sequence[bytes]) -> None:
        """They are counted for this call, unless an earlier one looked them up as well."""
        with self._lock:
            self._sites.setdefault(site, _Site()).known.update(keys)

    def timed(self, answer: Callable[..., Awaitable[Answer]]) -> Callable[..., Awaitable[Answer]]:
        """The gateway's `answer`, noting what each request takes. On the event loop."""

        async def noted(request: Request, *more: Any) -> Answer:
            start, usage, cost = self._clock(), None, None
            try:
                made = await answer(request, *more)
                usage, cost = made.usage, made.cost_usd
                return made
            except RequestFailed as error:
                usage, cost = getattr(error, "usage", None), self._cost_of_failure(error, 0.0)
                raise
            finally:
                paid = _Paid(request.rows, usage, cost, start, self._clock())
                self._paid.setdefault(request.key, []).append(paid)

        return noted

    def taken(self, order: Sequence[int]) -> list[Taken]:
        """What the sites took; `order` are their places among the numbered, in the order in which they are shown.

        A request that an earlier one looked up as well is the earlier one's.
        """
        seen: set[bytes] = set()
        found = []
        for position in order:
            site = self._sites[self._order[position]]
            own = site.known - seen
            seen |= own
            found.append(self._of(site.rows, own))
        return found

    def _of(self, rows: int, keys: set[bytes]) -> Taken:
        paid = [one for key in keys for one in self._paid.get(key, ())]
        usages = [one.usage for one in paid if one.usage is not None]
        costs = [one.cost_usd for one in paid]
        known = [cost for cost in costs if cost is not None]
        return Taken(
            rows,
            len(keys),
            max(0, len(keys) - sum(one.rows for one in paid)),
            len(paid),
            sum(usage.input_tokens for usage in usages),
            sum(usage.output_tokens for usage in usages),
            sum(known) if len(known) == len(costs) else None,
            max(one.end for one in paid) - min(one.start for one in paid) if paid else 0.0,
        )
