"""A session: one connection, one identity, one configuration; runs statements whole.

`Session.sql` rewrites the AI calls of one statement, runs it at once, and returns a relation over finished rows.
"""

from __future__ import annotations

import atexit
import getpass
import os
import sys
import warnings
import weakref
from collections.abc import Generator, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeGuard, overload

import duckdb
import pyarrow as pa

from aiq.batch.budget import Budget
from aiq.batch.kept import KeptAnswers, reuse_of
from aiq.batch.statement import Statement
from aiq.batch.texts import SessionTexts
from aiq.config.endpoint import Settings
from aiq.engines.duckdb import connection as engine
from aiq.engines.duckdb.definitions import KeptDefinitions
from aiq.engines.duckdb.expected import expected_rows
from aiq.engines.duckdb.explain import analyze, check_budget, explain
from aiq.engines.duckdb.frames import call_seeing
from aiq.engines.duckdb.has_rows import has_rows
from aiq.engines.duckdb.interrupt import running, stopped_by_ctrl_c, wrap_interrupt
from aiq.engines.duckdb.plain import register_plain
from aiq.engines.duckdb.prepare import Parameters, Preparation, Prepared, Read, used
from aiq.engines.duckdb.reading import Reading
from aiq.engines.duckdb.recall import Recall
from aiq.engines.duckdb.results import Results
from aiq.engines.duckdb.rewrite.lift import Lifted
from aiq.engines.duckdb.run import Runner
from aiq.engines.duckdb.stream import finished_batches, stream_windows
from aiq.engines.duckdb.words import error_of_statement
from aiq.errors import LedgerError, StatementCancelled, StatementError
from aiq.functions.call_site import CallSite
from aiq.gateway import Gateway
from aiq.request import Caller
from aiq.runtime import open_gateway
from aiq.sql.script import split
from aiq.statements.explain import Question, question
from aiq.statements.progress import shown_progress
from aiq.statements.settings import StatementSettings, hints, set_statement, shown, without_hints

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from aiq.engines.spark.session import Session as OnSpark


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
        variables: Mapping[str, Any] | None = None,
    ) -> None:
        self.con, self.gateway, self.caller = con, gateway, caller
        self._owns, self._dialect = owns_connection, dialect
        self._reading = Reading(con, variables)
        self._results = Results(con)
        self._plain = register_plain(con, gateway, caller)
        self._runner = Runner(con, self._plain, self._results)
        self._definitions = KeptDefinitions(self)
        self._preparation = Preparation(con, gateway, self._definitions.expanded)
        self._recall = Recall(con, self._preparation, self._results)
        self._answers: dict[bytes, Any] = {}
        self._texts = SessionTexts()
        self.settings = StatementSettings()
        self._handing_over = 0
        """Streams of finished statements whose rows are not all with the caller."""

    def sql(
        self,
        text: str,
        params: Parameters = None,
        *,
        dialect: str | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> duckdb.DuckDBPyRelation | None:
        """Runs one statement at once and returns a relation over its finished rows, or None where it has none.

        `params` fill `?`, `$1` or `$name`. `dialect` "databricks" reads the whole text as Databricks SQL; text with
        backticks is read so in any case. `variables` are the values of `${name}`, `{{ name }}` and, in Databricks SQL,
        `:name`. Raises StatementError or FunctionError before any call, RequestFailed where
        a row failed under failOnError => true, BudgetExceeded where aiq_max_cost_usd does not suffice,
        StatementCancelled when stopped, and DuckDB's own errors.
        """
        self.gateway.refresh()
        read = self._reading.read(text, params, dialect or self._dialect, self._configured, variables)
        try:
            return self._sql(*read)
        except duckdb.Error as error:
            raise error_of_statement(error, text) from None

    def _sql(self, said: str, params: Parameters, dialect: str) -> duckdb.DuckDBPyRelation | None:
        """Runs a statement that has been read."""
        text = self._reading.assigned(said, dialect, lambda query: self._sql(query, None, "databricks"))
        if text is None:
            return None
        if (changed := set_statement(text)) is not None:
            self.settings = self.settings.with_values(changed)
            return None
        if (asked := question(text)) is not None:
            if asked.analyze:
                return self.con.from_arrow(analyze(self, asked.text, params, dialect))
            return self.con.from_arrow(explain(self, asked.text, params, dialect).table())
        if (table := shown(text, self.settings)) is not None:
            return self.con.from_arrow(table)
        if (done := self._definitions.carry_out(text, params, dialect)) is not None:
            result: duckdb.DuckDBPyRelation | None = done.result
            return result
        check_budget(self, text, params, dialect)
        return self._run_statement(text, params, dialect, self._statement_for(text))

    @property
    def _configured(self) -> Settings:
        return self.gateway.config.settings

    def explain(self, text: str, params: Parameters = None, *, dialect: str | None = None) -> duckdb.DuckDBPyRelation:
        """What a statement would ask, and what that takes: one row a call, in the order they are asked, and a total.

        Columns: explain.py beside this; tokens, US dollars, seconds. Makes no call and changes nothing. Raises what
        `sql` raises before any call.
        """
        self.gateway.refresh()
        text, params, dialect = self._reading.read(text, params, dialect or self._dialect, self._configured, None)
        asked = question(text) or Question(text, False)
        return self.con.from_arrow(explain(self, asked.text, params, dialect).table())

    def stream(
        self, text: str, params: Parameters = None, *, dialect: str | None = None, batch_rows: int = 1024
    ) -> Iterator[pa.RecordBatch]:
        """The rows of a query as Arrow batches of at most `batch_rows` rows, in order, as their answers come.

        Where an answer decides on more than its own row (WHERE, ORDER BY, aggregates), the statement is finished
        first. Between batches the connection may be used; whoever stops reading stops the statement. Raises as `sql`.
        """
        rows = self._stream(text, params, dialect, batch_rows)
        close = partial(_close_unfinished, weakref.ref(rows))
        atexit.register(close)  # after the ledger's own, so that it comes first: the statement ends, then the ledger
        weakref.finalize(rows, atexit.unregister, close).atexit = False
        return rows

    def _stream(
        self, text: str, params: Parameters, dialect: str | None, batch_rows: int
    ) -> Generator[pa.RecordBatch, None, None]:
        self.gateway.refresh()
        text, params, dialect = self._reading.read(text, params, dialect or self._dialect, self._configured, None)
        statement = self._statement_for(text)
        well = False
        with engine.numbered_sites() as number:
            try:
                prepared = self._preparation.prepare(
                    without_hints(text), params, dialect, statement, number, apart=True
                )
                plan = prepared.plan
                if not isinstance(plan, Lifted) or not plan.in_windows or prepared.by_name:
                    relation = self._sql(text, params, dialect)
                    self._handing_over += 1
                    try:
                        if relation is not None:
                            yield from finished_batches(relation, batch_rows)
                    finally:
                        self._handing_over -= 1
                else:
                    check_budget(self, text, params, dialect)
                    self._begin(statement, text)
                    with running(self.con, statement):
                        yield from stream_windows(self, prepared, plan, statement, batch_rows)
                well = True
            except (duckdb.Error, RuntimeError) as error:
                raise self._explained(error, statement) from None
            finally:
                self._end(statement, well=well, commit=True)

    def _run_statement(
        self,
        text: str,
        params: Parameters,
        dialect: str,
        statement: Statement,
    ) -> duckdb.DuckDBPyRelation | None:
        written, text = text, without_hints(text)
        read = self._recall.read(text, params, dialect) or self._preparation.read(text, params, dialect)
        if not read.asks:
            return self._pass_through(Prepared(read.text, read.values, read.variables))
        self._begin(statement, written)
        well = False
        try:
            with stopped_by_ctrl_c(statement), running(self.con, statement):
                key = (text, dialect) if statement.may_reuse and statement.observer is None else None
                found = self._recall.run(read, statement, key) if key is not None else None
                result = self._run_planned(read, statement, key) if found is None else found.relation
            well = True
            return result
        except (duckdb.Error, RuntimeError) as error:
            raise self._explained(error, statement) from None
        finally:
            self._end(statement, well=well, commit=statement.progress.asked > 0)

    def _begin(self, statement: Statement, text: str) -> None:
        """Lets go of earlier statements, and notes that this one starts."""
        self._finish_earlier()
        self.gateway.ledger.sync_entities(self.gateway.config.endpoints.values(), self.caller.user)
        self.gateway.statements.begin(statement.id, text, self.caller, "duckdb")

    def _end(self, statement: Statement, *, well: bool, commit: bool) -> None:
        """Ends a statement, and with `commit` brings its rows to the ledger's tables.

        Called in a `finally`: of a statement that did not end well, the error is on its way. Its answers stay on the
        disk until its result has surely reached the caller: `_finish_earlier`.
        """
        try:
            statement.end(well=well)
            if not well:
                statement.wait_for_last()
            self.gateway.statements.end(statement.id, None if well else sys.exception())
            if commit:
                self._preparation.commit_soon()
        except BaseException:  # Ctrl-C: the caller gets no result
            statement.end(well=False)
            raise

    def _finish_earlier(self) -> None:
        """Lets go of the answers of earlier statements, whose results the caller has: when another one is to ask.

        Before that they may still be on their way to a table. What a transaction that is still open has written is not
        safe yet, nor are calls that are in no spool.
        """
        store = self.gateway.answers
        if store is None or not store.has_settled or self._handing_over:
            return
        try:
            if engine.Transaction(self.con).own:
                self.gateway.ledger.flush()
                store.finish_held(self.con)
        except LedgerError as error:
            warnings.warn(f"{error} (running the same again after this process has ended may use them)", stacklevel=4)
        except duckdb.Error:  # the connection is closed, or an error has ended its transaction
            pass

    def _run_planned(
        self,
        read: Read,
        statement: Statement,
        recalled: tuple[str, str] | None,
    ) -> duckdb.DuckDBPyRelation | None:
        """Runs a statement in the ordinary way; `recalled` names what was tried in vain to run without asking."""
        sites: dict[int, CallSite] = {}
        with engine.numbered_sites() as number:

            def noted(of: Statement, site: CallSite) -> int:
                own = number(of, site)
                sites[own] = site
                if of.observer is not None:
                    of.observer.numbered(site)
                return own

            prepared = self._preparation.plan(read, statement, noted)

            def expected() -> int | None:
                return None if isinstance(prepared.plan, Lifted) else expected_rows(self.con, prepared.text)

            with shown_progress(statement, expected), self._plain.within(statement):
                result = self._runner.run(prepared, statement, recalled=recalled is not None)
        if recalled is not None:
            self._recall.learn(recalled, prepared, sites)
        return result

    def limit_usd(self, text: str) -> float | None:
        """US dollars that a statement may cost, by its hints or the session's settings; None for any."""
        return self.settings.with_values(hints(text)).max_cost_usd

    def _statement_for(self, text: str) -> Statement:
        return self._statement(self.settings.with_values(hints(text)))

    def _statement(self, settings: StatementSettings) -> Statement:
        """A statement with what it may reuse and spend."""
        reuse = partial(reuse_of, self.gateway, self.caller, asked=settings.reuse)
        store = self.gateway.answers
        kept = (
            None
            if store is None
            else KeptAnswers(store, self.caller, reuse, self._answers, texts=self._texts, holder=self.con)
        )
        budget = None if settings.max_cost_usd is None else Budget(settings.max_cost_usd, first_alone=True)
        return Statement(self.gateway, self.caller, kept=kept, budget=budget)

    def close(self) -> None:
        """Commits the ledger and closes the connection, if this session opened it. In a forked process: nothing."""
        if self.gateway.is_inherited:
            return
        self._preparation.commit()
        self._finish_earlier()
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
        text = prepared.text
        if ";" in text:  # a relation over text with a semicolon takes no further step
            text = "".join(split(text))
        relation: duckdb.DuckDBPyRelation | None = call_seeing(prepared.variables, self.con.sql, text, params=values)
        if relation is None or not has_rows(self.con, text, relation.columns, relation):
            return None
        return relation

    def _explained(self, error: Exception, statement: Statement) -> BaseException:
        """Our own error, where DuckDB only passes on its words."""
        if statement.error is not None:
            return statement.error
        if isinstance(error, duckdb.InterruptException) or statement.stopped:
            return StatementCancelled("the statement was interrupted; answers already paid for are in the ledger")
        return error


def _close_unfinished(rows: weakref.ref[Generator[pa.RecordBatch, None, None]]) -> None:
    if (unfinished := rows()) is not None:
        unfinished.close()


def is_spark(target: object) -> TypeGuard[SparkSession]:
    """Whether a connection is a SparkSession, without importing Spark for those who do not use it."""
    return type(target).__name__ == "SparkSession" and type(target).__module__.startswith("pyspark.sql")


@overload
def connect(
    target: SparkSession,
    *,
    conf: str | os.PathLike[str] | None = None,
    home: str | os.PathLike[str] | None = None,
    user: str | None = None,
    groups: Sequence[str] | None = None,
    usage_context: Mapping[str, str] | None = None,
    variables: Mapping[str, Any] | None = None,
) -> OnSpark: ...


@overload
def connect(
    target: str | os.PathLike[str] | duckdb.DuckDBPyConnection | None = None,
    *,
    conf: str | os.PathLike[str] | None = None,
    home: str | os.PathLike[str] | None = None,
    user: str | None = None,
    groups: Sequence[str] | None = None,
    usage_context: Mapping[str, str] | None = None,
    dialect: str = "duckdb",
    variables: Mapping[str, Any] | None = None,
) -> Session: ...


def connect(
    target: str | os.PathLike[str] | duckdb.DuckDBPyConnection | SparkSession | None = None,
    *,
    conf: str | os.PathLike[str] | None = None,
    home: str | os.PathLike[str] | None = None,
    user: str | None = None,
    groups: Sequence[str] | None = None,
    usage_context: Mapping[str, str] | None = None,
    dialect: str = "duckdb",
    variables: Mapping[str, Any] | None = None,
) -> Session | OnSpark:
    """A session on a DuckDB file, a DuckDB connection, a SparkSession, or (None) a database in memory.

    `conf` and `home` default to `$AIQ_CONF`, `$AIQ_HOME`, then ./conf, ./.aiq. `user` and `groups` are the identity
    that limits, permissions and the ledger see; without them those of conf/aiq.yml, `$AIQ_USER`, or the login name.
    `variables` are the values of widgets in the session's texts: `${name}`, `{{ name }}`, `:name`.
    Raises ConfigError, LedgerError and DuckDB's own errors.
    """
    gateway = open_gateway(conf, home)
    if is_spark(target):
        from aiq.engines.spark.session import Session as OnSpark

        return OnSpark(target, gateway, _caller(gateway, user, groups, usage_context), variables)
    wrap_interrupt()
    own = not isinstance(target, duckdb.DuckDBPyConnection)
    con = duckdb.connect(os.fspath(target) if target is not None else ":memory:") if own else target  # type: ignore[arg-type]
    assert isinstance(con, duckdb.DuckDBPyConnection)
    caller = _caller(gateway, user, groups, usage_context)
    return Session(con, gateway, caller, owns_connection=own, dialect=dialect, variables=variables)


def register(
    con: duckdb.DuckDBPyConnection | SparkSession,
    *,
    conf: str | os.PathLike[str] | None = None,
    home: str | os.PathLike[str] | None = None,
    user: str | None = None,
    groups: Sequence[str] | None = None,
    usage_context: Mapping[str, str] | None = None,
) -> None:
    """Makes `ai_query` callable on a connection or SparkSession that somebody keeps for himself. Results are STRING.

    What a plain function cannot do (types that depend on arguments) raises an error that names `session.sql`. A classic
    SparkSession gives each call the type of its arguments.
    """
    gateway = open_gateway(conf, home)
    caller = _caller(gateway, user, groups, usage_context)
    if not isinstance(con, duckdb.DuckDBPyConnection):
        from aiq.engines.spark.register import register as register_on_spark

        register_on_spark(con, gateway, caller)
        return
    wrap_interrupt()
    gateway.ledger.sync_entities(gateway.config.endpoints.values(), caller.user)
    register_plain(con, gateway, caller)


def _caller(
    gateway: Gateway, user: str | None, groups: Sequence[str] | None, usage_context: Mapping[str, str] | None
) -> Caller:
    settings = gateway.config.settings
    name = user or settings.user or os.environ.get("AIQ_USER") or getpass.getuser()
    if not name.isprintable():
        raise StatementError(f"the user name {name!a} holds an invalid character; give one that can be printed")
    return Caller(
        name,
        tuple(groups) if groups is not None else settings.groups,
        usage_context,
    )
