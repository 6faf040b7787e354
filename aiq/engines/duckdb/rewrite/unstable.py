"""Requests that may be another text each time they are computed: those made of an aggregate or a window whose value
depends on the order of rows, on the addition of floating-point numbers or on an approximation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiq.engines.duckdb.rewrite.function_kinds import is_aggregate
from aiq.engines.duckdb.rewrite.numbered import calls_with_places, requests_of
from aiq.engines.duckdb.rewrite.tree import Node, modifier, name_of, nodes

_STABLE = frozenset(
    [
        "count",
        "count_star",
        "count_if",
        "countif",
        "min",
        "max",
        "bool_and",
        "bool_or",
        "bit_and",
        "bit_or",
        "bit_xor",
        "bitstring_agg",
        "any_all",
        "regr_count",
        "sum_no_overflow",
        "product_exact",
        "grouping",
    ]
)
_SUMS = frozenset({"sum", "avg", "mean"})

Exact = Callable[[Node, Node], bool]
"""Whether an aggregate of a SELECT adds numbers exactly: integers and decimals, not floating-point ones."""


def unstable_request(root: Any, exact: Exact) -> str | None:
    """The function that makes a request of one of the calls in a tree unstable, or None."""
    for call, around in calls_with_places(root):
        selects = [node for node in around if node["type"] == "SELECT_NODE"]
        own = selects[-1] if selects else None
        for request in requests_of(call):
            if (found := _unstable(request, own, exact)) is not None:
                return found
        for select in selects:
            if (found := _unstable(select["from_table"], None, exact)) is not None:
                return found
        if own is not None:
            items = {item["alias"].lower(): item for item in own["select_list"] if item["alias"]}
            for request in requests_of(call):
                for node in nodes(request):
                    named = items.get(node["column_names"][-1].lower()) if node["type"] == "COLUMN_REF" else None
                    if named is not None and (found := _unstable(named, own, exact)) is not None:
                        return found
        for select in [node for node in around if "cte_map" in node]:
            if (found := _unstable(select["cte_map"], None, exact)) is not None:
                return found
    return None


def _unstable(root: Any, select: Node | None, exact: Exact) -> str | None:
    if isinstance(root, dict) and root.get("type") == "SELECT_NODE":
        select = root
        if modifier(root, "LIMIT") is not None and modifier(root, "ORDER") is not None:
            return "LIMIT"  # of rows that are equal in what they are sorted by, any may come
    if isinstance(root, dict):
        if root.get("class") == "WINDOW":
            return name_of(root)
        if is_aggregate(root) and name_of(root) not in _STABLE:
            is_exact = select is not None and name_of(root) in _SUMS and exact(root, select)
            if not is_exact:
                return name_of(root)
    children = root.values() if isinstance(root, dict) else root if isinstance(root, list) else ()
    for child in children:
        if isinstance(child, dict | list) and (found := _unstable(child, select, exact)) is not None:
            return found
    return None
