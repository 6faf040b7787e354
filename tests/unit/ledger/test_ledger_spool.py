"""The spool: an append-only queue that survives, and that only one process at a time can hold."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from aiq.errors import LedgerError
from aiq.ledger.spool import CorruptSpool, Spool, set_aside


def test_groups_are_read_in_the_order_they_were_written(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path)
    for payload in (b"a", b"b", b"c"):
        spool.write(payload)
    assert spool.read(0, 1000) == [(1, b"a"), (2, b"b"), (3, b"c")]
    spool.close()


def test_reading_stops_at_the_byte_limit(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path)
    for _ in range(5):
        spool.write(b"x" * 100)
    assert [seq for seq, _ in spool.read(1, 150)] == [2, 3]
    spool.close()


def test_forgotten_groups_are_gone_and_what_was_kept_stays(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path)
    for number in range(200):
        spool.write(str(number).encode())
    spool.forget(150, b"kept")
    assert spool.kept() == (150, b"kept")
    assert [seq for seq, _ in spool.read(0, 10_000)] == list(range(151, 201))
    spool.close()


def test_a_number_is_never_used_twice_even_after_all_was_forgotten(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path)
    spool.write(b"a")
    spool.write(b"b")
    spool.forget(2, b"")
    spool.close()
    again = Spool.take(spool.path)
    assert again is not None
    again.write(b"c")
    assert again.read(0, 100) == [(3, b"c")]
    again.close()


def test_a_spool_in_use_cannot_be_taken(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path)
    assert Spool.take(spool.path) is None
    spool.close()


def test_a_closed_spool_can_be_taken_with_all_its_groups(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path)
    spool.write(b"a")
    spool.close()
    taken = Spool.take(spool.path)
    assert taken is not None
    assert taken.read(0, 100) == [(1, b"a")]
    taken.close()


def test_removing_leaves_no_file_behind(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path)
    spool.write(b"a")
    spool.close(remove=True)
    assert list(tmp_path.iterdir()) == []


def test_a_spool_that_another_process_removed_cannot_be_taken(tmp_path: Path) -> None:
    assert Spool.take(tmp_path / "gone.db") is None
    assert list(tmp_path.iterdir()) == []


def test_writing_to_a_closed_spool_is_refused(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path)
    spool.close()
    with pytest.raises(LedgerError, match="closed"):
        spool.write(b"a")


def test_closing_twice_does_nothing(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path)
    spool.close()
    spool.close()


def test_a_folder_that_is_not_there_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="AIQ_HOME"):
        Spool.create(tmp_path / "missing")


def test_a_power_safe_spool_syncs_every_group(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path, power_safe=True)
    assert spool._writer.execute("PRAGMA synchronous").fetchone() == (2,)
    spool.close()


def test_a_file_that_is_no_database_is_corrupt_and_can_be_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "dead.db"
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(CorruptSpool):
        Spool.take(path)
    aside = set_aside(path)
    assert [p.name for p in tmp_path.iterdir()] == ["dead.db.corrupt"]
    assert aside == tmp_path / "dead.db.corrupt"


def test_of_a_damaged_file_the_groups_before_the_damage_are_read(tmp_path: Path) -> None:
    path = _damaged_after(tmp_path, groups=40)
    spool = Spool.take(path)
    assert spool is not None
    read = spool.read(0, 10_000_000)
    assert read and read == [(seq, b"x" * 3000) for seq in range(1, len(read) + 1)]
    with pytest.raises(CorruptSpool):
        spool.read(read[-1][0], 10_000_000)
    spool.close()


def test_a_forked_child_can_neither_write_nor_release_the_spool(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path)
    child = os.fork()
    if child == 0:
        try:
            spool.write(b"a")
        except LedgerError:
            spool.close(remove=True)
            os._exit(0 if spool.path.exists() else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    spool.write(b"b")
    assert spool.read(0, 100) == [(1, b"b")]
    spool.close()


def test_a_forked_child_that_outlives_its_parent_does_not_hold_the_lock(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        spool.release_after_fork()
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    try:
        assert Spool.take(spool.path) is None
        spool.close()
        while (taken := Spool.take(spool.path)) is None:
            assert os.waitpid(child, os.WNOHANG) == (0, 0)  # the child lives, and lets go in its own time
        taken.close()
    finally:
        os.close(writing)
        os.waitpid(child, 0)


def _damaged_after(folder: Path, groups: int) -> Path:
    """A spool with garbage in the middle of its pages."""
    path = folder / "dead.db"
    spool = Spool.create(folder)
    for _ in range(groups):
        spool.write(b"x" * 3000)
    spool.close()
    copy = sqlite3.connect(path)
    source = sqlite3.connect(spool.path)
    source.backup(copy)
    copy.close()
    source.close()
    data = bytearray(path.read_bytes())
    start = len(data) // 2 // 4096 * 4096
    data[start : start + 8192] = b"\xff" * 8192
    path.write_bytes(data)
    return path
