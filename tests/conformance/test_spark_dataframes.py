"""`aiq.functions.ai_query` and `aiq.enrich`: the function for PySpark's columns and data frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, FloatType, IntegerType, StringType

import aiq
from aiq.errors import FunctionError, StatementError
from aiq.simulator.process import SimulatorProcess
from tests.conftest import ConfFolder

Rows = list[dict[str, Any]]
ONE_OR_TWO = "Answer with exactly one of: 1, 2"


@pytest.fixture
def frame(spark: SparkSession, conf: ConfFolder, home: Path, simulator: SimulatorProcess) -> DataFrame:
    """40 rows with 10 prompts, of a registered session; every 20th prompt is NULL."""
    aiq.register(spark, conf=conf.path, home=home, user="ann@example.com")
    prompt = F.when(F.col("id") % 20 != 0, F.concat(F.lit("Question "), (F.col("id") % 10)))
    return spark.range(0, 40, 1, 2).select("id", prompt.alias("p"))


def test_a_column_function_answers_every_row(frame: DataFrame, simulator: SimulatorProcess) -> None:
    rows = frame.select("id", aiq.functions.ai_query("chat", "p").alias("a")).collect()
    assert {row.id for row in rows if row.a is None} == {0, 20}
    assert simulator.stats()["requests"] == 10


def test_the_column_has_the_type_it_was_given(frame: DataFrame) -> None:
    asked = frame.limit(2).withColumn("q", F.lit(ONE_OR_TWO))
    number = asked.select(aiq.functions.ai_query("chat", F.col("q"), "INT").alias("a"))
    assert number.schema["a"].dataType == IntegerType()
    assert number.first().a in (1, 2)  # type: ignore[union-attr]
    assert asked.select(aiq.functions.ai_query("emb", "q").alias("a")).schema["a"].dataType == ArrayType(FloatType())


def test_failures_become_values_where_that_was_asked(frame: DataFrame) -> None:
    column = aiq.functions.ai_query("chat", "p", ArrayType(IntegerType()), fail_on_error=False)
    row = frame.where("id = 1").select(column.alias("a")).first()
    assert row is not None and row.a.result is None and "cannot be cast" in row.a.errorMessage


def test_wrong_arguments_are_told_before_spark_runs(frame: DataFrame) -> None:
    with pytest.raises(StatementError, match="nowhere"):
        aiq.functions.ai_query("nowhere", "p")
    with pytest.raises(FunctionError, match="max_tokenz"):
        aiq.functions.ai_query("chat", "p", model_parameters={"max_tokenz": 3})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fail_on_error": "false"}, "failOnError must be a BOOLEAN, not 'false'"),
        ({"model_parameters": "temperature"}, "modelParameters must be a STRUCT"),
        ({"response_format": {"type": "text"}}, "responseFormat must be a STRING"),
        ({"return_type": 1}, "returnType must be a STRING"),
    ],
)
def test_an_option_of_the_wrong_type_is_refused_in_the_words_of_sql(
    frame: DataFrame, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(FunctionError, match=words):
        aiq.functions.ai_query("chat", "p", **options)
    with pytest.raises(FunctionError, match=words):
        aiq.enrich(frame, "a", "chat", "p", **options)


def test_enrich_asks_each_prompt_once_and_keeps_every_row(frame: DataFrame, simulator: SimulatorProcess) -> None:
    enriched = aiq.enrich(frame, "a", "chat", "p")
    assert enriched.columns == ["id", "p", "a"] and enriched.schema["a"].dataType == StringType()
    rows = enriched.collect()
    assert sorted(row.id for row in rows) == list(range(40))
    assert {row.id for row in rows if row.a is None} == {0, 20}
    by_prompt = {row.p: row.a for row in rows}
    assert all(by_prompt[row.p] == row.a for row in rows)
    assert simulator.stats()["requests"] == 10


def test_an_enriched_frame_is_paid_once_however_often_it_is_evaluated(
    frame: DataFrame, simulator: SimulatorProcess
) -> None:
    enriched = aiq.enrich(frame, "a", "chat", "p")
    enriched.count()
    first = {row.id: row.a for row in enriched.collect()}
    again = {row.id: row.a for row in enriched.join(enriched.select("id"), "id").orderBy("a").collect()}
    assert first == again
    assert simulator.stats()["requests"] == 10


def test_enrich_takes_an_expression(frame: DataFrame, simulator: SimulatorProcess) -> None:
    enriched = aiq.enrich(frame, "a", "chat", F.concat(F.lit("Say: "), F.col("p")), return_type="STRING")
    assert enriched.where("a IS NULL").count() == 2


def test_enrich_asks_two_prompts_that_only_a_collation_takes_for_equal(
    frame: DataFrame, simulator: SimulatorProcess
) -> None:
    rows = frame.sparkSession.sql("SELECT q COLLATE UTF8_LCASE AS q FROM (VALUES ('Yes.'), ('YES.'), ('Yes.')) AS v(q)")
    answers = {row.q: row.a for row in aiq.enrich(rows, "a", "chat", "q").collect()}
    assert simulator.stats()["requests"] == 2
    assert all(answer.endswith(question) for question, answer in answers.items())


def test_enrich_takes_a_map_for_a_custom_model(frame: DataFrame, simulator: SimulatorProcess) -> None:
    rows = frame.where("id < 4").select(F.create_map(F.lit("__return"), F.col("id") % 2).alias("m"))
    assert len(aiq.enrich(rows, "a", "model", "m", return_type="STRING").collect()) == 4
    assert simulator.stats()["requests"] == 2


def test_a_name_that_is_taken_is_refused(frame: DataFrame) -> None:
    with pytest.raises(StatementError, match="drop it"):
        aiq.enrich(frame, "p", "chat", "p")
