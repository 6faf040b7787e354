"""One statement on DuckDB: run without asking where all its answers are there, else in the way that it is lifted."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from aiq.batch.statement import Statement
from aiq.engines.duckdb import connection as engine
from aiq.engines.duckdb.expected import expected_rows
from aiq.engines.duckdb.frames import call_seeing
from aiq.engines.duckdb.has_rows import has_rows, prepared_as
from aiq.engines.duckdb.interrupt import running, stopped_by_ctrl_c
from aiq.engines.duckdb.prepare import Read
from aiq.engines.duckdb.prepared import used
from aiq.engines.duckdb.rewrite.lift import Lifted
from aiq.engines.duckdb.words import calls_as_written
from aiq.errors import StatementCancelled
from aiq.functions.call_site import CallSite
from aiq.functions.signature import FUNCTION
from aiq.sql.calls import tokenize
from aiq.sql.script import split
from aiq.statements.progress import shown_progress

if TYPE_CHECKING:
    from aiq.engines.duckdb.engine import DuckDB

Relation = duckdb.DuckDBPyRelation | None
_ANALYZE = re.compile(r"\s*(\([^)]*)?ANALYZE\b", re.IGNORECASE)
_OF_PLAN = ["explain_key", "explain_value"]


class DuckDBRun:
    """A statement that has been read."""

    def __init__(self, of: DuckDB, read: Read, statement: Statement, key: tuple[str, str]) -> None:
        """`key` is the text and its dialect, by which it is known when it comes again."""
        self._engine, self._read, self._statement, self._key = of, read, statement, key
        self.id, self.asks = statement.id, read.asks or _runs_calls(of.con, read.text)

    @property
    def has_asked(self) -> bool:
        return self._statement.progress.asked > 0

    def result(self) -> Relation:
        if not self._read.asks:
            return self._passed_through()
        statement, recall = self._statement, self._engine.recall
        try:
            with stopped_by_ctrl_c(statement), running(self._engine.con, statement):
                key = self._key if statement.may_reuse and statement.observer is None else None
                found = recall.run(self._read, statement, key) if key is not None else None
                return self._planned(key) if found is None else found.relation
        except (duckdb.Error, RuntimeError) as error:
            raise explained(error, statement) from None

    def end(self, *, well: bool) -> None:
        self._statement.end(well=well)
        if not well:
            self._statement.wait_for_last()

    def _planned(self, recalled: tuple[str, str] | None) -> Relation:
        """Runs it in the ordinary way; `recalled` names what was tried in vain to run without asking."""
        of, statement = self._engine, self._statement
        sites: dict[int, CallSite] = {}
        with engine.numbered_sites() as number:

            def noted(of_statement: Statement, site: CallSite) -> int:
                own = number(of_statement, site)
                sites[own] = site
                if of_statement.observer is not None:
                    of_statement.observer.numbered(site)
                return own

            prepared = of.preparation.plan(self._read, statement, noted)

            def expected() -> int | None:
                return None if isinstance(prepared.plan, Lifted) else expected_rows(of.con, prepared.text)

            with shown_progress(statement, expected), of.plain.within(statement):
                result = of.runner.run(prepared, statement, recalled=recalled is not None)
        if recalled is not None:
            of.recall.learn(recalled, prepared, sites)
        return result

    def _passed_through(self) -> Relation:
        """Runs it as it is. The calls that an EXPLAIN ANALYZE or EXECUTE makes are those of this statement."""
        statement, well = self._statement, False
        try:
            with self._engine.plain.within(statement):
                relation = self._as_it_is()
            well = True
            return relation
        except (duckdb.Error, RuntimeError) as error:
            raise explained(error, statement) from None
        finally:
            if not self.asks and (statement.progress.rows or statement.error is not None):  # a call was evaluated
                self.end(well=well)

    def _as_it_is(self) -> Relation:
        con, text = self._engine.con, self._read.text
        values = used(con, text, self._read.values)
        if ";" in text:  # a relation over text with a semicolon takes no further step
            text = "".join(split(text))
        relation: Relation = call_seeing(self._read.variables, con.sql, text, params=values)
        if relation is None or not has_rows(con, text, relation.columns, relation):
            return None
        is_plan = relation.columns == _OF_PLAN and con.extract_statements(text)[0].type.name == "EXPLAIN"
        return _plan_as_written(con, relation) if is_plan else relation


def _runs_calls(con: duckdb.DuckDBPyConnection, text: str) -> bool:
    """Whether a text is an EXPLAIN ANALYZE of calls, or an EXECUTE of a prepared statement that has some."""
    first, *others = [token.text for token in tokenize(text)] or [""]
    if first.upper() == "EXPLAIN":
        return _ANALYZE.match("".join(others)) is not None and FUNCTION in text.lower()
    if first.upper() == "EXECUTE":
        with suppress(duckdb.Error, IndexError):  # there is no such statement, or no name: DuckDB says so
            return FUNCTION in prepared_as(con, text).lower()
    return False


def _plan_as_written(con: duckdb.DuckDBPyConnection, relation: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
    rows = relation.to_arrow_table()
    plans = pa.array([calls_as_written(plan) for plan in rows[_OF_PLAN[1]].to_pylist()], pa.string())
    return con.from_arrow(rows.set_column(1, _OF_PLAN[1], plans))


def explained(error: Exception, statement: Statement) -> BaseException:
    """Our own error, where DuckDB only passes on its words."""
    if statement.error is not None:
        return statement.error
    if isinstance(error, duckdb.InterruptException) or statement.stopped:
        return StatementCancelled("the statement was interrupted; answers already paid for are in the ledger")
    return error
