"""The line that a person reads while a statement runs."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from aiq.batch.slots import Progress
from aiq.statements.progress import line, shown_progress


def statement(waiting_for_limits: int = 0, **counters: Any) -> Any:
    progress = Progress()
    config = SimpleNamespace(settings=SimpleNamespace(progress=True))
    progress.started = 100.0
    for name, value in counters.items():
        setattr(progress, name, value)
    return SimpleNamespace(
        progress=progress, gateway=SimpleNamespace(waiting_for_limits=waiting_for_limits, config=config)
    )


def test_the_line_says_rows_speed_tokens_dollars_and_time_left() -> None:
    running = statement(rows=1500, asked=1000, answered=490, failed=10, tokens=12_345, cost_usd=0.5)
    assert line(running, 4000, 110.0) == (
        "1,000 rows of 4,000 · 100 rows/s · 12,345 tokens · $0.5000 · 10 failed · about 30 s left"
    )


def test_what_is_not_known_is_left_out() -> None:
    assert line(statement(rows=10, asked=10, answered=10, cost_usd=None), None, 101.0) == (
        "10 rows · 10 rows/s · 0 tokens"
    )


def test_waiting_for_limits_is_said() -> None:
    assert "7 waiting for limits" in line(statement(7, rows=10, asked=10), 10, 101.0)


def test_before_the_first_answer_there_is_no_forecast() -> None:
    assert "left" not in line(statement(rows=10, asked=10), 100, 101.0)


@pytest.mark.parametrize(("seconds", "words"), [(59, "59 s"), (61, "1 min 1 s"), (3660, "1 h 1 min")])
def test_the_time_left_is_in_words(seconds: int, words: str) -> None:
    running = statement(rows=1, asked=1, answered=1)
    assert f"about {words} left" in line(running, seconds + 1, 101.0)


def test_nothing_is_shown_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    with shown_progress(statement(), lambda: None):
        assert "aiq-progress" not in {thread.name for thread in threading.enumerate()}
    assert capsys.readouterr().err == ""
