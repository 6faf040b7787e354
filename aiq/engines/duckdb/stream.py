"""Answers a query a window of rows after the other, in order, while later windows are already being asked."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from aiq.batch.slots import Pass
from aiq.batch.statement import Statement
from aiq.engines.duckdb import connection as engine
from aiq.engines.duckdb.interrupt import running
from aiq.engines.duckdb.prepared import Prepared, error_as_written
from aiq.engines.duckdb.rewrite.lift import Lifted
from aiq.engines.duckdb.statement import explained
from aiq.engines.duckdb.words import error_in_users_words, in_users_words
from aiq.statements.engine import Written
from aiq.statements.settings import without_hints

if TYPE_CHECKING:
    from aiq.engines.duckdb.engine import DuckDB

MIN_AHEAD = 1024
"""Requests asked ahead of the window that is being waited for, at the least."""


def finished_batches(relation: duckdb.DuckDBPyRelation, batch_rows: int) -> Iterator[pa.RecordBatch]:
    """The rows of a result that is there. Each batch is read to its end: then the connection may be used."""
    numbered = relation.type == "TABLE_RELATION" and "rowid" not in map(str.lower, relation.columns)
    for start in range(0, len(relation), batch_rows):
        by_number = f"rowid BETWEEN {start} AND {start + batch_rows - 1}"
        window = relation.filter(by_number) if numbered else relation.limit(batch_rows, start)
        yield from pa.table(window).combine_chunks().to_batches(max_chunksize=batch_rows)


class DuckDBStream:
    """A statement whose answers decide on nothing but their own rows."""

    def __init__(self, of: DuckDB, prepared: Prepared, plan: Lifted, statement: Statement, held: ExitStack) -> None:
        """`held` is left when the statement ends."""
        self._engine, self._prepared, self._plan, self._statement = of, prepared, plan, statement
        self.id = statement.id
        self._held = held

    def batches(self, batch_rows: int) -> Iterator[pa.RecordBatch]:
        try:
            with running(self._engine.con, self._statement):
                yield from self._windows(batch_rows)
        except (duckdb.Error, RuntimeError) as error:
            raise explained(error, self._statement) from None

    def end(self, *, well: bool) -> None:
        self._held.close()
        self._statement.end(well=well)
        if not well:
            self._statement.wait_for_last()

    def _windows(self, batch_rows: int) -> Iterator[pa.RecordBatch]:
        """Enough windows are asked ahead to keep every slot of the endpoints busy.

        The rows without their answers wait in a temporary table, which DuckDB spills to disk.
        """
        prepared, plan, statement = self._prepared, self._plan, self._statement
        assert plan.rows is not None and plan.names is not None
        con, table = self._engine.con, plan.rows.table
        names = [in_users_words(name, prepared.calls) for name in plan.names]
        try:
            total = self._engine.results.fill(table, plan.rows.query, prepared)
            (keeps_order,) = con.execute("SELECT current_setting('preserve_insertion_order')").fetchall()[0]
            order = "" if keeps_order else " ORDER BY rowid"  # which crashes DuckDB 2.0 where a STRUCT holds an ARRAY
            ahead: deque[tuple[str, Pass]] = deque()
            starts = iter(range(0, total, batch_rows))
            while True:
                slots = max((self._engine.gateway.concurrency(name) for name in statement.endpoints), default=0)
                most = max(MIN_AHEAD, 4 * slots)
                while sum(run.wave.remaining for _, run in ahead) < most and (start := next(starts, None)) is not None:
                    query = f"{plan.query} WHERE rowid BETWEEN {start} AND {start + batch_rows - 1}{order}"
                    run = statement.running = Pass(0)
                    try:
                        prepared.execute(con, query).fetchall()
                    finally:
                        statement.running = None
                    ahead.append((query, run))
                if not ahead:
                    return
                query, run = ahead.popleft()
                statement.wait(run)
                yield from engine.fetched(prepared.execute(con, query)).rename_columns(names).to_batches()
        except duckdb.Error as error:
            raise error_in_users_words(
                error, prepared.calls, prepared.written, bind=partial(error_as_written, con, prepared)
            ) from error.__cause__
        finally:
            with suppress(duckdb.ConnectionException):  # somebody has closed the session in the middle
                self._engine.results.forget(table)


def opened(of: DuckDB, written: Written, statement: Statement) -> DuckDBStream | None:
    """A statement ready to be streamed; None where it has to be finished first. Raises as preparing it does."""
    with ExitStack() as held:
        number = held.enter_context(engine.numbered_sites())
        try:
            text = without_hints(written.text)
            prepared = of.preparation.prepare(text, written.params, written.dialect, statement, number, apart=True)
        except (duckdb.Error, RuntimeError) as error:
            raise explained(error, statement) from None
        plan = prepared.plan
        if not isinstance(plan, Lifted) or not plan.in_windows or prepared.by_name:
            statement.end(well=False)
            return None
        return DuckDBStream(of, prepared, plan, statement, held.pop_all())
