"""Spark as an engine: what a session keeps on one SparkSession, and how its statements are read, run and counted."""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql.conversion import LocalDataToArrowConversion

from aiq.batch.observer import Observer
from aiq.engines.spark.answers import SessionFiles
from aiq.engines.spark.catalyst import Catalyst
from aiq.engines.spark.commands import check_command
from aiq.engines.spark.definitions import SparkDefinitions
from aiq.engines.spark.failures import explained, words_found
from aiq.engines.spark.json_fields import register_json_fields, with_json_fields
from aiq.engines.spark.lifted import LiftedPlan
from aiq.engines.spark.merging import change_of
from aiq.engines.spark.prepare import DIALECT, NumberedText, is_empty, prepare
from aiq.engines.spark.progress import shown_workers
from aiq.engines.spark.reading import SparkReading
from aiq.engines.spark.register import classic_context, register
from aiq.engines.spark.statement import finish, finish_held, settle
from aiq.engines.spark.tables import with_ledger_tables
from aiq.errors import LedgerError, StatementError, plain_in_notebooks
from aiq.gateway import Gateway
from aiq.gateway.statements import Totals
from aiq.request import Caller
from aiq.sql.compound import is_script
from aiq.sql.literals import Parameters, with_values
from aiq.statements.engine import RequestCounts, Stream, Written
from aiq.statements.history import totals_of
from aiq.statements.settings import StatementSettings, as_tagged, without_hints

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_LASTING_VIEW = "CreateView"
_VIEWS = ("CreateViewCommand", _LASTING_VIEW, "CacheTableAsSelect")


class Spark:
    """One SparkSession, as the user `caller` has it."""

    name, dialect = "spark", DIALECT

    def __init__(
        self, spark: SparkSession, gateway: Gateway, caller: Caller, variables: Mapping[str, Any] | None = None
    ) -> None:
        if classic_context(spark) is None:
            raise StatementError(
                "session.sql needs a classic SparkSession, because Spark Connect shows nobody its plans; there use "
                "aiq.register(spark) and plain spark.sql"
            )
        self.spark, self.gateway, self.caller = spark, gateway, caller
        self._reading = SparkReading(spark, variables)
        self.files = SessionFiles(gateway.ledger.home)
        register(spark, gateway, caller)
        register_json_fields(spark)
        self.definitions = SparkDefinitions(spark, gateway.ledger.home, caller.user, self._look, self._views_of_files)

    def lifted(
        self, prepared: NumberedText, statement: str = "", settings: StatementSettings | None = None
    ) -> LiftedPlan:
        """A statement with its calls lifted; without an id it is only looked at, or counted."""
        caller = self.caller if settings is None else as_tagged(self.caller, settings)
        return LiftedPlan(self.spark, self.gateway, caller, self.files, prepared, statement, settings)

    def read(self, text: str, params: Parameters, dialect: str, variables: Mapping[str, Any] | None) -> Written:
        if dialect != DIALECT:
            raise StatementError(
                f"on Spark a statement is Databricks SQL, not '{dialect}'; leave dialect out, or run it on DuckDB"
            )
        made = self._reading.read(text, params, self.gateway.config.settings, variables)
        return Written(made.text, made.params, DIALECT)

    def assigned(self, written: Written, run: Any) -> Written:
        """Session variables are Spark's own."""
        return written

    def prepare(self, written: Written, settings: StatementSettings, observer: Observer | None = None) -> SparkRun:
        """A statement that asks nothing has run by then, if it is a command. Spark's workers tell no observer."""
        catalyst, text = Catalyst(self.spark), without_hints(written.text)
        if is_script(text):
            return SparkRun(self, None, self._script(text, written.params, settings), "", settings)
        if is_empty(text):
            return SparkRun(self, None, self.result_of(None), "", settings)
        spelled = self._spelled_out(text, written.params)
        text = with_json_fields(catalyst, spelled)
        kind = catalyst.kind(catalyst.parsed(text))
        if kind in _VIEWS:  # it keeps its text; its calls are made when it is read
            text = spelled if kind == _LASTING_VIEW else text
            with self.in_users_words(text):
                return SparkRun(self, None, self.spark.sql(text), "", settings)
        prepared = prepare(text, self.spark, self.gateway)
        if prepared.sites:
            check_command(catalyst, catalyst.parsed(prepared.text), text)
        frame = None
        if not prepared.sites and not _change_asks(catalyst, prepared.text):
            frame = self.spark.sql(prepared.text)
            if not catalyst.has_python(catalyst.optimized(frame)):
                return SparkRun(self, None, frame, "", settings)  # also of a command, which has run by now
        return SparkRun(self, prepared, frame, str(uuid.uuid4()), settings)

    def prepare_stream(self, written: Written, settings: StatementSettings) -> Stream | None:
        """Spark has no rows before all answers of a partition are there."""
        return None

    def count(self, written: Written, settings: StatementSettings, *, gently: bool = False) -> RequestCounts | None:
        """By Spark's workers. What is read on the way, Spark can read again."""
        text = without_hints(written.text)
        if is_empty(text):
            raise StatementError("EXPLAIN AI explains a statement: EXPLAIN AI SELECT ...")
        text = with_json_fields(Catalyst(self.spark), self._spelled_out(text, written.params))
        prepared = prepare(text, self.spark, self.gateway)
        try:
            counts = self.lifted(prepared).counts()
        except PySparkException as error:
            raise explained(error, prepared.sites) from None
        return RequestCounts(counts, [None] * len(counts))

    def batches(self, result: DataFrame, batch_rows: int) -> Iterator[pa.RecordBatch]:
        """Partition by partition."""
        schema = result.schema
        rows = result.toLocalIterator()
        while taken := list(islice(rows, batch_rows)):
            yield from LocalDataToArrowConversion.convert(taken, schema, False).combine_chunks().to_batches()

    def result_of(self, table: pa.Table | None) -> DataFrame:
        if table is None:
            return self.spark.sql("SELECT 1 AS nothing WHERE false")
        return self.spark.createDataFrame(table)

    def exhaust(self, result: DataFrame) -> None:
        result.write.format("noop").mode("overwrite").save()

    @contextmanager
    def in_users_words(self, text: str) -> Iterator[None]:
        try:
            with words_found():
                yield
        except PySparkException as error:
            raise plain_in_notebooks(explained(error, {})) from None

    def took(self, statement_id: str) -> Totals | None:
        """From the ledger's tables, to which the workers' rows are brought for that."""
        ledger = self.gateway.ledger
        try:
            ledger.take_over()
            return totals_of(ledger.tables, statement_id, self.gateway.statements.started(statement_id))
        except LedgerError as failure:
            warnings.warn(f"{failure} (what the statement took is not in system.aiq.statements)", stacklevel=5)
            return Totals()
        except KeyError:  # it ended before it began to ask
            return None

    def finish_earlier(self) -> None:
        finish_held(self)

    def interrupt(self) -> None:
        """Stops all that runs on this SparkSession."""
        self.spark.sparkContext.cancelAllJobs()

    def close(self) -> None:
        """Deletes the session's files: frames that it gave cannot be read any more. The SparkSession stays open."""
        self.files.close()

    def _spelled_out(self, text: str, params: Parameters) -> str:
        text = with_values(with_ledger_tables(self.spark, self.gateway, text), params, DIALECT)
        return self.definitions.expanded(text, DIALECT)

    def _views_of_files(self, text: str) -> str:
        return self._reading.with_files(text, self.gateway.config.settings)

    def _script(self, text: str, params: Parameters, settings: StatementSettings) -> DataFrame:
        """Runs BEGIN .. END as Spark does, statement by statement, with calls that wait as in plain `spark.sql`."""
        limited = {"aiq_max_cost_usd": settings.max_cost_usd, "aiq_usage_context": settings.usage_context}
        if name := next((name for name, value in limited.items() if value is not None), None):
            raise StatementError(
                f"{name} holds for one statement, not for BEGIN .. END; run the statements of the script one by one, "
                f"or RESET {name}"
            )
        text = with_values(with_ledger_tables(self.spark, self.gateway, text), params, DIALECT)
        return self.spark.sql(with_json_fields(Catalyst(self.spark), text))

    def _look(self, text: str) -> None:
        """Has Spark look at a query without running it. Raises Spark's errors, FunctionError and StatementError."""
        prepared = prepare(with_json_fields(Catalyst(self.spark), text), self.spark, self.gateway)
        try:
            self.lifted(prepared).look()
        except PySparkException as error:
            raise explained(error, prepared.sites) from None


