"""One statement of Spark: its calls are answered first, and what Spark runs is a plan over their answers.

Runs in a clone of the session, whose optimizer shows all there is in a plan.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from aiq.engines.spark.answers import SessionFiles, WorkerAnswers
from aiq.engines.spark.blocks import Blocks
from aiq.engines.spark.calls import Sites, register_calls
from aiq.engines.spark.catalyst import Catalyst
from aiq.engines.spark.changing import Answered
from aiq.engines.spark.commands import check_command, creates_what_is_there, query_of
from aiq.engines.spark.counting import PlanCounting
from aiq.engines.spark.lifting import PlanLifting
from aiq.engines.spark.merging import change_of
from aiq.engines.spark.prepare import PREFIX, NumberedText
from aiq.engines.spark.reading import share_variables
from aiq.engines.spark.register import origin_of
from aiq.functions.signature import FUNCTION
from aiq.gateway import Gateway
from aiq.ledger.prices import price_of
from aiq.request import Caller, Request
from aiq.statements.commit import commit
from aiq.statements.estimate import Counted
from aiq.statements.history import NOTHING, usage_of
from aiq.statements.settings import StatementSettings
from aiq.statements.sites import Compiled

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_TYPICAL_TOKENS = (200, 100)
_OF_OWN_STATEMENT = {
    # What is found while a plan is taken apart must be all there is.
    "spark.sql.optimizer.dynamicPartitionPruning.enabled": "false",
    "spark.sql.optimizer.runtime.bloomFilter.enabled": "false",
    # Some tens of short requests make a task of their own: what they wait for is the provider, not the processor.
    "spark.sql.adaptive.coalescePartitions.minPartitionSize": "1k",
}


class LiftedPlan:
    """One statement with its calls lifted out of Spark's plan."""

    def __init__(
        self,
        spark: SparkSession,
        gateway: Gateway,
        caller: Caller,
        files: SessionFiles,
        prepared: NumberedText,
        statement: str = "",
        settings: StatementSettings | None = None,
    ) -> None:
        """`files` keep what must not be computed twice; `statement` is its id, with none nothing is asked."""
        settings = settings or StatementSettings()
        self._spark, self._gateway, self._caller = spark, gateway, caller
        self._prepared, self._statement = prepared, statement
        self._limit_usd = settings.max_cost_usd
        own = SparkSession(spark.sparkContext, spark._jsparkSession.cloneSession())
        for name, value in _OF_OWN_STATEMENT.items():
            own.conf.set(name, value)
        share_variables(spark, own)
        self._catalyst = Catalyst(own)
        self.origin = origin_of(spark, gateway, caller, reuse=settings.reuse)
        self._sites = Sites(prepared.sites, self._catalyst, gateway)
        self._answering = WorkerAnswers(
            prepared.sites,
            lambda number: self._sites.job(number, statement, self.origin),
            files,
            self._typical_cost,
            self._left_usd,
        )
        register_calls(own, self._sites, statement, self.origin)

    def answered(self, frame: DataFrame | None) -> DataFrame:
        """The calls first, then the statement over their answers, in the session of whoever reads it."""
        catalyst, spark = self._catalyst, self._spark
        blocks = Blocks(catalyst, self._sites.of, PlanLifting(catalyst, self._answering).settle)

        def rows(query: DataFrame) -> DataFrame:
            return catalyst.frame(blocks.answered(catalyst.optimized(query)), spark).toDF(*query.columns)

        if frame is not None:
            return rows(frame)
        command = catalyst.parsed(self._prepared.text)
        if (change := change_of(catalyst, command)) is not None:
            return change.run(Answered(rows, self._answering.kept), spark)
        writing = query_of(catalyst, command)
        if writing is None:
            return self._named(rows(catalyst.spark.sql(self._prepared.text)))
        inner, position, query = writing
        if creates_what_is_there(catalyst, command):  # IF NOT EXISTS, or Spark's error, before any row is read
            return catalyst.frame(command)
        answered = catalyst.plan(rows(catalyst.frame(query)))
        return catalyst.frame(catalyst.with_fields(inner, {position: answered}), spark)

    def look(self) -> None:
        """Has Spark analyse the statement."""
        self._catalyst.spark.sql(self._prepared.text)

    def _named(self, frame: DataFrame) -> DataFrame:
        """A frame whose columns have the names that Spark gives them: `ai_query(chat, p)` where the text has none."""
        if not any(FUNCTION in name or PREFIX in name for name in frame.columns):
            return frame
        try:
            names = self._catalyst.columns_of(self._prepared.written)
        except PySparkException:  # a call that plain Spark does not take
            return frame
        return frame.toDF(*names) if len(names) == len(frame.columns) else frame

    def counts(self) -> list[Counted]:
        """What the calls would ask, without asking."""
        catalyst = self._catalyst
        counting = PlanCounting(catalyst, self._answering, self._prepared.sites)
        command = catalyst.parsed(self._prepared.text)
        if self._prepared.sites:
            check_command(catalyst, command, self._prepared.written)
        if (change := change_of(catalyst, command)) is not None:
            queries = change.queries()
        elif (writing := query_of(catalyst, command)) is not None:
            if creates_what_is_there(catalyst, command):
                return []
            queries = [catalyst.frame(writing[2])]
        elif catalyst.is_command(command):
            return []
        else:
            queries = [catalyst.spark.sql(self._prepared.text)]
        for query in queries:
            Blocks(catalyst, self._sites.of, counting.settle).answered(catalyst.optimized(query))
        return counting.counts

    def _left_usd(self) -> float | None:
        """What the statement may still spend. Raises BudgetExceeded where a price is not known."""
        if self._limit_usd is None:
            return None
        gateway, caller = self._gateway, self._caller
        for made in self._prepared.sites.values():
            gateway.most_it_costs(Request(made.site.endpoint.name, made.site.task, {}, caller, self._statement))
        commit(gateway.ledger, soon=True)
        spent = usage_of(gateway.ledger.tables, self._statement).get(None, NOTHING)
        return max(0.0, self._limit_usd - (spent.actual_cost_usd or 0.0))

    def _typical_cost(self, made: Compiled) -> float:
        """US dollars of a typical request: what orders AI conditions whose answers nobody has seen yet."""
        tag = price_of(made.site.endpoint.entities[0], self._gateway.config.settings.prices)
        return 0.0 if tag is None else _TYPICAL_TOKENS[0] * tag.per_input + _TYPICAL_TOKENS[1] * tag.per_output
