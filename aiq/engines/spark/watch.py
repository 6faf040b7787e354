"""Tells the shared answers how each SQL execution of an application ended. Runs on the driver, beside its JVM.

What ended well is forgotten a while later, what was cut off is there for the next statement that asks the same. Must
never delay Spark, nor fail it.
"""

from __future__ import annotations

import atexit
import logging
import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from pyspark.sql import SparkSession

from aiq.answers.shared import process_name
from aiq.batch.kept import scope_of
from aiq.engines.spark.executions import Execution, ended_execution, record
from aiq.errors import LedgerError
from aiq.gateway import Gateway
from aiq.request import Caller
from aiq.runtime import shared_answers

LOOK_S = 2.0
HANDED_OVER_S = 60.0
"""How long the answers of what ended well stay: its rows may still be on their way out of the JVM."""
STOP_S = 5
"""How long stopping may wait for the status of what ended last."""
_log = logging.getLogger("aiq.spark")
_watched: dict[tuple[str, str], Callable[[], None]] = {}
"""What looks at an application, by its id and the home."""
_callers: dict[bytes, Caller] = {}


def watch(spark: SparkSession, gateway: Gateway, caller: Caller) -> None:
    """Watches the application of a classic session for a home, from the first call on, until its context stops."""
    context: Any = spark.sparkContext
    _callers[scope_of(caller)] = caller
    key = (context.applicationId, str(gateway.ledger.home))
    if key in _watched:
        return
    store = shared_answers(gateway)
    stopped, one_looks, owner = threading.Event(), threading.Lock(), process_name()
    ended_s: dict[bytes, float] = {}  # when what ended well was seen to have

    def look(last: bool = False) -> None:
        with one_looks:
            look_at_all(last)

    def look_at_all(last: bool) -> None:
        over: list[Execution] = []
        for statement in store.running(owner):
            if last or not (statement.lasting or statement.scope in ended_s):
                execution = ended_execution(spark, key[0], statement)
                if execution is not None and statement.scope not in ended_s:
                    over.append(execution)
                if execution and execution.well and not last:
                    ended_s[statement.scope] = time.monotonic()
                elif execution is not None:
                    store.end(statement, well=execution.well)
            elif time.monotonic() - ended_s.get(statement.scope, math.inf) > HANDED_OVER_S:
                store.end(statement, well=True)
                del ended_s[statement.scope]
        record(gateway, over, _callers)

    _watched[key] = look

    def look_on() -> None:
        while not stopped.wait(LOOK_S):
            _quietly(look)

    def last_look() -> None:
        if not stopped.is_set():
            stopped.set()
            _quietly(partial(look, True))

    stop = context.stop

    def stop_after_a_look() -> None:
        _wait_for_status(context)
        last_look()  # the JVM knows it now, and soon nobody does
        stop()

    context.stop = stop_after_a_look
    atexit.register(last_look)
    threading.Thread(target=look_on, name="aiq-spark-watch", daemon=True).start()


def look_now(spark: SparkSession, gateway: Gateway) -> None:
    """Looks at once what of an application has ended. Raises LedgerError."""
    context: Any = spark.sparkContext
    _wait_for_status(context)
    _watched[context.applicationId, str(gateway.ledger.home)]()


def _wait_for_status(context: Any) -> None:
    with suppress(Exception):  # as in `_quietly`; what ended a moment ago is still on its way to the status store
        context._jsc.sc().listenerBus().waitUntilEmpty(STOP_S * 1000)


def _quietly(look: Any) -> None:
    try:
        look()
    except LedgerError as error:
        _log.warning("%s", error)
    except Exception as error:  # py4j has many ways to say that the JVM is gone
        _log.debug("the application could not be watched: %r", error)
