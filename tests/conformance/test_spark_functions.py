"""Calls of kept functions as text, against Spark's own SQL functions over the same bodies and arguments."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from pyspark.errors import PySparkException

from aiq.sql.words import DATABRICKS
from aiq.statements.definitions.create import read
from aiq.statements.definitions.expand import Expansion, Surroundings
from aiq.statements.definitions.parsed import Create
from aiq.statements.definitions.store import Definition, Definitions

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

BODIES = (
    "a - b",
    "concat(s, '/', a)",
    "CASE WHEN a > b THEN s ELSE concat(s, '''', b) END",
    "a * 2 - f.b",
    "transform(array(1, 2), x -> x + a)",
    "coalesce(nullif(s, 'x'), 'y''z')",
    "(SELECT max(k) FROM VALUES (1), (5), (9) AS v(k) WHERE k < a)",
    "SELECT a % 7 AS r",
    "upper(s) LIKE '%A%' AND NOT a = b",
    "if(a IS NULL, -1, a) + (SELECT count(*) FROM VALUES (1), (2) AS v(a) WHERE v.a <= f.a)",
)
RETURNS = ("", " RETURNS STRING", "", " RETURNS STRING", "")
ARGUMENTS = ("1", "b + 1", "a", "-a", "1 - b", "a % 3 -- why\n", "CAST(NULL AS INT)", "b", "'7'", "x", "2.6", "k")
TEXTS = ("'it''s'", "s", "concat(s, ')', '(')", "b", "NULL", "upper(s)", "'-- no'")


def _expansion(tmp_path: Path, *texts: str) -> Expansion:
    definitions = Definitions(tmp_path)
    for text in texts:
        created = read(text, DATABRICKS)
        assert isinstance(created, Create)
        made = Definition(created.kind, "", "", created.name[-1], text, DATABRICKS, True, "ann", 0.0, temporary=True)
        definitions.add(made, replace=True)
    around = Surroundings(lambda: ("", ""), lambda _: False, lambda _: False, lambda _: False, str, str)
    return Expansion(definitions, around)


def _call(random: Random) -> str:
    a, b, s = random.choice(ARGUMENTS), random.choice(ARGUMENTS), random.choice(TEXTS)
    return random.choice(
        (f"f({a}, {b}, {s})", f"f(s => {s}, b => {b}, a => {a})", f"f({a}, s => {s})", f"f({a}, {b})", f"f({a})")
    )


def _rows(spark: SparkSession, query: str) -> list[str] | None:
    """The rows as JSON; None where Spark ends it with an error."""
    try:
        return [row[0] for row in spark.sql(query).collect()]
    except PySparkException:
        return None


def test_calls_mean_what_spark_says_they_mean(spark: SparkSession, tmp_path: Path) -> None:
    random, right = Random(7), 0
    for number, body in enumerate(BODIES):
        text = f"(a INT, b INT DEFAULT 3 + 1, s STRING DEFAULT 'd' COMMENT 'it'){random.choice(RETURNS)} RETURN {body}"
        made = _expansion(tmp_path / str(number), f"CREATE TEMPORARY FUNCTION f{text}")
        spark.sql(f"CREATE OR REPLACE TEMPORARY FUNCTION f{text}")
        for _ in range(2):
            call = _call(random)
            rows = "VALUES (4, 2, 'ab', 7, 1), (2, 5, 'x', 0, 9) AS t(a, b, s, x, k)"
            query = f"SELECT to_json(struct({call} AS z)) FROM {rows}"
            found, expected = _rows(spark, made.expanded(query, DATABRICKS)), _rows(spark, query)
            assert found == expected, (body, call)
            right += expected is not None
    spark.sql("DROP TEMPORARY FUNCTION f")
    assert right > 10  # the others are errors on both sides
