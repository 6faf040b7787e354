"""`Session.stream`: batches in order, as their answers come."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import aiq
from aiq.errors import RequestFailed, StatementError
from tests.processes import PATIENCE_S

ROWS = "SELECT i, 'Row ' || i AS p FROM range(3000) AS r(i)"


@pytest.fixture
def session(conf: Any, home: Path) -> Any:
    conf.endpoint("chat", conf.entity("main", "gpt-4o-mini"))
    with aiq.connect(conf=conf.path, home=home) as session:
        session.sql(f"CREATE TABLE t AS {ROWS}")
        yield session


@pytest.mark.parametrize(
    "query",
    [
        "SELECT *, ai_query('chat', p) AS a FROM t",
        "SELECT i, upper(ai_query('chat', p)) || p AS a FROM t ORDER BY i DESC",
        "SELECT ai_query('chat', p) AS a, i FROM t WHERE i % 2 = 0",
        "SELECT i, ai_query('chat', ai_query('chat', p)) AS a FROM t WHERE i < 50",
        "SELECT i FROM t WHERE ai_query('chat', p) LIKE '%1%' AND i < 50 ORDER BY i",
        "SELECT count(*) AS n, max(ai_query('chat', p)) AS a FROM t WHERE i < 50",
    ],
)
def test_a_stream_has_the_rows_of_the_statement_in_its_order(session: Any, query: str) -> None:
    streamed = pa.Table.from_batches(list(session.stream(query, batch_rows=256)))
    assert streamed.to_pylist() == pa.table(session.sql(query)).to_pylist()


def test_a_stream_has_its_order_where_duckdb_keeps_none(session: Any) -> None:
    session.sql("SET preserve_insertion_order = false")
    query = "SELECT i, ai_query('chat', p) AS a FROM t ORDER BY i DESC"
    streamed = pa.Table.from_batches(list(session.stream(query, batch_rows=256)))
    assert streamed["i"].to_pylist() == list(range(2999, -1, -1))


def test_a_stream_carries_types_that_duckdb_cannot_sort(session: Any) -> None:
    query = "SELECT row(array_value('a', 'b'), p) AS v, ai_query('chat', p) AS a FROM t WHERE i < 3"
    streamed = pa.Table.from_batches(list(session.stream(query)))
    assert streamed.to_pylist() == pa.table(session.sql(query)).to_pylist()


def test_a_batch_of_no_rows_is_refused_before_any_request(session: Any, simulator: Any) -> None:
    with pytest.raises(StatementError, match="batch_rows is at least 1, not 0"):
        session.stream("SELECT ai_query('chat', p) AS a FROM t", batch_rows=0)
    assert simulator.stats()["requests"] == 0


def test_a_stream_asks_each_distinct_request_once(session: Any, simulator: Any) -> None:
    query = "SELECT i, ai_query('chat', 'Group ' || (i % 7)) AS a FROM t"
    assert sum(batch.num_rows for batch in session.stream(query, batch_rows=100)) == 3000
    assert simulator.stats()["requests"] == 7


def test_the_first_batch_comes_before_the_last_request_is_asked(session: Any, simulator: Any) -> None:
    stream = session.stream("SELECT i, ai_query('chat', p) AS a FROM t", batch_rows=100)
    next(stream)
    stream.close()
    assert simulator.stats()["requests"] < 3000


def test_the_connection_may_be_used_between_batches_of_a_statement_that_is_finished_first(session: Any) -> None:
    stream = session.stream("SELECT i FROM t WHERE i < 50 AND ai_query('chat', p) LIKE '%'", batch_rows=20)
    first = next(stream)
    assert session.sql("SELECT 1 AS one").fetchall() == [(1,)]
    assert [len(first), *map(len, stream)] == [20, 20, 10]


def test_a_failing_row_ends_the_stream(session: Any) -> None:
    query = "SELECT ai_query('chat', CASE WHEN i = 700 THEN '[[fault:400]]' ELSE p END) AS a FROM t"
    with pytest.raises(RequestFailed, match="code 400"):
        list(session.stream(query, batch_rows=100))


def test_a_stream_leaves_no_table_behind(session: Any) -> None:
    list(session.stream("SELECT ai_query('chat', p) AS a FROM t WHERE i < 10"))
    left = session.con.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name LIKE 'aiq_result%'").fetchall()
    assert left == [(0,)]


def test_a_statement_without_an_ai_call_streams_too(session: Any) -> None:
    assert pa.Table.from_batches(list(session.stream("SELECT 1 AS one"))).to_pylist() == [{"one": 1}]


UNFINISHED = """
import sys
import aiq

session = aiq.connect(conf=sys.argv[1], home=sys.argv[2])
rows = session.stream("SELECT ai_query('chat', 'Row ' || i) AS a FROM range(3000) AS r(i)", batch_rows=10)
next(rows)
"""


def test_a_process_ends_though_a_stream_is_unfinished(conf: Any, home: Path, simulator: Any, ledger_rows: Any) -> None:
    command = [sys.executable, "-c", UNFINISHED, conf.path, home]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(ledger_rows("system.aiq.calls")) >= simulator.stats()["requests"] >= 10
