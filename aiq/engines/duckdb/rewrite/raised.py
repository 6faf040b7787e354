"""Calls that move to where rows are picked: out of a derived table, or of a CTE that is read once.

`SELECT id, a FROM (SELECT id, price, ai(x) AS a FROM t) q ORDER BY price LIMIT 5` ->
`SELECT id, ai(q.c4) AS a FROM (SELECT id, price, NULL, x FROM t) q(id, price, c3, c4) ORDER BY price LIMIT 5`.
The column of an answer is gone from the table: a name that was missed is an error, which DuckDB finds, and then the
query stays as it was. A subquery that picks rows itself is taken in two in its place.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from aiq.engines.duckdb.rewrite.leaves import Leaf, leaves, of_outer
from aiq.engines.duckdb.rewrite.numbered import has_call, numbers_in
from aiq.engines.duckdb.rewrite.split import (
    Describe,
    Split,
    column_name,
    described,
    inner_query,
    renamed,
    split,
    starred,
    without_outer,
)
from aiq.engines.duckdb.rewrite.tree import (
    Node,
    NodePlace,
    Query,
    aliased,
    bare_name,
    bare_names,
    case,
    column,
    copied,
    expression,
    joins_of,
    modifier,
    name_of_item,
    nodes,
    operator,
    places,
    same,
    selected,
    subquery_table,
    unaliased,
)


def raised(query: Query, describe: Describe, volatile: frozenset[str]) -> Query:
    """The query with calls moved out of its derived tables and CTEs, as far as that can be."""
    query = query.copy()
    if query.node["type"] == "SELECT_NODE":
        _raise(query, query.node, describe, volatile)
    return query


def picked_inside(query: Query, describe: Describe, volatile: frozenset[str]) -> Query:
    """The query with the calls of subqueries that pick rows evaluated for the rows that they pick."""
    query = query.copy()
    for place in reversed(list(places({"query": query.node}, into_queries=True))):  # the inner ones first
        node = place.node
        if not place.above or not picks_rows(node) or not node["modifiers"] or not has_call(node["select_list"]):
            continue
        around = [above.node for above in place.above if "cte_map" in above.node]
        alone = query.with_node(node)
        for outer in reversed(around):
            alone = inner_query(query.with_node(outer), alone.node)
        columns = described(alone, describe)
        made = None if columns is None else split(alone, columns, describe, volatile)
        if made is not None:
            for outer in around:
                without_outer(made.rows.node, outer)
            place.replace(made.as_one())
    return query


def picks_rows(node: Node) -> bool:
    """Whether a SELECT drops rows of its tables by what DuckDB may look at only after it has computed their columns."""
    if node["type"] != "SELECT_NODE":
        return False
    where = node["where_clause"]
    late = where is not None and any(part["type"] == "SUBQUERY" for part in nodes(where))
    asks = has_call(where) or (where is not None and len(set(numbers_in(node["from_table"]))) > 1)
    late |= asks and not _joins_inside(node["from_table"])
    return late or modifier(node, "LIMIT") is not None or modifier(node, "DISTINCT") is not None


def _joins_inside(source: Node) -> bool:
    """Whether a derived table with calls joins tables itself.

    Above of it, DuckDB would evaluate a condition on its answers on one side of that join, before the other has dropped
    its rows.
    """
    return any(
        part["type"] == "SUBQUERY"
        and "class" not in part
        and has_call(part)
        and any(inner["type"] == "JOIN" for inner in nodes(part["subquery"]))
        for part in nodes(source)
    )


def _raise(query: Query, select: Node, describe: Describe, volatile: frozenset[str]) -> None:
    _put_in_place(select)
    for number, leaf in enumerate(leaves(select), 1):
        source = leaf.place.node
        if source["type"] == "SUBQUERY" and source["sample"] is None:
            given = source["alias"]
            source["alias"] = given or f"__aiq_d{number}"
            if not _raise_out_of(query, select, leaf, describe, volatile):
                source["alias"] = given
    _drop_unread(select)


def _raise_out_of(query: Query, select: Node, leaf: Leaf, describe: Describe, volatile: frozenset[str]) -> bool:
    """Moves the calls of a derived table to where its columns are read; False where that cannot be."""
    source = leaf.place.node
    inner = source["subquery"]["node"]
    alone = inner_query(query.with_node(select), inner)
    if inner["type"] != "SELECT_NODE" or not has_call(alone.node):
        return False
    if (siblings := of_outer(inner, volatile)) is not None:
        return _read_siblings(query, select, leaf, siblings, describe)
    _raise(alone, alone.node, describe, volatile)
    columns = described(alone, describe) if has_call(alone.node["select_list"]) else None
    made = None if columns is None else split(alone, columns, describe, volatile)
    if made is None or columns is None:
        return False
    without_outer(made.rows.node, select)
    names = [name for name, _ in columns]
    for at, name in enumerate(source.get("column_name_alias") or []):
        names[at] = name
    lowered = [name.lower() for name in names]
    distinct = len(set(lowered)) == len(lowered)
    return distinct and _read_rows(query, select, leaf, made, lowered, names, describe)


def _put_in_place(select: Node) -> None:
    """CTEs that have calls and are read once become derived tables where they are read."""
    for entry in reversed(_asking(select)):
        name, cte = entry["key"], entry["value"]
        query = cte["query_node"]
        if query["type"] != "SELECT_NODE" or cte["key_targets"] or modifier(query, "DISTINCT") is not None:
            continue  # calls that must stay there are better off in a CTE, which no outer condition is pushed into
        if any(_reads(node, other["key"]) for node in nodes(query) for other in _behind(select, entry)):
            continue  # where it is read, that name would be the later CTE's
        readers = [place for place in places({"select": select}, into_queries=True) if _reads(place.node, name)]
        direct = [leaf.place for leaf in leaves(select) if _reads(leaf.place.node, name)]
        if len(readers) != 1 or len(direct) != 1 or direct[0].node["sample"] is not None:
            continue
        reader = direct[0].node
        columns = reader["column_name_alias"] or cte["aliases"]
        direct[0].replace(subquery_table(copied(query), reader["alias"] or name, columns))
        select["cte_map"]["map"].remove(entry)


def _drop_unread(select: Node) -> None:
    """Leaves out CTEs with calls that nothing reads any more, which would be stages of the query."""
    for entry in reversed(_asking(select)):  # those that read others first
        if not any(_reads(node, entry["key"]) for node in nodes(select)):
            select["cte_map"]["map"].remove(entry)


def _asking(select: Node) -> list[Node]:
    """The CTEs that have calls, or read one that has."""
    found: list[Node] = []
    for entry in select["cte_map"]["map"]:
        if has_call(entry) or any(_reads(node, other["key"]) for node in nodes(entry) for other in found):
            found.append(entry)
    return found


def _behind(select: Node, entry: Node) -> list[Node]:
    entries: list[Node] = select["cte_map"]["map"]
    return entries[next(at for at, other in enumerate(entries) if other is entry) + 1 :]


def _reads(node: Node, name: str) -> bool:
    alone = node["type"] == "BASE_TABLE" and not node["schema_name"] and not node["catalog_name"]
    return alone and node["table_name"].lower() == name.lower()


def _read_rows(
    query: Query, select: Node, leaf: Leaf, made: Split, lowered: list[str], names: list[str], describe: Describe
) -> bool:
    """Puts what is made of a derived table's columns wherever they are read."""
    source = leaf.place.node
    alias = source["alias"]
    over = {
        name: renamed(made.items[at], lambda column: [alias, column])
        for at, name in enumerate(lowered)
        if made.is_made(at)
    }
    width = made.width
    if leaf.padded:  # a call of NULL may have an answer, where a missing row has none
        there = column(alias, column_name(width + 1))
        over = {name: case([(operator("OPERATOR_IS_NOT_NULL", there), item)]) for name, item in over.items()}
    joined = bool(joins_of(made.rows.node["from_table"]))
    if not _read_above(query, select, leaf, over, names, describe, joined=joined):
        return False
    if leaf.padded:
        width += 1
        made.rows.node["select_list"] = [*made.rows.node["select_list"], expression("TRUE")]
    source["subquery"]["node"] = made.rows.node
    source["column_name_alias"] = [
        names[at] if at < len(names) and lowered[at] not in over else column_name(at + 1) for at in range(width)
    ]
    return True


