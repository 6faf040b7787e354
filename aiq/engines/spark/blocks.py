"""Moves the AI calls of a plan up, to where their answers are needed: above joins, cheap filters, and LIMITs.

A call is a pure function of its row, so it may be computed later, for the rows that are left. Knows plans; must never
know how answers are had.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from aiq.engines.spark.catalyst import Catalyst, Node
from aiq.engines.spark.repeatable import is_repeatable
from aiq.engines.spark.rows import Block, PlanCall
from aiq.engines.spark.unions import united

_LIMITS = ("GlobalLimit", "LocalLimit", "Offset")
_EVERY_ROW_OF = {
    "Inner": (0, 1), "Cross": (0, 1), "LeftOuter": (0,), "RightOuter": (1,), "LeftSemi": (0,), "LeftAnti": (0,),
    "ExistenceJoin": (0,), "LeftSingle": (0,),
}  # fmt: skip
"""The sides of a join whose rows come out of it as they went in, if they do."""
_NEEDS_A_MATCH = {"LeftOuter": 1, "LeftSingle": 1, "LeftSemi": 1, "LeftAnti": 1, "ExistenceJoin": 1, "RightOuter": 0}
"""The side of a join of which only rows that match one of the other side are read."""
_NULLED = {"LeftOuter": 1, "RightOuter": 0}
"""The side of a join to which rows of NULLs are added."""
_EQUALITIES = ("EqualTo", "EqualNullSafe")


class Settle(Protocol):
    """How calls get their answers."""

    def __call__(self, block: Block, uses: Sequence[Node], *, limit: int | None = None, rest: bool = False) -> Block:
        """The block with its conditions applied and every answer in its core that computing `uses` needs.

        With `limit`, so many rows will do. `rest` says that its other columns are used later on.
        """
        ...


class Blocks:
    """Takes the calls out of plans. `site_of` gives a function's site and its arguments, None for others' functions."""

    def __init__(
        self, catalyst: Catalyst, site_of: Callable[[Node], tuple[int, Sequence[Node]] | None], settle: Settle
    ) -> None:
        self._catalyst, self._site_of, self._settle = catalyst, site_of, settle

    def answered(self, plan: Node) -> Node:
        """The plan with an answer in the place of each call."""
        return self._closed(self.block(plan))

    def block(self, plan: Node) -> Block:
        """The rows of a plan, with its calls moved up as far as they go."""
        catalyst = self._catalyst
        if not catalyst.has_python(plan):
            return Block(plan, tuple(catalyst.output(plan)))
        plan = catalyst.with_subqueries(plan, self.answered)
        kind = catalyst.kind(plan)
        taking = {
            "ArrowEvalPython": self._calls,
            "Project": self._project,
            "Filter": self._filter,
            "Join": self._join,
            "Window": self._window,
            "WindowGroupLimit": self._window,
            "Aggregate": self._aggregate,
            "Generate": self._generate,
            **dict.fromkeys(_LIMITS, self._limit),
        }.get(kind, self._other)
        return taking(plan)

    def _closed(self, block: Block, uses: Sequence[Node] | None = None) -> Node:
        """The plan of a block. `uses` is all that its rows are used for; None: all columns are."""
        catalyst = self._catalyst
        if not (block.calls or block.items or block.order) and self._is_all_of(block.output, block.core):
            return block.core
        meanings = block.items
        columns = [meanings.get(catalyst.id(column), column) for column in block.output]
        block = self._settle(block, columns if uses is None else [catalyst.substituted(u, meanings) for u in uses])
        answered = {id for column in catalyst.output(block.core) if (id := catalyst.id(column)) is not None}
        items = []
        for column in block.output:
            meaning = meanings.get(catalyst.id(column))
            if meaning is not None and catalyst.references(meaning) <= answered:
                items.append(catalyst.alias(meaning, column))
            elif meaning is None and catalyst.id(column) in answered:
                items.append(column)  # others are not used
        return catalyst.project(items, catalyst.sorted(block.order, block.core) if block.order else block.core)

    def _other(self, plan: Node) -> Block:
        """A node that calls cannot be moved above."""
        catalyst = self._catalyst
        made = catalyst.with_children(plan, [self.answered(child) for child in catalyst.children(plan)])
        return Block(made, tuple(catalyst.output(plan)))

    def _calls(self, plan: Node) -> Block:
        catalyst = self._catalyst
        functions, columns = catalyst.items(plan.udfs()), catalyst.items(plan.resultAttrs())
        sites = [self._site_of(function) for function in functions]
        block = self.block(catalyst.children(plan)[0])
        others = [i for i, site in enumerate(sites) if site is None]
        if others:  # functions of somebody else stay where they are
            made = catalyst.with_fields(
                catalyst.with_children(plan, [self._closed(block)]),
                {0: catalyst.seq(functions[i] for i in others), 1: catalyst.seq(columns[i] for i in others)},
            )
            block = Block(made, tuple(catalyst.output(made)))
        calls = [
            PlanCall(column, site[0], tuple(site[1]))
            for column, site in zip(columns, sites, strict=True)
            if site is not None
        ]
        block, calls = self._with_chance(block, calls)
        calls = [
            replace(call, arguments=tuple(catalyst.substituted(argument, block.items) for argument in call.arguments))
            for call in calls
        ]
        return replace(block, calls=(*block.calls, *calls), output=tuple(catalyst.output(plan)))

    def _with_chance(self, block: Block, calls: list[PlanCall]) -> tuple[Block, list[PlanCall]]:
        """`p || uuid()` becomes a column of the rows: evaluated with them, once, and not for its answer again."""
        catalyst = self._catalyst
        columns = {
            catalyst.id(call.column): [catalyst.new_column(argument, "request") for argument in call.arguments]
            for call in calls
            if not all(argument.deterministic() for argument in call.arguments)
        }
        if not columns:
            return block, calls
        core = self._closed(block)
        core = catalyst.project([*catalyst.output(core), *(c for made in columns.values() for c in made)], core)
        read = {id: tuple(column.toAttribute() for column in made) for id, made in columns.items()}
        named = [replace(call, arguments=read.get(catalyst.id(call.column), call.arguments)) for call in calls]
        return Block(core, tuple(catalyst.output(core))), named

    def _project(self, plan: Node, block: Block | None = None) -> Block:
        catalyst = self._catalyst
        block = block or self.block(catalyst.children(plan)[0])
        listed = catalyst.items(plan.projectList())
        if not (block.calls or block.items) or (block.conditions and not all(item.deterministic() for item in listed)):
            return self._over(plan, block)
        items = {
            catalyst.id(item): catalyst.substituted(catalyst.unaliased(item), block.items)
            for item in listed
            if self._is_made_of_answers(item, block)
        }
        if not all(meaning.deterministic() for meaning in items.values()):
            return self._over(plan, block)  # whoever names it twice means the same value
        cheap = [item for item in listed if catalyst.id(item) not in items]
        kept = {catalyst.id(item) for item in cheap}
        wanted = [*items.values(), *block.conditions, *block.order, *(a for c in block.calls for a in c.arguments)]
        needed = set().union(*(catalyst.references(expression) for expression in wanted)) - kept
        core = catalyst.project(
            [*cheap, *(c for c in catalyst.output(block.core) if catalyst.id(c) in needed)], block.core
        )
        answers = {catalyst.id(call.column) for call in block.calls}
        made_of = {id: meaning for id, meaning in items.items() if id not in answers}
        return replace(block, core=core, output=tuple(catalyst.output(plan)), items=made_of)

    def _filter(self, plan: Node) -> Block:
        catalyst = self._catalyst
        block = self.block(catalyst.children(plan)[0])
        if not block.calls or not plan.condition().deterministic():
            return self._over(plan, block)
        parts = catalyst.conjuncts(plan.condition())
        cheap = [part for part in parts if not self._is_made_of_answers(part, block)]
        on_answers = [
            catalyst.substituted(part, block.items) for part in parts if self._is_made_of_answers(part, block)
        ]
        core = catalyst.filter(catalyst.all(cheap), block.core)
        return replace(block, core=core, conditions=(*block.conditions, *on_answers))

    def _join(self, plan: Node) -> Block:
        catalyst = self._catalyst
        kind = catalyst.kind(plan.joinType())
        free = _EVERY_ROW_OF.get(kind, ())
        sides = [self.block(child) for child in catalyst.children(plan)]
        condition = plan.condition().get() if plan.condition().isDefined() else None
        parts = [] if condition is None else catalyst.conjuncts(condition)
        on_answers = [part for part in parts if any(self._is_made_of_answers(part, side) for side in sides)]
        cheap = [part for part in parts if part not in on_answers]
        if on_answers and not (kind == "Inner" and cheap):  # the answers are what the tables are joined by
            free = tuple(i for i in free if not any(self._is_made_of_answers(part, sides[i]) for part in on_answers))
        sides[0] = self._narrowed(kind, sides, cheap, on_answers)
        for i, side in enumerate(sides):
            if not (side.calls or side.items) or i in free:
                continue
            if _NULLED.get(kind) == i and not on_answers and not side.conditions:
                sides[i] = self._null_of_nulls(side)
            else:
                if _NEEDS_A_MATCH.get(kind) == i:
                    side = self._with_match(side, sides[1 - i], cheap)
                sides[i] = Block(self._closed(side), side.output)
        meanings = sides[0].items | sides[1].items
        on_answers = [part for part in on_answers if any(self._is_made_of_answers(part, side) for side in sides)]
        made = catalyst.with_children(plan, [side.core for side in sides])
        if on_answers:
            made = catalyst.with_condition(made, catalyst.all([part for part in parts if part not in on_answers]))
        return Block(
            made,
            tuple(catalyst.output(plan)),
            (*sides[0].calls, *sides[1].calls),
            (
                *sides[0].conditions,
                *sides[1].conditions,
                *(catalyst.substituted(part, meanings) for part in on_answers),
            ),
            meanings,
        )

    def _narrowed(self, kind: str, sides: Sequence[Block], cheap: Sequence[Node], on_answers: Sequence[Node]) -> Block:
        """The left side of a join. Where it is joined by answers too, only rows that the rest matches need them."""
        catalyst = self._catalyst
        left, right = sides
        if kind not in ("LeftOuter", "LeftSemi") or not cheap or right.conditions:
            return left
        if not any(self._is_made_of_answers(part, left) for part in on_answers) or not is_repeatable(
            catalyst, right.core
        ):
            return left
        core, matched = catalyst.with_match(left.core, right.core, catalyst.all(cheap))
        calls = tuple(
            replace(call, arguments=(catalyst.only_if(matched, call.arguments[0]), *call.arguments[1:]))
            for call in left.calls
        )
        return replace(left, core=core, calls=calls)

    def _with_match(self, side: Block, other: Block, cheap: Sequence[Node]) -> Block:
        """The rows of a side that have a match by cheap conditions: the join reads no others."""
        catalyst = self._catalyst
        if not any(catalyst.kind(part) in _EQUALITIES for part in cheap) or not is_repeatable(catalyst, other.core):
            return side
        return replace(side, core=catalyst.with_semi_join(side.core, other.core, catalyst.all(cheap)))

    def _null_of_nulls(self, side: Block) -> Block:
        """A side of which a row of NULLs, as an outer join adds them, asks nothing and has no value but NULLs."""
        catalyst = self._catalyst
        flag = catalyst.new_column(catalyst.true(), "present")
        there = flag.toAttribute().withNullability(True)
        calls = tuple(
            replace(call, arguments=(catalyst.only_if(there, call.arguments[0]), *call.arguments[1:]))
            for call in side.calls
        )
        items = {id: catalyst.only_if(there, meaning) for id, meaning in side.items.items()}
        core = catalyst.project([*catalyst.output(side.core), flag], side.core)
        return replace(side, core=core, calls=calls, items=items)

    def _window(self, plan: Node) -> Block:
        catalyst = self._catalyst
        block = self.block(catalyst.children(plan)[0])
        expressions = catalyst.items(plan.expressions())
        if not block.calls or block.conditions or any(self._is_made_of_answers(e, block) for e in expressions):
            return self._over(plan, block)
        return replace(
            block, core=catalyst.with_children(plan, [block.core]), output=tuple(catalyst.output(plan)), order=()
        )

    def _generate(self, plan: Node) -> Block:
        """The rows of explode and its kin, which need no answer where the calls are on other columns."""
        catalyst = self._catalyst
        block = self.block(catalyst.children(plan)[0])
        generator = plan.generator()
        if block.conditions or not generator.deterministic() or self._is_made_of_answers(generator, block):
            return self._over(plan, block)
        made = catalyst.with_children(plan, [block.core])
        unread = catalyst.field(plan, "unrequiredChildIndex")
        assert unread is not None
        made = catalyst.with_fields(made, {unread: catalyst.seq([])})  # requests may be made of any column
        return replace(block, core=made, output=tuple(catalyst.output(plan)), order=())

    def _aggregate(self, plan: Node) -> Block:
        catalyst = self._catalyst
        block = self.block(catalyst.children(plan)[0])
        return self._over(plan, block, uses=catalyst.items(plan.expressions()))

    def _limit(self, plan: Node) -> Block:
        """LIMIT and OFFSET, with the ORDER BY below them: what they drop is not asked, where answers do not decide."""
        catalyst = self._catalyst
        limits, below = [], plan
        while catalyst.kind(below) in _LIMITS:
            limits.append(below)
            below = catalyst.children(below)[0]
        columns = None
        if catalyst.kind(below) == "Project" and catalyst.kind(catalyst.children(below)[0]) == "Sort":
            columns, below = below, catalyst.children(below)[0]  # which columns there are decides on no row
        if catalyst.kind(below) == "Sort":
            block = self._sorted(below)
        else:
            block = self._block_below(below)
            if block.calls and block.conditions:
                block = self._settle(block, [], limit=catalyst.rows_of(limits), rest=True)
        core = block.core
        for limit in reversed(limits):
            core = catalyst.with_children(limit, [core])
        block = replace(block, core=core)
        return block if columns is None else self._project(columns, block)

    def _sorted(self, plan: Node) -> Block:
        """Rows in their order, in which a LIMIT takes them: what answers decide on it is asked for all of them."""
        catalyst = self._catalyst
        block = self._block_below(catalyst.children(plan)[0])
        keys = [catalyst.substituted(key, block.items) for key in catalyst.items(plan.order())]
        if block.calls:
            block = self._settle(block, keys, rest=True)
        made = catalyst.with_fields(plan, {0: catalyst.seq(keys)})
        order = tuple(keys) if block.calls or block.items else ()
        return replace(block, core=catalyst.with_children(made, [block.core]), order=order)

    def _block_below(self, plan: Node) -> Block:
        """The rows that a LIMIT takes some of: those of a UNION ALL are taken before its parts are asked about."""
        catalyst = self._catalyst
        if catalyst.kind(plan) != "Union" or not catalyst.has_python(plan):
            return self.block(plan)
        parts = [self.block(child) for child in catalyst.children(plan)]
        return united(catalyst, plan, [Block(self._closed(p), p.output) if p.order else p for p in parts])

    def _over(self, plan: Node, block: Block, uses: Sequence[Node] | None = None) -> Block:
        """A node over the finished rows of its only child."""
        made = self._catalyst.with_children(plan, [self._closed(block, uses)])
        return Block(made, tuple(self._catalyst.output(plan)))

    def _is_all_of(self, output: Sequence[Node], plan: Node) -> bool:
        """Whether a plan has these columns and no others, in this order."""
        catalyst = self._catalyst
        return [catalyst.id(column) for column in output] == [catalyst.id(column) for column in catalyst.output(plan)]

    def _is_made_of_answers(self, expression: Node, block: Block) -> bool:
        known = {self._catalyst.id(call.column) for call in block.calls} | block.items.keys()
        return bool(known & self._catalyst.references(expression))
