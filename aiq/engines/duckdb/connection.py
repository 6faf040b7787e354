"""DuckDB: how it hands rows over and takes answers back. Knows DuckDB's Python client; must never know a provider.

One Arrow UDF per result type serves every call site: its first argument is the number of the site, so a statement
adds nothing to the catalog. The functions have side effects in DuckDB's sense, so that the optimizer neither folds
nor repeats them behind our back, and EXPLAIN never calls them.
"""

from __future__ import annotations

import itertools
import re
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import blake2b
from typing import Any

import duckdb
import pyarrow as pa

from aiq.batch.statement import Statement
from aiq.engines.duckdb.as_text import as_text
from aiq.errors import AiqError, FunctionError, StatementError
from aiq.functions.call_site import CallSite
from aiq.functions.types import duckdb_type
from aiq.ledger.gateway_usage import gateway_usage_query
from aiq.ledger.tables import Tables
from aiq.sql.databricks.macros import SCHEMA

_CALLED = re.compile(r"\b(\w++)\s*+\(")
_LITERAL = re.compile(r"'([^'\0]*)'")

_sites: dict[int, tuple[Statement, CallSite]] = {}
numbers = itertools.count(1)
_seen: weakref.WeakKeyDictionary[duckdb.DuckDBPyConnection, set[str]] = weakref.WeakKeyDictionary()
"""The functions that every transaction of a connection can call; none is ever dropped."""
_kept: set[Callable[..., pa.Array]] = set()
"""A database calls a function, without holding it, also when the connection that made it is gone."""


@contextmanager
def numbered_sites() -> Iterator[Callable[[Statement, CallSite], int]]:
    """Numbers call sites for the time of one statement."""
    used: list[int] = []

    def number(statement: Statement, site: CallSite) -> int:
        used.append(next(numbers))
        _sites[used[-1]] = (statement, site)
        return used[-1]

    try:
        yield number
    finally:
        for key in used:
            _sites.pop(key, None)


@contextmanager
def sites_of(statement: Statement, sites: Mapping[int, CallSite]) -> Iterator[bool]:
    """Gives call sites the numbers that they had before, for the time of one statement; False: another has them now."""
    free = not any(number in _sites for number in sites)
    if free:
        _sites.update((number, (statement, site)) for number, site in sites.items())
    try:
        yield free
    finally:
        for number in sites if free else ():
            _sites.pop(number, None)


def function_for(con: duckdb.DuckDBPyConnection, kind: pa.DataType, *, pure: bool = False) -> str:
    """The name of the UDF `(site BIGINT, request ANY [, files ANY]) -> kind`, registered if it is not there yet.

    `pure` gives one that DuckDB may evaluate as often and as late as it likes: for passes, in which it only looks
    answers up.
    """
    sql_type = duckdb_type(kind)
    name = _name_of(f"{sql_type} pure" if pure else sql_type)
    seen = _seen.setdefault(con, set())
    if name in seen:
        return name
    cursor = con.cursor()  # its transaction ends at once, so that a rollback of the connection's own takes nothing away
    try:
        create(cursor, name, _evaluate_site, sql_type, pure=pure)
    finally:
        cursor.close()
    if _is_visible(con, name):
        seen.add(name)
        return name
    name = _name_of(f"{sql_type} {next(numbers)}")  # for the connection's open transaction, which is older
    create(con, name, _evaluate_site, sql_type)
    return name


def _name_of(text: str) -> str:
    return f"__aiq_{blake2b(text.encode(), digest_size=6).hexdigest()}"


def _is_visible(con: duckdb.DuckDBPyConnection, name: str) -> bool:
    """Whether a function that exists can be called; calling it to see would abort an open transaction."""
    first, second = (con.execute("SELECT txid_current()").fetchall() for _ in range(2))
    if first != second:  # no transaction is open
        return True
    return bool(con.execute(f"FROM duckdb_functions() WHERE function_name = '{name}'").fetchall())


def _evaluate_site(*columns: pa.ChunkedArray) -> pa.Array:  # DuckDB counts named parameters, even those of *args
    number, request, *rest = columns
    found = _sites.get(number[0].as_py())
    if found is None:
        raise StatementError("this call belongs to a statement that has ended; run it again with session.sql")
    statement, site = found
    try:
        kind = rest[1][0].as_py() if len(rest) > 1 else ""
        request = as_text(request, kind) if site.takes_text else request
        return site.evaluate(statement, request, rest[0] if len(rest) == 1 else None)
    except AiqError as error:  # DuckDB passes on only its words
        statement.cancel(error)
        raise