def _read_siblings(query: Query, select: Node, leaf: Leaf, columns: dict[str, Node], describe: Describe) -> bool:
    """Puts the expressions of a query without a FROM wherever they are read: `l.a` -> `ai(t.x)`."""
    source = leaf.place.node
    inner = source["subquery"]["node"]
    if leaf.padded or source.get("column_name_alias"):
        return False
    over = {name: item for name, item in columns.items() if has_call(item)}
    names = [item["alias"] or item["column_names"][-1] for item in inner["select_list"]]
    aliases = {item["alias"].lower() for item in select["select_list"]}
    if aliases & bare_names([*over.values()]):
        return False  # in ORDER BY it would be the item's name
    if not _read_above(query, select, leaf, over, names, describe, joined=False):
        return False
    inner["select_list"] = [
        aliased(expression("NULL"), column_name(at)) if name.lower() in over else item
        for at, (name, item) in enumerate(zip(names, inner["select_list"], strict=True), 1)
    ]
    return True


def _read_above(
    query: Query,
    select: Node,
    leaf: Leaf,
    over: dict[str, Node],
    names: list[str],
    describe: Describe,
    *,
    joined: bool,
) -> bool:
    """Puts other expressions in the places of columns of a table, called `names`; False where that cannot be.

    `joined` is whether the table's own query joins.
    """
    place = leaf.place
    source = place.node
    alias = source["alias"]
    lowered = [name.lower() for name in names]
    items = _listed(select, place, alias, names)
    if items is None or any(_shares(query, select, other, over.keys(), describe) for other in leaf.natural):
        return False
    row = _row_of(select, place, alias, lowered, names)
    if row is None:
        return False
    joins = joins_of(select["from_table"])
    used = {name.lower() for join in joins for name in join["using_columns"]}
    if used & over.keys() or _hides(select, source, items, over.keys()):
        return False
    called = list(map(name_of_item, items))
    if bare_names(_sibling_items(select)) & {name for name in called if called.count(name) > 1}:
        return False  # which item such a name means depends on whether it is an alias
    if _sought(select, over.keys()) and (joins or joined):
        return False
    if any(
        part["type"] == "COLUMN_REF" and part["column_names"][-1].lower() in over for part in nodes(leaf.conditions)
    ):
        return False
    for node in row.values():
        _replace(node, alias, over, frozenset())
    over = {**over, **row}
    before = {**select, "select_list": items}
    listed = frozenset(map(name_of_item, items))
    holder = {"items": [aliased(item, item["alias"] or _last_name(item)) for item in copied(items)]}
    clauses = {name: copied(before[name]) for name in ("where_clause", "group_expressions", "having", "qualify")}
    sorts = {"modifiers": copied(before["modifiers"])}
    for part in (holder, clauses):
        _replace(part, alias, over, frozenset())
    _replace(sorts, alias, over, listed)
    for join in joins if place.holder is not select else ():
        if join["condition"] is not None:
            condition = {"condition": join["condition"]}
            _replace(condition, alias, over, frozenset())
            join["condition"] = condition["condition"]
    select["select_list"] = holder["items"]
    select.update(clauses, modifiers=sorts["modifiers"])
    return True


