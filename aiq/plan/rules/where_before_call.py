"""Conditions on a derived table before the calls in it, where not every DuckDB moves them there itself.

`SELECT .. FROM (SELECT id, ai(x) AS r FROM t) s WHERE id IN (SELECT ..)`: the IN goes into the derived table.
`FROM t, LATERAL (SELECT ai(t.x) AS r) l WHERE t.id < 5`: the request is guarded by the condition.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiq.plan.numbered import has_call, is_call, may_aggregate

if TYPE_CHECKING:
    from sqlglot import exp

_DECIDING = ("group", "having", "qualify", "distinct", "limit", "offset", "order", "windows", "joins")


def where_before_call(tree: exp.Expr) -> exp.Expr:
    """Lets the cheap conditions of each WHERE decide on the calls of the derived tables that it filters."""
    from sqlglot import exp

    for select in list(tree.find_all(exp.Select)):
        where = select.args.get("where")
        if where is None:
            continue
        _into_derived_table(select, where)
        cheap = [part for part in _parts(where) if not has_call(part) and not part.find(exp.Subquery, exp.Case)]
        for join in select.args.get("joins") or []:
            if isinstance(join.this, exp.Lateral):
                _guard(join.this, cheap)
    return tree


def _parts(where: exp.Expr) -> list[exp.Expr]:
    from sqlglot import exp

    return list(where.this.flatten()) if isinstance(where.this, exp.And) else [where.this]


def _into_derived_table(select: exp.Select, where: exp.Expr) -> None:
    from sqlglot import exp

    source = select.args["from_"].this if select.args.get("from_") else None
    if not isinstance(source, exp.Subquery) or not isinstance(inner := source.this, exp.Select):
        return
    if select.args.get("joins") or source.alias_column_names or not any(map(has_call, inner.expressions)):
        return
    if any(inner.args.get(name) for name in _DECIDING) or any(map(may_aggregate, inner.expressions)):
        return
    columns = {item.alias_or_name.lower(): item.unalias() for item in inner.expressions if item.alias_or_name != "*"}
    kept = []
    for part in _parts(where):
        moved = _in_terms_of(part, columns, source.alias.lower()) if _is_membership(part) else None
        if moved is None:
            kept.append(part)
        else:
            inner.where(moved, copy=False)
    if len(kept) < len(_parts(where)):
        select.set("where", exp.Where(this=exp.and_(*kept, copy=False)) if kept else None)


def _is_membership(part: exp.Expr) -> bool:
    """`column IN (SELECT ..)`, or NOT IN, with a query that stands for itself."""
    from sqlglot import exp

    test = part.this if isinstance(part, exp.Not) else part
    query = test.args.get("query") if isinstance(test, exp.In) else None
    return query is not None and not has_call(test) and isinstance(test.this, exp.Column)


def _in_terms_of(part: exp.Expr, columns: dict[str, exp.Expr], table: str) -> exp.Expr | None:
    """The condition over what the derived table selects from; None where that is not certain to mean the same."""
    from sqlglot import exp

    made = part.copy()
    test = made.this if isinstance(made, exp.Not) else made
    subquery = test.args["query"]
    named = {column.table.lower() for column in subquery.find_all(exp.Column)}
    if table in named or any(column.name.lower() in columns for column in subquery.find_all(exp.Column)):
        return None  # it may look at the row that it is asked for
    if test.this.table.lower() not in ("", table):
        return None  # a column of an outer query
    under = columns.get(test.this.name.lower())
    if under is None or has_call(under) or not isinstance(under, exp.Column):
        return None
    test.set("this", under.copy())
    return made


def _guard(lateral: exp.Lateral, cheap: list[exp.Expr]) -> None:
    """Requests become NULL, which is not asked, for rows that the conditions drop anyway."""
    from sqlglot import exp

    inner = lateral.this.this if isinstance(lateral.this, exp.Subquery) else None
    if not isinstance(inner, exp.Select) or inner.args.get("from_") is not None or not has_call(inner):
        return
    own = {lateral.alias.lower(), *(item.alias_or_name.lower() for item in inner.expressions)}
    own |= {name.lower() for name in lateral.alias_column_names}
    guards = [
        part
        for part in cheap
        if not any({column.table.lower(), column.name.lower()} & own for column in part.find_all(exp.Column))
    ]
    for call in [node for node in inner.find_all(exp.Anonymous) if is_call(node)] if guards else []:
        if call.find_ancestor(exp.Select) is not inner:
            continue  # there the names of the condition may mean other columns
        request = exp.Case(ifs=[exp.If(this=exp.and_(*guards), true=call.expressions[1].copy())])
        call.set("expressions", [call.expressions[0], request, *call.expressions[2:]])
