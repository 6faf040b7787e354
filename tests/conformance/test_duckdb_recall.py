"""Statements whose answers the session has: they ask nothing, and mean what they mean when they ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

import aiq
from aiq.simulator.process import SimulatorProcess

if TYPE_CHECKING:
    from tests.conftest import ConfFolder

LedgerRows = Callable[..., list[dict[str, Any]]]

ROW = "ai_query('chat', 'Row ' || k || '.')"
TABLE = "CREATE OR REPLACE TABLE t AS SELECT i AS id, (i % 4)::VARCHAR AS k FROM range(20) r(i)"
STATEMENTS = {
    "selected": (f"SELECT id, {ROW} AS a FROM t", 4),
    "for some rows": (f"SELECT id, {ROW} AS a FROM t WHERE id IN (1, 2, 5)", 2),
    "filter": (f"SELECT count(*) FROM t WHERE {ROW} <> ''", 4),
    "group by": (f"SELECT {ROW} AS a, count(*) FROM t GROUP BY a ORDER BY a", 4),
    "first few": (f"SELECT id, {ROW} AS a FROM t ORDER BY id LIMIT 3", 3),
    "any few": (f"SELECT id, {ROW} AS a FROM t WHERE {ROW} <> '' AND id < 2 LIMIT 2", 2),
    "branch": (f"SELECT id, CASE WHEN id < 2 THEN {ROW} END AS a FROM t", 2),
    "twice": (f"SELECT id, {ROW} AS a, upper({ROW}) AS b FROM t", 4),
    "not lifted": (f"SELECT id, {ROW} AS a, random() < 2 AS b FROM t", 4),
    "other name of the column": ("SELECT s.id, ai_query('chat', 'Row ' || s.k || '.') AS a FROM t AS s", 4),
    "alone": (f"SELECT {ROW} FROM t", 4),
    "typed": ("SELECT ai_query('chat', 'Row ' || k || '.', failOnError => false) AS a FROM t", 4),
}


@pytest.fixture
def warm(session: aiq.Session) -> aiq.Session:
    """A session that has asked for all rows of a table, and keeps the answers."""
    session.con.execute(TABLE)
    session.sql("SET aiq_reuse = 'session'")
    session.sql(f"SELECT {ROW} AS a FROM t")
    return session


def rows(session: aiq.Session, text: str, params: Any = None) -> list[tuple[Any, ...]]:
    found = session.sql(text, params)
    return [] if found is None else found.fetchall()


def requests_of(session: aiq.Session, simulator: SimulatorProcess, text: str, params: Any = None) -> int:
    before = simulator.stats()["requests"]
    session.sql(text, params)
    return int(simulator.stats()["requests"] - before)


@pytest.mark.parametrize("text", [text for text, _ in STATEMENTS.values()], ids=list(STATEMENTS))
def test_a_statement_with_kept_answers_gives_the_rows_that_it_gave_when_it_asked(
    session: aiq.Session, simulator: SimulatorProcess, text: str
) -> None:
    session.con.execute(TABLE)
    session.sql("SET aiq_reuse = 'session'")
    first = session.sql(text)
    assert first is not None
    wanted, before = (first.columns, first.types, first.fetchall()), simulator.stats()["requests"]
    for _ in range(3):
        again = session.sql(text)
        assert again is not None and (again.columns, again.types, again.fetchall()) == wanted
    assert simulator.stats()["requests"] == before


@pytest.mark.parametrize(("text", "hits"), STATEMENTS.values(), ids=list(STATEMENTS))
def test_each_request_that_a_statement_used_is_one_hit_of_its_own(
    warm: aiq.Session, ledger_rows: LedgerRows, text: str, hits: int
) -> None:
    for _ in range(3):
        warm.sql(text)
    assert rows(warm, "SELECT count(*) FROM system.aiq.calls WHERE cache_hit") == [(3 * hits,)]
    found = ledger_rows("system.aiq.calls", cache_hit=True)
    assert len({row["request_id"] for row in found}) == len(found)
    assert (
        sorted(sum(row["statement_id"] == one for row in found) for one in {row["statement_id"] for row in found})
        == [hits] * 3
    )


def test_a_new_value_is_asked_and_the_others_are_not(warm: aiq.Session, simulator: SimulatorProcess) -> None:
    text = f"SELECT id, {ROW} AS a FROM t"
    warm.sql(text)
    warm.con.execute("INSERT INTO t VALUES (20, 'new'), (21, NULL)")
    assert requests_of(warm, simulator, text) == 1
    assert rows(warm, text)[-1] == (21, None)


def test_a_statement_that_does_not_reuse_asks_again(warm: aiq.Session, simulator: SimulatorProcess) -> None:
    text = f"SELECT id, {ROW} AS a FROM t"
    warm.sql(text)
    assert requests_of(warm, simulator, f"/*+ aiq_reuse(statement) */ {text}") == 4
    warm.sql("SET aiq_reuse = 'off'")
    assert requests_of(warm, simulator, text) == 4


def test_a_changed_endpoint_is_asked_again(warm: aiq.Session, simulator: SimulatorProcess, conf: ConfFolder) -> None:
    text = f"SELECT id, {ROW} AS a FROM t"
    for _ in range(2):
        warm.sql(text)
    conf.endpoint("chat", model="gpt-4o")
    assert requests_of(warm, simulator, text) == 4
    assert requests_of(warm, simulator, text) == 0


def test_a_table_that_became_a_view_with_a_call_is_read_as_one(warm: aiq.Session, simulator: SimulatorProcess) -> None:
    text = f"SELECT id, {ROW} AS a FROM s"
    warm.con.execute("CREATE TABLE s AS FROM t")
    for _ in range(2):
        warm.sql(text)
    warm.con.execute("DROP TABLE s; CREATE VIEW s AS SELECT id, ai_query('chat', 'Who is ' || k) AS k FROM t")
    assert requests_of(warm, simulator, text) == 8


def test_a_variable_of_the_caller_is_the_one_of_now(warm: aiq.Session) -> None:
    found = []
    for last in (2, 3):
        frame = warm.con.sql(f"SELECT k FROM t WHERE id < {last}").to_arrow_table()
        found.append(len(rows(warm, "SELECT ai_query('chat', 'Row ' || k || '.') AS a FROM frame")))
        assert len(frame) == last
    assert found == [2, 3]


def test_parameters_are_those_of_each_run(warm: aiq.Session, simulator: SimulatorProcess) -> None:
    text = f"SELECT id, {ROW} AS a FROM t WHERE id < ? ORDER BY id"
    assert [len(rows(warm, text, [n])) for n in (3, 5, 3)] == [3, 5, 3]
    assert requests_of(warm, simulator, text, [20]) == 0


def test_a_result_that_is_held_stays_as_it_was(warm: aiq.Session) -> None:
    text = f"SELECT id, {ROW} AS a FROM t ORDER BY id"
    held = warm.sql(text)
    assert held is not None
    warm.con.execute("DELETE FROM t WHERE id > 5")
    assert len(rows(warm, text)) == 6
    assert len(held.fetchall()) == 20


def test_a_table_is_made_without_asking(warm: aiq.Session, simulator: SimulatorProcess) -> None:
    text = f"CREATE OR REPLACE TABLE made AS SELECT id, {ROW}, k FROM t"
    assert requests_of(warm, simulator, text) == 0
    made = warm.con.sql("FROM made")
    assert made.columns == ["id", "ai_query('chat', (('Row ' || k) || '.'))", "k"]  # as DuckDB names it
    assert [row[0] for row in made.fetchall()] == list(range(20))


def test_a_table_whose_answers_are_missing_is_made_when_they_are_there(
    warm: aiq.Session, simulator: SimulatorProcess
) -> None:
    warm.con.execute("CREATE TABLE made AS SELECT 1 AS before; INSERT INTO t VALUES (20, 'new')")
    assert requests_of(warm, simulator, f"CREATE OR REPLACE TABLE made AS SELECT id, {ROW} AS a FROM t") == 1
    assert rows(warm, "SELECT count(*), count(a) FROM made") == [(21, 21)]


def test_a_table_that_is_there_already_is_left_as_it_is(warm: aiq.Session) -> None:
    warm.con.execute("CREATE TABLE made AS SELECT 1 AS before")
    with pytest.raises(duckdb.CatalogException, match="already exists"):
        warm.sql(f"CREATE TABLE made AS SELECT id, {ROW} AS a FROM t")
    warm.sql(f"CREATE TABLE IF NOT EXISTS made AS SELECT id, {ROW} AS a FROM t")
    assert rows(warm, "FROM made") == [(1,)]


def test_an_open_transaction_stays_open(warm: aiq.Session, simulator: SimulatorProcess) -> None:
    text = f"SELECT id, {ROW} AS a FROM t"
    warm.sql(text)
    warm.sql("BEGIN")
    warm.con.execute("DELETE FROM t WHERE id > 5")
    assert requests_of(warm, simulator, text) == 0
    assert len(rows(warm, text)) == 6
    warm.sql("ROLLBACK")
    assert len(rows(warm, text)) == 20


def test_an_error_of_the_statement_itself_is_its_own(warm: aiq.Session) -> None:
    text = f"SELECT id, {ROW} AS a, k::INT AS n FROM t"
    warm.sql(text)
    warm.con.execute("UPDATE t SET k = 'three' WHERE id = 3")
    with pytest.raises(duckdb.ConversionException, match="three"):
        warm.sql(text)
    assert warm.con.execute("SELECT count(*) FROM t").fetchall() == [(20,)]


@pytest.mark.parametrize("setting", ["default_order = 'DESC'", "default_null_order = 'NULLS FIRST'"])
def test_the_order_of_rows_is_what_duckdb_is_set_to(warm: aiq.Session, setting: str) -> None:
    warm.con.execute("INSERT INTO t VALUES (NULL, '3')")
    texts = (f"SELECT id, {ROW} AS a FROM t", f"SELECT id, {ROW} AS a FROM t ORDER BY id LIMIT 5")
    for text in texts:
        plain = text.replace(ROW, "k")
        for change in ("RESET " + setting.partition(" ")[0], f"SET {setting}"):
            warm.con.execute(change)
            for _ in range(3):
                assert [row[0] for row in rows(warm, text)] == [row[0] for row in rows(warm, plain)]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (("'0.0'", "'-0.0'"), "DOUBLE"),
        (("'1 month'", "'30 days'"), "INTERVAL"),
        (("'a'", "'A'"), "VARCHAR COLLATE NOCASE"),
    ],
    ids=["floats", "intervals", "words"],
)
def test_requests_of_values_that_are_equal_and_look_different_are_told_apart(
    warm: aiq.Session, simulator: SimulatorProcess, values: tuple[str, str], kind: str
) -> None:
    warm.con.execute(
        f"CREATE TABLE alike (id INT, v {kind}); INSERT INTO alike VALUES (0, {values[0]}), (1, {values[1]})"
    )
    text = "SELECT id, ai_query('chat', 'Repeat: ' || v) AS a FROM alike ORDER BY id"
    assert requests_of(warm, simulator, text) == 2
    first = rows(warm, text)
    assert first[0][1] != first[1][1]
    assert requests_of(warm, simulator, text) == 0 and rows(warm, text) == first


def test_what_a_statement_reuses_while_another_is_streamed_is_right(warm: aiq.Session) -> None:
    text = f"SELECT id, {ROW} AS a FROM t"
    wanted = rows(warm, text)
    stream = warm.stream(text, batch_rows=7)
    got = next(stream).to_pylist()
    assert rows(warm, text) == wanted
    for batch in stream:
        got += batch.to_pylist()
    assert [tuple(row.values()) for row in got] == wanted


def test_an_analysis_counts_what_was_reused(warm: aiq.Session) -> None:
    text = f"SELECT id, {ROW} AS a FROM t"
    for _ in range(2):
        warm.sql(text)
    found = warm.sql(f"EXPLAIN AI ANALYZE {text}")
    assert found is not None
    of_call = found.to_arrow_table().to_pylist()[0]
    assert (of_call["actual_requests"], of_call["actual_reused"], of_call["actual_calls"]) == (4, 4, 0)


def test_hits_are_in_the_tables_when_the_session_is_closed(
    conf: ConfFolder, home: Any, ledger_rows: LedgerRows
) -> None:
    with aiq.connect(conf=conf.path, home=home, user="ann@example.com") as session:
        session.con.execute(TABLE)
        session.sql("SET aiq_reuse = 'session'")
        for _ in range(2):
            session.sql(f"SELECT {ROW} AS a FROM t")
    assert len(ledger_rows("system.aiq.calls", cache_hit=True)) == 4


@pytest.mark.parametrize(
    "text", [f"SELECT {ROW} AS a FROM t", f"CREATE OR REPLACE TABLE made AS SELECT {ROW} AS a FROM t"]
)
def test_a_wrong_type_is_the_error_that_it_is_when_asked(warm: aiq.Session, text: str) -> None:
    text = text.replace("'.')", "'.', returnType => 'INT')")
    messages = []
    for _ in range(2):
        with pytest.raises(Exception, match="CAST_ERROR") as error:
            warm.sql(text)
        messages.append(str(error.value))
    assert messages[0] == messages[1]
