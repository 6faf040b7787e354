"""Answers that processes share, in a file or a Redis: who asks, what is known, what a dead process leaves behind."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aiq.answers.shared import Entry, Shared, SharedAnswers, is_dead, name_of, process_name, scope_of_statement
from aiq.answers.shared_file import FileAnswers
from aiq.answers.shared_redis import RedisAnswers
from tests.processes import PATIENCE_S, RedisServer, line_with

CALLER, OTHER = b"c" * 16, b"d" * 16
KEYS = [bytes([number]) * 16 for number in range(4)]
Open = Callable[..., SharedAnswers]


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture
def opened_file(tmp_path: Path) -> Iterator[Callable[..., FileAnswers]]:
    """`opened_file("worker-1")`: the store of a host as another process sees it."""
    stores: list[FileAnswers] = []

    def store(process: str | None = None, **options: Any) -> FileAnswers:
        stores.append(FileAnswers(tmp_path, process=lambda: process or process_name(), **options))
        return stores[-1]

    yield store
    for each in stores:
        each.close()


@pytest.fixture(params=["file", "redis"])
def opened(request: pytest.FixtureRequest) -> Iterator[Open]:
    """`opened("worker-1")`: the store as another process sees it; each of the two kinds."""
    if request.param == "file":
        yield request.getfixturevalue("opened_file")
        return
    import redis

    url = request.getfixturevalue("redis_url")
    redis.Redis.from_url(url).flushall()
    stores: list[RedisAnswers] = []

    def store(process: str | None = None) -> RedisAnswers:
        stores.append(RedisAnswers(url, lambda: None, process=lambda: process or process_name()))
        return stores[-1]

    yield store
    for each in stores:
        each.close()


def statement(name: str = "s", caller: bytes = CALLER, owner: str | None = None, resumable: bool = True) -> Shared:
    return Shared(name, scope_of_statement(caller, name), caller, owner or process_name(), resumable)


def of_session(asking: str) -> Shared:
    """A statement of one session, whose statements share their answers."""
    return statement("session")._replace(lasting=True, asking=asking)


def dead_process() -> str:
    """The name of a process that was there, and is not any more."""
    code = "from aiq.answers.shared import process_name; print(process_name())"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_a_key_is_asked_by_one_process_only(opened: Open) -> None:
    one, two = opened(), opened("elsewhere:1:1")
    assert one.claim(statement(), KEYS[:2]).mine == KEYS[:2]
    assert one.claim(statement(), KEYS[:2]).mine == KEYS[:2]  # whose they are already
    claimed = two.claim(statement(), KEYS[1:3])
    assert (claimed.mine, claimed.theirs) == ([KEYS[2]], [KEYS[1]])


def test_an_answer_serves_every_process_of_its_statement(opened: Open) -> None:
    one, two = opened(), opened("elsewhere:1:1")
    one.claim(statement(), KEYS[:1])
    one.keep(statement(), [Entry(KEYS[0], '"yes"')])
    claimed = two.claim(statement(), KEYS[:1])
    assert claimed.known == {KEYS[0]: '"yes"'} and not claimed.mine and not claimed.theirs


def test_another_statement_asks_anew(opened: Open) -> None:
    store = opened()
    store.claim(statement(), KEYS[:1])
    store.keep(statement(), [Entry(KEYS[0], '"yes"')])
    assert store.claim(statement("t"), KEYS[:1]).mine == KEYS[:1]


def test_a_store_says_how_far_a_statement_is(opened: Open) -> None:
    store, asked = opened(), statement()
    assert store.progress(asked) == (0, 0)
    store.claim(asked, KEYS[:3])
    store.keep(asked, [Entry(KEYS[0], '"yes"')])
    assert store.progress(asked) == (1, 2)
    first, second = of_session("first"), of_session("second")
    store.claim(first, KEYS[:2])
    store.keep(first, [Entry(key, '"yes"') for key in KEYS[:2]])
    store.claim(second, KEYS[1:3])
    assert (store.progress(first)[0], store.progress(second)) == (1, (1, 1))


def test_a_running_statement_has_its_text(opened: Open) -> None:
    store, written = opened(), statement()._replace(text="SELECT 'größe'")
    store.claim(written, KEYS[:1])
    store.claim(statement("t"), KEYS[:1])
    assert {each.id: each.text for each in store.running(process_name())} == {"s": "SELECT 'größe'", "t": ""}
    store.end(written, well=True)
    store.claim(statement(), KEYS[:1])
    assert {each.text for each in store.running(process_name())} == {""}


def test_what_a_dead_process_had_claimed_is_free(opened: Open) -> None:
    opened(dead_process()).claim(statement(), KEYS[:1])
    assert opened().claim(statement(), KEYS[:1]).mine == KEYS[:1]


def test_released_claims_are_free(opened: Open) -> None:
    one, two = opened("elsewhere:1:1"), opened()
    one.claim(statement(), KEYS[:2])
    one.release(statement(), KEYS[:1])
    claimed = two.claim(statement(), KEYS[:2])
    assert (claimed.mine, claimed.theirs) == (KEYS[:1], KEYS[1:2])


@pytest.mark.parametrize("how", ["ended badly", "its driver died"])
def test_a_statement_that_was_cut_off_is_resumed_once(opened: Open, how: str) -> None:
    store = opened()
    first = statement("first", owner=dead_process() if how == "its driver died" else None)
    store.claim(first, KEYS[:2])
    store.keep(first, [Entry(KEYS[0], '"yes"'), Entry(KEYS[1], '"no"', failed=True)])
    if how == "ended badly":
        store.end(first, well=False)
    second = statement("second")
    claimed = store.claim(second, KEYS[:2])
    assert claimed.reused == {KEYS[0]: '"yes"'} and claimed.mine == [KEYS[1]]  # a failure is tried again
    assert store.claim(second, KEYS[:1]).known == {KEYS[0]: '"yes"'}
    store.end(second, well=True)
    assert store.claim(statement("third"), KEYS[:1]).mine == KEYS[:1]


def test_a_statement_of_a_session_reuses_an_answer_of_another_once(opened: Open) -> None:
    store, first, second = opened(), of_session("first"), of_session("second")
    assert store.claim(first, KEYS[:2]).mine == KEYS[:2]
    store.keep(first, [Entry(KEYS[0], '"yes"'), Entry(KEYS[1], '"no"', failed=True)])
    assert store.claim(first, KEYS[:2]).known == {KEYS[0]: '"yes"', KEYS[1]: '"no"'}
    claimed = opened("elsewhere:1:1").claim(second, KEYS[:2])
    assert (claimed.known, claimed.reused) == ({}, {KEYS[0]: '"yes"'})
    assert claimed.mine == [KEYS[1]]  # what another one failed with is asked again
    claimed = store.claim(second, KEYS[:2])  # another task of it
    assert (claimed.known, claimed.reused, claimed.theirs) == ({KEYS[0]: '"yes"'}, {}, [KEYS[1]])


def test_a_session_takes_what_was_cut_off_for_its_statement(opened: Open) -> None:
    store, first = opened(), statement("first")
    store.claim(first, KEYS[:1])
    store.keep(first, [Entry(KEYS[0], '"yes"')])
    store.end(first, well=False)
    assert store.claim(of_session("second"), KEYS[:1]).reused == {KEYS[0]: '"yes"'}
    assert store.claim(of_session("second"), KEYS[:1]).known == {KEYS[0]: '"yes"'}
    assert store.claim(of_session("third"), KEYS[:1]).reused == {KEYS[0]: '"yes"'}


def test_a_statement_that_ended_well_leaves_nothing(opened: Open) -> None:
    store = opened()
    store.claim(statement(), KEYS[:1])
    store.keep(statement(), [Entry(KEYS[0], '"yes"')])
    assert [each.id for each in store.running(process_name())] == ["s"]
    store.end(statement(), well=True)
    assert store.running(process_name()) == []
    assert store.claim(statement("t"), KEYS[:1]).mine == KEYS[:1]


@pytest.mark.parametrize("other", [statement("t", caller=OTHER), statement("t", owner="other:1:1")])
def test_nobody_else_gets_the_answers_of_a_running_statement(opened: Open, other: Shared) -> None:
    store = opened()
    store.claim(statement(), KEYS[:1])
    store.keep(statement(), [Entry(KEYS[0], '"yes"')])
    assert store.claim(other, KEYS[:1]).mine == KEYS[:1]


def test_another_caller_resumes_nothing(opened: Open) -> None:
    store = opened()
    store.claim(statement(), KEYS[:1])
    store.keep(statement(), [Entry(KEYS[0], '"yes"')])
    store.end(statement(), well=False)
    assert store.claim(statement("t", caller=OTHER), KEYS[:1]).mine == KEYS[:1]


def test_a_statement_whose_end_nobody_tells_is_not_resumed(opened: Open) -> None:
    store = opened()
    silent = statement(owner=dead_process(), resumable=False)
    store.claim(silent, KEYS[:1])
    store.keep(silent, [Entry(KEYS[0], '"yes"')])
    assert store.claim(statement("t"), KEYS[:1]).mine == KEYS[:1]


def test_what_nobody_ended_is_forgotten_in_time(opened_file: Open) -> None:
    now = [1_000.0]
    store = opened_file(clock=lambda: now[0])
    store.claim(statement(), KEYS[:1])
    store.keep(statement(), [Entry(KEYS[0], '"yes"')])
    now[0] += 8 * 86400
    store.claim(statement("t"), KEYS[:1])
    assert [each.id for each in store.running(process_name())] == ["t"]


def test_a_full_store_keeps_no_more_and_frees_its_claims(opened_file: Open) -> None:
    store = opened_file(max_bytes=1)
    store.claim(statement(), KEYS[:1])
    store.keep(statement(), [Entry(KEYS[0], '"yes"')])
    claimed = opened_file("elsewhere:1:1").claim(statement(), KEYS[:1])
    assert claimed.mine == KEYS[:1]


def test_a_process_is_not_dead_while_it_lives() -> None:
    assert not is_dead(process_name())
    assert not is_dead("another-host:1:1")  # nobody can know
    assert is_dead(process_name().rpartition(":")[0] + ":1")  # its number came again


def test_a_process_is_dead_before_its_parent_has_looked_at_how_it_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        name = name_of(process.pid)
        assert not is_dead(name)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert is_dead(name)


def test_what_is_kept_at_once_is_kept_or_left_to_wait(opened_file: Open, tmp_path: Path) -> None:
    store = opened_file()
    store.claim(statement(), KEYS[:2])
    assert store.keep_at_once(statement(), [Entry(KEYS[0], '"yes"')])
    other = sqlite3.connect(tmp_path / "statements.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert not store.keep_at_once(statement(), [Entry(KEYS[1], '"no"')])
    other.execute("ROLLBACK")
    other.close()
    assert opened_file().claim(statement(), KEYS[:2]).known == {KEYS[0]: '"yes"'}
    store.keep(statement(), [Entry(KEYS[1], '"no"')])
    assert store.claim(statement(), KEYS[:2]).known == {KEYS[0]: '"yes"', KEYS[1]: '"no"'}


def test_an_answered_key_is_known_to_all_though_who_asked_it_is_dead(opened_file: Open) -> None:
    dead = opened_file(process_name().rpartition(":")[0] + ":1")
    dead.claim(statement(), KEYS[:2])
    dead.keep(statement(), [Entry(KEYS[0], '"yes"')])
    claimed = opened_file().claim(statement(), KEYS[:2])
    assert (claimed.known, claimed.mine, claimed.theirs) == ({KEYS[0]: '"yes"'}, [KEYS[1]], [])


OPENING = """
import sys
from pathlib import Path
from aiq.answers.shared import Shared, process_name
from aiq.answers.shared_file import FileAnswers
print("ready", flush=True)
sys.stdin.readline()
for folder in sys.argv[1:]:
    FileAnswers(Path(folder)).claim(Shared("s", b"s" * 16, b"c" * 16, process_name()), [b"k" * 16])
"""


def test_processes_that_open_a_new_file_at_once_all_have_it(tmp_path: Path) -> None:
    folders = [str(tmp_path / str(number)) for number in range(40)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPENING, *folders],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        line_with(process, "ready")
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        _, said = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, said) == (0, "")
