"""EXPLAIN AI for a person: a sentence first, then a row a call. Every column is in the formats for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.text import Text

from aiq.amounts import dollars, seconds
from aiq.cli.printable import printable

if TYPE_CHECKING:
    from duckdb import DuckDBPyRelation

_FIRST = ["call", "endpoint", "stage", "rows", "requests", "answered_from_store"]
_SHOWN = ("call", "endpoint", "rows", "requests", "cost", "seconds")
_ACTUAL = ("asked", "cost was", "took")
Row = dict[str, Any]


def is_explanation(columns: Sequence[str]) -> bool:
    """Whether a result is one of EXPLAIN AI."""
    return list(columns[: len(_FIRST)]) == _FIRST


def explanation(result: DuckDBPyRelation) -> RenderableType:
    """The sentence, a table of the calls, and what there is to note of them."""
    from aiq.cli.show import grid

    rows = [dict(zip(result.columns, row, strict=True)) for row in result.fetchall()]
    *calls, total = rows
    parts: list[RenderableType] = [Text(printable(sentence(calls, total)))]
    if calls:
        names = [*_SHOWN, *(_ACTUAL if "actual_requests" in total else ())]
        parts.append(grid(names, [name not in ("call", "endpoint") for name in names], [_cells(row) for row in calls]))
    parts += [Text(printable(f"{row['call']}: {row['note']}")) for row in calls if row["note"]]
    return Group(*parts)


def sentence(calls: Sequence[Row], total: Row) -> str:
    """What the statement would ask, or what it asked beside what was expected."""
    if not calls:
        return f"Nothing is asked: {total['note'] or 'no AI call'}."
    requests = _count(total["requests"], "request", total["exact"])
    expected = f"{_money(total)}, {_time(total['seconds'])}"
    if "actual_requests" in total:
        took = f"{_cost(total['actual_cost_usd'])}, {_time(total['actual_seconds'])}"
        asked = _count(total["actual_requests"] or 0, "request", True)
        return (
            f"It asked {asked} ({total['actual_reused'] or 0:,} reused): {took}. Expected were {requests}: {expected}."
        )
    words = f"It would ask {requests} of {_count(len(calls), 'call', True)}: {expected}"
    if answered := total["answered_from_store"]:
        words += f"; {answered:,} have an answer already"
    return f"{words}."


def _count(number: int, word: str, exact: bool) -> str:
    return f"{'' if exact else 'about '}{number:,} {word}{'' if number == 1 else 's'}"


def _money(row: Row) -> str:
    if row["cost_likely_usd"] is None:
        return "cost not known"
    low, likely, high = (dollars(row[f"cost_{name}_usd"]) for name in ("low", "likely", "high"))
    return f"about {likely} ({low} to {high})" if low != high else likely


def _cost(amount: float | None) -> str:
    return "cost not known" if amount is None else dollars(amount)


def _time(amount: float | None) -> str:
    return "time not known" if amount is None else seconds(amount)


def _cells(row: Row) -> list[str | None]:
    cells: list[str | None] = [row["call"], row["endpoint"], f"{row['rows']:,}", f"{row['requests']:,}"]
    cells += [None if row["cost_likely_usd"] is None else dollars(row["cost_likely_usd"])]
    cells.append(None if row["seconds"] is None else seconds(row["seconds"]))
    if "actual_requests" in row:
        taken, cost, time = row["actual_requests"], row["actual_cost_usd"], row["actual_seconds"]
        cells += [None if taken is None else f"{taken:,}", None if cost is None else dollars(cost)]
        cells.append(None if time is None else seconds(time))
    return cells
