"""`max(ai(x)) FILTER (WHERE c)` -> `max(ai(CASE WHEN c THEN x END)) FILTER (WHERE c)`.

DuckDB computes an aggregate's argument for every row and filters afterwards. A NULL request is not asked, and its NULL
answer is filtered out.
"""

from __future__ import annotations

from aiq.engines.duckdb.rewrite.numbered import has_call, is_call, requests_of, with_requests
from aiq.engines.duckdb.rewrite.tree import Node, case, nodes, places


def filter_before_call(root: Node) -> None:
    """Guards the requests of calls inside an aggregate by the aggregate's FILTER."""
    for node in list(nodes(root)):
        condition = node.get("filter") or node.get("filter_expr")
        if not isinstance(condition, dict) or not has_call(node["arguments"]):
            continue
        for place in places(node["arguments"]):
            if is_call(place.node):
                first, *files = requests_of(place.node)
                place.replace(with_requests(place.node, [case([(condition, first)]), *files]))
