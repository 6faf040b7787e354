"""A session: one connection, one identity, one configuration; runs statements whole.

`Session.sql` rewrites the AI calls of one statement, runs it at once, and returns a relation over finished rows.
"""

from __future__ import annotations

import getpass
import itertools
import os
import re
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from typing import Any

import duckdb
import pyarrow as pa

from aiq.batch.budget import Budget
from aiq.batch.kept import KeptAnswers
from aiq.batch.statement import Statement
from aiq.config.reuse import Reuse
from aiq.engines import duckdb as engine
from aiq.engines.explain import Question, analyze, check_budget, explain, question
from aiq.engines.frames import call_seeing
from aiq.engines.interrupt import running, stopped_by_ctrl_c
from aiq.engines.open import open_gateway
from aiq.engines.passes import Passes
from aiq.engines.plain import register_plain
from aiq.engines.prepare import Numbering, Parameters, Preparation, Prepared, quoted, used
from aiq.engines.progress import shown_progress
from aiq.engines.settings import StatementSettings, hints, set_statement, shown, without_hints
from aiq.engines.stream import stream_windows
from aiq.errors import StatementCancelled, StatementError
from aiq.gateway import Gateway
from aiq.plan.distinct import over_distinct
from aiq.plan.lift import Lifted, tells_the_time
from aiq.plan.windows import windows
from aiq.request import Caller

KEPT_RESULTS = 32
_numbers = itertools.count(1)
_ANSWERING = {"EXPLAIN", "PRAGMA", "CALL", "EXECUTE"}
_OUR_FUNCTION = re.compile(r"__aiq_[0-9a-f]{12}\((\d+), ")
_RETURNING = re.compile(r"\breturning\b", re.IGNORECASE)


