"""How a DuckDB session reads a text: what a Databricks notebook writes into it, and what that means on this connection.

Keeps the session variables that were declared in Databricks' SQL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import duckdb

from aiq.config.endpoint import Settings
from aiq.engines.duckdb.frames import variables_of_caller
from aiq.engines.duckdb.read_files import query
from aiq.engines.duckdb.replace_where import with_columns_to_replace
from aiq.engines.duckdb.spark_values import translated
from aiq.errors import StatementError
from aiq.sql import calls
from aiq.sql.compound import is_script
from aiq.sql.notebook import notebook
from aiq.sql.notebook.files import Files, with_files
from aiq.sql.notebook.names import spelled
from aiq.sql.notebook.notebook import Parameters
from aiq.sql.notebook.session_variables import Assignment, Variable, assignment, with_values
from aiq.sql.pieces import Kind, changed, pieces
from aiq.sql.question import question
from aiq.sql.words import DATABRICKS
from aiq.statements.definitions.create import read as definition_in
from aiq.statements.definitions.parsed import Create
from aiq.statements.immediate import run_by


class DuckDBReading:
    """What one session knows of its texts: variables of its caller and of its SQL, and the files it has read."""

    understands_use = False

    def __init__(self, con: duckdb.DuckDBPyConnection, variables: Mapping[str, Any] | None) -> None:
        self._con = con
        self._variables = dict(variables or {})
        self._declared: dict[str, Variable] = {}
        self._files: dict[str, str] = {}

    def read(
        self, text: str, params: Parameters, dialect: str, settings: Settings, variables: Mapping[str, Any] | None
    ) -> tuple[str, Parameters, str]:
        """A statement as the session runs it, its parameters, and whose SQL it is.

        Raises StatementError; no call is made.
        """
        if (asked := question(text)) is not None:
            inner, params, dialect = self.read(asked.text, params, dialect, settings, variables)
            return asked.around(inner), params, dialect
        databricks = dialect == "databricks" or has_backticks(text)
        read, params = notebook.read(
            text,
            params,
            databricks=databricks,
            place=self,
            settings=settings,
            variables={**self._variables, **(variables or {})},
        )
        if not databricks:
            return read, params, dialect
        read = changed(read, _escaped, databricks=True)
        if is_script(read):
            raise StatementError(
                "BEGIN .. END scripts run on Spark only; run the statements of the script one by one, with DECLARE and "
                "SET VAR for its variables"
            )
        read = with_columns_to_replace(self._con, read)
        if (statement := run_by(read, params, self._row)) is None:
            return read, params, "databricks"
        return self.read(statement, None, "databricks", settings, variables)

    def _row(self, query: str) -> tuple[Sequence[Any], Sequence[str]]:
        """The row of a query that reads session variables and no table, and its types."""
        read = translated(self._con, with_values(query, self._declared, lambda name: False))
        found = self._con.execute(read)
        types = [str(column[1]) for column in found.description or ()]
        return found.fetchall()[0], types

    def assigned(self, text: str, dialect: str, run: Callable[[str], duckdb.DuckDBPyRelation | None]) -> str | None:
        """Sets the variables that a statement sets, and returns None; any other text with the variables it reads.

        `run` runs a query of the session. Raises StatementError, and what `run` raises.
        """
        if dialect != "databricks":
            return text
        made = assignment(text, self._declared)
        if made is None:
            return with_values(text, self._declared, lambda name: self._is_column(name, text))
        self._assign(made, run)
        return None

    def _assign(self, made: Assignment, run: Callable[[str], duckdb.DuckDBPyRelation | None]) -> None:
        if made.drops:
            for name in made.names:
                self._declared.pop(name, None)
                self._con.execute(f'RESET VARIABLE "{name}"')
            return
        query = made.query or f"SELECT {', '.join(f'{value} AS c{i}' for i, value in enumerate(made.values))}"
        declared = {**self._declared, **dict(zip(made.names, made.declares, strict=False))}
        relation = run(with_values(query, self._declared, lambda name: self._is_column(name, query)))
        table = relation.to_arrow_table() if relation is not None else None
        if table is None or table.num_rows > 1 or table.num_columns != len(made.names):
            raise StatementError(f"SET VAR needs one row with a value for each of {', '.join(made.names)}")
        for i, name in enumerate(made.names):
            one = table.select([i]).rename_columns(["value"])
            kind = declared[name].type
            value = (
                "value"
                if kind is None
                else translated(self._con, f"SELECT CAST(value AS {kind}) AS value")
                .removeprefix("SELECT ")
                .removesuffix(" AS value")
            )
            with self._con.cursor() as duplicate:
                duplicate.register("one", one)
                bound = duplicate.sql(f"SELECT {value} AS value FROM one").to_arrow_table()
            self._con.register("aiq_value", bound)
            try:
                self._con.execute(f'SET VARIABLE "{name}" = (SELECT value FROM aiq_value)')
            finally:
                self._con.unregister("aiq_value")
        self._declared = declared

    def _is_column(self, name: str, text: str) -> bool:
        """Whether a table or view that a text names has a column of this name."""
        found = self._con.execute(
            "SELECT DISTINCT lower(table_name) FROM duckdb_columns() WHERE lower(column_name) = ?", [name]
        ).fetchall()
        words = {token.text for token in calls.tokenize(text, "databricks")}
        lower = {word.lower() for word in words}
        frames = variables_of_caller(words).values()  # data frames that the statement may read by their names
        return any(table in lower for (table,) in found) or any(
            name == str(column).lower() for frame in frames for column in _columns_of(frame)
        )

    # --- what the text asks of this engine ---

    def defines(self, text: str) -> bool:
        """Whether a Databricks text makes a function, view or table whose text is kept as it is."""
        return isinstance(definition_in(text, DATABRICKS), Create)

    def with_files(self, text: str, settings: Settings) -> str:
        """A Databricks text that reads views where it reads files. Raises StatementError."""
        return with_files(text, settings.volumes, self.variable, self.files)

    def current(self) -> str:
        found: str = self._con.execute("SELECT current_database()").fetchall()[0][0]
        return found

    def known(self, catalog: str) -> bool:
        found = self._con.execute("SELECT database_name FROM duckdb_databases()").fetchall()
        return any(name.lower() == catalog.lower() for (name,) in found)

    def schema(self, database: str, schema: str) -> str:
        """Databricks' schema `default` is DuckDB's `main`, unless there is one of that name."""
        if schema.lower() != "default":
            return schema
        own = "SELECT 1 FROM duckdb_schemas() WHERE lower(database_name) = lower(?) AND lower(schema_name) = 'default'"
        return schema if self._con.execute(own, [database]).fetchall() else "main"

    def setting(self, name: str) -> Any:
        raise KeyError(name)

    def variable(self, name: str) -> Any:
        if name.lower() not in self._declared:
            raise KeyError(name)
        return self._con.execute("SELECT getvariable(?)", [name.lower()]).fetchall()[0][0]

    def files(self, files: Files) -> str:
        """A temporary view over some files, one for each way of reading them."""
        rows = query(files)
        name = self._files.setdefault(rows, f"files_{len(self._files) + 1}_of_read_files")
        self._con.execute(f"CREATE OR REPLACE TEMP VIEW {spelled((name,))} AS {rows}").fetchall()
        return name


def has_backticks(text: str) -> bool:
    """Whether a text is Databricks' by its quotes: DuckDB's has no backtick but in quotes and comments."""
    if "`" not in text:
        return False
    return any("`" in text[part.start : part.end] for part in pieces(text, databricks=False) if part.kind == "code")


def _columns_of(value: Any) -> list[Any]:
    """The names of a data frame's columns; none of anything else."""
    names = getattr(value, "column_names", None) or getattr(value, "columns", None)
    try:
        return [] if names is None or callable(names) else list(names)
    except TypeError:
        return []


def _escaped(kind: Kind, part: str) -> str:
    """`'it''s'` as `'it\\'s'`: the translation reads the first as two texts."""
    quote = part[0]
    if kind != "text" or quote in "rR" or quote * 2 not in part[1:-1]:
        return part
    inner = re.sub(rf"(\\.)|{quote}{quote}", lambda found: found[1] or f"\\{quote}", part[1:-1], flags=re.DOTALL)
    return quote + inner + part[-1]
