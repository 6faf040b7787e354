"""DELETE, UPDATE and MERGE with calls on Delta tables change the rows that brute force says, however the tables lie.

Delta's own way loses rows of tables of several files (SPARK-18667), so each layout is one of those that it gets wrong.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from delta.tables import DeltaTable
from pyspark.errors import AnalysisException, IllegalArgumentException, PythonException
from pyspark.sql import functions as F

import aiq
from aiq.errors import StatementError
from tests.conformance.conftest import simulated_answer

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from tests.conformance.conftest import Engine
    from tests.conftest import ConfFolder

ENGINES = ("spark",)
_ASK = "\nAnswer with exactly one of: yes, no"
_WORDS = ("yes", "no", "yes", None, "no")
ROWS = {i: None if (word := _WORDS[i % 5]) is None else f"{word} {i}" for i in range(20)}
"""The rows of `t`: every fifth has no text."""


def call(column: str) -> str:
    return f"ai_query('chat', {column} || '.{_ASK}')"


def answer(text: str | None) -> str | None:
    return None if text is None else simulated_answer(f"{text}.{_ASK}")


YES = {i for i, text in ROWS.items() if answer(text) == "yes"}


def make(spark: SparkSession, files: int = 4, layout: str = "", vectors: bool = True) -> None:
    """The table `t`, with the number of its files, how they lie, and deletion vectors or none."""
    spark.sql("DROP TABLE IF EXISTS t")
    spark.sql(
        f"CREATE TABLE t (id BIGINT, p STRING, g BIGINT) USING delta {layout} "
        f"TBLPROPERTIES ('delta.enableDeletionVectors' = '{vectors}')"
    )
    rows = spark.createDataFrame([(i, text, i % 3) for i, text in ROWS.items()], "id BIGINT, p STRING, g BIGINT")
    rows.repartition(files, "id").write.format("delta").mode("append").saveAsTable("t")


def found(engine: Engine) -> dict[int, str | None]:
    rows = engine.session.spark.table("t").collect()  # type: ignore[attr-defined]
    assert len({row.id for row in rows}) == len(rows)
    return {row.id: row.p for row in rows}


LAYOUTS = [
    layout
    for number, layout in enumerate(product((1, 6), ("", "PARTITIONED BY (g)", "CLUSTER BY (g)"), (True, False)))
    if "AIQ_SPARK_ALL" in os.environ or number in (0, 3, 4, 7, 8, 11)
]
"""Every second one has every two of the three choices together."""


@pytest.fixture
def t(engine: Engine) -> Engine:
    """The engine with `t` in four files, and a source `s` of ids and texts, of which 1 and 2 match rows of `t`."""
    spark = engine.session.spark  # type: ignore[attr-defined]
    make(spark)
    source = [(1, "yes one"), (2, "no two"), (50, "yes fifty"), (51, "no 51"), (51, "no 51"), (52, None)]
    spark.createDataFrame(source, "id BIGINT, q STRING").createOrReplaceTempView("s")
    return engine


@pytest.mark.parametrize(("files", "layout", "vectors"), LAYOUTS)
def test_the_rows_that_the_answers_choose_are_changed(engine: Engine, files: int, layout: str, vectors: bool) -> None:
    make(engine.session.spark, files, layout, vectors)  # type: ignore[attr-defined]
    if files == 1:
        assert engine.sql(f"UPDATE t SET p = {call('p')} WHERE id > 3 AND {call('p')} = 'yes'") == [
            (len(YES - {0, 2}),)
        ]
        assert found(engine) == {i: "yes" if i > 3 and i in YES else text for i, text in ROWS.items()}
        assert engine.requests() == sum(text is not None for i, text in ROWS.items() if i > 3)
    else:
        assert engine.sql(f"DELETE FROM t WHERE {call('p')} = 'yes'") == [(len(YES),)]
        assert found(engine) == {i: text for i, text in ROWS.items() if i not in YES}
        assert engine.requests() == sum(text is not None for text in ROWS.values())


@pytest.mark.parametrize(
    ("condition", "goes"),
    [
        (f"id < 4 OR {call('p')} IS NULL", lambda i, text: i < 4 or text is None),
        (f"NOT ({call('p')} = 'yes')", lambda i, text: text is not None and i not in YES),
        (
            f"ai_query('chat', p || '.{_ASK}', failOnError => false).result = 'yes' AND {call('p || 1')} IS NOT NULL",
            lambda i, text: i in YES,
        ),
        (f"{call('p')} = 'yes' AND id IN (SELECT s.id FROM s WHERE s.id = t.id + 0)", lambda i, text: i == 2),
    ],
    ids=["or", "not", "struct", "in"],
)
def test_a_condition_deletes_what_it_is_true_for(
    t: Engine, condition: str, goes: Callable[[int, str | None], bool]
) -> None:
    t.sql(f"DELETE FROM t WHERE {condition}")
    assert found(t) == {i: text for i, text in ROWS.items() if not goes(i, text)}


def test_merge_takes_calls_in_its_conditions_and_its_values(t: Engine) -> None:
    t.sql(
        f"MERGE INTO t USING s ON t.id = s.id WHEN MATCHED AND {call('s.q')} = 'yes' THEN UPDATE SET p = {call('t.p')} "
        f"WHEN MATCHED THEN DELETE WHEN NOT MATCHED AND {call('q')} = 'yes' THEN INSERT (id, p) VALUES (id, q || '!')"
    )
    rest = {i: text for i, text in ROWS.items() if i != 2}
    assert found(t) == {**rest, 1: answer(ROWS[1]), 50: "yes fifty!"}
    assert t.requests() == 5  # four texts of the source, and the one row of the table that is given an answer


def test_merge_takes_a_call_in_what_the_rows_are_joined_by(t: Engine) -> None:
    t.sql(
        f"MERGE INTO t USING (SELECT DISTINCT * FROM s) AS s ON t.id = s.id AND {call('t.p')} = 'yes' "
        "WHEN MATCHED THEN UPDATE SET p = s.q "
        "WHEN NOT MATCHED AND q LIKE 'yes%' THEN INSERT (id, p) VALUES (id + 100, q) "
        "WHEN NOT MATCHED BY SOURCE AND t.id >= 15 THEN DELETE"
    )
    kept = {i: text for i, text in ROWS.items() if i < 15}
    assert found(t) == {**kept, 2: "no two", 101: "yes one", 150: "yes fifty"}
    assert t.requests() == 2


def test_merge_takes_a_call_in_its_source(t: Engine) -> None:
    source = f"(SELECT id, {call('q')} AS a FROM s WHERE id < 51)"
    t.sql(
        f"WITH w AS {source} MERGE INTO t USING w ON t.id = w.id WHEN MATCHED THEN UPDATE SET p = w.a "
        "WHEN NOT MATCHED THEN INSERT (id, p) VALUES (w.id, w.a)"
    )
    assert found(t) == {**ROWS, 1: "yes", 2: "no", 50: "yes"}


def test_a_row_that_changes_while_it_is_asked_about_is_left_alone(t: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    files, spark = t.session._engine.files, t.session.spark  # type: ignore[attr-defined]
    write = files.write

    def written(rows: Any) -> Any:
        kept = write(rows)
        if "__aiq_rows" in rows.columns:
            spark.sql("UPDATE t SET p = 'another text' WHERE id = 5")
        return kept

    monkeypatch.setattr(files, "write", written)
    assert 5 in YES
    with pytest.warns(UserWarning, match=rf"{len(YES)} rows were found and {len(YES) - 1} were changed"):
        assert t.sql(f"DELETE FROM t WHERE {call('p')} = 'yes'") == [(len(YES) - 1,)]
    assert found(t) == {i: text for i, text in {**ROWS, 5: "another text"}.items() if i not in YES - {5}}


def test_a_merge_whose_table_changes_in_between_writes_nothing(t: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    files, spark = t.session._engine.files, t.session.spark  # type: ignore[attr-defined]
    write = files.write

    def written(rows: Any) -> Any:
        kept = write(rows)
        if "__aiq_matched" in rows.columns:
            spark.sql("UPDATE t SET p = 'another text' WHERE id = 5")
        return kept

    monkeypatch.setattr(files, "write", written)
    with pytest.raises(StatementError, match="changed the table"):
        t.sql(f"MERGE INTO t USING s ON t.id = s.id AND {call('t.p')} = 'yes' WHEN NOT MATCHED BY SOURCE THEN DELETE")
    assert found(t) == {**ROWS, 5: "another text"}


@pytest.mark.parametrize(
    ("statement", "error", "words"),
    [
        (f"DELETE FROM t WHERE {call('nope')} = 'x'", AnalysisException, "nope"),
        (f"UPDATE t SET nope = {call('p')}", AnalysisException, "nope"),
        (f"UPDATE t SET p = {call('p')} || rand()", AnalysisException, "NON_DETERMINISTIC"),
        (f"DELETE FROM s WHERE {call('q')} = 'yes'", Exception, "not support"),
        (f"DELETE FROM t WHERE {call('p')} = 'x' AND _metadata.file_name = 'f'", StatementError, "_metadata"),
        (
            f"MERGE INTO t USING s ON t.id = s.id WHEN NOT MATCHED BY SOURCE AND {call('t.p')} = 'yes' THEN DELETE",
            StatementError,
            "an UPDATE or a DELETE of its own",
        ),
        (
            f"MERGE INTO nowhere USING s ON nowhere.id = s.id WHEN MATCHED AND {call('q')} = 'x' THEN DELETE",
            Exception,
            "no",
        ),
    ],
)
def test_what_cannot_be_changed_is_refused_before_any_call(
    t: Engine, statement: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as refused:
        t.sql(statement)
    assert "__aiq" not in str(refused.value)
    assert t.requests() == 0


def test_another_python_function_changes_the_right_rows_too(t: Engine) -> None:
    t.session.spark.udf.register("says_yes", F.udf(lambda text: text is not None and "yes" in text, "boolean"))  # type: ignore[attr-defined]
    t.sql("DELETE FROM t WHERE says_yes(p)")
    assert found(t) == {i: text for i, text in ROWS.items() if text is None or "yes" not in text}


@pytest.mark.parametrize("layout", ["", "PARTITIONED BY (g)"], ids=["plain", "parts"])
def test_a_column_given_to_deltatable_deletes_by_deletion_vectors_or_is_refused(
    engine: Engine, conf: ConfFolder, home: Path, layout: str
) -> None:
    spark = engine.session.spark  # type: ignore[attr-defined]
    aiq.register(spark, conf=conf.path, home=home, user="ann@example.com")
    batch = spark.conf.get("spark.sql.execution.arrow.maxRecordsPerBatch")
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "3")  # so that several batches are read ahead
    try:
        says = aiq.functions.ai_query("chat", F.concat("p", F.lit(f".{_ASK}")), spark=spark)
        make(spark, 6, layout, vectors=False)
        with pytest.raises(PythonException, match=r"session\.sql"):
            DeltaTable.forName(spark, "t").delete(says == "yes")
        assert found(engine) == ROWS and engine.requests() == 0
        make(spark, 6, layout)
        table = DeltaTable.forName(spark, "t")
        source = spark.table("t").withColumn("q", F.lit("x")).alias("s")
        with pytest.raises(IllegalArgumentException, match=r"session\.sql"):
            table.update(says == "yes", {"p": F.lit("x")})
        with pytest.raises(IllegalArgumentException, match=r"nothing was asked.*session\.sql"):
            table.alias("t").merge(source, "t.id = s.id").whenMatchedUpdate(
                aiq.functions.ai_query("chat", "t.p", spark=spark) == "yes", {"p": "s.q"}
            ).execute()
        assert found(engine) == ROWS and engine.requests() == 0
        DeltaTable.forName(spark, "t").delete(says == "yes")
        assert found(engine) == {i: text for i, text in ROWS.items() if i not in YES}
        assert engine.requests() <= 2 * len({text for text in ROWS.values() if text})
        answers = spark.table("t").withColumn("q", says).alias("s")
        table.alias("t").merge(answers, "t.id = s.id").whenMatchedUpdate(set={"p": "s.q"}).execute()
        assert found(engine) == {i: answer(text) for i, text in ROWS.items() if i not in YES}
    finally:
        spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", batch)


def test_explain_counts_what_a_delete_asks(t: Engine) -> None:
    *_, total = t.session.explain(f"DELETE FROM t WHERE {call('p')} = 'yes' AND id < 8").collect()  # type: ignore[union-attr]
    assert t.requests() == 0
    t.sql(f"DELETE FROM t WHERE {call('p')} = 'yes' AND id < 8")
    assert t.requests() == total.requests == 7
