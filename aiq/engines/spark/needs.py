"""Which calls an expression needs next, and for which rows: a branch that is not taken asks nothing.

Spark computes Python functions before the expression around them; here CASE, IF, coalesce, AND and OR decide first, as
they do in the engines that evaluate lazily. Knows expressions; must never know how answers are had.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from aiq.engines.spark.catalyst import Catalyst, Node
from aiq.sql.selectivity import EQUALITY, IS_NULL, MATCH, MOST_OF_A_LIST, RANGE, UNKNOWN, rank

Guard = tuple[Node, ...]
"""Conditions that all hold for the rows that need a call; none for every row."""

_SHARES = {
    **dict.fromkeys(("EqualTo", "EqualNullSafe"), EQUALITY),
    **dict.fromkeys(("LessThan", "LessThanOrEqual", "GreaterThan", "GreaterThanOrEqual"), RANGE),
    **dict.fromkeys(("Like", "ILike", "RLike", "StartsWith", "EndsWith", "Contains"), MATCH),
    "IsNull": IS_NULL,
    "IsNotNull": 1 - IS_NULL,
    "InSet": MOST_OF_A_LIST,
}


class Need(NamedTuple):
    """A call, by the column of its answer, and the rows that need it."""

    column: int
    guard: Guard


class AskedCalls:
    """The calls of some rows: what each is computed from, and for which rows it has been asked so far."""

    def __init__(self, catalyst: Catalyst, cost: Callable[[int], float]) -> None:
        """`cost` compares calls, by their column, by what one request costs."""
        self._catalyst, self._cost = catalyst, cost
        self._arguments: dict[int, Sequence[Node]] = {}
        self._guards: dict[int, list[Guard]] = {}
        self._known: dict[int, list[frozenset[str]]] = {}

    def add(self, column: int, arguments: Sequence[Node]) -> None:
        """A call whose answer is this column."""
        self._arguments[column] = arguments

    def note(self, need: Need) -> None:
        """Its rows have been asked."""
        self._guards.setdefault(need.column, []).append(need.guard)
        self._known.setdefault(need.column, []).append(self._words(need.guard))

    def guards(self, column: int) -> list[Guard]:
        """For which rows a call has been asked: those of any of these guards."""
        return self._guards.get(column, [])

    def needs(self, expressions: Collection[Node], guard: Guard = ()) -> list[Need]:
        """What computing some expressions needs next; nothing where all of it is known.

        Only what is sure to be needed, as far as the answers that are known tell.
        """
        found: dict[tuple[int, frozenset[str]], Need] = {}
        for expression in expressions:
            for need in self._of(expression, guard):
                found.setdefault((need.column, self._words(need.guard)), need)
        return list(found.values())

    def has_call(self, expression: Node) -> bool:
        return bool(self._catalyst.references(expression) & self._arguments.keys())

    def price(self, expression: Node) -> float:
        """What decides the order of conditions: the cheaper and more selective first."""
        cost = sum(self._cost(column) for column in self._catalyst.references(expression) & self._arguments.keys())
        return rank(cost, self._share(expression))

    def _of(self, node: Node, guard: Guard) -> list[Need]:
        if not self.has_call(node):
            return []
        catalyst = self._catalyst
        kind = catalyst.kind(node)
        if kind == "AttributeReference":
            return self._of_call(catalyst.id(node), guard)
        children = catalyst.children(node)
        if kind in ("And", "Or"):
            return self._of_connector(self._parts(node, kind), kind == "And", guard)
        if kind == "CaseWhen":
            pairs = list(zip(children[0::2], children[1::2], strict=False))
            return self._of_branches(pairs, children[-1] if len(children) % 2 else None, guard)
        if kind == "If":
            return self._of_branches([(children[0], children[1])], children[2], guard)
        if kind == "Coalesce":
            for child in children:
                if needs := self._of(child, guard):
                    return needs
                guard = (*guard, catalyst.is_null(child))
            return []
        if kind == "AggregateExpression" and len(children) == 2:  # with a FILTER
            return self._of_branches([(children[1], children[0])], None, guard)
        return self.needs(children, guard)

    def _of_call(self, column: int, guard: Guard) -> list[Need]:
        if any(words <= self._words(guard) for words in self._known.get(column, [])):
            return []
        return self.needs(self._arguments[column], guard) or [Need(column, guard)]

    def _of_connector(self, parts: list[Node], conjunction: bool, guard: Guard) -> list[Need]:
        """Cheap parts decide before any call is made, and a call before the next one."""
        known = [part for part in parts if not self.has_call(part)]
        for part in sorted((part for part in parts if self.has_call(part)), key=self.price):
            decided = (self._catalyst.is_not(each, not conjunction) for each in known)
            if needs := self._of(part, (*guard, *decided)):
                return needs
            known.append(part)
        return []

    def _of_branches(self, branches: Sequence[tuple[Node, Node]], otherwise: Node | None, guard: Guard) -> list[Need]:
        found: list[Need] = []
        for condition, value in branches:
            if needs := self._of(condition, guard):
                return [*found, *needs]
            found += self._of(value, (*guard, self._catalyst.is_true(condition)))
            guard = (*guard, self._catalyst.is_not(condition, True))
        return found + ([] if otherwise is None else self._of(otherwise, guard))

    def _parts(self, node: Node, kind: str) -> list[Node]:
        if self._catalyst.kind(node) != kind:
            return [node]
        return [part for child in self._catalyst.children(node) for part in self._parts(child, kind)]

    def _share(self, node: Node) -> float:
        """The share of rows for which a condition is expected to be true (aiq/sql/selectivity.py)."""
        kind, children = self._catalyst.kind(node), self._catalyst.children(node)
        if kind == "Not":
            return 1 - self._share(children[0])
        if kind == "In":
            return min(MOST_OF_A_LIST, EQUALITY * (len(children) - 1))
        if kind == "And":
            return self._share(children[0]) * self._share(children[1])
        if kind == "Or":
            return 1 - (1 - self._share(children[0])) * (1 - self._share(children[1]))
        return _SHARES.get(kind, UNKNOWN)

    def _words(self, guard: Guard) -> frozenset[str]:
        return frozenset(map(self._catalyst.words, guard))