def _shares(query: Query, select: Node, other: Node, columns: Collection[str], describe: Describe) -> bool:
    """Whether a table, or what is joined, has a column called as one of `columns`, or may have."""
    found = described(query.with_node(selected({**select, "from_table": other}, [expression("*")])), describe)
    return found is None or any(name.lower() in columns for name, _ in found)


def _row_of(select: Node, place: NodePlace, alias: str, lowered: list[str], names: list[str]) -> dict[str, Node] | None:
    """What stands for a derived table's row where it is read as one value: `to_json(q)`, `q::VARCHAR`; {} for nowhere.

    None where it is read so that nothing can stand for it, or all columns are read outside of the SELECT list.
    """
    source, own = place.node, alias.lower()
    if any(node["type"] == "STAR" for node in nodes(_sibling_items(select), into_queries=False)):
        return None
    found = [
        each
        for each in places({"select": select}, into_queries=True)
        if bare_name(each.node) == own and not any(above.node is source for above in each.above)
    ]
    if not found or own in lowered:
        return {}
    below = any(above.node["type"] in ("SUBQUERY", "LAMBDA") for each in found for above in each.above)
    if below or place.holder is not select:
        return None
    row = expression("struct_pack(a := 1)")
    field = row["arguments"][0]
    row["arguments"] = [{**field, "name": name, "expression": column(alias, name)} for name in names]
    return {own: row}


