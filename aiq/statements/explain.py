"""`EXPLAIN AI`: what a statement would ask and what that takes, and with ANALYZE what it took, side by side.

Knows columns and terms; an engine counts the requests, the arithmetic is in estimate.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa

from aiq.batch.packs import texts_per_call
from aiq.errors import BudgetExceeded
from aiq.gateway import Gateway
from aiq.request import Caller
from aiq.statements.engine import RequestCounts
from aiq.statements.estimate import Estimate, Terms, estimate, total
from aiq.statements.history import NOTHING, Taken, history_of

_SCHEMA = pa.schema(
    [
        ("call", pa.string()),
        ("endpoint", pa.string()),
        ("stage", pa.int64()),
        ("rows", pa.int64()),
        ("requests", pa.int64()),
        ("answered_from_store", pa.int64()),
        ("input_tokens", pa.int64()),
        ("output_tokens_likely", pa.int64()),
        ("cost_low_usd", pa.float64()),
        ("cost_likely_usd", pa.float64()),
        ("cost_high_usd", pa.float64()),
        ("seconds", pa.float64()),
        ("exact", pa.bool_()),
        ("lifted", pa.bool_()),
        ("note", pa.string()),
    ]
)
"""Columns of an explanation: those of `Estimate`."""

_ACTUAL = pa.schema(
    [
        ("actual_rows", pa.int64()),
        ("actual_requests", pa.int64()),
        ("actual_reused", pa.int64()),
        ("actual_calls", pa.int64()),
        ("actual_input_tokens", pa.int64()),
        ("actual_output_tokens", pa.int64()),
        ("actual_cost_usd", pa.float64()),
        ("actual_seconds", pa.float64()),
    ]
)
"""Columns of what was taken: those of `Taken`."""


class Explanation(NamedTuple):
    """One row a call, in the order in which they are asked, and the statement as one.

    `sites` has the site of each call as its engine counts it, None for one in a view or macro.
    """

    calls: list[Estimate]
    total: Estimate
    sites: list[int | None]

    def table(self) -> pa.Table:
        """The rows, the total last."""
        return pa.Table.from_pylist([row._asdict() for row in [*self.calls, self.total]], schema=_SCHEMA)

    def check(self, limit_usd: float) -> None:
        """Raises BudgetExceeded where the low estimate is above a limit; a price that is not known counts nothing."""
        low = sum(call.cost_low_usd or 0.0 for call in self.calls)
        likely = sum(call.cost_likely_usd or 0.0 for call in self.calls)
        high = sum(call.cost_high_usd or 0.0 for call in self.calls)
        if low > limit_usd:
            raise BudgetExceeded(
                f"the statement would cost at least ${low:.6f}, likely ${likely:.6f} and up to ${high:.6f}, which is "
                f"above aiq_max_cost_usd = {limit_usd:g}; nothing was asked. Raise the limit (SET aiq_max_cost_usd = "
                "...), ask for fewer rows, or see with EXPLAIN AI what each call costs."
            )


def explained(counted: RequestCounts, gateway: Gateway, caller: Caller) -> Explanation:
    """What was counted, priced by the terms of its endpoints."""
    counts, sites, nothing = counted
    terms = {name: terms_of(gateway, caller, name) for name in {count.endpoint for count in counts}}
    rows = [estimate(count, terms[count.endpoint]) for count in counts]
    return Explanation(rows, total(counts, rows, terms, "" if rows else nothing), sites)


def side_by_side(explanation: Explanation, taken: Sequence[Taken], seconds: float) -> pa.Table:
    """An explanation with what each call took beside it, and at last what all of them took in `seconds`."""
    rows = [one.actual_rows for one in taken[:-1]]
    everything = taken[-1]._replace(
        actual_rows=None if None in rows else sum(row or 0 for row in rows), actual_seconds=seconds
    )
    pairs = zip([*explanation.calls, explanation.total], [*taken[:-1], everything], strict=True)
    return pa.Table.from_pylist(
        [estimated._asdict() | found._asdict() for estimated, found in pairs], schema=pa.schema([*_SCHEMA, *_ACTUAL])
    )


def of_endpoints(explanation: Explanation, ledger: Mapping[str | None, Taken]) -> list[Taken]:
    """What each call took as far as the ledger tells: it knows endpoints, and no call."""
    endpoints = [row.endpoint for row in explanation.calls]
    return [ledger.get(name, NOTHING) if endpoints.count(name) == 1 else Taken() for name in endpoints]


def terms_of(gateway: Gateway, caller: Caller, name: str) -> Terms:
    """Under which conditions an endpoint answers somebody, and what its history shows."""
    endpoint, settings = gateway.endpoint(name), gateway.config.settings
    return Terms(
        endpoint.task,
        gateway.concurrency(name),
        gateway.prices(name),
        gateway.calls_per_minute(name, caller),
        texts_per_call(settings, endpoint) if endpoint.task == "llm/v1/embeddings" else 1,
        history_of(gateway.ledger.tables, endpoint),
    )
