"""A session on DuckDB."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import duckdb

from aiq.engines.duckdb.cursor import SessionCursor
from aiq.engines.duckdb.engine import DuckDB, Relation
from aiq.gateway import Gateway
from aiq.request import Caller
from aiq.statements.session import Session


class DuckDBSession(Session[Relation]):
    """Runs SQL with `ai_query` on a DuckDB connection, `con`."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        gateway: Gateway,
        caller: Caller,
        *,
        owns_connection: bool = False,
        dialect: str = "duckdb",
        variables: Mapping[str, Any] | None = None,
    ) -> None:
        made = DuckDB(con, gateway, caller, owns_connection=owns_connection, dialect=dialect, variables=variables)
        super().__init__(made, gateway, caller)
        self.con = con

    def cursor(self) -> SessionCursor:
        """For clients of Python's DB-API, such as jupysql: `%sql session`."""
        return SessionCursor(self)

    def commit(self) -> None:
        """Commits a transaction, if one was begun."""
        with suppress(duckdb.TransactionException):
            self.con.commit()
