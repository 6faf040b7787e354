"""A query whose calls are evaluated once for each distinct request: DuckDB takes the requests apart and joins the
answers back, natively and on all cores, where a function would see every row.

Such a query may evaluate a call for rows that the original would not, so it is only for looking answers up.
"""

from __future__ import annotations

from aiq.engines.duckdb.rewrite import tree
from aiq.engines.duckdb.rewrite.function_kinds import is_aggregate
from aiq.engines.duckdb.rewrite.numbered import has_call, is_call, may_aggregate, requests_of, with_requests
from aiq.engines.duckdb.rewrite.tree import (
    Node,
    NodePlace,
    aliased,
    ascending,
    column,
    expression,
    modifier,
    name_of,
    nodes,
    places,
    select,
    subquery_table,
    unaliased,
)

_ROW = "__aiq_row"
_ALIKE = "FLOAT|DOUBLE|INTERVAL|TIME WITH|VARIANT|MAP"
"""Types, by their names, of which two values may be equal and not look the same."""
_CONDITIONAL = ("CONJUNCTION_OR", "OPERATOR_COALESCE", "COMPARE_IN", "LAMBDA", "OPERATOR_TRY")
_OF_ANY_ORDER = frozenset(["count", "count_star", "count_if", "countif", "sum", "min", "max", "avg", "mean"])


def over_distinct(text: str) -> str | None:
    """A query with `(SELECT f(n, r) FROM (SELECT request AS r))` for each numbered call `f(n, request)`.

    None where DuckDB has no such plan for it, where a call stands behind a condition (answered requests would be taken
    for rows that do not need them), or where rows would come in another order: such a plan keeps none, so the query
    is sorted by the place of its rows.
    """
    query = tree.read(text)
    if query is None:
        return None
    root = {"query": query.node}
    found = [place for place in places(root, into_queries=True) if is_call(place.node)]
    if not found or not all(_always_evaluated(place) and _of_one_row(place.node) for place in found):
        return None
    ordered = [place for place in found if not _in_a_set(place)]
    numbered = None
    if (ordered or _depends_on_order(query.node)) and not _any_order_will_do(query.node):
        numbered = _place(query.node, ordered)
        if numbered is None:
            return None
    for place in reversed(found):
        place.replace({**_parts_of(place.node), "alias": place.node["alias"]})
    made: Node = root["query"]
    if numbered is not None:
        made["select_list"] = [aliased(numbered, _ROW), *made["select_list"]]
        outer = select([expression(f"* EXCLUDE ({_ROW})")], subquery_table(made, "__aiq_numbered"))
        outer["modifiers"] = [ascending(column(_ROW))]
        made = outer
    return query.with_node(made).text()


def _parts_of(call: Node) -> Node:
    requests = requests_of(call)
    names = [f"r{number}" for number in range(len(requests))]
    items = [aliased(unaliased(request), name) for request, name in zip(requests, names, strict=True)]
    made = expression("(SELECT 1 FROM (SELECT 1) AS __aiq_requests)")
    inner: Node = made["subquery"]["node"]
    inner["select_list"] = [unaliased(with_requests(call, [column(name) for name in names]))]
    inner["from_table"]["subquery"]["node"]["select_list"] = items
    inner["where_clause"] = _guard_of_types(requests)
    return made


def _guard_of_types(requests: list[Node]) -> Node | None:
    """A condition that is an error where DuckDB takes values for the same that do not look the same: 0.0 and -0.0.

    It takes the columns of requests apart, not what is made of them. Types are known while it plans: no row pays.
    """
    columns: list[Node] = []
    for node in nodes(requests, into_queries=False):
        if node["type"] == "COLUMN_REF" and not any(tree.same(node, known) for known in columns):
            columns.append(unaliased(node))
    if not columns:
        return None
    types = expression("typeof(c)", c=columns[0])
    for other in columns[1:]:
        types = expression("a || typeof(c)", a=types, c=other)
    condition = f"CASE WHEN regexp_matches(types, '{_ALIKE}') THEN CAST('{_ROW}' AS BOOLEAN) ELSE true END"
    return expression(condition, types=types)


def _always_evaluated(place: NodePlace) -> bool:
    """Whether a call is computed for every row of its SELECT, which is one of those that the result is made of."""
    chain = [*(above.node for above in place.above), place.node]
    for depth in range(len(chain) - 2, -1, -1):
        node, below = chain[depth], chain[depth + 1]
        around = chain[depth - 1] if depth else None
        kind = node["type"]
        if is_call(node) or kind in _CONDITIONAL or node.get("class") == "WINDOW" or not _comes_first(node, below):
            return False
        if node.get("filter") is below:
            return False
        if kind == "SUBQUERY" and "class" in node and (node["subquery_type"] != "ANY" or node["child"] is below):
            return False
        if kind == "CONJUNCTION_AND" and not _is_filter(node, around):
            return False
        if kind == "SELECT_NODE" and not _computes_always(node, below, place.node):
            return False
    return True


