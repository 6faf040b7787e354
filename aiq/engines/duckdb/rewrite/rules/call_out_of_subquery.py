"""`(SELECT ai(x) FROM ...)` -> `ai((SELECT x FROM ...))`.

DuckDB computes a correlated subquery for every value of its inner table first; outside, the call sees only the rows of
the outer query. A subquery without a row is NULL, and a NULL request is a NULL answer, so the result is the same.
"""

from __future__ import annotations

from aiq.engines.duckdb.rewrite.numbered import is_call, requests_of, with_requests
from aiq.engines.duckdb.rewrite.tree import Node, modifier, places, unaliased


def call_out_of_subquery(root: Node) -> None:
    """Moves calls that are the whole result of a scalar subquery out of it."""
    for place in reversed(list(places({"root": root}, into_queries=True))):  # inner ones first
        subquery = place.node
        if subquery.get("class") != "SUBQUERY" or subquery["subquery_type"] != "SCALAR":
            continue
        select = subquery["subquery"]["node"]
        if select["type"] != "SELECT_NODE" or len(select["select_list"]) != 1 or modifier(select, "DISTINCT"):
            continue
        call = select["select_list"][0]
        if not is_call(call) or len(requests_of(call)) != 1 or not _by_columns(select):
            continue
        moved = {**with_requests(call, [unaliased(subquery)]), "alias": subquery["alias"]}
        select["select_list"] = [unaliased(requests_of(call)[0])]
        place.replace(moved)


def _by_columns(select: Node) -> bool:
    """Whether what it sorts and groups by, if it does, is columns: a position, or ALL, would mean something else."""
    order = modifier(select, "ORDER")
    keys = [key["expression"] for key in order["orders"]] if order is not None else []
    keys += select["group_expressions"]
    by_all = select["aggregate_handling"] != "STANDARD_HANDLING"
    return not by_all and all(key["type"] == "COLUMN_REF" for key in keys)
