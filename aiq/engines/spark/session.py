"""A session on Spark: one SparkSession, one identity, one configuration; has the calls of a statement answered first.

`Session.sql` gives a data frame over finished answers: however often Spark evaluates it, nothing is asked again.
"""

from __future__ import annotations

import sys
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql.pandas.types import to_arrow_schema

from aiq.engines.spark.answers import Files, Workers
from aiq.engines.spark.blocks import Blocks
from aiq.engines.spark.calls import Sites, register_calls
from aiq.engines.spark.catalyst import Catalyst
from aiq.engines.spark.changing import Answered
from aiq.engines.spark.commands import check_command, creates_what_is_there, query_of
from aiq.engines.spark.counting import Counting
from aiq.engines.spark.definitions import KeptDefinitions
from aiq.engines.spark.failures import explained as in_own_words
from aiq.engines.spark.job import Origin
from aiq.engines.spark.lifting import Lifting
from aiq.engines.spark.merging import change_of
from aiq.engines.spark.prepare import DIALECT, PREFIX, Prepared, is_empty, prepare
from aiq.engines.spark.reading import Reading, share_variables
from aiq.engines.spark.register import classic_context, origin_of, register
from aiq.engines.spark.statement import finish, finish_held, settle
from aiq.engines.spark.tables import with_ledger_tables
from aiq.errors import LedgerError, StatementError
from aiq.functions.signature import FUNCTION
from aiq.gateway import Gateway
from aiq.gateway.statements import Totals
from aiq.ledger.prices import price_of
from aiq.request import Caller, Request
from aiq.sql.literals import Parameters, with_values
from aiq.statements.estimate import Counted
from aiq.statements.explain import Explanation, Question, explained, of_endpoints, question, side_by_side
from aiq.statements.history import NOTHING, taken_by, totals_of
from aiq.statements.settings import StatementSettings, hints, set_statement, shown, without_hints
from aiq.statements.sites import Compiled

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_TYPICAL_TOKENS = (200, 100)
_VIEWS = ("CreateViewCommand", "CreateView", "CacheTableAsSelect")
_OF_OWN_STATEMENT = {
    # What is found while a plan is taken apart must be all there is.
    "spark.sql.optimizer.dynamicPartitionPruning.enabled": "false",
    "spark.sql.optimizer.runtime.bloomFilter.enabled": "false",
    # Some tens of short requests make a task of their own: what they wait for is the provider, not the processor.
    "spark.sql.adaptive.coalescePartitions.minPartitionSize": "1k",
}


