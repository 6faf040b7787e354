"""What `session.sql` returns: DuckDB's own relation, over finished rows, so that reading it again costs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pandas as pd
import pyarrow as pa
import pytest

from aiq.engines.duckdb.results import KEPT_RESULTS

if TYPE_CHECKING:
    from tests.conformance.conftest import Engine


@pytest.fixture
def result(engine: Engine) -> duckdb.DuckDBPyRelation:
    engine.load("t", body=["Red apple.", "Green pear.", "Blue plum."])
    found = engine.session.sql("SELECT id, ai_query('chat', body) AS r FROM t ORDER BY id DESC")
    assert found is not None and engine.requests() == 3
    return found


def test_it_reads_as_tuples_arrow_and_pandas(engine: Engine, result: duckdb.DuckDBPyRelation) -> None:
    rows = result.fetchall()
    assert [i for i, _ in rows] == [2, 1, 0]
    assert pa.table(result).column("r").to_pylist() == [r for _, r in rows]
    assert isinstance(result.df(), pd.DataFrame) and result.df()["r"].tolist() == [r for _, r in rows]
    assert engine.requests() == 0


def test_it_can_be_shown(engine: Engine, result: duckdb.DuckDBPyRelation, capsys: pytest.CaptureFixture[str]) -> None:
    result.show()
    assert "Green pear." in capsys.readouterr().out and "Green pear." in repr(result) and "Green pear." in str(result)
    assert engine.requests() == 0


def test_methods_of_a_relation_chain(engine: Engine, result: duckdb.DuckDBPyRelation) -> None:
    chained = result.filter("id > 0").order("id").project("id, upper(r) AS u").limit(1)
    assert [i for i, _ in chained.fetchall()] == [1]
    assert result.aggregate("count(*)").fetchall() == [(3,)] and result.columns == ["id", "r"]
    assert engine.requests() == 0


def test_a_derived_result_outlives_its_origin(engine: Engine) -> None:
    engine.load("t", body=["Red apple."])
    found = engine.session.sql("SELECT ai_query('chat', body) AS r FROM t")
    assert found is not None
    derived = found.project("upper(r) AS u")
    del found
    engine.sql("SELECT ai_query('chat', 'Another.') AS r")
    assert derived.fetchall()[0][0].endswith("RED APPLE.")


def test_it_is_a_table_of_another_query(engine: Engine, result: duckdb.DuckDBPyRelation) -> None:
    again = engine.session.sql("SELECT max(id) AS m FROM result")
    assert again is not None and again.fetchall() == [(2,)]
    assert engine.requests() == 0 and len(result) == 3


def test_it_is_a_table_of_another_query_with_a_call(engine: Engine, result: duckdb.DuckDBPyRelation) -> None:
    again = engine.session.sql("SELECT ai_query('chat', r) AS r2 FROM result")
    assert again is not None and len(again) == len(result) and engine.requests() == 3


def test_arrow_can_read_it(result: duckdb.DuckDBPyRelation) -> None:
    assert pa.table(result).num_rows == 3


def test_it_keeps_its_rows_when_the_source_changes(engine: Engine, result: duckdb.DuckDBPyRelation) -> None:
    engine.sql("DROP TABLE t")
    assert len(result.fetchall()) == 3


def test_results_that_nobody_holds_do_not_pile_up(engine: Engine) -> None:
    for _ in range(KEPT_RESULTS + 5):
        engine.sql("SELECT ai_query('chat', NULL) AS r")
    tables = engine.session.con.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name LIKE 'aiq_result%'")
    assert tables.fetchall()[0][0] <= KEPT_RESULTS + 1


def test_a_result_that_somebody_holds_is_kept(engine: Engine, result: duckdb.DuckDBPyRelation) -> None:
    for _ in range(KEPT_RESULTS + 5):
        engine.sql("SELECT ai_query('chat', NULL) AS r")
    assert len(result.fetchall()) == 3


def test_types_are_those_of_the_answer(engine: Engine) -> None:
    found = engine.session.sql(
        "SELECT ai_query('chat', 'x') AS s, ai_query('emb', 'x') AS v, "
        "ai_query('chat', 'x', failOnError => false) AS f, "
        "ai_query('model', 1, returnType => 'DECIMAL(4,2)') AS d"
    )
    assert found is not None
    kinds = [str(t).replace('"', "") for t in found.types]
    assert kinds == ["VARCHAR", "FLOAT[]", "STRUCT(result VARCHAR, errorMessage VARCHAR)", "DECIMAL(4,2)"]


def test_a_plain_statement_gives_a_relation_too(engine: Engine) -> None:
    found = engine.session.sql("SELECT 1 AS a")
    assert found is not None and found.fetchall() == [(1,)]
