"""Rows of `system.aiq.statements` for what a SparkSession ran that was only registered: one for each SQL execution.

Runs on the driver, when an execution has ended: Spark's own status store says when and how.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from pyspark.sql import SparkSession

from aiq.answers.shared import Shared
from aiq.gateway import Gateway
from aiq.ledger.records import StatementRow
from aiq.request import Caller
from aiq.statements.commit import commit
from aiq.statements.history import totals_of_ids

_OURS = re.compile(r"^aiq\.errors\.\w+: (\[\w+\] .*? SQLSTATE: \w{5}|.*)", re.MULTILINE | re.DOTALL)
_STOPPED = re.compile(r"\bcancell?ed\b", re.IGNORECASE)
_MOST_WORDS = 500


class Execution(NamedTuple):
    """How a statement's SQL execution has ended: times in milliseconds since 1970, and its error's words."""

    statement: Shared
    start_ms: int
    end_ms: int
    error: str = ""

    @property
    def well(self) -> bool:
        return not self.error


def ended_execution(spark: SparkSession, application: str, statement: Shared) -> Execution | None:
    """What a statement ran last, if that has ended; None while it runs, or where it is none of this application's.

    Times are 0 where it was long ago, so that Spark has forgotten it.
    """
    name, _, number = statement.run.rpartition("/")
    if name != application or not number.isdigit():
        return None
    jvm: Any = spark._jsparkSession
    found = jvm.sharedState().statusStore().execution(int(number))
    if found.isEmpty():
        return Execution(statement, 0, 0)
    data = found.get()
    if data.completionTime().isEmpty():
        return None
    message = data.errorMessage()
    words = "" if message.isEmpty() else str(message.get() or "")
    return Execution(statement, int(data.submissionTime()), int(data.completionTime().get().getTime()), words)


def record(gateway: Gateway, ended: Sequence[Execution], callers: dict[bytes, Caller]) -> None:
    """Brings the rows of executions that have ended to the ledger. Raises LedgerError.

    None for an execution that only read answers of a statement that has its own row, or that Spark has forgotten.
    """
    due = [one for one in ended if one.end_ms and not one.statement.lasting and one.statement.caller in callers]
    if not due:
        return
    ledger = gateway.ledger
    ledger.take_over()
    totals = totals_of_ids(ledger.tables, [one.statement.id for one in due])
    for one in due:
        statement, caller = one.statement, callers[one.statement.caller]
        text = statement.text or None
        status = "ok" if one.well else "cancelled" if _STOPPED.search(one.error) else "error"
        row = StatementRow(
            statement.id,
            text,
            caller.user,
            "spark",
            one.start_ms * 1000,
            one.end_ms * 1000,
            status,
            _words(one.error) if one.error else None,
            statement_hash=text and blake2b(text.strip().encode("utf-8", "replace"), digest_size=16).hexdigest(),
            usage_context=dict(caller.usage_context) if caller.usage_context else None,
        )
        taken = totals.get(statement.id)
        ledger.note_statement(row if taken is None else row._replace(**taken._asdict()))
    commit(ledger, soon=True)


def _words(error: str) -> str:
    """What the ledger keeps of an error: not the start of a row's request, which may hold data."""
    found = _OURS.search(error)
    return (found.group(1).split("\n")[0] if found else error.strip().split("\n")[0])[:_MOST_WORDS]
