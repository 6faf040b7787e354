"""`(SELECT ai(x) FROM ...)` -> `ai((SELECT x FROM ...))`.

DuckDB computes a correlated subquery for every value of its inner table first; outside, the call sees only the rows of
the outer query. A subquery without a row is NULL, and a NULL request is a NULL answer, so the result is the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiq.plan.numbered import is_call

if TYPE_CHECKING:
    from sqlglot import exp


def call_out_of_subquery(tree: exp.Expr) -> exp.Expr:
    """Moves calls that are the whole result of a scalar subquery out of it."""
    from sqlglot import exp

    for subquery in list(tree.find_all(exp.Subquery)):
        select = subquery.this
        place = subquery.parent
        scalar = isinstance(place, exp.Condition | exp.Alias | exp.Ordered) or (
            isinstance(place, exp.Select) and subquery.arg_key == "expressions"
        )
        if isinstance(place, exp.In | exp.Exists | exp.Any | exp.All | exp.Array | exp.Lateral | exp.Unnest):
            scalar = False
        if not scalar or not isinstance(select, exp.Select) or len(select.expressions) != 1 or subquery.parent is None:
            continue
        call = select.expressions[0].unalias()
        if any(select.args.get(name) for name in ("group", "order")) and not _by_columns(select):
            continue  # a position, or ALL, would mean something else
        if not is_call(call) or len(call.expressions) != 2 or select.args.get("distinct") or subquery.alias:
            continue
        moved, request = call.copy(), call.expressions[1]
        subquery.replace(moved)
        inner = subquery.copy()
        inner.this.set("expressions", [request.copy()])
        moved.set("expressions", [moved.expressions[0], inner])
    return tree


def _by_columns(select: exp.Select) -> bool:
    """Whether what it sorts and groups by is all made of its tables' columns."""
    from sqlglot import exp

    keys = [key.this for key in (select.args["order"].expressions if select.args.get("order") else [])]
    group = select.args.get("group")
    keys += group.expressions if group else []
    plain = bool(keys) and not (group and group.args.get("all"))
    return plain and all(key.find(exp.Column) and key.name.upper() != "ALL" for key in keys)
