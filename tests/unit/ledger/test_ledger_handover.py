"""Processes that nobody lets close leave their spools to whichever of them commits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiq.ledger import delta
from aiq.ledger.ledger import Ledger
from aiq.ledger.tables import Tables


def calls(home: Path) -> list[str]:
    return sorted(Tables(home).to_arrow("system.aiq.calls")["request_id"].to_pylist())


def version(home: Path) -> int:
    table = delta.open_table(delta.located(home / "tables", "system.aiq.calls"), "system.aiq.calls")
    assert table is not None
    return table.version()


def test_what_was_handed_over_is_in_the_tables(tmp_path: Path, outcome: Callable[..., Any]) -> None:
    ledger = Ledger.open(tmp_path)
    for number in range(3):
        ledger.record(outcome(request_id=f"r{number}"))
        ledger.hand_over()
    assert calls(tmp_path) == ["r0", "r1", "r2"]
    ledger.close()
    assert not list((tmp_path / "spool").glob("*.db"))


def test_many_hand_over_at_once_in_few_commits_and_nothing_twice(tmp_path: Path, outcome: Callable[..., Any]) -> None:
    ledgers = [Ledger.open(tmp_path) for _ in range(8)]
    barrier = threading.Barrier(8)

    def work(number: int) -> None:
        ledgers[number].record(outcome(request_id=f"r{number}"))
        barrier.wait()
        ledgers[number].hand_over()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls(tmp_path) == [f"r{number}" for number in range(8)]
    assert version(tmp_path) <= 8
    for ledger in ledgers:
        ledger.close()


def test_spools_of_many_dead_processes_become_one_commit(tmp_path: Path, outcome: Callable[..., Any]) -> None:
    for number in range(5):
        ledger = Ledger.open(tmp_path)
        ledger.record(outcome(request_id=f"r{number}"))
        ledger._spool.close()  # as if it had been killed
        ledger._closed = True
    later = Ledger.open(tmp_path)
    assert calls(tmp_path) == [f"r{number}" for number in range(5)]
    later.close()


def test_a_table_that_cannot_be_written_keeps_what_was_handed_over(
    tmp_path: Path, outcome: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger.open(tmp_path)
    table = tmp_path / "tables" / "system" / "aiq" / "calls"
    table.parent.mkdir(parents=True)
    table.write_text("in the way")
    ledger.record(outcome(request_id="r0"))
    ledger.hand_over()
    assert "was not recovered" in caplog.text
    table.unlink()
    ledger.recover()
    assert calls(tmp_path) == ["r0"]
    ledger.close()
