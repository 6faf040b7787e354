"""MERGE with calls: the pairs of rows and their values first, then a MERGE by keys in which nothing is asked.

As in changing.py beside this file. Calls may stand in the source, in ON, in the conditions and in the values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiq.engines.spark.catalyst import Catalyst, Node
from aiq.engines.spark.changing import KEY, Answered, RowChange, Values, check_as_written, key_of_row, read_of
from aiq.engines.spark.repeatable import snapshot
from aiq.errors import StatementError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_ROW, _MATCHED = "__aiq_row", "__aiq_matched"
_MOVED = (
    "another statement changed the table while the answers came in, so nothing was written. Run the statement again: "
    "it asks only for what is new."
)


def change_of(catalyst: Catalyst, command: Node) -> RowChange | Merge | None:
    """A command that changes rows of a table; None for all others. Raises StatementError and Spark's errors."""
    around = None
    if catalyst.kind(command) == "UnresolvedWith":
        around, command = command, catalyst.children(command)[0]
    kind = catalyst.kind(command)
    if kind == "MergeIntoTable":
        return Merge(catalyst, command, around)
    if kind not in ("DeleteFromTable", "UpdateTable"):
        return None
    if around is not None:
        raise StatementError("write the queries of WITH in the place where DELETE or UPDATE uses them")
    return RowChange(catalyst, command)


