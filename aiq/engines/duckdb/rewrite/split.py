"""A query in two: its rows, computed once, and over them what is made of the answers that do not decide on rows.

`SELECT id, ai(x) AS a FROM t ORDER BY price LIMIT 5` -> `SELECT id, NULL, x AS r1 FROM t ORDER BY price LIMIT 5`, and
over those five rows, whose columns are called c1 to c3, `SELECT c1 AS id, ai(c3) AS a`. So a call is evaluated for the
rows that the result shows, and a request that is made of an aggregate or a window is made once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from aiq.engines.duckdb.rewrite.function_kinds import is_aggregate, is_scalar
from aiq.engines.duckdb.rewrite.numbered import has_call, is_call, numbers_in, requests_of, with_requests
from aiq.engines.duckdb.rewrite.tree import (
    Node,
    Query,
    aliased,
    bare_name,
    bare_names,
    column,
    copied,
    expression,
    integer_of,
    modifier,
    name_of,
    name_of_item,
    nodes,
    places,
    same,
    select,
    selected,
    subquery_table,
    table,
    unaliased,
    with_children,
)

Columns = Sequence[tuple[str, str]]
"""Names and types of a query's columns, as DuckDB says them."""
Describe = Callable[[str], Columns | None]
"""The columns of a query; None where DuckDB does not take it."""

_CONDITIONAL = ("CASE_EXPR", "OPERATOR_COALESCE", "CONJUNCTION_AND", "CONJUNCTION_OR", "OPERATOR_TRY")
_OF_THE_ROWS = ("unnest", "grouping", "grouping_id")
"""Functions that mean something only where rows are made."""


class Split(NamedTuple):
    """`rows` is the query to evaluate once, its `width` columns called c1 and so on; `items` is selected from it."""

    rows: Query
    width: int
    items: list[Node]

    def once(self) -> str | None:
        """The first query."""
        return self.rows.with_node(select([expression("*")], self._named())).text()

    def over(self, name: str) -> str | None:
        """The second query, over a temporary table of that name."""
        return self.rows.with_node(select(self.items, table("temp", name))).text()

    def together(self) -> str | None:
        """Both as one query."""
        return self.rows.with_node(self.as_one()).text()

    def as_one(self) -> Node:
        """Both as one query node."""
        return select(self.items, self._named())

    def is_made(self, at: int) -> bool:
        """Whether the column at a place, from 0, is made over the rows, and so is no column of theirs."""
        item = self.items[at]
        return item["type"] != "COLUMN_REF" or bool(item["column_names"] != [column_name(at + 1)])

    def _named(self) -> Node:
        return subquery_table(self.rows.node, "__aiq_rows", [column_name(at) for at in range(1, self.width + 1)])


def column_name(number: int) -> str:
    """The name of a column of the rows, numbered from 1."""
    return f"__aiq_c{number}"


def renamed(item: Node, names: Callable[[str], Sequence[str]]) -> Node:
    """An item over the rows, without its own name, with other names for their columns."""
    holder = {"item": unaliased(copied(item))}
    for place in list(places(holder)):
        if place.node["type"] == "COLUMN_REF":
            place.replace(column(*names(place.node["column_names"][0])))
    return holder["item"]


def described(query: Query, describe: Describe) -> Columns | None:
    """The columns of a query; None where DuckDB does not take it."""
    text = query.text()
    return None if text is None else describe(text)


class _NotApart(Exception):
    """A part of a SELECT list that means another thing above the rows than below."""