def create(
    con: duckdb.DuckDBPyConnection,
    name: str,
    function: Callable[..., pa.Array],
    sql_type: str,
    *,
    pure: bool = False,
) -> None:
    try:
        con.create_function(  # type: ignore[call-overload]
            name, function, None, sql_type, type="arrow", null_handling="special", side_effects=not pure
        )
        _kept.add(function)
    except duckdb.NotImplementedException:  # this connection made it
        pass
    except duckdb.CatalogException as error:  # another connection to the same database made it
        if "already exists" not in str(error):
            raise


def fetched(cursor: duckdb.DuckDBPyConnection) -> pa.Table:
    """What a statement gave back: few rows, such as a plan or those of RETURNING."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # DuckDB 2 warns of the copy
        name = "to_arrow_table" if hasattr(cursor, "to_arrow_table") else "fetch_arrow_table"
        table: pa.Table = getattr(cursor, name)()
        return table


def new_table() -> str:
    """A name for a temporary table that nobody has used."""
    return f"aiq_result_{next(numbers)}"


def definitions_used(con: duckdb.DuckDBPyConnection, text: str) -> list[str]:
    """The SQL, in lower case, of the views and macros that a statement uses, itself or by another."""
    reached, own = text.lower(), _own_functions(duckdb.__version__)
    names = con.execute("SELECT lower(view_name) FROM duckdb_views() WHERE NOT internal").fetchall()
    if not any(name in reached for (name,) in names) and own.issuperset(_CALLED.findall(reached)):
        return []  # as most do, and printing the views takes three times as long as listing them
    found = con.execute("SELECT lower(view_name), lower(sql) FROM duckdb_views() WHERE NOT internal").fetchall()
    called = {name for sql in (reached, *(sql for _, sql in found)) for name in _CALLED.findall(sql)}
    if called - own:  # listing the macros takes ten milliseconds
        found += con.execute(
            "SELECT lower(function_name), lower(macro_definition) FROM duckdb_functions() "
            "WHERE macro_definition IS NOT NULL AND NOT internal AND function_name <> 'ai_query' "
            "AND database_name <> $1",
            [SCHEMA],
        ).fetchall()
    used: list[str] = []
    while more := [(name, sql) for name, sql in found if name in reached]:
        found = [definition for definition in found if definition not in more]
        used += [sql for _, sql in more]
        reached = " ".join(sql for _, sql in more)
    return used


def table_exists(con: duckdb.DuckDBPyConnection, table: tuple[str, ...], *, view: bool = False) -> bool:
    """Whether there is a table or view (with `view`, a view) of this name, with the names before it that were given.

    Never ends a transaction.
    """
    *within, name = table
    found = con.execute(
        "SELECT 1 FROM (SELECT database_name, schema_name, table_name AS name FROM duckdb_tables() WHERE NOT $3 "
        "UNION ALL SELECT database_name, schema_name, view_name FROM duckdb_views()) WHERE lower(name) = $1 "
        "AND list_has_all([lower(database_name), lower(schema_name)], $2::VARCHAR[]) "
        "AND (database_name IN (current_database(), 'temp') OR $2 <> [])",
        {"1": name.lower(), "2": [each.lower() for each in within], "3": view},
    )
    return bool(found.fetchall())


class Transaction:
    """One transaction around several statements, so that all see the same data and the same time of day.

    The transaction of somebody who opened one himself is left to him (`own` is False).
    """

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self._con = con
        numbers = {con.execute("SELECT txid_current()").fetchall()[0][0] for _ in range(2)}
        self.own = len(numbers) > 1  # without an open one, each statement has its own

    def __enter__(self) -> Transaction:
        if self.own:
            self._con.begin()
        return self

    def restart(self) -> None:
        """Begins again after an error, which ended it."""
        if self.own:
            self._con.rollback()
            self._con.begin()

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if self.own and kind is None:
            self._con.commit()
        elif self.own:
            with suppress(duckdb.Error):
                self._con.rollback()


@cache
def volatile_functions(version: str) -> frozenset[str]:
    """DuckDB's functions that give another value at each evaluation, in lower case."""
    with duckdb.connect() as con:
        rows = con.execute(
            "SELECT lower(function_name) FROM duckdb_functions() WHERE stability = 'VOLATILE'"
        ).fetchall()
    return frozenset(name for (name,) in rows) | {"nextval", "random", "uuid", "gen_random_uuid"}


