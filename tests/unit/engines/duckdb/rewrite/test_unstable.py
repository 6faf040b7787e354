"""Which requests may be another text each time they are computed, and which are the same whatever DuckDB does."""

from __future__ import annotations

import pytest

from aiq.engines.duckdb.rewrite.unstable import unstable_request
from tests.unit.engines.duckdb.rewrite.cases import query


def found(text: str, *, exact: bool = False) -> str | None:
    return unstable_request(query(text).node, lambda aggregate, select: exact)


@pytest.mark.parametrize(
    ("text", "function"),
    [
        ("SELECT k, ai1(string_agg(body)) FROM t GROUP BY k", "string_agg"),
        ("SELECT k, ai1('mean ' || avg(price)) FROM t GROUP BY k", "avg"),
        ("SELECT k, ai1(upper(any_value(body))) FROM t GROUP BY k", "any_value"),
        ("SELECT k, ai1(first(body)) FROM t GROUP BY k", "first"),
        ("SELECT k, ai1(approx_quantile(price, 0.5)::VARCHAR) FROM t GROUP BY k", "approx_quantile"),
        ("SELECT ai1(body, list(photo)) FROM t GROUP BY body", "list"),
        ("SELECT ai1(body || row_number() OVER (ORDER BY k)) FROM t", "row_number"),
        ("SELECT ai1(lag(body) OVER (ORDER BY id)) FROM t", "lag"),
        ("SELECT k, string_agg(body) AS s FROM t GROUP BY k HAVING ai1(s) = 'x'", "string_agg"),
        ("SELECT k FROM t GROUP BY k ORDER BY ai1(sum(price)::VARCHAR)", "sum"),
        ("SELECT ai1(s) FROM (SELECT k, string_agg(body) AS s FROM t GROUP BY k) AS q", "string_agg"),
        ("SELECT ai1(body) FROM (SELECT body FROM t ORDER BY k LIMIT 5) AS q", "LIMIT"),
        ("WITH w AS (SELECT mode(body) AS m FROM t) SELECT ai1(m) FROM w", "mode"),
        ("SELECT ai1((SELECT string_agg(body) FROM u WHERE u.k = t.k)) FROM t", "string_agg"),
        ("SELECT id FROM t WHERE ai1((SELECT body FROM u ORDER BY k LIMIT 1)) = 'x'", "LIMIT"),
        ("SELECT ai1(ai2(string_agg(body))) FROM t", "string_agg"),
        ("SELECT ai1(body) FROM t JOIN (SELECT max(id) OVER () AS m FROM u) AS q ON q.m = t.id", "max"),
    ],
)
def test_a_request_that_depends_on_the_order_of_rows_or_on_rounding_is_named(text: str, function: str) -> None:
    assert found(text) == function


@pytest.mark.parametrize(
    "text",
    [
        "SELECT ai1(body) FROM t ORDER BY k LIMIT 5",
        "SELECT k, ai1(max(body) || min(name) || count(*) || bool_or(ok)) FROM t GROUP BY k",
        "SELECT string_agg(body) AS s, ai1(body) AS a FROM t GROUP BY body",
        "SELECT string_agg(ai1(body)) FROM t",
        "SELECT lag(ai1(body)) OVER (ORDER BY id) FROM t",
        "SELECT ai1(body) FROM (SELECT body FROM t WHERE id > 5) AS q",
        "SELECT ai1(body) FROM (SELECT body FROM t LIMIT 5) AS q",
        "SELECT id, sum(price) AS s FROM t WHERE ai1(body) = 'x' GROUP BY id HAVING s > 1",
        "SELECT string_agg(body) FROM t",
    ],
)
def test_a_request_that_is_the_same_each_time_is_none(text: str) -> None:
    assert found(text) is None


@pytest.mark.parametrize("function", ["sum", "avg", "mean"])
def test_numbers_that_are_added_exactly_are_the_same_each_time(function: str) -> None:
    text = f"SELECT k, ai1({function}(c)::VARCHAR) FROM t GROUP BY k"
    assert found(text, exact=True) is None
    assert found(text, exact=False) == function


def test_what_is_added_is_shown_with_its_select() -> None:
    shown: list[tuple[str, str]] = []

    def exact(aggregate: dict[str, object], select: dict[str, object]) -> bool:
        shown.append((str(aggregate["function_name"]), str(select["type"])))
        return True

    assert unstable_request(query("SELECT ai1(s) FROM (SELECT sum(c) AS s FROM t) AS q").node, exact) is None
    assert shown == [("sum", "SELECT_NODE")]
