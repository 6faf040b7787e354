"""A session on Spark: however often Spark evaluates the data frames that it gives, nothing is asked again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from aiq.engines.spark.engine import Spark
from aiq.gateway import Gateway
from aiq.request import Caller
from aiq.statements.session import Session


class SparkSqlSession(Session[DataFrame]):
    """Runs SQL with `ai_query` on a SparkSession, `spark`, which stays open when this is closed."""

    def __init__(
        self, spark: SparkSession, gateway: Gateway, caller: Caller, variables: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(Spark(spark, gateway, caller, variables), gateway, caller)
        self.spark = spark

    def __repr__(self) -> str:
        return f"<aiq session of {self.caller.user} on Spark, {len(self.gateway.config.endpoints)} endpoints>"