@cache
def built_in_functions(version: str) -> frozenset[str]:
    """The functions of this version of DuckDB, in lower case."""
    return _listed("SELECT lower(function_name) FROM duckdb_functions()")


@cache
def _own_functions(version: str) -> frozenset[str]:
    """What stands before a parenthesis in this version of DuckDB and is no macro of anybody."""
    keywords = _listed("SELECT keyword_name FROM duckdb_keywords()")
    return built_in_functions(version) | keywords | {"ai_query", "aiq_reuse", "aiq_max_cost_usd"}


def _listed(query: str) -> frozenset[str]:
    with duckdb.connect() as con:
        return frozenset(name for (name,) in con.execute(query).fetchall())


def attach_ledger(con: duckdb.DuckDBPyConnection, name: str, source: Tables | pa.Table) -> str:
    """A view over one of the ledger's Delta tables, by its current files, or over given rows.

    Returns the SQL name to read it by.
    """
    catalog, schema, table = name.split(".")
    database = "aiq_ledger"
    cursor = con.cursor()
    try:
        with suppress(duckdb.Error):
            cursor.execute(f"ATTACH ':memory:' AS {database} (READ_WRITE)")
        target = f'{database}."{catalog}.{schema}"."{table}"'
        cursor.execute(f'CREATE SCHEMA IF NOT EXISTS {database}."{catalog}.{schema}"')
        with suppress(duckdb.CatalogException):  # it is a view
            cursor.execute(f"DROP TABLE IF EXISTS {target}")
        files = source.parquet_files(name) if isinstance(source, Tables) else None
        if files:
            listing = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
            query = f"SELECT * FROM read_parquet([{listing}], union_by_name = true)"
            cursor.execute(f"CREATE OR REPLACE VIEW {target} AS {query}")
        else:
            rows = source.to_arrow(name) if isinstance(source, Tables) else source
            cursor.execute(f"DROP VIEW IF EXISTS {target}")
            cursor.register("__aiq_rows", rows)
            cursor.execute(f"CREATE TABLE {target} AS SELECT * FROM __aiq_rows")
            cursor.unregister("__aiq_rows")
        return target
    finally:
        cursor.close()


def attach_gateway_usage(con: duckdb.DuckDBPyConnection, calls: str) -> str:
    """The view `system.ai_gateway.usage` over `calls`, which is attached. Returns the SQL name to read it by."""
    cursor = con.cursor()
    try:
        cursor.execute('CREATE SCHEMA IF NOT EXISTS aiq_ledger."system.ai_gateway"')
        target = 'aiq_ledger."system.ai_gateway"."usage"'
        cursor.execute(f"CREATE OR REPLACE VIEW {target} AS {gateway_usage_query(calls)}")
        return target
    finally:
        cursor.close()


def constant(con: duckdb.DuckDBPyConnection, expression: str, parameters: dict[str, Any], what: str) -> Any:
    """The value of a constant expression. Raises FunctionError where it depends on a row."""
    if literal := _LITERAL.fullmatch(expression):  # as most are, and a query takes half a millisecond
        return literal.group(1)
    try:
        used = next(iter(con.extract_statements(f"SELECT {expression}"))).named_parameters
        values = {name: parameters[name] for name in used} or None
        rows = con.execute(f"SELECT {expression}", values).fetchall()
    except duckdb.BinderException as error:
        if "Referenced" in str(error) or "column" in str(error).lower():
            raise FunctionError(
                "NON_FOLDABLE_ARGUMENT",
                f"the argument {what} of ai_query must be a constant, but it is {expression}. Write a literal, or run "
                "one statement for each value.",
            ) from None
        raise FunctionError("AI_INVALID_ARGUMENT_VALUE_ERROR", f"{what}: {_first_line(error)}") from None
    except (duckdb.Error, KeyError) as error:
        raise FunctionError("AI_INVALID_ARGUMENT_VALUE_ERROR", f"{what}: {_first_line(error)}") from None
    return rows[0][0]


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
