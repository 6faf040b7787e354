"""A UNION ALL in two: its rows, each with the number of its part and what that part's calls need, and over them what
is made of the answers.

Of `SELECT id, ai(x) AS a FROM t UNION ALL SELECT id, 'none' FROM u ORDER BY id LIMIT 5` the rows are the five that are
shown, and over them stands `SELECT c1 AS id, CASE WHEN c3 = 0 THEN ai(c4) ELSE c2 END AS a`.
"""

from __future__ import annotations

from aiq.engines.duckdb.rewrite.numbered import has_call
from aiq.engines.duckdb.rewrite.split import (
    Columns,
    Describe,
    Split,
    column_name,
    described,
    inner_query,
    renamed,
    split,
    without_outer,
)
from aiq.engines.duckdb.rewrite.tree import (
    Node,
    Query,
    aliased,
    case,
    column,
    copied,
    expression,
    integer_of,
    modifier,
    nodes,
    select,
    subquery_table,
)


def split_union(query: Query, columns: Columns, describe: Describe, volatile: frozenset[str]) -> Split | None:
    """The two queries of a UNION ALL; None where its calls decide on rows, or it is another query."""
    query = query.copy()
    node = query.node
    if node["type"] != "SET_OPERATION_NODE" or node["setop_type"] != "UNION" or not node["setop_all"]:
        return None
    children = node["children"]
    splits = [made for child in children if (made := _child(query, child, describe, volatile)) is not None]
    if len(splits) < len(children) or modifier(node, "DISTINCT") is not None:
        return None
    width = len(columns)
    asking = {at for one in splits for at in range(len(one.items)) if one.is_made(at)}
    if not asking or not _sorts_by_others(node, columns, asking):
        return None
    extra = [one.width - width for one in splits]
    for number, one in enumerate(splits):
        children[number] = _numbered(one, number, columns, extra)
    items = []
    for at, (name, _) in enumerate(columns):
        kept = column(column_name(at + 1))
        branches = [
            (expression(f"{column_name(width + 1)} = {number}"), _moved(one, at, width, sum(extra[:number]) + 1))
            for number, one in enumerate(splits)
            if one.items and one.is_made(at)
        ]
        items.append(aliased(case(branches, kept) if branches else kept, name))
    return Split(query, width + 1 + sum(extra), items)


def _child(query: Query, child: Node, describe: Describe, volatile: frozenset[str]) -> Split | None:
    """A part of the union taken apart; one that asks nothing has no items."""
    if child["type"] != "SELECT_NODE":
        return None
    alone = inner_query(query, child)
    columns = described(alone, describe)
    if columns is None:
        return None
    if not has_call(child["select_list"]):
        return Split(query.with_node(copied(child)), len(columns), [])
    made = split(alone, columns, describe, volatile)
    if made is not None:
        without_outer(made.rows.node, query.node)
    return made


def _numbered(one: Split, number: int, columns: Columns, extra: list[int]) -> Node:
    """The rows of a part: its columns, its number, and what its own calls and those of other parts need."""
    width = len(columns)
    source = subquery_table(one.rows.node, "__aiq_part", [column_name(at) for at in range(1, one.width + 1)])
    kept = [aliased(column(column_name(at)), name) for at, (name, _) in enumerate(columns, 1)]
    for at in range(len(one.items)):
        if one.is_made(at):
            kept[at] = aliased(expression("NULL"), columns[at][0])
    hidden: list[Node] = []
    for part, count in enumerate(extra):
        own = part == number
        hidden += [column(column_name(width + at)) if own else expression("NULL") for at in range(1, count + 1)]
    names = [aliased(item, f"__aiq_r{at}") for at, item in enumerate(hidden, 1)]
    return select([*kept, aliased(expression(str(number)), "__aiq_part"), *names], source)


def _moved(one: Split, at: int, width: int, by: int) -> Node:
    """An item over the rows of a part, over those of the union: what the calls need stands further on there."""
    moved = {column_name(number): column_name(number + by) for number in range(width + 1, one.width + 1)}
    return renamed(one.items[at], lambda name: [moved.get(name, name)])


def _sorts_by_others(node: Node, columns: Columns, asking: set[int]) -> bool:
    """Whether the order of a union is by columns that no call makes."""
    order = modifier(node, "ORDER")
    for key in order["orders"] if order is not None else []:
        number = integer_of(key["expression"])
        if number is not None and number - 1 in asking:
            return False
        names = {columns[at][0].lower() for at in asking}
        used = [part for part in nodes(key["expression"]) if part["type"] == "COLUMN_REF"]
        if key["expression"]["type"] == "STAR" or any(part["column_names"][-1].lower() in names for part in used):
            return False
    return True