def split(query: Query, columns: Columns, describe: Describe, volatile: frozenset[str]) -> Split | None:
    """The two queries; None where the calls of the SELECT list decide on rows, or are in no such list.

    `columns` are those of `query`. `volatile` are functions that give another value at each evaluation.
    """
    query = query.copy()
    node = query.node
    if node["type"] != "SELECT_NODE":
        return None
    items = node["select_list"]
    widths = _widths(query, columns, describe)
    if widths is None or not any(map(has_call, items)):
        return None
    items = node["select_list"] = _without_asking_stars(items, widths, columns)
    starts = [sum(widths[:i]) + 1 for i in range(len(items))]
    try:
        items = node["select_list"] = _with_own_names(query, items, describe)
        apart = _Apart(_groups(query, starts, describe), len(columns), volatile)
        above = [apart.item(item) if has_call(item) else None for item in items]
    except _NotApart:
        return None
    _sort_by_calls(node, starts)
    asking = [i for i, item in enumerate(above) if item is not None]
    if not asking or not _decides_nothing(
        query, [items[i] for i in asking], [starts[i] for i in asking], apart, describe
    ):
        return None
    made: list[Node] = []
    for i, item in enumerate(above):
        names = [name for name, _ in columns[starts[i] - 1 : starts[i] - 1 + widths[i]]]
        if item is None:
            made += [aliased(column(column_name(starts[i] + j)), name) for j, name in enumerate(names)]
        else:
            made.append(aliased(item, names[0]))
            items[i] = expression("NULL")
    node["select_list"] = [*items, *apart.below]
    return Split(query, len(columns) + len(apart.below), made)


def inner_query(query: Query, inner: Node) -> Query:
    """A query inside of another as one of its own, with the CTEs of the outer one."""
    made = query.with_node(copied(inner))
    made.node["cte_map"]["map"] = [*copied(query.node["cte_map"]["map"]), *made.node["cte_map"]["map"]]
    return made


def without_outer(inner: Node, outer: Node) -> None:
    """Takes the CTEs of the outer query out of an inner one again."""
    known = outer["cte_map"]["map"]
    own = [entry for entry in inner["cte_map"]["map"] if not any(same(entry, other) for other in known)]
    inner["cte_map"]["map"] = own


def _widths(query: Query, columns: Columns, describe: Describe) -> list[int] | None:
    """How many columns each SELECT item makes."""
    items = query.node["select_list"]
    wide = [i for i, item in enumerate(items) if may_be_wide(item)]
    widths = [1] * len(items)
    for i in wide[1:] if len(wide) > 1 else []:
        alone = query.copy()
        alone.node["select_list"] = [copied(items[i])]
        alone.node["modifiers"] = []
        found = described(alone, describe)
        if found is None:
            return None
        widths[i] = len(found)
    if wide:
        widths[wide[0]] = len(columns) - sum(widths) + 1
    return widths if sum(widths) == len(columns) and min(widths) >= 0 else None


def _without_asking_stars(items: list[Node], widths: list[int], columns: Columns) -> list[Node]:
    """SELECT items without a `*` that has a call in its REPLACE: its columns one by one, and so in `widths`."""
    found: list[Node] = []
    at = 0
    for item, width in zip(items, list(widths), strict=True):
        names = [name for name, _ in columns[at : at + width]]
        at += width
        plain = item["type"] == "STAR" and item["expr"] is None and not (item["columns"] or item["rename_list"])
        put = {entry["key"].lower() for entry in item.get("replace_list", [])}
        sure = plain and has_call(item) and put <= {name.lower() for name in names} and len(set(names)) == width
        each = starred(item, item["relation_name"], names) if sure else []
        if sure and len(each) == width:
            widths[len(found) : len(found) + 1] = [1] * width
            found += each
        else:
            found.append(item)
    return found


def starred(star: Node, table: str, names: Sequence[str]) -> list[Node]:
    """The columns of a `*`, one by one, as its EXCLUDE, REPLACE and RENAME say; `table` is "" where none is named."""
    left_out = [*star["exclude_list"], *(name["column"] for name in star["qualified_exclude_list"])]
    without = {name.lower() for name in left_out}
    put = {entry["key"].lower(): entry["value"] for entry in star["replace_list"]}
    called = {entry["key"]["column"].lower(): entry["value"] for entry in star["rename_list"]}
    of = [table] if table else []
    return [
        aliased(put.get(name.lower(), column(*of, name)), called.get(name.lower(), name))
        for name in names
        if name.lower() not in without
    ]


