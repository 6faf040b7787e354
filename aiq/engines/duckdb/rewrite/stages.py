"""In which order the calls of a statement may be asked, so that none is asked because another's answer is unknown.

A list of sets of call sites: those of one set do not depend on each other. What filters rows comes before what is
computed for the rows that are left; a condition before its branches; an inner call before the one around it.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

from aiq.engines.duckdb.rewrite.function_kinds import is_aggregate
from aiq.engines.duckdb.rewrite.numbered import has_call, is_call, number_of, numbers_in, requests_of
from aiq.engines.duckdb.rewrite.tree import Node, bare_names, integer_of, name_of, nodes

Stages = list[set[int]]

_READING = ("where_clause", "group_expressions", "having", "qualify")
"""Clauses that may read an item of the SELECT list by its name, and decide on what is computed of the others."""
_BEFORE_ITEMS = ("cte_map", "from_table", *_READING, "modifiers")


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
        clauses = (*_BEFORE_ITEMS, "select_list")
        if len(set(numbers_in(root))) < 2:  # no other call waits
            return one_after_the_other(*(stages(root[name]) for name in clauses))
        return one_after_the_other(*(of_clause(root, name) for name in clauses))
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


def of_clause(select: Node, name: str) -> Stages:
    """The stages of a clause of a SELECT, after those of the items that it reads: `ai(x) AS r .. GROUP BY r`."""
    if len(set(numbers_in(select))) < 2:  # no other call waits
        return stages(select[name])
    named = _named(select["select_list"])
    of_items = _of_items(select["select_list"], named)
    if name == "select_list":
        return together(*of_items)
    read = _items_read(select, name, named) if name in _READING else set()
    return one_after_the_other(together(*(of_items[at] for at in read)), stages(select[name]))


def _named(items: list[Node]) -> dict[int, str]:
    """The names of items with calls, by place from 0. In `ai(x) AS x`, the name is a column's, which comes first."""
    names = {at: item["alias"].lower() for at, item in enumerate(items) if item["alias"] and has_call(item)}
    return {at: name for at, name in names.items() if name not in bare_names(items[at])}


def _items_read(select: Node, name: str, named: dict[int, str]) -> set[int]:
    """The places, from 0, of the items that a clause of a SELECT reads by their names or numbers."""
    used = bare_names(select[name])
    found = {at for at, own in named.items() if own in used}
    if name == "group_expressions":
        items = select["select_list"]
        numbers = {integer_of(key) for key in select[name]}
        by_all = select["aggregate_handling"] != "STANDARD_HANDLING"
        for at, item in enumerate(items):
            if at + 1 in numbers or (by_all and not any(map(is_aggregate, nodes(item)))):
                found.add(at)
    return found


def _of_items(items: list[Node], named: dict[int, str]) -> list[Stages]:
    """The stages of each item, after those of the items before it that it reads: `ai(x) AS r, ai(upper(r))`."""
    found: list[Stages] = []
    for item in items:
        used = bare_names(item)
        read = [found[at] for at, name in named.items() if at < len(found) and name in used]
        found.append(one_after_the_other(together(*read), stages(item)))
    return found


def together(*parts: Stages) -> Stages:
    """Parts that do not depend on each other."""
    return [set().union(*layer) for layer in zip_longest(*parts, fillvalue=set())]


def one_after_the_other(*parts: Stages) -> Stages:
    """Parts of which each may depend on the ones before it."""
    return [stage for part in parts for stage in part]
