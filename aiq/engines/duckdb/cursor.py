"""A session as clients of Python's DB-API see it, such as jupysql: a cursor runs statements and hands out rows.

Source: PEP 249. Knows no statement; parameters are the session's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from aiq.errors import StatementError

if TYPE_CHECKING:
    from aiq.engines.duckdb.engine import Relation
    from aiq.engines.duckdb.session import DuckDBSession
    from aiq.sql.notebook.notebook import Parameters


class SessionCursor:
    """Runs one statement after the other in a session."""

    arraysize = 1
    rowcount = -1
    """Not known before the rows are read."""

    def __init__(self, session: DuckDBSession) -> None:
        self._session = session
        self._result: Relation = None
        self._rows: Iterator[tuple[Any, ...]] | None = None

    @property
    def description(self) -> list[tuple[Any, ...]] | None:
        """Name and type of each column, as PEP 249 has them; None where the statement had no rows."""
        return None if self._result is None else list(self._result.description)

    def execute(self, text: str, parameters: Parameters = None) -> SessionCursor:
        """Runs a statement. Raises as `Session.sql`."""
        self._result, self._rows = self._session.sql(text, parameters), None
        return self

    def fetchone(self) -> tuple[Any, ...] | None:
        """The next row, None after the last. Raises StatementError where there are none to be had."""
        return next(self._left(), None)

    def fetchmany(self, size: int = 1) -> list[tuple[Any, ...]]:
        """The next rows, at most `size`."""
        return list(islice(self._left(), size))

    def fetchall(self) -> list[tuple[Any, ...]]:
        """All rows that are left."""
        return list(self._left())

    def close(self) -> None:
        """Forgets the rows; the session stays open."""
        self._result = self._rows = None

    def _left(self) -> Iterator[tuple[Any, ...]]:
        if self._result is None:
            # jupysql knows by psycopg's words that a statement has no rows
            raise StatementError("no results to fetch: the cursor has run no statement that has rows")
        if self._rows is None:  # all at once: a relation keeps no place between two calls
            self._rows = iter(self._result.fetchall())
        return self._rows
