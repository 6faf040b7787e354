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
from typing import TYPE_CHECKING, Any

from aiq.batch.statement import Statement
from aiq.engines.duckdb.frames import reads_pipe
from aiq.engines.duckdb.rewrite.lift import Lifted

if TYPE_CHECKING:
    from aiq.engines.duckdb.prepare import Prepared
    from aiq.engines.duckdb.session import Session

DELAY_S = 1.0
INTERVAL_S = 0.25


@contextmanager
def shown_progress(session: Session, statement: Statement, prepared: Prepared) -> Iterator[None]:
    """Shows progress while inside, if somebody is there to see it."""
    notebook = "ipykernel" in sys.modules
    if not session.gateway.config.settings.progress or not (notebook or sys.stderr.isatty()):
        yield
        return
    total = None if isinstance(prepared.plan, Lifted) else expected_rows(session, prepared.text)
    done = threading.Event()
    thread = threading.Thread(target=_show, args=(statement, total, notebook, done), name="aiq-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def expected_rows(session: Session, sql: str, values: dict[str, Any] | None = None) -> int | None:
    """How many rows DuckDB expects the AI calls to see, over all calls, or None where it cannot say. Makes no call."""
    import duckdb
    import orjson

    if reads_pipe(sql):
        return None
    try:
        rows = session.con.execute(f"EXPLAIN (FORMAT JSON) {sql}", values).fetchall()
    except duckdb.Error:
        return None
    named: list[int] = []

    def visit(node: dict[str, Any]) -> int:
        """The most rows of a node and those it reads; an alias hides a function's name from the plan."""
        counts = [_rows(node), *(_rows(child) for child in node.get("children", ()))]
        if "__aiq_" in str(node.get("extra_info")):
            named.append(max(counts))
        for child in node.get("children", ()):
            visit(child)
        return counts[0]

    tops = [visit(node) for node in orjson.loads(rows[0][1])]
    return max(named or tops, default=0) * sql.count("__aiq_") or None


def _rows(node: dict[str, Any]) -> int:
    text = str((node.get("extra_info") or {}).get("Estimated Cardinality", ""))
    return int(text) if text.isdigit() else 0


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
