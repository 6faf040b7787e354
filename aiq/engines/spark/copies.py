"""Copies of kept functions and views in Spark's own catalog, so that plain `spark.sql` has them by their names.

The text in the home is what counts for sessions. A catalog that ends with the application holds the copies of the home
that was registered last.
"""

from __future__ import annotations

from pathlib import Path

from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from aiq.engines.spark.failures import is_of_text_field
from aiq.errors import StatementError
from aiq.sql.words import DATABRICKS, quoted
from aiq.statements.definitions.create import read
from aiq.statements.definitions.parsed import Create, Name
from aiq.statements.definitions.store import Definition, Definitions

_made: dict[tuple[str, str, str], Path] = {}
"""The home of each copy, by application, kind and whole name."""
_THERE = ("ROUTINE_ALREADY_EXISTS", "TABLE_OR_VIEW_ALREADY_EXISTS")


def copy(spark: SparkSession, home: Path, created: Create, text: str) -> bool:
    """Has Spark keep a definition; False where it cannot. Raises StatementError where Spark has another of its name."""
    key = _key(spark, created)
    try:
        if key in _made and not created.replaces and not created.temporary:  # of another home, or of one that is gone
            _drop(spark, key)
        spark.sql(text)
    except Py4JJavaError as error:
        if not is_of_text_field(error):
            raise
        return False
    except PySparkException as error:
        if error.getCondition() not in _THERE:
            return False
        what = created.kind.lower()
        raise StatementError(
            f"there is a {what} {'.'.join(created.name)} in Spark's catalog already, which this home does not know; "
            f"write CREATE OR REPLACE {created.kind}, or DROP {created.kind} it first"
        ) from None
    if not created.temporary:
        _made[key] = home
    return True


def offer(spark: SparkSession, home: Path) -> None:
    """Gives a catalog that is new with each application what a home keeps, and takes out what other homes keep.

    What Spark cannot have (it names a table that is gone, or means what only DuckDB has) is left out.
    """
    if spark.conf.get("spark.sql.catalogImplementation", "in-memory") != "in-memory":
        return
    application = str(spark.sparkContext.applicationId)
    for key in [key for key, of in _made.items() if of != home or key[0] != application]:
        if key[0] == application:
            _drop(spark, key)
        _made.pop(key, None)
    definitions = Definitions(home)
    kept = [one for family in ("function", "relation") for one in definitions.all(family) if one.dialect == DATABRICKS]
    current = spark.catalog.currentDatabase()
    try:
        for one in sorted(kept, key=lambda one: one.created_s):
            if one.kind in ("FUNCTION", "VIEW") and one.catalog.lower() in ("", "spark_catalog"):
                _offer(spark, home, one)
    finally:
        if kept:
            spark.catalog.setCurrentDatabase(current)


def _offer(spark: SparkSession, home: Path, definition: Definition) -> None:
    created = read(definition.text, definition.dialect)
    assert isinstance(created, Create)
    try:
        spark.catalog.setCurrentDatabase(definition.schema or "default")
        name = ".".join(quoted(part, DATABRICKS) for part in created.name)
        catalog = spark.catalog
        there = catalog.functionExists(name) if created.kind == "FUNCTION" else catalog.tableExists(name)
        if not there:
            copy(spark, home, created, definition.text)
    except (PySparkException, StatementError):
        return


def _key(spark: SparkSession, created: Create) -> tuple[str, str, str]:
    name: Name = created.name
    if len(name) < 3:
        schema = name[0] if len(name) == 2 else spark.catalog.currentDatabase()
        name = (spark.catalog.currentCatalog(), schema, name[-1])
    full_name = ".".join(quoted(part.lower(), DATABRICKS) for part in name)
    return str(spark.sparkContext.applicationId), created.kind, full_name


def _drop(spark: SparkSession, key: tuple[str, str, str]) -> None:
    try:
        spark.sql(f"DROP {key[1]} IF EXISTS {key[2]}")
    except PySparkException:  # its schema is gone
        return
