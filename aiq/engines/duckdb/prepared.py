"""A statement as DuckDB runs it, and what DuckDB says of it before a row is looked at."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import duckdb

from aiq.batch.slots import Pass
from aiq.batch.statement import Statement
from aiq.engines.duckdb import pivots
from aiq.engines.duckdb.frames import call_seeing
from aiq.engines.duckdb.rewrite import tree
from aiq.engines.duckdb.rewrite.lift import Lifted, NotLifted
from aiq.engines.duckdb.rewrite.parts import Span, parts, without_conflict
from aiq.engines.duckdb.rewrite.split import Columns

_TO_FILE = re.compile(r"\)\s*TO\s+'((?:[^']|'')+)'", re.IGNORECASE)


class Prepared(NamedTuple):
    """A statement as DuckDB runs it.

    `values` are its parameters by name, `variables` the Python variables of its caller that it may name. `plan` says
    how its AI calls run, None where it has none; `by_name` whether some of them come from views or macros. `calls` are
    the numbered calls as DuckDB would name them, had they not been numbered. `written` is the statement as its user
    wrote it.
    """

    text: str
    values: dict[str, Any] | None
    variables: dict[str, Any]
    plan: Lifted | NotLifted | None = None
    by_name: bool = False
    calls: Mapping[int, str] = MappingProxyType({})
    written: str = ""

    def execute(self, con: duckdb.DuckDBPyConnection, text: str) -> duckdb.DuckDBPyConnection:
        """Executes a text made of this statement with its parameters and its caller's variables."""
        done: duckdb.DuckDBPyConnection = call_seeing(
            self.variables, con.execute, text, parameters=used(con, text, self.values)
        )
        return done


class Described:
    """What DuckDB says of the texts of one statement before a row is looked at. No call is made.

    An error ends an open transaction. So within one of the user's own, what may fail is tried on another connection,
    which does not see what the transaction has made: then the statement runs as it was written.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection, prepared: Prepared, statement: Statement, *, own: bool) -> None:
        """`own` is whether no transaction of the user's is open."""
        self._con, self._prepared, self._statement = con, prepared, statement
        self._planning = con if own else con.cursor()
        self._known: dict[str, list[tuple[str, str]]] = {}
        self._without_answers = False
        """Whether DuckDB, as it planned the latest text, computed something of an answer that is not there yet."""

    def check(self) -> None:
        """Raises DuckDB's error where the statement cannot run, as far as DuckDB can tell."""
        text = self._prepared.text
        found = parts(text)
        if found is None:
            return
        if tree.kind_of(text) == "MULTI":
            self._check_pivots(text)
            return
        if found.kind != "select" or found.query is None or tree.read(text) is None:
            try:
                self._explain(self._con, text)
            except duckdb.Error as error:
                if isinstance(error, pivots.OF_BINDING) or not self._without_answers or self._planning is not self._con:
                    raise  # else it may be of an answer that is not there yet, and the statement will tell
            if found.kind == "copy" and found.query is not None:
                self._check_folder(text, found.query)
            return
        columns = self._columns(self._con, text)
        if self._planning is self._con or self(text) == columns:
            self._known[text] = columns

    def _check_pivots(self, text: str) -> None:
        """Raises DuckDB's error over a statement of PIVOTs without IN, where that does not depend on its rows."""
        pivot = pivots.alone(text)
        if pivot is not None:
            self._check_bound(pivots.with_values(pivot), lambda error: not isinstance(error, pivots.OF_BINDING))
        self._check_bound(pivots.with_values(text), pivots.may_be_of_rows)

    def _check_bound(self, text: str, may_be_of_rows: Callable[[duckdb.Error], bool]) -> None:
        if tree.kind_of(text) in ("MULTI", ""):
            return
        try:
            self._explain(self._planning, text)
        except duckdb.Error as error:
            if not may_be_of_rows(error):
                raise

    def _check_folder(self, text: str, query: Span) -> None:
        """Raises DuckDB's error where a COPY writes a file to a folder that is not there."""
        rest = text[query.end :]
        file = _TO_FILE.match(rest)
        path = file.group(1).replace("''", "'") if file is not None else ""
        if path and "://" not in path and "partition_by" not in rest.lower():
            folder = os.path.dirname(os.path.expanduser(path))
            if folder and not os.path.isdir(folder):
                self._prepared.execute(self._con, f"{text[: query.start]} SELECT 1 {rest}").fetchall()

    def __call__(self, query: str) -> Columns | None:
        """The columns of a query; None where DuckDB does not take it."""
        if query in self._known:
            return self._known[query]
        try:
            found = self._known[query] = self._columns(self._planning, query)
        except duckdb.Error:
            return None
        return found

    def binds(self, text: str) -> bool:
        """Whether DuckDB understands a statement."""
        try:
            if tree.kind_of(text) == "MULTI":
                self._check_pivots(text)
            else:
                self._explain(self._planning, text)
        except duckdb.Error:
            return False
        return True

    def _explain(self, con: duckdb.DuckDBPyConnection, text: str) -> None:
        for stricter_first in dict.fromkeys((without_conflict(text), text)):
            self._run(con, "EXPLAIN", stricter_first)

    def _columns(self, con: duckdb.DuckDBPyConnection, query: str) -> list[tuple[str, str]]:
        return [(row[0], row[1]) for row in self._run(con, "DESCRIBE", query)]

    def _run(self, con: duckdb.DuckDBPyConnection, verb: str, text: str) -> list[tuple[Any, ...]]:
        run = self._statement.running = Pass(-1)  # to plan a statement, DuckDB computes what is constant in it
        try:
            return self._prepared.execute(con, f"{verb}\n{text}").fetchall()
        finally:
            self._statement.running = None
            self._without_answers = bool(run.asked or run.unknown)


def error_as_written(con: duckdb.DuckDBPyConnection, prepared: Prepared) -> duckdb.Error | None:
    """DuckDB's error over a statement as it was written, its calls those of the plain function; None for none."""
    written = prepared.written
    if tree.kind_of(written) == "MULTI":  # DuckDB would run the first of several, and that asks
        written = pivots.with_values(written)
        if tree.kind_of(written) == "MULTI":
            return None
    try:
        for text in dict.fromkeys((without_conflict(written), written)):
            prepared.execute(con, f"EXPLAIN\n{text}").fetchall()
    except duckdb.Error as error:
        return error
    return None


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def used(con: duckdb.DuckDBPyConnection, sql: str, values: dict[str, Any] | None) -> dict[str, Any] | None:
    if not values:
        return None
    names = next(iter(con.extract_statements(sql))).named_parameters
    return {name: values[name] for name in names} or None
