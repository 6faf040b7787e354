"""How selective a condition is taken to be, and in which order that puts two of them."""

from __future__ import annotations

import math
from copy import deepcopy

import pytest

from aiq.engines.duckdb.rewrite.selectivity import selectivity
from aiq.engines.duckdb.rewrite.tree import expression
from aiq.sql.selectivity import rank

AI = "__aiq_text(1, a)"


def share(condition: str) -> float:
    return selectivity(expression(condition))


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (f"{AI} = 'yes'", 0.1),
        (f"'yes' = {AI}", 0.1),
        (f"{AI} IS NOT DISTINCT FROM 'yes'", 0.1),
        (f"{AI} <> 'yes'", 0.9),
        (f"{AI} != 'yes'", 0.9),
        (f"{AI} IS DISTINCT FROM 'yes'", 0.9),
        (f"{AI}::INT > 3", 1 / 3),
        (f"{AI}::INT <= 3", 1 / 3),
        (f"{AI}::INT BETWEEN 1 AND 3", 0.25),
        (f"{AI} LIKE 'a%'", 0.25),
        (f"{AI} ILIKE 'a%'", 0.25),
        (f"{AI} NOT LIKE 'a%'", 0.75),
        (f"starts_with({AI}, 'a')", 0.25),
        (f"contains({AI}, 'a')", 0.25),
        (f"regexp_matches({AI}, 'a')", 0.25),
        (f"{AI} IN ('a')", 0.1),
        (f"{AI} IN ('a', 'b', 'c')", 0.3),
        (f"{AI} IN ('a', 'b', 'c', 'd', 'e', 'f', 'g')", 0.5),
        (f"{AI} NOT IN ('a', 'b')", 0.8),
        (f"{AI} IN (SELECT 1)", 0.5),
        (f"{AI} IS NULL", 0.1),
        (f"{AI} IS NOT NULL", 0.9),
        (f"{AI}", 0.5),
        (f"NOT {AI}", 0.5),
        (f"{AI}::BOOLEAN", 0.5),
        (f"{AI} = TRUE", 0.5),
        (f"({AI} = 'a') = FALSE", 0.9),
        (f"({AI} = 'a') IS TRUE", 0.1),
        (f"({AI} = 'a') IS NOT TRUE", 0.9),
        (f"coalesce({AI} = 'a', FALSE)", 0.1),
        ("TRUE", 1.0),
        ("FALSE", 0.0),
        ("NULL", 0.0),
    ],
)
def test_a_condition_has_the_textbooks_share(condition: str, expected: float) -> None:
    assert share(condition) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("x = 1 AND y = 2", 0.01),
        ("x = 1 AND y = 2 AND z = 3", 0.001),
        ("x = 1 OR y = 2", 0.19),
        ("NOT (x = 1 OR y = 2)", 0.81),
        ("(x = 1 AND y > 2) OR z", 1 - (1 - 0.1 / 3) * 0.5),
    ],
)
def test_conditions_are_taken_to_be_independent(condition: str, expected: float) -> None:
    assert share(condition) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("CASE WHEN x = 1 THEN y = 2 END", 0.01),
        ("CASE WHEN x = 1 THEN TRUE ELSE y = 2 END", 0.1 + 0.9 * 0.1),
        ("CASE x WHEN 1 THEN TRUE WHEN 2 THEN y > 0 END", 0.1 + 0.9 * 0.1 / 3),
        ("CASE WHEN x THEN TRUE ELSE FALSE END", 0.5),
        ("if(x = 1, y = 2, z)", 0.1 * 0.1 + 0.9 * 0.5),
    ],
)
def test_a_branch_counts_for_the_rows_that_take_it(condition: str, expected: float) -> None:
    assert share(condition) == pytest.approx(expected)


@pytest.mark.parametrize(
    "condition", ["x", "x = 1 OR NOT x = 1", "f(x)", "EXISTS (SELECT 1)", "x + 1", "'a'", "x && y", "x = ANY([1])"]
)
def test_every_condition_has_a_share(condition: str) -> None:
    assert 0.0 <= share(condition) <= 1.0


def test_of_two_conditions_of_one_price_the_more_selective_goes_first() -> None:
    assert rank(1.0, share(f"{AI} = 'yes'")) < rank(1.0, share(f"{AI} <> 'yes'"))


def test_a_dearer_condition_goes_first_where_it_saves_more_than_it_costs() -> None:
    assert rank(2.0, 0.1) < rank(1.0, 0.9)


def test_a_condition_that_saves_nothing_goes_last() -> None:
    assert rank(0.0, 1.0) == math.inf


def test_of_two_conditions_that_cost_nothing_the_more_selective_goes_first() -> None:
    assert rank(0.0, 0.1) < rank(0.0, 0.9) < rank(1e-9, 0.0)


def test_a_tree_is_left_as_it_is() -> None:
    tree = expression("CASE x WHEN 1 THEN y = 2 ELSE z END")
    before = deepcopy(tree)
    selectivity(tree)
    assert tree["type"] == "CASE_EXPR" and tree == before
