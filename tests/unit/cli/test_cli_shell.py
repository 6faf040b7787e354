"""The shell, as a person at a terminal has it: a pseudo terminal types, and what it shows is read."""

from __future__ import annotations

import os
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pexpect
import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from aiq.cli.shell_input import SqlCompleter, is_complete
from aiq.ledger.records import CALLS_TABLE
from aiq.ledger.tables import Tables
from tests.processes import PATIENCE_S

F2 = "\x1bOQ"
CALL = "SELECT ai_query('chat', 'Hello ' || i) AS answer FROM range(3) AS r(i)"
Terminal = pexpect.spawn


@pytest.fixture
def start(folder: Path, environment: dict[str, str]) -> Iterator[Callable[..., Terminal]]:
    """Starts `aiq` on a terminal, at its first prompt; it is ended with the test."""
    started: list[Terminal] = []

    def start(*words: str) -> Terminal:
        child = pexpect.spawn(
            sys.executable,
            ["-m", "aiq.cli", *words],
            cwd=str(folder),
            env={**environment, "TERM": "xterm", "NO_COLOR": "1", "PROMPT_TOOLKIT_NO_CPR": "1"},
            dimensions=(40, 160),
            encoding="utf-8",
            timeout=PATIENCE_S,
        )
        started.append(child)
        child.expect("aiq>")
        return child

    yield start
    for child in started:
        child.close(force=True)


def says(child: Terminal, typed: str, *expected: str) -> None:
    """Types a line, and reads until all of this was shown, in order."""
    child.send(typed)
    for words in expected:
        child.expect_exact(words)


def test_a_session_at_the_terminal(start: Callable[..., Terminal], folder: Path) -> None:
    """One process for all of it, because each start takes a second."""
    duckdb.connect(str(folder / "shop.duckdb")).execute("CREATE TABLE reviews (id INTEGER, body VARCHAR)").close()
    child = start("shell", "shop.duckdb")
    says(child, ".tables\r", "reviews", "1 row")
    says(child, ".schema reviews\r", "CREATE TABLE reviews")
    says(child, ".endpoints\r", "openai/gpt-4o-mini")
    says(child, f"{CALL}\r", "...>")  # it goes on, because no semicolon ends it
    says(child, ";\r", "[simulated]", "3 rows", "3 requests (0 reused, 0 failed)", "aiq>")
    says(child, f"{CALL}{F2}", "It would ask 3 requests of 1 call", "aiq>")
    says(child, ".timer on\r", "the timer is on")
    says(child, ".mode jsonl\r", "aiq>")
    says(child, "SELECT 42 AS x;\r", '{"x": 42}', "took 0.")
    says(child, "SELEC 1;\r", "syntax error", "aiq>")
    (folder / "two.sql").write_text("SELECT 1 AS first; SELECT 2 AS second;")
    says(child, ".read two.sql\r", '{"first": 1}', '{"second": 2}')
    says(child, ".nothing\r", "there is no command .nothing")
    says(child, "SELECT ai_query('cha", "('cha")
    says(child, "\t", "t")  # the name is completed
    says(child, "', 'x') AS y;\r", '{"y": "[simulated]')
    says(child, "\x1b[A\r", '{"y": "[simulated]')  # and the line before comes again
    child.send("\x04")  # Ctrl-D
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    history = folder / ".aiq" / "shell_history"
    assert "SELECT 42 AS x;" in history.read_text() and stat.S_IMODE(history.stat().st_mode) == 0o600


def test_sigterm_ends_it_and_leaves_no_orphan(start: Callable[..., Terminal], folder: Path) -> None:
    child = start()  # aiq alone is the shell
    says(child, f"{CALL};\r", "3 requests", "aiq>")
    os.kill(child.pid, signal.SIGTERM)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 143
    rows = Tables(folder / ".aiq").to_arrow(CALLS_TABLE).to_pylist()
    assert [row["status"] for row in rows] == ["ok"] * 3


@pytest.mark.parametrize(
    ("text", "complete"),
    [
        ("", True), (".help", True), ("SELECT 1", False), ("SELECT 1;", True), ("SELECT 1; -- all", True),
        ("SELECT ';", False), ("SELECT ';'", False), ("SELECT 1 /* ; */", False), ("SELECT 1;\nSELECT 2", False),
        ("SELECT $$;", False),
    ],
)  # fmt: skip
def test_enter_runs_what_a_semicolon_ends(text: str, complete: bool) -> None:
    assert is_complete(text, databricks=False) is complete


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (".t", [".tables", ".timer"]),
        ("SELECT ai_query('ch", ["chat", "cheap"]),
        ("SELECT AI_QUERY( '", ["chat", "cheap"]),
        ("SELECT revi", ["reviews"]),
        ("SELECT r.bo", ["body"]),
        ("sele", ["SELECT"]),
        ("", []),
    ],
)
def test_what_may_stand_at_the_cursor_is_offered(text: str, found: list[str]) -> None:
    completer = SqlCompleter([".timer", ".tables"], lambda: ["chat", "cheap"], lambda: ["reviews", "body"])
    assert [each.text for each in completer.get_completions(Document(text), CompleteEvent(text_inserted=True))] == found