class SparkRun:
    """A statement that has been read, or, where it asks nothing, its frame."""

    def __init__(
        self,
        of: Spark,
        prepared: NumberedText | None,
        frame: DataFrame | None,
        number: str,
        settings: StatementSettings,
    ) -> None:
        """`prepared` is None where `frame` is all there is to it."""
        self._engine, self._prepared, self._frame, self._settings = of, prepared, frame, settings
        self._lifted: LiftedPlan | None = None
        self.id, self.asks = number, prepared is not None

    @property
    def has_asked(self) -> bool:
        return True

    def result(self) -> DataFrame:
        if self._prepared is None:
            assert self._frame is not None
            return self._frame
        try:
            self._lifted = self._engine.lifted(self._prepared, self.id, self._settings)
            endpoints = {made.site.endpoint.name for made in self._prepared.sites.values()}
            with shown_workers(self._engine.gateway, self._lifted.origin, self.id, endpoints, self._settings.quiet):
                return self._lifted.answered(self._frame)
        except PySparkException as error:
            raise explained(error, self._prepared.sites) from None

    def end(self, *, well: bool) -> None:
        if self._lifted is None:
            return
        gateway, origin = self._engine.gateway, self._lifted.origin
        if well:
            settle(gateway, origin, self.id, self._engine)
        else:
            finish(gateway, origin, self.id, well=False)


def _change_asks(catalyst: Catalyst, text: str) -> bool:
    """Whether a statement without calls of its own changes rows by those of a view, or by another Python function."""
    try:
        change = change_of(catalyst, catalyst.parsed(text))
    except (PySparkException, StatementError):  # Spark has its own words for it, or takes it as it is
        return False
    return change is not None and change.asks
