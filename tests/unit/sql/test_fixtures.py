"""Before and after, as the SQL files beside this one show it."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiq.sql import calls
from aiq.sql.databricks.statements import to_duckdb
from tests.unit.engines.duckdb.rewrite.cases import params

HERE = Path(__file__).parent


def shown(call: calls.Call) -> str:
    arguments = (f"{a.name}={a.text}" if a.name else a.text for a in call.arguments)
    column = ' AS "' + call.text.replace('"', '""') + '"' if call.is_column else ""
    return f"«{' | '.join(arguments)}»{column}"


@pytest.mark.parametrize(("before", "after"), params(str(HERE / "calls.sql")))
def test_calls_are_replaced_in_place(before: str, after: str) -> None:
    assert calls.rewrite_calls(before, shown) == after


@pytest.mark.parametrize(("before", "after"), params(str(HERE / "dialect.sql")))
def test_databricks_sql_is_said_in_duckdbs_words(before: str, after: str) -> None:
    assert to_duckdb(before) == after


def test_operators_within_nullif_grow_with_their_number_only() -> None:
    def translated(depth: int) -> str:
        text = "a"
        for _ in range(depth):
            text = f"b / NULLIF({text}, 0)"
        return to_duckdb(f"SELECT {text} AS x FROM t")

    grown = [len(translated(depth)) for depth in (2, 4, 8)]
    assert grown[2] < 12 * grown[0], grown
