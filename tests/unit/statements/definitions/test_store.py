"""The definitions of a home: several processes, case of names, damage."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from aiq.errors import LedgerError, StatementError
from aiq.statements.definitions.store import FILE, Definition, Definitions


def _made(name: str, text: str = "CREATE FUNCTION ..", *, temporary: bool = False) -> Definition:
    return Definition("FUNCTION", "", "ai", name, text, "databricks", True, "ann", 0.0, temporary)


def _add(home: Path, first: int) -> None:
    store = Definitions(home)
    for number in range(first, first + 10):
        store.add(_made(f"f{number}"), replace=False)


def test_processes_that_define_at_once_lose_nothing(tmp_path: Path) -> None:
    seen = Definitions(tmp_path)
    assert seen.names() == set()
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_add, args=(tmp_path, first)) for first in (0, 10, 20)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert seen.names() == {f"f{number}" for number in range(30)}


def test_a_thread_that_reads_does_not_unlock_what_another_one_writes(tmp_path: Path) -> None:
    """SQLite's locks go with the first descriptor of the file that a process closes."""
    store = Definitions(tmp_path)
    store.add(_made("f"), replace=False)
    write = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN IMMEDIATE')"
    with store._writing():
        reader = threading.Thread(target=Definitions(tmp_path).names)
        reader.start()
        reader.join(0.2)  # it waits for the writer, however long
        other = subprocess.run([sys.executable, "-c", write, str(tmp_path / FILE)], capture_output=True, check=False)
    reader.join()
    assert b"database is locked" in other.stderr


def test_a_change_of_another_session_is_seen_at_once(tmp_path: Path) -> None:
    one, other = Definitions(tmp_path, clock=lambda: 12.0), Definitions(tmp_path)
    for text in ("first", "other", "third"):
        one.add(_made("F", text), replace=True)
        found = other.find("function", ("", "AI", "f"))
        assert found is not None
        assert (found.text, found.name, found.owner, found.created_s) == (text, "F", "ann", 12.0)
    assert one.remove(_made("f"))
    assert other.find("function", ("", "ai", "f")) is None
    assert not other.remove(_made("f"))


def test_one_name_has_one_definition(tmp_path: Path) -> None:
    store = Definitions(tmp_path)
    store.add(_made("f"), replace=False)
    with pytest.raises(StatementError, match="already"):
        store.add(_made("F"), replace=False)


def test_temporary_definitions_are_of_their_session(tmp_path: Path) -> None:
    store = Definitions(tmp_path)
    store.add(_made("f", temporary=True), replace=False)
    assert store.names() == {"f"}
    assert Definitions(tmp_path).names() == set()
    assert not (tmp_path / FILE).exists()


def test_a_damaged_file_is_an_error_and_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"not a database" * 100)
    store = Definitions(tmp_path)
    with pytest.raises(LedgerError, match="backup"):
        store.names()
    with pytest.raises(LedgerError):
        store.add(_made("f"), replace=True)
    assert (tmp_path / FILE).read_bytes() == b"not a database" * 100


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    Definitions(tmp_path).add(_made("f"), replace=False)
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0
