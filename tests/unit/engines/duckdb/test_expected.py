"""The rows that DuckDB expects the calls of a statement to see."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest

from aiq.engines.duckdb.expected import expected_rows


@pytest.fixture
def con() -> Any:
    con = duckdb.connect()
    con.create_function("__aiq_test", lambda text: text, ["VARCHAR"], "VARCHAR", side_effects=True)  # type: ignore[arg-type]
    con.execute("CREATE TABLE t AS SELECT i, i::VARCHAR AS body FROM range(500) r(i)")
    yield con
    con.close()


def test_the_rows_before_a_call_are_expected(con: duckdb.DuckDBPyConnection) -> None:
    assert expected_rows(con, "SELECT __aiq_test(body) FROM t") == 500


def test_a_statement_without_a_call_expects_none(con: duckdb.DuckDBPyConnection) -> None:
    assert expected_rows(con, "SELECT body FROM t") is None


def test_a_statement_that_cannot_be_explained_expects_none(con: duckdb.DuckDBPyConnection) -> None:
    assert expected_rows(con, "SELECT nothing FROM nowhere") is None
