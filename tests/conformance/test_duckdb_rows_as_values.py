"""A row read as one value (`to_json(q)`), all columns read by `*`, and names that are read are as they were written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conformance.side_by_side import Pair, open_pair, same_names

if TYPE_CHECKING:
    from tests.conftest import ConfFolder

TABLES = """
CREATE TABLE t AS SELECT i AS id, 'b' || (i % 7) AS s, i % 3 AS k FROM range(12) AS r(i);
CREATE TABLE u AS SELECT i AS id, 'u' || i AS w FROM range(6) AS r(i)
"""
TABLE = "(SELECT id, s, ai_query('chat', s) AS a, k FROM t) AS x"
_CALL = re.compile(r"ai_query\([^\n]*?c\W*\)")
WHOLE_ROWS = [
    "SELECT to_json(x) FROM {x} ORDER BY id LIMIT 2",
    "SELECT x FROM {x} ORDER BY id LIMIT 2",
    "SELECT x::VARCHAR, hash(x), typeof(x), struct_keys(x) FROM {x} ORDER BY x.id LIMIT 2",
    "SELECT ai_query('chat', x::VARCHAR) FROM {x} ORDER BY id LIMIT 2",
    "SELECT x AS r, x.a FROM {x} ORDER BY id LIMIT 2",
    'SELECT to_json(X) FROM (SELECT id,s,ai_query(\'chat\', s) AS a FROM t) AS x(p, "q q", "r""r") ORDER BY p LIMIT 2',
    "SELECT x FROM (SELECT ai_query('chat', s) AS x, id FROM t) AS x ORDER BY id LIMIT 2",
    "SELECT id FROM {x} ORDER BY x::VARCHAR LIMIT 2",
    "SELECT DISTINCT ON (k) to_json(x) FROM {x} ORDER BY k, id DESC",
    "SELECT k, first(to_json(x) ORDER BY id) FROM {x} GROUP BY k ORDER BY k LIMIT 1",
    "SELECT (SELECT to_json(x)) FROM {x} ORDER BY id LIMIT 2",
    "SELECT count(*) FROM {x} WHERE to_json(x)::VARCHAR LIKE '%yes%' LIMIT 3",
    "SELECT id FROM {x} QUALIFY row_number() OVER (ORDER BY x::VARCHAR DESC) < 3 ORDER BY id LIMIT 3",
    "SELECT to_json(x) FROM {x} JOIN u USING (id) ORDER BY id LIMIT 2",
    "SELECT id, x FROM {x}, (SELECT 5 AS x) AS y ORDER BY id LIMIT 2",
    "SELECT id, list_transform([1, 2], lambda x: x + 1) AS l FROM {x} ORDER BY id LIMIT 2",
    "WITH y AS (SELECT id, ai_query('chat', s) AS a FROM t) SELECT to_json(z) FROM y AS z ORDER BY id LIMIT 2",
    "SELECT id FROM {x} WHERE COLUMNS(*) IS NOT NULL ORDER BY id LIMIT 2",
    "SELECT id FROM {x} ORDER BY COLUMNS(*) LIMIT 2",
    "SELECT x.* REPLACE (ai_query('chat', 'one') AS s), x.s FROM {x} ORDER BY s COLLATE NOCASE, id DESC LIMIT 9",
    "SELECT ai_query('chat', 'one') AS s, x.s FROM {x} ORDER BY s || '', id DESC LIMIT 9",
]

ASKED = "ai_query('chat', s)"
READ_NAMES = [
    f"UNPIVOT (SELECT id, {ASKED} FROM t) ON COLUMNS(* EXCLUDE id) ORDER BY id",
    f"SELECT x FROM (SELECT id, {ASKED} FROM t) AS x ORDER BY id",
    f"SELECT to_json(x) FROM (SELECT id, {ASKED}, upper({ASKED}) FROM t) AS x ORDER BY id LIMIT 3",
    f"SELECT to_json(x) FROM (SELECT id, {ASKED} FROM t ORDER BY id LIMIT 3) AS x",
    f"WITH c AS (SELECT id, {ASKED} FROM t) SELECT c, count(*) AS n FROM c GROUP BY c ORDER BY c LIMIT 2",
    f"SELECT list(x) FROM (SELECT {ASKED} FROM t ORDER BY id) AS x",
    f"SELECT id, {ASKED}, (SELECT x FROM (SELECT {ASKED} FROM t WHERE t.id = q.id) AS x) FROM t AS q ORDER BY id",
    f"SELECT typeof(x) FROM (SELECT id, {ASKED} || 'z' FROM t UNION ALL SELECT 1, 'w') AS x LIMIT 1",
    f"SELECT COLUMNS('aiq') FROM (SELECT id, {ASKED} FROM t)",
    f"DESCRIBE SELECT id, {ASKED}, lower({ASKED}) AS l, lower({ASKED}) FROM t",
    f"DESCRIBE SELECT * FROM (SELECT id, CASE {ASKED} WHEN 'yes' THEN 1 END FROM t)",
    f"SUMMARIZE SELECT {ASKED}, lower({ASKED}) FROM t",
    f"SELECT column_name FROM (DESCRIBE SELECT id, {ASKED} FROM t)",
    f"SELECT to_json(x), count(*) AS n FROM (PIVOT (SELECT k, {ASKED} FROM t) ON k USING count(*)) AS x GROUP BY ALL",
]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory, make_conf: Callable[[Path, str], ConfFolder]) -> Iterator[Pair]:
    with open_pair(tmp_path_factory.mktemp("pair"), make_conf, keeps_answers=False) as pair:
        pair.both(TABLES)
        yield pair


@pytest.mark.parametrize("sql", WHOLE_ROWS)
def test_a_row_as_one_value_has_the_columns_that_were_written(opened: Pair, sql: str) -> None:
    sql = sql.format(x=TABLE)
    wanted, found = opened.of_plain(sql), opened.of_session(sql)
    assert not wanted.error
    assert (found.rows, found.types, found.error) == (wanted.rows, wanted.types, "")
    assert same_names(found.columns, wanted.columns)
    assert set(opened.asked) <= opened.evaluated
    assert len(opened.asked) == len(set(opened.asked))


@pytest.mark.parametrize("sql", READ_NAMES)
def test_what_reads_the_name_of_a_column_reads_what_was_written(opened: Pair, sql: str) -> None:
    wanted, found = opened.of_plain(sql), opened.of_session(sql)
    assert found.error.splitlines()[:1] == wanted.error.splitlines()[:1]
    assert (found.columns, found.types) == (wanted.columns, wanted.types)
    in_order = "ORDER BY id" in sql.rpartition(")")[2]
    assert found.rows == wanted.rows if in_order else sorted(found.rows) == sorted(wanted.rows)
    assert set(opened.asked) <= opened.evaluated


def test_a_table_keeps_a_row_under_the_names_that_were_written(opened: Pair) -> None:
    sql = f"CREATE OR REPLACE TABLE kept AS SELECT x, to_json(x) AS j FROM (SELECT id, {ASKED} FROM t) AS x"
    opened.of_plain(sql)
    assert not opened.of_session(sql).error
    found, wanted = opened.contents("FROM kept")
    assert found == wanted
    assert any("ai_query" in kind for kind in wanted.types)


def test_a_row_is_asked_for_where_it_is_shown(opened: Pair) -> None:
    opened.of_session(f"SELECT to_json(x) FROM {TABLE} ORDER BY id LIMIT 2")
    assert sorted(opened.asked) == ["b0", "b1"]


def test_a_table_made_of_a_pivot_over_answers_has_no_rows_to_show(opened: Pair, tmp_path: Path) -> None:
    pivot = "PIVOT (SELECT k, ai_query('chat', s) AS a FROM t) ON a USING count(*) GROUP BY k"
    assert opened.session.sql(f"CREATE OR REPLACE TABLE pivoted AS {pivot}") is None
    assert opened.session.sql(f"COPY ({pivot}) TO '{tmp_path}/pivoted.csv'") is None
    assert len(opened.session.con.sql("FROM pivoted").fetchall()) == 3


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT alias(ai_query('chat', s)) FROM t",
        "SELECT 'x' || upper(ai_query('chat', s)).alias() AS z FROM t",
        "SELECT id FROM t WHERE \"alias\"(ai_query('chat', s)) = 'x'",
        "CREATE TABLE of_aliases AS FROM (SELECT alias(ai_query('chat', s)) FROM t)",
        "UPDATE t SET s = alias(ai_query('chat', s))",
    ],
)
def test_alias_of_a_call_is_refused_before_any_call(opened: Pair, sql: str) -> None:
    assert opened.of_session(sql).error.startswith("StatementError: alias() gives")
    assert not opened.asked


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT alias(ai_query('chat', s)) AS z FROM t LIMIT 1",
        "SELECT alias(a), alias(t.id) FROM (SELECT id, ai_query('chat', s) AS a FROM t) AS t LIMIT 1",
    ],
)
def test_alias_gives_what_was_written(opened: Pair, sql: str) -> None:
    wanted, found = opened.of_plain(sql), opened.of_session(sql)
    assert (found.rows, found.columns, found.error) == (wanted.rows, wanted.columns, "")


@pytest.mark.parametrize("form", ["", "(FORMAT json)", "(FORMAT graphviz)", "(FORMAT html)"])
def test_explain_shows_a_call_as_it_was_written(opened: Pair, form: str) -> None:
    sql = f"EXPLAIN {form} SELECT 'a, (b''' || ai_query('chat', upper(s) || ', c)') AS x, max(id) FROM t GROUP BY ALL"
    wanted, found = opened.of_plain(sql), opened.of_session(sql)
    assert found.error == wanted.error == ""
    assert set(_CALL.findall(repr(found.rows))) == set(_CALL.findall(repr(wanted.rows)))
    assert "__aiq" not in repr(found.rows)


@pytest.mark.parametrize("verb", ["EXPLAIN", "EXPLAIN ANALYZE"])
def test_a_plan_keeps_its_boxes(opened: Pair, verb: str) -> None:
    call = "ai_query('chat', t.s || ai_query('chat', u.w), modelParameters := {'max_tokens': 9})"
    plan = opened.session.sql(f"{verb} SELECT id, {call} AS a FROM t JOIN u USING (id) WHERE {call} = 'no'")
    assert plan is not None
    text = plan.fetchall()[0][1]
    assert "ai_query('chat', (s || ai_query('chat', w)), modelParameters := " in text
    assert "__aiq" not in text
    width = 0
    for line in map(str.rstrip, text.splitlines()):
        width = len(line) if line.startswith("╭") else width
        assert "ai_query" not in line or len(line) == width


def test_an_error_of_explain_shows_a_call_as_it_was_written(opened: Pair) -> None:
    wanted = "Binder Error: Cannot extract field 'x' from expression \"ai_query('chat', s)\""
    assert wanted in opened.of_session("EXPLAIN SELECT ai_query('chat', s).x FROM t").error
