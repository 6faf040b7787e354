"""`ai_query` as a plain DuckDB function: on connections that are only registered, and in views and macros.

Results are STRING. DuckDB tells a function nothing of its statement, so the transaction's number stands for it.
"""

from __future__ import annotations

import threading
import time
import uuid
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress

import duckdb
import pyarrow as pa

from aiq.batch.statement import Statement
from aiq.engines.duckdb import connection as engine
from aiq.engines.duckdb.as_text import as_text
from aiq.engines.duckdb.interrupt import running
from aiq.errors import AiqError, StatementError
from aiq.functions.call_site import CallSite
from aiq.functions.signature import FUNCTION, PARAMETERS, bind
from aiq.functions.types import duckdb_type
from aiq.gateway import Gateway
from aiq.request import Caller
from aiq.statements.sites import PlainSites

PLAIN_FUNCTION = "__aiq_query"
PURE_PLAIN_FUNCTION = "__aiq_query_pure"
_TYPE_CHARACTERS = 30
"""What is passed on of a type's name: that of an ENUM has all its values."""
_IDLE_S = 2.0
_KEPT_STATEMENTS = 4
_OTHER_MACRO = "FROM duckdb_functions() WHERE lower(function_name) = 'ai_query' AND function_type = 'macro'"

_plain: weakref.WeakKeyDictionary[duckdb.DuckDBPyConnection, PlainFunction] = weakref.WeakKeyDictionary()
_plain_by_number: weakref.WeakValueDictionary[int, PlainFunction] = weakref.WeakValueDictionary()
_identities: dict[str, set[tuple[str, tuple[str, ...], int]]] = {}
"""By database, who is registered on it: user, groups and gateway."""


def _check_returns_text(site: CallSite) -> None:
    if not pa.types.is_string(site.type):
        raise StatementError(
            f"on a connection that was only registered, {FUNCTION} returns STRING, but this call returns "
            f"{duckdb_type(site.type)}. Run the statement with session.sql: aiq.connect(con).sql('SELECT ...')."
        )


_sites = PlainSites(_check_returns_text)


def _evaluate_plain(*columns: pa.ChunkedArray) -> pa.Array:
    if not len(columns[0]):
        return pa.array([], pa.string())
    plain = _plain_by_number.get(columns[0][0].as_py())
    if plain is None:
        raise StatementError("the connection that ai_query was registered on is gone; call aiq.register again")
    return plain.evaluate(*columns[1:])


def register_plain(con: duckdb.DuckDBPyConnection, gateway: Gateway, caller: Caller) -> PlainFunction:
    """Makes `ai_query` callable in plain DuckDB SQL on this connection, and positionally on its cursors."""
    plain = PlainFunction(con, gateway, caller)
    con.execute("DROP MACRO IF EXISTS temp.ai_query").fetchall()  # it would hide the function of its name
    with suppress(duckdb.Error):  # registering again replaces what is there
        con.remove_function("ai_query")
    engine.create(con, PLAIN_FUNCTION, _evaluate_plain, "VARCHAR")
    # A cursor does not see a connection's temporary macro; it finds this function of the same name, or a macro that the
    # database has of that name: then the function cannot be made, and to try would end an open transaction.
    if engine.Transaction(con).own or not con.execute(_OTHER_MACRO).fetchall():
        with suppress(duckdb.CatalogException):
            engine.create(con, "ai_query", plain.evaluate_outside, "VARCHAR")
    number = next(engine.numbers)
    _plain[con] = _plain_by_number[number] = plain
    plain._number = number
    _define_macro(con, PLAIN_FUNCTION, number)
    return plain


def _define_macro(con: duckdb.DuckDBPyConnection, function: str, number: int) -> None:
    """`ai_query` with its named arguments, as this connection calls it."""
    options = ", ".join(f"{name} := NULL" for name in PARAMETERS[2:])
    con.execute(
        f"CREATE OR REPLACE TEMP MACRO ai_query({', '.join(PARAMETERS[:2])}, {options}) AS "
        f"{function}({number}, txid_current(), left(typeof(request), {_TYPE_CHARACTERS}), {', '.join(PARAMETERS)})"
    ).fetchall()