def _sibling_items(select: Node) -> list[Any]:
    """What may read columns beside the SELECT list."""
    clauses = ("where_clause", "group_expressions", "having", "qualify", "modifiers")
    return [*(select[name] for name in clauses), *(join["condition"] for join in joins_of(select["from_table"]))]


def _sought(select: Node, columns: Collection[str]) -> bool:
    """Whether a condition looks an answer up in a subquery: `a IN (SELECT ..)`.

    Such a condition on a call itself is a join, which DuckDB may put below another one, before that has dropped rows.
    """
    where = [select[name] for name in ("where_clause", "having", "qualify")]
    return any(
        part["type"] == "COLUMN_REF" and part["column_names"][-1].lower() in columns
        for node in nodes(where)
        if node.get("class") == "SUBQUERY" and node["child"] is not None
        for part in nodes(node["child"])
    )


def _hides(select: Node, source: Node, items: list[Node], columns: Collection[str]) -> bool:
    """Whether a column's name, which is another item's, too, is read where it would come to mean that item."""
    named = {
        item["alias"].lower() for item in items if item["alias"].lower() not in ("", name_of_item(unaliased(item)))
    }
    hidden = named & set(columns)
    names = list(map(name_of_item, items))
    return any(names.count(name) > 1 for name in hidden) or any(
        place.node["type"] == "COLUMN_REF"
        and place.node["column_names"][0].lower() in hidden
        and any(above.node["type"] in ("SUBQUERY", "LAMBDA") for above in place.above)
        and not any(above.node is source for above in place.above)
        for place in places({"select": select}, into_queries=True)
    )


def _last_name(item: Node) -> str:
    return str(item["column_names"][-1]) if item["type"] == "COLUMN_REF" else ""


def _listed(select: Node, place: NodePlace, alias: str, names: list[str]) -> list[Node] | None:
    """The SELECT list with the columns of a derived table named one by one; None where that is not certain."""
    alone = place.holder is select
    found: list[Node] = []
    for item in select["select_list"]:
        stars = [node for node in nodes(item, into_queries=False) if node["type"] == "STAR"]
        if not stars:
            found.append(item)
            continue
        star = stars[0]
        of_this = star["relation_name"].lower() == alias.lower() or (not star["relation_name"] and alone)
        plain = same(star, {**expression("*"), "relation_name": star["relation_name"]}) and star is item
        if star is item and of_this and not star["columns"] and star["expr"] is None:
            found += starred(star, alias, names)
        elif plain and star["relation_name"]:
            found.append(item)
        elif plain and (tables := _names_of_tables(select["from_table"])) is not None:
            for table in tables:
                if table.lower() == alias.lower():
                    found += [aliased(column(alias, name), name) for name in names]
                else:
                    found.append({**expression("*"), "relation_name": table})
        else:
            return None
    return found


def _names_of_tables(source: Node) -> list[str] | None:
    """The names of the tables of a FROM, in the order of their columns; None where `*` may be another list."""
    if source["type"] != "JOIN":
        name = source.get("alias") or source.get("table_name")
        return [name] if name else None
    if source["ref_type"] not in ("REGULAR", "CROSS") or source["using_columns"]:
        return None
    left = _names_of_tables(source["left"])
    right = _names_of_tables(source["right"]) if source["join_type"] not in ("SEMI", "ANTI") else []
    return None if left is None or right is None else [*left, *right]


def _replace(holder: Node, alias: str, over: dict[str, Node], but: frozenset[str]) -> None:
    """Puts what stands for them in the places of columns; a bare name of `but` is, if alone, that of a SELECT item."""
    for place in list(places(holder)):
        node = place.node
        if node["type"] != "COLUMN_REF" or any(above.node["type"] == "LAMBDA" for above in place.above):
            continue
        names = [name.lower() for name in node["column_names"]]
        if names[0] == alias.lower() and len(names) > 1 and names[1] in over:
            rest, bare = node["column_names"][2:], names[1]
        elif names[0] in over and not (len(names) == 1 and names[0] in but and not place.above):
            rest, bare = node["column_names"][1:], names[0]
        else:
            continue
        made = copied(over[bare])
        for field in rest:
            literal = "'" + field.replace("'", "''") + "'"
            made = expression(f"struct_extract(s, {literal})", s=made)
        place.replace({**made, "alias": node["alias"]})