class Merge:
    """One MERGE. Its source becomes what each of its rows is matched with, and the values that this gives."""

    def __init__(self, catalyst: Catalyst, command: Node, around: Node | None) -> None:
        self._catalyst, self._command = catalyst, command
        self._as_written = command if around is None else around
        self._target = catalyst.value_of(command, "targetTable")
        source = catalyst.value_of(command, "sourceTable")
        self._on = catalyst.value_of(command, "mergeCondition")
        self._source = catalyst.frame(source if around is None else catalyst.with_children(around, [source]))
        self._alias = catalyst.outermost_alias(catalyst.plan(self._source))
        self._source_asks = catalyst.calls_python(catalyst.plan(self._source))
        self._plan_pairs(self._with_row(self._source, None))
        self.asks = self._source_asks or self._by_pairs
        self._check_by_source()

    def queries(self) -> list[DataFrame]:
        """What has to be answered; a query may hold what another one asks as well."""
        if not self._by_pairs:
            return [self._source]
        return [self._pairs, self._rest] if self._inserted.found else [self._pairs]

    def run(self, answered: Answered, spark: SparkSession) -> DataFrame:
        """Finds what to do, and does it in the caller's session. Raises Spark's errors before any call is made."""
        from pyspark.sql import functions as f

        catalyst = self._catalyst
        check_as_written(catalyst, self._as_written)
        source = self._source
        if self._source_asks:
            source = answered.kept(answered.rows(source))
        if not self._by_pairs:
            return catalyst.frame(catalyst.with_named(self._command, sourceTable=self._aliased(source)), spark)
        self._check_merge(spark)
        numbered = answered.kept(source.withColumn(_ROW, f.monotonically_increasing_id()))
        self._plan_pairs(self._with_row(numbered, _ROW))
        pairs = answered.kept(answered.rows(self._pairs).dropDuplicates([_ROW, KEY]))
        found = numbered.join(pairs, _ROW, "left")
        if self._inserted.found:
            single = self._with_row(numbered.join(pairs.select(_ROW), _ROW, "left_anti"), _ROW)
            values = answered.kept(answered.rows(single.select(_ROW, *self._inserted.columns())))
            found = found.join(values, _ROW, "left")
        found = answered.kept(found.withColumn(_MATCHED, f.col(KEY).isNotNull()))
        if snapshot(catalyst, catalyst.plan(catalyst.frame(self._target))) != self._snapshot:
            raise StatementError(_MOVED)
        return catalyst.frame(self._merge(self._aliased(found)), spark)

    def _with_row(self, source: DataFrame, row: str | None) -> DataFrame:
        """The source under its name, with the number of each row."""
        from pyspark.sql import functions as f

        if row is None:
            source = source.withColumn(_ROW, f.lit(0).cast("bigint"))
        return self._catalyst.frame(self._aliased(source))

    def _aliased(self, source: DataFrame) -> Node:
        catalyst = self._catalyst
        plan = catalyst.plan(source)
        return plan if self._alias is None else catalyst.with_children(self._alias, [plan])

    def _plan_pairs(self, source: DataFrame) -> None:
        """The query of the rows that match, and how the actions read what it gives."""
        catalyst, command = self._catalyst, self._command
        table = catalyst.frame(self._target)
        self._snapshot = snapshot(catalyst, catalyst.plan(table))
        joined = source.join(table, catalyst.column(self._on), "inner")
        self._changed = Values(catalyst, joined, "__aiq_matched_")
        self._inserted = Values(catalyst, source, "__aiq_inserted_")
        self._matched = self._actions(catalyst.value_of(command, "matchedActions"), self._changed)
        unmatched = self._actions(catalyst.value_of(command, "notMatchedActions"), self._inserted)
        self._not_matched = [self._only_if(action, f"NOT {_MATCHED}") for action in unmatched]
        self._by_pairs = self._changed.asks(self._on) or bool(self._changed.found or self._inserted.found)
        plan = catalyst.plan(joined.select(*self._changed.columns()))
        right = catalyst.output(catalyst.children(catalyst.children(plan)[0])[1])
        self._read = read_of(catalyst, joined.select(*self._changed.columns()), right)
        key = catalyst.column(key_of_row(catalyst, self._read)).alias(KEY)
        self._pairs = joined.select(_ROW, key, *self._changed.columns())
        self._rest = source.select(_ROW, *self._inserted.columns())

    def _actions(self, actions: Node, values: Values) -> list[Node]:
        """The actions with columns in the place of what asks: each only where none before it was taken."""
        catalyst = self._catalyst
        before: list[Node] = []
        found = []
        for action in catalyst.items(actions):
            condition = catalyst.optional(catalyst.value_of(action, "condition"))
            guard = [*before] if condition is None else [*before, condition]
            fields = {}
            if condition is not None:
                fields["condition"] = catalyst.some(values.value(condition, before))
                before.append(catalyst.is_not(condition, True))
            if catalyst.field(action, "assignments") is not None:
                listed = catalyst.items(catalyst.value_of(action, "assignments"))
                fields["assignments"] = catalyst.seq([values.assignment(each, guard) for each in listed])
            found.append(catalyst.with_named(action, **fields) if fields else action)
        return found

    def _only_if(self, action: Node, words: str) -> Node:
        """What was matched when it was asked about is not inserted, though its row may be another one by now."""
        catalyst = self._catalyst
        condition = catalyst.optional(catalyst.value_of(action, "condition"))
        parts = [catalyst.expression(words), *([] if condition is None else [condition])]
        return catalyst.with_named(action, condition=catalyst.some(catalyst.all(parts)))

    def _merge(self, source: Node) -> Node:
        catalyst = self._catalyst
        key = key_of_row(catalyst, self._read)
        return catalyst.with_named(
            self._command,
            sourceTable=source,
            mergeCondition=catalyst.equal(key, catalyst.expression(KEY)),
            matchedActions=catalyst.seq(self._matched),
            notMatchedActions=catalyst.seq(self._not_matched),
        )

    def _check_merge(self, spark: SparkSession) -> None:
        """Has Spark say what is wrong with the MERGE that comes of it, before any call."""
        from pyspark.sql import functions as f

        found = self._source
        for query in (self._pairs, self._rest):
            for field in query.schema.fields:
                if field.name != _ROW:
                    found = found.withColumn(field.name, f.lit(None).cast(field.dataType))
        found = found.withColumn(_MATCHED, f.lit(False))
        none = found.sparkSession.createDataFrame([], found.schema)
        self._catalyst.check(self._merge(self._aliased(none)), spark)

    def _check_by_source(self) -> None:
        catalyst, command = self._catalyst, self._command
        values = Values(catalyst, catalyst.frame(self._target))
        self._actions(catalyst.value_of(command, "notMatchedBySourceActions"), values)
        if values.found:
            raise StatementError(
                "a call under WHEN NOT MATCHED BY SOURCE asks about rows of the table alone; write it as an UPDATE "
                "or a DELETE of its own"
            )
        stars = [
            catalyst.kind(action)
            for name in ("matchedActions", "notMatchedActions")
            for action in catalyst.items(catalyst.value_of(command, name))
        ]
        evolves = catalyst.value_of(command, "withSchemaEvolution") or (
            catalyst.spark.conf.get("spark.databricks.delta.schema.autoMerge.enabled", "false") == "true"
        )
        if self._by_pairs and evolves and any("Star" in kind for kind in stars):
            raise StatementError(
                "a MERGE with schema evolution takes calls in its source only; compute them there: USING (SELECT *, "
                "ai_query(...) AS answer FROM ...)"
            )
