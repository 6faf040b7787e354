"""What DuckDB finds wrong without looking at a row is said before any call is made, in DuckDB's words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pytest

from tests.conformance.side_by_side import Pair, answer_to, literal, open_pair

if TYPE_CHECKING:
    from tests.conftest import ConfFolder

OURS = re.compile(r"__aiq|aiq_result|\$aiq")
CALL = "ai_query('chat', body)"

CALLS = {
    "one": CALL,
    "nested": "ai_query('chat', 'again ' || ai_query('chat', body))",
    "two": "coalesce(ai_query('chat', body), ai_query('chat', 'or ' || body))",
    "of a subquery": "(SELECT max(ai_query('chat', u.body)) FROM t AS u)",
}

TABLES = """
CREATE TABLE t AS SELECT i AS id, 'body ' || i AS body, DATE '2024-01-01' + i::INTEGER AS d FROM range(5) AS r(i);
CREATE TABLE w (id BIGINT, answer VARCHAR);
CREATE TABLE wide (id BIGINT, answer VARCHAR, more INTEGER NOT NULL);
CREATE TABLE computed (id BIGINT, twice BIGINT GENERATED ALWAYS AS (id * 2));
CREATE TABLE keyed (id BIGINT PRIMARY KEY, answer VARCHAR);
CREATE VIEW seen AS FROM t;
CREATE TYPE mood AS ENUM ('sad', 'happy')
"""

STATEMENTS = {
    # Columns that are not there, in each clause.
    "column in select": f"SELECT nope, {CALL} FROM t",
    "column in the prompt": "SELECT ai_query('chat', nope) FROM t",
    "column in where": f"SELECT {CALL} FROM t WHERE nope > 1",
    "column in where with a call": f"SELECT id FROM t WHERE {CALL} = 'yes' AND nope > 1",
    "column in order by": f"SELECT {CALL} AS a FROM t ORDER BY nope",
    "column in order by, limit": f"SELECT {CALL} AS a FROM t ORDER BY nope LIMIT 2",
    "column in group by": f"SELECT {CALL} AS a, count(*) FROM t GROUP BY nope",
    "column in having": f"SELECT {CALL} AS a, count(*) FROM t GROUP BY a HAVING nope > 1",
    "column in qualify": f"SELECT {CALL} FROM t QUALIFY row_number() OVER (ORDER BY nope) = 1",
    "column in partition by": f"SELECT {CALL}, sum(id) OVER (PARTITION BY nope) FROM t",
    "column in a join": f"SELECT {CALL} FROM t JOIN w ON t.nope = w.id",
    "column in using": f"SELECT {CALL} FROM t JOIN w USING (nope)",
    "column in a filter": f"SELECT count(*) FILTER (WHERE nope), max({CALL}) FROM t",
    "column in distinct on": f"SELECT DISTINCT ON (nope) {CALL} FROM t",
    "column in a subquery": f"SELECT {CALL} FROM t WHERE id IN (SELECT nope FROM w)",
    "column in a scalar subquery": f"SELECT (SELECT max(nope) FROM w), {CALL} FROM t",
    "column of a table": f"SELECT t.nope, {CALL} FROM t",
    "column of a derived table": f"SELECT x.body FROM (SELECT id, {CALL} AS a FROM t) AS x",
    "column over a derived table": f"SELECT a, nope FROM (SELECT id, {CALL} AS a FROM t) AS x",
    "column of a cte": f"WITH c AS (SELECT id, {CALL} AS a FROM t) SELECT nope FROM c",
    "a filter after a call": f"SELECT {CALL} FILTER (WHERE id > 3) FROM t",
    "column in limit": f"SELECT {CALL} FROM t LIMIT nope",
    "column in exclude": f"SELECT * EXCLUDE (nope), {CALL} FROM t",
    "column in replace": f"SELECT * REPLACE (1 AS nope), {CALL} FROM t",
    "field of a struct": f"SELECT {{'a': 1}}.nope, {CALL} FROM t",
    "ambiguous column": f"SELECT id, {CALL} FROM t JOIN w ON t.id = w.id",
    "column outside of group by": f"SELECT id, {CALL} AS a FROM t GROUP BY body",
    "column in a set operation": f"SELECT {CALL} AS a FROM t UNION ALL SELECT nope FROM w",
    # Tables, functions, types, settings that are not there.
    "table in from": f"SELECT {CALL} FROM nope",
    "table in a join": f"SELECT {CALL} FROM t JOIN nope USING (id)",
    "table in a subquery": f"SELECT {CALL} FROM t WHERE EXISTS (FROM nope)",
    "table alias": f"SELECT z.id, {CALL} FROM t",
    "file": f"SELECT {CALL}, * FROM t, 'nope.parquet'",
    "schema": f"SELECT {CALL} FROM nope.t",
    "function": f"SELECT nope(id), {CALL} FROM t",
    "function around the call": f"SELECT nope({CALL}) FROM t",
    "function in the prompt": "SELECT ai_query('chat', nope(body)) FROM t",
    "table function": f"SELECT {CALL} FROM t, nope(1)",
    "type": f"SELECT id::nope, {CALL} FROM t",
    "type around the call": f"SELECT {CALL}::nope FROM t",
    "collation": f"SELECT {CALL} AS a FROM t ORDER BY body COLLATE nope",
    "window": f"SELECT sum(id) OVER nope, {CALL} FROM t",
    "sequence": f"SELECT nextval('nope'), {CALL} FROM t",
    # Types and numbers that do not fit.
    "plus a date": f"SELECT {CALL} + DATE '2020-01-01' FROM t",
    "plus an interval": f"SELECT {CALL} + INTERVAL 1 DAY FROM t",
    "sum": f"SELECT sum({CALL}) FROM t",
    "not a boolean": f"SELECT {CALL} FROM t WHERE d",
    "field of a text": f"SELECT ({CALL}).field FROM t",
    "too many arguments": f"SELECT upper(body, 1), {CALL} FROM t",
    "too few arguments": f"SELECT replace({CALL}) FROM t",
    "columns of a set operation": f"SELECT id, {CALL} FROM t UNION ALL SELECT 1",
    "columns of a subquery": f"SELECT {CALL} FROM t WHERE id IN (SELECT id, d FROM t)",
    "columns of a derived table": f"SELECT * FROM (SELECT id, {CALL} FROM t) AS x(a, b, c)",
    "aggregate in where": f"SELECT {CALL} FROM t WHERE count(*) > 1",
    "window in where": f"SELECT {CALL} FROM t WHERE row_number() OVER () > 1",
    "aggregate of an aggregate": f"SELECT max(max({CALL})) FROM t",
    "ordinal": f"SELECT {CALL} FROM t ORDER BY 7",
    "group ordinal": f"SELECT {CALL} FROM t GROUP BY 7",
    "star without from": "SELECT *, ai_query('chat', 'x')",
    "duplicate cte": f"WITH c AS (SELECT {CALL} AS a FROM t), c AS (SELECT 1 AS a) SELECT * FROM c",
    "duplicate alias": f"SELECT body, {CALL} FROM t, t",
    "positional join of nothing": f"SELECT {CALL} FROM t POSITIONAL JOIN nope",
    "limit of a text": f"SELECT {CALL} FROM t LIMIT 'x'",
    "unpivot": f"UNPIVOT (SELECT id, {CALL} AS a FROM t) ON nope",
    # What is written, and where.
    "insert into nothing": f"INSERT INTO nope SELECT id, {CALL} FROM t",
    "insert into a schema": f"INSERT INTO nope.w SELECT id, {CALL} FROM t",
    "insert too many": f"INSERT INTO w SELECT id, {CALL}, d FROM t",
    "insert too few": f"INSERT INTO wide SELECT id, {CALL} FROM t",
    "insert into columns": f"INSERT INTO w (id, nope) SELECT id, {CALL} FROM t",
    "insert too many for columns": f"INSERT INTO w (id) SELECT id, {CALL} FROM t",
    "insert a column twice": f"INSERT INTO w (id, id) SELECT id, {CALL} FROM t",
    "insert by name": f"INSERT INTO w BY NAME SELECT id, {CALL} AS nope FROM t",
    "insert into a view": f"INSERT INTO seen SELECT id, {CALL}, d FROM t",
    "insert into a computed column": f"INSERT INTO computed (id, twice) SELECT id, length({CALL}) FROM t",
    "insert values": "INSERT INTO w VALUES (1, ai_query('chat', 'x'), 3)",
    "insert values of different lengths": "INSERT INTO w VALUES (1, ai_query('chat', 'x')), (1)",
    "insert returning": f"INSERT INTO w SELECT id, {CALL} FROM t RETURNING nope",
    "insert on conflict": f"INSERT INTO w SELECT id, {CALL} FROM t ON CONFLICT (id) DO NOTHING",
    "insert where": f"INSERT INTO w SELECT id, {CALL} FROM t WHERE nope = 1",
    "insert into a read-only database": f"INSERT INTO locked.t SELECT id, {CALL} FROM t",
    "create in a read-only database": f"CREATE TABLE locked.made AS SELECT id, {CALL} AS a FROM t",
    "update in a read-only database": "UPDATE locked.t SET body = ai_query('chat', body)",
    "delete in a read-only database": f"DELETE FROM locked.t WHERE {CALL} = 'yes'",
    "create what is there": f"CREATE TABLE w AS SELECT id, {CALL} AS a FROM t",
    "create what a view is": f"CREATE TABLE seen AS SELECT id, {CALL} AS a FROM t",
    "create in a schema": f"CREATE TABLE nope.made AS SELECT id, {CALL} AS a FROM t",
    "create in a database": f"CREATE TABLE nope.main.made AS SELECT id, {CALL} AS a FROM t",
    "create with names": f"CREATE TABLE made (a, b, c) AS SELECT id, {CALL} FROM t",
    "create where": f"CREATE TABLE made AS SELECT id, {CALL} AS a FROM t WHERE nope = 1",
    "create or replace of a view": f"CREATE OR REPLACE TABLE seen AS SELECT id, {CALL} AS a FROM t",
    "update nothing": "UPDATE nope SET body = ai_query('chat', body)",
    "update a column": f"UPDATE t SET nope = {CALL}",
    "update twice": f"UPDATE t SET body = {CALL}, body = 'x'",
    "update from": f"UPDATE t SET body = {CALL} FROM w WHERE t.id = w.nope",
    "update where": f"UPDATE t SET body = {CALL} WHERE nope = 1",
    "update a view": f"UPDATE seen SET body = {CALL}",
    "update returning": f"UPDATE t SET body = {CALL} RETURNING nope",
    "delete from nothing": f"DELETE FROM nope WHERE {CALL} = 'yes'",
    "delete where": f"DELETE FROM t WHERE {CALL} = 'yes' AND nope = 1",
    "delete using": f"DELETE FROM t USING w WHERE t.id = w.nope AND {CALL} = 'yes'",
    "delete from a view": f"DELETE FROM seen WHERE {CALL} = 'yes'",
    "delete returning": f"DELETE FROM t WHERE {CALL} = 'yes' RETURNING nope",
    "merge into nothing": f"MERGE INTO nope USING t ON nope.id = t.id WHEN MATCHED AND {CALL} = 'x' THEN DELETE",
    "merge on": f"MERGE INTO w USING t ON w.nope = t.id WHEN NOT MATCHED THEN INSERT VALUES (t.id, {CALL})",
    "merge set": f"MERGE INTO w USING t ON w.id = t.id WHEN MATCHED THEN UPDATE SET nope = {CALL}",
    "merge values": f"MERGE INTO w USING t ON w.id = t.id WHEN NOT MATCHED THEN INSERT VALUES (t.id, {CALL}, 3)",
    "merge source": f"MERGE INTO w USING (SELECT nope, {CALL} AS a FROM t) AS s ON true WHEN MATCHED THEN DELETE",
    "copy as": f"COPY (SELECT id, {CALL} AS a FROM t) TO 'x' (FORMAT nope)",
    "copy to a folder that is not there": f"COPY (SELECT id, {CALL} AS a FROM t) TO 'not/there/x.csv'",
    "copy option": f"COPY (SELECT id, {CALL} AS a FROM t) TO 'x.csv' (FORMAT csv, nope 1)",
    "copy of": f"COPY (SELECT nope, {CALL} AS a FROM t) TO 'x.csv'",
    "copy partitions": f"COPY (SELECT id, {CALL} AS a FROM t) TO 'x' (FORMAT csv, PARTITION_BY (nope))",
    "create view of nothing": f"CREATE VIEW nope.made AS SELECT {CALL} AS a FROM t",
}

PIVOTS = {
    "function of a pivot": f"PIVOT (SELECT id, {CALL} AS a FROM t) ON a USING nope(id)",
    "function of a pivot by two": f"PIVOT (SELECT id, d, {CALL} AS a FROM t) ON a, d USING sum(id), nope(id)",
    "column of a pivot": f"PIVOT (SELECT id, {CALL} AS a FROM t) ON a USING sum(nope)",
    "column that a pivot is by": f"PIVOT (SELECT id, {CALL} AS a FROM t) ON a || nope USING sum(id)",
    "column of groups of a pivot": f"PIVOT (SELECT id, {CALL} AS a FROM t) ON a USING sum(id) GROUP BY nope ORDER BY x",
    "types of a pivot": f"PIVOT (SELECT id, {CALL} AS a FROM t) ON id USING sum(a)",
    "table of a pivot": "PIVOT nope ON ai_query('chat', body) USING sum(id)",
    "function in the call of a pivot": "PIVOT t ON ai_query('chat', nope(body)) USING sum(id)",
    "pivot of a cte": f"WITH c AS (SELECT id, {CALL} AS a FROM t) PIVOT c ON a USING nope(id)",
    "pivot in a join": f"SELECT * FROM (PIVOT (SELECT id, {CALL} AS a FROM t) ON a USING sum(id)), nope",
    "insert of a pivot into nothing": f"INSERT INTO nope PIVOT (SELECT id, {CALL} AS a FROM t) ON a USING sum(id)",
    "create of a pivot": f"CREATE TABLE nope.made AS PIVOT (SELECT id, {CALL} AS a FROM t) ON a USING sum(id)",
    "create of a pivot that is there": f"CREATE TABLE w AS PIVOT (SELECT id, {CALL} AS a FROM t) ON a USING sum(id)",
    "copy of a pivot": f"COPY (PIVOT (SELECT id, {CALL} AS a FROM t) ON a USING nope(id)) TO 'x.csv'",
}
"""Statements over a PIVOT whose columns are those that its rows have.

