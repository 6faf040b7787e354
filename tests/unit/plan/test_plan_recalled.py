"""Which statements can be evaluated once where all their answers are there, and what they become."""

from __future__ import annotations

import pytest

from aiq.plan.recalled import Recalling, recalling

CALL = "__aiq_string(1, 'Row ' || k)"
ALIKE = "FLOAT|DOUBLE|INTERVAL|TIME WITH|VARIANT|MAP"
OVER = (
    "(SELECT __aiq_string(1, r0) FROM (SELECT 'Row ' || k AS r0) WHERE CASE WHEN regexp_matches(typeof(k), "
    f"'{ALIKE}') THEN CAST('__aiq_row' AS BOOLEAN) ELSE true END)"
)


def test_a_select_is_evaluated_over_its_distinct_requests() -> None:
    text = f"SELECT {CALL} AS r FROM t ORDER BY k"
    assert recalling(text) == Recalling(f"SELECT {OVER} AS r FROM t ORDER BY k")


@pytest.mark.parametrize(
    ("opening", "made"),
    [
        ("CREATE TABLE made AS", ("made",)),
        ("create temp table s.made as", ("s", "made")),
        ("CREATE TABLE IF NOT EXISTS made AS", ("made",)),
        ("CREATE OR REPLACE TABLE made AS", None),
    ],
)
def test_the_query_of_a_new_table_keeps_its_own_words(opening: str, made: tuple[str, ...] | None) -> None:
    found = recalling(f"{opening} SELECT {CALL} AS r FROM t ORDER BY k ASC NULLS LAST")
    assert found == Recalling(f"{opening}  SELECT {OVER} AS r FROM t ORDER BY k ASC NULLS LAST", True, made)


@pytest.mark.parametrize(
    "text",
    [
        f"INSERT INTO u SELECT {CALL} FROM t",
        f"COPY (SELECT {CALL} AS r FROM t) TO 'made.csv'",
        f"UPDATE t SET a = {CALL}",
        f"CREATE TABLE made (a VARCHAR DEFAULT {CALL})",
        f"SELECT {CALL} AS r FROM t LIMIT 5",
        f"CREATE TABLE made AS SELECT DISTINCT {CALL} AS r FROM t",
        "SELECT FROM WHERE (",
    ],
)
def test_other_statements_are_left_to_be_planned(text: str) -> None:
    assert recalling(text) is None
