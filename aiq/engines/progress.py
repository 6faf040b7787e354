"""What a person sees while a statement runs: rows, speed, tokens, dollars, waiting, time left.

Shown on a terminal and in notebooks, for statements that take more than a second; nowhere else.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from aiq.batch.statement import Statement

if TYPE_CHECKING:
    from aiq.engines.session import Session

DELAY_S = 1.0
INTERVAL_S = 0.25


@contextmanager
def shown_progress(session: Session, statement: Statement, sql: str) -> Iterator[None]:
    """Shows progress while inside, if somebody is there to see it."""
    notebook = "ipykernel" in sys.modules
    if not session.gateway.config.settings.progress or not (notebook or sys.stderr.isatty()):
        yield
        return
    total = expected_rows(session, sql)
    done = threading.Event()
    thread = threading.Thread(target=_show, args=(statement, total, done), name="aiq-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def expected_rows(session: Session, sql: str) -> int | None:
    """How many rows DuckDB expects the AI calls to see, or None where it cannot say. Makes no call."""
    import duckdb
    import orjson

    try:
        rows = session.con.execute(f"EXPLAIN (FORMAT JSON) {sql}").fetchall()
    except duckdb.Error:
        return None
    found: list[int] = []

    def visit(node: dict[str, Any]) -> None:
        info = node.get("extra_info") or {}
        if "__aiq_" in str(info):
            estimate = str(info.get("Estimated Cardinality", "")).strip("~")
            children = [
                str((child.get("extra_info") or {}).get("Estimated Cardinality", "")) for child in node["children"]
            ]
            counts = [int(text) for text in (estimate, *children) if text.isdigit()]
            if counts:
                found.append(max(counts))
        for child in node.get("children", ()):
            visit(child)

    for node in orjson.loads(rows[0][1]):
        visit(node)
    return sum(found) or None


def line(statement: Statement, total: int | None, now: float) -> str:
    """One line of progress. `now` is the monotonic clock."""
    progress = statement.progress
    done = progress.answered + progress.failed
    elapsed = max(now - progress.started, 1e-9)
    waiting = progress.asked - done
    parts = [
        f"{progress.rows - waiting if progress.rows > waiting else 0:,} rows" + (f" of {total:,}" if total else "")
    ]
    parts.append(f"{done / elapsed:,.0f} requests/s")
    parts.append(f"{progress.tokens:,} tokens")
    if progress.cost_usd is not None:
        parts.append(f"${progress.cost_usd:,.4f}")
    if progress.failed:
        parts.append(f"{progress.failed:,} failed")
    if limited := statement.gateway.waiting_for_limits:
        parts.append(f"{limited:,} waiting for limits")
    ready = progress.rows - waiting
    if total and 0 < ready < total:
        parts.append(f"about {_duration((total - ready) * elapsed / ready)} left")
    return " · ".join(parts)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _show(statement: Statement, total: int | None, done: threading.Event) -> None:
    if done.wait(DELAY_S):
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(stderr=True)
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        while not done.wait(INTERVAL_S):
            live.update(Text(line(statement, total, time.monotonic())))
    console.print(Text(line(statement, total, time.monotonic())))
