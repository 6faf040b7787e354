"""UPDATE, DELETE, MERGE and CREATE TABLE AS in passes: what could show that a statement ran more than once."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

import aiq
from aiq.simulator.process import SimulatorProcess

if TYPE_CHECKING:
    from tests.conformance.conftest import Beside, Engine
    from tests.conftest import ConfFolder

ANSWER = "ai_query('chat', s)"


@pytest.fixture
def rows(beside: Beside) -> Beside:
    """`t`: 20 rows with a text `s`; `u`: three of their numbers, as `k`."""
    beside.load("t", k=[i % 2 for i in range(20)], s=[f"Text {i}." for i in range(20)])
    beside.load("u", k=[1, 3, 5])
    return beside


@pytest.mark.parametrize("clock", ["now()", "current_timestamp", "get_current_timestamp()"])
def test_a_request_with_the_time_is_paid_once_in_an_update(rows: Beside, clock: str) -> None:
    rows.engine.sql(f"UPDATE t SET s = ai_query('chat', s || {clock}::VARCHAR)")
    assert rows.engine.requests() == 20


def test_a_request_with_the_time_of_a_derived_table_is_paid_once_in_an_update(rows: Beside) -> None:
    rows.engine.sql(
        "UPDATE t SET s = ai_query('chat', t.s || w.n::VARCHAR) FROM (SELECT id, now() AS n FROM t) w WHERE w.id = t.id"
    )
    assert rows.engine.requests() == 20


def test_a_request_with_the_time_of_a_view_is_paid_once_in_an_update(rows: Beside) -> None:
    rows.engine.sql("CREATE VIEW w AS SELECT now() AS n")
    rows.engine.sql("UPDATE t SET s = ai_query('chat', t.s || w.n::VARCHAR) FROM w")
    assert rows.engine.requests() == 20


def test_an_update_of_the_time_beside_an_answer_still_runs_in_passes(rows: Beside) -> None:
    rows.engine.sql("ALTER TABLE t ADD COLUMN changed TIMESTAMPTZ")
    rows.engine.sql(f"UPDATE t SET changed = now(), s = {ANSWER} WHERE {ANSWER} <> '' AND id < 5")
    assert rows.engine.requests() == 5


@pytest.mark.parametrize("found", ["CREATE TABLE IF NOT EXISTS t AS", "CREATE TABLE IF NOT EXISTS main.T AS"])
def test_a_table_that_exists_is_left_alone_and_nothing_is_asked(rows: Beside, found: str) -> None:
    rows.engine.sql(f"{found} SELECT {ANSWER} AS r FROM t")
    assert rows.engine.requests() == 0
    assert len(rows.engine.sql("SELECT s FROM t")) == 20


def test_a_table_that_exists_is_refused_before_anything_is_asked(rows: Beside) -> None:
    with pytest.raises(duckdb.CatalogException, match="already exists"):
        rows.engine.sql(f"CREATE TABLE t AS SELECT {ANSWER} AS r FROM t")
    assert rows.engine.requests() == 0


def test_a_table_of_the_same_name_elsewhere_is_no_hindrance(rows: Beside) -> None:
    rows.engine.sql("CREATE SCHEMA other")
    rows.engine.sql(f"CREATE TABLE other.t AS SELECT id, {ANSWER} AS r FROM t WHERE id < 4")
    assert rows.engine.requests() == 4
    assert len(rows.engine.sql("FROM other.t")) == 4


def test_what_an_update_returns_has_the_names_that_were_written(rows: Beside) -> None:
    result = rows.engine.session.sql(f"UPDATE t SET k = 7 WHERE id = 1 RETURNING id, {ANSWER}, upper({ANSWER})")
    assert result is not None
    assert result.columns == ["id", ANSWER, f"upper({ANSWER})"]


def test_an_update_of_a_column_of_one_value_is_not_taken_for_a_stream(rows: Beside) -> None:
    """What an earlier pass writes widens the statistics by which DuckDB knows that a column has one value."""
    rows.check(
        "CREATE TABLE one AS SELECT 0 AS id, 3 AS k, 'c' AS s; UPDATE one SET s = (SELECT min(ai_query('chat', "
        "z.s || 'yes')) FROM one AS z WHERE z.id = one.id AND (z.s IS NULL AND z.k IS NOT NULL)) WHERE s IS NOT NULL; "
        "FROM one",
        most=1,
        least=0,
    )


def test_a_key_is_changed_in_passes_while_another_transaction_reads(rows: Beside) -> None:
    con = rows.engine.session.con
    con.execute("CREATE TABLE o (id INT PRIMARY KEY, s VARCHAR UNIQUE); INSERT INTO o SELECT id, s FROM t")
    reading = con.cursor()
    reading.begin()
    reading.execute("FROM o").fetchall()
    rows.engine.sql(f"UPDATE o SET id = id + 100, s = s || {ANSWER}")
    reading.rollback()
    rows.engine.sql(f"UPDATE o SET id = id + 100, s = s || {ANSWER}")
    assert rows.engine.sql("SELECT min(id), max(id), count(DISTINCT s) FROM o") == [(200, 219, 20)]


def test_others_may_change_the_rows_while_the_answers_of_an_update_come(rows: Beside) -> None:
    session = rows.engine.session
    rows.engine.sql("SELECT ai_query('chat', 'first')")
    other, transport = session.con.cursor(), session.gateway.routes.transport
    rows.engine.requests()
    send, written = transport.send, threading.Event()

    async def after_the_other_wrote(*arguments: Any) -> Any:
        for _ in range(2000):
            if written.is_set():
                break
            try:
                other.execute("UPDATE t SET s = 'another text' WHERE id = 1").fetchall()
                written.set()
            except duckdb.TransactionException:  # the pass that asks is not over yet
                await asyncio.sleep(0.002)
        return await send(*arguments)

    transport.send = after_the_other_wrote
    rows.engine.sql(f"UPDATE t SET s = {ANSWER} WHERE id < 3")
    assert written.is_set()
    assert rows.engine.requests() == 4, "three texts, and the one that came"


@pytest.fixture
def many(engine: Engine) -> Iterator[Engine]:
    """`big`: 300,000 rows with 7 texts, in the order of `id`, whose answers the session has."""
    engine.sql("SET threads = 4")
    engine.sql("SET aiq_reuse = 'session'")
    engine.sql("CREATE TABLE big AS SELECT i AS id, 'Text ' || i % 7 || '.' AS s FROM range(300000) r(i)")
    engine.sql(f"SELECT {ANSWER} AS r FROM big LIMIT 100")
    engine.requests()
    yield engine


@pytest.mark.parametrize(
    "sql",
    [
        f"SELECT id, {ANSWER} AS r FROM big",
        f"SELECT id FROM big WHERE {ANSWER} <> 'zzz' AND id % 3 = 0 -- a part",
        f"SELECT id FROM (SELECT id, {ANSWER} AS r FROM big) q WHERE r <> 'zzz';",
    ],
)
def test_rows_with_answers_that_are_there_come_in_the_order_of_the_table(many: Engine, sql: str) -> None:
    ids = [row[0] for row in many.sql(sql)]
    assert ids == sorted(ids) and len(ids) > 1000
    assert many.requests() == 0


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT ai_query('chat', 'Text ' || count(*) || '.') AS r FROM t WHERE id < 6",
        "SELECT id, ai_query('chat', 'Text ' || row_number() OVER (ORDER BY id DESC) || '.') AS r FROM t",
        "SELECT id, ai_query('chat', lag(s) OVER (ORDER BY id)) AS r FROM t",
        "SELECT id, (SELECT max(d.r) FROM (SELECT id, ai_query('chat', s) AS r FROM t) d WHERE a.id IN "
        "(SELECT k FROM u)) AS r FROM t a",
        "SELECT d.k, d.r FROM (SELECT id, k, ai_query('chat', s) AS r FROM t) AS d(k, id, r) WHERE id IN "
        "(SELECT z.v FROM (SELECT 1 AS v) z)",
        "SELECT a.id, l.r FROM t a, LATERAL (SELECT (SELECT max(ai_query('chat', z.s)) FROM t z WHERE z.id = a.k) "
        "AS r) l WHERE s = 'Text 3.'",
    ],
)
def test_answers_that_are_there_give_the_rows_of_a_plain_function(rows: Beside, sql: str) -> None:
    rows.engine.sql("SET aiq_reuse = 'session'")
    rows.engine.sql("SELECT ai_query('chat', 'Text ' || i || '.') AS r FROM range(25) r(i)")
    rows.engine.requests()
    rows.check(sql, 0)


KINDS = [
    pytest.param("ai_query('emb', s)", id="embedding"),
    pytest.param("ai_query('emb', s, returnType => 'ARRAY<DOUBLE>')", id="embedding-type"),
    pytest.param("ai_query('chat', s, failOnError => false)", id="struct"),
    pytest.param("ai_query('chat', s, returnType => 'INT', failOnError => false)", id="misfit"),
    pytest.param("ai_query('chat', nullif(s, 'Text 1.'))", id="null"),
    pytest.param("ai_query('chat', nullif(s, 'Text 1.'), failOnError => false)", id="null-struct"),
    pytest.param("ai_query('chat', {'messages': [{'role': 'user', 'content': s}]})", id="messages"),
    pytest.param("ai_query('model', {'x': nullif(id % 3, 1)}, returnType => 'DOUBLE')", id="record"),
    pytest.param("ai_query('chat', s, files => [png])", id="files"),
]


@pytest.mark.parametrize("call", KINDS)
def test_every_kind_of_answer_that_is_there_is_the_one_that_was_given(rows: Beside, call: str) -> None:
    engine = rows.engine
    engine.sql("CREATE TABLE p AS SELECT *, '\\x89PNG\\x0D\\x0A\\x1A\\x0A'::BLOB || s::BLOB AS png FROM t")
    first = engine.sql(f"SELECT id, {call} AS r FROM p")
    assert engine.requests() > 0
    engine.sql("SET aiq_reuse = 'session'")
    engine.sql(f"SELECT id, {call} AS r FROM p")
    engine.requests()
    assert engine.sql(f"SELECT id, {call} AS r FROM p") == first
    engine.sql(f"CREATE TABLE made AS SELECT id, {call} AS r FROM p")
    assert engine.sql("FROM made") == first
    engine.sql(f"UPDATE made SET r = a.r FROM (SELECT id, {call} AS r FROM p) AS a WHERE a.id = made.id")
    assert sorted(engine.sql("FROM made"), key=repr) == sorted(first, key=repr)
    assert engine.requests() == 0


CHILD = """
import os, signal, sys, aiq
with aiq.connect(sys.argv[1], conf=sys.argv[2], home=sys.argv[3], user="ann@example.com") as session:
    session.sql("SELECT ai_query('chat', 'first')")
    transport, sent = session.gateway.routes.transport, []
    send = transport.send

    async def killing(*arguments):
        sent.append(1)
        if len(sent) == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return await send(*arguments)

    transport.send = killing
    session.sql("UPDATE t SET s = ai_query('chat', s), id = id + 100")
