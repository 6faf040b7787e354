"""A query that can be answered a window of rows after the other: one whose calls are only in its SELECT list."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from aiq.plan.numbered import has_call, may_aggregate
from aiq.plan.separate import separate

if TYPE_CHECKING:
    from sqlglot import exp


class Windows(NamedTuple):
    """`rows` computes everything that needs no answer; `columns` are the SELECT list over its result."""

    rows: str
    columns: str


def windows(query: str) -> Windows | None:
    """How to answer a query in windows, or None where an answer decides on more than its own row."""
    import sqlglot
    from sqlglot import exp

    select = sqlglot.parse_one(query, read="duckdb")
    if not isinstance(select, exp.Select) or not any(has_call(item) for item in select.expressions):
        return None
    if any(has_call(part) for key, part in _parts(select) if key != "expressions") or select.args.get("distinct"):
        return None
    items = select.expressions
    called = [item for item in items if has_call(item)]
    if any(may_aggregate(item) or item.find(exp.Subquery, exp.Unnest, exp.Explode) for item in called):
        return None
    if not all(isinstance(item, exp.Alias) for item in called):
        return None
    below, above = separate(items)
    kept = [item.copy() for item in items if not has_call(item)]
    columns = [item.sql(dialect="duckdb") for item in above]
    if any(item.find(exp.Star) and not isinstance(item, exp.Alias) for item in kept):
        if has_call(items[0]) or any(has_call(a) and not has_call(b) for a, b in pairwise(items)):
            return None  # what a star stands for comes first, or its place is not known
        hidden = ", ".join(item.alias for item in below)
        columns = [f"* EXCLUDE ({hidden})", *(c for c, item in zip(columns, items, strict=True) if has_call(item))]
    elif not all(isinstance(item, exp.Column | exp.Alias) for item in kept) or _repeats(items):
        return None
    inner = select.copy()
    inner.set("expressions", [*kept, *below])
    return Windows(inner.sql(dialect="duckdb"), ", ".join(columns))


def _parts(select: exp.Select) -> list[tuple[str, exp.Expr]]:
    from sqlglot import exp

    found = []
    for key, value in select.args.items():
        found += [(key, part) for part in (value if isinstance(value, list) else [value]) if isinstance(part, exp.Expr)]
    return found


def _repeats(items: list[exp.Expr]) -> bool:
    names = [item.alias_or_name.lower() for item in items]
    return len(set(names)) < len(names)