class Session:
    """Runs SQL with `ai_query` on a DuckDB connection. Not for use by several threads at once: open one for each."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        gateway: Gateway,
        caller: Caller,
        *,
        owns_connection: bool = False,
        dialect: str = "duckdb",
    ) -> None:
        self.con, self.gateway, self.caller = con, gateway, caller
        self._owns, self._dialect = owns_connection, dialect
        self._results: deque[tuple[str, weakref.ref[duckdb.DuckDBPyRelation]]] = deque()
        self._plain = register_plain(con, gateway, caller)
        self._preparation = Preparation(con, gateway)
        self._answers: dict[bytes, Any] = {}
        self.settings = StatementSettings()

    def sql(
        self, text: str, params: Parameters = None, *, dialect: str | None = None
    ) -> duckdb.DuckDBPyRelation | None:
        """Runs one statement at once and returns a relation over its finished rows, or None where it has none.

        `params` fill `?`, `$1` or `$name`. `dialect` "databricks" reads the whole text as Databricks SQL; text with
        backticks is read so in any case. Raises StatementError or FunctionError before any call, RequestFailed where
        a row failed under failOnError => true, BudgetExceeded where aiq_max_cost_usd does not suffice,
        StatementCancelled when stopped, and DuckDB's own errors.
        """
        self.gateway.refresh()
        if (changed := set_statement(text)) is not None:
            self.settings = self.settings.with_values(changed)
            return None
        if (asked := question(text)) is not None:
            if asked.analyze:
                return self.con.from_arrow(analyze(self, asked.text, params, dialect or self._dialect))
            return self.explain(asked.text, params, dialect=dialect)
        if (table := shown(text, self.settings)) is not None:
            return self.con.from_arrow(table)
        check_budget(self, text, params, dialect or self._dialect)
        return self._run_statement(text, params, dialect or self._dialect, self._statement_for(text))

    def explain(self, text: str, params: Parameters = None, *, dialect: str | None = None) -> duckdb.DuckDBPyRelation:
        """What a statement would ask, and what that takes: one row a call, in the order they are asked, and a total.

        Columns: aiq/engines/explain.py; tokens, US dollars, seconds. Makes no call and changes nothing. Raises what
        `sql` raises before any call.
        """
        asked = question(text) or Question(text, False)
        return self.con.from_arrow(explain(self, asked.text, params, dialect or self._dialect).table())

    def stream(
        self, text: str, params: Parameters = None, *, dialect: str | None = None, batch_rows: int = 1024
    ) -> Iterator[pa.RecordBatch]:
        """The rows of a query as Arrow batches of at most `batch_rows` rows, in order, as their answers come.

        Where an answer decides on more than its own row (WHERE, ORDER BY, aggregates), the statement is finished
        first. Between batches the connection may be used; whoever stops reading stops the statement. Raises as `sql`.
        """
        self.gateway.refresh()
        statement = self._statement_for(text)
        well = False
        with engine.numbered_sites() as number:
            try:
                prepared = self._preparation.prepare(
                    without_hints(text), params, dialect or self._dialect, statement, number
                )
                plan = prepared.plan
                split = windows(plan.query) if isinstance(plan, Lifted) and len(plan.stages) == 1 else None
                if split is None or not isinstance(plan, Lifted) or plan.text != plan.query or prepared.by_name:
                    relation = self.sql(text, params, dialect=dialect)
                    if relation is not None:
                        yield from pa.RecordBatchReader.from_stream(relation)
                else:
                    check_budget(self, text, params, dialect or self._dialect)
                    self.gateway.ledger.sync_entities(self.gateway.config.endpoints.values(), self.caller.user)
                    with running(self.con, statement):
                        yield from stream_windows(self, prepared, split, statement, batch_rows)
                well = True
            except (duckdb.Error, RuntimeError) as error:
                raise self._explained(error, statement) from None
            finally:
                statement.end(well=well)
                self._preparation.commit()

    def _run_statement(
        self,
        text: str,
        params: Parameters,
        dialect: str,
        statement: Statement,
        numbering: Callable[[Numbering], Numbering] = lambda number: number,
    ) -> duckdb.DuckDBPyRelation | None:
        with engine.numbered_sites() as number:
            prepared = self._preparation.prepare(without_hints(text), params, dialect, statement, numbering(number))
            if prepared.plan is None:
                return self._pass_through(prepared)
            self.gateway.ledger.sync_entities(self.gateway.config.endpoints.values(), self.caller.user)
            well = False
            try:
                with (
                    shown_progress(self, statement, prepared),
                    stopped_by_ctrl_c(statement),
                    running(self.con, statement),
                    self._plain.within(statement),
                ):
                    lifted = isinstance(prepared.plan, Lifted)
                    result = self._run_lifted(prepared, statement) if lifted else self._run(prepared)
                well = True
                return result
            except (duckdb.Error, RuntimeError) as error:
                raise self._explained(error, statement) from None
            finally:
                statement.end(well=well)
                self._preparation.commit()

    def limit_usd(self, text: str) -> float | None:
        """US dollars that a statement may cost, by its hints or the session's settings; None for any."""
        return self.settings.with_values(hints(text)).max_cost_usd

    def _statement_for(self, text: str) -> Statement:
        return self._statement(self.settings.with_values(hints(text)))

    def _statement(self, settings: StatementSettings) -> Statement:
        """A statement with what it may reuse and spend."""
        endpoints = self.gateway.config.settings.endpoints

        def reuse(endpoint: str) -> Reuse:
            if not self.gateway.endpoint(endpoint).may_query(self.caller):
                return Reuse("off")
            own = endpoints.get(endpoint)
            says = own.reuse if own else None
            if says is not None and says.mode == "off":
                return says
            return settings.reuse or says or Reuse("statement")

        store = self.gateway.answers
        kept = None if store is None else KeptAnswers(store, self.caller, reuse, self._answers)
        budget = None if settings.max_cost_usd is None else Budget(settings.max_cost_usd)
        return Statement(self.gateway, self.caller, kept=kept, budget=budget)

    def close(self) -> None:
        """Commits the ledger and closes the connection, if this session opened it."""
        self._preparation.commit()
        if self._owns:
            self.con.close()

    def interrupt(self) -> None:
        """Stops the statement that another thread is running on this session."""
        self.con.interrupt()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<aiq session of {self.caller.user}, {len(self.gateway.config.endpoints)} endpoints>"

    def _pass_through(self, prepared: Prepared) -> duckdb.DuckDBPyRelation | None:
        values = used(self.con, prepared.text, prepared.values)
        relation: duckdb.DuckDBPyRelation | None = call_seeing(
            prepared.variables, self.con.sql, prepared.text, params=values
        )
        return relation

    def _run(self, prepared: Prepared) -> duckdb.DuckDBPyRelation | None:
        """Runs a statement once. Its calls wait for their answers wherever they do not have them yet."""
        sql = prepared.text
        parsed = self.con.extract_statements(sql)
        self._drop_unused()
        if len(parsed) == 1 and parsed[0].type.name == "SELECT":
            name = self.new_table()
            self._fill(name, sql, prepared)
            return self._result(name)
        rows = engine.fetched(prepared.execute(self.con, sql))
        answers = parsed[0].type.name in _ANSWERING or _RETURNING.search(sql) is not None
        return self.con.from_arrow(rows) if answers else None

    def _run_lifted(self, prepared: Prepared, statement: Statement) -> duckdb.DuckDBPyRelation | None:
        """Runs the query of a statement in passes, and then, where it is not itself the statement, the statement."""
        plan = prepared.plan
        assert isinstance(plan, Lifted)
        statement.progress.by_request = True
        self._drop_unused()
        name = self.new_table()

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

        def filled(query: str) -> int:
            self._fill(name, query, prepared)
            return int(self.con.execute(f"SELECT count(*) FROM temp.{name}").fetchall()[0][0])

        looking_up = self._plain.looking_up(self.con) if prepared.by_name else nullcontext()
        with looking_up, engine.Transaction(self.con) as transaction:
            if plan.writes:
                return self._run_writing(prepared, statement, transaction)
            if plan.made is not None and self._is_there(plan.made):
                return self._run(prepared)  # nothing is evaluated: DuckDB refuses it, or leaves the table as it is
            quick = over_distinct(plan.unchanged) if transaction.own and not prepared.by_name else None
            complete = Passes(
                statement,
                plan,
                lambda: guarded(lambda: filled(plan.query)),
                (duckdb.Error,),
                None if quick is None else lambda: guarded(lambda: filled(quick)),
            ).run()
            if plan.text == plan.query:
                if not complete:
                    self._fill(name, plan.query, prepared)
                return self._result(name)
            if complete and plan.into is not None:
                self._rename_columns(name)
                prepared.execute(self.con, f"{plan.into} FROM temp.{name}").fetchall()
            self.con.execute(f"DROP TABLE IF EXISTS temp.{name}").fetchall()
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
                rows.append(engine.fetched(prepared.execute(self.con, plan.query)))
            except duckdb.Error:
                transaction.restart()
                raise
            if statement.incomplete:
                transaction.restart()  # or others could not change these rows while the answers come
            return len(rows[0])

        other_time = any(map(tells_the_time, engine.definitions_used(self.con, plan.query)))  # after each rollback
        if other_time or not Passes(statement, plan, evaluate, (duckdb.Error,)).run():
            evaluate()
        if not _RETURNING.search(plan.query):
            return None
        return self.con.from_arrow(rows[0].rename_columns(list(map(_own_name, rows[0].column_names))))

    def _is_there(self, table: tuple[str, ...]) -> bool:
        """Whether there is a table of this name; a look that never ends a transaction."""
        *within, name = table
        place = "AND (database_name IN (current_database(), 'temp') OR $2 <> [])"
        found = self.con.execute(
            "FROM duckdb_tables() WHERE lower(table_name) = $1 "
            f"AND list_has_all([lower(database_name), lower(schema_name)], $2::VARCHAR[]) {place}",
            {"1": name.lower(), "2": [each.lower() for each in within]},
        )
        return found.fetchone() is not None

    def new_table(self) -> str:
        """A name for a temporary table that nobody has used."""
        return f"aiq_result_{next(_numbers)}"

    def _fill(self, table: str, query: str, prepared: Prepared) -> None:
        text = query.strip().rstrip(";")
        prepared.execute(self.con, f"CREATE OR REPLACE TEMP TABLE {table} AS {text}").fetchall()

    def _result(self, table: str) -> duckdb.DuckDBPyRelation:
        self._rename_columns(table)
        result = self.con.table(f"temp.{table}")
        self._results.append((table, weakref.ref(result)))
        return result

    def _rename_columns(self, table: str) -> None:
        """Columns that DuckDB named after our functions get the name they would have without us."""
        for column in self.con.table(f"temp.{table}").columns:
            if "__aiq_" in column or "$aiq_" in column:
                renamed = f"RENAME COLUMN {quoted(column)} TO {quoted(_own_name(column))}"
                self.con.execute(f"ALTER TABLE temp.{table} {renamed}").fetchall()

    def _drop_unused(self) -> None:
        """Drops the rows of results that nobody holds, but of the last few, which something may be built on.

        A table is dropped before a statement, never in the middle of one that is running.
        """
        with suppress(duckdb.TransactionException):  # an aborted transaction takes no statement; the next one will
            for _ in range(len(self._results) - KEPT_RESULTS):
                name, relation = self._results.popleft()
                if relation() is not None:
                    self._results.append((name, relation))
                    continue
                self.con.execute(f"DROP TABLE IF EXISTS temp.{name}").fetchall()

    def _explained(self, error: Exception, statement: Statement) -> BaseException:
        """Our own error, where DuckDB only passes on its words."""
        if statement.error is not None:
            return statement.error
        if isinstance(error, duckdb.InterruptException) or statement.stopped:
            return StatementCancelled("the statement was interrupted; answers already paid for are in the ledger")
        return error


