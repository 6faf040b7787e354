"""`aiq.register`: `ai_query` as a plain function of somebody's own DuckDB connection."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

import aiq
from aiq.errors import ConfigError
from aiq.simulator.process import SimulatorProcess

if TYPE_CHECKING:
    from tests.conftest import ConfFolder


@pytest.fixture
def con(conf: ConfFolder, home: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with a table `t` of 5,000 rows and 10 distinct prompts, on which aiq is registered."""
    with duckdb.connect() as connection:
        aiq.register(connection, conf=conf.path, home=home, user="ann@example.com")
        connection.execute(
            "CREATE TABLE t AS SELECT i AS id, 'Number ' || (i % 10) || '.' AS body FROM range(5000) AS r(i)"
        )
        yield connection


def requests(simulator: SimulatorProcess) -> int:
    count: int = simulator.stats()["requests"]
    return count


@pytest.mark.parametrize(
    "call",
    [
        "ai_query('chat', 'Hi.')",
        "ai_query('chat', request := 'Hi.')",
        "ai_query(endpoint := 'chat', request := 'Hi.')",
        "ai_query('chat', 'Hi.', failOnError := true)",
        "ai_query('chat', 'Hi.', modelParameters := {'temperature': 0})",
        "ai_query('chat', 'Hi.', responseFormat := 'text')",
        "ai_query('chat', 'Hi.', 'STRING', true)",
    ],
)
def test_a_string_comes_back(con: duckdb.DuckDBPyConnection, call: str) -> None:
    assert con.sql(f"SELECT {call}").fetchall()[0][0].endswith("Hi.")


def test_null_gives_null_without_a_call(con: duckdb.DuckDBPyConnection, simulator: SimulatorProcess) -> None:
    assert con.sql("SELECT ai_query('chat', NULL)").fetchall() == [(None,)]
    rows = con.sql("SELECT ai_query('chat', CASE WHEN id = 1 THEN body END) AS r FROM t WHERE id < 3").fetchall()
    assert sum(r is None for (r,) in rows) == 2 and requests(simulator) == 1


def test_equal_requests_of_a_statement_are_paid_once(
    con: duckdb.DuckDBPyConnection, simulator: SimulatorProcess
) -> None:
    rows = con.execute("SELECT id, ai_query('chat', body) AS a, ai_query('chat', body) AS b FROM t").fetchall()
    assert all(a == b and a.endswith(f"Number {i % 10}.") for i, a, b in rows)
    assert requests(simulator) == 10


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        ("ai_query('emb', 'x')", "FLOAT[]"),
        ("ai_query('chat', 'x', failOnError := false)", "STRUCT"),
        ("ai_query('chat', 'x', returnType := 'INT')", "INTEGER"),
        ("ai_query('model', 1, returnType := 'DOUBLE')", "DOUBLE"),
    ],
)
def test_a_type_that_depends_on_arguments_is_refused_and_names_session_sql(
    con: duckdb.DuckDBPyConnection, simulator: SimulatorProcess, call: str, kind: str
) -> None:
    with pytest.raises(duckdb.InvalidInputException, match=r"session\.sql") as caught:
        con.sql(f"SELECT {call}").fetchall()
    assert kind in str(caught.value) and requests(simulator) == 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("ai_query('chatt', 'x')", "Did you mean 'chat'"),
        ("ai_query('chat', [42])", "AI_FUNCTION_UNSUPPORTED_REQUEST"),
        ("ai_query('chat', 'x'::BLOB)", "Bytes are no text"),
        ("ai_query('chat', 'x', failOnError := 'false')", "DATATYPE_MISMATCH.*must be a BOOLEAN"),
        ("ai_query('chat', 'x', modelParameters := 'x')", "DATATYPE_MISMATCH.*must be a STRUCT"),
        ("ai_query('chat', 'x', responseFormat := 1)", "DATATYPE_MISMATCH.*must be a STRING"),
        ("ai_query('chat', 'x', returnType := 1)", "DATATYPE_MISMATCH.*must be a STRING"),
        ("ai_query(1, 'x')", "endpoint must be a STRING"),
        ("ai_query('chat', 'x', modelParameters := {'seed': length(body)})", "argument modelParameters .*constant"),
        ("ai_query('chat', 'x', modelParameters := {'temperature': 3})", "INVALID_NUMERIC_PARAMETER"),
        ("ai_query(body, 'x')", "argument endpoint of ai_query must be a constant"),
    ],
)
def test_wrong_arguments_are_told(con: duckdb.DuckDBPyConnection, call: str, words: str) -> None:
    with pytest.raises(duckdb.Error, match=words):
        con.execute(f"SELECT {call} FROM (SELECT repeat('x', id) AS body FROM t LIMIT 3)").fetchall()


