"""A statement that was cut off and is run again: what was answered is not paid twice, whatever ended it, and wherever.

The statements run in children of their own, against a simulator that takes 30 ms an answer.
"""

from __future__ import annotations

import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE
from typing import TYPE_CHECKING, Any

import pytest

import aiq
from aiq.errors import AiqError
from aiq.simulator.process import SimulatorProcess
from aiq.simulator.profile import FaultRate, Latency, Profile
from tests.prepared import prepared
from tests.processes import answering, idle, line_with, requests_of

if TYPE_CHECKING:
    from tests.conftest import ConfFolder

CALLS = "system.aiq.calls"
CONCURRENCY = 16
ROWS = 200
STATEMENT = f"SELECT ai_query('chat', 'Row ' || i || '.') AS a FROM range({ROWS}) AS r(i)"
VOLATILE = f"SELECT ai_query('chat', 'Row ' || i || '.') AS a, random() AS b FROM range({ROWS}) AS r(i)"

CHILD = """
import sys
import aiq
session = aiq.connect(conf=sys.argv[1], home=sys.argv[2], user="ann")
session.sql("SELECT ai_query('fast', 'Warm.')")
print("ready", flush=True)
for text in sys.stdin:
    try:
        session.sql(text)
        print("finished", flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    except aiq.AiqError as error:
        print(type(error).__name__, flush=True)
"""

LedgerRows = Callable[..., list[dict[str, Any]]]


class Child:
    """A process that runs the statements it is given, one after the other."""

    def __init__(self, conf: ConfFolder, home: Path) -> None:
        self._process = prepared().start("-c", CHILD, conf.path, home, stdin=PIPE, stdout=PIPE)
        self._ready = False

    def start(self, text: str) -> None:
        if not self._ready:
            line_with(self._process, "ready")
            self._ready = True
        assert self._process.stdin is not None
        self._process.stdin.write(text + "\n")
        self._process.stdin.flush()

    def says(self) -> str:
        return line_with(self._process)

    def run(self, text: str) -> str:
        self.start(text)
        return self.says()

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def exit(self) -> None:
        """Lets the process come to its end."""
        self._process.communicate()
        assert self._process.returncode == 0

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


StartChild = Callable[[], Child]


@pytest.fixture(scope="module")
def slow_process() -> Iterator[SimulatorProcess]:
    with SimulatorProcess.start(Profile(latency=Latency(fixed_ms=30))) as process:
        yield process


@pytest.fixture
def slow(slow_process: SimulatorProcess, conf: ConfFolder, simulator: SimulatorProcess) -> SimulatorProcess:
    """A simulator that takes 30 ms an answer, behind `chat` and `emb` of `conf`; `fast` is the usual one."""
    slow_process.reset()
    conf.settings(
        concurrency=CONCURRENCY,
        retries=0,
        embedding_batch_rows=4,
        endpoints={"model": {"model_server": {"url": f"{simulator.url}/invocations"}}},
    )
    url = f"{slow_process.url}/v1"
    conf.endpoint("chat", conf.entity("main", "gpt-4o-mini", url=url))
    task = "llm/v1/embeddings"
    conf.endpoint("emb", conf.entity("main", "text-embedding-3-small", task=task, url=url), task=task)
    conf.endpoint("fast")
    return slow_process


@pytest.fixture
def session(conf: ConfFolder, home: Path, slow: SimulatorProcess) -> Iterator[aiq.Session]:
    """A session of a process that is there before others are killed, and after."""
    with aiq.connect(conf=conf.path, home=home, user="ann") as session:
        session.sql("SELECT ai_query('fast', 'Warm.')")
        yield session


@pytest.fixture
def child(conf: ConfFolder, home: Path, slow: SimulatorProcess) -> Iterator[StartChild]:
    children = [Child(conf, home)]
    first = iter(children[:1])  # starts while the test prepares the rest

    def start() -> Child:
        if (started := next(first, None)) is not None:
            return started
        children.append(Child(conf, home))
        return children[-1]

    yield start
    for one in children:
        one.end()


