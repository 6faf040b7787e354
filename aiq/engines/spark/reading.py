"""How a Spark session reads a text: what a Databricks notebook writes into it, and what that means on this Spark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from aiq.config.endpoint import Settings
from aiq.engines.spark.files import frame
from aiq.sql.notebook import notebook
from aiq.sql.notebook.files import Files, with_files
from aiq.sql.notebook.notebook import Parameters, Text
from aiq.sql.pieces import Kind, changed
from aiq.sql.question import question
from aiq.sql.words import DATABRICKS
from aiq.statements.definitions.create import read as definition_in
from aiq.statements.definitions.parsed import Create
from aiq.statements.immediate import run_by


class SparkReading:
    """What one session knows of its texts. Session variables are Spark's own."""

    understands_use = True

    def __init__(self, spark: SparkSession, variables: Mapping[str, Any] | None) -> None:
        self._spark = spark
        self._variables = dict(variables or {})
        self._files: dict[Any, str] = {}

    def read(
        self, text: str, params: Parameters, settings: Settings, variables: Mapping[str, Any] | None = None
    ) -> Text:
        """A statement as Spark takes it. Raises StatementError; no call is made."""
        if (asked := question(text)) is not None:
            inner = self.read(asked.text, params, settings, variables)
            return inner._replace(text=asked.around(inner.text))
        known = {**self._variables, **(variables or {})}
        made = notebook.read(text, params, databricks=True, place=self, settings=settings, variables=known)
        if (statement := run_by(made.text, made.params, self._row)) is not None:
            return self.read(statement, None, settings, variables)
        return made._replace(text=changed(made.text, _kept, databricks=True)) if "${" in made.text else made

    def _row(self, query: str) -> tuple[Sequence[Any], Sequence[str]]:
        """The row of a query that reads session variables and no table, and its types."""
        found = self._spark.sql(query)
        return tuple(found.collect()[0]), [field.dataType.simpleString() for field in found.schema]

    def defines(self, text: str) -> bool:
        """Whether a Databricks text makes a function, view or table whose text is kept as it is."""
        return isinstance(definition_in(text, DATABRICKS), Create)

    def with_files(self, text: str, settings: Settings) -> str:
        """A Databricks text that reads views where it reads files. Raises StatementError."""
        return with_files(text, settings.volumes, self.variable, self.files)

    def current(self) -> str:
        """A catalog without a database of its own is Spark's first."""
        return "spark_catalog"

    def known(self, catalog: str) -> bool:
        """Spark has its own words on a catalog that it does not know."""
        return True

    def schema(self, database: str, schema: str) -> str:
        return schema

    def setting(self, name: str) -> Any:
        """`SET name = value` of Spark's own, which Spark puts in the place of `${name}`."""
        found = self._spark.conf.get(name, None)
        if found is None:
            raise KeyError(name)
        return found

    def variable(self, name: str) -> Any:
        try:
            return self._spark.sql(f"SELECT session.`{name}` AS value").collect()[0]["value"]
        except PySparkException:
            raise KeyError(name) from None

    def files(self, files: Files) -> str:
        """A temporary view over some files, one for each way of reading them."""
        key = (
            files.path,
            files.shown,
            files.format,
            files.pattern,
            files.metadata,
            tuple(sorted(files.options.items())),
        )
        name = self._files.setdefault(key, f"files_{len(self._files) + 1}_of_read_files")
        frame(self._spark, files).createOrReplaceTempView(name)
        return name


def share_variables(spark: SparkSession, own: SparkSession) -> None:
    """Lets a clone of a session see and set the session variables of its origin, which Spark does not copy."""
    ours, theirs = (each._jsparkSession.sessionState().catalogManager().tempVariableManager() for each in (own, spark))
    held = ours.getClass().getDeclaredField("variables")
    held.setAccessible(True)
    held.set(ours, held.get(theirs))


def _kept(kind: Kind, part: str) -> str:
    """A text in which `${name}` stays a text: Spark would put nothing in the place of what it does not know."""
    return part.replace("${", "\\u0024{") if kind == "text" and part[0] not in "rR" else part
