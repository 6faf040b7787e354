"""`EXPLAIN AI` on DuckDB: prepares a statement, has its requests counted (count.py), and with ANALYZE runs it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from aiq.batch.statement import Statement
from aiq.engines.duckdb import connection as engine
from aiq.engines.duckdb.count import Counter, StatementCounts, collecting
from aiq.engines.duckdb.frames import reads_pipe
from aiq.engines.duckdb.interrupt import running, stopped_by_ctrl_c
from aiq.errors import AiqError, StatementCancelled, StatementError
from aiq.functions.call_site import CallSite
from aiq.statements.actual import Actuals
from aiq.statements.estimate import total
from aiq.statements.explain import Explanation, explained, of_endpoints, side_by_side
from aiq.statements.history import NOTHING, taken_by
from aiq.statements.settings import set_statement, without_hints

if TYPE_CHECKING:
    from aiq.engines.duckdb.prepare import Parameters, Prepared
    from aiq.engines.duckdb.session import Session

_EXPLAINABLE = {"SELECT", "INSERT", "UPDATE", "DELETE"}


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
    places = {number: place for place, number in enumerate(sites)}
    return explained(counts, session.gateway, session.caller, [places.get(count.site) for count in counts])


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
    statement, actuals = session._statement_for(text), Actuals(session.gateway.cost_of_failure)
    statement.observer = actuals
    started = time.monotonic()
    result = session._run_statement(text, params, dialect, statement)
    seconds = time.monotonic() - started
    if result is not None:
        session._results.drop(result)
    session._preparation.commit()  # what was only reused waits otherwise
    ledger = taken_by(session.gateway.ledger.tables, statement.id)
    of_sites = iter(actuals.taken([site for site in explanation.sites if site is not None]))
    taken = [  # of a call in a view, only the ledger knows
        by_endpoint if site is None else next(of_sites)
        for by_endpoint, site in zip(of_endpoints(explanation, ledger), explanation.sites, strict=True)
    ]
    return side_by_side(explanation, [*taken, ledger.get(None, NOTHING)], seconds)


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
