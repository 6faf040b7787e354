"""What a Spark session does for functions and views that the home keeps.

Spark keeps what needs no AI call itself, as its own are right by definition; the home has it too, for later sessions.
What calls has Spark a copy of, for plain `spark.sql`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from aiq.engines.spark.copies import copy
from aiq.engines.spark.failures import is_of_text_field
from aiq.engines.spark.tables import has_delta
from aiq.errors import StatementError
from aiq.functions.signature import FUNCTION
from aiq.sql.words import DATABRICKS, quoted
from aiq.statements.definitions.commands import Done
from aiq.statements.definitions.create import read
from aiq.statements.definitions.kept import KeptDefinitions
from aiq.statements.definitions.parsed import Create, Name
from aiq.statements.definitions.tables import KeptTables
from aiq.statements.settings import without_hints


class SparkDefinitions(KeptDefinitions):
    """Functions and views of one Spark session."""

    dialect = DATABRICKS

    def __init__(
        self,
        spark: SparkSession,
        home: Path,
        owner: str,
        look: Callable[[str], None],
        with_files: Callable[[str], str],
    ) -> None:
        """`look` has Spark analyse a query without running it, `with_files` has one read views instead of files."""
        self._spark, self._home, self._look, self._with_files = spark, home, look, with_files
        super().__init__(home, owner)

    def carry_out(self, text: str, params: Any, dialect: str) -> Done | None:
        """As on DuckDB; a definition takes no parameters, and one that Spark has itself is there."""
        made = read(without_hints(text), DATABRICKS)
        if params and isinstance(made, Create):
            raise StatementError("a definition takes no parameters of the session; write the values into its text")
        if not params and isinstance(made, Create) and made.unless_there and self._is_sparks_own(made):
            return Done()
        return super().carry_out(text, params, dialect)

    def _is_sparks_own(self, made: Create) -> bool:
        """Whether Spark has a function or view of this name that the home does not know."""
        if made.kind not in ("FUNCTION", "VIEW") or made.temporary:
            return False
        family = "function" if made.kind == "FUNCTION" else "relation"
        has = self.has_function if made.kind == "FUNCTION" else self.has_relation
        return self.definitions.find(family, self.expansion.qualified(made.name)) is None and has(made.name)

    def check(self, query: str, dialect: str) -> None:
        self._look(self.expanded(query, DATABRICKS))

    def check_fields(self, body: str, cast: str) -> None:
        """Spark's own casts go by the order of fields."""

    def keeps(self, created: Create, text: str, dialect: str, *, asks: bool, own: bool) -> bool:
        if asks and created.temporary and not (created.kind == "VIEW" and own):
            return False
        if not asks and own:
            try:
                self._spark.sql(text)
            except Py4JJavaError as error:
                if not is_of_text_field(error):
                    raise
                return False
            return True
        return copy(self._spark, self._home, created, text)

    def has_relation(self, name: Name) -> bool:
        try:
            return bool(self._spark.catalog.tableExists(_written(name)))
        except PySparkException:  # no such catalog
            return False

    def has_view(self, name: Name) -> bool:
        try:
            return self._spark.catalog.getTable(_written(name)).tableType == "VIEW"
        except PySparkException:
            return False

    def has_function(self, name: Name) -> bool:
        try:
            return bool(self._spark.catalog.functionExists(_written(name)))
        except PySparkException:
            return False

    def hides(self, name: Name) -> bool:
        return self.has_function(name)

    def with_files(self, text: str) -> str:
        return self._with_files(text)

    def to_duckdb(self, text: str) -> str:
        return text

    def own_catalogs(self) -> frozenset[str]:
        return frozenset({"spark_catalog", "hive_metastore"})

    def is_built_in(self, name: str) -> bool:
        catalyst: Any = self._spark._jvm.org.apache.spark.sql.catalyst  # type: ignore[union-attr]
        identifier = catalyst.FunctionIdentifier(name.lower())
        registries = (catalyst.analysis.FunctionRegistry, catalyst.analysis.TableFunctionRegistry)
        return name.lower() == FUNCTION or any(one.builtin().functionExists(identifier) for one in registries)

    def functions(self, which: str) -> list[str]:
        found = [row[0] for row in self._spark.sql(f"SHOW {which} FUNCTIONS").collect() if row[0] != FUNCTION]
        return [name for name in found if self.expansion.find("function", tuple(name.split("."))) is None]

    def drop(self, kind: str, name: Name) -> None:
        self._spark.sql(f"DROP {kind} IF EXISTS {_written(name)}")

    def made_tables(self) -> KeptTables:
        delta = has_delta(self._spark)
        return KeptTables(self, using="USING delta" if delta else "", replaces=delta, overwrites=True)

    def place(self) -> tuple[str, str]:
        catalog = self._spark.catalog
        return catalog.currentCatalog(), catalog.currentDatabase()


def _written(name: Name) -> str:
    return ".".join(quoted(part, DATABRICKS) for part in name)
