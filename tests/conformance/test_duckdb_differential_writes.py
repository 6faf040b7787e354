"""Random statements that change rows: tables and what RETURNING gives are as DuckDB makes them with a plain function.

Tables, provider and expressions are those of test_duckdb_differential.py, and so are `AIQ_FUZZ_EXAMPLES` and
`AIQ_FUZZ_RANDOM`. A join pairs each target row with one source row at most, or the result would be DuckDB's choice.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import duckdb
from hypothesis import given, note, settings
from hypothesis import strategies as st

from tests.conformance.side_by_side import Pair
from tests.conformance.test_duckdb_differential import (
    _CONSTANT,
    EXAMPLES,
    FUZZ,
    ROWS,
    Scope,
    conditions,
    pair,
    texts,
)

__all__ = ["pair"]  # the fixture: the same tables in a session and in plain DuckDB

JOINS = ("t.id = u.id", "t.k = u.id")
CONSTRAINTS = ("", "", "", "PRIMARY KEY (id)", "CHECK (s IS NULL OR s <> 'no')", "UNIQUE (s)", "CHECK (s IS NOT NULL)")
T, U, BOTH = Scope(("t",), (), 1), Scope(("u",), (), 1), Scope(("t", "u"), (), 1)


class Outcome(NamedTuple):
    """What a statement leaves behind: its error or its rows, and the tables."""

    error: str | None
    rows: list[Any]
    tables: list[list[Any]]


def without_subquery(strategy: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """DuckDB takes no subquery in some places of a statement that writes."""
    return strategy.filter(lambda text: "SELECT" not in text)


@st.composite
def updates(draw: Any) -> str:
    """UPDATE, alone or with FROM a table or a derived one."""
    kind = draw(st.sampled_from(["alone", "alone", "table", "derived"]))
    if kind == "alone":
        scope, source, joined = T, "", []
    elif kind == "table":
        scope, source, joined = BOTH, " FROM u", [draw(st.sampled_from(JOINS))]
    else:
        inner = f"SELECT u.id, u.k, u.s, {draw(texts(U))} AS w FROM u WHERE {draw(conditions(U))}"
        scope = Scope(("t", "u"), ("u.w",), 1)
        source, joined = f" FROM ({inner}) AS u", [draw(st.sampled_from(JOINS))]
    sets = [f"s = {draw(texts(scope))}"]
    if draw(st.booleans()):
        sets.append(f"k = length({draw(texts(scope))})")
    if draw(st.integers(0, 5)) == 0:
        sets.append("id = id + 1")
    if draw(st.booleans()):
        joined.append(draw(conditions(scope)))
    where = f" WHERE {' AND '.join(joined)}" if joined else ""
    return f"UPDATE t SET {', '.join(sets)}{source}{where}{draw(returning(kind == 'alone'))}"


@st.composite
def returning(draw: Any, calls: bool = True) -> str:
    """RETURNING with or without a call, or nothing."""
    kind = draw(st.sampled_from(["", "", "", " RETURNING id, s", " RETURNING id, {}"]))
    if "{}" not in kind:
        return str(kind)
    value = "ai_query('chat', s)" if calls else "upper(s)"
    return str(kind.format(value))


@st.composite
def deletes(draw: Any) -> str:
    """DELETE, alone or with USING."""
    if draw(st.booleans()):
        return f"DELETE FROM t WHERE {draw(conditions(Scope(('t',))))}{draw(returning())}"
    join = draw(st.sampled_from(JOINS))
    return f"DELETE FROM t USING u WHERE {join} AND {draw(conditions(BOTH))}{draw(returning(False))}"


@st.composite
def merges(draw: Any) -> str:
    """MERGE with one to four WHENs."""
    if draw(st.booleans()):
        source = "u"
    else:
        value = f"{draw(texts(U))}" if draw(st.booleans()) else "u.s"
        where = draw(conditions(U))
        source = f"(SELECT u.id, u.k, {value} AS s FROM u WHERE {where}) AS u"
    on = draw(st.sampled_from(JOINS))
    if draw(st.integers(0, 2)) == 0:
        on += f" AND {draw(without_subquery(conditions(draw(st.sampled_from([U, BOTH])))))}"
    whens = []
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["MATCHED", "MATCHED", "NOT MATCHED", "NOT MATCHED", "NOT MATCHED BY SOURCE"]))
        scope = {"MATCHED": BOTH, "NOT MATCHED": U}.get(kind, T)
        condition = f" AND {draw(without_subquery(conditions(scope)))}" if draw(st.booleans()) else ""
        value = draw(without_subquery(texts(scope)))
        if kind == "NOT MATCHED":
            action = draw(
                st.sampled_from(
                    [
                        f"INSERT VALUES (u.id, u.k, {value})",
                        f"INSERT (s, id) VALUES ({value}, u.id + 100)",
                        "INSERT",
                        "DO NOTHING",
                    ]
                )
            )
        else:
            action = draw(st.sampled_from([f"UPDATE SET s = {value}", f"UPDATE SET s = {value}, k = 9", "DELETE"]))
        whens.append(f"WHEN {kind}{condition} THEN {action}")
    merge = f"MERGE INTO t USING {source} ON {on} {' '.join(whens)}"
    return merge if "BY SOURCE" in merge else merge + draw(returning(False))  # DuckDB 1.5 returns other rows' values


@st.composite
def inserts(draw: Any) -> str:
    """INSERT: VALUES, a query, BY NAME, with ON CONFLICT."""
    kind = draw(st.sampled_from(["values", "query", "name", "conflict", "conflict-call"]))
    tail = draw(returning())
    if kind == "values":
        second = draw(st.sampled_from(["NULL", "ai_query('chat', ai_query('chat', 'b'))"]))
        return f"INSERT INTO t VALUES (50, 1, ai_query('chat', 'a')), (51, 2, {second}){tail}"
    value, where = draw(texts(Scope(("u",)))), draw(conditions(U))
    if kind == "name":
        return f"INSERT INTO t BY NAME SELECT {value} AS s, u.id + 100 AS id FROM u WHERE {where}{tail}"
    if kind == "query":
        return f"INSERT INTO t SELECT u.id + 100, u.k, {value} FROM u WHERE {where}{tail}"
    written = "excluded.s" if kind == "conflict" else "ai_query('chat', excluded.s)"
    action = draw(st.sampled_from(["DO NOTHING", f"(id) DO UPDATE SET s = {written}"]))
    return f"INSERT INTO t SELECT u.id, u.k, {value} FROM u WHERE {where} ON CONFLICT {action}{tail}"


@st.composite
def creates(draw: Any) -> str:
    """CREATE TABLE AS."""
    how = draw(st.sampled_from(["CREATE TABLE made", "CREATE OR REPLACE TABLE t", "CREATE TEMP TABLE made"]))
    scope, where = Scope(("u",)), draw(conditions(U))
    return f"{how} AS SELECT u.id, u.k, {draw(texts(scope))} AS s FROM u WHERE {where}"


def writes() -> st.SearchStrategy[str]:
    """A statement that changes rows, with a call in it."""
    kinds = st.one_of(updates(), updates(), deletes(), merges(), merges(), inserts(), creates())
    return kinds.filter(lambda text: "ai_query" in text)


def prepare(pair: Pair, t: Any, u: Any, constraint: str) -> bool:
    """Loads the tables, `t` with a constraint. False where its rows do not fit it."""
    pair.load({"t": t, "u": u})
    for con in (pair.session.con, pair.plain):
        con.execute("DROP TABLE IF EXISTS made; DROP TABLE IF EXISTS temp.made")
        if constraint:
            con.execute(f"CREATE TABLE made (id INT, k INT, s VARCHAR, {constraint})")
            try:
                con.execute("INSERT INTO made FROM t")
            except duckdb.ConstraintException:
                return False
            con.execute("DROP TABLE t; ALTER TABLE made RENAME TO t")
    return True


def outcome(con: duckdb.DuckDBPyConnection, run: Any) -> Outcome:
    error, rows = None, []
    try:
        rows = sorted(run(), key=repr)
    except duckdb.Error as raised:
        error = type(raised).__name__
    tables = [sorted(con.execute(f"FROM {name}").fetchall(), key=repr) for name in ("t", "u")]
    if con.execute("FROM duckdb_tables() WHERE table_name = 'made'").fetchall():
        tables.append(con.execute("FROM made ORDER BY ALL").fetchall())
    return Outcome(error, rows, tables)


def of_plain(pair: Pair, sql: str) -> Outcome:
    def run() -> list[Any]:
        rows = pair.plain.execute(sql).fetchall()
        return rows if "RETURNING" in sql else []

    return outcome(pair.plain, run)


def of_session(pair: Pair, sql: str) -> Outcome:
    def run() -> list[Any]:
        result = pair.session.sql(sql)
        return [] if result is None else result.fetchall()

    return outcome(pair.session.con, run)


FUZZ_WRITES = given(t=ROWS, u=ROWS, constraint=st.sampled_from(CONSTRAINTS), sql=writes())


@settings(FUZZ, max_examples=EXAMPLES // 2)
@FUZZ_WRITES
def test_a_statement_changes_what_it_changes_with_a_plain_function(
    pair: Pair, t: Any, u: Any, constraint: str, sql: str
) -> None:
    if not prepare(pair, t, u, constraint):
        return
    note(f"{constraint}: {sql}")
    pair.evaluated.clear()
    expected = of_plain(pair, sql)
    pair.transport.asked.clear()
    assert of_session(pair, sql) == expected
    asked = pair.transport.asked
    assert len(asked) == len(set(asked)), "a request was paid twice"
    one_valued = any(len({row[column] for row in rows}) == 1 for rows in (t, u) for column in (0, 1))
    if expected.error is None and not _CONSTANT.search(sql) and not one_valued and "BY SOURCE" not in sql:
        assert set(asked) <= pair.evaluated, "a request was asked that the plain function was not evaluated for"


@settings(FUZZ, max_examples=EXAMPLES // 10)
@FUZZ_WRITES
def test_answers_of_the_session_change_the_same_rows_and_ask_nothing(
    pair: Pair, t: Any, u: Any, constraint: str, sql: str
) -> None:
    for again in (False, True):
        if not prepare(pair, t, u, constraint):
            return
        note(f"{constraint}: {sql}")
        expected = of_plain(pair, sql)
        pair.transport.asked.clear()
        assert of_session(pair, f"/*+ aiq_reuse(session) */ {sql}") == expected
        assert not (again and pair.transport.asked)


@settings(FUZZ, max_examples=EXAMPLES // 10)
@given(
    t=ROWS, u=ROWS, constraint=st.sampled_from(CONSTRAINTS), sql=writes(), end=st.sampled_from(["COMMIT", "ROLLBACK"])
)
def test_a_statement_in_a_transaction_of_the_user_ends_with_it(
    pair: Pair, t: Any, u: Any, constraint: str, sql: str, end: str
) -> None:
    if not prepare(pair, t, u, constraint):
        return
    note(f"{constraint}: {sql} {end}")
    for con in (pair.plain, pair.session.con):
        con.begin()
        con.execute("UPDATE t SET k = k + 1")
    try:
        expected_error, error = None, None
        try:
            expected = pair.plain.execute(sql).fetchall()
        except duckdb.Error as raised:
            expected_error = type(raised)
        pair.transport.asked.clear()
        try:
            result = pair.session.sql(sql)
        except duckdb.Error as raised:
            error = type(raised)
        assert (error is None) == (expected_error is None), error or expected_error
        if error is None and "RETURNING" in sql:
            assert result is not None and sorted(result.fetchall(), key=repr) == sorted(expected, key=repr)
        assert len(pair.transport.asked) == len(set(pair.transport.asked)), "a request was paid twice"
        if error is None:
            assert outcome(pair.session.con, list) == outcome(pair.plain, list)
        else:
            end = "ROLLBACK"
    finally:
        for con in (pair.plain, pair.session.con):
            con.execute(end)
    assert outcome(pair.session.con, list) == outcome(pair.plain, list)
