"""Has the calls of a block answered: collects the distinct requests as one query, has them asked, joins the answers.

Step by step, so that no request is made because another's answer is still unknown. Knows plans and frames; how a
request is answered is somebody else's.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING, Protocol

from aiq.engines.spark.catalyst import Catalyst, Node
from aiq.engines.spark.job import ANSWER, FILES, REQUEST
from aiq.engines.spark.keys import KEY, distinct, key_of, plain
from aiq.engines.spark.needs import AskedCalls, Guard, Need
from aiq.engines.spark.repeatable import is_repeatable
from aiq.engines.spark.rows import Block, PlanCall

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType

FIRST_WAVE = 16
WAVE_GROWTH = 4
"""A wave is a job of its own, which takes its time however few rows it has."""
_MISSING = (
    "the rows that the statement reads have changed while it ran, so that an answer is missing; run it again, it asks "
    "only for the rest"
)


class Answering(Protocol):
    """Where answers come from."""

    def group(self, site: int, types: Sequence[DataType]) -> int:
        """A number that calls share whose requests are of the same types, and the same answer where they are equal."""
        ...

    def cost(self, site: int) -> float:
        """What one request costs, in any unit."""
        ...

    def check(self, site: int, types: Sequence[DataType]) -> None:
        """Raises FunctionError for a request, or files, of the wrong type. Makes no call."""
        ...

    def ask(self, site: int, requests: DataFrame, siblings: int) -> DataFrame:
        """The answers of distinct requests: columns `key`, `answer`, in storage that outlives the workers.

        So many others are asked `siblings` it.
        """
        ...

    def kept(self, rows: DataFrame) -> DataFrame:
        """The same rows, evaluated once and for all."""
        ...


class PlanLifting:
    """The calls of one statement."""

    def __init__(self, catalyst: Catalyst, answering: Answering) -> None:
        self.catalyst, self.answering = catalyst, answering
        self._answers: dict[int, list[DataFrame]] = {}

    def settle(self, block: Block, uses: Sequence[Node], *, limit: int | None = None, rest: bool = False) -> Block:
        """Has answered what a block's conditions and `uses` need, and joins it (see `blocks.Settle`)."""
        steps = Steps(self, block, uses, rest)
        return steps.in_waves(limit) if limit is not None else steps.all()

    def ask(self, frames: Sequence[tuple[int, int, DataFrame]], most: int | None = None) -> int:
        """Has requests answered that have not been asked before; `frames` give some of a site, after its group and
        number, with duplicates.

        Of each group at most `most`. Returns how many there were where `most` is given.
        """
        groups: dict[int, list[tuple[int, DataFrame]]] = {}
        for group, site, frame in frames:
            groups.setdefault(group, []).append((site, frame))
        fresh = []
        for group, members in groups.items():
            requests = distinct(reduce(lambda one, other: one.unionByName(other), (frame for _, frame in members)))
            if group in self._answers:
                requests = requests.join(self.answers(group).select(KEY), KEY, "left_anti")
            if most is not None:
                requests = self.answering.kept(requests.limit(most))
            fresh.append((group, members[0][0], requests))
        count = sum(requests.count() for _, _, requests in fresh) if most is not None else 0
        for (group, _, _), answers in zip(fresh, self._together(fresh), strict=True):
            self._answers.setdefault(group, []).append(answers)
        return count

    def _together(self, fresh: Sequence[tuple[int, int, DataFrame]]) -> list[DataFrame]:
        """The answers to requests that do not depend on each other."""
        if len(fresh) == 1:
            return [self.answering.ask(fresh[0][1], fresh[0][2], 0)]
        from pyspark import inheritable_thread_target

        ask = inheritable_thread_target(self.catalyst.spark)(self.answering.ask)
        with ThreadPoolExecutor(len(fresh)) as pool:
            return list(pool.map(lambda one: ask(one[1], one[2], len(fresh) - 1), fresh))

    def answers(self, group: int) -> DataFrame:
        """All answers of a group so far: `key`, `answer`."""
        return reduce(lambda one, other: one.unionByName(other), self._answers[group])