def answer_only(simulator: SimulatorProcess, answered: int, then: str = "timeout") -> None:
    """Once so many have been answered, requests stay in flight, so that this machine may take its time."""
    stats = simulator.stats()
    simulator.set_faults(FaultRate(then, 1.0, after=stats["requests"] + answered - stats["ok"]))


def cut_off(child: Child, slow: SimulatorProcess, text: str, answered: int) -> None:
    """Runs a statement and kills its process when so many requests are answered."""
    answer_only(slow, answered)
    child.start(text)
    answering(slow, answered)
    child.send(signal.SIGKILL)
    child.end()
    idle(slow)
    slow.set_faults()


def moment(seed: int) -> int:
    return random.Random(seed).randrange(1, ROWS - 2 * CONCURRENCY)


@pytest.mark.parametrize("seed", range(2))
def test_a_new_process_repays_at_most_what_was_in_flight_at_the_kill(
    child: StartChild, slow: SimulatorProcess, seed: int
) -> None:
    cut_off(child(), slow, STATEMENT, moment(seed))
    assert child().run(STATEMENT) == "finished"
    assert ROWS <= requests_of(slow) <= ROWS + CONCURRENCY


@pytest.mark.parametrize("seed", range(2, 5))
def test_a_process_that_ran_all_along_repays_at_most_what_was_in_flight_at_the_kill(
    child: StartChild, session: aiq.Session, slow: SimulatorProcess, seed: int
) -> None:
    cut_off(child(), slow, STATEMENT, moment(seed))
    session.sql(STATEMENT)
    assert ROWS <= requests_of(slow) <= ROWS + CONCURRENCY


@pytest.mark.parametrize("seed", range(10, 12))
def test_every_request_that_was_answered_is_in_the_ledger_once(
    child: StartChild, conf: ConfFolder, home: Path, slow: SimulatorProcess, ledger_rows: LedgerRows, seed: int
) -> None:
    cut_off(child(), slow, STATEMENT, moment(seed))
    paid = requests_of(slow)
    with aiq.connect(conf=conf.path, home=home, user="ann") as later:  # recovers what the dead process left
        later.sql("SELECT count(*) FROM system.aiq.calls")
    rows = ledger_rows(CALLS, endpoint_name="chat")
    statuses = Counter(row["status"] for row in rows)
    assert statuses.keys() <= {"ok", "orphaned"}
    assert len({(row["request_id"], row["attempt"]) for row in rows}) == len(rows)
    # An intent is on the disk before its bytes leave, so some of the last may never have left.
    assert paid <= len(rows) <= paid + CONCURRENCY
    assert statuses["orphaned"] <= CONCURRENCY


def test_a_resumed_answer_is_in_the_ledger_as_a_hit_that_cost_nothing(
    child: StartChild, session: aiq.Session, slow: SimulatorProcess, ledger_rows: LedgerRows
) -> None:
    cut_off(child(), slow, STATEMENT, 80)
    before = requests_of(slow)
    session.sql(STATEMENT)
    repaid = requests_of(slow) - before
    session.sql("SELECT count(*) FROM system.aiq.calls")
    hits = ledger_rows(CALLS, endpoint_name="chat", cache_hit=True)
    assert len(hits) == ROWS - repaid
    assert all(row["cost_usd"] == 0 for row in hits)


def test_a_statement_that_is_killed_again_pays_each_row_about_once(
    child: StartChild, session: aiq.Session, slow: SimulatorProcess
) -> None:
    for answered in (50, 110):
        cut_off(child(), slow, STATEMENT, answered)
    session.sql(STATEMENT)
    assert ROWS <= requests_of(slow) <= ROWS + 2 * CONCURRENCY


@pytest.mark.parametrize("text", [STATEMENT, VOLATILE], ids=["lifted", "not lifted"])
def test_ctrl_c_repays_at_most_what_was_in_flight(child: StartChild, slow: SimulatorProcess, text: str) -> None:
    process = child()
    answer_only(slow, 80, then="late-1500")  # no process ends here, which would close the connections
    process.start(text)
    answering(slow, 80)
    process.send(signal.SIGINT)
    assert process.says() == "interrupted"
    assert requests_of(slow) < ROWS
    slow.set_faults()
    assert process.run(text) == "finished"
    assert ROWS <= requests_of(slow) <= ROWS + CONCURRENCY