class Session:
    """Runs SQL with `ai_query` on a SparkSession. Not for use by several threads at once: open one for each."""

    def __init__(
        self, spark: SparkSession, gateway: Gateway, caller: Caller, variables: Mapping[str, Any] | None = None
    ) -> None:
        if classic_context(spark) is None:
            raise StatementError(
                "session.sql needs a classic SparkSession, because Spark Connect shows nobody its plans; there use "
                "aiq.register(spark) and plain spark.sql"
            )
        self.spark, self.gateway, self.caller = spark, gateway, caller
        self.settings = StatementSettings()
        self._reading = Reading(spark, variables)
        self._files = Files(gateway.ledger.home)
        self._handing_over = 0
        """Streams whose rows are not all with the caller."""
        register(spark, gateway, caller)
        self._definitions = KeptDefinitions(self)

    def sql(self, text: str, params: Parameters = None, *, variables: Mapping[str, Any] | None = None) -> DataFrame:
        """Runs one statement and returns a data frame over its finished answers, as `spark.sql` would.

        `params` fill `:name` or `?`, `variables` `${name}`, `{{ name }}` and `:name`. Raises StatementError or
        FunctionError before any call, RequestFailed where a row failed under failOnError => true, BudgetExceeded where
        aiq_max_cost_usd does not suffice, and Spark's own errors.
        """
        self.gateway.refresh()
        text, params = self._reading.read(text, params, self.gateway.config.settings, variables)
        if (changed := set_statement(text)) is not None:
            self.settings = self.settings.with_values(changed)
            return self._nothing()
        if (asked := question(text)) is not None:
            if asked.analyze:
                return self._analyze(asked.text, params)
            return self.spark.createDataFrame(self._explanation(asked.text, params).table())
        if (table := shown(text, self.settings)) is not None:
            return self.spark.createDataFrame(table)
        if (done := self._definitions.carry_out(text, params)) is not None:
            result: DataFrame = done.result
            return result
        return self._sql(text, params, str(uuid.uuid4()))

    def explain(self, text: str, params: Parameters = None) -> DataFrame:
        """What a statement would ask, and what that takes: one row a call, in the order they are asked, and a total.

        Columns: statements/explain.py. Counts with Spark's workers; makes no call and changes nothing.
        """
        self.gateway.refresh()
        text, params = self._reading.read(text, params, self.gateway.config.settings, None)
        asked = question(text) or Question(text, False)
        return self.spark.createDataFrame(self._explanation(asked.text, params).table())

    def stream(self, text: str, params: Parameters = None, *, batch_rows: int = 1024) -> Iterator[pa.RecordBatch]:
        """The rows of a query as Arrow batches of at most `batch_rows` rows, partition by partition.

        The statement is finished first: Spark has no rows before all answers of a partition are there.
        """
        frame = self.sql(text, params)
        schema = to_arrow_schema(frame.schema)
        rows: list[Any] = []
        self._handing_over += 1
        try:
            for row in frame.toLocalIterator():
                rows.append(row.asDict(recursive=True))
                if len(rows) == batch_rows:
                    yield pa.RecordBatch.from_pylist(rows, schema)
                    rows = []
            if rows:
                yield pa.RecordBatch.from_pylist(rows, schema)
        finally:
            self._handing_over -= 1

    def close(self) -> None:
        """Commits the ledger and deletes the session's files: frames that it gave cannot be read any more.

        The SparkSession stays open. In a forked process: nothing.
        """
        if self.gateway.is_inherited:
            return
        self._commit()
        self._finish_earlier()
        self._files.close()

    def interrupt(self) -> None:
        """Stops what another thread is running on this SparkSession."""
        self.spark.sparkContext.cancelAllJobs()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<aiq session of {self.caller.user} on Spark, {len(self.gateway.config.endpoints)} endpoints>"

    def _sql(self, text: str, params: Parameters, statement: str) -> DataFrame:
        settings, written = self.settings.with_values(hints(text)), text
        catalyst = Catalyst(self.spark)
        text = without_hints(text)
        if is_empty(text):
            return self._nothing()
        text = with_values(with_ledger_tables(self.spark, self.gateway, text), params, DIALECT)
        text = self._definitions.expanded(text)
        if catalyst.kind(catalyst.parsed(text)) in _VIEWS:  # it keeps its text; its calls are made when it is read
            try:
                return self.spark.sql(text)
            except PySparkException as error:
                raise in_own_words(error, {}) from None
        prepared = prepare(text, self.spark, self.gateway)
        if prepared.sites:
            check_command(catalyst, catalyst.parsed(prepared.text), text)
        frame = None
        if not prepared.sites and not _change_asks(catalyst, prepared.text):
            frame = self.spark.sql(prepared.text)
            if not catalyst.has_python(catalyst.optimized(frame)):
                return frame  # also of a command, which has run by now
        if settings.max_cost_usd is not None:
            self._explanation(text, None).check(settings.max_cost_usd)
        self.gateway.ledger.sync_entities(self.gateway.config.endpoints.values(), self.caller.user)
        self._finish_earlier()
        self.gateway.statements.begin(statement, written, self.caller, "spark")
        run, well = _Run(self, prepared, statement, settings), False
        try:
            result = run.answered(frame)
            well = True
            return result
        except PySparkException as error:
            raise in_own_words(error, prepared.sites) from None
        finally:
            self._end(run.origin, statement, well=well)

    def _end(self, origin: Origin, statement: str, *, well: bool) -> None:
        """Brings a statement's rows to the ledger's tables. Its answers stay until the caller surely has its result.

        Called in a `finally`: of a statement that did not end well, the error is on its way.
        """
        try:
            self._record_end(statement, None if well else sys.exception())
            self._commit()
            if well:
                settle(self.gateway, origin, statement, self)
        except BaseException:  # Ctrl-C: the caller gets no result
            well = False
            raise
        finally:
            if not well:
                finish(self.gateway, origin, statement, well=False)

    def _record_end(self, statement: str, error: BaseException | None) -> None:
        """Notes how a statement ended, and what its requests took, which only the workers know."""
        ledger, totals = self.gateway.ledger, Totals()
        try:
            ledger.take_over()
            totals = totals_of(ledger.tables, statement, self.gateway.statements.started(statement))
        except LedgerError as failure:
            warnings.warn(f"{failure} (what the statement took is not in system.aiq.statements)", stacklevel=4)
        finally:
            self.gateway.statements.end(statement, error, totals)

    def _finish_earlier(self) -> None:
        """Lets go of the answers of earlier statements, whose results the caller has: when another one is to ask."""
        if not self._handing_over:
            finish_held(self)

    def _explanation(self, text: str, params: Parameters) -> Explanation:
        if set_statement(text) is not None:
            raise StatementError("EXPLAIN AI explains a statement that asks; run SET and RESET alone")
        text = without_hints(text)
        if is_empty(text):
            raise StatementError("EXPLAIN AI explains a statement: EXPLAIN AI SELECT ...")
        text = with_values(with_ledger_tables(self.spark, self.gateway, text), params, DIALECT)
        text = self._definitions.expanded(text)
        prepared = prepare(text, self.spark, self.gateway)
        run = _Run(self, prepared, "", StatementSettings())
        try:
            counts = run.counts()
        except PySparkException as error:
            raise in_own_words(error, prepared.sites) from None
        return explained(counts, self.gateway, self.caller, [count.site for count in counts])

    def _analyze(self, text: str, params: Parameters) -> DataFrame:
        """Explains a statement, runs it, and puts what it took beside."""
        explanation, statement = self._explanation(text, params), str(uuid.uuid4())
        started = time.monotonic()
        self._sql(text, params, statement).write.format("noop").mode("overwrite").save()
        seconds = time.monotonic() - started
        ledger = taken_by(self.gateway.ledger.tables, statement)
        taken = [*of_endpoints(explanation, ledger), ledger.get(None, NOTHING)]
        return self.spark.createDataFrame(side_by_side(explanation, taken, seconds))

    def _check(self, text: str) -> None:
        """Has Spark look at a query without running it. Raises Spark's errors, FunctionError and StatementError."""
        prepared = prepare(text, self.spark, self.gateway)
        try:
            _Run(self, prepared, "", StatementSettings()).look()
        except PySparkException as error:
            raise in_own_words(error, prepared.sites) from None

    def _nothing(self) -> DataFrame:
        return self.spark.sql("SELECT 1 AS nothing WHERE false")

    def _commit(self) -> None:
        try:
            self.gateway.ledger.commit_soon()
        except LedgerError as error:
            warnings.warn(f"{error} (rows of the ledger wait in {self.gateway.ledger.home}/spool)", stacklevel=4)


