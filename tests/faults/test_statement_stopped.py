"""A statement that is killed or stopped while it runs: what was paid is in the ledger, once, and nothing else is lost.

The statements run in children of their own, against a slow simulator. They say on their output when they begin.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

import aiq
from aiq.errors import StatementCancelled
from aiq.simulator.process import SimulatorProcess
from aiq.simulator.profile import FaultRate, Latency, Profile
from tests.processes import PATIENCE_S, answering, idle, line_with

if TYPE_CHECKING:
    from tests.conftest import ConfFolder

ROOT = Path(aiq.__file__).parents[1]
Ledger = Callable[..., list[dict[str, Any]]]
CALLS = "system.aiq.calls"
ROWS = 4000
"""With eight in flight and 50 ms an answer these take 25 s, unless they are stopped."""
IN_FLIGHT = 8
STATEMENT = f"SELECT ai_query('chat', 'Row ' || i || '.') AS r FROM range({ROWS}) AS r(i)"

CHILD = """
import os, sys, threading
import aiq
session = aiq.connect(conf=sys.argv[1], home=sys.argv[2], user="ann@example.com")
print("ready", flush=True)
try:
    session.sql(sys.argv[3])
    print("finished", flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    print(session.sql("SELECT ai_query('fast', 'Still here?') AS r").fetchall()[0][0], flush=True)
"""


@pytest.fixture(scope="module")
def slow_process() -> Iterator[SimulatorProcess]:
    with SimulatorProcess.start(Profile(latency=Latency(fixed_ms=50))) as process:
        yield process


@pytest.fixture
def slow(slow_process: SimulatorProcess, conf: ConfFolder) -> SimulatorProcess:
    """A simulator that takes 50 ms an answer, behind the endpoint `chat` of `conf`; `fast` is the usual one."""
    slow_process.reset()
    conf.settings(concurrency=IN_FLIGHT, endpoints={"model": {"model_server": {"url": "http://127.0.0.1:9"}}})
    conf.endpoint("chat", conf.entity("main", "gpt-4o-mini", url=f"{slow_process.url}/v1"))
    conf.endpoint("fast")
    return slow_process


def start(conf: ConfFolder, home: Path, text: str = STATEMENT) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(conf.path), str(home), text],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    line_with(child, "ready")
    return child


def test_a_killed_statement_is_recovered_by_the_next_process(
    conf: ConfFolder, home: Path, slow: SimulatorProcess, ledger_rows: Ledger
) -> None:
    child = start(conf, home)
    answering(slow, 40, IN_FLIGHT)
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=PATIENCE_S)
    stats = idle(slow)
    with aiq.connect(conf=conf.path, home=home) as session:
        found = session.sql("SELECT status, count(*) FROM system.aiq.calls GROUP BY ALL")
        assert found is not None
        counts = dict(found.fetchall())
    assert counts.keys() == {"ok", "orphaned"}
    assert 40 - IN_FLIGHT <= counts["ok"] <= stats["ok"]
    assert counts["ok"] + counts["orphaned"] >= stats["requests"]
    assert counts["orphaned"] <= IN_FLIGHT  # those in flight when it died
    rows = ledger_rows(CALLS)
    assert len({(row["request_id"], row["attempt"]) for row in rows}) == len(rows)
    asked = {
        (row["served_entity_name"], row["provider"], row["model"], row["task"])
        for row in rows
        if not row["status_code"]
    }
    assert asked <= {("main", "openai", "gpt-4o-mini", "llm/v1/chat")}


def test_recovering_twice_adds_no_row(
    conf: ConfFolder, home: Path, slow: SimulatorProcess, ledger_rows: Ledger
) -> None:
    child = start(conf, home)
    answering(slow, 20, IN_FLIGHT)
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=PATIENCE_S)
    counts = []
    for _ in range(2):
        finished = start(conf, home, "SELECT 1")
        finished.communicate(timeout=PATIENCE_S)
        counts.append(len(ledger_rows(CALLS)))
    assert counts[0] == counts[1] >= 20


def test_ctrl_c_stops_a_statement_and_the_session_goes_on(
    conf: ConfFolder, home: Path, slow: SimulatorProcess, ledger_rows: Ledger
) -> None:
    slow.set_faults(FaultRate("timeout", 1.0, after=40))  # what is in flight stays there until the child has stopped
    child = start(conf, home)
    answering(slow, 40, IN_FLIGHT)
    child.send_signal(signal.SIGINT)
    out, errors = child.communicate(timeout=PATIENCE_S)
    stats = idle(slow)
    assert out.splitlines()[0] == "interrupted", errors
    assert out.splitlines()[1].endswith("Still here?")
    assert stats["requests"] < ROWS // 4
    rows = ledger_rows(CALLS, endpoint_name="chat")
    statuses = Counter(row["status"] for row in rows)
    assert statuses == {"ok": 40, "cancelled": IN_FLIGHT} and len(rows) == stats["requests"]


@pytest.mark.parametrize("threads", [1, 4])
def test_an_interrupt_from_another_thread_stops_a_statement(
    conf: ConfFolder, home: Path, slow: SimulatorProcess, ledger_rows: Ledger, threads: int
) -> None:
    slow.set_faults(FaultRate("late-1500", 1.0, after=40))  # what is in flight stays there for a while
    with aiq.connect(conf=conf.path, home=home) as session:
        session.con.execute(f"SET threads = {threads}")

        def stop() -> None:
            answering(slow, 40, IN_FLIGHT)
            session.con.interrupt()

        stopper = threading.Thread(target=stop)
        stopper.start()
        with pytest.raises(StatementCancelled, match="in the ledger"):
            session.sql(STATEMENT)
        stopper.join()
        stats = idle(slow)
        assert stats["requests"] < ROWS // 4
        result = session.sql("SELECT ai_query('fast', 'Still here?') AS r")
        assert result is not None and len(result) == 1
    statuses = Counter(row["status"] for row in ledger_rows(CALLS, endpoint_name="chat"))
    assert statuses["ok"] >= 40 - IN_FLIGHT and 0 < statuses["cancelled"] <= IN_FLIGHT
    assert statuses.total() == stats["requests"]


def test_an_interrupt_stops_a_statement_of_a_registered_connection(
    conf: ConfFolder, home: Path, slow: SimulatorProcess
) -> None:
    with duckdb.connect() as con:
        aiq.register(con, conf=conf.path, home=home)

        def stop() -> None:
            answering(slow, 40, IN_FLIGHT)
            con.interrupt()

        stopper = threading.Thread(target=stop)
        stopper.start()
        with pytest.raises((duckdb.Error, RuntimeError)):
            con.execute(STATEMENT).fetchall()
        stopper.join()
        assert idle(slow)["requests"] < ROWS // 4
        assert con.execute("SELECT ai_query('fast', 'Still here?')").fetchall()


def test_an_interrupt_leaves_the_other_sessions_alone(conf: ConfFolder, home: Path, slow: SimulatorProcess) -> None:
    rows: list[Any] = []

    def other() -> None:
        with aiq.connect(conf=conf.path, home=home) as session:
            result = session.sql("SELECT ai_query('chat', 'Other ' || i || '.') AS r FROM range(64) AS r(i)")
            rows.extend([] if result is None else result.fetchall())

    with aiq.connect(conf=conf.path, home=home) as session:
        beside = threading.Thread(target=other)
        beside.start()

        stopped = threading.Event()

        def stop() -> None:
            answering(slow, 20, IN_FLIGHT)
            while not stopped.wait(0.05):  # those may all have been the other's, and this statement not begun
                session.interrupt()

        stopper = threading.Thread(target=stop)
        stopper.start()
        try:
            with pytest.raises(StatementCancelled):
                session.sql(STATEMENT)
        finally:
            stopped.set()
            stopper.join()
        beside.join()
    assert len(rows) == 64


def test_two_processes_share_a_home(
    conf: ConfFolder, home: Path, slow: SimulatorProcess, simulator: SimulatorProcess, ledger_rows: Ledger
) -> None:
    texts = [f"SELECT ai_query('fast', 'Child {n} row ' || i || '.') AS r FROM range(500) AS r(i)" for n in range(2)]
    children = [start(conf, home, text) for text in texts]
    for child in children:
        out, errors = child.communicate(timeout=PATIENCE_S)
        assert out == "finished\n", errors
    rows = ledger_rows(CALLS)
    assert Counter(row["status"] for row in rows) == {"ok": 1000}
    assert len({row["request_id"] for row in rows}) == 1000 == simulator.stats()["requests"]
    assert len(ledger_rows("system.serving.endpoint_usage")) == 1000


def test_a_process_that_starts_beside_a_running_one_leaves_its_calls_alone(
    conf: ConfFolder, home: Path, slow: SimulatorProcess, ledger_rows: Ledger
) -> None:
    slow.set_faults(FaultRate("timeout", 1.0, after=20))  # the others stay in flight until the child is stopped
    child = start(conf, home)
    answering(slow, 20, IN_FLIGHT)
    beside = start(conf, home, "SELECT ai_query('fast', 'Beside.') AS r")
    assert beside.communicate(timeout=PATIENCE_S)[0] == "finished\n"
    child.send_signal(signal.SIGINT)
    assert child.communicate(timeout=PATIENCE_S)[0].startswith("interrupted\n")
    statuses = Counter(row["status"] for row in ledger_rows(CALLS))
    assert statuses == {"ok": 20 + 2, "cancelled": idle(slow)["requests"] - 20}
