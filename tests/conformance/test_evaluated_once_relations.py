"""Joins, subqueries, CTEs and set operations: a call is asked for the rows that come out of them, and once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conformance.conftest import Beside

ENGINES = ("duckdb", "registered", "spark")

YES, GOOD = "ai_query('chat', ask)", "ai_query('chat', check_it)"
AI_LABEL = "ai_query('chat', f.label)"
JOINED = "items AS i JOIN facts AS f ON f.item = i.id"
ALL = f"SELECT id, {YES} AS r FROM items"
"""24 requests if all of it is needed."""
YES_IDS = f"SELECT id FROM items WHERE {YES} = 'yes'"


@pytest.fixture
def both(items: Beside) -> Beside:
    """`items`, and `facts` with 12 rows: two for each of the items 0 to 5, three labels, and `grp` 0 or 1."""
    items.load(
        "facts",
        item=[i % 6 for i in range(12)],
        grp=[i % 2 for i in range(12)],
        label=[f"label {i % 3}" for i in range(12)],
    )
    return items


JOINS = [
    pytest.param(f"SELECT i.id, f.id, {YES} AS r FROM {JOINED}", 6, id="inner"),
    pytest.param(
        f"SELECT ai_query('chat', i.name || ': ' || f.label) AS r FROM {JOINED}", 6, id="request-of-both-sides"
    ),
    pytest.param(f"SELECT id, r FROM ({ALL}) AS s WHERE id IN (SELECT item FROM facts)", 6, id="semi-join-after"),
    pytest.param(f"SELECT i.id, {YES} AS r FROM items AS i JOIN facts AS f USING (grp)", 12, id="using"),
    pytest.param(f"SELECT i.id FROM items AS i JOIN facts AS f USING (grp) WHERE {YES} = 'yes'", 12, id="using-where"),
    pytest.param(f"SELECT i.id, f.id FROM items AS i, facts AS f WHERE f.item = i.id AND {YES} = 'yes'", 6, id="comma"),
    pytest.param(
        f"SELECT i.id, f.id FROM items AS i, facts AS f WHERE {YES} = 'yes' AND f.item = i.id", 6, id="comma-ai-first"
    ),
    pytest.param(f"SELECT i.id, f.id FROM {JOINED} WHERE {YES} = 'yes'", 6, id="inner-where"),
    pytest.param(
        f"SELECT i.id, f.id FROM {JOINED} WHERE {YES} = 'yes' AND f.label <> 'label 0'", 4, id="inner-where-cheap"
    ),
    pytest.param(f"SELECT i.id, f.id FROM {JOINED} AND {YES} = 'yes'", 6, id="on"),
    pytest.param(
        f"SELECT i.id, f.id FROM items AS i JOIN facts AS f ON {YES} = 'yes' AND f.item = i.id", 6, id="on-ai-first"
    ),
    pytest.param(
        f"SELECT i.id, f.id FROM {JOINED} AND ai_query('chat', f.label) LIKE '%1' AND i.id < 3", 3, id="on-other-side"
    ),
    pytest.param(
        f"SELECT i.id, {AI_LABEL} AS r FROM items AS i LEFT JOIN facts AS f ON f.item = i.id", 3, id="left-null-request"
    ),
    pytest.param(
        f"SELECT i.id, f.id FROM items AS i LEFT JOIN facts AS f ON f.item = i.id AND {YES} = 'yes'", 6, id="left-on"
    ),
    pytest.param(
        f"SELECT i.id, f.id FROM items AS i LEFT JOIN facts AS f ON f.item = i.id WHERE i.id < 9 AND {YES} = 'yes'",
        9,
        id="left-where",
    ),
    pytest.param(
        f"SELECT i.id, {GOOD} AS r FROM items AS i LEFT JOIN ({YES_IDS}) AS y ON y.id = i.id WHERE y.id IS NULL",
        40,
        id="anti-join-by-answers",
    ),
    pytest.param(
        "SELECT i.id, f.id, x.id FROM items AS i JOIN facts AS f ON f.item = i.id "
        "FULL JOIN items AS x ON x.id = i.id + 3 WHERE ai_query('chat', x.ask) = 'yes'",
        24,
        id="inner-then-full",
    ),
    pytest.param(
        "SELECT f.id, x.id FROM items AS i JOIN facts AS f USING (grp) RIGHT JOIN items AS x ON x.id = i.id "
        "WHERE ai_query('chat', x.ask) = 'yes'",
        24,
        id="inner-then-right",
    ),
    pytest.param(
        "SELECT i.id, j.id FROM items AS i JOIN items AS j ON ai_query('chat', i.name) = ai_query('chat', j.name)",
        6,
        id="on-two-answers",
    ),
    pytest.param(
        f"SELECT i.id, {GOOD} AS r FROM items AS i JOIN (VALUES ('yes')) AS v(word) ON v.word = {YES}",
        32,
        id="on-an-answer",
    ),
    pytest.param(
        f"SELECT i.id, x.r FROM items AS i JOIN ({ALL}) AS x ON x.id = i.id WHERE i.id < 4", 4, id="derived-side"
    ),
    pytest.param(f"SELECT i.id, x.id FROM items AS i CROSS JOIN ({YES_IDS} AND id < 6) AS x", 6, id="cross"),
]

SUBQUERIES = [
    pytest.param(f"SELECT id FROM items WHERE id IN (SELECT item FROM facts) AND {YES} = 'yes'", 6, id="in-and-ai"),
    pytest.param(f"SELECT id FROM items WHERE {YES} = 'yes' AND id IN (SELECT item FROM facts)", 6, id="ai-and-in"),
    pytest.param(f"SELECT id FROM items WHERE {YES} = 'yes' AND id NOT IN (SELECT item FROM facts)", 18, id="not-in"),
    pytest.param(
        f"SELECT id FROM items AS i WHERE {YES} = 'yes' AND EXISTS (SELECT 1 FROM facts AS f WHERE f.item = i.id)",
        6,
        id="exists",
    ),
    pytest.param(
        f"SELECT id FROM items AS i WHERE {YES} = 'yes' AND NOT EXISTS (SELECT 1 FROM facts AS f WHERE f.item = i.id)",
        18,
        id="not-exists",
    ),
    pytest.param(f"SELECT id, name FROM items WHERE id IN ({YES_IDS} AND id < 10)", 10, id="answers-in-the-subquery"),
    pytest.param(f"SELECT id, name FROM items WHERE id NOT IN ({YES_IDS})", 24, id="not-in-answers"),
    pytest.param(f"SELECT id, {GOOD} AS r FROM items WHERE id IN ({YES_IDS})", 32, id="call-after-in"),
    pytest.param(f"SELECT id, {GOOD} AS r FROM items WHERE id NOT IN ({YES_IDS})", 40, id="call-after-not-in"),
    pytest.param(
        f"SELECT id, {GOOD} AS r FROM items AS i WHERE NOT EXISTS (SELECT 1 FROM items AS j "
        "WHERE j.id = i.id AND ai_query('chat', j.ask) = 'yes')",
        40,
        id="call-after-not-exists",
    ),
    pytest.param(
        f"SELECT id, {GOOD} AS r FROM items WHERE id IN (SELECT id FROM items EXCEPT {YES_IDS})",
        40,
        id="call-after-except",
    ),
    pytest.param(f"SELECT id FROM items WHERE {YES} IN (SELECT label FROM facts)", 24, id="answer-in-subquery"),
    pytest.param(
        "SELECT id FROM items AS i WHERE EXISTS (SELECT ai_query('chat', f.label) FROM facts AS f WHERE f.item = i.id)",
        0,
        id="exists-reads-no-column",
    ),
    pytest.param(
        "SELECT id FROM items AS i WHERE EXISTS (SELECT 1 FROM facts AS f WHERE f.item = i.id "
        "AND ai_query('chat', f.label) LIKE '%1')",
        3,
        id="exists-by-answers",
    ),
    pytest.param(f"SELECT f.id, (SELECT max({YES}) FROM items) AS r FROM facts AS f", 24, id="scalar-aggregate"),
    pytest.param("SELECT f.id, (SELECT ai_query('chat', max(name)) FROM items) AS r FROM facts AS f", 1, id="scalar"),
    pytest.param(
        "SELECT id, (SELECT ai_query('chat', max(f.label)) FROM facts AS f WHERE f.item = i.id) AS r FROM items AS i",
        3,
        id="correlated",
    ),
    pytest.param(
        "SELECT id, (SELECT ai_query('chat', max(f.label)) FROM facts AS f WHERE f.item = i.id) AS r FROM items AS i "
        "WHERE i.id < 2",
        2,
        id="correlated-and-filtered",
    ),
    pytest.param(
        "SELECT id, (SELECT max(ai_query('chat', i.name || f.label)) FROM facts AS f WHERE f.item = i.id) AS r "
        "FROM items AS i",
        6,
        id="correlated-request-of-both-sides",
    ),
    pytest.param(
        "SELECT id, ai_query('chat', (SELECT max(f.label) FROM facts AS f WHERE f.item = i.id)) AS r FROM items AS i",
        3,
        id="subquery-in-the-request",
    ),
    pytest.param(
        "SELECT id FROM items AS i WHERE (SELECT ai_query('chat', max(f.label)) FROM facts AS f WHERE f.item = i.id) "
        "LIKE '%2' AND i.id NOT IN (1, 4)",
        2,
        id="correlated-in-where",
    ),
    pytest.param(
        "SELECT (SELECT ai_query('chat', label) AS a FROM facts ORDER BY a DESC LIMIT 1) AS r",
        3,
        id="scalar-of-the-greatest",
    ),
    pytest.param(
        "SELECT (SELECT ai_query('chat', label) FROM facts ORDER BY 1 DESC LIMIT 1) AS r", 3, id="scalar-by-position"
    ),
    pytest.param("SELECT (SELECT ai_query('chat', name) FROM items WHERE id = 3) AS r", 1, id="scalar-of-a-row"),
    pytest.param("SELECT (SELECT ai_query('chat', name) FROM items WHERE id < 0) AS r", 0, id="scalar-of-no-row"),
    pytest.param(
        "SELECT (SELECT ai_query('chat', 'k') FROM items WHERE id < 0) AS r", 0, id="scalar-constant-of-no-row"
    ),
    pytest.param(f"SELECT {YES} AS r FROM (SELECT * FROM items ORDER BY id LIMIT 4) AS s", 4, id="over-a-limit"),
    pytest.param(f"SELECT id, r FROM ({ALL}) AS s ORDER BY id LIMIT 4", 4, id="under-a-limit"),
    pytest.param(
        f"SELECT a.id, b.r FROM ({ALL}) AS a JOIN ({ALL}) AS b ON a.id = b.id AND a.r = b.r", 24, id="twice-derived"
    ),
]

CTES = [
    pytest.param(
        f"WITH c AS ({ALL}) SELECT x.id, y.r FROM c AS x JOIN c AS y ON x.id = y.id WHERE x.r = 'yes'", 24, id="twice"
    ),
    pytest.param(f"WITH c AS ({ALL}) SELECT count(*) AS n FROM items", 0, id="unused"),
    pytest.param(f"WITH c AS ({ALL}) SELECT id FROM c WHERE id < 5", 0, id="column-unused"),
    pytest.param(f"WITH c AS ({ALL}) SELECT id, r FROM c WHERE id < 5", 5, id="filtered"),
    pytest.param(
        f"WITH c AS ({ALL}), d AS (SELECT id FROM c WHERE r = 'yes') SELECT i.id, {GOOD} AS g FROM items AS i "
        "JOIN d ON d.id = i.id",
        32,
        id="chain",
    ),
    pytest.param(
        "WITH c AS (SELECT id, name FROM items WHERE id < 4) SELECT ai_query('chat', x.name || y.name) AS r "
        "FROM c AS x JOIN c AS y ON y.id = x.id + 1",
        3,
        id="self-join-below-the-call",
    ),
]

SETS = [
    pytest.param(f"{ALL} UNION ALL {ALL}", 24, id="union-all-same"),
    pytest.param(f"{ALL} UNION {ALL} WHERE id < 5", 24, id="union"),
    pytest.param(
        "SELECT ai_query('chat', name) AS r FROM items UNION SELECT ai_query('chat', label) AS r FROM facts",
        9,
        id="union-two",
    ),
    pytest.param(f"{ALL} INTERSECT {ALL} WHERE id < 5", 5, id="intersect"),
    pytest.param(f"SELECT id FROM items EXCEPT {YES_IDS}", 24, id="except"),
    pytest.param(f"({ALL} ORDER BY id LIMIT 3) UNION ALL ({ALL} ORDER BY id DESC LIMIT 3)", 6, id="union-of-limits"),
    pytest.param(
        f"SELECT id, r FROM ({ALL} UNION ALL SELECT id, label FROM facts) AS s WHERE id < 3", 3, id="filter-over-union"
    ),
]


@pytest.mark.parametrize(("sql", "needed"), JOINS)
def test_a_join_decides_what_is_asked(both: Beside, sql: str, needed: int) -> None:
    both.check(sql, needed)


@pytest.mark.parametrize(("sql", "needed"), SUBQUERIES)
def test_a_subquery_asks_what_its_result_needs(both: Beside, sql: str, needed: int) -> None:
    both.check(sql, needed)


@pytest.mark.parametrize(("sql", "needed"), CTES)
def test_a_cte_is_asked_once(both: Beside, sql: str, needed: int) -> None:
    both.check(sql, needed)


@pytest.mark.parametrize(("sql", "needed"), SETS)
def test_a_set_operation_asks_each_request_once(both: Beside, sql: str, needed: int) -> None:
    both.check(sql, needed)


def test_two_readers_of_a_cte_may_share_its_rows(both: Beside) -> None:
    both.check(
        f"WITH c AS ({ALL}) SELECT id, r FROM c WHERE id < 5 UNION ALL SELECT id, r FROM c WHERE id >= 20", 24, least=9
    )
