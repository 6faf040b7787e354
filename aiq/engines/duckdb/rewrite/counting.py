"""A query that comes to evaluate every call the statement may come to, while no answer is known: for counting requests.

Conditions on answers let every row pass, all branches that an answer chooses between are taken, and an inner call's
request stands in for its answer. Its rows mean nothing; only what its calls are asked does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, NamedTuple

from aiq.engines.duckdb.rewrite import tree
from aiq.engines.duckdb.rewrite.function_kinds import is_aggregate
from aiq.engines.duckdb.rewrite.lift import as_query
from aiq.engines.duckdb.rewrite.numbered import (
    has_call,
    is_call,
    number_of,
    numbers_in,
    requests_of,
    selects,
    with_requests,
)
from aiq.engines.duckdb.rewrite.parts import parts
from aiq.engines.duckdb.rewrite.stages import Stages, stages
from aiq.engines.duckdb.rewrite.tree import (
    Node,
    Query,
    case,
    conjunction,
    copied,
    expression,
    integer_of,
    is_null,
    joins_of,
    name_of,
    name_of_item,
    negated,
    nodes,
    operator,
    places,
    unaliased,
    with_children,
)


class CountingQuery(NamedTuple):
    """`query` evaluates the calls that need no other's answer; `relaxed`, all calls of `reached` wherever they may be.

    `relaxed` is None where it would show nothing new. The requests of `nested` calls hold stand-ins for answers. Both
    queries change nothing. `exact` is whether they see all that the statement itself would.
    """

    query: str
    stages: Stages
    relaxed: str | None = None
    reached: frozenset[int] = frozenset()
    nested: frozenset[int] = frozenset()
    exact: bool = True


def counting(text: str) -> CountingQuery | None:
    """How to count the requests of a statement with numbered calls; None where that cannot be."""
    query = _source(text)
    printed = None if query is None else query.text()
    if query is None or printed is None:
        return None
    node, order = query.node, stages(query.node)
    exact = not any(each["type"] == "RECURSIVE_CTE_NODE" and has_call(each) for each in nodes(node))
    answers = _Answers(node)
    numbers = numbers_in(node)
    if len(numbers) < 2 or answers.group(node):
        return CountingQuery(printed, order, exact=exact)
    relaxed = _Relaxed(answers).query(query)
    relaxed_text = relaxed.text()
    if relaxed_text is None:
        return CountingQuery(printed, order, exact=exact)
    calls = [each for each in nodes(node) if is_call(each)]
    inner = {number_of(call) for call in calls if _has_inner(call)}
    unknown = {number_of(call) for call in calls if answers.decide_columns(call)}
    reached = frozenset(numbers_in(relaxed.node)) - unknown
    return CountingQuery(
        printed, order, None if relaxed_text == printed else relaxed_text, reached, frozenset(inner), exact=exact
    )


def _source(text: str) -> Query | None:
    """The query of a statement, made of its parts where it changes rows."""
    found = parts(text)
    if found is None:
        return None
    if found.query is not None:
        return tree.read(found.query.of(text))
    return None if found.target is None or found.returning else as_query(text, found)


def _has_inner(call: Node) -> bool:
    return any(has_call(request) for request in requests_of(call))


class _Answers:
    """What the answers of a statement decide, also through the columns that are made of them."""

    def __init__(self, root: Node) -> None:
        self._names: set[str] = set()
        items = [item for select in selects(root) for item in select["select_list"]]
        more = True
        while more:
            made = {name_of_item(item) for item in items if self.decide(item)} - {""}
            more = not made <= self._names
            self._names |= made

    def decide(self, root: Any) -> bool:
        """Whether an expression has a call or a column made of answers."""
        return root is not None and (has_call(root) or self.decide_columns(root))

    def decide_columns(self, root: Any) -> bool:
        """Whether an expression has a column made of answers; by its name, wherever it is from."""
        return root is not None and any(
            node["type"] == "COLUMN_REF" and node["column_names"][-1].lower() in self._names for node in nodes(root)
        )

    def group(self, root: Node) -> bool:
        """Whether rows are grouped by answers; a number or ALL in GROUP BY counts as such."""
        for select in selects(root):
            keys = select["group_expressions"]
            by_number = any(integer_of(key) is not None for key in keys)
            if select["aggregate_handling"] != "STANDARD_HANDLING" or by_number or self.decide(keys):
                return True
        return False


@cache  # not when this is imported: a DuckDB that reads it has threads, and a process that forks may not have them
def _true() -> Node:
    return expression("TRUE")


@cache
def _any_window() -> Node:
    return expression("row_number() OVER () > 0")


class _Relaxed:
    """Makes a query whose rows no answer decides."""

    def __init__(self, answers: _Answers) -> None:
        self._decided = answers.decide

    def query(self, query: Query) -> Query:
        """The relaxed query."""
        query = query.copy()
        for select in reversed(selects(query.node)):  # the inner ones first: what is around copies them
            for clause in ("where_clause", "having", "qualify"):
                if select[clause] is not None and self._decided(select[clause]):
                    select[clause] = self._passing(select[clause])
                    if clause == "qualify":  # DuckDB takes none without a window
                        select[clause] = conjunction([select[clause], _any_window()])
            for join in joins_of(select["from_table"]):
                if self._decided(join["condition"]):
                    join["condition"] = self._passing(join["condition"])
            select["select_list"] = [self._item(item) for item in select["select_list"]]
            for modifier in select["modifiers"]:
                for key in modifier.get("orders") or []:
                    key["expression"] = self._evaluated(key["expression"])
        return query

    def _item(self, item: Node) -> Node:
        return {**self._evaluated(item), "alias": item["alias"]}

    def _passing(self, condition: Node) -> Node:
        """A filter's condition, true wherever it may be, that evaluates its calls where they may be evaluated."""
        if not self._decided(condition):
            return copied(condition)
        if condition["type"] == "CONJUNCTION_AND":
            return conjunction([self._passing(part) for part in condition["children"]])
        if condition["type"] == "CASE_EXPR":
            return self._branches(condition, self._passing)
        return self._seen(condition)

    def _seen(self, node: Node) -> Node:
        """A condition that is always true, for which all calls of an expression are evaluated that may be."""
        kind = node["type"]
        if not has_call(node) or kind == "SUBQUERY" or is_aggregate(node):
            return _true()  # calls in there have been evaluated before this condition
        if is_call(node):
            return is_null(self._call(node))
        if kind == "CASE_EXPR":
            return self._branches(node, self._seen)
        if name_of(node) == "if":
            condition, *branches = (argument["expression"] for argument in node["arguments"])
            taken = [self._seen(branch) for branch in branches]
            if self._decided(condition):
                return _all([self._seen(condition), *taken])
            return case([(copied(condition), taken[0])], taken[1] if len(taken) > 1 else _true())
        if node.get("class") == "CONJUNCTION":
            cheap = [copied(part) for part in node["children"] if not self._decided(part)]
            asking = _all(self._seen(part) for part in node["children"])
            if not cheap:
                return asking
            done = conjunction(cheap, kind)
            return case([(done if kind == "CONJUNCTION_OR" else negated(done), _true())], asking)
        if kind == "OPERATOR_COALESCE":
            children = node["children"]
            first = next(i for i, child in enumerate(children) if self._decided(child))
            asking = _all(self._seen(child) for child in children[first:])
            if not first:
                return asking
            before = operator("OPERATOR_COALESCE", *copied(children[:first]))
            return case([(is_null(before), asking)], _true())
        return _all(self._seen(place.node) for place in places(node) if not place.above)

    def _branches(self, node: Node, made: Callable[[Node], Node]) -> Node:
        """A CASE of what is made of each branch; from the first condition on an answer on, all may be taken."""
        checks, otherwise = node["case_checks"], node["else_expr"]
        first = next((i for i, check in enumerate(checks) if self._decided(check["when_expr"])), len(checks))
        if first < len(checks):
            asking, *later = checks[first:]
            parts = [self._seen(asking["when_expr"]), self._seen(asking["then_expr"])]
            rest = {**node, "case_checks": later} if later else otherwise
            parts.append(self._seen(rest))
            so_far = _all(parts)
        else:
            so_far = made(otherwise)
        for check in reversed(checks[:first]):
            so_far = case([(copied(check["when_expr"]), made(check["then_expr"]))], so_far)
        return so_far

    def _evaluated(self, node: Node) -> Node:
        """An expression of the same type for which all calls are evaluated that may be."""
        if not has_call(node) or "modifiers" in node:
            return node
        if is_call(node):
            return self._call(node)
        conditional = node["type"] in ("CASE_EXPR", "OPERATOR_COALESCE") or node.get("class") == "CONJUNCTION"
        if conditional or name_of(node) == "if":
            return case([(self._seen(node), expression("NULL"))], unaliased(copied(node)))
        return with_children(node, self._evaluated)

    def _call(self, call: Node) -> Node:
        """A call in whose request each inner call's own request stands for its answer."""
        if not _has_inner(call):
            return unaliased(copied(call))
        return unaliased(with_requests(call, [self._standing(request) for request in requests_of(call)]))

    def _standing(self, node: Node) -> Node:
        if not has_call(node):
            return copied(node)
        if is_call(node):
            inner = self._call(node)
            request = expression("CAST(x AS VARCHAR)", x=unaliased(requests_of(inner)[0]))
            return case([(is_null(inner), request)])
        if node["type"] == "CASE_EXPR" and any(self._decided(check["when_expr"]) for check in node["case_checks"]):
            branches = [*(check["then_expr"] for check in node["case_checks"]), node["else_expr"]]
            return operator("OPERATOR_COALESCE", *(self._standing(branch) for branch in branches))
        return with_children(node, self._standing)


def _all(conditions: Iterable[Node]) -> Node:
    return conjunction([*(condition for condition in conditions if condition is not _true()), _true()])
