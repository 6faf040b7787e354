"""Which calls an expression needs next, and for which rows: the columns `a` and `b` stand for answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aiq.engines.spark.catalyst import Catalyst, Node
from aiq.engines.spark.needs import AskedCalls, Need

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class Expressions:
    """Expressions over columns c (BOOLEAN), d, a and b (STRING)."""

    def __init__(self, spark: SparkSession) -> None:
        self.catalyst = Catalyst(spark)
        spark.sql(
            "SELECT id > 1 AS c, string(id) AS d, string(id) AS a, string(id) AS b FROM range(3)"
        ).createOrReplaceTempView("needs")
        self._spark = spark
        self._plan = self.catalyst.plan(spark.table("needs"))
        self.columns = {str(column.name()): column for column in self.catalyst.output(self._plan)}

    def expression(self, text: str) -> Node:
        from pyspark.sql import functions as f

        made = self.catalyst.plan(self.catalyst.frame(self._plan).select(f.expr(text).alias("x")))
        return self.catalyst.unaliased(self.catalyst.items(made.projectList())[0])

    def asked(self, cost: dict[str, float] | None = None) -> AskedCalls:
        names = {self.catalyst.id(column): name for name, column in self.columns.items()}
        asked = AskedCalls(self.catalyst, lambda column: (cost or {}).get(names[column], 1.0))
        for name in ("a", "b"):
            asked.add(self.catalyst.id(self.columns[name]), [self.columns["d"]])
        return asked

    def words(self, needs: list[Need]) -> list[tuple[str, list[str]]]:
        """Needs as the column's name and its guard's SQL."""
        names = {self.catalyst.id(column): name for name, column in self.columns.items()}
        return [(names[need.column], [str(part.sql()) for part in need.guard]) for need in needs]


@pytest.fixture
def sql(spark: SparkSession) -> Expressions:
    return Expressions(spark)


def test_a_branch_is_needed_where_it_is_taken(sql: Expressions) -> None:
    needs = sql.words(sql.asked().needs([sql.expression("CASE WHEN c THEN a ELSE b END")]))
    assert [name for name, _ in needs] == ["a", "b"]
    (taken,), (not_taken,) = (guard for _, guard in needs)
    assert "<=> true" in taken and not taken.startswith("(NOT")
    assert "<=> true" in not_taken and not_taken.startswith("(NOT")


def test_conditions_that_spark_prints_alike_are_two(sql: Expressions) -> None:
    column, literal = sql.expression("d = a"), sql.expression(f"d = '{sql.columns['a'].toString()}'")
    assert column.toString() == literal.toString() and sql.catalyst.words(column) != sql.catalyst.words(literal)
    many = ", ".join(["''"] * 40)
    one, other = (sql.expression(f"concat_ws('', {many}, {last})") for last in ("a", "b"))
    assert one.toString() == other.toString() and sql.catalyst.words(one) != sql.catalyst.words(other)


def test_a_condition_on_another_column_of_the_same_name_is_another(sql: Expressions, spark: SparkSession) -> None:
    again = Expressions(spark).expression("d = 'x'")
    assert again.sql() == sql.expression("d = 'x'").sql()
    assert sql.catalyst.words(again) != sql.catalyst.words(sql.expression("d = 'x'"))


def test_coalesce_needs_a_call_where_all_before_it_is_null(sql: Expressions) -> None:
    ((name, guard),) = sql.words(sql.asked().needs([sql.expression("coalesce(d, a, b)")]))
    assert name == "a" and len(guard) == 1 and "IS NULL" in guard[0]


def test_of_two_conditions_the_cheaper_call_is_asked_first_and_alone(sql: Expressions) -> None:
    asked = sql.asked({"a": 5.0, "b": 1.0})
    condition = sql.expression("a = 'x' AND c AND b = 'x'")
    first = asked.needs([condition])
    assert [name for name, _ in sql.words(first)] == ["b"]
    for need in first:
        asked.note(need)
    ((name, guard),) = sql.words(asked.needs([condition]))
    assert name == "a" and len(guard) == 2


def test_an_or_asks_only_rows_that_nothing_has_decided(sql: Expressions) -> None:
    ((name, guard),) = sql.words(sql.asked().needs([sql.expression("a = 'x' OR c")]))
    assert name == "a" and guard == [guard[0]] and guard[0].startswith("(NOT") and "true" in guard[0]


def test_a_call_asked_for_every_row_is_known_under_any_guard(sql: Expressions) -> None:
    asked = sql.asked()
    asked.note(Need(sql.catalyst.id(sql.columns["a"]), ()))
    assert asked.needs([sql.expression("CASE WHEN c THEN a END")]) == []


def test_a_call_asked_for_some_rows_is_not_known_for_all(sql: Expressions) -> None:
    asked = sql.asked()
    guarded = sql.expression("CASE WHEN c THEN a END")
    for need in asked.needs([guarded]):
        asked.note(need)
    assert asked.needs([guarded]) == []
    assert [name for name, _ in sql.words(asked.needs([sql.expression("upper(a)")]))] == ["a"]
