"""Functions and views over `ai_query` in plain `spark.sql`: Spark's own, and those that a session keeps in its home."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import aiq
from tests.conformance.conftest import Engine, simulated_answer
from tests.conftest import ConfFolder

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ENGINES = ("spark",)


@pytest.fixture
def notes(engine: Engine) -> Iterator[Engine]:
    """A schema of its own, with a table `notes`."""
    spark = engine.session.spark
    spark.sql("CREATE SCHEMA plain_notes")
    spark.sql("USE plain_notes")
    spark.sql("CREATE TABLE notes USING parquet AS SELECT id, concat('note ', id) AS note FROM range(9)")
    yield engine
    for (name,) in spark.sql("SHOW USER FUNCTIONS").collect():
        if ".plain_notes." in name:  # Spark remembers a function of a schema that is gone
            spark.sql(f"DROP FUNCTION {name}")
    spark.sql("USE default")
    spark.sql("DROP SCHEMA plain_notes CASCADE")


def test_plain_sql_keeps_functions_and_views_over_calls_of_any_type(notes: Engine) -> None:
    spark = notes.session.spark
    spark.sql("CREATE FUNCTION gist(x STRING) RETURNS STRING RETURN ai_query('chat', concat('Gist: ', x))")
    spark.sql(
        "CREATE FUNCTION safe(x STRING) RETURNS STRUCT<result: STRING, errorMessage: STRING> "
        "RETURN (SELECT ai_query('chat', x, failOnError => false))"
    )
    spark.sql(
        "CREATE FUNCTION about(n BIGINT) RETURNS TABLE (id BIGINT, vector ARRAY<FLOAT>) "
        "RETURN SELECT id, ai_query('emb', note) FROM notes WHERE id = n"
    )
    spark.sql("CREATE VIEW gists AS SELECT id, gist(note) AS gist, safe(note).result AS said FROM notes")
    ((_, gist, said),) = spark.sql("SELECT * FROM plain_notes.gists WHERE id = 4").collect()
    assert (gist, said) == (simulated_answer("Gist: note 4"), simulated_answer("note 4"))
    ((number, length),) = spark.sql("SELECT id, size(vector) FROM about(3)").collect()
    assert (number, length) == (3, 64)


def test_plain_sql_reads_what_a_session_keeps(notes: Engine, conf: ConfFolder, home: Path, tmp_path: Path) -> None:
    spark = notes.session.spark
    notes.sql("CREATE FUNCTION gist(x STRING) RETURNS STRING RETURN ai_query('chat', concat('Gist: ', x))")
    notes.sql("CREATE VIEW gists AS SELECT id, gist(note) AS gist FROM notes")
    read = "SELECT gist FROM gists WHERE id = 5"
    expected = [(simulated_answer("Gist: note 5"),)]
    assert spark.sql(read).collect() == expected
    aiq.register(spark, conf=conf.path, home=tmp_path / "another", user="ann@example.com")
    with pytest.raises(Exception, match="gists"):
        spark.sql(read)
    aiq.register(spark, conf=conf.path, home=home, user="ann@example.com")
    assert spark.sql(read).collect() == expected
    assert spark.sql("SELECT plain_notes.gist('one')").collect() == [(simulated_answer("Gist: one"),)]
    notes.sql("DROP VIEW gists")
    notes.sql("DROP FUNCTION gist")
    for text in (read, "SELECT gist('one')"):
        with pytest.raises(Exception, match="gist"):
            spark.sql(text)


def test_a_function_that_only_spark_has_is_not_hidden_by_one_of_the_home(notes: Engine) -> None:
    spark = notes.session.spark
    spark.sql("CREATE FUNCTION own(x STRING) RETURNS STRING RETURN ai_query('chat', concat('Own: ', x))")
    text = "(x STRING) RETURNS STRING RETURN ai_query('chat', x)"
    with pytest.raises(aiq.errors.StatementError, match="in Spark's catalog already"):
        notes.sql(f"CREATE FUNCTION own{text}")
    notes.sql(f"CREATE FUNCTION IF NOT EXISTS own{text}")
    assert notes.sql("SELECT own('a') AS a") == [(simulated_answer("Own: a"),)]
    notes.sql(f"CREATE OR REPLACE FUNCTION own{text}")
    assert notes.sql("SELECT own('a') AS a") == [(simulated_answer("a"),)]
    assert spark.sql("SELECT own('a')").collect() == [(simulated_answer("a"),)]


def test_a_spark_session_that_was_not_registered_says_what_to_do(engine: Engine) -> None:
    spark: SparkSession = engine.session.spark.newSession()
    with pytest.raises(Exception, match=r"call aiq\.register\(spark\)"):
        spark.sql("SELECT ai_query('chat', 'a')")


def test_plain_sql_reads_the_fields_of_fail_on_error_by_all_their_names(notes: Engine) -> None:
    spark = notes.session.spark
    call = "ai_query('chat', note, failOnError => false)"
    answer = simulated_answer("note 2")
    for text, row in {
        f"SELECT {call}.result FROM notes WHERE id = 2": (answer,),
        f"SELECT {call}.response FROM notes WHERE id = 2": (answer,),
        f"SELECT r.response, r.error FROM (SELECT {call} AS r FROM notes WHERE id = 2)": (answer, None),
        f"SELECT r.response, r.errorMessage FROM (SELECT {call} AS r FROM notes WHERE id = 2)": (answer, None),
        f"SELECT r.* FROM (SELECT {call} AS r FROM notes WHERE id = 2)": (answer, None),
    }.items():
        assert [tuple(row) for row in spark.sql(text).collect()] == [row], text
    frame = spark.sql(f"SELECT {call} AS r FROM notes WHERE id < 0")
    assert frame.select("r.*").columns == ["result", "errorMessage"]
