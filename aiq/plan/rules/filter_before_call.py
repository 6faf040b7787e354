"""`max(ai(x)) FILTER (WHERE c)` -> `max(ai(CASE WHEN c THEN x END)) FILTER (WHERE c)`.

DuckDB computes an aggregate's argument for every row and filters afterwards. A NULL request is not asked, and its NULL
answer is filtered out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiq.plan.numbered import has_call, is_call

if TYPE_CHECKING:
    from sqlglot import exp


def filter_before_call(tree: exp.Expr) -> exp.Expr:
    """Guards the requests of calls inside an aggregate by the aggregate's FILTER."""
    from sqlglot import exp

    for node in list(tree.find_all(exp.Filter)):
        where = node.expression
        if not isinstance(where, exp.Where) or not has_call(node.this):
            continue
        for call in list(node.this.find_all(exp.Anonymous)):
            if is_call(call):
                guarded = exp.Case(ifs=[exp.If(this=where.this.copy(), true=call.expressions[1].copy())])
                call.set("expressions", [call.expressions[0], guarded, *call.expressions[2:]])
    return tree