"""


def test_an_update_that_is_killed_in_a_pass_leaves_the_database_as_it_was(
    tmp_path: Path, conf: ConfFolder, home: Path, simulator: SimulatorProcess
) -> None:
    database = tmp_path / "data.duckdb"
    with duckdb.connect(str(database)) as con:
        con.execute("CREATE TABLE t (id INT PRIMARY KEY, s VARCHAR)")
        con.execute("INSERT INTO t SELECT i, 'Text ' || i FROM range(9) r(i)")
    arguments = [str(database), str(conf.path), str(home)]
    child = subprocess.run([sys.executable, "-c", CHILD, *arguments], capture_output=True, check=False)
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()
    with aiq.connect(database, conf=conf.path, home=home, user="ann@example.com") as session:
        result = session.sql("SELECT count(*), min(id), max(id), bool_and(s LIKE 'Text%') FROM t")
        assert result is not None and result.fetchall() == [(9, 0, 8, True)]
        session.sql("UPDATE t SET s = ai_query('chat', s), id = id + 100")
        result = session.sql("SELECT count(*), min(id) FROM t WHERE s NOT LIKE 'Text _'")
        assert result is not None and result.fetchall() == [(9, 100)]


OVERWRITE = """INSERT OVERWRITE TABLE `t` SELECT id, k, concat('new ', ai_query('chat', s)) FROM `t` WHERE id < 3"""


def test_insert_overwrite_replaces_all_rows_and_asks_once(rows: Beside) -> None:
    rows.engine.sql(OVERWRITE)
    assert rows.engine.requests() == 3
    found = rows.engine.sql("SELECT id, starts_with(s, 'new ') FROM t ORDER BY id")
    assert found == [(0, True), (1, True), (2, True)]


def test_insert_overwrite_that_cannot_fit_its_table_asks_nothing(rows: Beside) -> None:
    with pytest.raises(duckdb.BinderException, match="3 columns but 1 values"):
        rows.engine.sql("INSERT OVERWRITE TABLE `t` SELECT ai_query('chat', s) FROM `t`")
    assert rows.engine.requests() == 0


def test_insert_overwrite_that_fails_leaves_the_rows_as_they_were(rows: Beside) -> None:
    with pytest.raises(duckdb.ConversionException):
        rows.engine.sql("INSERT OVERWRITE TABLE `t` SELECT id, CAST(ai_query('chat', s) AS INT), s FROM `t`")
    assert rows.engine.sql("SELECT count(*) FROM t") == [(20,)]


REPLACE = """INSERT INTO `t` REPLACE WHERE t.id >= 15 AND k IS NOT NULL
SELECT id, k, ai_query('chat', s) FROM `t` WHERE id > {least}"""


def test_insert_replace_where_replaces_the_rows_of_its_condition_and_asks_once(rows: Beside) -> None:
    rows.engine.sql("CREATE TABLE before AS SELECT * FROM t")
    rows.engine.sql(REPLACE.format(least=16))
    assert rows.engine.requests() == 3
    kept = "SELECT count(*) FROM t JOIN before USING (id, k, s)"
    assert rows.engine.sql(f"SELECT count(*), max(id), ({kept}) FROM t") == [(18, 19, 15)]


def test_a_new_row_that_replace_where_does_not_replace_leaves_the_table_as_it_was(rows: Beside) -> None:
    with pytest.raises(duckdb.ConstraintException, match="not one that REPLACE WHERE replaces"):
        rows.engine.sql(REPLACE.format(least=13))
    assert rows.engine.sql("SELECT count(*) FROM t") == [(20,)]
