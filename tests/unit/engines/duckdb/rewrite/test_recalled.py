"""Which statements can be evaluated once where all their answers are there, and what they become."""

from __future__ import annotations

import pytest

from aiq.engines.duckdb.rewrite.distinct import over_distinct
from aiq.engines.duckdb.rewrite.recalled import Recalling, recalling
from tests.unit.engines.duckdb.rewrite.cases import numbered

CALL = numbered("ai1('Row ' || k)")
QUERY = f"SELECT {CALL} AS r FROM t ORDER BY k ASC NULLS LAST"
OVER = over_distinct(QUERY)


def test_a_select_is_evaluated_over_its_distinct_requests() -> None:
    assert OVER is not None and recalling(QUERY) == Recalling(OVER)


@pytest.mark.parametrize(
    ("opening", "made"),
    [
        ("CREATE TABLE made AS", ("made",)),
        ("create temp table s.made as", ("s", "made")),
        ("CREATE TABLE IF NOT EXISTS made AS", ("made",)),
        ("CREATE OR REPLACE TABLE made AS", None),
    ],
)
def test_a_new_table_is_made_of_its_query_over_distinct_requests(opening: str, made: tuple[str, ...] | None) -> None:
    assert recalling(f"{opening} {QUERY}") == Recalling(f"{opening} {OVER}\n", True, made)


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
