"""A statement whose answers are too many for memory, when its process is killed: what was answered is not paid twice.

The child keeps ten answers in memory; the simulator takes 30 ms an answer.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import aiq
from aiq.batch import answers
from aiq.simulator.process import SimulatorProcess
from aiq.simulator.profile import FaultRate, Latency, Profile
from tests.prepared import prepared
from tests.processes import answering, idle, requests_of

if TYPE_CHECKING:
    from tests.conftest import ConfFolder

CONCURRENCY, ROWS, IN_MEMORY = 16, 200, 10
STATEMENT = f"SELECT i, ai_query('chat', 'Row ' || i || '.') AS a FROM range({ROWS}) AS r(i)"
CHILD = f"""
import sys
import aiq
from aiq.batch import answers
answers.MAX_ANSWERS = {IN_MEMORY}
aiq.connect(conf=sys.argv[1], home=sys.argv[2], user="ann").sql(sys.argv[3])
"""


@pytest.fixture(scope="module")
def slow_process() -> Iterator[SimulatorProcess]:
    with SimulatorProcess.start(Profile(latency=Latency(fixed_ms=30))) as process:
        yield process


@pytest.fixture
def slow(slow_process: SimulatorProcess, monkeypatch: pytest.MonkeyPatch) -> SimulatorProcess:
    """A simulator that takes 30 ms an answer; this process keeps ten answers in memory too."""
    monkeypatch.setattr(answers, "MAX_ANSWERS", IN_MEMORY)
    slow_process.reset()
    return slow_process


@pytest.fixture
def conf(tmp_path: Path, slow: SimulatorProcess, make_conf: Callable[[Path, str], ConfFolder]) -> ConfFolder:
    """A conf folder with the endpoint `chat`."""
    folder = make_conf(tmp_path / "conf", slow.url)
    folder.settings(concurrency=CONCURRENCY, retries=0)
    folder.endpoint("chat")
    return folder


def cut_off(conf: ConfFolder, home: Path, slow: SimulatorProcess, text: str, answered: int) -> None:
    """Runs a statement in a child and kills it when so many requests are answered, and all others in flight."""
    slow.set_faults(FaultRate("timeout", 1.0, after=answered))
    child = prepared().start("-c", CHILD, conf.path, home, text)
    try:
        answering(slow, answered)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    idle(slow)
    slow.set_faults()


@pytest.mark.parametrize("extra", ["", ", random() AS b"], ids=["lifted", "not lifted"])
def test_a_statement_killed_with_answers_in_its_file_repays_at_most_what_was_in_flight(
    conf: ConfFolder, home: Path, slow: SimulatorProcess, extra: str
) -> None:
    text = STATEMENT.replace(" AS a", f" AS a{extra}")
    cut_off(conf, home, slow, text, 120)
    with aiq.connect(conf=conf.path, home=home, user="ann") as session:
        relation = session.sql(text)
        assert relation is not None
        assert relation.aggregate("count(a), count(DISTINCT i)").fetchall() == [(ROWS, ROWS)]
    assert ROWS <= requests_of(slow) <= ROWS + CONCURRENCY


def test_a_killed_statement_leaves_none_of_its_temporary_file(
    conf: ConfFolder, home: Path, slow: SimulatorProcess
) -> None:
    cut_off(conf, home, slow, STATEMENT, 120)
    assert [path.name for path in home.iterdir() if path.name.startswith("aiq-")] == []


def test_answers_beyond_memory_are_paid_once_without_reuse(
    conf: ConfFolder, home: Path, slow: SimulatorProcess
) -> None:
    with aiq.connect(conf=conf.path, home=home, user="ann") as session:
        relation = session.sql(f"/*+ aiq_reuse(off) */ {STATEMENT}")
        assert relation is not None
        assert relation.aggregate("count(a)").fetchall() == [(ROWS,)]
    assert requests_of(slow) == ROWS


def test_a_stream_with_answers_beyond_memory_pays_once_and_gives_every_row(
    conf: ConfFolder, home: Path, slow: SimulatorProcess
) -> None:
    with aiq.connect(conf=conf.path, home=home, user="ann") as session:
        batches = list(session.stream(STATEMENT, batch_rows=16))
    assert [number for batch in batches for number in batch.column("i").to_pylist()] == list(range(ROWS))
    assert all(batch.column("a").null_count == 0 for batch in batches)
    assert requests_of(slow) == ROWS
