"""The examples of README and docs that are marked as Spark's do run, from the page's text, before the simulator."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

import aiq
from aiq.sql.script import split
from tests.conftest import ConfFolder
from tests.pages import DOCS, ROOT, Block, blocks

SPARK = "spark"
EXAMPLES = [(page, block) for page in (ROOT / "README.md", *DOCS) for block in blocks(page) if block.words == SPARK]
TABLES = {
    "reviews": "VALUES (1, 'Bright.', 5), (2, 'It wobbles.', 2) AS t(id, body, stars)",
    "new": "VALUES (2, 'It stands.') AS t(id, body)",
    "mails": "VALUES ('2025-12-01', 'Buy now'), ('2026-02-01', 'Hello') AS t(day, body)",
}


@pytest.fixture
def names(spark: SparkSession, conf: ConfFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """What the pages speak of: a SparkSession with tables, and a data frame."""
    monkeypatch.chdir(tmp_path)
    spark.sql("CREATE DATABASE pages")
    spark.sql("USE pages")
    for table, rows in TABLES.items():
        spark.sql(f"CREATE TABLE {table} USING delta AS SELECT * FROM {rows}")
    df = spark.sql("SELECT id, body, concat('Describe: ', body) AS prompt FROM reviews")
    yield {"aiq": aiq, "spark": spark, "df": df}
    spark.sql("USE default")
    spark.sql("DROP DATABASE pages CASCADE")


def run(block: Block, names: dict[str, Any]) -> None:
    """Runs a block. Frames that it does not use are read, and have a row for each review."""
    if block.language == "sql":
        with aiq.connect(names["spark"], conf="conf", home=".aiq") as session:
            for statement in split(block.text, "databricks"):
                session.sql(statement)
        return
    for node in ast.parse(block.text).body:
        if not isinstance(node, ast.Expr):
            exec(compile(ast.Module([node], []), "the page", "exec"), names)
            continue
        value = eval(compile(ast.Expression(node.value), "the page", "eval"), names)
        if isinstance(value, DataFrame):
            assert len(value.collect()) == 2, ast.unparse(node)


@pytest.mark.parametrize(("page", "block"), EXAMPLES, ids=[f"{page.stem}-{block.line}" for page, block in EXAMPLES])
def test_an_example_of_spark_runs(page: Path, block: Block, names: dict[str, Any]) -> None:
    run(block, names)
