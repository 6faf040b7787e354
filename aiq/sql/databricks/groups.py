"""What GROUP BY and HAVING of Spark read otherwise than DuckDB's, refused by name."""

from __future__ import annotations

from sqlglot import exp

from aiq.sql.databricks.words import asks_rows, refusal


def check_groups(select: exp.Select) -> None:
    """Raises StatementError where DuckDB would make other groups of the words of a SELECT, or keep others of them."""
    group = select.args.get("group")
    if not isinstance(group, exp.Group):
        return
    for sets in group.find_all(exp.Rollup, exp.Cube, exp.GroupingSets):
        if any(isinstance(each, exp.Literal) and each.is_int and _is_item(each, sets) for each in sets.walk()):
            raise refusal("a number of a column in ROLLUP, CUBE or GROUPING SETS", "write the expression in its place")
    items = select.expressions
    if group.args.get("all") and not any(each.is_star or asks_rows(each) or each.find(exp.Column) for each in items):
        raise refusal("GROUP BY ALL of constants", "write SELECT DISTINCT")
    having = select.args.get("having")
    if having is None:
        return
    keys = [each for each in items if not asks_rows(each)] if group.args.get("all") else group.expressions
    columns = {found.name.lower() for key in keys for found in key.find_all(exp.Column)}
    for item in items:
        name = item.alias.lower()
        value = item.unalias()
        if not name or name not in columns or (isinstance(value, exp.Column) and value.name.lower() == name):
            continue
        if any(found.name.lower() == name and not found.table for found in having.find_all(exp.Column)):
            raise refusal(
                f"HAVING reads {item.alias}, which is a column and another value of SELECT",
                "name that value otherwise",
            )


def _is_item(number: exp.Expr, sets: exp.Expr) -> bool:
    """Whether a number stands alone in a list of groups, in parentheses or not."""
    above = number.parent
    while isinstance(above, (exp.Paren, exp.Tuple)):
        above = above.parent
    return above is sets
