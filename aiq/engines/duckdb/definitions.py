"""What a DuckDB session does for functions and views that the home keeps (`Host` of statements/definitions/commands).

DuckDB keeps its own views as well, as it always did; functions in Databricks' words are the home's alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import ref

import duckdb
import pyarrow as pa

from aiq.batch.slots import Pass
from aiq.config.reuse import Reuse
from aiq.engines.duckdb import connection as engine
from aiq.engines.duckdb.explain import check_budget
from aiq.engines.duckdb.spark_values import translated
from aiq.errors import StatementError
from aiq.functions.signature import FUNCTION
from aiq.sql.words import DATABRICKS, DUCKDB, listed, quoted, words
from aiq.statements.definitions.commands import Commands, Done
from aiq.statements.definitions.create import Create, Name
from aiq.statements.definitions.expand import Expansion, Surroundings
from aiq.statements.definitions.store import Definitions
from aiq.statements.definitions.tables import KeptTables
from aiq.statements.settings import hints, without_hints

if TYPE_CHECKING:
    from aiq.engines.duckdb.session import Session

KEPT = Reuse("durable", 10 * 365 * 86400.0)
"""How long the answers of a materialized view are kept, where nothing else is said."""


class KeptDefinitions:
    """Functions and views of one DuckDB session."""

    def __init__(self, session: Session) -> None:
        self._of = ref(session)  # a circle would keep the connection for the collector, which a forked child may run
        self.owner, self.dialect = session.caller.user, DUCKDB
        self.definitions = Definitions(session.gateway.ledger.home)
        self.expansion = Expansion(
            self.definitions,
            Surroundings(
                self._place,
                self.has_relation,
                lambda name: False,
                self.is_built_in,
                self._translated,
                frozenset({"memory", "temp", "system", self._database()}),
            ),
        )
        self._commands = Commands(self)

    @property
    def _session(self) -> Session:
        session = self._of()
        assert session is not None
        return session

    def _translated(self, text: str) -> str:
        return translated(self._session.con, text)

    def carry_out(self, text: str, params: Any, dialect: str) -> Done | None:
        """The result of a statement about definitions; None for any other."""
        head = text.lstrip()[:2].upper()
        if head not in HEADS:
            return None
        bare = without_hints(text)
        dialect = dialect_of(bare, dialect)
        settings = self._session.settings
        try:
            self._session.settings = settings.with_values(hints(text))
            return self._commands.carry_out(bare, dialect) if not params else None
        finally:
            self._session.settings = settings

    def expanded(self, text: str, dialect: str) -> str:
        """A statement with kept functions and views spelled out."""
        return self.expansion.expanded(text, dialect)

    def run(self, text: str, dialect: str, *, keep: bool = False) -> Any:
        session, settings = self._session, self._session.settings
        try:
            if keep and settings.reuse is None:
                session.settings = settings._replace(reuse=KEPT)
            check_budget(session, text, None, dialect)
            return session._run_statement(text, None, dialect, session._statement_for(text))
        finally:
            session.settings = settings

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
        session = self._session
        statement = session._statement_for("")
        try:
            with engine.numbered_sites() as number:
                prepared = session._preparation.prepare(query, None, dialect, statement, number)
                statement.running = Pass(-1)  # what is constant is looked up while DuckDB plans
                return prepared.execute(session.con, f"{verb}\n{prepared.text}").fetchall()
        finally:
            statement.running = None
            session._end(statement, well=True, commit=False)

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
        return engine.table_exists(self._session.con, name)

    def has_view(self, name: Name) -> bool:
        return engine.table_exists(self._session.con, name, view=True)

    def has_function(self, name: Name) -> bool:
        found = self._session.con.execute(
            "SELECT 1 FROM duckdb_functions() WHERE lower(function_name) = $1 AND NOT internal "
            "AND macro_definition IS NOT NULL AND ($2 = '' OR lower(schema_name) = $2)",
            [name[-1].lower(), name[-2].lower() if len(name) > 1 else ""],
        )
        return bool(found.fetchall())

    def is_built_in(self, name: str) -> bool:
        return name.lower() == FUNCTION or name.lower() in engine.built_in_functions(duckdb.__version__)

    def functions(self, which: str) -> list[str]:
        found = self._session.con.execute(
            "SELECT DISTINCT function_name FROM duckdb_functions() WHERE NOT starts_with(function_name, '__aiq') "
            "AND function_name <> 'ai_query' "
            "AND ($1 = 'ALL' OR (NOT internal AND macro_definition IS NOT NULL))",
            [which],
        )
        return [name for (name,) in found.fetchall()]

    def drop(self, kind: str, name: Name) -> None:
        written = ".".join(quoted(part, DUCKDB) for part in name)
        self._session.con.execute(f"DROP {kind} IF EXISTS {written}")

    def made_tables(self) -> KeptTables:
        return KeptTables(self)

    def rows(self, table: pa.Table) -> Any:
        return self._session.con.from_arrow(table)

    def nothing(self) -> Any:
        return None

    def _database(self) -> str:
        """The database that the session was opened with."""
        try:
            found = self._session.con.execute("SELECT current_database()").fetchall()
        except duckdb.Error:  # in a transaction that an error has ended
            return "memory"
        return str(found[0][0]).lower()

    def _place(self) -> tuple[str, str]:
        catalog, schema = self._session.con.execute("SELECT current_database(), current_schema()").fetchall()[0]
        return str(catalog), str(schema)


_TYPES = listed(
    "STRUCT MAP UNION VARCHAR INTEGER BIGINT DOUBLE FLOAT BOOLEAN DATE TIMESTAMP TIME SMALLINT TINYINT HUGEINT DECIMAL "
    "BLOB JSON UUID INTERVAL WITH ZONE"
)
HEADS = ("CR", "DR", "AL", "RE", "DE", "SH", "--", "/*")


def dialect_of(text: str, dialect: str) -> str:
    """The dialect that a text is read in: with back-ticks it is Databricks' in any case."""
    try:
        written = dialect == DUCKDB and "`" in text and any(word.says("`") for word in words(text, DUCKDB))
    except StatementError:  # it escapes a quote as only Databricks' do
        written = True
    return DATABRICKS if written else dialect
