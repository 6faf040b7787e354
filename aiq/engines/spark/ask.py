"""Arrow batches through the gateway, in order, on a Python worker: one queue spans all batches of a task.

Reads ahead of the answers it waits for, so that a slow one holds up nothing but its own batch. Knows no Spark.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import pyarrow as pa

from aiq.engines.spark.job import ANSWER, FILES, REQUEST, Job
from aiq.engines.spark.statement import ended, part_of
from aiq.engines.spark.worker import opened
from aiq.functions.call_site import CallSite

SLICE_ROWS = 512
"""Rows that are asked, and answered, together."""
MIN_AHEAD_ROWS = 1024
AHEAD = 16
"""Rows in flight for each request that the endpoint takes at once: the slowest of them may take that much longer."""
AHEAD_BYTES = 64 * 1024 * 1024
MAX_THREADS = 64

T = TypeVar("T")


def ask(batches: Iterator[pa.RecordBatch], job: Job) -> Iterator[pa.RecordBatch]:
    """For `mapInArrow`: rows with a column `request` (and `files`) in, the same rows with a column `answer` out.

    Every other column is handed through; `request` and `files` are not, so give a copy of what is needed on the other
    side. Rows stay in order; batches may be cut into smaller ones. `answer` has the type of `answer_type`. NULL
    requests answer NULL and ask nothing. Raises as `Statement.ask` does.
    """
    gateway = opened(job.origin)
    site = CallSite(gateway.open_endpoint(job.endpoint), job.options, error_field=job.error_field)
    statement = part_of(gateway, job.origin, job.statement, budget_usd=job.budget_usd)

    def answered(rows: pa.RecordBatch) -> pa.RecordBatch:
        files = rows.column(FILES) if FILES in rows.schema.names else None
        answers = site.evaluate(statement, rows.column(REQUEST), files)
        others = [name for name in rows.schema.names if name not in (REQUEST, FILES)]
        return pa.RecordBatch.from_arrays([*map(rows.column, others), answers], names=[*others, ANSWER])

    with ended(statement):
        ahead = max(MIN_AHEAD_ROWS, AHEAD * gateway.concurrency(job.endpoint))
        yield from in_order(slices(batches), answered, ahead)


def slices(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The rows in pieces of at most `SLICE_ROWS`, however Spark was told to cut them."""
    for batch in batches:
        for start in range(0, batch.num_rows, SLICE_ROWS):
            yield batch.slice(start, SLICE_ROWS)


def in_order(pieces: Iterator[pa.RecordBatch], work: Callable[[pa.RecordBatch], T], ahead_rows: int) -> Iterator[T]:
    """`work(piece)` of all pieces, in order, while later ones are under way: up to `ahead_rows` rows, `AHEAD_BYTES`."""
    threads = max(2, min(MAX_THREADS, -(-ahead_rows // SLICE_ROWS)))
    waiting: deque[tuple[Future[T], int, int]] = deque()
    rows = size = 0
    pool = ThreadPoolExecutor(threads, thread_name_prefix="aiq-ask")
    try:
        for piece in pieces:
            count, weight = piece.num_rows, piece.nbytes
            waiting.append((pool.submit(work, piece), count, weight))
            rows, size = rows + count, size + weight
            while waiting and (waiting[0][0].done() or rows > ahead_rows or size > AHEAD_BYTES):
                first, count, weight = waiting.popleft()
                rows, size = rows - count, size - weight
                yield first.result()
        while waiting:
            yield waiting.popleft()[0].result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
