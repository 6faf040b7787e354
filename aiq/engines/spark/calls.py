"""The functions that stand for calls in Spark's plans, and which call each of them is.

A call in the text of a statement has a function of its own, with its own result type; one in a view is `ai_query` as it
was registered. Knows Spark's functions; must never know how plans are changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql.pandas.functions import arrow_udf
from pyspark.sql.pandas.types import from_arrow_type
from pyspark.sql.types import DataType

from aiq.engines.spark.catalyst import Catalyst, Node
from aiq.engines.spark.failures import asked
from aiq.engines.spark.job import ANSWER, FILES, REQUEST, Job, Origin
from aiq.engines.spark.prepare import PREFIX, result_type
from aiq.errors import StatementError
from aiq.functions.signature import FUNCTION, bind
from aiq.functions.types import ddl
from aiq.gateway import Gateway
from aiq.statements.sites import PER_ROW, Compiled, compiled, not_constant

_OF_FUNCTION = re.compile(rf"{PREFIX}(\d+)")


class Sites:
    """The call sites of one statement, by number: those of its text, and those that its plan turns out to have."""

    def __init__(self, found: dict[int, Compiled], catalyst: Catalyst, gateway: Gateway) -> None:
        self.found, self._catalyst, self._gateway = found, catalyst, gateway
        self._same: dict[str, int] = {}

    def of(self, function: Node) -> tuple[int, Sequence[Node]] | None:
        """The site of a function of ours, with its request and files; None for somebody else's.

        Raises FunctionError and StatementError for a call in a view that is wrong, or not of type STRING.
        """
        catalyst, name = self._catalyst, str(function.name())
        children = catalyst.children(function)
        if numbered := _OF_FUNCTION.fullmatch(name):
            return int(numbered.group(1)), children[1:]
        if name != FUNCTION:
            return None
        bound = bind([catalyst.named(child) for child in children])
        requests = [bound[key] for key in PER_ROW if key in bound]
        own = [(key, catalyst.words(value)) for key, value in sorted(bound.items()) if key not in PER_ROW]
        words = repr((own, len(requests)))
        if words not in self._same:
            self._same[words] = len(self.found) + 1
            self.found[self._same[words]] = self._of_view(bound, catalyst.type(function))
        return self._same[words], requests

    def _of_view(self, bound: dict[str, Node], kind: DataType) -> Compiled:
        def constant(expression: Node, name: str) -> Any:
            try:
                return self._catalyst.value(expression)
            except PySparkException:
                raise not_constant(name, "it is not the same for all rows") from None

        made = compiled(bound, f"{FUNCTION}(...)", constant, self._gateway)
        if kind != from_arrow_type(made.site.type):  # not so when the view was made
            raise StatementError(
                f"a call in a view gives {kind.simpleString()}, but it returns {ddl(made.site.type)} by now. Make the "
                "view again."
            )
        return made

    def job(self, number: int, statement: str, origin: Origin) -> Job:
        """What a worker needs to answer the requests of a site."""
        made = self.found[number]
        field = self._gateway.config.settings.error_field
        return Job(origin, statement, made.site.endpoint.name, made.options, field)


def register_calls(spark: SparkSession, sites: Sites, statement: str, origin: Origin) -> None:
    """A function for each site of a statement's text. Where Spark comes to evaluate it, it asks, and each row once."""
    vectorized: Any = arrow_udf
    for number, made in sites.found.items():
        function = _function(sites.job(number, statement, origin))
        spark.udf.register(f"{PREFIX}{number}", vectorized(function, result_type(made)))


def _function(job: Job) -> Any:
    def answers(batches: Iterator[tuple[pa.Array, ...]]) -> Iterator[pa.Array]:
        rows = (_rows(columns[1:]) for columns in batches)
        for answered in asked(rows, job):
            yield answered.column(ANSWER)

    return answers


def _rows(columns: Sequence[pa.Array]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(list(columns), names=[REQUEST, FILES][: len(columns)])
