"""One statement of Spark, of which every task is a part: with whom it shares its answers. Knows no Spark.

Tasks are retried, run twice, and run again for a sort or a join: what one of them was answered, all others read.
"""

from __future__ import annotations

import atexit
import os
import re
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, NamedTuple

from aiq.answers.shared import Shared, scope_of_statement
from aiq.batch.budget import Budget
from aiq.batch.kept import KeptAnswers, reuse_of, scope_of
from aiq.batch.shared import SharedStatement
from aiq.batch.statement import Statement
from aiq.config.reuse import Reuse
from aiq.engines.spark.job import Origin
from aiq.errors import LedgerError, StatementError
from aiq.gateway import Gateway
from aiq.runtime import shared_answers


class _Settled(NamedTuple):
    """A statement that ended well, and what has its result."""

    holder: weakref.ref[object]
    gateway: Gateway
    origin: Origin
    statement: str


_CHANGE = re.compile(r"^(?:Delta:.*\b(DELETE|UPDATE|MERGE) operation|(MERGE) operation - scanning files)")
_settled: list[_Settled] = []
_lock = threading.Lock()


def part_of(
    gateway: Gateway, origin: Origin, statement: str = "", *, budget_usd: float | None = None, text: str = ""
) -> Statement:
    """This process' part of a statement. Its answers are shared as the endpoint's reuse says; `off`: not at all.

    Without a name it is what Spark runs right now: one SQL execution, whose number is in the Spark UI, too. Raises
    StatementError where answers would change the wrong rows.
    """
    _refuse_change()
    run = f"{origin.application}/{_execution()}"
    statement = statement or run
    reuse = partial(reuse_of, gateway, origin.caller, asked=origin.reuse)

    @cache
    def shared_for(endpoint: str) -> Shared | None:
        mode = reuse(endpoint).mode
        return None if mode == "off" else shared(origin, statement, run=run, session=mode == "session", text=text)

    def durable(endpoint: str) -> Reuse:
        says = reuse(endpoint)
        return says if says.mode == "durable" else Reuse("off")

    kept = None if gateway.answers is None else KeptAnswers(gateway.answers, origin.caller, durable, {})
    budget = None if budget_usd is None else Budget(budget_usd, first_alone=True)
    return SharedStatement(
        gateway, origin.caller, shared_answers(gateway), shared_for, statement, kept=kept, budget=budget
    )


def shared(origin: Origin, statement: str, *, run: str = "", session: bool = False, text: str = "") -> Shared:
    """What a statement's processes know it by; with `session` all statements of the application."""
    name = origin.application if session else statement
    caller = scope_of(origin.caller)
    scope = scope_of_statement(caller, f"{origin.owner} {name}")
    asking = statement if session else ""
    lasting = name != run
    return Shared(
        name, scope, caller, origin.owner, origin.watched, run or name, lasting, asking, "" if lasting else text
    )


def _refuse_change() -> None:
    """Refuses to answer while Delta looks for the rows to change, as the description of its job says.

    It reads the name of their file over operators that read ahead for Python, and gets that of a later one.
    """
    context = _task()
    found = _CHANGE.search((context and context.getLocalProperty("spark.job.description")) or "")
    if found is not None and "materialize source" not in found.string:
        raise wrong_rows(found.group(1) or found.group(2), "changed")


def wrong_rows(command: str, nothing_was: str = "asked or changed") -> StatementError:
    """The refusal of a DELETE, UPDATE or MERGE that decides by calls: see changing.py."""
    return StatementError(
        f"{command} with an AI call would change the wrong rows of a Delta table here, because Delta loses the files "
        f"of rows that a Python function has read; nothing was {nothing_was}. Run the statement with session.sql: "
        f"aiq.connect(spark).sql('{command} ...')"
    )


def _task() -> Any:
    """The task that this process works on; None on the driver, and without Spark."""
    try:
        from pyspark import TaskContext
    except ImportError:
        return None
    return TaskContext.get()


def _execution() -> str:
    context = _task()
    if context is None:  # Spark evaluates it on the driver
        return f"driver-{os.getpid()}"
    for name in ("spark.sql.execution.root.id", "spark.sql.execution.id"):
        execution = context.getLocalProperty(name)
        if execution is not None:
            return str(execution)
    return f"stage-{context.stageId()}"


def finish(gateway: Gateway, origin: Origin, statement: str, *, well: bool) -> None:
    """On the driver, for statements that it runs as a whole: says how one ended.

    What ended well is forgotten; of one that did not, the next one of the same caller pays for nothing again, though it
    was settled before.
    """
    with _lock:
        _settled[:] = [one for one in _settled if one.statement != statement]
    try:
        shared_answers(gateway).end(shared(origin, statement), well=well)
    except LedgerError as error:
        warnings.warn(str(error), stacklevel=2)


def settle(gateway: Gateway, origin: Origin, statement: str, holder: object) -> None:
    """On the driver: a statement ended well, and `holder` (weakly referenced) has its result.

    It is finished by `finish_held`, or at exit: should the driver die before, its answers are there for the next one.
    """
    _finish_at_exit()
    with _lock:
        _settled.append(_Settled(weakref.ref(holder), gateway, origin, statement))


def finish_held(holder: object) -> None:
    """Finishes what was settled for `holder`, whose results are safe, or for one that is gone."""
    _finish_those(lambda of: of is None or of is holder)


@cache
def _finish_at_exit() -> None:
    """Once, and after the gateway was opened: so it is done before the gateway's own end."""
    atexit.register(_finish_those, lambda _: True)


def _finish_those(over: Callable[[object], bool]) -> None:
    with _lock:
        done = [one for one in _settled if over(one.holder())]
        _settled[:] = [one for one in _settled if one not in done]
    for one in done:
        finish(one.gateway, one.origin, one.statement, well=True)


@contextmanager
def ended(statement: Statement) -> Iterator[None]:
    """Ends this process' part, and sees that what it recorded reaches the tables though nobody lets the process close.

    Whether the part was read to its end, failed, or was left in the middle.
    """
    well = False
    try:
        yield
        well = True
    finally:
        statement.end(well=well)
        statement.wait_for_last()
        try:
            statement.gateway.ledger.hand_over()
        except LedgerError as error:
            warnings.warn(f"{error} (the rows wait in the spool of this host)", stacklevel=2)
