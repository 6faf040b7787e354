"""Which queries can look their answers up once for each distinct request, and what they become."""

from __future__ import annotations

import re

import pytest

from aiq.engines.duckdb.rewrite.distinct import over_distinct
from tests.unit.engines.duckdb.rewrite.cases import database, named, numbered, printed

GUARD = re.compile(
    r" AS __aiq_requests( WHERE CASE  WHEN \(regexp_matches\((.*?), '[^']*'\)\) "
    r"THEN \(CAST\('__aiq_row' AS BOOLEAN\)\) ELSE true END)?"
)
"""What makes a query fail whose columns have types with values that are equal and do not look the same."""


def rewritten(text: str) -> str | None:
    """`over_distinct` of a query in which `ai1(x)` is the call of site 1."""
    found = over_distinct(numbered(text))
    return None if found is None else GUARD.sub("", named(found))


def types_of(requests: str) -> list[str]:
    """What the guard of a call looks at."""
    made = over_distinct(numbered(f"SELECT ai1({requests}) AS r FROM t ORDER BY k"))
    assert made is not None
    return [types for _, types in GUARD.findall(made) if types]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "SELECT ai1(a) AS r FROM t ORDER BY k",
            "SELECT (SELECT ai1(r0) FROM (SELECT a AS r0)) AS r FROM t ORDER BY k",
        ),
        (
            "SELECT count(*) FROM t WHERE ai1(a, f) = 'x' AND k > 5",
            "SELECT count(*) FROM t WHERE (SELECT ai1(r0, r1) FROM (SELECT a AS r0, f AS r1)) = 'x' AND k > 5",
        ),
        (
            "SELECT sum(k) FROM t LEFT JOIN u ON t.k = u.k AND ai1(u.a) <> 'x'",
            "SELECT sum(k) FROM t LEFT JOIN u ON t.k = u.k AND (SELECT ai1(r0) FROM (SELECT u.a AS r0)) <> 'x'",
        ),
        (
            "SELECT k FROM t WHERE k NOT IN (SELECT k FROM u WHERE ai1(a) = 'x')",
            "SELECT k FROM t WHERE k NOT IN (SELECT k FROM u WHERE (SELECT ai1(r0) FROM (SELECT a AS r0)) = 'x')",
        ),
        (
            "SELECT sum(CASE WHEN ai1(a) = 'x' THEN 1 ELSE k END) AS n FROM t",
            "SELECT sum(CASE WHEN (SELECT ai1(r0) FROM (SELECT a AS r0)) = 'x' THEN 1 ELSE k END) AS n FROM t",
        ),
        (
            "SELECT count(*) FROM t WHERE CASE ai1(a) WHEN 'x' THEN true ELSE k END",
            "SELECT count(*) FROM t WHERE CASE (SELECT ai1(r0) FROM (SELECT a AS r0)) WHEN 'x' THEN true ELSE k END",
        ),
        (
            "SELECT k, sum(m) FROM t WHERE ai1(a) = 'x' GROUP BY k ORDER BY k LIMIT 5",
            "SELECT k, sum(m) FROM t WHERE (SELECT ai1(r0) FROM (SELECT a AS r0)) = 'x' GROUP BY k ORDER BY k LIMIT 5",
        ),
        (
            "SELECT ai1(a) AS r, count(*) AS n FROM t GROUP BY r ORDER BY n LIMIT 5",
            "SELECT (SELECT ai1(r0) FROM (SELECT a AS r0)) AS r, count(*) AS n FROM t GROUP BY r ORDER BY n LIMIT 5",
        ),
        (
            "SELECT k, sum(if(ai1(a) = 'x', 1, 0)) AS n FROM t GROUP BY k ORDER BY n LIMIT 5",
            "SELECT k, sum(if((SELECT ai1(r0) FROM (SELECT a AS r0)) = 'x', 1, 0)) AS n FROM t GROUP BY k ORDER BY n "
            "LIMIT 5",
        ),
    ],
)
def test_each_call_is_taken_over_the_distinct_requests(text: str, expected: str) -> None:
    assert rewritten(text) == named(printed(expected))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("SELECT ai1(a) AS r FROM t", "row_number() OVER ()"),
        ("SELECT t.k, ai1(a) AS r FROM t JOIN u USING (k) -- both", "row_number() OVER ()"),
        ("SELECT k FROM t WHERE ai1(a) = 'x';", "t.rowid"),
        ("WITH c AS (SELECT 1) SELECT k FROM t AS z WHERE ai1(a) = 'x'", "z.rowid"),
    ],
)
def test_rows_keep_their_order(text: str, place: str) -> None:
    made = rewritten(text)
    assert made is not None and made.endswith(" ORDER BY __aiq_row ASC")
    assert f"SELECT {place} AS __aiq_row, " in made


