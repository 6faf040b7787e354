"""Answers a query a window of rows after the other, in order, while later windows are already being asked."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from aiq.batch.slots import Pass
from aiq.batch.statement import Statement
from aiq.engines import duckdb as engine
from aiq.engines.prepare import Prepared
from aiq.plan.windows import Windows

if TYPE_CHECKING:
    from aiq.engines.session import Session

MIN_AHEAD = 1024
"""Requests asked ahead of the window that is being waited for, at the least."""


def finished_batches(relation: duckdb.DuckDBPyRelation, batch_rows: int) -> Iterator[pa.RecordBatch]:
    """The rows of a result that is there. Each batch is read to its end: then the connection may be used."""
    if relation.type != "TABLE_RELATION" or "rowid" in map(str.lower, relation.columns):
        yield from pa.RecordBatchReader.from_stream(relation)
        return
    for start in range(0, len(relation), batch_rows):
        window = relation.filter(f"rowid BETWEEN {start} AND {start + batch_rows - 1}")
        yield from pa.table(window).to_batches(max_chunksize=batch_rows)


def stream_windows(
    session: Session, prepared: Prepared, plan: Windows, statement: Statement, batch_rows: int
) -> Iterator[pa.RecordBatch]:
    """Batches of at most `batch_rows` rows. Enough windows are asked ahead to keep every slot of the endpoints busy.

    The rows without their answers wait in a temporary table, which DuckDB spills to disk.
    """
    con, table = session.con, session._results.new_table()
    text = plan.rows.strip().rstrip(";")
    prepared.execute(con, f"CREATE TEMP TABLE {table} AS {text}").fetchall()
    try:
        total = int(con.execute(f"SELECT count(*) FROM temp.{table}").fetchall()[0][0])
        ahead: deque[tuple[str, Pass]] = deque()
        starts = iter(range(0, total, batch_rows))
        while True:
            slots = max((session.gateway.concurrency(name) for name in statement.endpoints), default=0)
            most = max(MIN_AHEAD, 4 * slots)
            while sum(run.wave.remaining for _, run in ahead) < most and (start := next(starts, None)) is not None:
                window = f"FROM temp.{table} WHERE rowid BETWEEN {start} AND {start + batch_rows - 1} ORDER BY rowid"
                query = f"SELECT {plan.columns} {window}"
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
            yield from engine.fetched(prepared.execute(con, query)).to_batches()
    finally:
        with suppress(duckdb.ConnectionException):  # somebody has closed the session in the middle
            con.execute(f"DROP TABLE IF EXISTS temp.{table}").fetchall()
