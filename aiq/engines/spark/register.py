"""Makes `ai_query` known to a SparkSession, and tells what its workers need to know. Runs on the driver.

Classic and Connect sessions alike; what only the driver's JVM knows (how a statement ended) is missing on Connect.
"""

from __future__ import annotations

import os
import sys
import uuid
import weakref
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql.pandas.functions import arrow_udf

from aiq.config.reuse import Reuse
from aiq.engines.spark.builder import build_by_arguments
from aiq.engines.spark.copies import offer
from aiq.engines.spark.job import Origin
from aiq.engines.spark.plain import plain_function
from aiq.engines.spark.watch import watch
from aiq.functions.signature import FUNCTION
from aiq.gateway import Gateway
from aiq.request import Caller

_registered: weakref.WeakKeyDictionary[SparkSession, tuple[Gateway, Origin]] = weakref.WeakKeyDictionary()
_named: dict[str, tuple[Gateway, Origin]] = {}
_by_default: weakref.WeakSet[SparkSession] = weakref.WeakSet()
_NAME = "spark.aiq.registration"
"""A setting that goes along when Spark clones a session, as it does for each batch of a stream."""


def register(spark: SparkSession, gateway: Gateway, caller: Caller, *, reuse: Reuse | None = None) -> Origin:
    """Makes `ai_query` callable in `spark.sql` and `expr`, typed by its arguments; on Connect with STRING results.

    Returns what `ask` and other jobs of the session take. Raises ConfigError and LedgerError.
    """
    origin = origin_of(spark, gateway, caller, reuse=reuse)
    gateway.ledger.sync_entities(gateway.config.endpoints.values(), caller.user)
    vectorized: Any = arrow_udf  # its overloads know no function of any number of arguments
    if classic_context(spark) is None:
        spark.udf.register(FUNCTION, vectorized(plain_function(origin), "string"))
    else:
        build_by_arguments(spark, gateway, lambda kind, text: plain_function(origin, kind, text))
        offer(spark, gateway.ledger.home)
    name = spark.conf.get(_NAME, None) if spark in _registered else None
    name = name or str(uuid.uuid4())
    spark.conf.set(_NAME, name)
    _registered[spark] = _named[name] = (gateway, origin)
    return origin


def registration(spark: SparkSession) -> tuple[Gateway, Origin]:
    """What a session, or the one that it is a clone of, was registered with.

    Where neither was, it is now, with the defaults of `aiq.register`.
    """
    found = _registered.get(spark) or _named.get(spark.conf.get(_NAME, None) or "")
    if found is None:
        from aiq.engines.connect import register as register_with_defaults

        register_with_defaults(spark)
        found = _registered[spark]
        _by_default.add(spark)
    return found


def knows_requests(spark: SparkSession) -> bool:
    """Whether columns of a session may name the functions that aiq registered, as clones of the session then know them.

    What was registered only as a column was made may have clones already: the batches of a stream.
    """
    return classic_context(spark) is not None and spark not in _by_default


def origin_of(spark: SparkSession, gateway: Gateway, caller: Caller, *, reuse: Reuse | None = None) -> Origin:
    """What workers need to know; from now on it is told how each statement of the application ended."""
    context = classic_context(spark)
    if context is not None:
        _use_this_python(context)
        watch(spark, gateway, caller)
    return Origin.of(
        gateway,
        caller,
        application=spark.conf.get("spark.app.id", None) or "spark",
        slots=_slots(spark, context),
        watched=context is not None,
        reuse=reuse,
        hosts=_hosts(context),
    )


def classic_context(spark: SparkSession) -> Any:
    """The SparkContext, None on Connect."""
    try:
        return spark.sparkContext
    except Exception:  # PySparkAttributeError, from whichever module this version has it
        return None


def _use_this_python(context: Any) -> None:
    """On one machine, workers run the interpreter that has aiq, unless somebody chose another."""
    chosen = "PYSPARK_PYTHON" in os.environ or context.getConf().get("spark.pyspark.python") is not None
    if not chosen and context.master.startswith("local"):
        context.pythonExec = sys.executable


def _slots(spark: SparkSession, context: Any) -> int:
    """Tasks that can run at once in the application, as far as the configuration tells; else those that are there."""

    def setting(name: str) -> int | None:
        value = spark.conf.get(name, None)
        return int(value) if value is not None and value.isdigit() else None

    executors = setting("spark.dynamicAllocation.maxExecutors") or setting("spark.executor.instances")
    cores = setting("spark.executor.cores")
    if executors is not None and cores is not None:
        return max(1, executors * cores // (setting("spark.task.cpus") or 1))
    return max(1, context.defaultParallelism if context is not None else 1)


def _hosts(context: Any) -> int:
    """The hosts on which the application has executors right now; 1 where nobody can know."""
    if context is None or context.master.startswith("local"):
        return 1
    found = context._jsc.sc().statusTracker().getExecutorInfos()
    hosts = [info.host() for info in found]
    return max(1, len(set(hosts)))
