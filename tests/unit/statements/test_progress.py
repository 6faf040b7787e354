"""The line that a person reads while a statement runs."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from aiq.batch.slots import Progress
from aiq.policy.waits import Wait
from aiq.statements.progress import line, show_lines, shown_progress


def statement(waits: Sequence[Wait] = (), seconds_each: float = 0.0, **counters: Any) -> Any:
    progress = Progress()
    progress.started = 100.0
    for name, value in counters.items():
        setattr(progress, name, value)
    gateway = SimpleNamespace(
        config=SimpleNamespace(settings=SimpleNamespace(progress=True)),
        waits=lambda name: list(waits),
        seconds_for=lambda name, caller, requests, tokens, cost_usd: requests * seconds_each,
    )
    asked = progress.asked - progress.answered - progress.failed
    return SimpleNamespace(
        progress=progress,
        gateway=gateway,
        caller=None,
        endpoints=["chat"],
        quiet=None,
        unanswered=lambda: {"chat": asked},
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


def test_the_line_says_what_is_waited_for_and_the_time_left_counts_it() -> None:
    wait = Wait(5, "20 calls/minute of user ann@example.com", 43.2)
    waiting = statement([wait], 3.0, rows=45, asked=45, answered=40)
    for now in (110.0, 1000.0):  # it does not climb while nothing moves
        assert line(waiting, 45, now).endswith(
            "5 wait for 20 calls/minute of user ann@example.com, next in 43 s · about 55 s left"
        )


def test_without_a_terminal_there_is_a_line_every_half_minute(capsys: pytest.CaptureFixture[str]) -> None:
    waited: list[float] = []

    def wait(interval_s: float) -> bool:
        waited.append(interval_s)
        return len(waited) == 3

    running = statement(rows=10, asked=10, answered=5)
    show_lines(lambda now: line(running, 10, now), wait)
    lines = capsys.readouterr().err.splitlines()
    assert (waited, len(lines)) == ([30.0] * 3, 2) and lines[0].startswith("5 rows of 10 · ")


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
