"""The rows that statements have left behind: in relations that hold their own rows, so that SHOW TABLES lists none of
them, or, where they are many, in temporary tables, which DuckDB spills and which are dropped with their relation.

Knows DuckDB's catalog; must never know how a statement came to its rows.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

import duckdb

from aiq.engines.duckdb.prepared import Prepared, quoted

KEPT_RESULTS = 32
MAX_HELD_ROWS = 100_000
"""Rows that a relation holds itself: their memory is not counted by DuckDB's memory_limit."""


class Results:
    """The results of one session."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self._con = con
        self._relations: deque[tuple[str, weakref.ref[duckdb.DuckDBPyRelation]]] = deque()

    def fill(self, table: str, query: str, prepared: Prepared) -> int:
        """Puts the rows of a query into a temporary table. Returns how many.

        The query begins on a line of its own, so that the lines of errors are those of the query.
        """
        text = query.strip().rstrip(";")
        done = prepared.execute(self._con, f"CREATE OR REPLACE TEMP TABLE {table} AS\n{text}").fetchall()
        return (
            int(done[0][0]) if done else self.rows(table)
        )  # a PIVOT without IN is several statements, and says nothing

    def rows(self, table: str) -> int:
        """How many rows a temporary table has."""
        return int(self._con.execute(f"SELECT count(*) FROM temp.{table}").fetchall()[0][0])

    def relation(self, table: str, names: Sequence[str], rows: int | None = None) -> duckdb.DuckDBPyRelation:
        """A relation over the finished rows of a temporary table, its columns called by `names`.

        `rows` is how many there are, if that is known.
        """
        result = self._con.table(f"temp.{table}")
        held = (self.rows(table) if rows is None else rows) <= MAX_HELD_ROWS
        if held:
            result = result.materialize()
            self.forget(table)
        if list(names) != result.columns:
            result = result.project(", ".join(f"#{at} AS {quoted(name)}" for at, name in enumerate(names, 1)))
        if not held:
            self._relations.append((table, weakref.ref(result)))
        return result

    def columns(self, table: str) -> list[str]:
        """The names of a temporary table's columns."""
        return list(self._con.table(f"temp.{table}").columns)

    def forget(self, table: str) -> None:
        """Drops the rows of a table that nobody has a relation over."""
        self._con.execute(f"DROP TABLE IF EXISTS temp.{table}").fetchall()

    def drop(self, relation: duckdb.DuckDBPyRelation) -> None:
        """Drops the rows of the latest result, if the relation is over them."""
        if self._relations and self._relations[-1][1]() is relation:
            self.forget(self._relations.pop()[0])

    def drop_unused(self) -> None:
        """Drops the rows of results that nobody holds, but of the last few, which something may be built on.

        A table is dropped before a statement, never in the middle of one that is running.
        """
        with suppress(duckdb.TransactionException):  # an aborted transaction takes no statement; the next one will
            for _ in range(len(self._relations) - KEPT_RESULTS):
                name, relation = self._relations.popleft()
                if relation() is not None:
                    self._relations.append((name, relation))
                    continue
                self.forget(name)
