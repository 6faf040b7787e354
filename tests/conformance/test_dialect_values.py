# ruff: noqa: E501 -- lines of the page
"""Databricks' expressions on DuckDB have the value, the type and the text that Spark gives them, or they are refused.

`dialect/spark_4_1.jsonl` is what Spark 4.1 gave: group, expression, [type, a text for each row] in UTC and, where it
differs, in America/New_York. A sample is asked of Spark again; `docs/dialect.md` is made of the whole.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from aiq.engines.duckdb.spark_values import OwnFunctions, provide, translated
from aiq.errors import StatementError
from aiq.sql.databricks.statements import to_duckdb

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FOLDER = Path(__file__).parent / "dialect"
PAGE = Path(__file__).parents[2] / "docs" / "dialect.md"
ZONES = ("UTC", "America/New_York")
_TYPES = {
    "INTEGER": "int", "BIGINT": "bigint", "VARCHAR": "string", "DOUBLE": "double", "FLOAT": "float",
    "TINYINT": "tinyint", "SMALLINT": "smallint", "BOOLEAN": "boolean", "DATE": "date", "BLOB": "binary",
    "TIMESTAMP WITH TIME ZONE": "timestamp", "TIMESTAMP": "timestamp_ntz", "JSON": "variant", '"NULL"': "void",
}  # fmt: skip


def cases() -> list[tuple[str, str, list[Any]]]:
    rows = [json.loads(line) for line in (FOLDER / "spark_4_1.jsonl").read_text().splitlines()]
    return [(group, expression, results) for group, expression, *results in rows]


def typed_rows() -> str:
    return (FOLDER / "typed.sql").read_text()


def statement(group: str, expression: str, rows: str | None = None) -> str:
    rows = rows or typed_rows()
    order = "" if group == "aggregates" else " ORDER BY id"
    return f"SELECT {'' if group == 'aggregates' else 'id, '}{expression} AS v FROM {rows}{order}"


def kind_of(duckdb_type: str) -> str:
    """Spark's name of a type. Fields of structs are left out."""
    if duckdb_type.endswith("[]"):
        return f"array<{kind_of(duckdb_type[:-2])}>"
    if found := re.match(r"DECIMAL\((\d+),(\d+)\)", duckdb_type):
        return f"decimal({found.group(1)},{found.group(2)})"
    if duckdb_type.startswith("MAP("):
        return "map<" + ",".join(map(kind_of, duckdb_type[4:-1].split(", ", 1))) + ">"
    return "struct" if duckdb_type.startswith("STRUCT(") else _TYPES.get(duckdb_type, duckdb_type)


def plain(spark_type: str) -> str:
    return re.sub(r"struct<[^<>]*(<[^<>]*>)?[^<>]*>", "struct", spark_type)


def outcome(con: duckdb.DuckDBPyConnection, own: OwnFunctions, group: str, expression: str, expected: Any) -> str:
    """same, refused, or what DuckDB gave in place of Spark's value."""
    try:
        text = to_duckdb(statement(group, expression, "typed"), own)
        names = "v" if group == "aggregates" else "id, v"
        rows = con.execute(f"SELECT aiq_spark_text(v), typeof(v) FROM ({text}) AS q({names})").fetchall()
        kind = kind_of(rows[0][1])
    except (StatementError, duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException):
        return "same" if expected == "error" else "refused"  # both engines refuse it
    except duckdb.Error as error:
        return "same" if expected == "error" else f"refused ({str(error).splitlines()[0][:80]})"
    if expected == "error":
        return f"a value where Spark has an error: {rows}"
    wanted, texts = expected
    nothing = kind == "void" and not any(texts)
    if [row[0] for row in rows] != texts or (kind != plain(wanted) and not nothing):
        return f"{kind} {[row[0] for row in rows]} for {plain(wanted)} {texts}"
    return "same"


_BY_ZONE = {"text of values", "casts", "dates"}


@cache
def outcomes(zone: str) -> dict[str, tuple[str, str]]:
    """Group and outcome by expression; in other zones than UTC only of the groups that have times."""
    with duckdb.connect() as con:
        con.execute(f"SET TimeZone = '{zone}'")
        provide(con)
        own = OwnFunctions(con)  # looked up once for all
        con.execute("CREATE TABLE typed AS " + translated(con, f"SELECT * FROM {typed_rows()}"))
        return {
            expression: (group, outcome(con, own, group, expression, results[0 if zone == "UTC" else -1]))
            for group, expression, results in cases()
            if zone == "UTC" or group in _BY_ZONE
        }