def _own_name(column: str) -> str:
    return _OUR_FUNCTION.sub(engine.written_as, column).replace("$aiq_", "$")


def connect(
    target: str | os.PathLike[str] | duckdb.DuckDBPyConnection | None = None,
    *,
    conf: str | os.PathLike[str] | None = None,
    home: str | os.PathLike[str] | None = None,
    user: str | None = None,
    groups: Sequence[str] | None = None,
    usage_context: Mapping[str, str] | None = None,
    dialect: str = "duckdb",
) -> Session:
    """A session on a DuckDB file, a DuckDB connection, or (None) a database in memory.

    `conf` and `home` default to `$AIQ_CONF`, `$AIQ_HOME`, then ./conf, ./.aiq. `user` and `groups` are the identity
    that limits, permissions and the ledger see; without them those of conf/aiq.yml, `$AIQ_USER`, or the login name.
    Raises ConfigError, LedgerError and DuckDB's own errors.
    """
    gateway = open_gateway(conf, home)
    own = not isinstance(target, duckdb.DuckDBPyConnection)
    con = duckdb.connect(os.fspath(target) if target is not None else ":memory:") if own else target  # type: ignore[arg-type]
    assert isinstance(con, duckdb.DuckDBPyConnection)
    return Session(con, gateway, _caller(gateway, user, groups, usage_context), owns_connection=own, dialect=dialect)


def register(
    con: duckdb.DuckDBPyConnection,
    *,
    conf: str | os.PathLike[str] | None = None,
    home: str | os.PathLike[str] | None = None,
    user: str | None = None,
    groups: Sequence[str] | None = None,
    usage_context: Mapping[str, str] | None = None,
) -> None:
    """Makes `ai_query` callable on a connection that somebody keeps for himself. Results are STRING.

    What a plain function cannot do (types that depend on arguments) raises an error that names `session.sql`.
    """
    gateway = open_gateway(conf, home)
    caller = _caller(gateway, user, groups, usage_context)
    gateway.ledger.sync_entities(gateway.config.endpoints.values(), caller.user)
    register_plain(con, gateway, caller)


def _caller(
    gateway: Gateway, user: str | None, groups: Sequence[str] | None, usage_context: Mapping[str, str] | None
) -> Caller:
    settings = gateway.config.settings
    return Caller(
        user or settings.user or os.environ.get("AIQ_USER") or getpass.getuser(),
        tuple(groups) if groups is not None else settings.groups,
        usage_context,
    )
