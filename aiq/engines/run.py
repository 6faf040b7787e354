"""Runs a prepared statement: once, or in passes; what it writes while answers are missing is rolled back.

Knows how a statement is evaluated; must never know who asked for it nor what it may cost.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import nullcontext

import duckdb
import pyarrow as pa

from aiq.batch.statement import Statement
from aiq.engines import duckdb as engine
from aiq.engines.passes import Passes
from aiq.engines.plain import PlainFunction
from aiq.engines.prepare import Prepared
from aiq.engines.results import Results, own_name
from aiq.errors import StatementError
from aiq.plan.distinct import over_distinct
from aiq.plan.lift import Lifted, tells_the_time

_ANSWERING = {"EXPLAIN", "PRAGMA", "CALL", "EXECUTE"}
_RETURNING = re.compile(r"\breturning\b", re.IGNORECASE)


class Runner:
    """Runs the statements of one session."""

    def __init__(self, con: duckdb.DuckDBPyConnection, plain: PlainFunction, results: Results) -> None:
        self._con, self._plain, self._results = con, plain, results

    def run(
        self, prepared: Prepared, statement: Statement, *, recalled: bool = False
    ) -> duckdb.DuckDBPyRelation | None:
        """Runs a statement with AI calls as its plan says. Raises DuckDB's errors and what `Statement.ask` raises.

        `recalled` says that it was tried in vain whether all its answers are there already.
        """
        lifted = isinstance(prepared.plan, Lifted)
        return self._run_lifted(prepared, statement, recalled) if lifted else self._run(prepared)

    def _run(self, prepared: Prepared) -> duckdb.DuckDBPyRelation | None:
        """Runs a statement once. Its calls wait for their answers wherever they do not have them yet."""
        sql = prepared.text
        parsed = self._con.extract_statements(sql)
        self._results.drop_unused()
        if len(parsed) == 1 and parsed[0].type.name == "SELECT":
            name = self._results.new_table()
            self._results.fill(name, sql, prepared)
            return self._results.relation(name)
        rows = engine.fetched(prepared.execute(self._con, sql))
        rows = rows.rename_columns(list(map(own_name, rows.column_names)))
        answers = parsed[0].type.name in _ANSWERING or _RETURNING.search(sql) is not None
        return self._con.from_arrow(rows) if answers else None

    def _run_lifted(self, prepared: Prepared, statement: Statement, recalled: bool) -> duckdb.DuckDBPyRelation | None:
        """Runs the query of a statement in passes, and then, where it is not itself the statement, the statement."""
        plan = prepared.plan
        assert isinstance(plan, Lifted)
        recalled = recalled and (plan.text == plan.query or plan.into is not None)
        statement.progress.by_request = True
        self._results.drop_unused()
        name = self._results.new_table()

        def guarded(run: Callable[[], int]) -> int:
            try:
                return run()
            except duckdb.Error as error:
                if not transaction.own and not statement.stopped and statement.incomplete:
                    raise StatementError(
                        f"the statement failed while answers were still missing, which ended your transaction; run it "
                        f"outside of one, or guard it against NULL answers: {str(error).splitlines()[0]}"
                    ) from error
                transaction.restart()
                raise

        looking_up = self._plain.looking_up(self._con) if prepared.by_name else nullcontext()
        with looking_up, engine.Transaction(self._con) as transaction:
            if plan.writes:
                return self._run_writing(prepared, statement, transaction)
            if plan.made is not None and engine.table_exists(self._con, plan.made):
                return self._run(prepared)  # nothing is evaluated: DuckDB refuses it, or leaves the table as it is
            quick = over_distinct(plan.unchanged, plan.tree) if transaction.own and not prepared.by_name else None
            complete = Passes(
                statement,
                plan,
                lambda: guarded(lambda: self._results.fill(name, plan.query, prepared)),
                (duckdb.Error,),
                None if quick is None else lambda: guarded(lambda: self._results.fill(name, quick, prepared)),
            ).run(recalled=recalled)
            if plan.text == plan.query:
                if not complete:
                    self._results.fill(name, plan.query, prepared)
                return self._results.relation(name)
            if complete and plan.into is not None:
                self._results.rename_columns(name)
                prepared.execute(self._con, f"{plan.into} FROM temp.{name}").fetchall()
            self._con.execute(f"DROP TABLE IF EXISTS temp.{name}").fetchall()
            return None if complete and plan.into is not None else self._run(prepared)

    def _run_writing(
        self, prepared: Prepared, statement: Statement, transaction: engine.Transaction
    ) -> duckdb.DuckDBPyRelation | None:
        """Runs a statement that changes rows. What it did while answers were missing is rolled back."""
        plan = prepared.plan
        assert isinstance(plan, Lifted)
        rows: list[pa.Table] = []

        def evaluate() -> int:
            transaction.restart()  # sees what others have committed meanwhile
            rows.clear()
            try:
                rows.append(engine.fetched(prepared.execute(self._con, plan.query)))
            except duckdb.Error:
                transaction.restart()
                raise
            if statement.incomplete:
                transaction.restart()  # or others could not change these rows while the answers come
            return len(rows[0])

        other_time = any(map(tells_the_time, engine.definitions_used(self._con, plan.query)))  # after each rollback
        if other_time or not Passes(statement, plan, evaluate, (duckdb.Error,)).run():
            evaluate()
        if not _RETURNING.search(plan.query):
            return None
        return self._con.from_arrow(rows[0].rename_columns(list(map(own_name, rows[0].column_names))))