class PlainFunction:
    """`ai_query` of one connection: STRING results, one statement's answers kept a while."""

    def __init__(self, con: duckdb.DuckDBPyConnection, gateway: Gateway, caller: Caller) -> None:
        self._con, self._gateway, self._caller = weakref.ref(con), gateway, caller
        self._database = _database_of(con)
        _identities.setdefault(self._database, set()).add((caller.user, caller.groups, id(gateway)))
        self._statements: dict[int | None, tuple[Statement, float]] = {}
        self._lock = threading.Lock()
        self._current: Statement | None = None
        self._number = 0

    @contextmanager
    def within(self, statement: Statement) -> Iterator[None]:
        """While inside, calls of the connection itself belong to `statement`: those of its views and macros."""
        self._current = statement
        try:
            yield
        finally:
            self._current = None

    @contextmanager
    def looking_up(self, con: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """While inside, `ai_query` of views and macros is a function that DuckDB may evaluate as often as it likes."""
        engine.create(con, PURE_PLAIN_FUNCTION, _evaluate_plain, "VARCHAR", pure=True)
        _define_macro(con, PURE_PLAIN_FUNCTION, self._number)
        try:
            yield
        finally:
            with suppress(duckdb.Error):
                _define_macro(con, PLAIN_FUNCTION, self._number)

    def evaluate(self, *columns: pa.ChunkedArray) -> pa.Array:
        """`columns`: the transaction's number, the request's type, the arguments in the order of the signature."""
        transaction, sql_type = (column[0].as_py() for column in columns[:2])
        return self._evaluate(transaction, columns[2:], sql_type)

    def _evaluate(self, transaction: int | None, columns: Sequence[pa.ChunkedArray], sql_type: str = "") -> pa.Array:
        if len(columns[0]) == 0:
            return pa.array([], pa.string())
        arguments = dict(zip(PARAMETERS, columns, strict=False))
        statement_run = self._current if transaction is not None else None
        statement = statement_run or self._statement(transaction)
        try:
            return self._answered(statement, arguments, sql_type)
        except AiqError as error:
            if statement_run is not None:  # DuckDB passes on only its words
                statement_run.cancel(error)
            raise

    def _answered(self, statement: Statement, arguments: dict[str, pa.ChunkedArray], sql_type: str) -> pa.Array:
        site = _sites.of(self._gateway, arguments)
        request, files = arguments["request"], arguments.get("files")
        request = as_text(request, sql_type) if site.takes_text else request
        con = self._con()
        with running(con, statement) if con is not None else nullcontext():
            return site.evaluate(statement, request, files)

    def evaluate_outside(self, *columns: pa.ChunkedArray) -> pa.Array:
        """As `evaluate`, where the transaction is not known: calls within two seconds count as one statement."""
        bind([(None, column) for column in columns])
        if len(_identities[self._database]) > 1:
            raise StatementError(
                "ai_query cannot tell who asks on this cursor, because several users are registered on its database; "
                "call aiq.register(cursor, user=...)"
            )
        return self._evaluate(None, columns)

    def _statement(self, transaction: int | None) -> Statement:
        """The statement of a transaction. Older ones that nobody used for a while are forgotten."""
        now = time.monotonic()
        with self._lock:
            found = self._statements.get(transaction)
            if found is not None and (found[0].stopped or (transaction is None and now - found[1] > _IDLE_S)):
                found = None
            if found is None:
                self._gateway.refresh()
            statement = found[0] if found else Statement(self._gateway, self._caller)
            self._statements.pop(transaction, None)
            self._statements[transaction] = (statement, now)
            while len(self._statements) > _KEPT_STATEMENTS:
                oldest = next(iter(self._statements))
                if self._statements[oldest][0].asking:
                    break
                del self._statements[oldest]
            return statement


def _database_of(con: duckdb.DuckDBPyConnection) -> str:
    """What tells this database from all others in the process, in memory too: a function of it that says so."""
    token = uuid.uuid4().hex
    engine.create(con, "__aiq_database", lambda *columns: pa.array([token] * len(columns[0])), "VARCHAR")
    found: str = con.execute("SELECT __aiq_database(1)").fetchall()[0][0]
    return found
