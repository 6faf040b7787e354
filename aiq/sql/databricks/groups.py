"""What GROUP BY of Spark reads otherwise than DuckDB's, refused by name."""

from __future__ import annotations

from sqlglot import exp

from aiq.sql.databricks.words import asks_rows, name_of, refusal

_SETS = (exp.Rollup, exp.Cube, exp.GroupingSets)


def check_groups(select: exp.Select) -> None:
    """Raises StatementError where DuckDB would make other groups of the words of a SELECT."""
    group = select.args.get("group")
    if not isinstance(group, exp.Group):
        return
    items = select.expressions
    for sets in group.find_all(*_SETS):
        for each in list(sets.find_all(exp.Literal)):
            if each.is_int and _is_item(each, sets):
                each.replace(_item(items, int(each.name)))
    if group.args.get("all") and not any(each.is_star or asks_rows(each) or each.find(exp.Column) for each in items):
        raise refusal("GROUP BY ALL of constants", "write SELECT DISTINCT")


def with_group_sets(select: exp.Select) -> None:
    """`GROUP BY a, b WITH ROLLUP` as `GROUP BY ROLLUP (a, b)`, and no group of no rows, which only DuckDB makes."""
    group = select.args.get("group")
    if group is None:
        return
    for key in ("rollup", "cube", "grouping_sets"):
        made = (group.args.get(key) or [None])[0]
        if made is None:
            continue
        if not made.expressions:
            made.set("expressions", [each.copy() for each in group.expressions])
        group.set(key, None)
        group.set("expressions", [made])  # the words before GROUPING SETS are the order of their columns
    if any(True for _ in group.find_all(*_SETS)):
        _name_columns_of_groups(select, group)
        some = exp.GT(this=exp.Anonymous(this="count", expressions=[exp.Star()]), expression=exp.Literal.number(0))
        having = select.args.get("having")
        both = some if having is None else exp.And(this=exp.Paren(this=having.this), expression=some)
        select.set("having", exp.Having(this=both))


def _name_columns_of_groups(select: exp.Select, group: exp.Group) -> None:
    """`grouping_id()` with the columns of the groups, in their order."""
    columns = list(dict.fromkeys(column for sets in group.expressions for column in _columns_of(sets)))
    if len({column.transform(_in_order) for column in columns}) < len(columns):
        raise refusal("ROLLUP, CUBE or GROUPING SETS over a + b and b + a", "write both in one order")
    for call in list(select.find_all(exp.Anonymous)):
        if name_of(call) != "grouping_id" or call.find_ancestor(exp.Select) is not select:
            continue
        if call.expressions and call.expressions != columns:
            raise refusal(f"{call.sql('databricks')} of other columns than GROUP BY has", "write grouping_id()")
        call.set("expressions", [each.copy() for each in columns])


def _in_order(node: exp.Expr) -> exp.Expr:
    """`b + a` as `a + b`, which are one column of groups in Spark."""
    if isinstance(node, (exp.Add, exp.Mul)) and node.this.sql() > node.expression.sql():
        return type(node)(this=node.expression, expression=node.this)
    return node


def _columns_of(sets: exp.Expr) -> list[exp.Expr]:
    if isinstance(sets, (*_SETS, exp.Tuple)):
        return [column for each in sets.expressions for column in _columns_of(each)]
    return [sets.unnest()]


def _item(items: list[exp.Expr], number: int) -> exp.Expr:
    """The value of SELECT that a number in ROLLUP, CUBE or GROUPING SETS names."""
    item = items[number - 1].unalias() if 0 < number <= len(items) else exp.Star()
    if item.is_star or isinstance(item, exp.Literal) or asks_rows(item) or name_of(item).startswith("ai_"):
        raise refusal(f"the number {number} in ROLLUP, CUBE or GROUPING SETS", "write the expression in its place")
    return exp.paren(item.copy(), copy=False) if isinstance(item, exp.Binary) else item.copy()


def _is_item(number: exp.Expr, sets: exp.Expr) -> bool:
    """Whether a number stands alone in a list of groups, in parentheses or not."""
    above = number.parent
    while isinstance(above, (exp.Paren, exp.Tuple)):
        above = above.parent
    return above is sets
