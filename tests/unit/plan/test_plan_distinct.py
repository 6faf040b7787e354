"""Which queries can look their answers up once for each distinct request, and what they become."""

from __future__ import annotations

import re

import pytest

from aiq.plan.distinct import over_distinct


def rewritten(text: str) -> str | None:
    """`over_distinct` of a query in which `ai1(x)` is the call of site 1."""
    found = over_distinct(re.sub(r"\bai(\d+)\(", r"__aiq_string(\1, ", text))
    return None if found is None else re.sub(r"__aiq_string\((\d+), ", r"ai\1(", found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT ai1(a) AS r FROM t", "SELECT (SELECT ai1(r0) FROM (SELECT a AS r0)) AS r FROM t"),
        (
            "SELECT k FROM t WHERE ai1(a, f) = 'x' AND k > 5",
            "SELECT k FROM t WHERE (SELECT ai1(r0, r1) FROM (SELECT a AS r0, f AS r1)) = 'x' AND k > 5",
        ),
        (
            "SELECT sum(k) FROM t LEFT JOIN u ON t.k = u.k AND ai1(u.a) <> 'x'",
            "SELECT sum(k) FROM t LEFT JOIN u ON t.k = u.k AND (SELECT ai1(r0) FROM (SELECT u.a AS r0)) <> 'x'",
        ),
        (
            "SELECT k FROM t WHERE k NOT IN (SELECT k FROM u WHERE ai1(a) = 'x')",
            "SELECT k FROM t WHERE k NOT IN (SELECT k FROM u WHERE (SELECT ai1(r0) FROM (SELECT a AS r0)) = 'x')",
        ),
    ],
)
def test_each_call_is_taken_over_the_distinct_requests(text: str, expected: str) -> None:
    assert rewritten(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "SELECT CASE WHEN k > 5 THEN ai1(a) END AS r FROM t",
        "SELECT coalesce(b, ai1(a)) AS r FROM t",
        "SELECT k FROM t WHERE k > 5 OR ai1(a) = 'x'",
        "SELECT k > 5 AND ai1(a) = 'x' AS r FROM t",
        "SELECT ai1(ai2(a)) AS r FROM t",
        "SELECT ai1(a) AS r FROM t LIMIT 5",
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
