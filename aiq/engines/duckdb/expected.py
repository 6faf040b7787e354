"""How many rows DuckDB expects the AI calls of a statement to see, by its plan."""

from __future__ import annotations

from typing import Any

import duckdb
import orjson

from aiq.engines.duckdb.frames import reads_pipe


def expected_rows(con: duckdb.DuckDBPyConnection, sql: str, values: dict[str, Any] | None = None) -> int | None:
    """How many rows DuckDB expects the AI calls to see, over all calls, or None where it cannot say. Makes no call."""
    if reads_pipe(sql):
        return None
    try:
        rows = con.execute(f"EXPLAIN (FORMAT JSON) {sql}", values).fetchall()
    except duckdb.Error:
        return None
    named: list[int] = []

    def visit(node: dict[str, Any]) -> int:
        """The most rows of a node and those it reads; an alias hides a function's name from the plan."""
        counts = [_rows(node), *(_rows(child) for child in node.get("children", ()))]
        if "__aiq_" in str(node.get("extra_info")):
            named.append(max(counts))
        for child in node.get("children", ()):
            visit(child)
        return counts[0]

    tops = [visit(node) for node in orjson.loads(rows[0][1])]
    return max(named or tops, default=0) * sql.count("__aiq_") or None


def _rows(node: dict[str, Any]) -> int:
    text = str((node.get("extra_info") or {}).get("Estimated Cardinality", ""))
    return int(text) if text.isdigit() else 0
