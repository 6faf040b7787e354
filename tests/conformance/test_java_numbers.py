"""Functions of numbers have on DuckDB the very bits that they have on Spark, for values of every size."""

from __future__ import annotations

import math
import random
import struct
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pytest

from aiq.engines.duckdb.spark_values import translated
from aiq.errors import StatementError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_OF_ONE = ("exp", "expm1", "ln", "log2", "log10", "log1p", "sqrt", "cbrt", "asin", "acos", "atan", "sinh", "cosh",
           "tanh", "asinh", "acosh", "atanh", "degrees", "radians", "signum", "rint")  # fmt: skip
_EXPRESSIONS = [*(f"{name}(x)" for name in _OF_ONE), "power(x, y)", "log(x, y)", "hypot(x, y)", "atan2(x, y)"]
_SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, 3.0, -3.0, 2.5, 10.0, 1000.0, math.inf, -math.inf, math.nan, 5e-324,
            2.2250738585072014e-308, 1.7976931348623157e308, 0.9999999999999999, 1.0000000000000002,
            709.79, -745.2]  # fmt: skip


def _numbers(seed: int, count: int) -> list[float]:
    """Special values first, then any bits, small and middling numbers, halves and whole ones."""
    draw = random.Random(seed)
    kinds = [
        lambda: float(struct.unpack(">d", draw.randbytes(8))[0]),
        lambda: draw.uniform(-1, 1),
        lambda: draw.uniform(-60, 60),
        lambda: draw.randrange(-2000, 2000) / 2,
        lambda: 1 + math.ldexp(draw.uniform(-1, 1), -draw.randrange(1, 50)),
        lambda: math.ldexp(draw.uniform(-1, 1), draw.randrange(-60, 60)),
    ]
    return [draw.choice(kinds)() for _ in range(count)]


def _rows() -> list[tuple[float, float]]:
    special = [(x, y) for x in _SPECIAL for y in _SPECIAL]
    return [*special, *zip(_numbers(1, 4000), _numbers(2, 4000), strict=True)]


def _bits(value: float | None) -> str:
    return "NULL" if value is None else "NaN" if math.isnan(value) else struct.pack(">d", value).hex()


def test_functions_of_numbers_have_the_bits_that_spark_gives_them(spark: SparkSession) -> None:
    rows = _rows()
    wanted = spark.createDataFrame(rows, "x DOUBLE, y DOUBLE").coalesce(1).selectExpr(*_EXPRESSIONS).collect()
    with duckdb.connect() as con:
        con.register("numbers", pa.table({"x": [x for x, _ in rows], "y": [y for _, y in rows]}))
        found = con.execute(translated(con, f"SELECT {', '.join(_EXPRESSIONS)} FROM numbers")).fetchall()
    differing = [
        (name, row, value, of_spark)
        for row, values, of_sparks in zip(rows, found, wanted, strict=True)
        for name, value, of_spark in zip(_EXPRESSIONS, values, of_sparks, strict=True)
        if _bits(value) != _bits(of_spark)
    ]
    assert differing == []


@pytest.mark.parametrize("name", ["sin", "cos", "tan", "cot", "sec", "csc"])
def test_what_depends_on_the_processor_in_spark_is_refused(name: str) -> None:
    with duckdb.connect() as con, pytest.raises(StatementError, match=f"{name} has another last digit on each kind"):
        translated(con, f"SELECT {name}(x) FROM numbers")
