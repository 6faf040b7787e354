"""Durable answers of a long statement: on the disk while it runs, so that they do not fill the memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiq.answers.store import AnswerStore
from aiq.batch import kept as kept_module
from aiq.batch.kept import KeptAnswers, scope_of
from aiq.config.reuse import Reuse
from aiq.request import Caller

ANN = Caller("ann")


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AnswerStore]:
    store = AnswerStore.open(tmp_path)
    yield store
    store.close()


@pytest.fixture
def kept(store: AnswerStore, monkeypatch: pytest.MonkeyPatch) -> KeptAnswers:
    """Of a durable statement that stores ten answers at once."""
    monkeypatch.setattr(kept_module, "REMEMBER_AT_ONCE", 10)
    return KeptAnswers(store, ANN, lambda _: Reuse("durable", 60.0), {})


def remembered(store: AnswerStore) -> int:
    return len(store.recall(scope_of(ANN), [key(number) for number in range(100)], time.time()))


def test_durable_answers_are_stored_while_their_statement_runs(kept: KeptAnswers, store: AnswerStore) -> None:
    kept.keep("st", "chat", [(key(number), "a") for number in range(25)])
    assert remembered(store) == 0  # keeping is done on the event loop, which must not wait for other processes
    kept.find("st", "chat", [key(99)])
    assert remembered(store) == 25


def test_the_end_of_a_statement_stores_the_rest(kept: KeptAnswers, store: AnswerStore) -> None:
    kept.keep("st", "chat", [(key(number), "a") for number in range(5)])
    kept.find("st", "chat", [key(99)])
    assert remembered(store) == 0
    kept.end("st", well=True)
    assert remembered(store) == 5
