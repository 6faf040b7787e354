"""What a Spark session does for functions and views that the home keeps (`Host` of statements/definitions/commands).

Spark keeps what needs no AI call itself, as its own are right by definition; the home has it too, for later sessions.
What calls has Spark a copy of, for plain `spark.sql`.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyspark.errors import PySparkException

from aiq.engines.duckdb.definitions import HEADS, KEPT
from aiq.engines.spark.copies import copy
from aiq.engines.spark.tables import has_delta
from aiq.errors import StatementError
from aiq.functions.signature import FUNCTION
from aiq.sql.words import DATABRICKS, quoted
from aiq.statements.definitions.commands import Commands, Done
from aiq.statements.definitions.create import Create, Name, read
from aiq.statements.definitions.expand import Expansion, Surroundings
from aiq.statements.definitions.store import Definitions
from aiq.statements.definitions.tables import KeptTables
from aiq.statements.settings import hints, without_hints

if TYPE_CHECKING:
    from aiq.engines.spark.session import Session


class KeptDefinitions:
    """Functions and views of one Spark session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.owner, self.dialect = session.caller.user, DATABRICKS
        self.definitions = Definitions(session.gateway.ledger.home)
        self.expansion = Expansion(
            self.definitions,
            Surroundings(
                self._place,
                self.has_relation,
                self.has_function,
                self.is_built_in,
                str,
                frozenset({"spark_catalog", "hive_metastore"}),
            ),
        )
        self._commands = Commands(self)

    def carry_out(self, text: str, params: Any) -> Done | None:
        """The result of a statement about definitions; None for any other."""
        if text.lstrip()[:2].upper() not in HEADS:
            return None
        bare = without_hints(text)
        made = read(bare, DATABRICKS)
        if params:
            if isinstance(made, Create):
                raise StatementError("a definition takes no parameters of the session; write the values into its text")
            return None
        if isinstance(made, Create) and made.unless_there and self._is_sparks_own(made):
            return Done(self.nothing())
        settings = self._session.settings
        try:
            self._session.settings = settings.with_values(hints(text))
            return self._commands.carry_out(bare, DATABRICKS)
        finally:
            self._session.settings = settings

    def _is_sparks_own(self, made: Create) -> bool:
        """Whether Spark has a function or view of this name that the home does not know."""
        if made.kind not in ("FUNCTION", "VIEW") or made.temporary:
            return False
        family = "function" if made.kind == "FUNCTION" else "relation"
        has = self.has_function if made.kind == "FUNCTION" else self.has_relation
        return self.definitions.find(family, self.expansion.whole(made.name)) is None and has(made.name)

    def expanded(self, text: str) -> str:
        """A statement with kept functions and views spelled out."""
        return self.expansion.expanded(text, DATABRICKS)

    def run(self, text: str, dialect: str, *, keep: bool = False) -> Any:
        session, settings = self._session, self._session.settings
        try:
            if keep and settings.reuse is None:
                session.settings = settings._replace(reuse=KEPT)
            return session._sql(text, None, str(uuid.uuid4()))
        finally:
            session.settings = settings

    def check(self, query: str, dialect: str) -> None:
        self._session._check(self.expanded(query))

    def check_fields(self, body: str, cast: str) -> None:
        """Spark's own casts go by the order of fields."""

    def keeps(self, created: Create, text: str, dialect: str, *, asks: bool, own: bool) -> bool:
        if asks and created.temporary and not (created.kind == "VIEW" and own):
            return False
        if not asks and own:
            self._session.spark.sql(text)
            return True
        return copy(self._session.spark, self._session.gateway.ledger.home, created, text)

    def has_relation(self, name: Name) -> bool:
        try:
            return bool(self._session.spark.catalog.tableExists(_written(name)))
        except PySparkException:  # no such catalog
            return False

    def has_view(self, name: Name) -> bool:
        try:
            return self._session.spark.catalog.getTable(_written(name)).tableType == "VIEW"
        except PySparkException:
            return False

    def has_function(self, name: Name) -> bool:
        try:
            return bool(self._session.spark.catalog.functionExists(_written(name)))
        except PySparkException:
            return False

    def is_built_in(self, name: str) -> bool:
        catalyst: Any = self._session.spark._jvm.org.apache.spark.sql.catalyst  # type: ignore[union-attr]
        identifier = catalyst.FunctionIdentifier(name.lower())
        registries = (catalyst.analysis.FunctionRegistry, catalyst.analysis.TableFunctionRegistry)
        return name.lower() == FUNCTION or any(one.builtin().functionExists(identifier) for one in registries)

    def functions(self, which: str) -> list[str]:
        found = [row[0] for row in self._session.spark.sql(f"SHOW {which} FUNCTIONS").collect() if row[0] != FUNCTION]
        return [name for name in found if self.expansion.find("function", tuple(name.split("."))) is None]

    def drop(self, kind: str, name: Name) -> None:
        self._session.spark.sql(f"DROP {kind} IF EXISTS {_written(name)}")

    def made_tables(self) -> KeptTables:
        delta = has_delta(self._session.spark)
        return KeptTables(self, using="USING delta" if delta else "", replaces=delta, overwrites=True)

    def rows(self, table: pa.Table) -> Any:
        return self._session.spark.createDataFrame(table)

    def nothing(self) -> Any:
        return self._session._nothing()

    def _place(self) -> tuple[str, str]:
        catalog = self._session.spark.catalog
        return catalog.currentCatalog(), catalog.currentDatabase()


def _written(name: Name) -> str:
    return ".".join(quoted(part, DATABRICKS) for part in name)
