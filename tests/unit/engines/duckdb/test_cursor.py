"""A session answers to clients of Python's DB-API, in the calls and words that jupysql knows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import aiq
from aiq.engines.duckdb.session import DuckDBSession


@pytest.fixture
def session(tmp_path: Path) -> Iterator[DuckDBSession]:
    (tmp_path / "conf").mkdir()
    with aiq.connect(conf=tmp_path / "conf", home=tmp_path / "home") as session:
        yield session


def test_rows_come_once_and_in_order(session: DuckDBSession) -> None:
    cursor = session.cursor().execute("SELECT i AS n, 'x' AS t FROM range(5) AS r(i) WHERE i < ?", [5])
    assert [column[0] for column in cursor.description or ()] == ["n", "t"]
    assert cursor.fetchone() == (0, "x")
    assert cursor.fetchmany(size=2) == [(1, "x"), (2, "x")]
    assert cursor.fetchall() == [(3, "x"), (4, "x")]
    assert (cursor.fetchall(), cursor.fetchone()) == ([], None)


def test_a_statement_without_rows_says_so(session: DuckDBSession) -> None:
    cursor = session.cursor()
    cursor.execute("CREATE TABLE t AS SELECT 1 AS v")
    assert cursor.description is None
    with pytest.raises(aiq.StatementError, match="no results to fetch"):
        cursor.fetchmany(size=2)
    session.commit()
    assert cursor.execute("SELECT v FROM t").fetchall() == [(1,)]
    cursor.close()
    with pytest.raises(aiq.StatementError, match="no results to fetch"):
        cursor.fetchall()


def test_a_transaction_is_committed_and_none_is_needed(session: DuckDBSession) -> None:
    session.commit()
    session.sql("CREATE TABLE t (v INTEGER)")
    session.sql("BEGIN")
    session.sql("INSERT INTO t VALUES (1)")
    session.commit()
    with pytest.raises(Exception, match="no transaction"):
        session.sql("ROLLBACK")
    rows = session.sql("SELECT v FROM t")
    assert rows is not None and rows.fetchall() == [(1,)]
