"""`aiq.register(spark)`: `ai_query` in plain Spark SQL, wherever Spark lets a function be called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from delta.tables import DeltaTable
from pyspark.errors import IllegalArgumentException, PythonException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

import aiq
from aiq.engines.spark.register import registration
from aiq.engines.spark.watch import look_now
from aiq.ledger.records import CALLS_TABLE, STATEMENTS_TABLE
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
    answers = [row.a for row in registered.sql(text).collect()]
    assert [(answer.errorMessage, bool(answer.result)) for answer in answers] == [(None, True)] * 3
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


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        ("ai_query('emb', p)", "array<float>"),
        ("ai_query('chat', p || ' Answer with exactly one of: 1', returnType => 'INT')", "int"),
        ("ai_query('chat', p, failOnError => false)", "struct<result:string,errorMessage:string>"),
        ("ai_query('chat', p, 'STRUCT<a: INT>', false)", "struct<result:struct<a:int>,errorMessage:string>"),
    ],
)
def test_a_call_has_the_type_of_its_arguments(registered: SparkSession, call: str, kind: str) -> None:
    frame = registered.sql(f"SELECT {call} AS a FROM t WHERE id < 2")
    assert frame.dtypes == [("a", kind)]
    assert all(row.a is not None for row in frame.collect())
    assert registered.table("t").selectExpr(f"{call} AS a").where("id < 0").collect() == []


def test_a_column_without_a_name_is_called_as_spark_calls_it(registered: SparkSession) -> None:
    registered.udf.register("other", lambda a, b: a, "string")
    ours, others = (registered.sql(f"SELECT {name}('chat', p || '!') FROM t").columns for name in ("ai_query", "other"))
    assert [name.replace("other", "ai_query") for name in others] == ours


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
    with pytest.raises(IllegalArgumentException, match=words) as refused:
        registered.sql(f"SELECT ai_query('chat', p, {option}) FROM t")  # not one row is looked at
    assert "\n" not in str(refused.value)
    assert simulator.stats()["requests"] == 0


def test_a_failing_row_fails_the_query_with_the_providers_words(registered: SparkSession) -> None:
    with pytest.raises(Exception, match="400"):
        registered.sql("SELECT ai_query('chat', p || ' [[fault:400]]') FROM t").collect()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("ai_query('nowhere', p)", "nowhere"),
        ("ai_query(p, p)", "endpoint of ai_query must be a constant"),
        ("ai_query('chat', id)", "request must be a STRING"),
        ("ai_query('chat', p, returnTyp => 'INT')", "Did you mean returnType"),
    ],
)
def test_a_wrong_call_is_refused_when_it_is_analysed(registered: SparkSession, call: str, words: str) -> None:
    with pytest.raises(IllegalArgumentException, match=words):
        registered.sql(f"SELECT {call} FROM t")


@pytest.mark.parametrize("vectors", [True, False])
def test_what_would_change_the_wrong_rows_is_refused(
    registered: SparkSession, simulator: SimulatorProcess, vectors: bool
) -> None:
    registered.sql(
        f"CREATE TABLE d USING delta TBLPROPERTIES ('delta.enableDeletionVectors'='{vectors}') AS SELECT * FROM t"
    )
    table = DeltaTable.forName(registered, "d")
    joined = table.alias("d").merge(registered.table("t").alias("t"), "d.id = t.id")
    changes: list[Callable[[], object]] = [
        lambda: registered.sql("DELETE FROM d WHERE ai_query('chat', p) = 'x'"),
        lambda: registered.sql("UPDATE d SET p = ai_query('chat', p)"),
        lambda: registered.sql(
            "MERGE INTO d USING t ON d.id = t.id AND ai_query('chat', d.p) = 'x' WHEN MATCHED THEN DELETE"
        ),
        lambda: table.delete("ai_query('chat', p) = 'x'"),
        lambda: table.update(set={"p": "ai_query('chat', p)"}),
        lambda: joined.whenMatchedDelete("ai_query('chat', d.p) = 'x'").execute(),
    ]
    try:
        for change in changes:
            with pytest.raises(IllegalArgumentException, match=r"session\.sql"):
                change()
        source = "(SELECT id, ai_query('chat', p) AS a FROM t WHERE id < 4)"
        registered.sql(f"MERGE INTO d USING {source} s ON d.id = s.id WHEN MATCHED THEN UPDATE SET p = s.a")
        assert simulator.stats()["requests"] == 4 and registered.table("d").count() == 40
    finally:
        registered.sql("DROP TABLE d")


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


def test_a_custom_model_has_the_type_that_the_configuration_gives_it(
    registered: SparkSession, conf: ConfFolder, simulator: SimulatorProcess
) -> None:
    own = {"return_type": "STRUCT<x: INT>", "model_server": {"url": f"{simulator.url}/invocations"}}
    conf.settings(endpoints={"model": own})
    assert registered.sql("SELECT ai_query('model', named_struct('x', 7)).x").collect() == [(7,)]
    asked = registered.range(1).select(aiq.functions.ai_query("model", F.struct(F.lit(8).alias("x"))).alias("a"))
    assert asked.select("a.x").collect() == [(8,)]


def test_session_reuse_serves_every_statement_of_the_application(
    registered: SparkSession, conf: ConfFolder, simulator: SimulatorProcess
) -> None:
    conf.settings(endpoints={"chat": {"reuse": "session"}, "model": {"model_server": {"url": "http://127.0.0.1:1"}}})
    for _ in range(2):
        registered.sql("SELECT ai_query('chat', p) FROM t").collect()
    assert simulator.stats()["requests"] == 10


def test_each_execution_is_a_row_of_the_statements(registered: SparkSession, home: Path) -> None:
    text = "SELECT id, ai_query('chat', p) AS a FROM t /* all */"
    frame = registered.sql(text)
    frame.collect()
    frame.count()  # asks nothing
    failing = "SELECT ai_query('chat', p || ' [[fault:400]]') AS a FROM t WHERE id = 3"
    with pytest.raises(PythonException):
        registered.sql(failing).collect()
    registered.table("t").selectExpr("ai_query('chat', 'Hi ' || p) AS a").where("id < 2").collect()
    registered.sql("SELECT count(*) FROM t").collect()
    gateway, _ = registration(registered)
    look_now(registered, gateway)
    gateway.ledger.commit()
    rows = sorted(gateway.ledger.tables.to_arrow(STATEMENTS_TABLE).to_pylist(), key=lambda row: row["start_time"])
    fields = ("text", "requester", "engine", "status", "requests", "reused", "failed")
    assert [tuple(row[field] for field in fields) for row in rows] == [
        (text, "ann@example.com", "spark", "ok", 10, 0, 0),
        (failing, "ann@example.com", "spark", "error", 1, 0, 1),
        (None, "ann@example.com", "spark", "ok", 2, 0, 0),
    ]
    assert all(row["start_time"] <= row["end_time"] and row["tokens"] > 0 for row in rows[::2])
    assert "400" in rows[1]["error_message"] and "Question 3" not in rows[1]["error_message"]
    calls = gateway.ledger.tables.to_arrow(CALLS_TABLE).to_pylist()
    assert {call["statement_id"] for call in calls} == {row["statement_id"] for row in rows}
