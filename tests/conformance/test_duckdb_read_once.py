"""Sources that give their rows only once must not lose them to a second pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

import aiq
from aiq.errors import StatementError


@pytest.fixture
def session(conf: Any, home: Path) -> Any:
    conf.endpoint("chat", conf.entity("main", "gpt-4o-mini"))
    with aiq.connect(conf=conf.path, home=home) as session:
        yield session


def reader_of(rows: int) -> pa.RecordBatchReader:
    table = pa.table({"p": [f"Row {i}" for i in range(rows)]})
    return pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=10))


def test_a_reader_is_read_once(session: Any, simulator: Any) -> None:
    stream = reader_of(50)
    result = session.sql("SELECT p, ai_query('chat', p) AS a FROM stream")
    assert stream is not None
    rows = result.fetchall()
    assert len(rows) == 50
    assert all(answer for _, answer in rows)
    assert simulator.stats()["requests"] == 50


def test_a_relation_over_a_reader_gives_its_rows_or_says_what_to_do(session: Any) -> None:
    relation = session.con.from_arrow(reader_of(50))
    assert relation is not None
    try:
        rows = session.sql("SELECT p, ai_query('chat', p) AS a FROM relation").fetchall()
    except (StatementError, duckdb.Error) as error:  # DuckDB 2 says so itself
        assert "only once" in str(error)
    else:
        assert len(rows) == 50
