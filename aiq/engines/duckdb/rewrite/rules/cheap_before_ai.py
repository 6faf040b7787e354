"""Cheap conditions before AI ones, and of AI conditions the cheaper and more selective first.

`WHERE ai(x) AND c` -> `WHERE c AND CASE WHEN c THEN ai(x) END`; `ai(x) OR c` -> `CASE WHEN c THEN TRUE ELSE ai(x) END`.
DuckDB may evaluate both sides, in any order, and push one below a join; a CASE over the cheap ones, join conditions
included, cannot be evaluated before them. Where NULL and false differ (under NOT, in the SELECT list), the CASE keeps
SQL's three values.
"""

from __future__ import annotations

from collections.abc import Callable

from aiq.engines.duckdb.rewrite.numbered import has_call, numbers_in, selects
from aiq.engines.duckdb.rewrite.selectivity import selectivity
from aiq.engines.duckdb.rewrite.tree import (
    Node,
    case,
    column,
    conjunction,
    copied,
    either,
    expression,
    joins_of,
    negated,
    nodes,
    operator,
    places,
)
from aiq.sql.selectivity import rank

Cost = Callable[[int], float]


def cheap_before_ai(root: Node, cost: Cost) -> None:
    """Orders the conditions of every AND and OR that has an AI call."""
    for select in reversed(selects(root)):  # the inner ones first: what is around copies them
        for clause in ("where_clause", "having", "qualify"):
            if select[clause] is not None and has_call(select[clause]):
                also = join_conditions(select["from_table"]) if clause == "where_clause" else []
                select[clause] = filter_condition(select[clause], cost, also)
        for join in joins_of(select["from_table"]):
            if join["condition"] is not None and has_call(join["condition"]):
                join["condition"] = filter_condition(join["condition"], cost, _of_where(select, join))
    filters = {id(node) for select in selects(root) for node in _filters(select)}
    for place in list(places({"root": root}, into_queries=True)):
        around = place.above[-1].node if place.above else None
        if place.node.get("class") != "CONJUNCTION" or id(place.node) in filters:
            continue
        if around is None or around.get("class") != "CONJUNCTION":
            place.replace({**_value(place.node, cost), "alias": place.node["alias"]})


def _filters(select: Node) -> list[Node]:
    """All nodes of conditions that only keep or drop rows, and so need not keep SQL's three values."""
    conditions = [select[clause] for clause in ("where_clause", "having", "qualify")]
    conditions += [join["condition"] for join in joins_of(select["from_table"])]
    found: list[Node] = []
    for condition in conditions:
        found += _kept_or_dropped(condition) if condition is not None else []
    return found


def _kept_or_dropped(condition: Node) -> list[Node]:
    found = [condition]
    if condition.get("class") == "CONJUNCTION":
        for child in condition["children"]:
            found += _kept_or_dropped(child)
    if condition["type"] == "CASE_EXPR":
        for check in condition["case_checks"]:
            found += [*_kept_or_dropped(check["when_expr"]), *_kept_or_dropped(check["then_expr"])]
        found += _kept_or_dropped(condition["else_expr"])
    return found


def _split(condition: Node, cost: Cost) -> tuple[list[Node], list[Node]]:
    """The cheap parts of an AND or OR, and those with calls, those that save most a dollar first; ties as written."""

    def order(part: Node) -> float:
        share = selectivity(part)
        saving = 1 - share if condition["type"] == "CONJUNCTION_OR" else share
        return rank(sum(map(cost, numbers_in(part))), saving)

    parts = condition["children"]
    asking = sorted((part for part in parts if has_call(part)), key=order)
    return [part for part in parts if not has_call(part)], asking


def filter_condition(condition: Node, cost: Cost, also: list[Node]) -> Node:
    """A condition that only keeps or drops a row. `also` are cheap ones that hold for every row of the result."""
    if not has_call(condition):
        return condition
    if condition["type"] == "CONJUNCTION_OR":
        cheap, asking = _split(condition, cost)
        chain = filter_condition(asking[-1], cost, [])
        for part in reversed(asking[:-1]):
            chain = case([(filter_condition(part, cost, []), expression("TRUE"))], chain)
        if cheap:
            chain = case([(either(cheap), expression("TRUE"))], chain)
        if also:
            chain = case([(conjunction(also), chain)])
        implied = [_cheap_part(part) for part in condition["children"]]
        if any(each is None for each in implied):
            return chain
        return copied(conjunction([either([each for each in implied if each is not None]), chain]))
    if condition["type"] == "CONJUNCTION_AND":
        cheap, asking = _split(condition, cost)
    else:
        cheap, asking = [], [condition]
    chain = asking[-1] if asking[-1] is condition else filter_condition(asking[-1], cost, [])
    for part in reversed(asking[:-1]):
        chain = case([(filter_condition(part, cost, []), chain)])
    if guards := [*also, *cheap]:
        chain = case([(conjunction(guards), chain)])
    return copied(conjunction([*cheap, chain]))


def _cheap_part(branch: Node) -> Node | None:
    """What must hold without any call for a branch of an OR to hold: it may be what two tables are joined by."""
    parts = branch["children"] if branch["type"] == "CONJUNCTION_AND" else [branch]
    cheap = [part for part in parts if not has_call(part)]
    return conjunction(cheap) if cheap else None


def _value(condition: Node, cost: Cost) -> Node:
    """A condition whose three values count."""
    cheap, asking = _split(condition, cost)
    if not asking or not cheap:
        return condition
    kind = condition["type"]
    rest = conjunction([*cheap, *asking], kind)
    if kind == "CONJUNCTION_OR":
        return copied(case([(either(cheap), expression("TRUE"))], rest))
    return copied(case([(negated(conjunction(cheap)), expression("FALSE"))], rest))


def _of_where(select: Node, join: Node) -> list[Node]:
    """The cheap conditions of WHERE that hold for every row of an inner join, where it is the only one."""
    alone = len(joins_of(select["from_table"])) == 1
    return cheap_conditions(select["where_clause"]) if alone and _is_inner(join) else []


def cheap_conditions(where: Node | None) -> list[Node]:
    """The conditions of a WHERE that have no call and are cheap enough to be evaluated twice."""
    if where is None:
        return []
    parts = where["children"] if where["type"] == "CONJUNCTION_AND" else [where]
    return [part for part in parts if not has_call(part) and not _is_involved(part)]


def _is_involved(part: Node) -> bool:
    return any(node["type"] in ("SUBQUERY", "CASE_EXPR") for node in nodes(part))


def _is_inner(join: Node) -> bool:
    return join["join_type"] == "INNER" and join["ref_type"] in ("REGULAR", "CROSS")


def join_conditions(source: Node) -> list[Node]:
    """Conditions of inner joins: what stops a predicate from being evaluated before the join."""
    if source["type"] != "JOIN":
        return []
    kind = source["join_type"]
    if source["ref_type"] not in ("REGULAR", "CROSS") or kind not in ("INNER", "LEFT", "RIGHT", "SEMI", "ANTI"):
        return []
    left = join_conditions(source["left"]) if kind != "RIGHT" else []
    right = join_conditions(source["right"]) if kind in ("INNER", "RIGHT") else []
    own: list[Node] = []
    if kind == "INNER" and source["condition"] is not None and not has_call(source["condition"]):
        own = [source["condition"]]
    named = source["right"].get("alias") or source["right"].get("table_name")
    if kind == "INNER" and named:
        own += [operator("OPERATOR_IS_NOT_NULL", column(named, name)) for name in source["using_columns"]]
    return [*left, *right, *own]
