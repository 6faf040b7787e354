"""A query whose calls are evaluated once for each distinct request: DuckDB takes the requests apart and joins the
answers back, natively and on all cores, where a function would see every row.

Such a query may evaluate a call for rows that the original would not, so it is only for looking answers up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from aiq.plan import calls
from aiq.plan.numbered import PREFIX, has_call, is_call, may_aggregate

if TYPE_CHECKING:
    from sqlglot import exp

_ROW = "__aiq_row"
_ALIKE = "FLOAT|DOUBLE|INTERVAL|TIME WITH|VARIANT|MAP"
"""Types, by their names, of which two values may be equal and not look the same."""


def over_distinct(query: str, tree: exp.Expr | None = None) -> str | None:
    """`query` with `(SELECT f(n, r) FROM (SELECT request AS r))` for each numbered call `f(n, request)`.

    None where DuckDB has no such plan for it, where a call stands behind a condition (answered requests would be taken
    for rows that do not need them), or where rows would come in another order: such a plan keeps none, so the query
    is sorted by the place of its rows. `tree` is the query as a syntax tree, if somebody has parsed it already; it is
    only read.
    """
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        tree = sqlglot.parse_one(query, read="duckdb") if tree is None else tree
    except SqlglotError:
        return None
    found = [node for node in tree.find_all(exp.Anonymous) if is_call(node)]
    if not all(_always_evaluated(call) and _of_one_row(call) for call in found):
        return None
    ordered = [call for call in found if not _in_a_set(call)]
    if (ordered or _depends_on_order(tree)) and not _any_order_will_do(tree):
        place = _place(tree, ordered)
        if place is None or (numbered := _with_place(query, place)) is None:
            return None
        query = f"SELECT * EXCLUDE ({_ROW}) FROM ({numbered}\n) ORDER BY {_ROW} ASC"

    def compiled(call: calls.Call) -> str:
        number, *requests = (argument.text for argument in call.arguments)
        names = [f"r{position}" for position in range(len(requests))]
        columns = ", ".join(f"{request} AS {name}" for request, name in zip(requests, names, strict=True))
        function = call.text.partition("(")[0]
        return f"(SELECT {function}({', '.join([number, *names])}) FROM (SELECT {columns}){_told_apart(requests)})"

    return calls.rewrite_calls(query, compiled, lambda name: name.lower().startswith(PREFIX))


def _told_apart(requests: Sequence[str]) -> str:
    """A WHERE that is an error where DuckDB takes values for the same that do not look the same, such as 0.0 and -0.0.

    It takes the columns of requests apart, not what is made of them. Types are known while it plans: no row pays.
    """
    import sqlglot
    from sqlglot import exp

    trees = [sqlglot.parse_one(request, read="duckdb") for request in requests]
    columns = dict.fromkeys(column.sql(dialect="duckdb") for tree in trees for column in tree.find_all(exp.Column))
    if not columns:
        return ""
    types = " || ".join(f"typeof({column})" for column in columns)
    return f" WHERE CASE WHEN regexp_matches({types}, '{_ALIKE}') THEN CAST('{_ROW}' AS BOOLEAN) ELSE true END"


def _always_evaluated(call: exp.Expr) -> bool:
    """Whether a call is computed for every row of its SELECT, which is one of those that the result is made of."""
    from sqlglot import exp

    conditional = (exp.Case, exp.If, exp.Coalesce, exp.Or, exp.Lambda, exp.Window, exp.In, exp.Exists, exp.Filter)
    below: exp.Expr = call
    node = call.parent
    while node is not None:
        if is_call(node):
            return False
        if isinstance(node, conditional) and below.arg_key != "query" and not _comes_first(node, below):
            return False
        if isinstance(node, exp.And) and not isinstance(node.parent, exp.And | exp.Where | exp.Join | exp.Having):
            return False
        if isinstance(node, exp.Select):
            if node.args.get("distinct") is not None:
                return False
            if node.args.get("limit") is not None and not (
                node.args.get("order") and _before_groups(call, below, node)
            ):
                return False
            if below.arg_key == "expressions" and not isinstance(below, exp.Alias):
                return False  # its name would be that of the subquery
            around = node.parent.parent if isinstance(node.parent, exp.Subquery) else None
            if around is not None and not isinstance(around, exp.From | exp.Join | exp.In):
                return False
        below, node = node, node.parent
    return has_call(call)


def _comes_first(condition: exp.Expr, part: exp.Expr) -> bool:
    """Whether a part of a CASE is what decides on its other parts."""
    from sqlglot import exp

    if isinstance(condition, exp.Case):
        return part.arg_key == "this" or (part.arg_key == "ifs" and part.index == 0)
    return isinstance(condition, exp.If) and part.arg_key == "this"


def _before_groups(call: exp.Expr, part: exp.Expr, select: exp.Select) -> bool:
    """Whether a call is computed before the rows of a SELECT are grouped, so that its LIMIT spares no row."""
    from sqlglot import exp

    group = select.args.get("group")
    if group is None and not _aggregates_rows(select):
        return False
    if part.arg_key != "expressions":
        return part.arg_key != "order"
    around = call.find_ancestor(exp.AggFunc, exp.Select)
    if isinstance(around, exp.AggFunc):
        return True
    if (where := select.args.get("where")) is not None and where.find(exp.Query):
        return False  # DuckDB would join the answers before it filters by the subquery
    keys = [] if group is None else [key.name for key in group.expressions if isinstance(key, exp.Column)]
    read = {column.name.lower() for column in part.find_all(exp.Column)}
    return part.alias.lower() in {key.lower() for key in keys} - read  # a column of that name would come before it


def _of_one_row(call: exp.Expr) -> bool:
    """Whether the requests of a call are made of one row each, as in a subquery of their own they would be."""
    from sqlglot import exp

    requests = call.expressions[1:]
    return not any(may_aggregate(request) or request.find(exp.Unnest, exp.Explode) for request in requests)


def _in_a_set(call: exp.Expr) -> bool:
    """Whether a call is in the query of an IN, where rows have no order."""
    from sqlglot import exp

    around = call.find_ancestor(exp.In)
    return around is not None and around.args.get("query") is not None


def _any_order_will_do(tree: exp.Expr) -> bool:
    """Whether the rows of a query are sorted by itself, or come in no order that DuckDB promises."""
    from sqlglot import exp

    if not isinstance(tree, exp.Select) or _depends_on_order(tree):
        return False
    return _aggregates_rows(tree) or any(tree.args.get(name) is not None for name in ("order", "group", "distinct"))


def _aggregates_rows(select: exp.Select) -> bool:
    """Whether a SELECT makes one row of several, by its list."""
    from sqlglot import exp

    return any(not found.find_ancestor(exp.Window) for item in select.expressions for found in _aggregates(item))


def _aggregates(item: exp.Expr) -> list[exp.Expr]:
    from sqlglot import exp

    return [found for found in item.find_all(exp.AggFunc) if not item.find(exp.Subquery)]


def _depends_on_order(tree: exp.Expr) -> bool:
    """Whether the order of the rows inside a query may decide on its result."""
    from sqlglot import exp

    of_any_order = (exp.Count, exp.CountIf, exp.Sum, exp.Min, exp.Max, exp.Avg)
    for node in tree.walk():
        if isinstance(node, exp.Select | exp.SetOperation) and node.args.get("order") is None:
            if node.args.get("limit") is not None or node.args.get("offset") is not None:
                return True
        elif isinstance(node, exp.Window):
            if node.args.get("order") is None and not isinstance(node.this, of_any_order):
                return True
        elif isinstance(node, exp.AggFunc) and not isinstance(node, of_any_order):
            if not isinstance(node.parent, exp.Window):
                return True
        elif isinstance(node, exp.List) or (isinstance(node, exp.Anonymous) and not is_call(node)):
            return True
    return False


def _place(tree: exp.Expr, found: list[exp.Anonymous]) -> str | None:
    """An expression of the SELECT of all calls, which is the outermost, that numbers its rows; None for none."""
    from sqlglot import exp

    if not isinstance(tree, exp.Select) or any(tree.args.get(name) for name in ("distinct", "group", "order", "limit")):
        return None
    if any(isinstance(node, exp.AggFunc) for item in tree.expressions for node in item.walk()):
        return None
    if any(call.find_ancestor(exp.Select) is not tree for call in found):
        return None
    if all(any(node is call for item in tree.expressions for node in item.walk()) for call in found):
        return "row_number() OVER ()"  # computed before the subqueries of a SELECT list
    source = None if _depends_on_order(tree) else tree.args.get("from_")
    alone = source is not None and isinstance(source.this, exp.Table) and not tree.args.get("joins")
    return f'"{source.this.alias_or_name}".rowid' if alone and source is not None else None


def _with_place(query: str, place: str) -> str | None:
    """`query` with one more column in front, by which its rows can be sorted."""
    depth = 0
    for token in calls.tokenize(query):
        depth += (token.text == "(") - (token.text == ")")
        if depth == 0 and token.text.upper() == "SELECT":
            end = token.end + 1
            return f"{query[:end]} {place} AS {_ROW},{query[end:].rstrip().rstrip(';')}"
    return None
