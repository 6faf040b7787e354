"""Makes README's picture of the board *gateway*, over a week of made-up calls: `make picture`. Needs Chromium."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa

from aiq.dashboards.files import find, load
from aiq.dashboards.model import Board
from aiq.dashboards.pictures import picture
from aiq.dashboards.render import html_of
from aiq.engines.connect import connect
from aiq.ledger import delta
from aiq.ledger.records import CALLS_SCHEMA, CALLS_TABLE, SERVED_ENTITIES_SCHEMA, SERVED_ENTITIES_TABLE

LARGEST = 150_000
"""Bytes of the picture."""
CELLS_HIGH = 9
"""Of the first page's grid: the counters and two charts."""
CALLS = """
WITH drawn AS (
  SELECT i, hash(i) % 1000 / 1000 AS a, hash(i + 1000000) % 1000 / 1000 AS b, hash(i + 2000000) % 1000 / 1000 AS c,
    now() - to_seconds(604800 * (i / 12000)) AS start_time FROM range(12000) AS r(i)
), shaped AS (
  SELECT *, CASE WHEN b < 0.5 THEN 'support' WHEN b < 0.8 THEN 'reviews' ELSE 'contracts' END AS endpoint_name
  FROM drawn WHERE a < 0.3 + 0.65 * pow(sin(pi() * (epoch(start_time) % 86400) / 86400), 2)
)
SELECT 'r' || i AS request_id, 1 AS attempt, endpoint_name, 'llm/v1/chat' AS task, start_time,
  CASE endpoint_name WHEN 'support' THEN 'gpt-4.1-mini' WHEN 'reviews' THEN 'claude-haiku' ELSE 'gemini-pro' END
    AS model,
  'main' AS served_entity_name, 'ada@example.com' AS requester, true AS final, 'traffic' AS route, 1 AS rows,
  c < 0.18 AS cache_hit, CASE WHEN c > 0.98 THEN 'error' WHEN c > 0.955 THEN 'refused' ELSE 'ok' END AS status,
  CASE WHEN c > 0.98 THEN 'rate_limited' END AS error_class,
  500 + 900 * a + 2500 * pow(c, 6) + 400 * sin(i / 700) AS latency_ms, 20 * b AS queue_ms,
  CASE WHEN a > 0.8 THEN 900 * b ELSE 0 END AS limit_wait_ms,
  300 + hash(i) % 700 AS input_tokens, 40 + hash(i) % 200 AS output_tokens,
  CASE WHEN c < 0.18 THEN 0 ELSE 0.0004 + 0.002 * b * b END AS cost_usd
FROM shaped
"""  # fmt: skip


def make_calls(home: Path) -> None:
    """Writes the ledger of a home."""
    with duckdb.connect() as con:
        _append(home, CALLS_TABLE, CALLS_SCHEMA, con.sql(CALLS).to_arrow_table())
    change = {"change_time": datetime.now(UTC) - timedelta(days=3), "endpoint_name": "support"}
    change |= {"endpoint_config_version": 2, "served_entity_name": "main"}
    _append(home, SERVED_ENTITIES_TABLE, SERVED_ENTITIES_SCHEMA, pa.Table.from_pylist([change]))


def _append(home: Path, name: str, schema: pa.Schema, made: pa.Table) -> None:
    """Writes rows, which need not have all columns."""
    columns = [
        made[each.name].cast(each.type) if each.name in made.column_names else pa.nulls(len(made), each.type)
        for each in schema
    ]
    rows = pa.table(columns, schema=schema)
    delta.append(delta.located(home / "tables", name), name, schema, {}, lambda _: rows)


def top_of(board: Board) -> Board:
    """The upper tiles of the first page; datasets have their own defaults of what filters choose."""
    page = board.pages[0]
    tiles = tuple(tile for tile in page.tiles if tile.y + tile.height <= CELLS_HIGH)
    return replace(board, pages=(replace(page, tiles=tiles),))


def main(out: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="aiq-") as name:
        folder = Path(name)
        (folder / "conf").mkdir()
        make_calls(folder / "home")
        board = top_of(load(find("gateway")))
        with connect(conf=folder / "conf", home=folder / "home") as session:
            html, pages = html_of(session, board, "gateway", {}, datetime.now(UTC))
        problems = [tile.problem for page in pages for tile in page.tiles if tile.problem]
        assert not problems, problems
        png = picture(html, "png", board)
    assert len(png) < LARGEST, f"the picture has {len(png):,} bytes"
    out.write_bytes(png)
    print(f"{out}: {len(png):,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
