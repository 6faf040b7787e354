"""Which statements have rows: `session.sql` returns a relation for those, be the rows none, and None for others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import aiq

if TYPE_CHECKING:
    from tests.conformance.conftest import Engine

BEFORE = (
    "CREATE TABLE t (i BIGINT)",
    "INSERT INTO t VALUES (1), (2)",
    "CREATE TABLE words (word VARCHAR, yes BOOLEAN)",
    "INSERT INTO words VALUES ('Success', true)",
    """PREPARE "a count" AS SELECT count(*) AS "Count" FROM t""",
    "PREPARE adds AS INSERT INTO t VALUES (9)",
    """PREPARE adds_returning AS INSERT INTO t VALUES (9) RETURNING i AS "Count" """,
)


@pytest.fixture
def prepared(session: aiq.Session) -> aiq.Session:
    for text in BEFORE:
        assert session.sql(text) is None
    return session


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("SELECT 1 AS a WHERE false", ["a"]),
        ("""SELECT 1 AS "Count" """, ["Count"]),
        ("""SELECT true AS "Success" WHERE false""", ["Success"]),
        ("""WITH q AS (SELECT 1 AS "Count") FROM q""", ["Count"]),
        ("VALUES (1)", ["col0"]),
        ("TABLE t", ["i"]),
        ("FROM t", ["i"]),
        ("PIVOT words ON word IN ('Success') USING bool_or(yes)", ["Success"]),
        ("PIVOT words ON word USING bool_or(yes)", ["Success"]),
        ("UNPIVOT (SELECT 1 AS a) ON a", ["name", "value"]),
        ("SHOW TABLES", ["name"]),
        ("EXPLAIN INSERT INTO t VALUES (3)", ["explain_key", "explain_value"]),
        ("PRAGMA database_list", ["seq", "name", "file"]),
        ("CALL pragma_collations()", ["collname"]),
        ("""EXECUTE -- a comment
         "A COUNT";""", ["Count"]),
        ("EXECUTE adds_returning", ["Count"]),
        ("""INSERT INTO t VALUES (3) RETURNING i AS "Count" """, ["Count"]),
        ("DELETE FROM t WHERE i > 9 RETURNING i", ["i"]),
        ("""WITH q AS (INSERT INTO t VALUES (3) RETURNING i) SELECT i AS "Count" FROM q""", ["Count"]),
        (
            "MERGE INTO t USING (SELECT 1 AS i) AS s ON t.i = s.i WHEN MATCHED THEN DELETE "
            """RETURNING t.i AS "Count" """,
            ["Count"],
        ),
    ],
)  # fmt: skip
def test_a_statement_that_has_rows_returns_a_relation(prepared: aiq.Session, text: str, columns: list[str]) -> None:
    relation = prepared.sql(text)
    assert relation is not None and list(relation.columns) == columns


@pytest.mark.parametrize(
    "text",
    [
        "CREATE TABLE made (i INT)",
        "CREATE TABLE made AS SELECT 1 AS i",
        "CREATE TABLE made AS PIVOT words ON word USING bool_or(yes)",
        "CREATE VIEW made AS SELECT 1 AS i",
        "CREATE MACRO made(x) AS x",
        "CREATE SCHEMA made",
        "ALTER TABLE t ADD COLUMN j INT",
        "DROP TABLE t",
        "SET threads = 2",
        "SET aiq_reuse = 'session'",
        "PRAGMA threads = 2",
        "PRAGMA enable_checkpoint_on_shutdown",
        "CHECKPOINT",
        "ATTACH ':memory:' AS made",
        "USE memory",
        "BEGIN",
        "PREPARE made AS SELECT 1",
        "EXECUTE adds",
        "/* returning */ INSERT INTO t VALUES (3) -- returning",
        "INSERT INTO t SELECT 1 AS returning",
        "INSERT INTO t SELECT s.returning FROM (SELECT 1 AS returning) AS s WHERE 'returning' <> ''",
        "WITH q AS (INSERT INTO t VALUES (3) RETURNING i) INSERT INTO t SELECT i FROM q",
        "UPDATE t SET i = 3",
        "DELETE FROM t",
        "TRUNCATE t",
        "MERGE INTO t USING (SELECT 1 AS i) AS s ON t.i = s.i WHEN MATCHED THEN DELETE",
    ],
)
def test_a_statement_that_has_no_rows_returns_none(prepared: aiq.Session, text: str) -> None:
    assert prepared.sql(text) is None


def test_copy_has_no_rows_unless_it_is_to_name_its_files(prepared: aiq.Session, tmp_path: Path) -> None:
    assert prepared.sql(f"COPY t TO '{tmp_path}/t.csv'") is None
    assert prepared.sql(f"COPY t FROM '{tmp_path}/t.csv'") is None
    named = prepared.sql(f"COPY t TO '{tmp_path}/t.csv' (RETURN_FILES)")
    assert named is not None and list(named.columns) == ["Count", "Files"]


def test_a_statement_that_changes_rows_runs_once_however_often_they_are_read(engine: Engine) -> None:
    engine.sql("CREATE TABLE t (i INT)")
    engine.sql("INSERT INTO t VALUES (1)")
    relation = engine.session.sql("INSERT INTO t VALUES (2) RETURNING i")
    assert relation is not None and relation.fetchall() == relation.fetchall() == [(2,)]
    assert engine.sql("SELECT count(*) AS n FROM t") == [(2,)]


def test_a_query_reads_its_rows_when_they_are_asked_for(engine: Engine) -> None:
    engine.sql("CREATE TABLE t (i INT)")
    relation = engine.session.sql("SELECT i FROM t")
    engine.sql("INSERT INTO t VALUES (1)")
    assert relation is not None and relation.fetchall() == [(1,)]


@pytest.mark.parametrize("text", ["SELECT 1 AS a; -- done", ";SELECT 1 AS a;\r\n/* done; */;", "SELECT 1 AS a --;"])
def test_a_relation_over_text_with_a_semicolon_takes_further_steps(session: aiq.Session, text: str) -> None:
    relation = session.sql(text)
    assert relation is not None and relation.project("a + 1").fetchall() == [(2,)]


@pytest.mark.parametrize("text", ["", "-- nothing", " ; ;", "/* nothing */;"])
def test_text_without_a_statement_returns_none(session: aiq.Session, text: str) -> None:
    assert session.sql(text) is None
