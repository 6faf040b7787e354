"""Answers a query a window of rows after the other, in order, while later windows are already being asked."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from aiq.batch.slots import Pass
from aiq.batch.statement import Statement
from aiq.engines.duckdb import connection as engine
from aiq.engines.duckdb.prepare import Prepared, error_as_written
from aiq.engines.duckdb.rewrite.lift import Lifted
from aiq.engines.duckdb.words import error_in_users_words, in_users_words

if TYPE_CHECKING:
    from aiq.engines.duckdb.session import Session

MIN_AHEAD = 1024
"""Requests asked ahead of the window that is being waited for, at the least."""


def finished_batches(relation: duckdb.DuckDBPyRelation, batch_rows: int) -> Iterator[pa.RecordBatch]:
    """The rows of a result that is there. Each batch is read to its end: then the connection may be used."""
    numbered = relation.type == "TABLE_RELATION" and "rowid" not in map(str.lower, relation.columns)
    for start in range(0, len(relation), batch_rows):
        by_number = f"rowid BETWEEN {start} AND {start + batch_rows - 1}"
        window = relation.filter(by_number) if numbered else relation.limit(batch_rows, start)
        yield from pa.table(window).combine_chunks().to_batches(max_chunksize=batch_rows)


def stream_windows(
    session: Session, prepared: Prepared, plan: Lifted, statement: Statement, batch_rows: int
) -> Iterator[pa.RecordBatch]:
    """Batches of at most `batch_rows` rows. Enough windows are asked ahead to keep every slot of the endpoints busy.

    The rows without their answers wait in a temporary table, which DuckDB spills to disk.
    """
    assert plan.rows is not None and plan.names is not None
    con, table = session.con, plan.rows.table
    names = [in_users_words(name, prepared.calls) for name in plan.names]
    try:
        total = session._results.fill(table, plan.rows.query, prepared)
        ahead: deque[tuple[str, Pass]] = deque()
        starts = iter(range(0, total, batch_rows))
        while True:
            slots = max((session.gateway.concurrency(name) for name in statement.endpoints), default=0)
            most = max(MIN_AHEAD, 4 * slots)
            while sum(run.wave.remaining for _, run in ahead) < most and (start := next(starts, None)) is not None:
                query = f"{plan.query} WHERE rowid BETWEEN {start} AND {start + batch_rows - 1} ORDER BY rowid"
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
            session._results.forget(table)
