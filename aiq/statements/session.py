"""A session: one engine, one identity, one configuration. Every statement takes the same way, whatever the engine.

SET and SHOW -> EXPLAIN AI -> functions and views -> read -> bind -> budget -> run -> end -> commit.
"""

from __future__ import annotations

import atexit
import sys
import time
import weakref
from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from typing import Any, Generic, Self

import pyarrow as pa

from aiq.batch.kept import reuse_of
from aiq.config.reuse import Reuse
from aiq.errors import StatementError
from aiq.gateway import Gateway
from aiq.gateway.statements import Ended
from aiq.request import Caller
from aiq.resources import plain_errors
from aiq.sql.notebook.notebook import Parameters
from aiq.sql.question import Question, question
from aiq.statements.actual import Actuals
from aiq.statements.commit import commit
from aiq.statements.engine import Engine, Result, Run, Stream, Written
from aiq.statements.explain import Explanation, explained, of_endpoints, side_by_side
from aiq.statements.history import NOTHING, usage_of
from aiq.statements.reader import show, speaks
from aiq.statements.receipt import Receipt, receipt_of
from aiq.statements.receipts import attach
from aiq.statements.settings import StatementSettings, as_tagged, first_setting, hints, set_statement, shown

KEPT = Reuse("durable", 10 * 365 * 86400.0)
"""How long the answers of a materialized view are kept, where nothing else is said."""


