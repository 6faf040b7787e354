"""A query whose calls are evaluated once for each distinct request: DuckDB takes the requests apart and joins the
answers back, natively and on all cores, where a function would see every row.

Such a query may evaluate a call for rows that the original would not, so it is only for looking answers up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiq.plan import calls
from aiq.plan.numbered import PREFIX, has_call, is_call

if TYPE_CHECKING:
    from sqlglot import exp


def over_distinct(query: str) -> str | None:
    """`query` with `(SELECT f(n, r) FROM (SELECT request AS r))` for each numbered call `f(n, request)`.

    None where DuckDB has no such plan for it, or where a call stands behind a condition: answered requests would be
    taken for rows that do not need them.
    """
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        tree = sqlglot.parse_one(query, read="duckdb")
    except SqlglotError:
        return None
    found = [node for node in tree.find_all(exp.Anonymous) if is_call(node)]
    if not all(_always_evaluated(call) for call in found):
        return None

    def compiled(call: calls.Call) -> str:
        number, *requests = (argument.text for argument in call.arguments)
        names = [f"r{position}" for position in range(len(requests))]
        columns = ", ".join(f"{request} AS {name}" for request, name in zip(requests, names, strict=True))
        function = call.text.partition("(")[0]
        return f"(SELECT {function}({', '.join([number, *names])}) FROM (SELECT {columns}))"

    return calls.rewrite_calls(query, compiled, lambda name: name.lower().startswith(PREFIX))


def _always_evaluated(call: exp.Expr) -> bool:
    """Whether a call is computed for every row of its SELECT, which is one of those that the result is made of."""
    from sqlglot import exp

    conditional = (exp.Case, exp.If, exp.Coalesce, exp.Or, exp.Lambda, exp.Window, exp.In, exp.Exists, exp.Filter)
    below: exp.Expr = call
    node = call.parent
    while node is not None:
        if (isinstance(node, conditional) and below.arg_key != "query") or is_call(node):
            return False
        if isinstance(node, exp.And) and not isinstance(node.parent, exp.And | exp.Where | exp.Join | exp.Having):
            return False
        if isinstance(node, exp.Select):
            if node.args.get("limit") is not None or node.args.get("distinct") is not None:
                return False
            if below.arg_key == "expressions" and not isinstance(below, exp.Alias):
                return False  # its name would be that of the subquery
            around = node.parent.parent if isinstance(node.parent, exp.Subquery) else None
            if around is not None and not isinstance(around, exp.From | exp.Join | exp.In):
                return False
        below, node = node, node.parent
    return has_call(call)