class _Run:
    """One statement on its way."""

    def __init__(self, session: Session, prepared: Prepared, statement: str, settings: StatementSettings) -> None:
        self._session, self._prepared, self._statement = session, prepared, statement
        self._limit_usd = settings.max_cost_usd
        own = SparkSession(session.spark.sparkContext, session.spark._jsparkSession.cloneSession())
        for name, value in _OF_OWN_STATEMENT.items():
            own.conf.set(name, value)
        share_variables(session.spark, own)
        self._catalyst = Catalyst(own)
        self.origin = origin_of(session.spark, session.gateway, session.caller, reuse=settings.reuse)
        self._sites = Sites(prepared.sites, self._catalyst, session.gateway)
        self._answering = Workers(
            prepared.sites,
            lambda number: self._sites.job(number, statement, self.origin),
            session._files,
            self._typical_cost,
            self._left_usd,
        )
        register_calls(own, self._sites, statement, self.origin)

    def answered(self, frame: DataFrame | None) -> DataFrame:
        """The calls first, then the statement over their answers, in the session of whoever reads it."""
        catalyst, spark = self._catalyst, self._session.spark
        blocks = Blocks(catalyst, self._sites.of, Lifting(catalyst, self._answering).settle)

        def rows(query: DataFrame) -> DataFrame:
            return catalyst.frame(blocks.answered(catalyst.optimized(query)), spark).toDF(*query.columns)

        if frame is not None:
            return rows(frame)
        command = catalyst.parsed(self._prepared.text)
        if (change := change_of(catalyst, command)) is not None:
            return change.run(Answered(rows, self._answering.kept), spark)
        writing = query_of(catalyst, command)
        if writing is None:
            return self._named(rows(catalyst.spark.sql(self._prepared.text)))
        inner, position, query = writing
        if creates_what_is_there(catalyst, command):  # IF NOT EXISTS, or Spark's error, before any row is read
            return catalyst.frame(command)
        answered = catalyst.plan(rows(catalyst.frame(query)))
        return catalyst.frame(catalyst.with_fields(inner, {position: answered}), spark)

    def look(self) -> None:
        """Has Spark analyse the statement."""
        self._catalyst.spark.sql(self._prepared.text)

    def _named(self, frame: DataFrame) -> DataFrame:
        """A frame whose columns have the names that Spark gives them: `ai_query(chat, p)` where the text has none."""
        if not any(FUNCTION in name or PREFIX in name for name in frame.columns):
            return frame
        try:
            names = self._catalyst.columns_of(self._prepared.written)
        except PySparkException:  # a call that plain Spark does not take
            return frame
        return frame.toDF(*names) if len(names) == len(frame.columns) else frame

    def counts(self) -> list[Counted]:
        """What the calls would ask, without asking."""
        catalyst = self._catalyst
        counting = Counting(catalyst, self._answering, self._prepared.sites)
        command = catalyst.parsed(self._prepared.text)
        if self._prepared.sites:
            check_command(catalyst, command, self._prepared.written)
        if (change := change_of(catalyst, command)) is not None:
            queries = change.queries()
        elif (writing := query_of(catalyst, command)) is not None:
            if creates_what_is_there(catalyst, command):
                return []
            queries = [catalyst.frame(writing[2])]
        elif catalyst.is_command(command):
            return []
        else:
            queries = [catalyst.spark.sql(self._prepared.text)]
        for query in queries:
            Blocks(catalyst, self._sites.of, counting.settle).answered(catalyst.optimized(query))
        return counting.counts

    def _left_usd(self) -> float | None:
        """What the statement may still spend. Raises BudgetExceeded where a price is not known."""
        if self._limit_usd is None:
            return None
        gateway, caller = self._session.gateway, self._session.caller
        for made in self._prepared.sites.values():
            gateway.most_it_costs(Request(made.site.endpoint.name, made.site.task, {}, caller, self._statement))
        self._session._commit()
        spent = taken_by(gateway.ledger.tables, self._statement).get(None, NOTHING)
        return max(0.0, self._limit_usd - (spent.actual_cost_usd or 0.0))

    def _typical_cost(self, made: Compiled) -> float:
        """US dollars of a typical request: what orders AI conditions whose answers nobody has seen yet."""
        tag = price_of(made.site.endpoint.entities[0], self._session.gateway.config.settings.prices)
        return 0.0 if tag is None else _TYPICAL_TOKENS[0] * tag.per_input + _TYPICAL_TOKENS[1] * tag.per_output


def _change_asks(catalyst: Catalyst, text: str) -> bool:
    """Whether a statement without calls of its own changes rows by those of a view, or by another Python function."""
    try:
        change = change_of(catalyst, catalyst.parsed(text))
    except (PySparkException, StatementError):  # Spark has its own words for it, or takes it as it is
        return False
    return change is not None and change.asks
