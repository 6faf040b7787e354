"""The queries that requests are counted by: what of a statement is evaluated, and that no answer decides it."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest

from aiq.engines.duckdb.rewrite.counting import CountingQuery, counting
from tests.unit.engines.duckdb.rewrite.cases import CALL, numbered

WHERE = "ai1(a) = 'yes'"
THEN = "ai2(b)"


def asked(query: str) -> set[tuple[int, str]]:
    """What the calls of a query are asked, over a table of two rows, while every answer is NULL."""
    found: set[tuple[int, str]] = set()

    def look_up(numbers: pa.ChunkedArray, requests: pa.ChunkedArray) -> pa.Array:
        found.update(zip(numbers.to_pylist(), requests.to_pylist(), strict=True))
        return pa.nulls(len(requests), pa.string())

    with duckdb.connect() as con:
        con.create_function(CALL, look_up, ["BIGINT", "VARCHAR"], "VARCHAR", type="arrow", null_handling="special")
        con.execute("CREATE TABLE t AS SELECT * FROM (VALUES (1, 'a1', 'b1'), (2, 'a2', 'b2')) v(id, a, b)")
        con.execute(query).fetchall()
    return {(number, request) for number, request in found if request is not None}


def counted(text: str) -> CountingQuery:
    how = counting(numbered(text))
    assert how is not None
    return how


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (f"SELECT {THEN} FROM t WHERE {WHERE}", {"b1", "b2"}),
        (f"SELECT {THEN} FROM t WHERE id = 1 AND {WHERE}", {"b1"}),
        (f"SELECT {THEN} FROM t WHERE id = 1 OR {WHERE}", {"b1", "b2"}),
        (f"SELECT {THEN} FROM t WHERE CASE WHEN id = 2 THEN {WHERE} END", {"b2"}),
        (f"SELECT CASE WHEN {WHERE} THEN 'x' ELSE {THEN} END FROM t", {"b1", "b2"}),
        (f"SELECT CASE WHEN id = 1 THEN 'x' WHEN {WHERE} THEN {THEN} END FROM t", {"b2"}),
        (f"SELECT upper(CASE WHEN {WHERE} THEN {THEN} END) FROM t", {"b1", "b2"}),
        (f"SELECT id FROM t WHERE CASE WHEN {WHERE} THEN {THEN} = 'x' END", {"b1", "b2"}),
        ("SELECT ai2('Again ' || ai1(a)) FROM t", {"Again a1", "Again a2"}),
        (
            "SELECT y FROM (SELECT ai1(a) AS x, ai2(b) AS y FROM t) WHERE x = 'yes'",
            {"b1", "b2"},
        ),
        (
            f"SELECT {THEN} FROM t JOIN (SELECT id, ai1(a) AS x FROM t) USING (id) WHERE x = 'yes'",
            {"b1", "b2"},
        ),
        (f"UPDATE t SET b = {THEN} WHERE id = 2 AND {WHERE}", {"b2"}),
    ],
)
def test_every_row_that_an_answer_may_let_pass_is_asked_for(statement: str, expected: set[str]) -> None:
    relaxed = counted(statement).relaxed
    assert relaxed is not None
    assert {request for number, request in asked(relaxed) if number == 2} == expected


@pytest.mark.parametrize(
    "qualify",
    [
        "row_number() OVER (PARTITION BY ai2(ai1(a)) ORDER BY id) = 1",
        f"ai1(a) = 'x' AND rank() OVER (PARTITION BY {THEN} ORDER BY id) < 3",
    ],
)
def test_a_qualify_is_counted_though_no_answer_decides_on_its_window(qualify: str) -> None:
    how = counted(f"SELECT id FROM t QUALIFY {qualify}")
    assert how.relaxed is not None and how.reached == {1, 2}
    assert {number for number, _ in asked(how.relaxed)} == {1, 2}


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (f"CREATE TABLE u AS SELECT {THEN} FROM t", {"b1", "b2"}),
        (f"INSERT INTO t SELECT id, {THEN}, b FROM t WHERE id = 1", {"b1"}),
        (f"UPDATE t SET b = {THEN} WHERE id = 2", {"b2"}),
        ("UPDATE t SET b = ai2(s.a) FROM t AS s WHERE s.id = t.id AND s.id = 1", {"a1"}),
        ("DELETE FROM t WHERE id = 1 AND ai2(b) = 'x'", {"b1"}),
        ("MERGE INTO t USING t AS s ON t.id = s.id WHEN MATCHED THEN UPDATE SET b = ai2(s.b)", {"b1", "b2"}),
        ("MERGE INTO t USING t AS s ON t.id = s.id AND s.id = 1 WHEN MATCHED THEN UPDATE SET b = ai2(s.b)", {"b1"}),
        (
            "MERGE INTO t USING (SELECT id + 1 AS id, b FROM t) AS s ON t.id = s.id "
            "WHEN NOT MATCHED THEN INSERT VALUES (s.id, 'new', ai2(s.b))",
            {"b2"},
        ),
        ("DELETE FROM t USING t AS s WHERE s.id = t.id AND s.id = 2 AND ai2(s.b) = 'x'", {"b2"}),
    ],
)
def test_a_statement_that_writes_is_counted_by_what_it_reads(statement: str, expected: set[str]) -> None:
    assert {request for _, request in asked(counted(statement).query)} == expected


def test_calls_that_do_not_depend_on_each_other_need_no_second_query() -> None:
    how = counted(f"SELECT ai1(a) AS x, {THEN} AS y FROM t")
    assert how.relaxed is None and how.reached == {1, 2}


def test_a_call_on_a_column_of_answers_is_not_reached() -> None:
    assert counted("SELECT ai2(x) FROM (SELECT ai1(a) AS x FROM t)").reached == {1}


def test_groups_made_of_answers_are_not_relaxed() -> None:
    how = counted("SELECT ai2(string_agg(b)) FROM t GROUP BY ai1(a)")
    assert (how.relaxed, how.reached) == (None, frozenset())


@pytest.mark.parametrize(
    "statement",
    [
        f"UPDATE t SET b = 'x' WHERE id = 1 RETURNING {THEN}",
        "this is no SQL",
    ],
)
def test_what_cannot_be_told_from_its_parts_is_not_counted(statement: str) -> None:
    assert counting(numbered(statement)) is None
