"""How long the first pages of the boards take over a large ledger: seconds of CPU, and of the clock.

.venv/bin/python tests/benchmarks/boards.py --rows 10000000 --folder /tmp/boards    # keeps the ledger there
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
from deltalake import write_deltalake

from aiq.dashboards.files import load, shipped
from aiq.dashboards.numbers import Numbers
from aiq.dashboards.render import drawn_page
from aiq.engines.connect import connect
from aiq.ledger import delta
from aiq.ledger.records import CALLS_SCHEMA, CALLS_TABLE

CALLS = """
SELECT 'r' || i AS request_id, CASE WHEN hash(i) % 11 = 0 THEN 0 ELSE 1 END AS attempt, 's' || i // 500 AS statement_id,
  'endpoint' || i % 8 AS endpoint_name, 'llm/v1/chat' AS task, 'id' || i % 16 AS served_entity_id,
  'entity' || i % 16 AS served_entity_name, 'openai' AS provider, 'user' || i % 200 AS requester,
  CASE WHEN i % 40 > 0 THEN 'model' || i % 12 END AS model,
  now() - to_seconds(({rows} - i) * 604800 / {rows}) AS start_time,
  CASE WHEN i % 50 = 0 THEN 'error' WHEN i % 90 = 0 THEN 'refused' ELSE 'ok' END AS status, 1 AS rows,
  CASE WHEN i % 50 = 0 THEN 429 ELSE 200 END AS status_code,
  CASE WHEN i % 50 = 0 THEN 'rate_limited' END AS error_class,
  hash(i) % 5000 + 0.25 AS latency_ms, 0.5 AS queue_ms, hash(i) % 100 AS limit_wait_ms, i % 900 AS input_tokens,
  i % 300 AS output_tokens, (i % 100) / 1e5 AS cost_usd, hash(i) % 11 = 0 AS cache_hit, hash(i) % 31 > 0 AS final,
  'traffic' AS route
FROM range({rows}) AS r(i)
"""  # fmt: skip


def calls(con: duckdb.DuckDBPyConnection, rows: int) -> Iterator[pa.RecordBatch]:
    """Made-up calls of a week."""
    for batch in con.sql(CALLS.format(rows=rows)).to_arrow_reader(500_000):
        known = set(batch.schema.names)
        columns = [
            batch[each.name].cast(each.type) if each.name in known else pa.nulls(len(batch), each.type)
            for each in CALLS_SCHEMA
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=CALLS_SCHEMA)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=10_000_000)
    options.add_argument("--folder", type=Path, required=True, help="where the ledger is, or is made")
    given = options.parse_args()
    (given.folder / "conf").mkdir(parents=True, exist_ok=True)
    table = delta.located(given.folder / "home" / "tables", CALLS_TABLE)
    if not Path(str(table)).exists():
        with duckdb.connect() as con:
            batches = pa.RecordBatchReader.from_batches(CALLS_SCHEMA, calls(con, given.rows))
            write_deltalake(str(table), batches, target_file_size=128 * 2**20)
    con = duckdb.connect(config={"python_enable_replacements": False})
    with con, connect(con, conf=given.folder / "conf", home=given.folder / "home") as session:
        for file in shipped():
            board = load(file)
            clock, cpu = time.perf_counter(), time.process_time()
            with Numbers(session, board) as numbers:
                page = drawn_page(board, board.pages[0], numbers, {})
            problems = [tile.problem for tile in page.tiles if tile.problem]
            took = f"{time.process_time() - cpu:.1f} s of CPU, {time.perf_counter() - clock:.1f} s"
            print(f"{board.name}: {took}{f', not drawn: {problems}' if problems else ''}")


if __name__ == "__main__":
    main()
