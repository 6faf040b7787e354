"""DuckDB's other statements with `ai_query` in them, parameters, names and data frames."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pandas as pd
import pyarrow as pa
import pytest

import aiq
from aiq.errors import StatementError

if TYPE_CHECKING:
    from tests.conformance.conftest import Engine
    from tests.conftest import ConfFolder


@pytest.fixture
def fruit(engine: Engine) -> Engine:
    engine.load("t", body=["Red apple.", "Green pear.", "Blue plum."])
    return engine


def test_insert_returning_gives_its_rows(fruit: Engine) -> None:
    fruit.sql("CREATE TABLE e (id INT, r VARCHAR)")
    rows = fruit.sql("INSERT INTO e SELECT id, ai_query('chat', body) FROM t RETURNING id, r")
    assert [i for i, r in rows if r] == [0, 1, 2] and fruit.requests() == 3


def test_update_and_delete(fruit: Engine) -> None:
    fruit.sql("UPDATE t SET body = ai_query('chat', body) WHERE id = 1")
    assert fruit.sql("SELECT count(*) AS n FROM t WHERE body LIKE '[simulated]%'") == [(1,)]
    fruit.sql("DELETE FROM t WHERE id < 2 AND ai_query('chat', body) LIKE '%apple%'")
    assert [i for (i,) in fruit.sql("SELECT id FROM t ORDER BY id")] == [1, 2]
    assert fruit.requests() == 3


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_copy_to_a_file(fruit: Engine, tmp_path: Path, form: str) -> None:
    file = tmp_path / f"out.{form}"
    fruit.sql(f"COPY (SELECT id, ai_query('chat', body) AS r FROM t) TO '{file}' (FORMAT {form})")
    assert fruit.sql(f"SELECT count(r) AS n FROM '{file}'") == [(3,)]
    assert fruit.requests() == 3


def test_a_statement_that_gives_nothing_back_returns_none(fruit: Engine) -> None:
    assert fruit.session.sql("CREATE TABLE e AS SELECT ai_query('chat', body) AS r FROM t") is None


def test_a_macro_asks_where_it_is_used(fruit: Engine) -> None:
    fruit.sql("CREATE MACRO gist(x) AS ai_query('chat', 'Gist: ' || x)")
    assert fruit.requests() == 0
    assert len(fruit.sql("SELECT gist(body) AS r FROM t")) == 3
    assert fruit.requests() == 3


@pytest.mark.parametrize(
    "definition",
    [
        "-- gists of all texts\nCREATE VIEW v AS SELECT ai_query('chat', body) AS r FROM t",
        "/* gists */ CREATE OR REPLACE TEMP VIEW v AS SELECT ai_query('chat', body) AS r FROM t",
        "CREATE MACRO v() AS TABLE SELECT ai_query('chat', body) AS r FROM t",
    ],
)
def test_what_is_defined_behind_a_comment_is_kept_as_it_is_written(fruit: Engine, definition: str) -> None:
    fruit.sql(definition)
    assert fruit.requests() == 0
    source = "v()" if "MACRO" in definition else "v"
    assert len(fruit.sql(f"SELECT r FROM {source} WHERE r <> ''")) == 3
    assert fruit.requests() == 3
    texts = "SELECT sql FROM duckdb_views() UNION ALL SELECT macro_definition FROM duckdb_functions()"
    kept = fruit.sql(f"SELECT count(*) AS n FROM ({texts}) AS d(sql) WHERE regexp_matches(sql, '__aiq_[0-9a-f]{{12}}')")
    assert kept == [(0,)]


def test_a_default_with_a_call_is_asked_where_it_is_used(fruit: Engine) -> None:
    fruit.sql("CREATE TABLE d (id INT, r VARCHAR DEFAULT ai_query('chat', 'A default.'))")
    assert fruit.requests() == 0
    fruit.sql("INSERT INTO d (id) VALUES (1)")
    assert fruit.sql("SELECT count(r) AS n FROM d") == [(1,)] and fruit.requests() == 1


def test_a_view_that_is_used_beside_a_call(fruit: Engine) -> None:
    fruit.sql("CREATE VIEW v AS SELECT id, ai_query('chat', body) AS r FROM t")
    rows = fruit.sql("SELECT v.r, ai_query('chat', v.r) AS again FROM v WHERE id = 0")
    assert len(rows) == 1 and fruit.requests() == 2


def test_the_columns_of_a_result_are_named_as_they_are_written(fruit: Engine) -> None:
    result = fruit.session.sql("SELECT ai_query('chat', body), id FROM t")
    assert result is not None and result.columns == ["ai_query('chat', body)", "id"]


def test_duplicate_column_names_stay_readable(fruit: Engine) -> None:
    result = fruit.session.sql("SELECT ai_query('chat', body) AS r, id AS r, body AS R FROM t WHERE id = 0")
    assert result is not None and len(result.fetchall()[0]) == 3


def test_the_same_unnamed_call_twice(fruit: Engine) -> None:
    rows = fruit.sql("SELECT ai_query('chat', body), ai_query('chat', body) FROM t")
    assert len(rows) == 3 and all(a == b for a, b in rows)


@pytest.mark.parametrize(
    ("text", "params"),
    [
        ("SELECT ai_query('chat', ?) AS r", ["Hi."]),
        ("SELECT ai_query('chat', $1) AS r", ["Hi."]),
        ("SELECT ai_query('chat', $p) AS r", {"p": "Hi."}),
        ("SELECT ai_query(?, ?) AS r", ["chat", "Hi."]),
        ("SELECT ai_query($e, $p, failOnError => $f) AS r", {"e": "chat", "p": "Hi.", "f": True}),
        ("SELECT ai_query('chat', ?, modelParameters => {'seed': ?}) AS r", ("Hi.", 3)),
        ("SELECT ai_query('chat', $1 || $2) AS r WHERE $2 = '.'", ["Hi", "."]),
        ("SELECT ai_query('chat', ?, responseFormat => ?) AS r", ["Hi.", "text"]),
    ],
)
def test_prepared_parameters_in_every_form(engine: Engine, text: str, params: Any) -> None:
    ((r,),) = engine.sql(text, params)
    assert r.endswith("Hi.")


def test_parameters_keep_their_order_around_calls(engine: Engine) -> None:
    (row,) = engine.sql("SELECT ?, ai_query('chat', ?, modelParameters => {'seed': ?}), ?", ["first", "Hi.", 1, 4])
    assert (row[0], row[2]) == ("first", 4) and row[1].endswith("Hi.")


def test_a_parameter_may_be_text_that_looks_like_sql(engine: Engine) -> None:
    text = "Robert'); DROP TABLE t; -- $1 ? ai_query('x', 'y')"
    ((r,),) = engine.sql("SELECT ai_query('chat', ?) AS r", [text])
    assert "DROP TABLE" in r


@pytest.mark.parametrize("value", [None, "x"])
def test_a_parameter_may_be_null(engine: Engine, value: str | None) -> None:
    ((r,),) = engine.sql("SELECT ai_query('chat', ?::VARCHAR) AS r", [value])
    assert (r is None) == (value is None)


@pytest.mark.parametrize(
    ("text", "params", "words"),
    [
        ("SELECT ai_query('chat', ?)", None, "no values"),
        ("SELECT ai_query('chat', ?)", [], "no value for parameter 1"),
        ("SELECT ai_query('chat', ?)", ["a", "b"], "does not use"),
        ("SELECT ai_query('chat', $p)", {"q": "a"}, "no value for parameter p"),
        ("SELECT ai_query('chat', 'x')", ["a"], "does not use"),
        ("SELECT ?", None, "no values"),
    ],
)
def test_parameters_that_do_not_match_are_told(engine: Engine, text: str, params: Any, words: str) -> None:
    with pytest.raises(StatementError, match=words):
        engine.sql(text, params)
    assert engine.requests() == 0


def test_parameters_of_a_statement_without_a_call(engine: Engine) -> None:
    assert engine.sql("SELECT $1 + $2 + $1 AS n", [1, 2]) == [(4,)]


def test_a_data_frame_of_the_caller_is_a_table(session: aiq.Session) -> None:
    frame = pd.DataFrame({"body": ["One.", "Two."]})
    result = session.sql("SELECT ai_query('chat', body) AS r FROM frame")
    assert result is not None and len(result.df()) == len(frame)


def test_an_arrow_table_of_the_caller_is_a_table(session: aiq.Session) -> None:
    rows = pa.table({"body": pa.array(["One.", None], pa.large_string())})
    result = session.sql("SELECT ai_query('chat', body) AS r FROM rows")
    assert result is not None and pa.table(result).column("r").null_count == rows.num_rows - 1


def test_a_file_is_a_table(session: aiq.Session, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("body\nOne.\nTwo.\n")
    result = session.sql(f"SELECT ai_query('chat', body) AS r FROM '{tmp_path}/in.csv'")
    assert result is not None and len(result) == 2


def test_an_open_transaction_holds_the_answers_and_can_be_rolled_back(fruit: Engine) -> None:
    fruit.sql("BEGIN")
    fruit.sql("CREATE TABLE e AS SELECT ai_query('chat', body) AS r FROM t")
    assert fruit.sql("SELECT count(*) AS n FROM e") == [(3,)]
    fruit.sql("ROLLBACK")
    with pytest.raises(duckdb.CatalogException):
        fruit.sql("SELECT * FROM e")
    assert fruit.sql("SELECT count(*) AS n FROM system.aiq.calls") == [(3,)]


def test_an_error_of_duckdb_stays_an_error_of_duckdb(engine: Engine) -> None:
    with pytest.raises(duckdb.CatalogException, match="nowhere"):
        engine.sql("SELECT ai_query('chat', body) AS r FROM nowhere")
    with pytest.raises(duckdb.BinderException, match="no_such_column"):
        engine.sql("SELECT ai_query('chat', no_such_column) AS r")
    with pytest.raises(duckdb.ParserException):
        engine.sql("SELEC ai_query('chat', 'x')")
    assert engine.requests() == 0


def test_an_error_of_duckdb_in_the_middle_leaves_the_session_usable(fruit: Engine) -> None:
    with pytest.raises(duckdb.ConversionException):
        fruit.sql("SELECT CAST(ai_query('chat', body) AS INT) AS r FROM t")
    assert len(fruit.sql("SELECT ai_query('chat', body) AS r FROM t")) == 3


def test_a_file_database_keeps_the_answers_for_a_plain_connection(conf: ConfFolder, home: Path, tmp_path: Path) -> None:
    file = tmp_path / "shop.duckdb"
    with aiq.connect(file, conf=conf.path, home=home) as session:
        session.sql("CREATE TABLE e AS SELECT ai_query('chat', 'Hi.') AS r")
    with duckdb.connect(str(file)) as con:
        assert con.sql("SELECT count(r) FROM e").fetchall() == [(1,)]


def test_a_connection_somebody_else_made_stays_open(conf: ConfFolder, home: Path) -> None:
    con = duckdb.connect()
    with aiq.connect(con, conf=conf.path, home=home) as session:
        assert session.sql("SELECT ai_query('chat', 'Hi.')") is not None
    assert con.sql("SELECT 1").fetchall() == [(1,)]


def test_two_sessions_in_two_threads_at_once(conf: ConfFolder, home: Path, engine: Engine) -> None:
    rows: dict[int, list[Any]] = {}

    def run(number: int) -> None:
        with aiq.connect(conf=conf.path, home=home) as session:
            text = "SELECT i, ai_query('chat', 'Thread ' || ? || ' row ' || i || '.') FROM range(300) AS r(i)"
            result = session.sql(text, [number])
            assert result is not None
            rows[number] = result.fetchall()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(r.endswith(f"Thread {n} row {i}.") for n, found in rows.items() for i, r in found)
    assert len(rows) == 3 and engine.requests() == 900


def test_a_large_table_is_answered_by_several_threads(engine: Engine) -> None:
    engine.session.con.execute("SET threads = 4")
    engine.session.con.execute(
        "CREATE TABLE big AS SELECT 'Number ' || (i % 50) || '.' AS body FROM range(400000) AS r(i)"
    )
    assert engine.sql("SELECT count(DISTINCT ai_query('chat', body)) AS n FROM big") == [(50,)]
    assert engine.requests() == 50


def test_the_ledger_is_readable_by_its_names(fruit: Engine) -> None:
    fruit.sql("CREATE TABLE e AS SELECT ai_query('chat', body) AS r FROM t")
    rows = fruit.sql(
        "SELECT c.status, e.endpoint_name, u.status_code, p.status_code FROM system.aiq.calls AS c "
        "JOIN system.serving.endpoint_usage AS u ON u.databricks_request_id = c.request_id "
        "JOIN system.serving.served_entities AS e ON e.served_entity_id = c.served_entity_id "
        "JOIN main.ai.chat_payload AS p ON p.databricks_request_id = c.request_id"
    )
    assert rows == [("ok", "chat", 200, 200)] * 3


def test_the_ledger_is_readable_before_the_first_call(engine: Engine) -> None:
    assert engine.sql("SELECT count(*) AS n FROM system.aiq.calls") == [(0,)]
    assert engine.sql("SELECT count(*) AS n FROM main.ai.chat_payload") == [(0,)]


def test_an_unknown_table_of_the_ledger_is_told_with_the_nearest_name(engine: Engine) -> None:
    with pytest.raises(StatementError, match=r"Did you mean 'system\.aiq\.calls'"):
        engine.sql("SELECT * FROM system.aiq.call")


def test_the_ledger_can_be_asked_about_itself(fruit: Engine) -> None:
    fruit.sql("CREATE TABLE e AS SELECT ai_query('chat', body) AS r FROM t")
    rows = fruit.sql("SELECT ai_query('chat', model) AS r FROM system.aiq.calls")
    assert len(rows) == 3


def test_a_rollback_takes_nothing_from_later_statements(fruit: Engine) -> None:
    fruit.sql("BEGIN")
    fruit.sql("SELECT ai_query('emb', body) AS r FROM t")
    fruit.sql("ROLLBACK")
    assert len(fruit.sql("SELECT ai_query('emb', body) AS r FROM t")) == 3


def test_a_type_that_is_new_in_an_older_transaction(conf: ConfFolder, home: Path, tmp_path: Path) -> None:
    with (
        aiq.connect(tmp_path / "shop.duckdb", conf=conf.path, home=home) as first,
        aiq.connect(tmp_path / "shop.duckdb", conf=conf.path, home=home) as second,
    ):
        first.sql("BEGIN")
        first.sql("SELECT ai_query('chat', 'Hi.') AS r")
        for session in (second, first):
            result = session.sql("SELECT ai_query('emb', 'Hi.') AS r")
            assert result is not None and len(result) == 1
        first.sql("COMMIT")


def test_a_session_works_on_when_another_one_of_the_same_file_is_closed(
    conf: ConfFolder, home: Path, tmp_path: Path
) -> None:
    def ask(session: aiq.Session) -> int:
        result = session.sql("SELECT ai_query('emb', 'Hi.') AS v, ai_query('chat', 'Hi.', failOnError => false) AS r")
        return 0 if result is None else len(result)

    with aiq.connect(tmp_path / "shop.duckdb", conf=conf.path, home=home) as second:
        first = aiq.connect(tmp_path / "shop.duckdb", conf=conf.path, home=home)
        assert ask(first) == 1
        first.close()
        del first
        gc.collect()
        assert ask(second) == 1 and second.con.execute("SELECT ai_query('chat', 'Hi.')").fetchall()


def test_each_session_of_a_file_asks_as_its_own_user(conf: ConfFolder, home: Path, tmp_path: Path) -> None:
    with (
        aiq.connect(tmp_path / "shop.duckdb", conf=conf.path, home=home, user="ann@example.com") as ann,
        aiq.connect(tmp_path / "shop.duckdb", conf=conf.path, home=home, user="bob@example.com") as bob,
    ):
        for session in (ann, bob):
            session.sql("CREATE TEMP VIEW v AS SELECT ai_query('chat', 'Hi.') AS r")
            session.con.execute("SELECT * FROM v").fetchall()
        result = ann.sql("SELECT requester FROM system.aiq.calls ORDER BY 1")
        assert result is not None and result.fetchall() == [("ann@example.com",), ("bob@example.com",)]


def test_an_aborted_transaction_can_be_rolled_back_through_the_session(session: aiq.Session) -> None:
    session.sql("BEGIN")
    with pytest.raises(duckdb.Error):
        session.sql("SELECT no_such_column FROM range(1)")
    session.sql("ROLLBACK")
    result = session.sql("SELECT 1")
    assert result is not None and result.fetchall() == [(1,)]