class Steps:
    """One block on its way to being settled."""

    def __init__(self, lifting: PlanLifting, block: Block, uses: Sequence[Node], rest: bool) -> None:
        catalyst = lifting.catalyst
        self._lifting, self._catalyst, self._answering = lifting, catalyst, lifting.answering
        self._block, self._uses, self._core = block, uses, block.core
        self._calls = {catalyst.id(call.column): call for call in block.calls}
        self._asked = self._nothing_asked()
        self._where: dict[int, list[Guard]] = {}
        """Of which rows each call has been asked: besides its guard, what conditions had been applied by then."""
        self._also_later: set[int] = set()
        if rest:
            self._also_later = catalyst.all_references([*block.output, *block.items.values()])
        self._is_kept = False

    def all(self) -> Block:
        """Everything, for every row."""
        while needs := self._next():
            self._ask(needs)
        return self._settled(self._joined(list(self._block.conditions), checked=True))

    def in_waves(self, limit: int) -> Block:
        """The conditions, for more and more rows until `limit` rows have passed them."""
        catalyst = self._catalyst
        most = max(FIRST_WAVE, 2 * limit)
        while True:
            self._asked, self._where, count, first = self._nothing_asked(), {}, 0, True
            while needs := self._next():
                count += self._ask(needs, most if first else None, known_only=not first)
                first = False
            passed = self._joined(list(self._block.conditions), known_only=True)
            if not count or catalyst.frame(passed).limit(limit).count() >= limit:
                return self._settled(passed)
            most *= WAVE_GROWTH

    def _nothing_asked(self) -> AskedCalls:
        asked = AskedCalls(self._catalyst, lambda column: self._answering.cost(self._calls[column].site))
        for column, call in self._calls.items():
            asked.add(column, call.arguments)
        return asked

    def _settled(self, core: Node) -> Block:
        """The block over what is answered; what was not asked remains."""
        rest = tuple(call for column, call in self._calls.items() if not self._asked.guards(column))
        return replace(self._block, core=core, calls=rest, conditions=())

    def _next(self) -> list[Need]:
        """The calls to be asked now: those of the cheapest condition, then those of what the rows are used for."""
        asked = self._asked
        unknown = [condition for condition in self._block.conditions if asked.needs([condition])]
        needs = asked.needs([min(unknown, key=asked.price)]) if unknown else asked.needs(self._uses)
        return list({n.column: n for n in map(self._widened, needs)}.values()) if self._also_later else needs

    def _widened(self, need: Need) -> Need:
        """For all rows, where the answer is used for others later on."""
        return Need(need.column, ()) if need.column in self._also_later else need

    def _ask(self, needs: Sequence[Need], most: int | None = None, *, known_only: bool = False) -> int:
        self._keep_rows()
        catalyst, asked = self._catalyst, self._asked
        known = [condition for condition in self._block.conditions if not asked.needs([condition])]
        plan = self._joined(known, known_only=known_only)
        frames = []
        for need in needs:
            call = self._calls[need.column]
            guard: Guard = need.guard
            rows = catalyst.frame(catalyst.filter(catalyst.all(guard), plan))
            frames.append((self._group(call), call.site, self._requests(call, rows)))
            self._answering.check(call.site, self._types(call))
        count = self._lifting.ask(frames, most)
        for need in needs:
            asked.note(need)
            self._where.setdefault(need.column, []).append((*need.guard, *known))
        return count

    def _requests(self, call: PlanCall, rows: DataFrame) -> DataFrame:
        from pyspark.sql import functions as f

        arguments = self._arguments(call)
        columns = [column.alias(name) for name, (column, _) in arguments.items()]
        return rows.select(*columns, key_of(arguments).alias(KEY)).where(f.col(KEY).isNotNull())

    def _arguments(self, call: PlanCall) -> dict[str, tuple[Column, DataType]]:
        """The request of a call, and its files if it has any, with their types."""
        return {
            name: plain(self._catalyst.column(argument), self._catalyst.type(argument))
            for name, argument in zip((REQUEST, FILES), call.arguments, strict=False)
        }

    def _types(self, call: PlanCall) -> list[DataType]:
        return [kind for _, kind in self._arguments(call).values()]

    def _group(self, call: PlanCall) -> int:
        return self._answering.group(call.site, self._types(call))

    def _keep_rows(self) -> None:
        """Rows that another evaluation might give otherwise are evaluated now, and once."""
        if self._is_kept:
            return
        self._is_kept = True
        catalyst = self._catalyst
        if is_repeatable(catalyst, self._core):
            return
        columns = catalyst.output(self._core)
        names = [f"c{i}" for i in range(len(columns))]
        kept = catalyst.plan(self._answering.kept(catalyst.frame(self._core).toDF(*names)))
        found = zip(catalyst.output(kept), columns, strict=True)
        self._core = catalyst.project([catalyst.alias(new, old) for new, old in found], kept)

    def _joined(self, conditions: Sequence[Node], *, checked: bool = False, known_only: bool = False) -> Node:
        """The rows with the answers to what was asked, of which `conditions` hold.

        `checked` refuses rows whose answer is missing though it was asked for; `known_only` drops them.
        """
        catalyst, plan, unanswered = self._catalyst, self._core, []
        for column, call in self._calls.items():
            if guards := self._where.get(column):
                plan, missing = self._with_answer(plan, call)
                unanswered.append((call, missing, self._any(guards)))
        if known_only:
            for _, missing, guard in unanswered:
                condition = missing if guard is None else catalyst.all([missing, guard])
                plan = catalyst.filter(catalyst.is_not(condition, True), plan)
        if checked and unanswered:
            made = {
                catalyst.id(call.column): catalyst.checked(
                    call.column, missing if guard is None else catalyst.all([missing, guard]), _MISSING
                )
                for call, missing, guard in unanswered
            }
            plan = catalyst.project([made.get(catalyst.id(c), c) for c in catalyst.output(plan)], plan)
        plan = catalyst.filter(catalyst.all(conditions), plan)
        shown = self._calls.keys() | map(catalyst.id, catalyst.output(self._core))
        return catalyst.project([c for c in catalyst.output(plan) if catalyst.id(c) in shown], plan)

    def _with_answer(self, plan: Node, call: PlanCall) -> tuple[Node, Node]:
        """A plan joined with the answers of a call, and the condition under which a request has none."""
        from pyspark.sql import functions as f

        catalyst = self._catalyst
        frame = catalyst.frame(plan)
        columns = [catalyst.column(column) for column in catalyst.output(plan)]
        left = catalyst.plan(frame.select(*columns, key_of(self._arguments(call)).alias(KEY)))
        answers = self._lifting.answers(self._group(call))
        right = catalyst.plan(answers.select(f.col(KEY).alias(KEY), f.col(ANSWER).alias(ANSWER)))
        key, (found, answer) = catalyst.output(left)[-1], catalyst.output(right)
        joined = catalyst.left_join(left, right, catalyst.equal(key, found))
        kept = [*catalyst.output(plan), key, found, catalyst.alias(answer, call.column)]
        missing = catalyst.all([catalyst.negated(catalyst.is_null(key)), catalyst.is_null(found)])
        return catalyst.project(kept, joined), missing

    def _any(self, guards: Sequence[Guard]) -> Node | None:
        """The OR of some guards; None where one of them holds for every row."""
        catalyst = self._catalyst
        made = [catalyst.all(guard) for guard in guards]
        if any(guard is None for guard in made):
            return None
        return reduce(catalyst.either, [catalyst.is_true(guard) for guard in made])
