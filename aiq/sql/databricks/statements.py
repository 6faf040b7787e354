"""Databricks' statements for DuckDB. sqlglot is loaded with the first of them, as it takes time to start."""

from __future__ import annotations

from collections.abc import Container

from sqlglot.errors import SqlglotError

from aiq.errors import StatementError
from aiq.sql.databricks.literals import with_plain_literals


def to_duckdb(text: str, known: Container[str] = ()) -> str:
    """A Databricks statement as DuckDB reads it. `known` are the user's own functions, in lower case.

    Raises StatementError where it cannot be read, or where a part of it has no exact counterpart.
    """
    from aiq.sql.databricks.read import trees
    from aiq.sql.databricks.translate import duckdb_text

    plain = with_plain_literals(text)
    try:
        found = trees(plain)
    except SqlglotError as error:
        raise StatementError(f"the statement cannot be read as Databricks SQL: {str(error).splitlines()[0]}") from None
    return ";\n".join(duckdb_text(tree, known, plain) for tree in found if tree is not None)
