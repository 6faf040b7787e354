"""What a person sees while a statement runs: rows, speed, tokens, dollars, waiting, time left.

Shown on a terminal and in notebooks, for statements that take more than a second; nowhere else.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from aiq.batch.statement import Statement

DELAY_S = 1.0
INTERVAL_S = 0.25


@contextmanager
def shown_progress(statement: Statement, expected: Callable[[], int | None]) -> Iterator[None]:
    """Shows progress while inside, if somebody is there to see it. `expected`: how many rows the calls will see."""
    notebook = "ipykernel" in sys.modules
    if not statement.gateway.config.settings.progress or not (notebook or sys.stderr.isatty()):
        yield
        return
    total = expected()
    done = threading.Event()
    thread = threading.Thread(target=_show, args=(statement, total, notebook, done), name="aiq-progress", daemon=True)
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
        parts.append(f"${progress.cost_usd:,.4f}")
    if progress.failed:
        parts.append(f"{progress.failed:,} failed")
    if limited := statement.gateway.waiting_for_limits:
        parts.append(f"{limited:,} waiting for limits")
    if total and 0 < ready < total:
        parts.append(f"about {_duration((total - ready) * elapsed / ready)} left")
    return " · ".join(parts)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _show(statement: Statement, total: int | None, notebook: bool, done: threading.Event) -> None:
    if done.wait(DELAY_S):
        return
    show, finish = _in_notebook() if notebook else _on_terminal()
    while not done.wait(INTERVAL_S):
        show(line(statement, total, time.monotonic()))
    show(line(statement, total, time.monotonic()))
    finish()


def _on_terminal() -> tuple[Callable[[str], None], Callable[[], None]]:
    """One line on standard error that is written over, and stays when the statement has ended."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    live = Live(console=Console(stderr=True), auto_refresh=False)
    live.start()
    return lambda text: live.update(Text(text), refresh=True), live.stop


def _in_notebook() -> tuple[Callable[[str], None], Callable[[], None]]:
    """One output of the cell that is written over."""
    ipython: Any = import_module("IPython.display")
    handle = ipython.display(ipython.Pretty(""), display_id=True)
    return lambda text: handle.update(ipython.Pretty(text)), lambda: None