DuckDB itself reads rows before it finds the error, and quotes a text of its own making.
"""

STREAMED = [name for name, sql in STATEMENTS.items() if sql.startswith(("SELECT", "WITH"))]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, make_conf: Callable[[Path, str], ConfFolder]) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("bind")
    with open_pair(folder, make_conf, keeps_answers=False) as made:
        made.both(TABLES)
        for name, con in (("plain", made.plain), ("ours", made.session.con)):
            with duckdb.connect(str(folder / f"{name}.db")) as locked:
                locked.execute("CREATE TABLE t AS SELECT i AS id, 'body ' || i AS body FROM range(5) AS r(i)")
            con.execute(f"ATTACH '{folder / name}.db' AS locked (READ_ONLY)")
        yield made


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", [*STATEMENTS, *PIVOTS])
def test_an_error_of_binding_comes_before_any_call(pair: Pair, name: str, call: str) -> None:
    sql = {**STATEMENTS, **PIVOTS}[name].replace(CALL, CALLS[call])
    expected, found = pair.of_plain(sql), pair.of_session(sql)
    assert expected.error, "DuckDB takes this statement: it is no case"
    assert pair.asked == []
    assert _kind(found.error) == _kind(expected.error)


@pytest.mark.parametrize("name", STREAMED)
def test_an_error_of_binding_comes_before_any_call_of_a_stream(pair: Pair, name: str) -> None:
    expected, found = pair.of_plain(STATEMENTS[name]), pair.of_stream(STATEMENTS[name])
    assert pair.asked == []
    assert _kind(found.error) == _kind(expected.error)


@pytest.mark.parametrize("name", STATEMENTS)
def test_an_error_of_binding_has_no_name_of_ours(pair: Pair, name: str) -> None:
    said = pair.of_session(STATEMENTS[name]).error
    assert OURS.findall(said) == [], said
    if name in STREAMED:
        assert OURS.findall(pair.of_stream(STATEMENTS[name]).error) == []


@pytest.mark.parametrize("name", STATEMENTS)
def test_an_error_of_binding_is_said_in_duckdbs_words(pair: Pair, name: str) -> None:
    expected, found = pair.error_of_plain(STATEMENTS[name]), pair.of_session(STATEMENTS[name]).error
    assert _said(found) == _said(expected)


@pytest.mark.parametrize("name", PIVOTS)
def test_an_error_of_a_pivot_is_said_of_the_statement_as_written(pair: Pair, name: str) -> None:
    expected, found = pair.of_plain(PIVOTS[name]).error, pair.of_session(PIVOTS[name]).error
    assert _said(found)[0] == _said(expected)[0]
    quoted = [line.removeprefix("LINE 1: ") for line in found.splitlines() if line.startswith("LINE 1: ")]
    assert all(line in PIVOTS[name] for line in quoted)
    assert OURS.findall(found) == [] and "__pivot" not in found


@pytest.mark.parametrize(
    "sql",
    [
        "PIVOT answers ON a USING sum(id) ORDER BY name",
        "SELECT {column} FROM (PIVOT answers ON a USING sum(id))",
        "WITH c AS (FROM answers) SELECT p.{column} FROM (PIVOT c ON a USING sum(id)) AS p WHERE p.{column} > 0",
        "SELECT * EXCLUDE ({column}) FROM (PIVOT answers ON a USING max(id), min(id) AS least)",
    ],
)
def test_the_columns_of_a_pivot_are_those_of_its_rows(pair: Pair, sql: str) -> None:
    asked = "(SELECT id, ai_query('chat', body) AS a FROM t)"
    names = ['"' + str(answer_to(f"body {i}")) + '"' for i in range(5)]
    text = sql.replace("answers", asked).replace("ORDER BY name", f"ORDER BY {names[0]}")
    text = text.format(column=f'{names[0][:-1]}_least"' if "least" in sql else names[0])
    assert pair.of_session(text) == pair.of_plain(text)
    assert not pair.of_session(text).error


@pytest.mark.parametrize(
    ("insert", "conflict"),
    [
        ("INSERT OR IGNORE", ""),
        ("INSERT OR REPLACE", ""),
        ("INSERT", " ON CONFLICT DO NOTHING"),
        ("INSERT", " ON CONFLICT (id) DO UPDATE SET answer = excluded.answer"),
    ],
)
def test_a_column_that_is_not_there_is_refused_whatever_a_conflict_does(pair: Pair, insert: str, conflict: str) -> None:
    plain = pair.error_of_plain(f"INSERT INTO keyed (id, nope) SELECT id, {CALL} FROM t")
    found = pair.of_session(f"{insert} INTO keyed (id, nope) SELECT id, {CALL} FROM t{conflict}").error
    assert _said(found)[:1] == _said(plain)[:1]
    assert OURS.findall(found) == [] and pair.asked == []
    assert not pair.of_session(f"{insert} INTO keyed (id, answer) SELECT id, {CALL} FROM t{conflict}").error
    assert len(pair.asked) == 5


@pytest.mark.parametrize(
    "sql",
    [
        "PIVOT t ON body IN ('a', {call}) USING count(*)",
        "SELECT * FROM (PIVOT t ON body IN ({call}) USING count(*))",
        "CREATE TABLE pivoted AS SELECT * FROM t PIVOT (count(*) FOR body IN ({call}) GROUP BY id)",
        "SELECT * FROM read_csv({call})",
        "SELECT count(*) FROM t, glob({call} || '*')",
        "SELECT * FROM query('SELECT ' || {call})",
    ],
)
def test_a_call_where_duckdb_reads_a_value_before_any_row_is_refused(pair: Pair, sql: str) -> None:
    error = pair.of_session(sql.format(call="ai_query('chat', 'which?')")).error
    assert "before it looks at a row" in error and "SET VARIABLE answer" in error
    assert pair.asked == []
    pair.of_session("SET VARIABLE answer = ai_query('chat', 'which?')")
    pair.plain.execute(f"SET VARIABLE answer = {literal(answer_to('which?'))}")
    instead = "PIVOT t ON body IN (getvariable('answer')) USING count(*)"
    assert pair.of_session(instead) == pair.of_plain(instead)


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO mapped VALUES (1, map([{call}], [1]))",
        "UPDATE mapped SET m = map([{call}], [2])",
        "DELETE FROM mapped WHERE cardinality(map([{call}], [2])) = 1",
        "MERGE INTO mapped USING (SELECT 1 AS id) s USING (id) WHEN MATCHED THEN UPDATE SET m = map([{call}], [3])",
    ],
)
def test_a_constant_that_is_an_error_only_without_its_answer_is_asked(pair: Pair, sql: str) -> None:
    pair.both(
        "CREATE OR REPLACE TABLE mapped (id INTEGER, m MAP(VARCHAR, INTEGER)); INSERT INTO mapped VALUES (1, NULL)"
    )
    text = sql.format(call="ai_query('chat', 'key')")
    assert not pair.of_plain(text).error and not pair.of_session(text).error
    ours, theirs = pair.contents("FROM mapped")
    assert ours == theirs and pair.asked == ["key"]


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t (id) VALUES (DATE {call})",
        "DELETE FROM t WHERE id {call}",
        "SELECT {call} OVER () FROM t",
        "SELECT ai_query('chat', body ORDER BY body) FROM t",
        "SELECT {call} FILTER (WHERE true) FROM t",
        "SELECT ai_query(DISTINCT 'chat', body) FROM t",
    ],
)
def test_an_error_about_the_function_names_it_as_it_was_written(pair: Pair, sql: str) -> None:
    text = sql.format(call="ai_query('chat', body)")
    assert pair.error_of_plain(text)
    error = pair.of_session(text).error
    assert "ai_query" in error and OURS.findall(error) == [] and pair.asked == []


def _kind(error: str) -> str:
    """The class of an error, or nothing where there is none."""
    return error.partition(":")[0]


def _said(error: str) -> list[str]:
    """The first line, and the line of the statement that it quotes with the mark below it."""
    lines = error.splitlines()
    return lines[:1] + [line for line in lines if line.startswith("LINE ") or set(line) == {" ", "^"}]