def may_be_wide(item: Node) -> bool:
    """Whether a SELECT item may make several columns, or none."""
    stars = any(node["type"] == "STAR" for node in nodes(item, into_queries=False))
    return stars or (name_of(item) == "unnest" and len(item["arguments"]) > 1) or item["type"] == "STRUCT_EXTRACT_ALL"


def _columns_of_tables(query: Query, describe: Describe) -> set[str]:
    """The names, in lower case, of the columns that FROM gives. Raises _NotApart where they are not known."""
    if query.node["from_table"]["type"] == "EMPTY":
        return set()
    found = described(query.with_node(selected(query.node, [expression("*")])), describe)
    if found is None:
        raise _NotApart
    return {name.lower() for name, _ in found}


def _with_own_names(query: Query, items: list[Node], describe: Describe) -> list[Node]:
    """SELECT items of which none names another with a call: `ai(x) AS r, upper(r)` -> `ai(x) AS r, upper(ai(x))`."""
    found = [item for item in items if item["alias"] and has_call(item)]
    calls = {item["alias"].lower(): item for item in found}
    used = {name for item in items for name in bare_names(item)} & calls.keys()
    if used:
        used -= _columns_of_tables(query, describe)
    if not used:
        return items
    holder = {"items": items}
    for _ in range(len(items)):  # a name may stand for an item that has a name in it
        more = False
        for place in places(holder):
            name = bare_name(place.node)
            if name in used and place.above:
                place.replace({**copied(calls[name]), "alias": place.node["alias"]})
                more = True
            elif name in used:
                place.replace({**copied(calls[name]), "alias": place.node["alias"] or place.node["column_names"][0]})
                more = True
        if not more:
            break
    return holder["items"]


def _groups(query: Query, starts: list[int], describe: Describe) -> list[Node]:
    """What GROUP BY groups by: the items that it names or numbers in the place of their names and numbers."""
    groups, items = query.node["group_expressions"], query.node["select_list"]
    named = {item["alias"].lower(): item for item in items if item["alias"]}
    if any(bare_name(group) in named for group in groups):
        own = _columns_of_tables(query, describe)
        named = {name: item for name, item in named.items() if name not in own}
    numbered = dict(zip(starts, items, strict=True))
    meant = [named.get(bare_name(group) or "") or numbered.get(integer_of(group) or 0) for group in groups]
    return [
        group if item is None or has_call(item) or may_be_wide(item) else item
        for group, item in zip(groups, meant, strict=True)
    ]


def _sort_by_calls(select: Node, starts: list[int]) -> None:
    """Puts calls where ORDER BY names or numbers their items, if others ask, too: `ORDER BY a` -> `ORDER BY ai(x)`."""
    order, items = modifier(select, "ORDER"), select["select_list"]
    named = {item["alias"].lower() for item in items if item["alias"] and item["alias"].lower() != _own_name(item)}
    for key in order["orders"] if order is not None else []:
        holder, at = key, "expression"
        if key["expression"]["type"] == "COLLATE":
            holder, at = key["expression"], "child"
        name, number = bare_name(holder[at]), integer_of(key["expression"])
        meant = [
            item
            for item, start in zip(items, starts, strict=True)
            if has_call(item) and (start == number or (name is not None and item["alias"].lower() == name))
        ]
        if len(meant) == 1 and (put := _with_table(meant[0], named & bare_names(meant[0]), select)) is not None:
            holder[at] = unaliased(put)


def _with_table(item: Node, names: set[str], select: Node) -> Node | None:
    """A copy of an item whose columns of these names have their table's name before them; None for several tables."""
    source = select["from_table"]
    table = source.get("alias") or source.get("table_name")
    if names and (source["type"] not in ("BASE_TABLE", "SUBQUERY") or not table):
        return None
    holder = {"item": copied(item)}
    for place in places(holder) if names else ():
        if bare_name(place.node) in names:
            if any(above.node["type"] == "LAMBDA" for above in place.above):
                return None
            place.replace({**column(table, *place.node["column_names"]), "alias": place.node["alias"]})
    return holder["item"]


