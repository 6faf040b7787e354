"""`text:field` on Spark: Databricks reads fields of a VARIANT and of JSON in a STRING so, Spark 4.1 of a VARIANT only.

`SELECT body:owner.name` becomes `SELECT aiq_json_field(body, '$.owner.name')`, which Spark's analyzer has built by the
type of `body`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from sqlglot import TokenType

from aiq.engines.spark.builder import FunctionOfArguments
from aiq.engines.spark.catalyst import Catalyst, Node
from aiq.engines.spark.prepare import FIELD
from aiq.errors import StatementError
from aiq.sql import calls
from aiq.sql.words import DATABRICKS, quoted

_EXTRACT = "SemiStructuredExtract"
_LISTS = {"Project": ("projectList",), "Aggregate": ("aggregateExpressions",)}
_STEP = re.compile(r"""\.([A-Za-z_]\w*)|\[(\d+)\]|\.?\[\s*'([^'"\\\]]+)'\s*\]|\.?\[\s*"([^'"\\\]]+)"\s*\]""")
_OF_NUMBERS = re.compile(r"\$(\[\d+\])+")


def with_json_fields(catalyst: Catalyst, text: str) -> str:
    """A statement in which each `column:path` is a function. What Spark cannot read stays, for Spark's own words."""
    colons = [token.start for token in calls.tokenize(text, DATABRICKS) if token.token_type == TokenType.COLON]
    if not colons:
        return text
    try:
        found = list(_extracts(catalyst, catalyst.parsed(text), is_column=False))
    except PySparkException:
        return text
    edits: dict[tuple[int, int], str] = {}
    for node, name in found:
        origin = node.origin()
        if str(origin.sqlText().get()) != text:  # variables stand in it
            return text
        start, end = int(origin.startIndex().get()), int(origin.stopIndex().get()) + 1
        colon = max(colon for colon in colons if start < colon < end)
        path = str(catalyst.value_of(node, "field"))
        written = path.replace("\\", "\\\\").replace("'", "\\'")
        is_named = name and _OF_NUMBERS.fullmatch(path) is None  # else the name is an alias that stands in the text
        edits[colon, end] = f", '{written}')" + (f" AS {quoted(name, DATABRICKS)}" if is_named else "")
        edits[start, start] = f"{FIELD}(" + edits.get((start, start), "")
    return calls.replace(text, [(start, end, new) for (start, end), new in edits.items()])


def register_json_fields(spark: SparkSession) -> None:
    """Lets a session's analyzer know what `with_json_fields` writes."""
    registry: Any = spark._jsparkSession.sessionState().functionRegistry()
    registry.createOrReplaceTempFunction(FIELD, _JsonField(spark).in_jvm(), "scala_udf")


def _extracts(catalyst: Catalyst, value: Any, *, is_column: bool) -> Iterator[tuple[Node, str]]:
    """All paths in what a parsed statement holds, at any depth, and what one is called that is a column without alias.

    Spark calls each path by its last field, wherever it stands.
    """
    if catalyst.is_instance(value, "scala.collection.Iterable"):
        for item in catalyst.items(value.toSeq()):
            yield from _extracts(catalyst, item, is_column=is_column)
    elif catalyst.is_instance(value, "scala.Product"):
        kind = catalyst.kind(value)
        if kind == "Alias" and catalyst.kind(inner := catalyst.children(value)[0]) == _EXTRACT:
            yield inner, str(value.name()) if is_column else ""
            value = inner
        lists = {catalyst.field(value, name) for name in _LISTS.get(kind, ())}
        for i in range(value.productArity()):
            yield from _extracts(catalyst, value.productElement(i), is_column=i in lists)


class _JsonField(FunctionOfArguments):
    """A field of a VARIANT, or of the JSON in a STRING."""

    def __init__(self, spark: SparkSession) -> None:
        super().__init__(spark._jvm)
        self._catalyst = Catalyst(spark)

    def _expression(self, children: Any) -> Any:
        column, path = self._catalyst.items(children)
        kind = str(column.dataType().typeName())
        expressions = self._jvm.org.apache.spark.sql.catalyst.expressions
        if kind == "variant":
            extracts = expressions.variant.VariantGet
            variant = getattr(getattr(self._jvm.org.apache.spark.sql.types, "VariantType$"), "MODULE$")
            return extracts(column, path, variant, True, self._jvm.scala.Option.empty())
        if kind not in ("string", "void"):
            raise StatementError(
                f"a colon reads fields of a VARIANT, or of JSON in a STRING; {column.sql()} is {kind.upper()}"
            )
        literal = getattr(getattr(expressions, "Literal$"), "MODULE$")
        return expressions.GetJsonObject(column, literal.apply(_path(str(path.value().toString()))))


def _path(written: str) -> str:
    """A path as `get_json_object` takes it. Raises StatementError for what it reads in another way than Databricks."""
    steps, end = "$", 1
    while (step := _STEP.match(written, end)) is not None:
        name, number = step[1] or step[3] or step[4], step[2]
        steps += f"[{number}]" if number is not None else f"['{name}']"
        end = step.end()
    if end != len(written) or end == 1:
        raise StatementError(
            f"the path {written[1:].removeprefix('.')} behind a colon has no exact counterpart for a STRING on Spark; "
            "write parse_json(text):path, or get_json_object(text, '$.path')"
        )
    return steps
