"""A database that has something of its own called `ai_query`: it opens, ours is called, and it keeps what it has."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pytest

import aiq

if TYPE_CHECKING:
    from tests.conftest import ConfFolder

CALL = "SELECT ai_query('chat', 'x') AS a"
MACROS = {
    "macro": "CREATE MACRO ai_query(a, b) AS 'theirs'",
    "macro of other arguments": "CREATE MACRO ai_query(a) AS 'theirs'",
    "name in capitals": "CREATE MACRO AI_QUERY(a, b) AS 'theirs'",
    "table macro": "CREATE MACRO ai_query(a, b) AS TABLE SELECT 'theirs' AS a",
    "view over a macro": "CREATE MACRO ai_query(a, b) AS 'theirs'; CREATE VIEW v AS SELECT ai_query('chat', 'x') AS a",
    "table": "CREATE TABLE ai_query (i INT)",
}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "shop.duckdb"


def of_its_own(database: Path) -> list[tuple[str, ...]]:
    with duckdb.connect(database) as con:
        return con.execute(
            "SELECT function_name, function_type, macro_definition FROM duckdb_functions() WHERE NOT internal "
            "UNION ALL SELECT table_name, 'table', sql FROM duckdb_tables()"
        ).fetchall()


@pytest.mark.parametrize("definition", MACROS.values(), ids=MACROS)
def test_it_opens_asks_and_keeps_what_it_has(conf: ConfFolder, home: Path, database: Path, definition: str) -> None:
    with duckdb.connect(database) as con:
        con.execute(definition)
    before = of_its_own(database)
    for _ in range(2):
        with aiq.connect(database, conf=conf.path, home=home) as session:
            for con in (session, session.con):
                found = con.sql(CALL)
                assert found is not None and found.fetchall()[0][0].startswith("[simulated]")
    assert of_its_own(database) == before


def test_a_view_of_the_database_asks_where_a_session_reads_it(conf: ConfFolder, home: Path, database: Path) -> None:
    with duckdb.connect(database) as con:
        con.execute(MACROS["view over a macro"])
    with aiq.connect(database, conf=conf.path, home=home) as session:
        found = session.sql("FROM v")
        assert found is not None and found.fetchall()[0][0].startswith("[simulated]")
    with duckdb.connect(database) as con:
        assert con.execute("FROM v").fetchall() == [("theirs",)]


def test_its_own_macro_is_called_by_its_full_name_and_on_cursors(conf: ConfFolder, home: Path, database: Path) -> None:
    with duckdb.connect(database) as con:
        con.execute(MACROS["macro"])
        aiq.register(con, conf=conf.path, home=home)
        assert con.execute("SELECT shop.main.ai_query('chat', 'x')").fetchall() == [("theirs",)]
        assert con.cursor().execute(CALL).fetchall() == [("theirs",)]


@pytest.mark.parametrize("when", ["before", "within"])
def test_an_open_transaction_goes_on(conf: ConfFolder, home: Path, when: str) -> None:
    with duckdb.connect() as con:
        steps = ["BEGIN", MACROS["macro"]]
        for step in steps if when == "within" else reversed(steps):
            con.execute(step)
        con.execute("CREATE TABLE t AS SELECT 1 AS i")
        session = aiq.connect(con, conf=conf.path, home=home)
        found = session.sql(CALL)
        assert found is not None and found.fetchall()[0][0].startswith("[simulated]")
        session.sql("COMMIT")
        assert con.execute("FROM t").fetchall() == [(1,)]


def test_another_database_in_use_may_have_it(conf: ConfFolder, home: Path) -> None:
    with duckdb.connect() as con:
        con.execute("ATTACH ':memory:' AS shop; USE shop")
        con.execute(MACROS["macro"])
        found = aiq.connect(con, conf=conf.path, home=home).sql(CALL)
        assert found is not None and found.fetchall()[0][0].startswith("[simulated]")