@pytest.mark.parametrize("zone", ZONES)
def test_each_expression_is_the_same_or_refused(zone: str) -> None:
    said = {expression: result for expression, (_, result) in outcomes(zone).items()}
    assert {each: result for each, result in said.items() if not result.startswith(("same", "refused"))} == {}


def page() -> str:
    counts: dict[str, Counter[str]] = {}
    refused: dict[str, list[str]] = {}
    for expression, (group, result) in outcomes("UTC").items():
        said = "same" if result == "same" else "refused"
        counts.setdefault(group, Counter())[said] += 1
        if said == "refused":
            refused.setdefault(group, []).append(expression)
    total = sum(counts.values(), Counter())
    lines = [
        "# Databricks' SQL on DuckDB: what is the same, what is refused",
        "",
        '`session.sql(text, dialect="databricks")`, and any text with back-ticks, gives on DuckDB the value, the type and the',
        "text in a prompt that Spark 4.1 gives, or refuses the statement by name before any call. This page is made by",
        f"`tests/conformance/test_dialect_values.py` of {total.total()} expressions run on both engines: {total['same']} are the same,",
        f"{total['refused']} are refused (a cast, a simpler expression or DuckDB's own SQL does it), none has another value.",
        "",
        "| Group | same | refused |",
        "|---|---|---|",
        *(f"| {group} | {count['same']} | {count['refused']} |" for group, count in counts.items()),
        "",
        "Refused:",
        "",
        *(f"* {group}: " + ", ".join(f"`{each}`" for each in names) for group, names in refused.items()),
        "",
        "An aggregate or window within some functions that depend on its type is refused: compute it in a subquery first.",
        "Types of decimals are the same to the digit (`test_dialect_decimals.py`, random ones beside Spark); `+`, `-`, `*` that",
        "would round at 38 digits are refused.",
        "",
        "`sin`, `cos`, `tan`, `cot`, `sec` and `csc` are refused: in Spark their last digit depends on the processor. Powers, roots,",
        "logarithms and the other functions of angles are Java's to the last bit.",
        "",
        "Known to differ, and not refused yet: `collect_set` is sorted, Spark's order is undefined; two columns that hold arrays",
        "or structs, compared by `<`, place NULL last (Spark: first); a BOOLEAN column compared with a column of numbers is an error in",
        "Spark, as are two arrays of different types; a BIGINT beside a DECIMAL, as more than a column in coalesce or CASE, makes",
        "19 digits of it, and 20 in Spark; `struct(i) = struct(NULL)` is an error in Spark;",
        "`greatest` of FLOATs gives 0.0 for -0.0; years before 1 or after 9999 as text;",
        "the last digits of var_pop, stddev and their like (Spark's depend on its partitions).",
        "",
        "UNION, INTERSECT and EXCEPT of columns of different types are refused where Spark gives another type than DuckDB: a text",
        "and a number, a FLOAT and an INT, a BIGINT and a DECIMAL. INSERT, UPDATE and MERGE are refused where a column has another type and",
        "DuckDB would store another value: a fraction in an INT, a DOUBLE in a DECIMAL, a DOUBLE or a time in a STRING. CAST the value.",
        "",
        "A view that is created in this dialect reads through `aiq_spark`, which `session.sql` attaches: a plain DuckDB connection says",
        "that a function like `upper_of` does not exist. Run a statement by `session.sql` first, or create the view in DuckDB's SQL.",
    ]
    return "\n".join(lines) + "\n"


def test_the_page_of_the_dialect_is_what_the_engines_say() -> None:
    made = page()
    if os.environ.get("AIQ_WRITE_DOCS"):
        PAGE.write_text(made)
    assert PAGE.read_text() == made


def test_spark_still_gives_what_was_recorded(spark: SparkSession) -> None:
    for group, expression, (expected, *_) in cases()[::60]:
        if expected != "error":
            frame = spark.sql(statement(group, expression))
            rows = frame.selectExpr("CAST(v AS STRING) AS v").collect()
            assert [row.v for row in rows] == expected[1], expression