def _comes_first(condition: Node, part: Node) -> bool:
    """Whether a part of a CASE is what decides on its other parts; true of all that is no CASE."""
    if condition["type"] == "CASE_EXPR":
        return condition["case_checks"][0]["when_expr"] is part
    return name_of(condition) != "if" or condition["arguments"][0]["expression"] is part


def _is_filter(condition: Node, around: Node | None) -> bool:
    if around is None:
        return False
    if around["type"] == "JOIN":
        return True
    return around["type"] == "SELECT_NODE" and any(around[name] is condition for name in ("where_clause", "having"))


def _computes_always(query: Node, below: Node, call: Node) -> bool:
    if modifier(query, "DISTINCT") is not None:
        return False
    limited, sorted_ = modifier(query, "LIMIT") is not None, modifier(query, "ORDER") is not None
    if limited and not (sorted_ and _before_groups(call, below, query)):
        return False
    in_list = any(item is below for item in query["select_list"])
    return not in_list or bool(below["alias"])  # its name would be that of the subquery


def _before_groups(call: Node, part: Node, query: Node) -> bool:
    """Whether a call is computed before the rows of a SELECT are grouped, so that its LIMIT spares no row."""
    groups = query["group_expressions"]
    if not groups and not _aggregates_rows(query):
        return False
    if not any(item is part for item in query["select_list"]):
        return all(part is not node for key in query["modifiers"] for node in nodes(key))
    if any(is_aggregate(node) and any(inner is call for inner in nodes(node)) for node in nodes(part)):
        return True
    if query["where_clause"] is not None and any(node["type"] == "SUBQUERY" for node in nodes(query["where_clause"])):
        return False  # DuckDB would join the answers before it filters by the subquery
    keys = {key["column_names"][-1].lower() for key in groups if key["type"] == "COLUMN_REF"}
    read = {node["column_names"][-1].lower() for node in nodes(part) if node["type"] == "COLUMN_REF"}
    return part["alias"].lower() in keys - read  # a column of that name would come before it


def _of_one_row(call: Node) -> bool:
    """Whether the requests of a call are made of one row each, as in a subquery of their own they would be."""
    requests = requests_of(call)
    shifts = any(node["type"] in ("POSITIONAL_REFERENCE", "STAR") for node in nodes(requests))
    return not shifts and not any(
        may_aggregate(request) or any(name_of(node) == "unnest" for node in nodes(request)) for request in requests
    )


def _in_a_set(place: NodePlace) -> bool:
    """Whether a call is in the query of an IN, where rows have no order."""
    return any(above.node.get("subquery_type") == "ANY" for above in place.above)


def _any_order_will_do(query: Node) -> bool:
    """Whether the rows of a query are sorted by itself, or come in no order that DuckDB promises."""
    if query["type"] != "SELECT_NODE" or _depends_on_order(query):
        return False
    sorts = modifier(query, "ORDER") is not None or modifier(query, "DISTINCT") is not None
    grouped = bool(query["group_expressions"]) or query["aggregate_handling"] != "STANDARD_HANDLING"
    return sorts or grouped or _aggregates_rows(query)


def _aggregates_rows(query: Node) -> bool:
    """Whether a SELECT makes one row of several, by its list."""
    return any(is_aggregate(node) for item in query["select_list"] for node in nodes(item, into_queries=False))


def _depends_on_order(query: Node) -> bool:
    """Whether the order of the rows inside a query may decide on its result."""
    for node in nodes(query):
        if "modifiers" in node and modifier(node, "ORDER") is None and modifier(node, "LIMIT") is not None:
            return True
        if node.get("class") == "WINDOW" and not node["orders"] and name_of(node) not in _OF_ANY_ORDER:
            return True
        if is_aggregate(node) and name_of(node) not in _OF_ANY_ORDER:
            return True
        if node.get("class") == "FUNCTION" and may_aggregate(node) and not any(map(is_aggregate, nodes(node))):
            return True  # a macro, perhaps
    return False


def _place(query: Node, found: list[NodePlace]) -> Node | None:
    """An expression of the SELECT of all calls, which is the outermost, that numbers its rows; None for none."""
    if query["type"] != "SELECT_NODE" or query["modifiers"] or query["group_expressions"]:
        return None
    if query["aggregate_handling"] != "STANDARD_HANDLING" or _aggregates_rows(query):
        return None
    if any(sum(above.node["type"] == "SELECT_NODE" for above in place.above) != 1 for place in found):
        return None
    if all(has_call(query["select_list"]) and _in_list(query, place) for place in found):
        return expression("row_number() OVER ()")  # computed before the subqueries of a SELECT list
    source = query["from_table"]
    if _depends_on_order(query) or source["type"] != "BASE_TABLE":
        return None
    return column(source["alias"] or source["table_name"], "rowid")


def _in_list(query: Node, place: NodePlace) -> bool:
    first = place.above[1].node if len(place.above) > 1 else place.node
    return any(item is first for item in query["select_list"])
