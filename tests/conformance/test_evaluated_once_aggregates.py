"""Grouping, windows, sorting and DISTINCT: answers are computed for the rows or groups that reach them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conformance.conftest import Beside

ENGINES = ("duckdb", "registered", "spark")

YES, GOOD = "ai_query('chat', ask)", "ai_query('chat', check_it)"
NAME = "ai_query('chat', name)"
IS_YES = f"CASE WHEN {YES} = 'yes' THEN 1 ELSE 0 END"


GROUPS = [
    pytest.param(f"SELECT {YES} AS r, count(*) AS n FROM items GROUP BY {YES}", 24, id="by-the-answer"),
    pytest.param(f"SELECT {YES} AS r, count(*) AS n FROM items GROUP BY 1", 24, id="by-position"),
    pytest.param(f"SELECT {YES} AS r, count(*) AS n FROM items WHERE id < 6 GROUP BY r", 6, id="by-alias"),
    pytest.param(f"SELECT grp, sum({IS_YES}) AS n FROM items GROUP BY grp", 24, id="inside-sum"),
    pytest.param(f"SELECT count(*) AS n FROM items WHERE {YES} = 'yes'", 24, id="count-where"),
    pytest.param(f"SELECT count(*) FILTER (WHERE {YES} = 'yes') AS n FROM items", 24, id="filter-clause"),
    pytest.param(f"SELECT max({YES}) FILTER (WHERE id < 6) AS r FROM items", 6, id="filtered-aggregate"),
    pytest.param(
        f"SELECT count(*) FILTER (WHERE {YES} = 'yes' AND id < 6) AS n FROM items", 6, id="filter-clause-cheap"
    ),
    pytest.param(f"SELECT max({GOOD}) FILTER (WHERE {YES} = 'yes') AS r FROM items", 32, id="filtered-by-an-answer"),
    pytest.param("SELECT grp, ai_query('chat', max(name)) AS r FROM items GROUP BY grp", 2, id="of-an-aggregate"),
    pytest.param("SELECT grp FROM items GROUP BY grp HAVING ai_query('chat', max(name)) LIKE '%4'", 2, id="having"),
    pytest.param(
        "SELECT grp FROM items GROUP BY grp HAVING ai_query('chat', min(ask)) = 'yes' AND count(*) > 100",
        0,
        id="having-cheap",
    ),
    pytest.param(
        "SELECT grp FROM items GROUP BY grp HAVING ai_query('chat', min(ask)) <> 'x' AND min(id) < 2",
        2,
        id="having-ai-first",
    ),
    pytest.param(f"SELECT grp FROM items GROUP BY grp HAVING sum({IS_YES}) > 1", 24, id="having-inside-sum"),
    pytest.param(
        f"SELECT grp, ai_query('chat', max(name)) AS r FROM items GROUP BY grp HAVING max({YES}) = 'maybe'",
        24,
        id="no-group-left",
    ),
    pytest.param(
        "SELECT grp, ai_query('chat', max(ai_query('chat', name))) AS r FROM items GROUP BY grp",
        8,
        id="aggregate-of-answers",
    ),
    pytest.param(
        f"SELECT r, count(*) AS n FROM (SELECT {YES} AS r FROM items) AS s GROUP BY r", 24, id="over-a-subquery"
    ),
    pytest.param(f"SELECT count(DISTINCT {YES}) AS n, min({NAME}) AS a FROM items", 30, id="distinct-aggregate"),
    pytest.param(f"SELECT DISTINCT {NAME} AS r FROM items", 6, id="distinct"),
    pytest.param(
        "SELECT ai_query('chat', n) AS r FROM (SELECT DISTINCT name AS n FROM items WHERE grp = 0) AS s",
        3,
        id="of-distinct",
    ),
]

ORDERS = [
    pytest.param(f"SELECT id, {YES} AS r FROM items ORDER BY id DESC LIMIT 5", 5, None, id="limit"),
    pytest.param(f"SELECT id, {YES} AS r FROM items ORDER BY id LIMIT 5 OFFSET 3", 5, None, id="offset"),
    pytest.param(f"SELECT id, {YES} AS r FROM items ORDER BY id % 7 DESC, id LIMIT 5", 5, None, id="expression"),
    pytest.param(f"SELECT id, {YES} AS r FROM items ORDER BY length(name), -id LIMIT 3", 3, None, id="two-expressions"),
    pytest.param(
        f"SELECT id, upper({YES}) || id AS r FROM items ORDER BY -id LIMIT 3", 3, None, id="call-in-an-expression"
    ),
    pytest.param(f"SELECT id AS a, {YES} AS r FROM items ORDER BY -a LIMIT 3", 3, None, id="expression-of-an-alias"),
    pytest.param(f"SELECT id, {YES} AS name FROM items ORDER BY -id LIMIT 3", 3, None, id="alias-of-a-column"),
    pytest.param(f"SELECT {YES} AS r FROM items ORDER BY -id LIMIT 3", 3, None, id="sorted-by-what-is-not-selected"),
    pytest.param(f"SELECT *, {YES} AS r FROM items ORDER BY -id LIMIT 3", 3, None, id="star"),
    pytest.param(
        f"SELECT id, {YES} AS r FROM items WHERE grp = 2 ORDER BY -id LIMIT 3", 3, None, id="expression-after-where"
    ),
    pytest.param(
        f"SELECT id, {GOOD} AS r FROM items WHERE {YES} = 'yes' ORDER BY -id LIMIT 3", 27, None, id="after-an-ai-filter"
    ),
    pytest.param(f"SELECT id, {YES} AS r FROM items ORDER BY {YES}, id LIMIT 5", 24, None, id="by-the-answer"),
    pytest.param(f"SELECT id, {YES} AS r FROM items ORDER BY r DESC, id", 24, None, id="by-the-answers-alias"),
    pytest.param(f"SELECT id FROM items ORDER BY {YES}, id", 24, None, id="by-an-answer-not-selected"),
    pytest.param(
        f"SELECT id, {GOOD} AS g FROM items ORDER BY {YES} DESC, id LIMIT 3", 27, None, id="another-call-after-it"
    ),
    pytest.param(f"SELECT id FROM items WHERE {YES} = 'yes' ORDER BY id LIMIT 2", 24, 4, id="ai-filter-and-limit"),
    pytest.param(
        f"SELECT grp, max({YES}) AS r FROM items GROUP BY grp ORDER BY grp LIMIT 1", 24, 6, id="group-and-limit"
    ),
    pytest.param(f"SELECT id, {YES} AS r FROM items ORDER BY id LIMIT 0", 0, None, id="limit-0"),
]

WINDOWS = [
    pytest.param(f"SELECT id, row_number() OVER (PARTITION BY {YES} ORDER BY id) AS n FROM items", 24, id="partition"),
    pytest.param(f"SELECT id, rank() OVER (ORDER BY {YES}, id) AS n FROM items", 24, id="order"),
    pytest.param(f"SELECT id, sum({IS_YES}) OVER (PARTITION BY grp ORDER BY id) AS n FROM items", 24, id="argument"),
    pytest.param(f"SELECT id, max({YES}) OVER (ORDER BY id) AS r FROM items WHERE id < 6", 6, id="after-where"),
    pytest.param("SELECT id, ai_query('chat', lag(name) OVER (ORDER BY id)) AS r FROM items", 6, id="of-a-window"),
    pytest.param(
        f"SELECT id, {YES} AS r FROM (SELECT *, row_number() OVER (PARTITION BY grp ORDER BY id) AS n FROM "
        "items) AS s WHERE n = 1",
        4,
        id="first-of-a-group",
    ),
    pytest.param(
        f"SELECT id, r FROM (SELECT id, {YES} AS r, row_number() OVER (PARTITION BY grp ORDER BY id) AS n FROM "
        "items) AS s "
        "WHERE n = 1",
        4,
        id="beside-the-window",
    ),
]


@pytest.mark.parametrize(("sql", "needed"), GROUPS)
def test_groups_decide_what_is_asked(items: Beside, sql: str, needed: int) -> None:
    items.check(sql, needed)


@pytest.mark.parametrize(("sql", "most", "least"), ORDERS)
def test_sorted_rows_decide_what_is_asked(items: Beside, sql: str, most: int, least: int | None) -> None:
    items.check(sql, most, least)


@pytest.mark.parametrize(("sql", "needed"), WINDOWS)
def test_windows_decide_what_is_asked(items: Beside, sql: str, needed: int) -> None:
    items.check(sql, needed)
