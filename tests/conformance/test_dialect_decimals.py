"""Arithmetic of decimals in Databricks' dialect on DuckDB has Spark's types to the digit, and Spark's values."""

from __future__ import annotations

import random
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING

import duckdb
import pytest

from aiq.engines.duckdb.spark_values import provide, translated

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_KINDS = {
    "a": "DECIMAL(10,2)", "b": "DECIMAL(2,2)", "c": "DECIMAL(18,6)", "e": "DECIMAL(38,18)", "f": "DECIMAL(5,0)",
    "g": "DECIMAL(38,0)", "h": "DECIMAL(20,19)", "i": "INT", "l": "BIGINT", "t": "SMALLINT", "d": "DOUBLE",
}  # fmt: skip
_LITERALS = ["3", "-7", "0.05", "100.0", "1e2", "3000000000", ".5", "12345678901234567890.125"]
_DIGITS = {"INT": 4, "BIGINT": 9, "SMALLINT": 2, "DOUBLE": 5}


def _value(pick: random.Random, kind: str) -> str:
    if kind not in _DIGITS:
        precision, scale = map(int, kind[8:-1].split(","))
        digits = pick.randint(1, pick.choice([min(3, precision), min(12, precision), precision]))
        return f"CAST('{Decimal(pick.choice([-1, 1]) * pick.randint(1, 10**digits - 1)).scaleb(-scale):f}' AS {kind})"
    number = pick.choice([-1, 1]) * pick.randint(1, 10 ** _DIGITS[kind] - 1)
    return f"CAST({number}{'.25D' if kind == 'DOUBLE' else ''} AS {kind})"


def _rows(pick: random.Random, count: int) -> str:
    rows = [f"({n}, {', '.join(_value(pick, kind) for kind in _KINDS.values())})" for n in range(count)]
    rows.append(f"({count}, {', '.join(f'CAST(NULL AS {kind})' for kind in _KINDS.values())})")
    return f"(SELECT * FROM VALUES {', '.join(rows)} AS numbers(id, {', '.join(_KINDS)}))"


def _expressions(pick: random.Random, count: int) -> Iterator[str]:
    """Of one or two operators over columns and literals."""
    sides = [*_KINDS, *_LITERALS, "-a", "(a)"]
    for _ in range(count):
        one, two, three = (pick.choice(sides) for _ in range(3))
        first, second = (pick.choice(["+", "-", "*", "/", "%", "DIV", "/"]) for _ in range(2))
        simple, call = f"{one} {first} {two}", pick.choice(["try_divide", "try_multiply", "mod", "try_add"])
        chain, group = f"{simple} {second} {three}", f"{one} {first} ({two} {second} {three})"
        places, column = pick.randint(-2, 4), pick.choice([each for each in _KINDS if each != "d"])
        yield pick.choice([simple, simple, simple, chain, group, f"{call}({one}, {two})",
                           f"round({one}, {places})", f"round({simple}, {places})", f"ceil({simple})", f"floor({one})",
                           f"sum({column}) OVER () {first} {two}", f"avg({column}) OVER ()",
                           f"{one} {first} avg({column}) OVER ()", f"{one} / coalesce({column}, {two})",
                           f"{one} / CASE WHEN id > 2 THEN {column} ELSE {two} END"])  # fmt: skip


def _of_spark(spark: SparkSession, expressions: list[str], rows: str) -> dict[str, tuple[str, list[str | None]]]:
    """Type and texts by expression; those that are an error in Spark are left out."""

    def read(some: list[str]) -> dict[str, tuple[str, list[str | None]]]:
        frame = spark.sql(
            f"SELECT {', '.join(f'{each} AS v{n}' for n, each in enumerate(some))} FROM {rows} ORDER BY id"
        )
        kinds = [field.dataType.simpleString().upper() for field in frame.schema]
        texts = frame.selectExpr(*(f"CAST(v{n} AS STRING) AS v{n}" for n in range(len(some)))).collect()
        return {each: (kinds[n], [row[n] for row in texts]) for n, each in enumerate(some)}

    try:
        return read(expressions)
    except Exception:
        if len(expressions) == 1:
            return {}
        half = len(expressions) // 2
        return _of_spark(spark, expressions[:half], rows) | _of_spark(spark, expressions[half:], rows)


@pytest.mark.parametrize("seed", [1])
def test_decimals_of_any_digits_are_computed_as_spark_computes_them(spark: SparkSession, seed: int) -> None:
    pick = random.Random(seed)
    rows, expressions = _rows(pick, 5), list(dict.fromkeys(_expressions(pick, 150)))
    wanted = _of_spark(spark, expressions, rows)
    refused = 0
    with duckdb.connect() as con:
        provide(con)
        con.execute(f"CREATE TABLE numbers AS {translated(con, f'SELECT * FROM {rows} ORDER BY id')}")
        for each in expressions:
            try:
                text = translated(con, f"SELECT id, {each} AS v FROM numbers")
                got = con.execute(f"SELECT aiq_spark_text(v), typeof(v) FROM ({text}) ORDER BY id").fetchall()
            except duckdb.Error:
                refused += each in wanted
                continue
            assert each in wanted, f"{each} is an error in Spark, here {got}"
            kind, texts = wanted[each]
            assert (got[0][1].replace("INTEGER", "INT"), [text for text, _ in got]) == (kind, texts), each
    assert refused < 0.2 * len(wanted), f"{refused} of {len(wanted)}"