def test_a_row_that_fails_ends_the_statement_and_the_connection_stays_usable(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(duckdb.Error, match="code 400"):
        con.execute("SELECT ai_query('chat', body || '[[fault:400]]') FROM t").fetchall()
    assert len(con.execute("SELECT ai_query('chat', body) FROM t").fetchall()) == 5000


def test_explain_makes_no_call(con: duckdb.DuckDBPyConnection, simulator: SimulatorProcess) -> None:
    con.execute("EXPLAIN SELECT ai_query('chat', body) FROM t").fetchall()
    assert requests(simulator) == 0


def test_create_table_as_and_views(con: duckdb.DuckDBPyConnection, simulator: SimulatorProcess) -> None:
    con.execute("CREATE TABLE e AS SELECT ai_query('chat', body) AS r FROM t")
    con.execute("CREATE TEMP VIEW v AS SELECT ai_query('chat', body) AS r FROM t WHERE id < 3")
    assert requests(simulator) == 10
    assert len(con.sql("SELECT * FROM v").fetchall()) == 3
    assert requests(simulator) == 13


def test_a_cursor_can_ask_too(con: duckdb.DuckDBPyConnection) -> None:
    cursor = con.cursor()
    assert cursor.execute("SELECT ai_query('chat', 'Hi.')").fetchall()[0][0].endswith("Hi.")
    assert len(cursor.execute("SELECT ai_query('chat', body) FROM t").fetchall()) == 5000


def test_cursors_in_threads_at_once(con: duckdb.DuckDBPyConnection) -> None:
    rows: dict[int, list[Any]] = {}

    def run(number: int) -> None:
        text = f"SELECT i, ai_query('chat', 'Thread {number} row ' || i || '.') FROM range(200) AS r(i)"
        rows[number] = con.cursor().execute(text).fetchall()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rows) == 3
    assert all(r.endswith(f"Thread {n} row {i}.") for n, found in rows.items() for i, r in found)


def test_registering_again_is_fine(con: duckdb.DuckDBPyConnection, conf: ConfFolder, home: Path) -> None:
    aiq.register(con, conf=conf.path, home=home, user="bob@example.com")
    assert con.sql("SELECT ai_query('chat', 'Hi.')").fetchall()


def test_calls_are_in_the_ledger(
    con: duckdb.DuckDBPyConnection, conf: ConfFolder, home: Path, ledger_rows: Callable[..., Any]
) -> None:
    con.execute("SELECT ai_query('chat', body) FROM t").fetchall()
    with aiq.connect(conf=conf.path, home=home) as session:
        result = session.sql("SELECT count(*), count(DISTINCT statement_id), min(requester) FROM system.aiq.calls")
        assert result is not None and result.fetchall() == [(10, 1, "ann@example.com")]


def test_two_statements_are_two_in_the_ledger(con: duckdb.DuckDBPyConnection, conf: ConfFolder, home: Path) -> None:
    for _ in range(2):
        con.execute("SELECT ai_query('chat', 'Hi.')").fetchall()
    with aiq.connect(conf=conf.path, home=home) as session:
        result = session.sql("SELECT count(*), count(DISTINCT statement_id) FROM system.aiq.calls")
        assert result is not None and result.fetchall() == [(2, 2)]


def test_a_session_on_a_registered_connection_can_do_all(
    con: duckdb.DuckDBPyConnection, conf: ConfFolder, home: Path
) -> None:
    with aiq.connect(con, conf=conf.path, home=home) as session:
        result = session.sql("SELECT ai_query('chat', body, failOnError => false) AS r FROM t LIMIT 1")
        assert result is not None and result.fetchall()[0][0]["errorMessage"] is None


def test_a_missing_conf_folder_is_told(tmp_path: Path) -> None:
    with duckdb.connect() as con, pytest.raises(ConfigError, match="does not exist"):
        aiq.register(con, conf=tmp_path / "nowhere", home=tmp_path / "home")