def _own_name(item: Node) -> str:
    return name_of_item(unaliased(item))


def _decides_nothing(query: Query, asking: list[Node], positions: list[int], apart: _Apart, describe: Describe) -> bool:
    """Whether no item with a call decides on which rows there are, and in what order."""
    node = query.node
    distinct, order = modifier(node, "DISTINCT"), modifier(node, "ORDER")
    if distinct is not None and not distinct["distinct_on_targets"]:
        return False
    keys = [key["expression"] for key in order["orders"]] if order is not None else []
    keys += distinct["distinct_on_targets"] if distinct is not None else []
    groups = node["group_expressions"]
    if any(map(has_call, groups)) or any(key["type"] == "STAR" for key in keys):
        return False
    if set(numbers_in(asking)) <= set(numbers_in(keys)):  # what is asked is what decides
        return False
    named = {item["alias"].lower() for item in asking if item["alias"]}
    if any(integer_of(key) in positions for key in [*keys, *groups]):
        return False
    if any(named & bare_names(key) for key in keys):
        return False
    others = [groups, node["where_clause"], node["having"], node["qualify"]]
    try:
        if named & bare_names(others) and named & bare_names(others) - _columns_of_tables(query, describe):
            return False
    except _NotApart:
        return False
    if node["aggregate_handling"] != "STANDARD_HANDLING":  # GROUP BY ALL: by what it lists
        listed = [unaliased(item) for item in node["select_list"]]
        return all(is_aggregate(part) or any(same(unaliased(part), item) for item in listed) for part in apart.below)
    return True


class _Apart:
    """Takes SELECT items apart; `below` are the columns that the rows need beside their own, which are `width`."""

    def __init__(self, groups: list[Node], width: int, volatile: frozenset[str]) -> None:
        self.below: list[Node] = []
        self._groups, self._width, self._volatile = groups, width, volatile

    def item(self, item: Node) -> Node:
        """A SELECT item over the rows. Raises _NotApart."""
        return self._above(unaliased(item), sure=True)

    def _above(self, node: Node, *, sure: bool) -> Node:
        """`sure` is whether the expression is evaluated for every row."""
        if is_call(node):
            return with_requests(node, [self._above(request, sure=sure) for request in requests_of(node)])
        kind = node["type"]
        if kind in ("VALUE_CONSTANT", "VALUE_PARAMETER"):
            return node
        if any(same(unaliased(node), unaliased(group)) for group in self._groups):
            return self._column(node)
        if kind in ("COLUMN_REF", "POSITIONAL_REFERENCE") or node.get("class") in ("WINDOW", "SUBQUERY"):
            return self._column(node)
        if is_aggregate(node) or name_of(node) in _OF_THE_ROWS:
            return self._column(node)
        if kind == "STAR" or kind == "LAMBDA":
            raise _NotApart
        lambdas = any(child["type"] == "LAMBDA" for child in nodes(node, into_queries=False))
        own = node.get("class") != "FUNCTION" or is_scalar(node)
        if lambdas or not own or name_of(node) in self._volatile:
            if has_call(node) or not sure:
                raise _NotApart
            return self._column(node)
        always = sure and kind not in _CONDITIONAL and name_of(node) != "if"
        return with_children(node, lambda child: self._above(child, sure=always))

    def _column(self, node: Node) -> Node:
        node = unaliased(node)
        for number, known in enumerate(self.below, 1):
            if same(unaliased(known), node):
                return column(column_name(self._width + number))
        self.below.append(aliased(node, f"__aiq_r{len(self.below) + 1}"))
        return column(column_name(self._width + len(self.below)))
