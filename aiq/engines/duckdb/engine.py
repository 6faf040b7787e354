"""DuckDB as an engine: what a session keeps on one connection, and how its statements are read, run and counted."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import duckdb
import pyarrow as pa

from aiq.batch.budget import Budget
from aiq.batch.kept import KeptAnswers, reuse_of
from aiq.batch.observer import Observer
from aiq.batch.statement import Statement
from aiq.batch.texts import SessionTexts
from aiq.engines.duckdb import connection as engine
from aiq.engines.duckdb.count import counts_of
from aiq.engines.duckdb.definitions import DuckDBDefinitions
from aiq.engines.duckdb.frames import reads_pipe
from aiq.engines.duckdb.plain import register_plain
from aiq.engines.duckdb.prepare import Preparation
from aiq.engines.duckdb.reading import DuckDBReading
from aiq.engines.duckdb.recall import Recall
from aiq.engines.duckdb.results import Results
from aiq.engines.duckdb.run import Runner
from aiq.engines.duckdb.statement import DuckDBRun
from aiq.engines.duckdb.stream import DuckDBStream, finished_batches, opened
from aiq.engines.duckdb.words import error_of_statement
from aiq.errors import AiqError, LedgerError, StatementCancelled, plain_in_notebooks
from aiq.gateway import Gateway
from aiq.gateway.statements import Totals
from aiq.request import Caller
from aiq.sql.notebook.notebook import Parameters
from aiq.statements.engine import RequestCounts, Written
from aiq.statements.settings import StatementSettings, as_tagged, without_hints

Relation = duckdb.DuckDBPyRelation | None


class DuckDB:
    """One connection, as the user `caller` has it."""

    name = "duckdb"

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
        self.con, self.gateway, self.caller, self.dialect = con, gateway, caller, dialect
        self._owns = owns_connection
        self._reading = DuckDBReading(con, variables)
        self.results = Results(con)
        self.plain = register_plain(con, gateway, caller)
        self.runner = Runner(con, self.plain, self.results)
        self.definitions = DuckDBDefinitions(self)
        self.preparation = Preparation(con, gateway, self.definitions.expanded)
        self.recall = Recall(con, self.preparation, self.results)
        self._answers: dict[bytes, Any] = {}
        self._texts = SessionTexts()

    def statement(self, settings: StatementSettings | None = None) -> Statement:
        """A statement with what it may reuse and spend."""
        settings = settings or StatementSettings()
        reuse = partial(reuse_of, self.gateway, self.caller, asked=settings.reuse)
        store = self.gateway.answers
        kept = (
            None
            if store is None
            else KeptAnswers(store, self.caller, reuse, self._answers, texts=self._texts, holder=self.con)
        )
        budget = None if settings.max_cost_usd is None else Budget(settings.max_cost_usd, first_alone=True)
        caller = as_tagged(self.caller, settings)
        statement = Statement(self.gateway, caller, kept=kept, budget=budget)
        statement.quiet = settings.quiet
        return statement

    def read(self, text: str, params: Parameters, dialect: str, variables: Mapping[str, Any] | None) -> Written:
        return Written(*self._reading.read(text, params, dialect, self.gateway.config.settings, variables))

    def with_files(self, text: str) -> str:
        """A Databricks text that reads views where it reads files. Raises StatementError."""
        return self._reading.with_files(text, self.gateway.config.settings)

    def assigned(self, written: Written, run: Callable[[Written], Relation]) -> Written | None:
        text = self._reading.assigned(
            written.text, written.dialect, lambda query: run(Written(query, written.params, "databricks"))
        )
        return None if text is None else written._replace(text=text)

    def prepare(self, written: Written, settings: StatementSettings, observer: Observer | None = None) -> DuckDBRun:
        text, dialect = without_hints(written.text), written.dialect
        read = self.recall.read(text, written.params, dialect) or self.preparation.read(text, written.params, dialect)
        statement = self.statement(settings)
        statement.observer = observer
        return DuckDBRun(self, read, statement, (text, dialect))

    def prepare_stream(self, written: Written, settings: StatementSettings) -> DuckDBStream | None:
        return opened(self, written, self.statement(settings))

    def count(self, written: Written, settings: StatementSettings, *, gently: bool = False) -> RequestCounts | None:
        if gently and reads_pipe(written.text):
            return None
        try:
            return counts_of(self, written, self.statement(settings), gently=gently)
        except StatementCancelled:
            raise
        except (AiqError, duckdb.Error, RuntimeError):
            if gently and _is_usable(self.con):
                return None  # running it says what is wrong, or there is nothing wrong with it
            raise

    def batches(self, result: Relation, batch_rows: int) -> Iterator[pa.RecordBatch]:
        return iter(()) if result is None else finished_batches(result, batch_rows)

    def result_of(self, table: pa.Table | None) -> Relation:
        return None if table is None else self.con.from_arrow(table)

    def exhaust(self, result: Relation) -> None:
        if result is not None:
            self.results.drop(result)

    @contextmanager
    def in_users_words(self, text: str) -> Iterator[None]:
        try:
            yield
        except duckdb.Error as error:
            raise plain_in_notebooks(error_of_statement(error, text)) from None

    def took(self, statement_id: str) -> Totals | None:
        return None

    def finish_earlier(self) -> None:
        """Before that, rows may still be on their way to a table. What an open transaction has written is not safe
        yet, nor are calls that are in no spool.
        """
        store = self.gateway.answers
        if store is None or not store.has_settled:
            return
        try:
            if engine.Transaction(self.con).own:
                self.gateway.ledger.flush()
                store.finish_held(self.con)
        except LedgerError as error:
            warnings.warn(f"{error} (running the same again after this process has ended may use them)", stacklevel=5)
        except duckdb.Error:  # the connection is closed, or an error has ended its transaction
            pass

    def interrupt(self) -> None:
        self.con.interrupt()

    def close(self) -> None:
        if self._owns:
            self.con.close()


def _is_usable(con: duckdb.DuckDBPyConnection) -> bool:
    """False in a transaction that an error has ended."""
    try:
        con.execute("SELECT 1").fetchall()
    except duckdb.Error:
        return False
    return True
