"""What a person sees while a statement runs: rows, speed, tokens, dollars, what it waits for, time left.

On a terminal and in a notebook a line that is written over, for statements that take more than a second; elsewhere,
where it is asked for (`aiq_quiet` false), a line every half minute.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from aiq.amounts import dollars, seconds
from aiq.batch.statement import Statement
from aiq.statements.reader import is_notebook, is_terminal, speaks

DELAY_S = 1.0
INTERVAL_S = 0.25
LINE_INTERVAL_S = 30.0
"""Where lines stay, because no terminal writes them over."""


@contextmanager
def shown_progress(statement: Statement, expected: Callable[[], int | None]) -> Iterator[None]:
    """Shows progress while inside, if somebody is there to see it. `expected`: how many rows the calls will see."""
    if not speaks(statement.gateway.config.settings, statement.quiet):
        yield
        return
    total = expected()
    with shown_line(lambda now: line(statement, total, now)):
        yield


@contextmanager
def shown_line(said: Callable[[float], str]) -> Iterator[None]:
    """Shows while inside what `said` says at a time of the monotonic clock."""
    done = threading.Event()
    show = _show if is_notebook() or is_terminal() else show_lines
    thread = threading.Thread(target=show, args=(said, done.wait), name="aiq-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def line(statement: Statement, total: int | None, now: float) -> str:
    """One line of progress. `now` is the monotonic clock."""
    progress = statement.progress
    elapsed = max(now - progress.started, 1e-9)
    ready = max(0, progress.rows - (progress.asked - progress.answered - progress.failed))
    unit = "rows"
    if progress.by_request:
        unit, ready, total = "requests", progress.answered + progress.failed, progress.asked
    parts = [f"{ready:,} {unit}" + (f" of {total:,}" if total else ""), f"{ready / elapsed:,.0f} {unit}/s"]
    parts.append(f"{progress.tokens:,} tokens")
    if progress.cost_usd is not None:
        parts.append(dollars(progress.cost_usd))
    if progress.failed:
        parts.append(f"{progress.failed:,} failed")
    waits = [wait for name in statement.endpoints for wait in statement.gateway.waits(name)]
    parts += map(str, waits)
    left = (total - ready) * elapsed / ready if total and 0 < ready < total else None
    if waits and (limited := _seconds_by_limits(statement)):  # the speed so far says little about what is to come
        left = limited + min((wait.next_s or 0.0 for wait in waits), default=0.0)
    if left is not None:
        parts.append(f"about {seconds(left, whole=True)} left")
    return " · ".join(parts)


def show_lines(said: Callable[[float], str], wait: Callable[[float], bool]) -> None:
    """A line every half minute, until `wait`, which takes seconds, says that the statement is over."""
    while not wait(LINE_INTERVAL_S):
        print(said(time.monotonic()), file=sys.stderr, flush=True)


def _seconds_by_limits(statement: Statement) -> float:
    """How long the requests that are known take by the rate limits of their endpoints; 0 where those have none.

    The next one goes at once, when its turn has come.
    """
    progress = statement.progress
    tokens, cost = progress.tokens / max(1, progress.calls), (progress.cost_usd or 0.0) / max(1, progress.calls)
    return max(
        (
            statement.gateway.seconds_for(name, statement.caller, max(0, requests - 1), tokens, cost)
            for name, requests in statement.unanswered().items()
        ),
        default=0.0,
    )


def _show(said: Callable[[float], str], wait: Callable[[float], bool]) -> None:
    if wait(DELAY_S):
        return
    show, finish = _in_notebook() if is_notebook() else _on_terminal()
    while not wait(INTERVAL_S):
        show(said(time.monotonic()))
    show(said(time.monotonic()))
    finish()


def _on_terminal() -> tuple[Callable[[str], None], Callable[[], None]]:
    """One line on standard error that is written over, and gone when the statement has ended: its receipt follows."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
    live.start()
    return lambda text: live.update(Text(text), refresh=True), live.stop


def _in_notebook() -> tuple[Callable[[str], None], Callable[[], None]]:
    """One output of the cell that is written over."""
    ipython: Any = import_module("IPython.display")
    handle = ipython.display(ipython.Pretty(""), display_id=True)
    return lambda text: handle.update(ipython.Pretty(text)), lambda: None
