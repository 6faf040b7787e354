"""Materialized views and streaming tables: tables that are filled once and refreshed by asking for what is new."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import aiq
from aiq.errors import StatementError
from tests.conformance.conftest import Engine, simulated_answer
from tests.conftest import ConfFolder

ENGINES = ("duckdb", "spark")


class Source:
    """A table `src` that grows, and the statements of a test over it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        spark = getattr(engine.session, "spark", None)
        self.plain: Any = engine.session.con.execute if spark is None else spark.sql
        using = "" if spark is None else "USING delta "
        self.plain(f"CREATE TABLE src {using}AS SELECT 1 AS id, 'a' AS b UNION ALL SELECT 2, 'b'")

    def rows(self, text: str) -> list[tuple[Any, ...]]:
        return self.engine.sql(text)


@pytest.fixture
def source(engine: Engine) -> Source:
    return Source(engine)


def said(*prompts: str) -> list[tuple[str]]:
    return [(simulated_answer(prompt),) for prompt in prompts]


def test_a_materialized_view_asks_for_new_and_changed_rows_only(source: Source) -> None:
    engine = source.engine
    with pytest.warns(UserWarning, match="SCHEDULE EVERY 1 HOUR is kept"):
        engine.sql(
            "-- title\nCREATE OR REFRESH MATERIALIZED VIEW mv (id COMMENT 'i', said) COMMENT 'c' "
            "TBLPROPERTIES ('p' = 'q') SCHEDULE EVERY 1 HOUR AS SELECT id, ai_query('chat', b) FROM src"
        )
    assert engine.requests() == 2
    assert source.rows("SELECT said FROM mv ORDER BY id") == said("a", "b")
    source.plain("INSERT INTO src VALUES (3, 'c')")
    source.plain("UPDATE src SET b = 'z' WHERE id = 1")
    engine.sql("REFRESH MATERIALIZED VIEW mv")
    assert engine.requests() == 2
    assert source.rows("SELECT said FROM mv ORDER BY id") == said("z", "b", "c")
    engine.sql("REFRESH TABLE mv")
    assert engine.requests() == 0
    engine.sql("DROP MATERIALIZED VIEW mv")
    with pytest.raises(Exception, match="mv"):
        source.rows("SELECT * FROM mv")


def test_a_streaming_table_reads_each_row_of_its_source_once(source: Source, conf: ConfFolder) -> None:
    engine = source.engine
    engine.sql(
        "CREATE STREAMING TABLE st AS SELECT src.id, now() AS at, ai_query('chat', src.b) AS said FROM STREAM(src)"
    )
    assert engine.requests() == 2
    conf.endpoint("chat", model="gpt-4o")  # whose answers are others
    source.plain("INSERT INTO src VALUES (3, 'c'), (3, 'c')")
    source.plain("DELETE FROM src WHERE id = 1")
    engine.sql("REFRESH STREAMING TABLE st")
    assert engine.requests() == 1
    assert source.rows("SELECT id FROM st ORDER BY id") == [(1,), (2,), (3,), (3,)]
    assert source.rows("SELECT said FROM st WHERE id < 3 ORDER BY id") == said("a", "b")
    engine.sql("REFRESH STREAMING TABLE st")
    assert (engine.requests(), source.rows("SELECT count(*) FROM st")) == (0, [(4,)])
    engine.sql("DROP STREAMING TABLE st")


def test_rows_that_do_not_meet_what_is_expected_are_left_out_and_not_asked_about(source: Source) -> None:
    engine = source.engine
    source.plain("INSERT INTO src VALUES (3, NULL), (NULL, 'd')")
    engine.sql(
        "CREATE STREAMING TABLE st (CONSTRAINT has_id EXPECT (id IS NOT NULL AND id > 1) ON VIOLATION DROP ROW, "
        "CONSTRAINT `has text` EXPECT (b IS NOT NULL) ON VIOLATION DROP ROW) "
        "AS SELECT id, b, ai_query('chat', b) AS said FROM STREAM(src)"
    )
    assert (engine.requests(), source.rows("SELECT id FROM st")) == (1, [(2,)])
    source.plain("INSERT INTO src VALUES (4, 'e'), (0, 'f')")
    engine.sql("REFRESH STREAMING TABLE st")
    assert (engine.requests(), source.rows("SELECT id FROM st ORDER BY id")) == (1, [(2,), (4,)])
    engine.sql("DROP STREAMING TABLE st")


