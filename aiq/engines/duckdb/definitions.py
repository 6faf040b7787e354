"""What a DuckDB session does for functions and views that the home keeps.

DuckDB keeps its own views as well, as it always did; functions in Databricks' words are the home's alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import ref

import duckdb

from aiq.batch.slots import Pass
from aiq.engines.duckdb import connection as engine
from aiq.engines.duckdb.spark_values import translated
from aiq.errors import StatementError
from aiq.functions.signature import FUNCTION
from aiq.sql.words import DUCKDB, listed, quoted, words
from aiq.statements.definitions.kept import KeptDefinitions
from aiq.statements.definitions.parsed import Create, Name
from aiq.statements.definitions.tables import KeptTables

if TYPE_CHECKING:
    from aiq.engines.duckdb.engine import DuckDB


class DuckDBDefinitions(KeptDefinitions):
    """Functions and views of one DuckDB session."""

    dialect = DUCKDB

    def __init__(self, of: DuckDB) -> None:
        self._of = ref(of)  # a circle would keep the connection for the collector, which a forked child may run
        super().__init__(of.gateway.ledger.home, of.caller.user)

    @property
    def _engine(self) -> DuckDB:
        found = self._of()
        assert found is not None
        return found

    @property
    def _con(self) -> duckdb.DuckDBPyConnection:
        return self._engine.con

    def check(self, query: str, dialect: str) -> None:
        self._looked_at(query, dialect, "EXPLAIN")

    def check_fields(self, body: str, cast: str) -> None:
        types = [self._looked_at(query, DUCKDB, "DESCRIBE")[0][1] for query in (body, cast)]
        given, wanted = (
            [word.text.lower() for word in words(text, DUCKDB) if word.may_name and word.text not in _TYPES]
            for text in types
        )
        if given != wanted:
            raise StatementError(
                f"RETURNS names other fields than the body has, and DuckDB matches fields by name: the body gives "
                f"{types[0]}, RETURNS says {types[1]}. Use the same names in the same order"
            )

    def _looked_at(self, query: str, dialect: str, verb: str) -> list[Any]:
        statement = self._engine.statement()
        try:
            with engine.numbered_sites() as number:
                prepared = self._engine.preparation.prepare(query, None, dialect, statement, number)
                statement.running = Pass(-1)  # what is constant is looked up while DuckDB plans
                return prepared.execute(self._con, f"{verb}\n{prepared.text}").fetchall()
        finally:
            statement.running = None
            statement.end(well=True)

    def keeps(self, created: Create, text: str, dialect: str, *, asks: bool, own: bool) -> bool:
        if created.kind == "FUNCTION":
            if self.has_function(created.name):
                raise StatementError(
                    f"there is a macro {'.'.join(created.name)} in this database; drop it, or give the function "
                    "another name"
                )
            return False
        if not own or dialect != DUCKDB:
            return False
        self.run(text, dialect)
        return True

    def has_relation(self, name: Name) -> bool:
        return engine.table_exists(self._con, name)

    def has_view(self, name: Name) -> bool:
        return engine.table_exists(self._con, name, view=True)

    def has_function(self, name: Name) -> bool:
        found = self._con.execute(
            "SELECT 1 FROM duckdb_functions() WHERE lower(function_name) = $1 AND NOT internal "
            "AND macro_definition IS NOT NULL AND ($2 = '' OR lower(schema_name) = $2)",
            [name[-1].lower(), name[-2].lower() if len(name) > 1 else ""],
        )
        return bool(found.fetchall())

    def hides(self, name: Name) -> bool:
        return False

    def with_files(self, text: str) -> str:
        return self._engine.with_files(text)

    def to_duckdb(self, text: str) -> str:
        return translated(self._con, text)

    def is_built_in(self, name: str) -> bool:
        return name.lower() == FUNCTION or name.lower() in engine.built_in_functions(duckdb.__version__)

    def functions(self, which: str) -> list[str]:
        found = self._con.execute(
            "SELECT DISTINCT function_name FROM duckdb_functions() WHERE NOT starts_with(function_name, '__aiq') "
            "AND function_name <> 'ai_query' "
            "AND ($1 = 'ALL' OR (NOT internal AND macro_definition IS NOT NULL))",
            [which],
        )
        return [name for (name,) in found.fetchall()]

    def drop(self, kind: str, name: Name) -> None:
        written = ".".join(quoted(part, DUCKDB) for part in name)
        self._con.execute(f"DROP {kind} IF EXISTS {written}")

    def made_tables(self) -> KeptTables:
        return KeptTables(self)

    def own_catalogs(self) -> frozenset[str]:
        """Among them the database that the session was opened with."""
        try:
            found = self._con.execute("SELECT current_database()").fetchall()
        except duckdb.Error:  # in a transaction that an error has ended
            found = [("memory",)]
        return frozenset({"memory", "temp", "system", str(found[0][0]).lower()})

    def place(self) -> tuple[str, str]:
        catalog, schema = self._con.execute("SELECT current_database(), current_schema()").fetchall()[0]
        return str(catalog), str(schema)


_TYPES = listed(
    "STRUCT MAP UNION VARCHAR INTEGER BIGINT DOUBLE FLOAT BOOLEAN DATE TIMESTAMP TIME SMALLINT TINYINT HUGEINT DECIMAL "
    "BLOB JSON UUID INTERVAL WITH ZONE"
)