def test_a_killed_statement_that_was_not_lifted_is_resumed(
    child: StartChild, session: aiq.Session, slow: SimulatorProcess
) -> None:
    cut_off(child(), slow, VOLATILE, 80)
    session.sql(VOLATILE)
    assert ROWS <= requests_of(slow) <= ROWS + CONCURRENCY


def test_killed_embeddings_are_resumed_by_text(child: StartChild, session: aiq.Session, slow: SimulatorProcess) -> None:
    text = STATEMENT.replace("'chat'", "'emb'")
    cut_off(child(), slow, text, 20)
    session.sql(text)
    idle(slow)
    assert ROWS <= slow.stats()["embedding_inputs"] <= ROWS + 4 * CONCURRENCY


@pytest.mark.parametrize("extra", ["", ", random() AS b"], ids=["lifted", "not lifted"])
def test_a_failing_row_keeps_the_others_for_when_its_cause_is_gone(
    session: aiq.Session, slow: SimulatorProcess, extra: str
) -> None:
    text = "SELECT ai_query('chat', {prompt}) AS a" + extra + " FROM range(100) AS r(i)"
    with pytest.raises(AiqError, match="code 400"):
        session.sql(text.format(prompt="CASE WHEN i = 70 THEN '[[fault:400]] ' ELSE '' END || 'Row ' || i || '.'"))
    before = requests_of(slow)
    good = slow.stats()["ok"]
    assert 0 < good < 100
    session.sql(text.format(prompt="'Row ' || i || '.'"))
    assert 100 - good <= requests_of(slow) - before <= 100 - good + CONCURRENCY


def test_answers_that_did_not_fit_their_type_are_there_for_another_type(
    session: aiq.Session, slow: SimulatorProcess
) -> None:
    text = "SELECT ai_query('chat', 'Row ' || i || '.'{type}) AS a FROM range(40) AS r(i)"
    with pytest.raises(AiqError, match="INT"):
        session.sql(text.format(type=", returnType => 'INT'"))
    idle(slow)
    good = slow.stats()["ok"]
    session.sql(text.format(type=""))
    assert requests_of(slow) <= 40 + CONCURRENCY
    assert good > 0


def test_a_killed_durable_statement_is_resumed_and_then_kept(
    child: StartChild, session: aiq.Session, slow: SimulatorProcess
) -> None:
    text = f"/*+ aiq_reuse(durable) */ {STATEMENT}"
    cut_off(child(), slow, text, 80)
    session.sql(text)
    paid = requests_of(slow)
    assert ROWS <= paid <= ROWS + CONCURRENCY
    session.sql(text)
    assert requests_of(slow) == paid


def test_what_was_resumed_is_kept_for_the_session(
    child: StartChild, session: aiq.Session, slow: SimulatorProcess
) -> None:
    text = f"/*+ aiq_reuse(session) */ {STATEMENT}"
    cut_off(child(), slow, text, 80)
    session.sql(text)
    paid = requests_of(slow)
    session.sql(text)
    assert requests_of(slow) == paid


def test_a_statement_of_a_process_that_exited_leaves_nothing_to_resume(
    child: StartChild, session: aiq.Session, slow: SimulatorProcess
) -> None:
    process = child()
    assert process.run(STATEMENT) == "finished"
    process.exit()
    session.sql(STATEMENT)
    assert requests_of(slow) == 2 * ROWS


def test_a_resumed_statement_that_ended_well_leaves_nothing_to_resume(
    child: StartChild, session: aiq.Session, slow: SimulatorProcess
) -> None:
    cut_off(child(), slow, STATEMENT, 80)
    session.sql(STATEMENT)
    before = requests_of(slow)
    session.sql(STATEMENT)
    assert requests_of(slow) - before == ROWS
