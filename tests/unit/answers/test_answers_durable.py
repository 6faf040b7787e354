"""Durable answers: until when they live, which go first when it gets tight, and what a damaged file costs."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aiq.answers.store import AnswerStore

ANN = b"a" * 16


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def entries(*numbers: int) -> list[tuple[bytes, str]]:
    return [(key(number), f'"answer {number}"') for number in numbers]


@pytest.fixture
def store(tmp_path: Path, clock: Any) -> Iterator[AnswerStore]:
    store = AnswerStore.open(tmp_path, clock=clock)
    yield store
    store.close()


def test_an_answer_lives_until_its_time_is_over(store: AnswerStore, clock: Any) -> None:
    store.remember(ANN, 60.0, entries(1))
    assert store.recall(ANN, [key(1)], clock.now + 59.9) == dict(entries(1))
    assert store.recall(ANN, [key(1)], clock.now + 60.0) == {}


def test_an_answer_may_live_forever(store: AnswerStore) -> None:
    store.remember(ANN, float("inf"), entries(1))
    assert store.recall(ANN, [key(1)], 1e18) == dict(entries(1))


def test_remembering_again_replaces_value_and_time(store: AnswerStore, clock: Any) -> None:
    store.remember(ANN, 60.0, [(key(1), '"old"')])
    store.remember(ANN, 120.0, [(key(1), '"new"')])
    assert store.recall(ANN, [key(1)], clock.now + 90.0) == {key(1): '"new"'}
    assert store.stats()["entries"] == 1


def test_more_keys_than_one_query_takes_are_all_found(store: AnswerStore, clock: Any) -> None:
    store.remember(ANN, 60.0, entries(*range(3000)))
    assert store.recall(ANN, [key(number) for number in range(5000)], clock.now) == dict(entries(*range(3000)))


def test_answers_are_there_after_a_restart(tmp_path: Path, store: AnswerStore, clock: Any) -> None:
    store.remember(ANN, 60.0, entries(1))
    store.close()
    again = AnswerStore.open(tmp_path, clock=clock)
    assert again.recall(ANN, [key(1)], clock.now) == dict(entries(1))
    again.close()


def test_two_stores_see_each_others_answers(tmp_path: Path, store: AnswerStore, clock: Any) -> None:
    other = AnswerStore.open(tmp_path, clock=clock)
    assert other.recall(ANN, [key(1)], clock.now) == {}
    store.remember(ANN, 60.0, entries(1))
    assert other.recall(ANN, [key(1)], clock.now) == dict(entries(1))
    other.close()


def test_expired_answers_are_forgotten(store: AnswerStore, clock: Any) -> None:
    store.remember(ANN, 60.0, entries(*range(2500)))
    store.remember(ANN, 600.0, entries(5000))
    assert store.forget_expired(clock.now + 60.0) == 2500
    assert store.stats()["entries"] == 1


def test_the_size_stays_within_its_bound(tmp_path: Path, clock: Any) -> None:
    store = AnswerStore.open(tmp_path, clock=clock, max_bytes=2_000_000)
    for start in range(0, 20_000, 500):
        clock.now += 1
        store.remember(ANN, 1e9, [(key(number), "x" * 500) for number in range(start, start + 500)])
        size = store.stats()["bytes"]
        assert isinstance(size, int)
        assert size <= 2_000_000
    store.close()
    # One batch is written before others make room for it.
    assert (tmp_path / "answers.db").stat().st_size <= 2_500_000


def test_expired_answers_go_before_living_ones(tmp_path: Path, clock: Any) -> None:
    store = AnswerStore.open(tmp_path, clock=clock, max_bytes=1_000_000)
    store.remember(ANN, 1e9, [(key(number), "x" * 500) for number in range(500)])
    clock.now += 1
    store.remember(ANN, 60.0, [(key(number), "x" * 500) for number in range(500, 1000)])
    clock.now += 61
    store.remember(ANN, 1e9, [(key(number), "x" * 500) for number in range(1000, 1500)])
    found = store.recall(ANN, [key(number) for number in range(1500)], clock.now)
    assert set(found) == {key(number) for number in (*range(500), *range(1000, 1500))}
    store.close()


def test_the_least_recently_used_go_first(tmp_path: Path, clock: Any) -> None:
    store = AnswerStore.open(tmp_path, clock=clock, max_bytes=3_000_000)
    store.remember(ANN, 1e9, [(key(number), "x" * 500) for number in range(2000)])
    clock.now += 7200
    used = [key(number) for number in range(500)]
    store.recall(ANN, used, clock.now)
    for start in range(2000, 8000, 500):
        store.remember(ANN, 1e9, [(key(number), "x" * 500) for number in range(start, start + 500)])
        if start == 4000:
            break
    assert set(store.recall(ANN, used, clock.now)) == set(used)
    assert len(store.recall(ANN, [key(number) for number in range(500, 2000)], clock.now)) < 1500
    store.close()


def test_an_answer_larger_than_the_store_is_not_kept(tmp_path: Path, clock: Any) -> None:
    store = AnswerStore.open(tmp_path, clock=clock, max_bytes=100_000)
    store.remember(ANN, 1e9, [(key(1), "x" * 1_000_000)])
    assert store.recall(ANN, [key(1)], clock.now) == {}
    store.close()


def test_a_file_that_is_no_database_is_set_aside(
    tmp_path: Path, store: AnswerStore, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "answers.db").write_bytes(b"this is no database at all" * 1000)
    with caplog.at_level(logging.WARNING):
        assert store.recall(ANN, [key(1)], clock.now) == {}
    store.remember(ANN, 60.0, entries(1))
    assert store.recall(ANN, [key(1)], clock.now) == dict(entries(1))
    assert (tmp_path / "answers.db.corrupt").exists()
    assert "damaged" in caplog.text


def damaged(tmp_path: Path, store: AnswerStore) -> None:
    """Fills a file, closes it, and overwrites all but its first page."""
    store.remember(ANN, 60.0, [(key(number), "x" * 500) for number in range(2000)])
    store.close()
    path = tmp_path / "answers.db"
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))


def test_a_file_damaged_inside_is_set_aside_by_a_reader(tmp_path: Path, store: AnswerStore, clock: Any) -> None:
    damaged(tmp_path, store)
    again = AnswerStore.open(tmp_path, clock=clock)
    assert again.recall(ANN, [key(number) for number in range(2000)], clock.now) == {}
    assert again.recall(ANN, [key(1)], clock.now) == {}
    assert (tmp_path / "answers.db.corrupt").exists()
    again.close()


def test_a_file_damaged_inside_is_set_aside_by_a_writer_which_then_writes(
    tmp_path: Path, store: AnswerStore, clock: Any
) -> None:
    damaged(tmp_path, store)
    again = AnswerStore.open(tmp_path, clock=clock)
    again.remember(ANN, 60.0, entries(1))
    assert again.recall(ANN, [key(1)], clock.now) == dict(entries(1))
    again.close()


def test_a_file_set_aside_by_one_store_is_left_by_the_other(tmp_path: Path, store: AnswerStore, clock: Any) -> None:
    store.remember(ANN, 60.0, entries(1))
    other = AnswerStore.open(tmp_path, clock=clock)
    other.recall(ANN, [key(1)], clock.now)
    for end in ("-wal", "-shm", ""):
        (tmp_path / f"answers.db{end}").rename(tmp_path / f"answers.db.corrupt{end}")
    store.remember(ANN, 60.0, entries(2))
    assert other.recall(ANN, [key(1), key(2)], clock.now) == dict(entries(2))
    other.close()


def test_a_value_with_a_flipped_bit_is_a_miss(tmp_path: Path, store: AnswerStore, clock: Any) -> None:
    value = '"' + "paid" * 20 + '"'
    store.remember(ANN, 60.0, [(key(1), value)])
    store.close()
    path = tmp_path / "answers.db"
    data = path.read_bytes()
    assert data.count(value.encode()) == 1
    path.write_bytes(data.replace(value.encode(), value.replace("paid", "said").encode()))
    again = AnswerStore.open(tmp_path, clock=clock)
    assert again.recall(ANN, [key(1)], clock.now) == {}
    again.close()


def test_threads_read_and_write_one_store(store: AnswerStore, clock: Any) -> None:
    wrong: list[object] = []

    def work(first: int) -> None:
        for number in range(first, first + 50):
            store.remember(ANN, 60.0, entries(number))
            found = store.recall(ANN, [key(number)], clock.now)
            if found != dict(entries(number)):
                wrong.append(found)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(0, 400, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_stats_tell_the_oldest_and_the_size(store: AnswerStore, clock: Any) -> None:
    store.remember(ANN, 60.0, entries(1))
    first, clock.now = clock.now, clock.now + 10
    store.remember(ANN, 60.0, entries(2, 3))
    stats = store.stats()
    assert (stats["entries"], stats["oldest_s"]) == (3, first)
    assert isinstance(stats["bytes"], int) and stats["bytes"] > 0