class Session(Generic[Result]):
    """Runs SQL with `ai_query` on an engine. Not for use by several threads at once: open one for each."""

    def __init__(self, engine: Engine[Result], gateway: Gateway, caller: Caller) -> None:
        self.gateway, self.caller = gateway, caller
        self.settings = StatementSettings()
        self.last: Receipt | None = None
        """What the last statement with AI calls took."""
        self.say: Callable[[str], object] = show
        """Says the receipt of a statement to who is there."""
        self._engine = engine
        self._handing_over = 0
        """Streams of finished statements whose rows are not all with the caller."""
        engine.definitions.runs_by(weakref.WeakMethod(self._run_of_definition))

    @plain_errors()
    def sql(
        self,
        text: str,
        params: Parameters = None,
        *,
        dialect: str | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> Result:
        """Runs one statement at once and returns its rows: a relation or None on DuckDB, a data frame on Spark.

        Settings of aiq may stand before it, as if they were run alone: `SET aiq_reuse = 'session'; SELECT ..`.

        `params` fill `?`, `$1`, `$name` or `:name`. `dialect` "databricks" reads the whole text as Databricks SQL; text
        with backticks, and any on Spark, is read so in any case. `variables` are the values of `${name}`, `{{ name }}`
        and, in Databricks SQL, `:name`. Raises StatementError or FunctionError before any call, RequestFailed where
        a row failed under failOnError => true, BudgetExceeded where aiq_max_cost_usd does not suffice,
        StatementCancelled when stopped, and the engine's own errors.
        """
        written = self._read(self._after_settings(text), params, dialect, variables)
        with self._engine.in_users_words(text):
            return self._carried_out(written)

    @plain_errors()
    def explain(self, text: str, params: Parameters = None, *, dialect: str | None = None) -> Result:
        """What a statement would ask, and what that takes: one row a call, in the order they are asked, and a total.

        Columns: explain.py; tokens, US dollars, seconds. Makes no call and changes nothing. Raises what `sql` raises
        before any call.
        """
        written = self._read(text, params, dialect, None)
        asked = question(written.text) or Question(written.text, False)
        with self._engine.in_users_words(text):
            return self._engine.result_of(self._explanation(written._replace(text=asked.text)).table())

    def stream(
        self, text: str, params: Parameters = None, *, dialect: str | None = None, batch_rows: int = 1024
    ) -> Iterator[pa.RecordBatch]:
        """The rows of a query as Arrow batches of at most `batch_rows` rows, in order, as their answers come.

        Where an answer decides on more than its own row (WHERE, ORDER BY, aggregates), and on Spark, the statement is
        finished first. Between batches the connection may be used; whoever stops reading stops the statement. Raises as
        `sql`.
        """
        if batch_rows < 1:
            raise StatementError(f"batch_rows is at least 1, not {batch_rows}")
        rows = self._stream(text, params, dialect, batch_rows)
        close = partial(_close_unfinished, weakref.ref(rows))
        atexit.register(close)  # after the ledger's own, so that it comes first: the statement ends, then the ledger
        weakref.finalize(rows, atexit.unregister, close).atexit = False
        return rows

    def close(self) -> None:
        """Commits the ledger and closes what the session opened. In a forked process: nothing."""
        if not self.gateway.is_inherited:
            commit(self.gateway.ledger)
            self._finish_earlier()
            self._engine.close()

    def interrupt(self) -> None:
        """Stops the statement that another thread is running on this session."""
        self._engine.interrupt()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<aiq session of {self.caller.user}, {len(self.gateway.config.endpoints)} endpoints>"

    def _read(self, text: str, params: Parameters, dialect: str | None, variables: Mapping[str, Any] | None) -> Written:
        self.gateway.refresh()
        return self._engine.read(text, params, dialect or self._engine.dialect, variables)

    def _after_settings(self, text: str) -> str:
        """Takes the settings of ours that a text begins with, and gives what follows them, in its place."""
        while (first := first_setting(text)) is not None:
            changed, text = first
            self.settings = self.settings.with_values(changed)
        return text

    def _carried_out(self, written: Written) -> Result:
        """The way of a statement that has been read."""
        engine = self._engine
        said = engine.assigned(written, self._carried_out)
        if said is None:
            return engine.result_of(None)
        if (changed := set_statement(said.text)) is not None:
            self.settings = self.settings.with_values(changed)
            return engine.result_of(None)
        if (asked := question(said.text)) is not None:
            said = said._replace(text=asked.text)
            return engine.result_of(self._analyzed(said) if asked.analyze else self._explanation(said).table())
        if (table := shown(said.text, self.settings)) is not None:
            return engine.result_of(table)
        if engine.definitions.may_be_meant(said.text):
            before = self.settings
            try:
                self.settings = self._settings_of(said)
                done = engine.definitions.carry_out(said.text, said.params, said.dialect)
            finally:
                self.settings = before
            if done is not None:
                return engine.result_of(done.table)
        return self._run(said)

    def _run(self, written: Written, observer: Actuals | None = None) -> Result:
        settings = self._settings_of(written)
        run = self._engine.prepare(written, settings, observer)
        if observer is not None:
            observer.statement_id = run.id
        if not run.asks:
            return run.result()
        if observer is None:  # else the explanation was checked
            self._check_budget(written, settings)
        self._begin(run.id, written.text, settings)
        well = False
        try:
            result = run.result()
            well = True
        finally:
            self._end(run, settings, well=well, recorded=run.has_asked)
        if result is not None and self.last is not None and self.last.statement_id == run.id:
            attach(result, self.last)
        return result

    def _run_of_definition(self, text: str, dialect: str, keep: bool) -> None:
        """Runs what a definition takes; with `keep` its answers serve later statements that ask for that."""
        settings = self.settings
        try:
            if keep and settings.reuse is None:
                self.settings = settings._replace(reuse=KEPT)
            self._run(Written(text, None, dialect))
        finally:
            self.settings = settings

    def _stream(
        self, text: str, params: Parameters, dialect: str | None, batch_rows: int
    ) -> Generator[pa.RecordBatch, None, None]:
        with plain_errors():
            engine, written = self._engine, self._read(self._after_settings(text), params, dialect, None)
            settings = self._settings_of(written)
            stream = engine.prepare_stream(written, settings)
            if stream is None:
                with engine.in_users_words(text):
                    result = self._carried_out(written)
                self._handing_over += 1
                try:
                    yield from engine.batches(result, batch_rows)
                finally:
                    self._handing_over -= 1
                return
            well = False
            try:
                self._check_budget(written, settings)
                self._begin(stream.id, written.text, settings)
                yield from stream.batches(batch_rows)
                well = True
            finally:
                self._end(stream, settings, well=well, recorded=True)

    def _explanation(self, written: Written) -> Explanation:
        if set_statement(written.text) is not None:
            raise StatementError(
                "EXPLAIN AI explains a statement that asks; run SET and RESET alone, without EXPLAIN AI"
            )
        settings = self._settings_of(written)
        counts = self._engine.count(written, settings)
        assert counts is not None  # only where it is to be gentle
        return explained(counts, self.gateway, as_tagged(self.caller, settings))

    def _check_budget(self, written: Written, settings: StatementSettings) -> None:
        """Raises BudgetExceeded where a statement has a limit, and its low estimate is above it. Makes no call.

        Raises StatementError where a limit is needed and missing.
        Where nothing can be estimated, what is reserved for each call holds the limit alone.
        """
        if settings.needs_budget and settings.max_cost_usd is None:
            raise StatementError(
                "the statement asks a model, and nothing limits what it costs; begin it with "
                "SET aiq_max_cost_usd = 0.10;"
            )
        if settings.max_cost_usd is not None:
            counts = self._engine.count(written, settings, gently=True)
            if counts is not None:
                explained(counts, self.gateway, self.caller).check(settings.max_cost_usd)

    def _analyzed(self, written: Written) -> pa.Table:
        """Explains a statement, runs it, and puts what it took beside. Its rows are dropped; what it writes stays.

        Raises what running it raises.
        """
        explanation, limit_usd = self._explanation(written), self._settings_of(written).max_cost_usd
        if limit_usd is not None:
            explanation.check(limit_usd)
        actuals, started = Actuals(self.gateway.cost_of_failure), time.monotonic()
        self._engine.exhaust(self._run(written, actuals))
        seconds = time.monotonic() - started
        commit(self.gateway.ledger)  # what was only reused waits otherwise
        ledger = usage_of(self.gateway.ledger.tables, actuals.statement_id)
        of_sites = iter(actuals.taken([site for site in explanation.sites if site is not None]))
        taken = [  # where no site is known, the ledger tells, which knows endpoints
            by_endpoint if site is None else next(of_sites)
            for by_endpoint, site in zip(of_endpoints(explanation, ledger), explanation.sites, strict=True)
        ]
        return side_by_side(explanation, [*taken, ledger.get(None, NOTHING)], seconds)

    def _settings_of(self, written: Written) -> StatementSettings:
        """The session's settings with the hints of a statement."""
        return self.settings.with_values(hints(written.text))

    def _begin(self, statement_id: str, text: str, settings: StatementSettings) -> None:
        """Lets go of earlier statements, and notes that this one starts."""
        self._finish_earlier()
        self.gateway.ledger.sync_entities(self.gateway.config.endpoints.values(), self.caller.user)
        caller = as_tagged(self.caller, settings)
        self.gateway.statements.begin(statement_id, text, caller, self._engine.name)

    def _finish_earlier(self) -> None:
        """Lets go of earlier answers, unless their rows are still on their way to the caller."""
        if not self._handing_over:
            self._engine.finish_earlier()

    def _end(self, run: Run[Any] | Stream, settings: StatementSettings, *, well: bool, recorded: bool) -> None:
        """Ends a statement, brings its rows to the ledger's tables, and says what it took.

        Called in a `finally`: of a statement that did not end well, the error is on its way. Its answers stay on the
        disk until its result has surely reached the caller: `_finish_earlier`.
        """
        error = None if well else sys.exception()
        try:
            run.end(well=well)
            if self.gateway.is_inherited:  # in its own process it is not over
                return
            ended = self.gateway.statements.end(run.id, error, self._engine.took(run.id))
            if recorded:
                commit(self.gateway.ledger, soon=True)
            if ended is not None:
                self._receipt(ended, settings)
        except BaseException:  # Ctrl-C: the caller gets no result
            run.end(well=False)
            raise

    def _receipt(self, ended: Ended, settings: StatementSettings) -> None:
        """Keeps the receipt of a statement, and shows it to who is there."""
        try:
            modes = {reuse_of(self.gateway, self.caller, name, asked=settings.reuse).mode for name in ended.endpoints}
        except StatementError:  # an endpoint is not configured any more
            modes = {"off"}
        self.last = receipt_of(ended, self.gateway.answers is not None and "off" not in modes)
        if self.last.requests != 0 and speaks(self.gateway.config.settings, settings.quiet):
            self.say(str(self.last))


def _close_unfinished(rows: weakref.ref[Generator[pa.RecordBatch, None, None]]) -> None:
    if (unfinished := rows()) is not None:
        unfinished.close()
