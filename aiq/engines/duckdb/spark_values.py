"""Calls on a connection: the macros and functions that translated Databricks SQL calls, made with its first statement.

They live in a database in memory, attached beside the user's own, where every connection of the process sees them.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property

import duckdb

from aiq.engines.duckdb import connection as engine
from aiq.engines.duckdb.group_types import check_groups_of_types
from aiq.engines.duckdb.item_names import with_named_items
from aiq.engines.duckdb.set_types import check_set_operations
from aiq.engines.duckdb.stored_types import check_stored
from aiq.sql.databricks.macros import FUNCTION, SCHEMA
from aiq.sql.databricks.statements import to_duckdb


class OwnFunctions:
    """The functions of a connection that are none of DuckDB's, looked up when one is asked for."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self._con = con

    def __contains__(self, name: object) -> bool:
        return name in self._names

    @cached_property
    def _names(self) -> frozenset[str]:
        rows = self._con.execute(
            f"SELECT DISTINCT lower(function_name) FROM duckdb_functions() WHERE NOT internal "
            f"AND database_name <> '{SCHEMA}' AND NOT starts_with(function_name, '{FUNCTION}')"
        ).fetchall()
        return frozenset(name for (name,) in rows)


def translated(con: duckdb.DuckDBPyConnection, text: str) -> str:
    """A Databricks statement as this connection reads it. Raises StatementError; runs nothing of it."""
    made = to_duckdb(text, OwnFunctions(con))
    if needs_values(made):
        provide(con)
    made = with_named_items(con, made)
    check_set_operations(con, made)
    check_groups_of_types(con, made)
    check_stored(con, made)
    return made


def needs_values(text: str) -> bool:
    """Whether a text of DuckDB's calls what `provide` provides."""
    return SCHEMA in text


def provide(con: duckdb.DuckDBPyConnection) -> None:
    """Creates the macros and functions where the connection's database does not have them yet."""
    from aiq.sql.databricks import macros, values

    cursor = con.cursor()  # its transactions are its own: a rollback of the connection's takes nothing away
    try:
        if cursor.execute("SELECT 1 FROM duckdb_databases() WHERE database_name = ?", [SCHEMA]).fetchall():
            return
        for name, (function, kind) in values.FUNCTIONS.items():
            engine.create(cursor, FUNCTION + name, function, kind, pure=True)
        with suppress(duckdb.BinderException):  # another connection was faster
            cursor.execute(f"ATTACH ':memory:' AS {SCHEMA} (READ_WRITE)")
        for statement in macros.statements():
            cursor.execute(statement)
    finally:
        cursor.close()
