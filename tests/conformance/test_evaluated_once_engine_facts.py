"""What engines do to a Python function, measured, is not what a call costs: only what the result needs is asked.

Each query is one that DuckDB or Spark, left to itself, evaluates more often than once a row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conformance.conftest import Beside

ENGINES = ("duckdb", "registered", "spark")

ROWS = 2100
"""More than one of DuckDB's chunks of 2,048 rows."""

AI = "ai_query('chat', p)"


@pytest.fixture
def t(beside: Beside) -> Beside:
    """`t(id, p, ten)`: 2,100 distinct prompts `p`, ten distinct prompts `ten`."""
    beside.load("t", p=[f"Row {i}." for i in range(ROWS)], ten=[f"Kind {i % 10}." for i in range(ROWS)])
    return beside


CASES = [
    pytest.param(f"SELECT id, {AI} AS r FROM t", ROWS, id="every-row"),
    pytest.param(f"SELECT id, {AI} AS r FROM t LIMIT 5", 5, id="limit"),
    pytest.param(f"SELECT id, {AI} AS r FROM t ORDER BY id LIMIT 5", 5, id="order-by-limit"),
    pytest.param(f"SELECT r FROM (SELECT {AI} AS r FROM t) AS s WHERE r <> 'x'", ROWS, id="filter-on-the-answer"),
    pytest.param(f"SELECT {AI} AS a, {AI} AS b FROM t", ROWS, id="same-expression-twice"),
    pytest.param(f"SELECT {AI} AS a FROM t WHERE {AI} <> 'x'", ROWS, id="select-and-where"),
    pytest.param(
        f"WITH c AS (SELECT id, {AI} AS r FROM t) SELECT x.id, y.r FROM c AS x JOIN c AS y ON x.id = y.id",
        ROWS,
        id="cte-self-join",
    ),
    pytest.param("SELECT ai_query('chat', 'k') AS r FROM t", 1, id="constant"),
    pytest.param(f"SELECT id FROM t WHERE id < 10 AND {AI} <> 'x'", 10, id="cheap-predicate-first"),
    pytest.param(f"SELECT id FROM t WHERE {AI} <> 'x' AND id < 10", 10, id="cheap-predicate-last"),
    pytest.param(f"SELECT id FROM (SELECT id, {AI} AS r FROM t) AS s", 0, id="unused-column"),
    pytest.param(f"SELECT count(*) AS n FROM (SELECT id, {AI} AS r FROM t) AS s", 0, id="count-of-rows"),
    pytest.param(f"SELECT id, CASE WHEN id < 10 THEN {AI} END AS r FROM t", 10, id="case-guard"),
    pytest.param("SELECT id, ai_query('chat', ten) AS r FROM t", 10, id="ten-distinct"),
    pytest.param(f"SELECT id, r FROM (SELECT id, {AI} AS r FROM t) AS s WHERE id < 10", 10, id="cheap-filter-after"),
    pytest.param(
        f"SELECT length(r) AS n, upper(r) AS u, r FROM (SELECT {AI} AS r FROM t) AS s", ROWS, id="used-thrice"
    ),
    pytest.param(f"SELECT id, {AI} AS r FROM t ORDER BY r, id", ROWS, id="order-by-the-answer"),
    pytest.param(f"SELECT id, coalesce(p, {AI}) AS r FROM t", 0, id="coalesce-guard"),
    pytest.param(f"SELECT id FROM t WHERE id >= 0 OR {AI} = 'x'", 0, id="or-guard"),
    pytest.param(f"SELECT id FROM t WHERE {AI} = 'x' OR id >= 0", 0, id="or-guard-last"),
    pytest.param(f"SELECT count({AI}) AS n FROM t", ROWS, id="count-of-answers"),
]


@pytest.mark.parametrize(("sql", "needed"), CASES)
def test_a_statement_asks_what_its_result_needs(t: Beside, sql: str, needed: int) -> None:
    t.check(sql, needed)


def test_a_filter_on_the_answer_with_a_limit_stops_soon(t: Beside) -> None:
    rows = t.engine.sql(f"SELECT id, {AI} AS r FROM t WHERE {AI} <> 'zz' LIMIT 5")
    assert len(rows) == 5 and all(r.endswith(f"Row {i}.") for i, r in rows)
    asked = t.engine.requests()
    assert asked <= 128, f"asks {asked} requests where 128 do"
    assert asked >= 5


def test_a_rare_answer_with_a_limit_is_found_at_the_end(t: Beside) -> None:
    assert t.engine.sql(f"SELECT id FROM t WHERE {AI} LIKE '%Row 2098.' LIMIT 5") == [(2098,)]
    assert t.engine.requests() == ROWS


def test_a_kept_result_is_read_twice_for_the_price_of_one(t: Beside) -> None:
    t.engine.sql(f"CREATE TABLE kept AS SELECT id, {AI} AS r FROM t")
    assert t.engine.requests() == ROWS
    assert t.engine.sql("SELECT count(r) AS n FROM kept") == t.engine.sql("SELECT count(DISTINCT r) AS n FROM kept")
    assert t.engine.requests() == 0
