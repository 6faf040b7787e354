"""Kept answers on a disk that is full, or that cannot be written at all."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aiq.answers.store import AnswerStore
from aiq.errors import LedgerError
from tests.prepared import prepared

ANN = b"a" * 16

PRELUDE = """
import json, os, resource, sys
from pathlib import Path
from aiq.errors import LedgerError
from aiq.answers.store import AnswerStore

ANN = b"a" * 16
home = Path(sys.argv[1])
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)

def key(number):
    return number.to_bytes(16, "big")

def full(write):
    # writes until it fails: how many were written, and why no more
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, unlimited[1]))
    for number in range(10_000):
        try:
            write([(key(number), "x" * 1000)])
        except LedgerError as error:
            return number, str(error)
    raise AssertionError("the disk is not full")

def room_again():
    resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
"""


def run(script: str, home: Path) -> Any:
    child = prepared().run("-c", PRELUDE + script, home)
    assert child.returncode == 0, child.stderr
    return json.loads(child.stdout)


KEEP = "store = AnswerStore.open(home)\nkept, message = full(lambda entries: store.keep('st', ANN, entries))\n"
REMEMBER = "store = AnswerStore.open(home)\nkept, message = full(lambda entries: store.remember(ANN, 1e6, entries))\n"


@pytest.mark.parametrize("script", [KEEP, REMEMBER])
def test_a_full_disk_is_reported_with_what_to_do(tmp_path: Path, script: str) -> None:
    kept, message = run(script + "print(json.dumps([kept, message]))", tmp_path)
    assert kept > 10
    assert "Free space" in message


def test_what_was_kept_before_the_disk_was_full_can_be_used(tmp_path: Path) -> None:
    kept = run(KEEP + "print(kept)", tmp_path)
    store = AnswerStore.open(tmp_path)
    found = store.resumable(ANN, [number.to_bytes(16, "big") for number in range(10_000)])
    assert found == {number.to_bytes(16, "big"): "x" * 1000 for number in range(kept)}
    store.close()


def test_keeping_goes_on_when_there_is_room_again(tmp_path: Path) -> None:
    script = "room_again()\nstore.keep('st', ANN, [(key(99_999), 'later')])\nprint(kept)"
    kept = run(KEEP + script, tmp_path)
    store = AnswerStore.open(tmp_path)
    found = store.resumable(ANN, [number.to_bytes(16, "big") for number in range(100_000)])
    assert len(found) == kept + 1
    store.close()


def test_durable_answers_can_be_read_on_a_full_disk(tmp_path: Path) -> None:
    script = "print(json.dumps([kept, len(store.recall(ANN, [key(n) for n in range(10_000)], 0))]))"
    kept, found = run(REMEMBER + script, tmp_path)
    assert found == kept


def test_remembering_goes_on_when_there_is_room_again(tmp_path: Path) -> None:
    script = (
        "room_again()\nstore.remember(ANN, 1e6, [(key(99_999), 'later')])\nstore.close()\n"
        "store = AnswerStore.open(home)\n"
        "print(json.dumps([kept, len(store.recall(ANN, [key(n) for n in range(100_000)], 0))]))"
    )
    kept, found = run(REMEMBER + script, tmp_path)
    assert found == kept + 1


@pytest.mark.parametrize("home", ["/proc/aiq-home", "/dev/null/home"])
def test_a_home_that_cannot_exist_is_refused_by_the_first_write(home: str) -> None:
    store = AnswerStore.open(Path(home))
    assert store.recall(ANN, [b"k" * 16], 0) == store.resumable(ANN, [b"k" * 16]) == {}
    with pytest.raises(LedgerError, match="AIQ_HOME"):
        store.keep("st", ANN, [(b"k" * 16, "1")])
    with pytest.raises(LedgerError, match="AIQ_HOME"):
        store.remember(ANN, 60.0, [(b"k" * 16, "1")])
    store.close()


@pytest.fixture
def shared_home() -> Iterator[Path]:
    """A home that another user can reach, which pytest's own folders are not."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


READ_ONLY = """
for folder in (home, home / "answers"):
    folder.chmod(0o555)
for file in home.rglob("*.*"):
    file.chmod(0o444)
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
store = AnswerStore.open(home)
refused = 0
for write in (lambda e: store.keep("st", ANN, e), lambda e: store.remember(ANN, 60.0, e)):
    try:
        write([(key(3), "3")])
    except LedgerError:
        refused += 1
keys = [key(1), key(2), key(3)]
print(json.dumps([refused, list(store.resumable(ANN, keys).values()), list(store.recall(ANN, keys, 0).values())]))
"""


def test_answers_are_read_from_a_home_that_cannot_be_written(shared_home: Path) -> None:
    store = AnswerStore.open(shared_home)
    store.keep("st", ANN, [((1).to_bytes(16, "big"), "one")])
    store.abandon("st")
    store.remember(ANN, 1e6, [((2).to_bytes(16, "big"), "two")])
    store.close()
    assert run(READ_ONLY, shared_home) == [2, ["one"], ["two"]]
