"""A table of many small commits stays small, and everybody who reads or writes it meanwhile is right."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from aiq.ledger import delta, upkeep
from aiq.ledger.upkeep import KEPT_S, RETENTION, keep_small, turn

NAME = "system.aiq.calls"
SCHEMA = pa.schema([("writer", pa.string()), ("n", pa.int64()), ("words", pa.string())])


def append(path: Path, writer: str, n: int) -> None:
    row = pa.table({"writer": [writer], "n": [n], "words": [f"words {n}"]}, schema=SCHEMA)
    delta.append(path, NAME, SCHEMA, {writer: n}, lambda _: row)


def age(path: Path, seconds: float) -> None:
    """Makes all commits older."""
    for file in (path / "_delta_log").iterdir():
        status = file.stat()
        os.utime(file, (status.st_atime - seconds, status.st_mtime - seconds))


def files(path: Path) -> int:
    return sum(1 for file in path.rglob("*") if file.is_file())


def rows(path: Path) -> list[tuple[str, int]]:
    found = duckdb.sql(f"SELECT writer, n FROM read_parquet({DeltaTable(path).file_uris()}) ORDER BY ALL").fetchall()
    return [(str(writer), int(n)) for writer, n in found]


def test_small_commits_leave_few_files_and_every_row(tmp_path: Path) -> None:
    path, most = tmp_path / "t", 0
    for n in range(1, 141):
        append(path, "one", n)
        age(path, KEPT_S / 20)
        keep_small(path, NAME)
        most = max(most, files(path))
    assert rows(path) == [("one", n) for n in range(1, 141)]
    assert DeltaTable(path).transaction_version("one") == 140
    assert most <= 120 and len(list((path / "_delta_log").glob("*.checkpoint.parquet"))) <= 3


def test_what_a_reader_has_just_opened_stays(tmp_path: Path) -> None:
    path = tmp_path / "t"
    for n in range(1, 20):
        append(path, "one", n)
    opened = DeltaTable(path)
    for n in range(20, 90):
        append(path, "one", n)
        keep_small(path, NAME)
    assert len(DeltaTable(path).file_uris()) < 40  # it was compacted
    assert opened.to_pyarrow_table().num_rows == 19
    assert DeltaTable(path, version=5).to_pyarrow_table().num_rows == 5


def test_a_retention_of_somebodys_own_is_respected(tmp_path: Path) -> None:
    path = tmp_path / "t"
    append(path, "one", 1)
    DeltaTable(path).alter.set_table_properties({RETENTION: "interval 30 days"})
    for n in range(2, 70):
        append(path, "one", n)
        age(path, KEPT_S)
        keep_small(path, NAME)
    assert DeltaTable(path, version=3).to_pyarrow_table().num_rows == 2
    assert len(DeltaTable(path).file_uris()) == 69


def test_files_that_are_in_no_commit_yet_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "t"
    append(path, "one", 1)
    (path / "part-of-another-writer.parquet").write_bytes(b"not committed yet")
    for n in range(2, 100):
        append(path, "one", n)
        age(path, KEPT_S)
        keep_small(path, NAME)
    assert (path / "part-of-another-writer.parquet").exists()


@pytest.mark.parametrize("step", ["_compact", "_forget"])
def test_upkeep_that_breaks_off_costs_nothing(tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t"
    real = getattr(upkeep, step)

    def broken(*arguments: Any) -> None:
        real(*arguments)
        raise OSError("the disk is full")

    for n in range(1, 130):
        monkeypatch.setattr(upkeep, step, broken if n < 70 else real)
        append(path, "one", n)
        age(path, KEPT_S)
        keep_small(path, NAME)
    assert rows(path) == [("one", n) for n in range(1, 130)] and files(path) < 120


def test_a_table_that_spark_writes_to_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "t"
    for n in range(1, 31):
        append(path, "one", n)
    commit = path / "_delta_log" / f"{30:020}.json"
    commit.write_text(commit.read_text() + '{"commitInfo":{"engineInfo":"Apache-Spark/4.1.0 Delta-Lake/4.1.0"}}\n')
    for n in range(31, 61):
        append(path, "one", n)
        keep_small(path, NAME)
    assert len(DeltaTable(path).file_uris()) == 60


def test_a_table_that_another_process_compacts_is_left_to_it(tmp_path: Path) -> None:
    path = tmp_path / "t"
    for n in range(1, 41):
        append(path, "one", n)
    with turn(path, wait=True):
        keep_small(path, NAME)
        assert len(DeltaTable(path).file_uris()) == 40
    keep_small(path, NAME)
    assert len(DeltaTable(path).file_uris()) == 1


def test_a_table_that_is_none_is_no_reason_to_fail(tmp_path: Path) -> None:
    keep_small(tmp_path / "nothing", NAME)


COMMITS = 45


def _write(path: Path, writer: str) -> None:
    for n in range(1, COMMITS + 1):
        append(path, writer, n)
        keep_small(path, NAME, lambda: time.time() + KEPT_S - 20.0)  # what is older than 20 s is deleted


def test_two_writers_lose_no_row_and_a_reader_beside_them_sees_no_less_than_before(tmp_path: Path) -> None:
    path = tmp_path / "t"
    append(path, "first", 0)
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(path, name)) for name in ("a", "b")]
    for writer in writers:
        writer.start()
    seen = [0]
    while any(writer.is_alive() for writer in writers):
        seen.append(len(rows(path)))
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert seen == sorted(seen)
    expected = [(name, n) for name in ("a", "b") for n in range(1, COMMITS + 1)]
    assert rows(path) == [*expected, ("first", 0)]


def test_another_programs_append_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "t"
    for n in range(1, 60):
        append(path, "one", n)
        if n % 10 == 0:
            write_deltalake(path, pa.table({"writer": ["x"], "n": [n], "words": [""]}, schema=SCHEMA), mode="append")
        age(path, KEPT_S)
        keep_small(path, NAME)
    assert sum(writer == "x" for writer, _ in rows(path)) == 5 and len(rows(path)) == 64