@pytest.mark.engines("duckdb")
@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("CREATE MATERIALIZED VIEW mv AS SELECT * FROM src", "already"),
        ("CREATE MATERIALIZED VIEW src AS SELECT ai_query('chat', 'x') AS x", "already"),
        ("CREATE OR REPLACE MATERIALIZED VIEW mv AS SELECT id, ai_query('chat', nope) AS said FROM src", "nope"),
        ("CREATE OR REPLACE MATERIALIZED VIEW mv AS SELECT * FROM mv", "reads itself"),
        ("CREATE STREAMING TABLE s AS SELECT ai_query('chat', b) AS x FROM src", "one stream"),
        (
            "CREATE MATERIALIZED VIEW w (id, CONSTRAINT c EXPECT (id > 0)) AS SELECT id FROM src",
            "DROP ROW is supported",
        ),
        (
            "CREATE MATERIALIZED VIEW w (CONSTRAINT c EXPECT (id > 0) ON VIOLATION FAIL UPDATE) AS SELECT id FROM src",
            "DROP ROW is supported",
        ),
        ("CREATE LIVE VIEW w (CONSTRAINT c EXPECT (id > 0) ON VIOLATION DROP ROW) AS SELECT id FROM src", "for tables"),
        ("CREATE MATERIALIZED VIEW w", "no query"),
        ("CREATE TEMPORARY LIVE TABLE w AS SELECT 1 AS x", "TEMPORARY"),
        ("DROP VIEW mv", "DROP MATERIALIZED VIEW"),
        ("DROP MATERIALIZED VIEW w", "there is no"),
    ],
)
def test_what_is_wrong_leaves_the_table_as_it_is(source: Source, statement: str, words: str) -> None:
    source.engine.sql("CREATE MATERIALIZED VIEW mv AS SELECT id, ai_query('chat', b) AS said FROM src")
    source.engine.requests()
    with pytest.raises(Exception, match=words):
        source.engine.sql(statement)
    assert source.rows("SELECT said FROM mv ORDER BY id") == said("a", "b")
    assert source.engine.requests() == 0


@pytest.mark.engines("duckdb")
def test_what_is_unchanged_is_not_asked_by_a_later_session_either(
    source: Source, conf: ConfFolder, home: Path, tmp_path: Path
) -> None:
    for number, expected in enumerate((2, 1, 0)):
        with aiq.connect(tmp_path / "shop.duckdb", conf=conf.path, home=home) as session:
            session.con.execute("CREATE TABLE IF NOT EXISTS docs AS SELECT 1 AS id, 'p' AS b UNION ALL SELECT 2, 'q'")
            if number == 0:
                session.sql("CREATE LIVE TABLE kept AS SELECT id, ai_query('chat', b) AS said FROM LIVE.docs")
            else:
                session.con.execute("INSERT INTO docs SELECT 3, 'r' WHERE $1", [number == 1])
                session.sql("REFRESH MATERIALIZED VIEW kept")
            assert source.engine.requests() == expected
            relation = session.sql("SELECT said FROM kept ORDER BY id")
            assert relation is not None
            assert relation.fetchall() == said("p", "q", *["r"] * (number > 0))


@pytest.mark.engines("duckdb")
def test_a_refresh_that_was_cut_off_is_said(source: Source) -> None:
    source.engine.sql("CREATE STREAMING TABLE st AS SELECT ai_query('chat', b) AS said FROM STREAM src")
    source.plain("CREATE TABLE st_new_rows AS FROM src")
    with pytest.raises(StatementError, match="FULL"):
        source.engine.sql("REFRESH STREAMING TABLE st")
    source.engine.sql("REFRESH STREAMING TABLE st FULL")
    source.engine.sql("REFRESH STREAMING TABLE st")
    assert source.rows("SELECT count(*) FROM st") == [(2,)]
    assert source.engine.requests() == 2
