"""What each call of one statement took while it ran: the actual side of `EXPLAIN AI ANALYZE`.

Stands between a statement and its call sites, and between a statement and its gateway, for that statement alone; no
other one pays for it. The ledger knows statements and endpoints, not the places in a statement where calls stand.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import pyarrow as pa

from aiq.batch.slots import UNKNOWN, Ask
from aiq.batch.statement import Statement
from aiq.engines.duckdb.prepare import Numbering
from aiq.errors import RequestFailed
from aiq.functions.call_site import CallSite
from aiq.gateway import Gateway
from aiq.request import Answer, Request, Task, Usage
from aiq.statements.history import Taken


class _Paid(NamedTuple):
    """What the gateway did for one request; times in seconds of the clock."""

    rows: int
    usage: Usage | None
    cost_usd: float | None
    start: float
    end: float


class Actuals:
    """Notes which call looked up which requests, and what each of them took."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` in seconds."""
        self._clock = clock
        self.sites: list[_WatchedSite] = []
        self._paid: dict[bytes, list[_Paid]] = {}

    def watch(self, statement: Statement) -> None:
        """From here on, what the statement asks of its gateway is noted. Before it runs."""
        statement.gateway = cast(Gateway, _WatchedGateway(statement.gateway, self))

    def numbering(self, number: Numbering) -> Numbering:
        """Numbers call sites as `number` does, and notes what they look up. Sites are kept in this order."""

        def numbered(statement: Statement, site: CallSite) -> int:
            self.sites.append(_WatchedSite(site))
            return number(statement, cast(CallSite, self.sites[-1]))

        return numbered

    def paid(self, request: Request, usage: Usage | None, cost_usd: float | None, start: float) -> None:
        """Notes the end of one request. On the event loop."""
        end = self._clock()
        self._paid.setdefault(request.key, []).append(_Paid(request.rows, usage, cost_usd, start, end))

    def now(self) -> float:
        """Seconds of the clock."""
        return self._clock()

    def taken(self, order: Sequence[int]) -> list[Taken]:
        """What the sites took; `order` are their positions in `sites`, in the order in which they are shown.

        A request that an earlier one looked up as well is the earlier one's.
        """
        seen: set[bytes] = set()
        found = []
        for position in order:
            site = self.sites[position]
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


class _WatchedSite:
    """A call site whose look-ups are noted: the rows of its largest evaluation, and the requests with an answer."""

    def __init__(self, site: CallSite) -> None:
        self._site = site
        self.rows = self._rows = 0
        self.known: set[bytes] = set()
        self._run: object = self
        self._lock = threading.Lock()

    def evaluate(self, statement: Statement, request: pa.ChunkedArray, files: pa.ChunkedArray | None) -> pa.Array:
        """As the call site itself."""
        with self._lock:
            if statement.running is not self._run:  # another evaluation of the same rows
                self._run, self._rows = statement.running, 0
            self._rows += len(request) - request.null_count
            self.rows = max(self.rows, self._rows)
        return self._site.evaluate(cast(Statement, _WatchedStatement(statement, self)), request, files)

    def note(self, asks: Sequence[Ask], values: Sequence[Any]) -> None:
        known = [ask.key for ask, value in zip(asks, values, strict=True) if value is not UNKNOWN]
        with self._lock:
            self.known.update(known)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._site, name)


class _WatchedStatement:
    """A statement as one call site sees it."""

    def __init__(self, statement: Statement, site: _WatchedSite) -> None:
        self._statement, self._site = statement, site

    def values(self, endpoint: str, task: Task, asks: Sequence[Ask], **options: Any) -> list[Any]:
        """As the statement itself."""
        asks = list(asks)
        values = self._statement.values(endpoint, task, asks, **options)
        self._site.note(asks, values)
        return values

    def values_of_texts(
        self, endpoint: str, kind: bytes, texts: list[str], ask: Callable[[list[str]], list[Any]], **options: Any
    ) -> list[Any]:
        """By `values`, which notes them."""
        return ask(texts)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._statement, name)


class _WatchedGateway:
    """A gateway as one statement sees it."""

    def __init__(self, gateway: Gateway, actuals: Actuals) -> None:
        self._gateway, self._actuals = gateway, actuals

    async def answer(self, request: Request, *more: Any, **options: Any) -> Answer:
        """As the gateway itself."""
        start, usage, cost = self._actuals.now(), None, None
        try:
            answer: Answer = await self._gateway.answer(request, *more, **options)
            usage, cost = answer.usage, answer.cost_usd
            return answer
        except RequestFailed as error:
            usage, cost = getattr(error, "usage", None), self._gateway.cost_of_failure(error, 0.0)
            raise
        finally:
            self._actuals.paid(request, usage, cost, start)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gateway, name)
