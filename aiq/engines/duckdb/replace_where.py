"""The columns of the table that an INSERT .. REPLACE WHERE writes to, by which its condition reads the new rows."""

from __future__ import annotations

import re

import duckdb

from aiq.engines.duckdb.rewrite import tree
from aiq.engines.duckdb.set_types import describing

_NAME = r"(?:`[^`]+`|\w+)"
_REPLACES = re.compile(
    rf"((?>\s|--[^\n]*\n|/\*.*?\*/)*+INSERT\s+INTO\s+(?:TABLE\s+)?({_NAME}(?:\s*\.\s*{_NAME})*))\s+REPLACE\s+WHERE\b",
    re.IGNORECASE | re.DOTALL,
)


def with_columns_to_replace(con: duckdb.DuckDBPyConnection, text: str) -> str:
    """`INSERT INTO t REPLACE WHERE ..` as `INSERT INTO t (a, b) REPLACE WHERE ..`; any other text as it is."""
    if (found := _REPLACES.match(text)) is None:
        return text
    query = tree.read(f"SELECT * FROM {found.group(2).replace('`', chr(34))}")
    names = describing(con, text, names=True)(query) if query is not None else None
    if not names:
        return text
    listed = ", ".join("`" + name.replace("`", "``") + "`" for name in names)
    return f"{found.group(1)} ({listed}){text[found.end(1) :]}"
