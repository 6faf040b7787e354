"""`aiq.register(spark)`: `ai_query` in plain Spark SQL, wherever Spark lets a function be called."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

import aiq
from aiq.simulator.process import SimulatorProcess
from tests.conftest import ConfFolder

Rows = list[dict[str, Any]]


@pytest.fixture
def registered(spark: SparkSession, conf: ConfFolder, home: Path, simulator: SimulatorProcess) -> SparkSession:
    """The session with `ai_query` of ann@example.com, and a view `t` of 40 rows with 10 prompts."""
    aiq.register(spark, conf=conf.path, home=home, user="ann@example.com")
    rows = spark.range(0, 40, 1, 2).select("id", F.concat(F.lit("Question "), (F.col("id") % 10)).alias("p"))
    rows.createOrReplaceTempView("t")
    return spark


def test_positional_arguments(registered: SparkSession, simulator: SimulatorProcess) -> None:
    rows = registered.sql("SELECT id, ai_query('chat', p) AS a FROM t").collect()
    assert len(rows) == 40 and all(row.a for row in rows)
    assert simulator.stats()["requests"] == 10


def test_named_arguments(registered: SparkSession, simulator: SimulatorProcess) -> None:
    text = """SELECT ai_query('chat', p, modelParameters => named_struct('max_tokens', 7, 'temperature', 0.5),
                              failOnError => false) AS a FROM t WHERE id < 3"""
    answers = [json.loads(row.a) for row in registered.sql(text).collect()]
    assert [answer["errorMessage"] for answer in answers] == [None] * 3
    assert all(attempt["completion_tokens"] <= 7 for attempt in simulator.attempts())


def test_expressions_views_and_nulls(registered: SparkSession, simulator: SimulatorProcess) -> None:
    registered.sql("CREATE OR REPLACE TEMP VIEW asked AS SELECT id, ai_query('chat', p) AS a FROM t")
    assert registered.sql("SELECT count(a) FROM asked").collect()[0][0] == 40
    frame = registered.table("t").select(F.expr("ai_query('chat', if(id = 1, p, NULL))").alias("a"))
    assert sum(row.a is not None for row in frame.collect()) == 1


def test_two_calls_in_one_row(registered: SparkSession, simulator: SimulatorProcess) -> None:
    text = "SELECT ai_query('chat', p) AS a, ai_query('chat', 'Again: ' || p) AS b FROM t"
    assert all(row.a and row.b for row in registered.sql(text).collect())
    assert simulator.stats()["requests"] == 20


def test_types_that_depend_on_arguments_name_the_way_that_has_them(registered: SparkSession) -> None:
    with pytest.raises(Exception, match=r"session\.sql"):
        registered.sql("SELECT ai_query('chat', p, returnType => 'INT') FROM t").collect()


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("failOnError => 'false'", "failOnError must be a BOOLEAN, not 'false'"),
        ("modelParameters => 'x'", "modelParameters must be a STRUCT"),
        ("modelParameters => named_struct('seed', id)", "argument modelParameters of ai_query must be a constant"),
    ],
)
def test_an_option_that_is_wrong_is_refused_in_the_words_of_a_session(
    registered: SparkSession, simulator: SimulatorProcess, option: str, words: str
) -> None:
    with pytest.raises(Exception, match=words):
        registered.sql(f"SELECT ai_query('chat', p, {option}) FROM t").collect()
    assert simulator.stats()["requests"] == 0


def test_a_failing_row_fails_the_query_with_the_providers_words(registered: SparkSession) -> None:
    with pytest.raises(Exception, match="nowhere"):
        registered.sql("SELECT ai_query('nowhere', p) FROM t").collect()


@pytest.mark.parametrize(
    "text",
    [
        "SELECT a FROM (SELECT id, ai_query('chat', p) AS a FROM t) WHERE a <> 'x'",
        "SELECT id, ai_query('chat', p) AS a FROM t ORDER BY a",
        "WITH w AS (SELECT id, ai_query('chat', p) AS a FROM t) SELECT x.a FROM w x JOIN w y ON x.id = y.id",
        "SELECT a, count(*) FROM (SELECT ai_query('chat', p) AS a FROM t) GROUP BY a ORDER BY a",
    ],
    ids=["filter", "sort", "self-join", "group"],
)
def test_rows_that_spark_evaluates_twice_are_paid_once(
    registered: SparkSession, simulator: SimulatorProcess, text: str
) -> None:
    assert registered.sql(text).collect()
    assert simulator.stats()["requests"] == 10


def test_every_call_is_in_the_ledger_when_the_query_is_done(
    registered: SparkSession, simulator: SimulatorProcess, ledger_rows: Callable[..., Rows]
) -> None:
    registered.sql("SELECT ai_query('chat', p) AS a FROM t").collect()
    rows = ledger_rows("system.aiq.calls")
    assert len(rows) == simulator.stats()["requests"] == 10
    assert {row["requester"] for row in rows} == {"ann@example.com"}
    (statement,) = {row["statement_id"] for row in rows}
    assert statement.startswith(registered.sparkContext.applicationId + "/")


def test_the_next_statement_asks_anew(registered: SparkSession, simulator: SimulatorProcess) -> None:
    for _ in range(2):
        registered.sql("SELECT ai_query('chat', p) FROM t").collect()
    assert simulator.stats()["requests"] == 20


def test_session_reuse_serves_every_statement_of_the_application(
    registered: SparkSession, conf: ConfFolder, simulator: SimulatorProcess
) -> None:
    conf.settings(endpoints={"chat": {"reuse": "session"}, "model": {"model_server": {"url": "http://127.0.0.1:1"}}})
    for _ in range(2):
        registered.sql("SELECT ai_query('chat', p) FROM t").collect()
    assert simulator.stats()["requests"] == 10
