"""A query that has nothing of ours in it runs on DuckDB alone: no configuration, ledger or gateway is opened for it.

Whatever may mean more to a session than to DuckDB goes the way of a session; so does what DuckDB cannot bind.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, DuckDBPyRelation

_MORE = re.compile(
    r"[\ud800-\udfff]|"  # no text, which a session says
    r"ai_|aiq|`|\$\{|\{\{|\bsystem\b|\bvolumes\b|\bidentifier\s*\(|\bgetargument\b|\bread_files\b|\bcommand\s*-|\bmagic\b|%sql"
    r'|[\w"]\s*\.\s*[\w"]+\s*\.\s*[\w"]',  # a name in three parts may be of the ledger, or of a catalog
    re.IGNORECASE,
)
_HAS_CALLS = (
    "SELECT 1 FROM duckdb_views() WHERE NOT internal AND contains(lower(sql), 'ai_') "
    "UNION ALL SELECT 1 FROM duckdb_functions() WHERE NOT internal AND contains(lower(macro_definition), 'ai_')"
)
_KEPT_DEFINITIONS = "definitions.sqlite"


@contextmanager
def plain(
    text: str, values: Mapping[str, Any], db: str | None, read_only: bool, home: Path
) -> Iterator[DuckDBPyRelation | None]:
    """The rows of one query, or None where it has to go the way of a session. Raises DuckDB's errors on a file."""
    text = text.strip().removesuffix(";")
    # Of a text with a semicolon DuckDB makes a relation that takes no further step.
    if ";" in text or _MORE.search(text) or (home / _KEPT_DEFINITIONS).exists():
        yield None
        return
    import duckdb

    # Its queries are a person's, which do not see the variables of our Python.
    config: dict[str, str | bool | int | float | list[str]] = {"python_enable_replacements": False}
    with duckdb.connect(db or ":memory:", read_only=read_only, config=config) as con:
        found = _bound(con, text, values, in_file=db is not None)
        if found is not None:
            yield found
            return
    yield None


def _bound(con: DuckDBPyConnection, text: str, values: Mapping[str, Any], *, in_file: bool) -> DuckDBPyRelation | None:
    import duckdb

    try:
        statements = con.extract_statements(text)
        if len(statements) != 1 or statements[0].type.name != "SELECT":
            return None
        if in_file and con.execute(_HAS_CALLS).fetchone() is not None:
            return None
        return con.sql(text, params=dict(values) or None)
    except duckdb.Error:  # the session knows what it is, or says what is wrong with it
        return None
