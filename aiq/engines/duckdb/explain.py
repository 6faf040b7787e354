"""`EXPLAIN AI`: what a statement would ask and what that takes, and with ANALYZE what it took, side by side.

Knows columns and sessions; how requests are counted is in count.py, the arithmetic in aiq/statements/estimate.py.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import duckdb
import pyarrow as pa

from aiq.batch.packs import texts_per_call
from aiq.batch.statement import Statement
from aiq.engines.duckdb import connection as engine
from aiq.engines.duckdb.actual import Actuals
from aiq.engines.duckdb.count import Counter, StatementCounts, collecting
from aiq.engines.duckdb.frames import reads_pipe
from aiq.engines.duckdb.interrupt import running, stopped_by_ctrl_c
from aiq.errors import AiqError, BudgetExceeded, StatementCancelled, StatementError
from aiq.functions.call_site import CallSite
from aiq.statements.estimate import Estimate, Terms, estimate, total
from aiq.statements.history import NOTHING, Taken, history_of, taken_by
from aiq.statements.settings import set_statement, without_hints

if TYPE_CHECKING:
    from aiq.engines.duckdb.prepare import Parameters, Prepared
    from aiq.engines.duckdb.session import Session
    from aiq.gateway import Gateway
    from aiq.request import Caller

_QUESTION = re.compile(
    r"(?>\s|--[^\n]*(?:\n|$)|/\*.*?\*/)*+(?P<words>explain\s+ai\b(?P<analyze>\s+analyze\b)?)", re.I | re.DOTALL
)
_EXPLAINABLE = {"SELECT", "INSERT", "UPDATE", "DELETE"}

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


class Question(NamedTuple):
    """What stands after `EXPLAIN AI`, and whether the statement is to be run as well."""

    text: str
    analyze: bool

    def around(self, text: str) -> str:
        """The same question about another text."""
        return f"EXPLAIN AI {'ANALYZE ' if self.analyze else ''}{text}"


def question(text: str) -> Question | None:
    """The statement that `EXPLAIN AI [ANALYZE]` asks about; None for any other text."""
    found = _QUESTION.match(text)
    if found is None:
        return None
    return Question(text[: found.start("words")] + text[found.end("words") :], found["analyze"] is not None)


class Explanation(NamedTuple):
    """One row a call, in the order in which they are asked, and the whole statement.

    `sites` has, for each call, how many calls were numbered before it, None for one in a view or macro.
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


def explain(session: Session, text: str, params: Parameters, dialect: str, *, gently: bool = False) -> Explanation:
    """What a statement would ask and what that takes. Makes no call and changes nothing.

    With `gently`, not even what is read on the way: a stream is left to the statement, and an open transaction whole.
    Raises StatementError, FunctionError and DuckDB's own errors as running it would, before any call.
    """
    if set_statement(text) is not None:
        raise StatementError("EXPLAIN AI explains a statement that asks; run SET and RESET alone, without EXPLAIN AI")
    statement = session._statement_for(text)
    sites: dict[int, CallSite] = {}
    with engine.numbered_sites() as number:

        def numbered(of: Statement, site: CallSite) -> int:
            own = number(of, site)
            sites[own] = site
            return own

        try:
            with collecting(statement, Counter()):  # an argument that is a call itself must not be asked for
                prepared = session._preparation.prepare(without_hints(text), params, dialect, statement, numbered)
            if prepared.plan is None:
                if not gently:
                    _check(session, prepared)
                return Explanation([], total([], [], {}, "no AI call"), [])
            with stopped_by_ctrl_c(statement), running(session.con, statement), session._plain.within(statement):
                counts = StatementCounts(session, prepared, statement, sites, gently=gently).counts()
        except (duckdb.Error, RuntimeError) as error:
            raise session._explained(error, statement) from None
        finally:
            statement.cancel()
    terms = {name: terms_of(session.gateway, session.caller, name) for name in {count.endpoint for count in counts}}
    rows = [estimate(count, terms[count.endpoint]) for count in counts]
    whole = total(counts, rows, terms, "" if rows else "no row reaches an AI call")
    places = {number: place for place, number in enumerate(sites)}
    return Explanation(rows, whole, [places.get(count.site) for count in counts])


def check_budget(session: Session, text: str, params: Parameters, dialect: str) -> None:
    """Raises BudgetExceeded where a statement has a limit, and its low estimate is above it. Makes no call.

    Where nothing can be estimated, what is reserved for each call holds the limit alone.
    """
    limit_usd = session.limit_usd(text)
    if limit_usd is None or reads_pipe(text):
        return
    try:
        found = explain(session, text, params, dialect, gently=True)
    except StatementCancelled:
        raise
    except (AiqError, duckdb.Error, RuntimeError):
        if _is_usable(session.con):
            return  # running it says what is wrong, or there is nothing wrong with it
        raise
    found.check(limit_usd)


def analyze(session: Session, text: str, params: Parameters, dialect: str) -> pa.Table:
    """Explains a statement, runs it, and puts what it took beside. Its rows are dropped; what it writes stays.

    Raises what running it raises.
    """
    explanation = explain(session, text, params, dialect)
    if (limit_usd := session.limit_usd(text)) is not None:
        explanation.check(limit_usd)
    statement, actuals = session._statement_for(text), Actuals()
    actuals.watch(statement)
    started = time.monotonic()
    result = session._run_statement(text, params, dialect, statement, actuals.numbering)
    seconds = time.monotonic() - started
    if result is not None:
        session._results.drop(result)
    session._preparation.commit()  # what was only reused waits otherwise
    ledger = taken_by(session.gateway.ledger.tables, statement.id)
    endpoints = [row.endpoint for row in explanation.calls]
    of_sites = iter(actuals.taken([site for site in explanation.sites if site is not None]))
    taken = []
    for row, site in zip(explanation.calls, explanation.sites, strict=True):
        if site is not None:
            taken.append(next(of_sites))
        elif endpoints.count(row.endpoint) == 1:  # of a call in a view, only the ledger knows, and only its endpoint
            taken.append(ledger.get(row.endpoint, NOTHING))
        else:
            taken.append(Taken())
    return beside(explanation, [*taken, ledger.get(None, NOTHING)], seconds)


def beside(explanation: Explanation, taken: Sequence[Taken], seconds: float) -> pa.Table:
    """An explanation with what each call took beside it, and at last what all of them took in `seconds`."""
    rows = [one.actual_rows for one in taken[:-1]]
    everything = taken[-1]._replace(
        actual_rows=None if None in rows else sum(row or 0 for row in rows), actual_seconds=seconds
    )
    pairs = zip([*explanation.calls, explanation.total], [*taken[:-1], everything], strict=True)
    return pa.Table.from_pylist(
        [estimated._asdict() | found._asdict() for estimated, found in pairs], schema=pa.schema([*_SCHEMA, *_ACTUAL])
    )


def _check(session: Session, prepared: Prepared) -> None:
    """Raises what DuckDB says of a statement without an AI call before it runs."""
    parsed = session.con.extract_statements(prepared.text)
    if not parsed:
        raise StatementError("EXPLAIN AI explains a statement: EXPLAIN AI SELECT ...")
    if parsed[0].type.name in _EXPLAINABLE:
        prepared.execute(session.con, f"EXPLAIN {prepared.text}").fetchall()


def _is_usable(con: duckdb.DuckDBPyConnection) -> bool:
    """False in a transaction that an error has ended."""
    try:
        con.execute("SELECT 1").fetchall()
    except duckdb.Error:
        return False
    return True


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
