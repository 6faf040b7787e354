"""What statements leave behind for the next one: who gets it, for how long, and how much of it."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aiq.answers import index as answer_index
from aiq.answers import log as answer_log
from aiq.answers import unfinished
from aiq.answers.store import AnswerStore
from aiq.errors import LedgerError

ANN, BOB = b"a" * 16, b"b" * 16
DAY_S = 86400.0


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def entries(*numbers: int) -> list[tuple[bytes, str]]:
    return [(key(number), f'"answer {number}"') for number in numbers]


@pytest.fixture
def store(tmp_path: Path, clock: Callable[[], float]) -> Iterator[AnswerStore]:
    store = AnswerStore.open(tmp_path, clock=clock)
    yield store
    store.close()


def test_an_abandoned_statements_answers_can_be_used_at_once(store: AnswerStore) -> None:
    store.keep("st", ANN, entries(1, 2))
    store.keep("st", ANN, entries(3))
    store.abandon("st")
    assert store.resumable(ANN, [key(1), key(3), key(4)]) == dict(entries(1, 3))


def test_an_answer_that_comes_after_the_end_is_kept_of_an_abandoned_statement_only(store: AnswerStore) -> None:
    for statement, end in (("stopped", store.abandon), ("done", store.finish)):
        store.keep(statement, ANN, entries(1))
        end(statement)
    store.keep("stopped", ANN, entries(2))
    store.keep("done", ANN, entries(3))
    assert store.resumable(ANN, [key(1), key(2), key(3)]) == dict(entries(1, 2))


def test_a_running_statements_answers_are_not_given_away(store: AnswerStore) -> None:
    store.keep("st", ANN, entries(1))
    assert store.resumable(ANN, [key(1)]) == {}


def test_a_finished_statement_leaves_nothing(store: AnswerStore, tmp_path: Path) -> None:
    store.keep("st", ANN, entries(1))
    store.finish("st")
    assert store.resumable(ANN, [key(1)]) == {}
    assert list((tmp_path / "answers").iterdir()) == []


def test_a_statement_that_kept_nothing_can_end_either_way(store: AnswerStore) -> None:
    store.finish("a")
    store.abandon("b")
    store.keep("c", ANN, [])
    store.abandon("c")
    assert store.stats()["abandoned_statements"] == 0


def test_statements_that_run_together_end_apart(store: AnswerStore) -> None:
    for number in range(5):
        store.keep("stopped", ANN, entries(number))
        store.keep("done", ANN, entries(100 + number))
    store.finish("done")
    store.abandon("stopped")
    numbers = [*range(5), *range(100, 105)]
    assert store.resumable(ANN, [key(n) for n in numbers]) == dict(entries(*range(5)))


def test_another_process_store_finds_what_was_abandoned_after_it_opened(
    tmp_path: Path, store: AnswerStore, clock: Any
) -> None:
    other = AnswerStore.open(tmp_path, clock=clock)
    store.keep("st", ANN, entries(1))
    assert other.resumable(ANN, [key(1)]) == {}
    store.abandon("st")
    assert other.resumable(ANN, [key(1)]) == dict(entries(1))
    other.close()


def test_a_start_leaves_the_statements_of_living_stores_alone(tmp_path: Path, store: AnswerStore, clock: Any) -> None:
    store.keep("st", ANN, entries(1))
    AnswerStore.open(tmp_path, clock=clock).close()
    store.keep("st", ANN, entries(2))
    store.finish("st")
    assert store.resumable(ANN, [key(1), key(2)]) == {}


def abandoned(store: AnswerStore, statement: str, *numbers: int) -> None:
    for number in numbers:
        store.keep(statement, ANN, entries(number))
    store.abandon(statement)


def test_answers_that_were_resumed_in_full_are_gone_when_the_resuming_statement_ends_well(store: AnswerStore) -> None:
    abandoned(store, "first", 1, 2)
    abandoned(store, "second", 3)
    for number in range(5):
        store.resumable(ANN, [key(number)], statement_id="third")
    store.keep("third", ANN, entries(4))
    store.finish("third")
    assert store.resumable(ANN, [key(number) for number in range(5)]) == {}


class Holder:
    """What has the results of statements that ended well."""


def files(store_home: Path) -> int:
    return len(list((store_home / "answers").iterdir()))


def test_settled_answers_serve_nobody_and_go_when_their_holder_says_so(tmp_path: Path, store: AnswerStore) -> None:
    holder, other = Holder(), Holder()
    store.keep("st", ANN, entries(1))
    store.settle("st", holder)
    store.keep("st", ANN, entries(2))
    store.finish_held(other)
    assert store.resumable(ANN, [key(1), key(2)]) == {}
    assert (store.has_settled, files(tmp_path)) == (True, 1)
    store.finish_held(holder)
    assert (store.has_settled, files(tmp_path)) == (False, 0)


def test_settled_answers_of_a_holder_that_is_gone_go_with_those_of_the_next_one(
    tmp_path: Path, store: AnswerStore
) -> None:
    store.keep("st", ANN, entries(1))
    store.settle("st", Holder())
    assert files(tmp_path) == 1
    store.finish_held(Holder())
    assert files(tmp_path) == 0


def test_a_settled_statement_can_still_be_abandoned_with_all_that_it_resumed(store: AnswerStore) -> None:
    abandoned(store, "first", 1, 2)
    store.resumable(ANN, [key(1), key(2)], statement_id="second")
    store.keep("second", ANN, entries(3))
    store.settle("second", holder := Holder())
    assert store.resumable(ANN, [key(1), key(2), key(3)]) == {}
    store.abandon("second")
    store.finish_held(holder)
    assert store.resumable(ANN, [key(1), key(2), key(3)]) == dict(entries(1, 2, 3))


def test_closing_finishes_what_is_settled(tmp_path: Path, store: AnswerStore) -> None:
    holder = Holder()
    abandoned(store, "first", 1)
    store.resumable(ANN, [key(1)], statement_id="second")
    store.keep("second", ANN, entries(2))
    store.settle("second", holder)
    assert files(tmp_path) == 2
    store.close()
    assert files(tmp_path) == 0


def test_settled_answers_make_room_for_those_of_running_statements(tmp_path: Path, clock: Callable[[], float]) -> None:
    store, holder = AnswerStore.open(tmp_path, max_bytes=1000, clock=clock), Holder()
    for number in range(3):
        store.keep(str(number), ANN, [(key(number), "x" * 700)])
        store.settle(str(number), holder)
    assert files(tmp_path) == 1
    store.keep("running", ANN, [(key(9), "x" * 700)])
    store.abandon("running")
    assert store.resumable(ANN, [key(9)]) == {key(9): "x" * 700}
    store.close()


def test_only_so_many_statements_stay_settled(
    tmp_path: Path, store: AnswerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unfinished, "_SETTLED", 3)
    holder = Holder()
    for number in range(5):
        store.keep(str(number), ANN, entries(number))
        store.settle(str(number), holder)
    assert files(tmp_path) == 3


def test_what_a_settled_statement_resumed_is_its_own_in_every_process(tmp_path: Path, store: AnswerStore) -> None:
    abandoned(store, "first", 1)
    store.resumable(ANN, [key(1)], statement_id="second")
    store.settle("second", holder := Holder())
    other = AnswerStore.open(tmp_path)
    assert other.resumable(ANN, [key(1)]) == {}
    other.close()
    store.finish_held(holder)


def test_answers_that_were_resumed_in_part_stay(store: AnswerStore) -> None:
    abandoned(store, "first", 1, 2)
    store.resumable(ANN, [key(1)], statement_id="second")
    store.finish("second")
    assert store.resumable(ANN, [key(1), key(2)]) == dict(entries(1, 2))


def test_resumed_answers_stay_when_the_resuming_statement_is_cut_off_too(store: AnswerStore) -> None:
    abandoned(store, "first", 1)
    store.resumable(ANN, [key(1)], statement_id="second")
    abandoned(store, "second", 2)
    store.finish("second")
    assert store.resumable(ANN, [key(1), key(2)]) == dict(entries(1, 2))


def test_closing_abandons_what_still_runs(tmp_path: Path, store: AnswerStore, clock: Any) -> None:
    store.keep("st", ANN, entries(1))
    store.close()
    again = AnswerStore.open(tmp_path, clock=clock)
    assert again.resumable(ANN, [key(1)]) == dict(entries(1))
    again.close()


def test_a_closed_store_says_so(store: AnswerStore) -> None:
    store.close()
    store.close()
    with pytest.raises(LedgerError, match="closed"):
        store.keep("st", ANN, entries(1))


@pytest.mark.parametrize("value", ["", "null", '"\0é\U0001f600"', '"\ud800"', "[" + "1.5," * 20_000 + "2]"])
def test_values_come_back_as_they_were(store: AnswerStore, value: str) -> None:
    store.keep("st", ANN, [(key(1), value), (key(2), '"other"')])
    store.abandon("st")
    assert store.resumable(ANN, [key(1)]) == {key(1): value}


@pytest.mark.parametrize("wrong", [b"", b"short", b"k" * 17])
def test_keys_of_another_length_are_refused(store: AnswerStore, wrong: bytes) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        store.keep("st", ANN, [(wrong, "1")])
    with pytest.raises(ValueError, match="16 bytes"):
        store.keep("st", wrong, entries(1))


def test_answers_of_more_than_seven_days_ago_are_dropped(tmp_path: Path, store: AnswerStore, clock: Any) -> None:
    store.keep("old", ANN, entries(1))
    store.abandon("old")
    clock.now += 3 * DAY_S
    store.keep("new", ANN, entries(2))
    store.abandon("new")
    clock.now += 5 * DAY_S
    assert store.resumable(ANN, [key(1), key(2)]) == dict(entries(2))
    assert store.stats()["abandoned_statements"] == 1


def test_a_start_drops_what_is_older_than_resume_days(tmp_path: Path, store: AnswerStore, clock: Any) -> None:
    store.keep("old", ANN, entries(1))
    store.abandon("old")
    clock.now += 2 * DAY_S
    AnswerStore.open(tmp_path, clock=clock, resume_days=1).close()
    assert store.resumable(ANN, [key(1)]) == {}


def test_the_oldest_statements_make_room_for_later_ones(tmp_path: Path, clock: Any) -> None:
    store = AnswerStore.open(tmp_path, clock=clock, max_bytes=10_000)
    for number in range(20):
        clock.now += 1
        store.keep(f"st{number}", ANN, [(key(number), "x" * 1000)])
        store.abandon(f"st{number}")
    found = store.resumable(ANN, [key(number) for number in range(20)])
    assert list(found) == [key(number) for number in range(20 - len(found), 20)]
    assert 8000 < sum(path.stat().st_size for path in (tmp_path / "answers").iterdir()) <= 10_000
    store.close()


def test_a_running_statement_stops_keeping_at_the_limit(
    tmp_path: Path, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    store = AnswerStore.open(tmp_path, clock=clock, max_bytes=10_000)
    with caplog.at_level(logging.WARNING):
        for number in range(20):
            store.keep("st", ANN, [(key(number), "x" * 1000)])
    store.abandon("st")
    assert set(store.resumable(ANN, [key(number) for number in range(20)])) == {key(number) for number in range(9)}
    assert len(caplog.records) == 1
    store.close()


def test_many_small_statements_stay_few_segments(store: AnswerStore) -> None:
    for number in range(200):
        store.keep(f"st{number}", ANN, entries(number))
        store.abandon(f"st{number}")
        assert store.resumable(ANN, [key(number)]) == dict(entries(number))
    assert len(store.resumable(ANN, [key(number) for number in range(300)])) == 200
    assert len(store._unfinished._index._places[ANN]._newest) < 10


def test_an_index_past_its_memory_lies_in_a_file(
    tmp_path: Path, store: AnswerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_index, "LOADED_AT_ONCE", 100)
    for number in range(0, 1000, 10):
        store.keep("st", ANN, entries(*range(number, number + 10)))
    store.abandon("st")
    index = answer_index.AnswerIndex(entries_in_memory=300)
    index.add(sorted((tmp_path / "answers").iterdir()))
    assert index.find(ANN, [key(number) for number in range(2000)])[0] == dict(entries(*range(1000)))
    places = index._places[ANN]
    assert [len(run.first) for run in places._stored] == [400, 400]
    assert places.in_memory == 200


@pytest.mark.parametrize("damage", ["cut", "zeros", "flip", "garbage"])
def test_what_comes_before_a_damaged_end_can_be_used(tmp_path: Path, store: AnswerStore, damage: str) -> None:
    for number in range(10):
        store.keep("st", ANN, entries(number))
    store.abandon("st")
    (path,) = (tmp_path / "answers").iterdir()
    data = bytearray(path.read_bytes())
    size = len(data) // 10
    match damage:
        case "cut":
            del data[-5:]
        case "zeros":
            data[-size:] = bytes(size)
        case "flip":
            data[-1] ^= 1
        case "garbage":
            data[-size:] = os.urandom(size)
    path.write_bytes(data)
    assert store.resumable(ANN, [key(number) for number in range(10)]) == dict(entries(*range(9)))


def test_a_file_that_vanished_is_a_miss(tmp_path: Path, store: AnswerStore) -> None:
    for number in range(5):
        store.keep(f"st{number}", ANN, entries(number))
        store.abandon(f"st{number}")
    everything = [key(number) for number in range(5)]
    assert len(store.resumable(ANN, everything)) == 5
    for left in range(4, -1, -1):
        next((tmp_path / "answers").iterdir()).unlink()
        assert len(store.resumable(ANN, everything)) == left


def test_clearing_leaves_only_running_statements(store: AnswerStore) -> None:
    store.keep("running", ANN, entries(1))
    store.keep("stopped", ANN, entries(2))
    store.abandon("stopped")
    store.remember(ANN, 60, entries(3))
    store.clear()
    store.abandon("running")
    everything = [key(1), key(2), key(3)]
    assert store.resumable(ANN, everything) == dict(entries(1))
    assert store.recall(ANN, everything, 0) == {}


def test_answers_are_readable_by_their_owner_only(tmp_path: Path, store: AnswerStore) -> None:
    store.keep("st", ANN, entries(1))
    store.remember(ANN, 60, entries(1))
    store.recall(ANN, [key(1)], 0)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".db", ".db-wal", ".live"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_opening_writes_nothing(tmp_path: Path) -> None:
    store = AnswerStore.open(tmp_path / "home")
    assert store.resumable(ANN, [key(1)]) == store.recall(ANN, [key(1)], 0) == {}
    store.clear()
    store.close()
    assert not (tmp_path / "home").exists()


def test_equal_keys_of_two_scopes_keep_their_own_values(store: AnswerStore) -> None:
    store.keep("st", ANN, [(key(1), '"for ann"')])
    store.keep("st", BOB, [(key(1), '"for bob"')])
    store.abandon("st")
    assert store.resumable(ANN, [key(1)]) == {key(1): '"for ann"'}
    assert store.resumable(BOB, [key(1)]) == {key(1): '"for bob"'}


def test_names_sort_by_time() -> None:
    times = [0.0, 1.0, 999_999_999.999, 1_700_000_000.0, 9_999_999_999.0]
    assert sorted(times, key=answer_log.time_prefix) == times
