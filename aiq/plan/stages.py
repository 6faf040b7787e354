"""In which order the calls of a statement may be asked, so that none is asked because another's answer is unknown.

A list of sets of call sites: those of one set do not depend on each other. What filters rows comes before what is
computed for the rows that are left; a condition before its branches; an inner call before the one around it.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

from aiq.plan.numbered import has_call, is_call, number_of, requests_of
from aiq.plan.tree import Node, is_aggregate, name_of, nodes

Stages = list[set[int]]

_BEFORE_ITEMS = ("cte_map", "from_table", "where_clause", "group_expressions", "having", "qualify", "modifiers")


def stages(root: Any) -> Stages:
    """The stages of the call sites in a tree, by number."""
    if isinstance(root, list):
        return together(*(stages(item) for item in root))
    if not isinstance(root, dict) or not has_call(root):
        return []
    kind = root.get("type")
    if is_call(root):
        return one_after_the_other(stages(requests_of(root)), [{number_of(root)}])
    if kind == "SELECT_NODE":
        grouped, others = _by_groups(root)
        return one_after_the_other(*(stages(root[name]) for name in _BEFORE_ITEMS), stages(grouped), stages(others))
    if kind == "JOIN":
        return one_after_the_other(together(stages(root["left"]), stages(root["right"])), stages(root["condition"]))
    if kind == "CASE_EXPR":
        checks = [part for check in root["case_checks"] for part in (check["when_expr"], check["then_expr"])]
        return one_after_the_other(*map(stages, [*checks, root["else_expr"]]))
    if kind in ("CONJUNCTION_AND", "CONJUNCTION_OR", "OPERATOR_COALESCE"):
        return one_after_the_other(*map(stages, root["children"]))
    if name_of(root) == "if":
        condition, *branches = (argument["expression"] for argument in root["arguments"])
        return one_after_the_other(stages(condition), stages(branches))
    if kind == "SUBQUERY" and "class" in root:
        return one_after_the_other(stages(root["child"]), stages(root["subquery"]))
    if "map" in root:  # the CTEs of a query
        return one_after_the_other(*map(stages, root["map"]))
    return together(*map(stages, root.values()))


def _by_groups(select: Node) -> tuple[list[Node], list[Node]]:
    """The SELECT items that rows are grouped by, and the others, which are computed for the groups."""
    items = select["select_list"]
    if select["aggregate_handling"] != "STANDARD_HANDLING":  # GROUP BY ALL
        chosen = {at for at, item in enumerate(items) if not any(map(is_aggregate, nodes(item)))}
    else:
        keys = select["group_expressions"]
        places = {(key.get("literal") or {}).get("text") for key in keys}
        names = {key["column_names"][0].lower() for key in keys if key["type"] == "COLUMN_REF"}
        chosen = {
            at
            for at, item in enumerate(items)
            if str(at + 1) in places or (item["alias"] and item["alias"].lower() in names)
        }
    return [items[at] for at in sorted(chosen)], [item for at, item in enumerate(items) if at not in chosen]


def together(*parts: Stages) -> Stages:
    """Parts that do not depend on each other."""
    return [set().union(*layer) for layer in zip_longest(*parts, fillvalue=set())]


def one_after_the_other(*parts: Stages) -> Stages:
    """Parts of which each may depend on the ones before it."""
    return [stage for part in parts for stage in part]
