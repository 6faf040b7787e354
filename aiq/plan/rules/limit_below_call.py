"""`SELECT a, ai(x) FROM t ORDER BY f(b) LIMIT 5` -> `SELECT a, ai(r) FROM (SELECT a, x AS r ... LIMIT 5)`.

DuckDB does so by itself where it sorts one table by plain columns; with an expression in ORDER BY, a computed LIMIT, or
DISTINCT ON it computes the whole SELECT list for every row first, and over a join or beside a subquery it may.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiq.plan.numbered import has_call, may_aggregate
from aiq.plan.separate import separate

if TYPE_CHECKING:
    from sqlglot import exp


def limit_below_call(tree: exp.Expr) -> exp.Expr:
    """Takes the calls of the SELECT list out over ORDER BY and LIMIT, wherever only that list has calls."""
    from sqlglot import exp

    for select in list(tree.find_all(exp.Select)):
        if _applies(select):
            outer = _split(select)
            if select is tree:
                tree = outer
            else:
                select.replace(outer)
    return tree


def _applies(select: exp.Select) -> bool:
    from sqlglot import exp

    args = select.args
    order, limit, distinct, items = args.get("order"), args.get("limit"), args.get("distinct"), select.expressions
    first_of_each = distinct is not None and distinct.args.get("on") is not None and not has_call(distinct)
    if args.get("qualify") or (distinct and not first_of_each) or not _by_columns(args.get("group")):
        return False
    if not first_of_each and not (order and limit):
        return False
    if not any(has_call(item) for item in items) or any(
        has_call(args.get(n)) for n in ("where", "order", "from_", "from", "group", "having")
    ):
        return False
    if any(has_call(join) for join in args.get("joins") or []) or args.get("with") or args.get("with_"):
        return False
    named = [item for item in items if has_call(item)]
    if any(may_aggregate(item) or item.find(exp.Subquery) for item in named):
        return False
    sorts = [ordered.this for ordered in order.expressions] if order else []
    if any(isinstance(sort, exp.Literal) for sort in sorts):
        return False
    constant = limit is not None and isinstance(limit.args.get("expression") or limit.args.get("count"), exp.Literal)
    plain = [item for item in items if not has_call(item)]
    computed = {item.alias.lower() for item in plain if isinstance(item, exp.Alias)}
    by_columns = all(isinstance(sort, exp.Column) and sort.name.lower() not in computed for sort in sorts)
    if not first_of_each and constant and by_columns and _of_one_table(select):
        return False
    if not all(isinstance(item, exp.Alias) for item in named):
        return False
    if not all(isinstance(item, exp.Column | exp.Alias) and not isinstance(item.this, exp.Star) for item in plain):
        return False
    names = [item.alias_or_name.lower() for item in items]
    sorted_by = {column.name.lower() for sort in sorts for column in sort.find_all(exp.Column)}
    return len(set(names)) == len(names) and not sorted_by & {item.alias.lower() for item in named}


def _of_one_table(select: exp.Select) -> bool:
    """Whether a SELECT reads one table, with no other query in it."""
    from sqlglot import exp

    source = select.args.get("from_")
    alone = source is not None and isinstance(source.this, exp.Table) and not select.args.get("joins")
    return alone and sum(1 for _ in select.find_all(exp.Query)) == 1


def _by_columns(group: exp.Expr | None) -> bool:
    """Whether a GROUP BY, if any, names what it groups by, so that it means the same with other SELECT items."""
    from sqlglot import exp

    if group is None:
        return True
    plain = not any(group.args.get(name) for name in ("all", "rollup", "cube", "grouping_sets", "totals"))
    return plain and not any(isinstance(key, exp.Literal) for key in group.expressions)


def _split(select: exp.Select) -> exp.Select:
    from sqlglot import exp

    below, above = separate(select.expressions)
    kept = [item.copy() for item in select.expressions if not has_call(item)]
    # Rows come in the order of the inner query only while nobody turns preserve_insertion_order off.
    keys, sorts = [], []
    order = select.args.get("order")
    named = {item.alias.lower(): item.this for item in select.expressions if isinstance(item, exp.Alias)}
    for position, ordered in enumerate(order.expressions if order else [], 1):
        key = ordered.this
        if isinstance(key, exp.Column) and not key.table:
            key = named.get(key.name.lower(), key)  # an alias hides a column of its name in ORDER BY, not in SELECT
        keys.append(exp.alias_(key.copy(), f"__aiq_s{position}"))
        sort = ordered.copy()
        sort.set("this", exp.column(f"__aiq_s{position}"))
        sorts.append(sort)
    inner = select.copy()
    inner.set("expressions", [*kept, *below, *keys])
    outer = exp.select(*above).from_(inner.subquery("__aiq_limited"))
    return outer.order_by(*sorts) if sorts else outer
