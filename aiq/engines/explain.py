"""`EXPLAIN AI`: what a statement would ask and what that takes, and with ANALYZE what it took, side by side.

Knows columns and sessions; how requests are counted is in count.py, the arithmetic in aiq/plan/estimate.py.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, NamedTuple

import duckdb
import pyarrow as pa

from aiq.batch.statement import Statement
from aiq.engines import duckdb as engine
from aiq.engines.count import Counter, StatementCounts, collecting
from aiq.engines.history import Taken, history_of, taken_by
from aiq.engines.interrupt import running, stopped_by_ctrl_c
from aiq.errors import StatementError
from aiq.functions.ai_query import CallSite
from aiq.ledger.tables import Tables
from aiq.plan.estimate import Estimate, Terms, estimate, total

if TYPE_CHECKING:
    from aiq.engines.prepare import Parameters
    from aiq.engines.session import Session

_QUESTION = re.compile(
    r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)*(?P<words>explain\s+ai\b(?P<analyze>\s+analyze\b)?)", re.I | re.DOTALL
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
        ("actual_requests", pa.int64()),
        ("actual_input_tokens", pa.int64()),
        ("actual_output_tokens", pa.int64()),
        ("actual_cost_usd", pa.float64()),
        ("actual_seconds", pa.float64()),
    ]
)


class Question(NamedTuple):
    """What stands after `EXPLAIN AI`, and whether the statement is to be run as well."""

    text: str
    analyze: bool


def question(text: str) -> Question | None:
    """The statement that `EXPLAIN AI [ANALYZE]` asks about; None for any other text."""
    found = _QUESTION.match(text)
    if found is None:
        return None
    return Question(text[: found.start("words")] + text[found.end("words") :], found["analyze"] is not None)


class Explanation(NamedTuple):
    """One row a call, in the order in which they are asked, and the whole statement."""

    calls: list[Estimate]
    total: Estimate

    def table(self) -> pa.Table:
        """The rows, the total last."""
        return pa.Table.from_pylist([row._asdict() for row in [*self.calls, self.total]], schema=_SCHEMA)


def explain(session: Session, text: str, params: Parameters, dialect: str) -> Explanation:
    """What a statement would ask and what that takes. Makes no call and changes nothing.

    Raises StatementError, FunctionError and DuckDB's own errors as running it would, before any call.
    """
    statement = session._statement_for(text)
    sites: dict[int, CallSite] = {}
    with engine.numbered_sites() as number:

        def numbered(of: Statement, site: CallSite) -> int:
            own = number(of, site)
            sites[own] = site
            return own

        try:
            with collecting(statement, Counter()):  # an argument that is a call itself must not be asked for
                prepared = session._preparation.prepare(text, params, dialect, statement, numbered)
            if prepared.plan is None:
                parsed = session.con.extract_statements(prepared.text)
                if not parsed:
                    raise StatementError("EXPLAIN AI explains a statement: EXPLAIN AI SELECT ...")
                if parsed[0].type.name in _EXPLAINABLE:
                    prepared.execute(session.con, f"EXPLAIN {prepared.text}").fetchall()
                return Explanation([], total([], [], {}, "no AI call"))
            with stopped_by_ctrl_c(statement), running(session.con, statement), session._plain.within(statement):
                counts = StatementCounts(session, prepared, statement, sites).counts()
        except (duckdb.Error, RuntimeError) as error:
            raise session._explained(error, statement) from None
        finally:
            statement.cancel()
    terms = {name: _terms(session, name) for name in {count.endpoint for count in counts}}
    rows = [estimate(count, terms[count.endpoint]) for count in counts]
    return Explanation(rows, total(counts, rows, terms, "" if rows else "no row reaches an AI call"))


def analyze(session: Session, text: str, params: Parameters, dialect: str) -> pa.Table:
    """Explains a statement, runs it, and puts what it took beside. Its rows are dropped; what it writes stays.

    Raises what running it raises.
    """
    explanation = explain(session, text, params, dialect)
    statement = session._statement_for(text)
    started = time.monotonic()
    result = session._run_statement(text, params, dialect, statement)
    seconds = time.monotonic() - started
    if result is not None and session._results and session._results[-1][1]() is result:
        name, _ = session._results.pop()
        del result
        session.con.execute(f"DROP TABLE IF EXISTS temp.{name}").fetchall()
    taken = taken_by(Tables(session.gateway.ledger.home), statement.id)
    endpoints = [row.endpoint for row in explanation.calls]
    actual = []
    for row in explanation.calls:
        own = endpoints.count(row.endpoint) == 1  # the ledger knows of endpoints, not of calls in a statement
        found = taken.get(row.endpoint or "", Taken(0, 0, 0, 0.0, 0.0)) if own else Taken(None, None, None, None, None)
        actual.append(row._asdict() | found._asdict())
    everything = taken.get(None, Taken(0, 0, 0, 0.0, 0.0))._replace(actual_seconds=seconds)
    actual.append(explanation.total._asdict() | everything._asdict())
    return pa.Table.from_pylist(actual, schema=pa.schema([*_SCHEMA, *_ACTUAL]))


def _terms(session: Session, name: str) -> Terms:
    gateway = session.gateway
    endpoint, settings = gateway.endpoint(name), gateway.config.settings
    own = settings.endpoints.get(name)
    texts = (own and own.embedding_batch_rows) or settings.embedding_batch_rows
    return Terms(
        endpoint.task,
        gateway.concurrency(name),
        gateway.prices(name),
        gateway.calls_per_minute(name, session.caller.user),
        texts if endpoint.task == "llm/v1/embeddings" else 1,
        history_of(Tables(gateway.ledger.home), endpoint),
    )
