"""The rows that statements have left behind: temporary tables, dropped when nobody holds their relation any more.

Knows DuckDB's catalog; must never know how a statement came to its rows.
"""

from __future__ import annotations

import itertools
import re
import weakref
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

import duckdb

from aiq.engines import duckdb as engine
from aiq.engines.prepare import Prepared, quoted

KEPT_RESULTS = 32
_numbers = itertools.count(1)
_OUR_FUNCTION = re.compile(r"__aiq_[0-9a-f]{12}\((\d+), ")


class Results:
    """The results of one session."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self._con = con
        self._relations: deque[tuple[str, weakref.ref[duckdb.DuckDBPyRelation]]] = deque()

    def new_table(self) -> str:
        """A name for a temporary table that nobody has used."""
        return f"aiq_result_{next(_numbers)}"

    def fill(self, table: str, query: str, prepared: Prepared) -> int:
        """Puts the rows of a query into a temporary table. Returns how many."""
        text = query.strip().rstrip(";")
        done = prepared.execute(self._con, f"CREATE OR REPLACE TEMP TABLE {table} AS {text}").fetchall()
        return int(done[0][0])

    def relation(self, table: str) -> duckdb.DuckDBPyRelation:
        """A relation over the finished rows of a temporary table."""
        result = self._con.table(f"temp.{table}")
        if self.rename_columns(table, result.columns):
            result = self._con.table(f"temp.{table}")
        self._relations.append((table, weakref.ref(result)))
        return result

    def rename_columns(self, table: str, columns: Sequence[str] | None = None) -> bool:
        """Columns that DuckDB named after our functions get the name they would have without us. Whether any did."""
        columns = self._con.table(f"temp.{table}").columns if columns is None else columns
        ours = [column for column in columns if "__aiq_" in column or "$aiq_" in column]
        for column in ours:
            renamed = f"RENAME COLUMN {quoted(column)} TO {quoted(own_name(column))}"
            self._con.execute(f"ALTER TABLE temp.{table} {renamed}").fetchall()
        return bool(ours)

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


def own_name(column: str) -> str:
    """A column that DuckDB named after our functions, as it would be named without us."""
    return _OUR_FUNCTION.sub(engine.written_as, column).replace("$aiq_", "$")
