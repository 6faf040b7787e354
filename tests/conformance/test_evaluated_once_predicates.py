"""Conditions decide which rows are asked: a cheap one, a branch that is not taken, an earlier answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conformance.conftest import Beside

ENGINES = ("duckdb", "registered", "spark")

YES = "ai_query('chat', ask)"
"""`yes` for the 8 rows whose id is a multiple of 3."""
GOOD = "ai_query('chat', check_it)"
"""`good` for the 12 even rows."""


CASES = [
    pytest.param(f"SELECT id, upper({YES}) AS r FROM items", 24, id="in-an-expression"),
    pytest.param(f"SELECT id FROM items WHERE {YES} = 'yes'", 24, id="where"),
    pytest.param(f"SELECT id FROM items WHERE id < 10 AND {YES} = 'yes'", 10, id="cheap-and-ai"),
    pytest.param(f"SELECT id FROM items WHERE {YES} = 'yes' AND id < 10", 10, id="ai-and-cheap"),
    pytest.param(f"SELECT id FROM items WHERE grp = 1 AND {YES} <> 'x' AND id < 10", 3, id="between-two-cheap"),
    pytest.param(f"SELECT id FROM items WHERE (id < 10 OR {YES} = 'yes')", 14, id="cheap-or-ai"),
    pytest.param(f"SELECT id FROM items WHERE {YES} = 'yes' OR id < 10", 14, id="ai-or-cheap"),
    pytest.param(f"SELECT id FROM items WHERE NOT (id >= 10 OR {YES} = 'yes')", 10, id="not-or"),
    pytest.param(f"SELECT id FROM items WHERE NOT ({YES} = 'yes' OR id >= 10)", 10, id="not-or-reversed"),
    pytest.param(f"SELECT id FROM items WHERE NOT ({YES} = 'yes' AND id < 10)", 10, id="not-and"),
    pytest.param(f"SELECT id FROM items WHERE id < 10 AND NOT {YES} = 'yes'", 10, id="and-not"),
    pytest.param(f"SELECT id FROM items WHERE grp < 2 AND ({YES} = 'yes' OR id < 8)", 8, id="or-in-and"),
    pytest.param(f"SELECT id FROM items WHERE grp = 9 AND {YES} = 'yes'", 0, id="no-row-left"),
    pytest.param(f"SELECT id FROM items WHERE note IS NOT NULL AND {YES} = 'yes'", 19, id="null-test-first"),
    pytest.param(f"SELECT id FROM items WHERE note < 'note 15' AND {YES} = 'yes'", 5, id="null-is-not-true"),
    pytest.param(f"SELECT id FROM items WHERE {YES} = 'yes' AND {GOOD} = 'good'", 32, id="two-answers-anded"),
    pytest.param(f"SELECT id FROM items WHERE {YES} = 'yes' OR {GOOD} = 'good'", 40, id="two-answers-ored"),
    pytest.param(
        f"SELECT id FROM items WHERE {YES} = 'yes' AND id < 10 AND {GOOD} = 'good'",
        14,
        id="two-answers-and-a-cheap-one",
    ),
    pytest.param(f"SELECT id, {GOOD} AS r FROM items WHERE {YES} = 'yes'", 32, id="select-after-where"),
    pytest.param(f"SELECT id, {GOOD} AS r FROM items WHERE {YES} IS NULL", 24, id="nothing-passes-where"),
    pytest.param(
        f"SELECT id, {GOOD} AS r FROM items WHERE {YES} <> 'yes' OR {YES} IS NULL", 40, id="unknown-is-not-null"
    ),
    pytest.param(
        f"SELECT id, {GOOD} AS r FROM items WHERE coalesce({YES}, 'none') = 'none'", 24, id="unknown-not-coalesced"
    ),
    pytest.param(f"SELECT id, {YES} AS r FROM items WHERE {YES} = 'yes'", 24, id="same-call-in-select-and-where"),
    pytest.param(f"SELECT id, {YES} AS a, {GOOD} AS b FROM items", 48, id="two-calls"),
    pytest.param(f"SELECT id, {YES} || {GOOD} || {YES} AS r FROM items", 48, id="three-in-an-expression"),
    pytest.param("SELECT id, ai_query('chat', note) AS r FROM items", 19, id="null-request"),
    pytest.param(f"SELECT id, coalesce(note, {YES}) AS r FROM items", 5, id="coalesce"),
    pytest.param(f"SELECT id, coalesce({YES}, {GOOD}) AS r FROM items", 24, id="coalesce-of-answers"),
    pytest.param(f"SELECT id, CASE WHEN note IS NULL THEN {YES} ELSE note END AS r FROM items", 5, id="case"),
    pytest.param(
        f"SELECT id, CASE {YES} WHEN 'yes' THEN {GOOD} ELSE note END AS r FROM items", 32, id="case-on-an-answer"
    ),
    pytest.param(
        f"SELECT id, CASE WHEN {YES} = 'yes' THEN 'y' ELSE {GOOD} END AS r FROM items",
        40,
        id="case-else-after-an-answer",
    ),
    pytest.param(
        f"SELECT id, CASE WHEN id < 4 THEN {YES} WHEN id < 8 THEN {GOOD} END AS r FROM items",
        8,
        id="case-of-two-branches",
    ),
    pytest.param(
        f"SELECT id, CASE WHEN id < 20 THEN note WHEN {YES} = 'yes' THEN 'y' END AS r FROM items",
        4,
        id="case-second-condition",
    ),
    pytest.param(
        f"SELECT id FROM items WHERE CASE WHEN id < 6 THEN {YES} = 'yes' ELSE false END", 6, id="case-in-where"
    ),
    pytest.param(f"SELECT id, if(id < 6, {YES}, 'none') AS r FROM items", 6, id="if"),
    pytest.param("SELECT id, ai_query('chat', ai_query('chat', name)) AS r FROM items", 12, id="nested"),
    pytest.param(
        "SELECT id, ai_query('chat', ai_query('chat', ai_query('chat', name))) AS r FROM items", 18, id="nested-twice"
    ),
    pytest.param(
        "SELECT id FROM items WHERE ai_query('chat', 'Is it? ' || ai_query('chat', name)) <> 'x' AND id < 3",
        6,
        id="nested-in-where",
    ),
    pytest.param(
        f"SELECT id, ai_query('chat', CASE WHEN {YES} = 'yes' THEN name END) AS r FROM items",
        26,
        id="request-by-an-answer",
    ),
    pytest.param(f"SELECT id FROM items WHERE {YES} IN ('yes', 'maybe') AND id BETWEEN 3 AND 8", 6, id="in-list"),
    pytest.param(
        f"SELECT id FROM items WHERE {YES} LIKE 'y%' AND {YES} NOT LIKE 'n%' AND id < 5", 5, id="one-call-in-two-terms"
    ),
    pytest.param(f"SELECT id FROM items WHERE id < 5 AND true AND {YES} = 'yes'", 5, id="constant-condition"),
    pytest.param(f"SELECT id FROM items WHERE false AND {YES} = 'yes'", 0, id="never"),
    pytest.param(
        f"SELECT id, {YES} AS r FROM (SELECT * FROM items WHERE grp = 0) AS s WHERE id > 10", 3, id="subquery-filter"
    ),
    pytest.param(
        f"SELECT id FROM (SELECT id, {YES} AS r FROM items) AS s WHERE r = 'yes' AND id < 10",
        10,
        id="filter-over-a-subquery",
    ),
    pytest.param(
        f"SELECT id, b FROM (SELECT id, {YES} AS a, {GOOD} AS b FROM items) AS s WHERE a = 'yes'",
        32,
        id="second-column-after-the-filter",
    ),
]


@pytest.mark.parametrize(("sql", "needed"), CASES)
def test_a_condition_decides_what_is_asked(items: Beside, sql: str, needed: int) -> None:
    items.check(sql, needed)
