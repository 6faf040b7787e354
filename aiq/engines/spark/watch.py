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
from contextlib import suppress
from functools import partial
from typing import Any

from pyspark.sql import SparkSession

from aiq.answers.shared import Shared, process_name
from aiq.errors import LedgerError
from aiq.gateway import Gateway
from aiq.runtime import shared_answers

LOOK_S = 2.0
HANDED_OVER_S = 60.0
"""How long the answers of what ended well stay: its rows may still be on their way out of the JVM."""
STOP_S = 5
"""How long stopping may wait for the status of what ended last."""
_log = logging.getLogger("aiq.spark")
_watched: set[tuple[str, str]] = set()
"""Application and home."""


def watch(spark: SparkSession, gateway: Gateway) -> None:
    """Watches the application of a classic session for a home, from the first call on, until its context stops."""
    context: Any = spark.sparkContext
    key = (context.applicationId, str(gateway.ledger.home))
    if key in _watched:
        return
    _watched.add(key)
    store = shared_answers(gateway)
    stopped, owner = threading.Event(), process_name()
    ended_s: dict[bytes, float] = {}  # when what ended well was seen to have

    def look(last: bool = False) -> None:
        for statement in store.running(owner):
            if last or not (statement.lasting or statement.scope in ended_s):
                ended = _ended(spark, key[0], statement)
                if ended and not last:
                    ended_s[statement.scope] = time.monotonic()
                elif ended is not None:
                    store.end(statement, well=ended)
            elif time.monotonic() - ended_s.get(statement.scope, math.inf) > HANDED_OVER_S:
                store.end(statement, well=True)
                del ended_s[statement.scope]

    def look_on() -> None:
        while not stopped.wait(LOOK_S):
            _quietly(look)

    def last_look() -> None:
        if not stopped.is_set():
            stopped.set()
            _quietly(partial(look, True))

    stop = context.stop

    def stop_after_a_look() -> None:
        with suppress(Exception):  # as in `_quietly`; what ended a moment ago is still on its way to the status store
            context._jsc.sc().listenerBus().waitUntilEmpty(STOP_S * 1000)
        last_look()  # the JVM knows it now, and soon nobody does
        stop()

    context.stop = stop_after_a_look
    atexit.register(last_look)
    threading.Thread(target=look_on, name="aiq-spark-watch", daemon=True).start()


def _ended(spark: SparkSession, application: str, statement: Shared) -> bool | None:
    """Whether what a statement ran last ended well; None while it runs, or where it is none of this application's."""
    name, _, execution = statement.run.rpartition("/")
    if name != application or not execution.isdigit():
        return None
    jvm: Any = spark._jsparkSession
    found = jvm.sharedState().statusStore().execution(int(execution))
    if found.isEmpty():
        return True  # long ago, so that Spark has forgotten it
    data = found.get()
    if data.completionTime().isEmpty():
        return None
    message = data.errorMessage()
    return bool(message.isEmpty() or not message.get())


def _quietly(look: Any) -> None:
    try:
        look()
    except LedgerError as error:
        _log.warning("%s", error)
    except Exception as error:  # py4j has many ways to say that the JVM is gone
        _log.debug("the application could not be watched: %r", error)
