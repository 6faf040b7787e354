"""`FROM t, LATERAL (SELECT ai(t.x) AS r) l WHERE t.id < 5` -> the request is NULL, and not asked, where `t.id >= 5`.

Not every plan of DuckDB's moves the condition below such a join.
"""

from __future__ import annotations

from aiq.engines.duckdb.rewrite.numbered import is_call, requests_of, selects, with_requests
from aiq.engines.duckdb.rewrite.rules.cheap_before_ai import cheap_conditions
from aiq.engines.duckdb.rewrite.tree import Node, case, conjunction, joins_of, name_of_item, nodes, places


def lateral_guard(root: Node) -> None:
    """Guards the calls of derived tables without a FROM of their own by the cheap conditions of WHERE."""
    for select in selects(root):
        cheap = cheap_conditions(select["where_clause"])
        for join in joins_of(select["from_table"]):
            if join["join_type"] == "INNER":
                _guard(join["right"], cheap)


def _guard(source: Node, cheap: list[Node]) -> None:
    inner = source["subquery"]["node"] if source["type"] == "SUBQUERY" else None
    if inner is None or inner["type"] != "SELECT_NODE" or inner["from_table"]["type"] != "EMPTY":
        return
    own = {name.lower() for name in (source["alias"], *(source.get("column_name_alias") or ()))}
    own |= set(map(name_of_item, inner["select_list"]))
    guards = [part for part in cheap if not any(_names(node) & own for node in nodes(part))]
    if not guards:
        return
    for place in places(inner["select_list"]):
        if is_call(place.node):
            first, *files = requests_of(place.node)
            place.replace(with_requests(place.node, [case([(conjunction(guards), first)]), *files]))


def _names(node: Node) -> set[str]:
    return {name.lower() for name in node["column_names"]} if node["type"] == "COLUMN_REF" else set()
