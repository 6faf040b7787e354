"""A model's words do not steer the terminal that shows them."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from aiq.cli.printable import json_printable, printable
from tests.processes import PATIENCE_S

STEERING = "\x1b]0;owned\x07\x1b[2J\x08\x7f\x9b31m\u202egnp.exe\r"
SQL = (
    "SELECT chr(27) || ']0;owned' || chr(7) || chr(155) || '31m' || chr(8238) || chr(13) AS \"a\x1b[1mb\", 'é€\nx' AS c"
)
COMMAND = [sys.executable, "-m", "aiq.cli"]


def on_a_terminal(folder: Path, environment: dict[str, str], *arguments: str) -> str:
    """What a terminal gets, with its line ends as they were written."""
    ours, theirs = pty.openpty()
    environment = {**environment, "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"}
    process = subprocess.Popen(
        [*COMMAND, *arguments], cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        seen += piece
    os.close(ours)
    process.wait(PATIENCE_S)
    return seen.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("format", ["table", "csv", "json"])
def test_what_steers_a_terminal_is_shown_and_not_obeyed(folder: Path, environment: dict[str, str], format: str) -> None:
    seen = on_a_terminal(folder, environment, "sql", SQL, "--format", format)
    assert not set(seen) & set(STEERING) - set("]0;ownedgnp.exe[2J31m")
    assert "owned" in seen and "é€" in seen


def test_an_error_does_not_steer_a_terminal_either(folder: Path, environment: dict[str, str]) -> None:
    seen = on_a_terminal(folder, environment, "sql", "SELECT error(chr(27) || '[2Jgone' || chr(155))")
    assert "gone" in seen and not set(seen) & {"\x1b", "\x9b"}


def test_a_pipe_gets_the_very_bytes(folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        [*COMMAND, "sql", SQL, "--format", "csv"], cwd=folder, env=environment, capture_output=True, check=True
    )
    (folder / "out.csv").write_bytes(done.stdout)
    read = duckdb.sql(f"FROM read_csv('{folder / 'out.csv'}', header = true)")
    assert read.columns[0] == "a\x1b[1mb"
    assert read.fetchall()[0][0].startswith("\x1b]0;owned\x07\x9b31m\u202e")


def test_escaped_json_means_the_same() -> None:
    text = json.dumps({"a": STEERING + "é"}, ensure_ascii=False)
    assert json.loads(json_printable(text)) == json.loads(text)
    assert not set(json_printable(text)) & set("\x1b\x7f\x9b\u202e")


def test_lines_and_letters_stay_as_they_are() -> None:
    assert printable("é\t中\n👩‍👩‍👧 مرحبا") == "é\t中\n👩‍👩‍👧 مرحبا"
    assert printable("\x1b[1m\u202e") == "\\x1b[1m\\u202e"