@pytest.mark.parametrize(
    "text",
    [
        "SELECT r FROM (SELECT ai1(a) AS r FROM t) AS s",
        "SELECT t.k FROM t JOIN u USING (k) WHERE ai1(a) = 'x'",
        "SELECT ai1(a) AS r FROM t UNION ALL SELECT a FROM u",
        "SELECT list(ai1(a)) AS r FROM t",
        "SELECT string_agg(k) AS r FROM t WHERE ai1(a) = 'x'",
        "SELECT row_number() OVER () AS n FROM t WHERE ai1(a) = 'x'",
        "SELECT count(*) FROM (SELECT k FROM t WHERE ai1(a) = 'x' LIMIT 5) AS s",
        "SELECT k FROM t WHERE k IN (SELECT k FROM u WHERE ai1(a) = 'x' LIMIT 5)",
    ],
)
def test_a_query_whose_order_would_be_lost_stays_as_it_is(text: str) -> None:
    assert rewritten(text) is None


@pytest.mark.parametrize(
    "request_",
    ["'n' || count(*)", "max(a)", "'n' || row_number() OVER (ORDER BY k)", "lag(a) OVER (ORDER BY k)", "unnest([a])"],
)
def test_a_request_that_is_made_of_several_rows_stays_where_it_is(request_: str) -> None:
    assert rewritten(f"SELECT ai1({request_}) AS r FROM t") is None


@pytest.mark.parametrize(
    "text",
    [
        "SELECT CASE WHEN k > 5 THEN ai1(a) END AS r FROM t",
        "SELECT coalesce(b, ai1(a)) AS r FROM t",
        "SELECT k FROM t WHERE k > 5 OR ai1(a) = 'x'",
        "SELECT k > 5 AND ai1(a) = 'x' AS r FROM t",
        "SELECT ai1(ai2(a)) AS r FROM t",
        "SELECT CASE WHEN k > 5 THEN 'y' WHEN ai1(a) = 'x' THEN 'n' END AS r FROM t",
        "SELECT CASE k WHEN 1 THEN 'y' ELSE ai1(a) END AS r FROM t",
        "SELECT if(k > 5, ai1(a), 'y') AS r FROM t",
        "SELECT ai1(a) AS r FROM t LIMIT 5",
        "SELECT k FROM t WHERE ai1(a) = 'x' ORDER BY k LIMIT 5",
        "SELECT k, count(*) FROM t WHERE ai1(a) = 'x' GROUP BY k LIMIT 5",
        "SELECT ai1(a) AS r, count(*) AS n FROM t GROUP BY a ORDER BY n LIMIT 5",
        "SELECT ai1(a) AS a, count(*) AS n FROM t GROUP BY a ORDER BY n LIMIT 5",
        "SELECT ai1(a) AS r, count(*) AS n FROM t WHERE k IN (SELECT k FROM u) GROUP BY r ORDER BY n LIMIT 5",
        "SELECT a, count(*) AS n FROM t GROUP BY a ORDER BY ai1(a) LIMIT 5",
        "SELECT k, sum(k) OVER () AS n FROM t WHERE ai1(a) = 'x' ORDER BY k LIMIT 5",
        "SELECT DISTINCT ai1(a) AS r FROM t",
        "SELECT upper(ai1(a)) FROM t",
        "SELECT list_transform(l, x -> ai1(x)) AS r FROM t",
        "SELECT (SELECT ai1(u.a) FROM u WHERE u.k = t.k) AS r FROM t",
        "SELECT k FROM t WHERE EXISTS (SELECT 1 FROM u WHERE ai1(u.a) = t.a)",
        "SELECT ai1(a FROM t",
    ],
)
def test_a_call_that_not_every_row_needs_stays_where_it_is(text: str) -> None:
    assert rewritten(text) is None


@pytest.mark.parametrize(
    ("requests", "types"),
    [
        ("a", ["typeof(a)"]),
        ("'Row ' || t.a || ' of ' || t.a || b", ["(typeof(t.a) || typeof(b))"]),
        ("a, f", ["(typeof(a) || typeof(f))"]),
        ("'a'", []),
    ],
)
def test_the_types_of_what_requests_are_made_of_are_looked_at(requests: str, types: list[str]) -> None:
    assert types_of(requests) == types


@pytest.mark.parametrize(
    "text",
    [
        "SELECT id, ai1(body) AS r FROM t",
        "SELECT ai1(body) AS r, k, k, id FROM t",
        "SELECT id FROM t WHERE ai1(body) = 'x'",
        "SELECT t.id, ai1(u.body, t.photo) AS r FROM t JOIN u USING (k) ORDER BY t.id, u.id",
        "SELECT k, count(*) AS n FROM t WHERE ai1(body) <> 'x' GROUP BY k ORDER BY k LIMIT 3",
        "SELECT ai1(body) AS r, count(*) AS n FROM t GROUP BY r ORDER BY n, r LIMIT 3",
        "SELECT count(*) FROM t WHERE CASE ai1(a) WHEN 'x' THEN true ELSE seen END",
        "SELECT max(CASE WHEN ai1(a) = 'x' THEN 1 ELSE k END) AS n FROM t",
        "SELECT id FROM t WHERE k NOT IN (SELECT k FROM u WHERE ai1(a) = 'x') ORDER BY id",
    ],
)
def test_the_rows_and_their_order_stay(text: str) -> None:
    for seed in range(3):
        db, made = database(seed), over_distinct(numbered(text))
        assert made is not None
        assert db.rows(made) == db.rows(text)
        assert db.columns(f"FROM ({made})") == db.columns(f"FROM ({text})")  # as a table that is made of it has them
