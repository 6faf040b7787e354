"""Counts what a plan's calls would ask, without asking: the same steps, with stand-ins for the answers.

Conditions on answers let every row pass, and the request of a call stands for its answer. Knows plans and frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from aiq.engines.spark.catalyst import Catalyst, Node
from aiq.engines.spark.job import REQUEST
from aiq.engines.spark.keys import KEY
from aiq.engines.spark.lifting import FIRST_WAVE, Answering, PlanLifting, Steps
from aiq.engines.spark.needs import Need
from aiq.engines.spark.rows import Block, PlanCall
from aiq.statements.estimate import Counted
from aiq.statements.sites import Compiled

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_STANDS_IN = "answers decide which requests come, so this is an upper bound"


class PlanCounting(PlanLifting):
    """The calls of one statement, counted. `counts` has them in the order in which they would be asked."""

    def __init__(self, catalyst: Catalyst, answering: Answering, sites: dict[int, Compiled]) -> None:
        super().__init__(catalyst, answering)
        self.counts: list[Counted] = []
        self.stage = 0
        self.sites = sites
        self.stand_ins: set[int] = set()
        self._seen: dict[int, list[DataFrame]] = {}

    def settle(self, block: Block, uses: Sequence[Node], *, limit: int | None = None, rest: bool = False) -> Block:
        steps = _CountingSteps(self, block, uses, rest, limit)
        return steps.all()

    def count(self, call: PlanCall, group: int, requests: DataFrame, *, exact: bool, limit: int | None) -> None:
        """Counts the requests of a call, those of earlier calls of its group left out."""
        from pyspark.sql import functions as f

        made = self.sites[call.site]
        text = f.col(REQUEST)
        if dict(requests.dtypes)[REQUEST] != "string":
            text = f.to_json(f.struct(REQUEST))
        each = requests.groupBy(KEY).agg(f.count("*").alias("rows"), f.max(f.length(text)).alias("characters"))
        fresh = each.withColumn("fresh", f.lit(1))
        for earlier in self._seen.get(group, []):
            fresh = fresh.join(earlier.select(KEY, f.lit(0).alias("known")), KEY, "left")
            fresh = fresh.withColumn("fresh", f.least("fresh", f.coalesce("known", f.lit(1)))).drop("known")
        self._seen.setdefault(group, []).append(each)
        total = fresh.agg(f.sum("rows"), f.sum("fresh"), f.sum(f.col("fresh") * f.col("characters"))).collect()[0]
        rows, most, characters = (int(value or 0) for value in total)
        likely = most if limit is None else min(most, max(FIRST_WAVE, 2 * limit))
        notes = () if exact else (_STANDS_IN,)
        self.counts.append(
            Counted(
                made.site.text,
                made.site.endpoint.name,
                self.stage,
                rows,
                likely,
                likely if exact and limit is None else 0,
                most,
                characters,
                exact=exact and limit is None,
                max_output_tokens=made.site.max_output_tokens,
                notes=notes if limit is None else (*notes, "asked in growing waves until enough rows pass"),
                site=call.site,
            )
        )

    def has_stand_in(self, plan: Node) -> bool:
        """Whether rows or columns of a plan are made of stand-ins for answers."""
        catalyst = self.catalyst
        return catalyst.any(
            plan,
            lambda node: (
                catalyst.kind(node) == "Project"
                and any(catalyst.id(item) in self.stand_ins for item in catalyst.output(node))
            ),
        )


class _CountingSteps(Steps):
    """One block, counted."""

    def __init__(
        self, counting: PlanCounting, block: Block, uses: Sequence[Node], rest: bool, limit: int | None
    ) -> None:
        super().__init__(counting, block, uses, rest)
        self._counting, self._limit, self._step = counting, limit, 0

    def _ask(self, needs: Sequence[Need], most: int | None = None, *, known_only: bool = False) -> int:
        catalyst, counting = self._catalyst, self._counting
        counting.stage += 1
        made_of_answers = counting.stand_ins | self._calls.keys()
        depends = (self._step > 0 and bool(self._block.conditions)) or counting.has_stand_in(self._core)
        self._step += 1
        plan = self._joined([])
        for need in needs:
            call = self._calls[need.column]
            self._answering.check(call.site, self._types(call))
            certain = [part for part in need.guard if not catalyst.references(part) & made_of_answers]
            rows = catalyst.frame(catalyst.filter(catalyst.all(certain), plan))
            nested = bool(catalyst.all_references(call.arguments) & made_of_answers)
            exact = not depends and not nested and len(certain) == len(need.guard)
            counting.count(call, self._group(call), self._requests(call, rows), exact=exact, limit=self._limit)
            self._asked.note(need)
        return 0

    def _joined(self, conditions: Sequence[Node], *, checked: bool = False, known_only: bool = False) -> Node:
        catalyst, plan = self._catalyst, self._core
        for column, call in self._calls.items():
            if self._asked.guards(column):
                stand_in = catalyst.alias(catalyst.stand_in(call.arguments[0], call.column), call.column)
                plan = catalyst.project([*catalyst.output(plan), stand_in], plan)
                self._counting.stand_ins.add(column)
        return plan
