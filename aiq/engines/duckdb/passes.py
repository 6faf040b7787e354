"""Runs a query in passes: each looks answers up, notes what has none, and has that answered before the next one.

The last pass is the one in which every answer was there, so the engine's own semantics decide the result. Whatever the
optimizer does, a request is asked only if the engine came to evaluate it with all earlier answers known.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from aiq.batch.slots import Pass
from aiq.batch.statement import Statement
from aiq.errors import StatementError

_FILES = re.compile(r"\b(read_\w+|\w+_scan)\s*\(|\b(from|using|join)\s+'", re.IGNORECASE)
FIRST_WAVE = 16
MAX_EXTRA_PASSES = 8
MAX_WAVES = 64
MANY_LOOKED_UP = 50_000
"""Answers looked up in one pass from which on the next one is made over the distinct requests."""


class PassStep(NamedTuple):
    """A query to run in passes, or a whole statement that changes rows (`writes`).

    `stages` are how many stages its calls have, of which the first is `first`. `limit` is set where any `limit` rows
    that pass an AI filter will do; the first `filters` stages are that filter's.
    """

    query: str
    stages: int
    first: int = 0
    limit: int | None = None
    filters: int = 0
    writes: bool = False


class Passes:
    """The passes of one query. `evaluate` runs it whole and returns its number of rows.

    Errors of the types `failed` do not count while answers are missing: a NULL in an answer's place may cause them.
    `quickly` evaluates the query in a way that may look more answers up and so must not ask, None where there is none.
    """

    def __init__(
        self,
        statement: Statement,
        step: PassStep,
        evaluate: Callable[[], int],
        failed: tuple[type[Exception], ...],
        quickly: Callable[[], int] | None = None,
    ) -> None:
        self._statement, self._step, self._evaluate, self._failed = statement, step, evaluate, failed
        self._quickly = quickly
        self._looked_up = 0

    def run(self, *, recalled: bool = False) -> bool:
        """Evaluates until every answer is there. True when the last evaluation is the result.

        `recalled` says that it was tried already whether no answer is missing.

        False when answers kept missing, as with inputs that change from pass to pass: then the statement has to run
        with calls that wait for their answer.
        """
        step = self._step
        last = step.first + max(0, step.stages - 1)
        if self._statement.may_reuse and not recalled and self._answers_are_there(last):
            return True
        frozen = -1 if step.limit is None else self._in_waves(step.limit)
        stage = max(frozen + 1, step.first)
        for _ in range(last + 1 + MAX_EXTRA_PASSES):
            run, _ = self._pass(Pass(stage, frozen=frozen))
            if run.complete:
                if self._looked_up and not run.looked_up and self._may_be_read_once():
                    raise StatementError(
                        "the statement reads a source that gives its rows only once (a stream, a pipe, a reader), and "
                        "its calls need them again: put them into a table first, with CREATE TEMP TABLE ... AS"
                    )
                return True
            if run.looked_up > max(MANY_LOOKED_UP, 4 * run.asked) and self._answers_are_there(last):
                return True
            stage = min(stage + 1, last)
        return False

    def _may_be_read_once(self) -> bool:
        """Whether that a pass looks nothing up can mean that its rows are gone.

        Not where a statement changes tables: what an earlier pass did to their statistics stays, and by those DuckDB
        computes calls on a column of one value while it plans, or does not.
        """
        return not self._step.writes or _FILES.search(self._step.query) is not None

    def _answers_are_there(self, last: int) -> bool:
        """Tries to evaluate the query without asking anything."""
        if self._quickly is None:
            return False
        try:
            run, _ = self._pass(Pass(last, most=0), self._quickly)
        except self._failed:
            self._quickly = None
            return False
        return run.complete and run.looked_up > 0

    def _in_waves(self, limit: int) -> int:
        """Asks the filter for more and more rows until enough pass it. Returns the last stage that asks no more."""
        filters, most = self._step.filters, max(FIRST_WAVE, 2 * limit)
        for _ in range(MAX_WAVES):
            for stage in range(filters):
                self._pass(Pass(stage, frozen=stage - 1, most=most if stage == 0 else float("inf")))
            check, rows = self._pass(Pass(-1))
            if rows >= limit or not any(stage < filters for stage in check.unknown):
                break
            most *= 2
        return filters - 1

    def _pass(self, run: Pass, evaluate: Callable[[], int] | None = None) -> tuple[Pass, int]:
        statement = self._statement
        statement.running = run
        rows = 0
        try:
            rows = (evaluate or self._evaluate)()
        except self._failed:
            if statement.stopped or not (run.asked or run.unknown):
                raise
        finally:
            statement.running = None
        statement.wait(run)
        self._looked_up += run.looked_up
        return run, rows
