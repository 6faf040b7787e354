"""Runs a prepared statement: once, or in passes; what it writes while answers are missing is rolled back.

Knows how a statement is evaluated; must never know who asked for it nor what it may cost.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial

import duckdb
import pyarrow as pa

from aiq.batch.slots import Pass
from aiq.batch.statement import Statement
from aiq.engines.duckdb import connection as engine
from aiq.engines.duckdb import pivots
from aiq.engines.duckdb.has_rows import has_rows
from aiq.engines.duckdb.passes import Passes, PassStep
from aiq.engines.duckdb.plain import PlainFunction
from aiq.engines.duckdb.prepared import Prepared, error_as_written, quoted
from aiq.engines.duckdb.results import Results
from aiq.engines.duckdb.rewrite import tree
from aiq.engines.duckdb.rewrite.distinct import over_distinct
from aiq.engines.duckdb.rewrite.lift import Lifted, tells_the_time
from aiq.engines.duckdb.rewrite.parts import parts
from aiq.engines.duckdb.words import error_in_users_words, in_users_words
from aiq.errors import StatementError


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
        try:
            if isinstance(prepared.plan, Lifted):
                return self._run_lifted(prepared, statement, recalled)
            return self._run(prepared)
        except duckdb.Error as error:
            raise error_in_users_words(
                error, prepared.calls, prepared.written, bind=partial(error_as_written, self._con, prepared)
            ) from error.__cause__

    def _run(self, prepared: Prepared) -> duckdb.DuckDBPyRelation | None:
        """Runs a statement once. Its calls wait for their answers wherever they do not have them yet."""
        sql = prepared.text
        self._results.drop_unused()
        found = parts(sql)
        if found is not None and found.kind == "select" and tree.kind_of(sql) in ("SELECT", "MULTI"):
            name = engine.new_table()
            self._results.fill(name, sql, prepared)
            return self._relation(name, prepared)
        return self._of_rows(engine.fetched(prepared.execute(self._con, sql)), prepared)

    def _of_rows(self, rows: pa.Table, prepared: Prepared) -> duckdb.DuckDBPyRelation | None:
        """The rows that a statement gave back, None where those only say that it was done."""
        if not has_rows(self._con, prepared.text, rows.column_names, rows):
            return None
        names = [in_users_words(name, prepared.calls) for name in rows.column_names]
        return self._con.from_arrow(rows.rename_columns(names))

    def _relation(self, table: str, prepared: Prepared) -> duckdb.DuckDBPyRelation:
        """The rows of a result under the names that DuckDB would give its columns."""
        plan = prepared.plan
        known = plan.names if isinstance(plan, Lifted) else None
        columns = self._results.columns(table)
        names = known if known is not None and len(known) == len(columns) else columns
        return self._results.relation(table, [in_users_words(name, prepared.calls) for name in names])

    def _run_lifted(self, prepared: Prepared, statement: Statement, recalled: bool) -> duckdb.DuckDBPyRelation | None:
        """Runs the query of a statement in passes, and then, where it is not itself the statement, the statement."""
        plan = prepared.plan
        assert isinstance(plan, Lifted)
        recalled = recalled and plan.kind in ("select", "create")
        statement.progress.by_request = True
        self._results.drop_unused()
        looking_up = self._plain.looking_up(self._con) if prepared.by_name else nullcontext()
        with looking_up, engine.Transaction(self._con) as transaction:
            if plan.writes:
                return self._run_writing(prepared, statement, transaction)
            is_there = plan.made is not None and engine.table_exists(self._con, plan.made)
            if is_there or (plan.replaced is not None and engine.table_exists(self._con, plan.replaced, view=True)):
                # Nothing is evaluated: DuckDB refuses it, or leaves the table as it is.
                return self._run(prepared._replace(text=pivots.with_values(prepared.text)))
            first = len(plan.rows.stages) if plan.rows is not None else 0
            if plan.rows is not None:
                step = PassStep(plan.rows.query, first, 0, plan.rows.limit, plan.rows.filters)
                self._evaluate(step, plan.rows.table, prepared, statement, transaction)
            name = engine.new_table()
            step = PassStep(plan.query, len(plan.stages), first, plan.limit, plan.filters)
            if plan.rows is not None and not self._results.rows(plan.rows.table):
                complete = self._evaluate_nothing(step.query, name, prepared, statement)
            else:
                complete = self._evaluate(step, name, prepared, statement, transaction, recalled=recalled)
            if plan.rows is not None:
                self._results.forget(plan.rows.table)
            if plan.span is None:
                return self._relation(name, prepared)
            result = self._finish(plan, name, prepared, complete)
            self._results.forget(name)
            return result

    def _evaluate(
        self,
        step: PassStep,
        table: str,
        prepared: Prepared,
        statement: Statement,
        transaction: engine.Transaction,
        *,
        recalled: bool = False,
    ) -> bool:
        """Puts the rows of a query into a temporary table. False where answers kept missing, so that calls waited."""
        plan = prepared.plan
        assert isinstance(plan, Lifted)

        def fill(query: str) -> int:
            try:
                return self._results.fill(table, query, prepared)
            except duckdb.Error as error:
                if not transaction.own and not statement.stopped and statement.incomplete:
                    raise StatementError(
                        f"the statement failed while answers were still missing, which ended your transaction; run it "
                        f"outside of one, or guard it against NULL answers: {str(error).splitlines()[0]}"
                    ) from error
                transaction.restart()
                raise

        if plan.waits or (not step.stages and not prepared.by_name):
            fill(step.query)
            return True
        quick = None
        if transaction.own and not prepared.by_name and (plan.rows is None or step.first or step.query == plan.query):
            quick = over_distinct(step.query if plan.rows is not None else plan.unchanged)
        quickly = None if quick is None else lambda: fill(quick)
        complete = Passes(statement, step, lambda: fill(step.query), (duckdb.Error,), quickly).run(recalled=recalled)
        if not complete:
            fill(step.query)
        return complete

    def _evaluate_nothing(self, query: str, table: str, prepared: Prepared, statement: Statement) -> bool:
        """Makes the table of a query over no rows; a call of constants, which DuckDB would plan with, asks nothing."""
        statement.running = Pass(-1)
        try:
            self._results.fill(table, query, prepared)
        finally:
            statement.running = None
        return True

    def _finish(self, plan: Lifted, table: str, prepared: Prepared, complete: bool) -> duckdb.DuckDBPyRelation | None:
        """Runs the statement around a query whose rows are there: the query itself is not evaluated again."""
        text = plan.over(self._source(plan, table, prepared)) if complete else plan.text
        return self._of_rows(engine.fetched(prepared.execute(self._con, text)), prepared)

    def _source(self, plan: Lifted, table: str, prepared: Prepared) -> str:
        """The rows of a temporary table as the query that they were made by gave them."""
        columns = self._results.columns(table)
        known = plan.names if plan.names is not None and len(plan.names) == len(columns) else columns
        names = [in_users_words(name, prepared.calls) for name in known]
        items = [
            f"NULL AS {quoted(name)}" if at in plan.nulls else f"#{at + 1} AS {quoted(name)}"
            for at, name in enumerate(names)
        ]
        return f"SELECT {', '.join(items)} FROM temp.{table}"

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
                rows.append(engine.fetched(prepared.execute(self._con, f"\n{plan.query}")))
            except duckdb.Error:
                transaction.restart()
                raise
            if statement.incomplete:
                transaction.restart()  # or others could not change these rows while the answers come
            return len(rows[0])

        if plan.waits:
            return self._of_rows(engine.fetched(prepared.execute(self._con, f"\n{plan.query}")), prepared)
        other_time = any(map(tells_the_time, engine.definitions_used(self._con, plan.query)))  # after each rollback
        step = PassStep(plan.query, len(plan.stages), writes=True)
        if other_time or not Passes(statement, step, evaluate, (duckdb.Error,)).run():
            evaluate()
        return self._of_rows(rows[0], prepared)
