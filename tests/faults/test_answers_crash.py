"""Kept answers when their process is killed at each step or at any moment, and when several share one home.

The children are real processes that kill themselves with SIGKILL, or are killed.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Sequence
from pathlib import Path
from subprocess import PIPE

import pytest

from aiq.answers.store import AnswerStore
from tests.prepared import Program, prepared
from tests.processes import line_with

ANN = b"a" * 16

PRELUDE = """
import os, signal, sys
from pathlib import Path
from aiq.answers import durable
from aiq.answers.store import AnswerStore

ANN = b"a" * 16

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def key(number):
    return number.to_bytes(16, "big")

def entries(*numbers):
    return [(key(number), f'"answer {number}"') for number in numbers]

def dying(owner, name, *, before=None, after=None):
    # dies before or after the n-th call of a function
    real, count = getattr(owner, name), [0]
    def wrapped(*args, **kwargs):
        count[0] += 1
        if count[0] == before:
            die()
        result = real(*args, **kwargs)
        if count[0] == after:
            die()
        return result
    setattr(owner, name, wrapped)

home = Path(sys.argv[1])
store = AnswerStore.open(home)
"""


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def entries(numbers: Sequence[int]) -> dict[bytes, str]:
    return {key(number): f'"answer {number}"' for number in numbers}


def start(script: str, *arguments: object) -> Program:
    return prepared().start("-c", PRELUDE + script, *arguments, stdin=PIPE, stdout=PIPE)


def killed(script: str, home: Path) -> None:
    child = start(script, home)
    child.communicate()
    assert child.returncode == -signal.SIGKILL


def killed_after(child: Program, count: int) -> list[str]:
    """Kills a child that has written `count` lines. Returns all whole lines it wrote."""
    lines = [line_with(child) for _ in range(count)]
    child.kill()
    assert child.stdout is not None
    lines += [line for line in child.stdout.readlines() if line.endswith("\n")]
    child.communicate()
    return lines


def resumable(home: Path, numbers: Sequence[int]) -> dict[bytes, str]:
    store = AnswerStore.open(home)
    found = store.resumable(ANN, [key(number) for number in numbers])
    store.close()
    return found


TWO_GROUPS = "store.keep('st', ANN, entries(1, 2))\nstore.keep('st', ANN, entries(3))\n"
HALF_A_WRITE = (
    "store.keep('st', ANN, entries(1, 2))\n"
    "write = os.write\n"
    "def torn(descriptor, data):\n"
    "    write(descriptor, data[:len(data) // 2])\n"
    "    die()\n"
    "os.write = torn\n"
    "store.keep('st', ANN, entries(3))"
)
STEPS = {
    "before the first write": ("dying(os, 'write', before=1)\n" + TWO_GROUPS, []),
    "after the first write": ("dying(os, 'write', after=1)\n" + TWO_GROUPS, [1, 2]),
    "in the second write": (HALF_A_WRITE, [1, 2]),
    "after the second write": ("dying(os, 'write', after=2)\n" + TWO_GROUPS, [1, 2, 3]),
    "when both returned": (TWO_GROUPS + "die()", [1, 2, 3]),
    "before abandoning": (TWO_GROUPS + "dying(Path, 'rename', before=1)\nstore.abandon('st')", [1, 2, 3]),
    "after abandoning": (TWO_GROUPS + "store.abandon('st')\ndie()", [1, 2, 3]),
    "after settling": (TWO_GROUPS + "store.settle('st', store)\ndie()", [1, 2, 3]),
    "before finishing what is settled": (
        TWO_GROUPS + "store.settle('st', store)\ndying(Path, 'unlink', before=1)\nstore.finish_held(store)",
        [1, 2, 3],
    ),
    "before finishing": (TWO_GROUPS + "dying(Path, 'unlink', before=1)\nstore.finish('st')", [1, 2, 3]),
    "in finishing": (TWO_GROUPS + "dying(Path, 'unlink', after=1)\nstore.finish('st')", []),
    "after finishing": (TWO_GROUPS + "store.finish('st')\ndie()", []),
}


@pytest.mark.parametrize("step", STEPS)
def test_what_was_kept_is_there_after_a_kill_at_any_step(tmp_path: Path, step: str) -> None:
    script, expected = STEPS[step]
    killed(script, tmp_path)
    assert resumable(tmp_path, range(10)) == entries(expected)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_what_was_resumed_is_there_after_a_kill_while_it_is_settled(tmp_path: Path, moment: str) -> None:
    killed(TWO_GROUPS + "die()", tmp_path)
    resume = "store.resumable(ANN, [key(1), key(2), key(3)], statement_id='again')\n"
    killed(f"{resume}dying(Path, 'rename', {moment}=1)\nstore.settle('again', store)", tmp_path)
    assert resumable(tmp_path, range(10)) == entries([1, 2, 3])


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_start_killed_while_it_takes_over_is_followed_by_one_that_does(tmp_path: Path, moment: str) -> None:
    killed(TWO_GROUPS + "die()", tmp_path)
    killed(f"dying(Path, 'rename', {moment}=1)\nAnswerStore.open(home.parent)", tmp_path / "other")
    assert resumable(tmp_path, range(10)) == entries([1, 2, 3])


def test_a_process_killed_at_a_random_moment_loses_nothing_it_was_told_is_kept(tmp_path: Path) -> None:
    script = (
        "for statement in range(1_000_000):\n"
        "    for group in range(10):\n"
        "        first = statement * 1000 + group * 10\n"
        "        store.keep(str(statement), ANN, entries(*range(first, first + 10)))\n"
        "        print('kept', statement, group, flush=True)\n"
        "    if statement % 3:\n"
        "        print('finishing', statement, 0, flush=True)\n"
        "        store.finish(str(statement))\n"
        "        print('finished', statement, 0, flush=True)\n"
        "    elif statement % 2:\n"
        "        store.abandon(str(statement))\n"
    )
    for attempt in range(5):
        home = tmp_path / str(attempt)
        told = [line.split() for line in killed_after(start(script, home), random.randrange(1, 700))]
        ended = {(what, int(statement)) for what, statement, _ in told}
        statements = {statement for _, statement in ended}
        found = resumable(home, [s * 1000 + n for s in range(max(statements) + 2) for n in range(100)])
        assert found.items() <= entries(range((max(statements) + 2) * 1000)).items()
        for statement in statements:
            kept = [int(group) for what, s, group in told if what == "kept" and int(s) == statement]
            expected = entries([statement * 1000 + group * 10 + n for group in kept for n in range(10)])
            there = {k: v for k, v in found.items() if int.from_bytes(k, "big") // 1000 == statement}
            if ("finished", statement) in ended:
                assert there == {}
            elif ("finishing", statement) in ended:
                assert there in ({}, expected)
            else:
                assert expected.items() <= there.items()


def test_a_start_takes_nothing_from_a_process_that_lives_and_all_from_a_dead_one(tmp_path: Path) -> None:
    child = start(TWO_GROUPS + "print('kept', flush=True)\nsys.stdin.read()", tmp_path)
    line_with(child, "kept")
    assert resumable(tmp_path, range(10)) == {}
    child.kill()
    child.communicate()
    assert resumable(tmp_path, range(10)) == entries([1, 2, 3])


def test_a_forked_child_neither_writes_nor_holds_up_its_dead_parents_answers(tmp_path: Path) -> None:
    script = (
        TWO_GROUPS + "if os.fork():\n"
        "    sys.stdin.readline()\n"
        "    die()\n"
        "try:\n"
        "    store.keep('st', ANN, entries(4))\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, 'forked' in str(error), flush=True)\n"
        "store.close()\n"
        "sys.stdin.read()"
    )
    child = start(script, tmp_path)
    assert line_with(child) == "LedgerError True"
    assert resumable(tmp_path, range(10)) == {}
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert resumable(tmp_path, range(10)) == entries([1, 2, 3])
    child.communicate()


def test_a_forked_child_that_ends_leaves_its_parents_durable_answers_whole(tmp_path: Path) -> None:
    script = (
        "store.remember(ANN, 1e6, entries(1))\n"
        "store.recall(ANN, [key(1)], 0)\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    store.close()\n"
        "    del store\n"
        "    sys.exit()\n"
        "os.waitpid(child, 0)\n"
        "store.remember(ANN, 1e6, entries(2))\n"
        "die()"
    )
    killed(script, tmp_path)
    store = AnswerStore.open(tmp_path)
    assert store.recall(ANN, [key(1), key(2)], 0) == entries([1, 2])
    store.close()


DURABLE_STEPS = {
    "before the rows": ("dying(durable, '_checksum', before=1)\n", []),
    "in the transaction": (
        "import contextlib\n"
        "@contextlib.contextmanager\n"
        "def torn(connection):\n"
        "    connection.execute('BEGIN IMMEDIATE')\n"
        "    yield\n"
        "    die()\n"
        "durable.transaction = torn\n",
        [],
    ),
    "after the transaction": ("dying(durable, 'used_bytes', before=1)\n", [1, 2]),
    "before the answer": ("dying(durable.DurableAnswers, 'remember', after=1)\n", [1, 2]),
}


@pytest.mark.parametrize("step", DURABLE_STEPS)
def test_remembering_killed_at_any_step_is_done_or_not(tmp_path: Path, step: str) -> None:
    hook, expected = DURABLE_STEPS[step]
    killed("store.remember(ANN, 1e6, entries(0))\n" + hook + "store.remember(ANN, 1e6, entries(1, 2))", tmp_path)
    store = AnswerStore.open(tmp_path)
    assert store.recall(ANN, [key(number) for number in range(10)], 0) == entries([0, *expected])
    store.close()


def test_durable_answers_survive_kills_at_random_moments(tmp_path: Path) -> None:
    script = (
        "for start in range(int(sys.argv[2]), 10**9, 50):\n"
        "    store.remember(ANN, 1e6, entries(*range(start, start + 50)))\n"
        "    print(start, flush=True)\n"
    )
    done: list[int] = []
    for attempt in range(4):
        child = start(script, tmp_path, attempt * 1_000_000)
        done += [int(line) for line in killed_after(child, random.randrange(1, 60))]
    store = AnswerStore.open(tmp_path)
    numbers = [start + n for start in done for n in range(50)]
    assert store.recall(ANN, [key(number) for number in numbers], 0) == entries(numbers)
    store.close()


def test_four_processes_share_one_home(tmp_path: Path) -> None:
    script = (
        "first = int(sys.argv[2])\n"
        "sys.stdin.read(1)\n"
        "for number in range(first, first + 60):\n"
        "    statement = str(number)\n"
        "    store.keep(statement, ANN, entries(number))\n"
        "    store.resumable(ANN, [key(number)])\n"
        "    store.remember(ANN, 1e6, entries(number))\n"
        "    assert store.recall(ANN, [key(number)], 0) == dict(entries(number))\n"
        "    AnswerStore.open(home).close()\n"
        "    store.finish(statement) if number % 2 else store.abandon(statement)\n"
        "store.close()"
    )
    children = [start(script, tmp_path, 1000 * number) for number in range(4)]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("x")
        child.stdin.flush()
    assert [(child.communicate(), child.returncode)[1] for child in children] == [0] * 4
    numbers = [1000 * process + number for process in range(4) for number in range(60)]
    assert resumable(tmp_path, numbers) == entries([number for number in numbers if number % 2 == 0])
    store = AnswerStore.open(tmp_path)
    assert store.recall(ANN, [key(number) for number in numbers], 0) == entries(numbers)
    store.close()


def test_four_processes_set_a_damaged_file_aside_once(tmp_path: Path) -> None:
    (tmp_path / "answers.db").write_bytes(b"no database" * 1000)
    script = (
        "sys.stdin.read(1)\n"
        "number = int(sys.argv[2])\n"
        "store.recall(ANN, [key(1)], 0)\n"
        "store.remember(ANN, 1e6, entries(number))\n"
        "store.close()"
    )
    children = [start(script, tmp_path, number) for number in range(4)]
    for child in children:
        child.communicate("x")
        assert child.returncode == 0
    store = AnswerStore.open(tmp_path)
    assert store.recall(ANN, [key(number) for number in range(4)], 0) == entries(range(4))
    store.close()
    assert (tmp_path / "answers.db.corrupt").read_bytes() == b"no database" * 1000
