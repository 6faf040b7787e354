"""Before and after, as the SQL files beside this one show it."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiq.plan import calls
from aiq.plan.dialect import to_duckdb


def cases(name: str) -> list[object]:
    """(before, after) of each case of a file, with the title as its id."""
    _, *parts = (Path(__file__).parent / name).read_text(encoding="utf-8").split("\n-- case: ")
    found: list[object] = []
    for part in parts:
        title, _, rest = part.partition("\n")
        before, _, after = rest.partition("\n-- becomes\n")
        found.append(pytest.param(before.strip(), after.strip(), id=title))
    return found


def shown(call: calls.Call) -> str:
    arguments = (f"{a.name}={a.text}" if a.name else a.text for a in call.arguments)
    column = ' AS "' + call.text.replace('"', '""') + '"' if call.is_column else ""
    return f"«{' | '.join(arguments)}»{column}"


@pytest.mark.parametrize(("before", "after"), cases("calls.sql"))
def test_calls_are_replaced_in_place(before: str, after: str) -> None:
    assert calls.rewrite_calls(before, shown) == after


@pytest.mark.parametrize(("before", "after"), cases("dialect.sql"))
def test_databricks_sql_is_said_in_duckdbs_words(before: str, after: str) -> None:
    assert to_duckdb(before) == after
