"""DELETE and UPDATE with calls: the answers first, then one MERGE by keys in which nothing is asked.

Delta reads the file names of the rows it changes, over operators that read ahead for Python (SPARK-18667), and changes
the wrong rows. So the rows are found by a query; the MERGE knows them by the digest of the columns that were read.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from aiq.engines.spark.catalyst import Catalyst, Node
from aiq.engines.spark.keys import row_key
from aiq.errors import StatementError

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

KEY, _ROWS = "__aiq_key", "__aiq_rows"


class Answered(NamedTuple):
    """How the rows of a query are had: with their answers, and kept so that they are computed once."""

    rows: Callable[[DataFrame], DataFrame]
    kept: Callable[[DataFrame], DataFrame]


class RowChange:
    """One DELETE or UPDATE: `DELETE FROM t WHERE ai_query('e', p) = 'x'` becomes

    `MERGE INTO t USING (SELECT digest(p) AS k FROM t WHERE ai_query('e', p) = 'x') ON digest(t.p) = k
    WHEN MATCHED THEN DELETE`.
    """

    def __init__(self, catalyst: Catalyst, command: Node) -> None:
        self._catalyst, self._command = catalyst, command
        self._target = catalyst.value_of(command, "table")
        self._is_update = catalyst.kind(command) == "UpdateTable"
        condition = catalyst.value_of(command, "condition")
        if self._is_update:
            condition = catalyst.optional(condition)
        table = catalyst.frame(self._target)
        rows = table if condition is None else table.where(catalyst.column(condition))
        values = Values(catalyst, table)
        assignments = catalyst.items(catalyst.value_of(command, "assignments")) if self._is_update else []
        self._assignments = [values.assignment(each) for each in assignments]
        parts = [] if condition is None else catalyst.conjuncts(condition)
        self._cheap = [part for part in parts if not values.asks(part) and not values.has_subquery(part)]
        self.asks = any(map(values.asks, parts)) or bool(values.found)
        chosen = rows.select(*values.columns())
        self._read = read_of(catalyst, chosen, catalyst.output(catalyst.plan(table)))
        self._query = rows.select(catalyst.column(key_of_row(catalyst, self._read)).alias(KEY), *values.columns())

    def queries(self) -> list[DataFrame]:
        """What has to be answered."""
        return [self._query]

    def run(self, answered: Answered, spark: SparkSession) -> DataFrame:
        """Finds the rows, and changes them in the caller's session. Raises Spark's errors before any call is made."""
        from pyspark.sql import functions as f

        catalyst = self._catalyst
        check_as_written(catalyst, self._command)
        none = self._query.sparkSession.createDataFrame([], self._query.schema)
        catalyst.check(self._merge(catalyst.plan(none)), spark)
        values = [f.first(name).alias(name) for name in self._query.columns if name != KEY]
        found = answered.kept(answered.rows(self._query).groupBy(KEY).agg(f.count(f.lit(1)).alias(_ROWS), *values))
        expected = found.agg(f.sum(_ROWS)).collect()[0][0] or 0
        result = catalyst.frame(self._merge(catalyst.plan(found)), spark).select("num_affected_rows")
        changed = result.collect()[0][0]
        if changed != expected:
            warnings.warn(
                f"{expected} rows were found and {changed} were changed: the others are not in the table any more as "
                "they were when they were asked about. Run the statement again for them.",
                stacklevel=6,
            )
        return result

    def _merge(self, source: Node) -> Node:
        catalyst = self._catalyst
        key = key_of_row(catalyst, self._read)
        on = catalyst.all([catalyst.equal(key, catalyst.expression(KEY)), *self._cheap])
        action = "UPDATE SET a = b" if self._is_update else "DELETE"
        merge = catalyst.parsed(f"MERGE INTO a USING b ON true WHEN MATCHED THEN {action}")
        fields = {"targetTable": self._target, "sourceTable": source, "mergeCondition": on}
        if self._is_update:
            (update,) = catalyst.items(catalyst.value_of(merge, "matchedActions"))
            update = catalyst.with_named(update, assignments=catalyst.seq(self._assignments))
            fields["matchedActions"] = catalyst.seq([update])
        return catalyst.with_named(merge, **fields)


class Values:
    """The expressions with calls that a command computes, each as a column of the query that answers them."""

    def __init__(self, catalyst: Catalyst, rows: DataFrame, prefix: str = "__aiq_value_") -> None:
        """`rows` are what the expressions are over."""
        self._catalyst, self._rows, self._prefix = catalyst, rows, prefix
        self.found: dict[str, Node] = {}

    def asks(self, expression: Node) -> bool:
        """Whether an expression calls a Python function, ours or somebody else's."""
        return self._catalyst.calls_python(self._plan(expression))

    def has_subquery(self, expression: Node) -> bool:
        return self._catalyst.has_subquery(self._plan(expression))

    def value(self, expression: Node, guard: Sequence[Node] = ()) -> Node:
        """An expression, or the column that has its value where `guard` holds, if it asks."""
        if not self.asks(expression):
            return expression
        catalyst, name = self._catalyst, f"{self._prefix}{len(self.found)}"
        condition = catalyst.all(guard)
        self.found[name] = expression if condition is None else catalyst.when(condition, expression)
        return catalyst.expression(name)

    def assignment(self, assignment: Node, guard: Sequence[Node] = ()) -> Node:
        """`SET a = <expression>` with the value of the expression."""
        key, value = self._catalyst.children(assignment)
        return self._catalyst.with_children(assignment, [key, self.value(value, guard)])

    def columns(self) -> list[Column]:
        return [self._catalyst.column(expression).alias(name) for name, expression in self.found.items()]

    def _plan(self, expression: Node) -> Node:
        return self._catalyst.plan(self._rows.select(self._catalyst.column(expression).alias("value")))


def read_of(catalyst: Catalyst, query: DataFrame, table: Sequence[Node]) -> list[Node]:
    """The columns of a table that a query over it reads for its conditions and its columns.

    Raises StatementError for what is no column of the rows, such as the name of a file.
    """
    read: set[int] = set()
    plan = catalyst.plan(query)
    while catalyst.kind(plan) in ("Project", "Filter"):
        read |= catalyst.all_references(catalyst.items(plan.expressions()))
        plan = catalyst.children(plan)[0]
    if catalyst.kind(plan) == "Join":
        read |= catalyst.all_references(catalyst.items(plan.expressions()))
    if any(catalyst.id(column) in read and str(column.name()) == "_metadata" for column in catalyst.output(plan)):
        raise StatementError(
            "a DELETE, UPDATE or MERGE with a call may read the columns of the table, and no _metadata: where a row "
            "lies may change while it is asked about. Find the rows with a SELECT into a table, and join that."
        )
    return [column for column in table if catalyst.id(column) in read]


def key_of_row(catalyst: Catalyst, columns: Sequence[Node]) -> Node:
    """The key of some columns of a table, which stand in it by their full names."""
    found = []
    for column in columns:
        parts = [*catalyst.items(column.qualifier()), column.name()]
        name = ".".join("`" + str(part).replace("`", "``") + "`" for part in parts)
        found.append((name, str(column.dataType().typeName())))
    return catalyst.expression(row_key(found))


def check_as_written(catalyst: Catalyst, command: Node) -> None:
    """Raises what Spark says of a command; not that it cannot evaluate a subquery, which is evaluated before."""
    from pyspark.errors import AnalysisException

    try:
        catalyst.check(command, catalyst.spark, planned=False)
    except AnalysisException as error:
        if error.getCondition() != "DELTA_UNSUPPORTED_SUBQUERY":
            raise
