"""A statement whose process is killed at each step between its first answer and its caller having the result.

The children are real processes that kill themselves with SIGKILL. What the same statement then asks again elsewhere is
at most what was in flight, and after the last answer nothing.
"""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import aiq
from aiq.errors import LedgerError
from aiq.ledger.ledger import Ledger
from aiq.simulator.process import SimulatorProcess
from tests.prepared import prepared

if TYPE_CHECKING:
    from tests.conftest import ConfFolder

CALLS = "system.aiq.calls"
CONCURRENCY = 16
ROWS = 100

PRELUDE = """
import os, signal, sys
import aiq
from aiq.batch.statement import Statement
from aiq.engines.duckdb import connection as engine
from aiq.engines.duckdb.results import Results
from aiq.statements.session import Session
from aiq.answers.store import AnswerStore
from aiq.ledger.ledger import Ledger
from aiq.ledger.spool import Spool

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def dying(owner, name, when, count=1):
    # dies before or after the count-th call of a function
    real, left = getattr(owner, name), [count]
    def wrapped(*args, **kwargs):
        left[0] -= 1
        if when == "before" and not left[0]:
            die()
        result = real(*args, **kwargs)
        if when == "after" and not left[0]:
            die()
        return result
    setattr(owner, name, wrapped)

def dying_when_kept(count):
    # dies once so many answers are on the disk
    real, left = AnswerStore.keep, [count]
    def keep(self, statement_id, scope, entries):
        real(self, statement_id, scope, entries)
        left[0] -= len(entries)
        if left[0] <= 0:
            die()
    AnswerStore.keep = keep

conf, home, text = sys.argv[1:]
session = aiq.connect(home + ".duckdb", conf=conf, home=home, user="ann")
rows = "SELECT 'Row ' || i || '.' AS p, NULL::VARCHAR AS a FROM range(100) AS r(i)"
session.con.execute(f"CREATE TABLE IF NOT EXISTS prompts AS {rows}")
session.con.execute("CREATE TABLE IF NOT EXISTS results (a VARCHAR)")
"""

SELECT = "SELECT ai_query('chat', p) AS a FROM prompts"
VOLATILE = "SELECT ai_query('chat', p) AS a, random() AS r FROM prompts"
CREATE = f"CREATE OR REPLACE TABLE made AS {SELECT}"
INSERT = f"INSERT INTO results {SELECT}"
UPDATE = "UPDATE prompts SET a = ai_query('chat', p)"

ANOTHER = "SELECT ai_query('chat', 'Another.')"
SQL = "result = session.sql(text)\n"
STREAM = "batches = session.stream(text, batch_rows=20)\n"

LedgerRows = Callable[..., list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def chat(conf: ConfFolder, simulator: SimulatorProcess) -> None:
    server = {"model": {"model_server": {"url": f"{simulator.url}/invocations"}}}
    conf.settings(concurrency=CONCURRENCY, retries=0, endpoints=server)
    conf.endpoint("chat")


@pytest.fixture
def run(conf: ConfFolder, home: Path) -> Callable[[str, str], int]:
    """Runs a script about a statement in a process of its own. Returns its exit code."""

    def run(script: str, text: str) -> int:
        return prepared().start("-c", PRELUDE + script, conf.path, home, text).wait()

    return run


Run = Callable[[str, str], int]


@pytest.fixture
def asked_again(conf: ConfFolder, home: Path, simulator: SimulatorProcess) -> Callable[[str], int]:
    """How many requests a statement sends when it is run to its end in this process."""

    def asked_again(text: str) -> int:
        before = int(simulator.stats()["requests"])
        with aiq.connect(f"{home}.duckdb", conf=conf.path, home=home, user="ann") as session:
            session.sql(text)
        return int(simulator.stats()["requests"]) - before

    return asked_again


AskedAgain = Callable[[str], int]


def left_behind(home: Path) -> list[str]:
    """The names of the files of answers in a home."""
    return sorted(path.name for path in (home / "answers").iterdir())


AFTER_THE_LAST_ANSWER = {
    "the last answer is kept": "dying_when_kept(100)\n" + SQL,
    "before the relation": "dying(Results, 'relation', 'before')\n" + SQL,
    "after the relation": "dying(Results, 'relation', 'after')\n" + SQL,
    "before the transaction's end": "dying(engine.Transaction, '__exit__', 'before')\n" + SQL,
    "after the transaction's end": "dying(engine.Transaction, '__exit__', 'after')\n" + SQL,
    "before the statement's end": "dying(Statement, 'end', 'before')\n" + SQL,
    "after the statement's end": "dying(Statement, 'end', 'after')\n" + SQL,
    "before the ledger's commit": "dying(Ledger, 'commit', 'before')\n" + SQL,
    "within the ledger's commit": "dying(Spool, 'forget', 'before')\n" + SQL,
    "after the ledger's commit": "dying(Ledger, 'commit', 'after')\n" + SQL,
    "at the return": "dying(Session, 'sql', 'after')\n" + SQL,
    "the caller has the result": SQL + "assert result is None or len(result) == 100\ndie()",
}
OF_WRITES = [
    "the last answer is kept",
    "before the transaction's end",
    "after the transaction's end",
    "before the ledger's commit",
    "the caller has the result",
]


@pytest.mark.parametrize(
    "text, step",
    [(SELECT, step) for step in AFTER_THE_LAST_ANSWER]
    + [(VOLATILE, "before the relation"), (VOLATILE, "at the return")]
    + [(text, step) for text in (CREATE, INSERT, UPDATE) for step in OF_WRITES],
)
def test_a_statement_killed_after_its_last_answer_pays_nothing_again(
    run: Run, asked_again: AskedAgain, simulator: SimulatorProcess, ledger_rows: LedgerRows, text: str, step: str
) -> None:
    assert run(AFTER_THE_LAST_ANSWER[step], text) == -signal.SIGKILL
    assert simulator.stats()["requests"] == ROWS
    assert asked_again(text) == 0
    rows = ledger_rows(CALLS, endpoint_name="chat", cache_hit=False)
    assert len({row["request_id"] for row in rows}) == len(rows) == ROWS
    assert {row["status"] for row in rows} == {"ok"}


@pytest.mark.parametrize("text", [SELECT, VOLATILE, CREATE, INSERT, UPDATE])
def test_a_statement_killed_while_it_asks_repays_at_most_what_was_in_flight(
    run: Run, asked_again: AskedAgain, simulator: SimulatorProcess, text: str
) -> None:
    assert run("dying_when_kept(50)\n" + SQL, text) == -signal.SIGKILL
    assert asked_again(text) <= ROWS - 50
    assert ROWS <= simulator.stats()["requests"] <= ROWS + CONCURRENCY


FILTERED = "SELECT p FROM prompts WHERE ai_query('chat', p) LIKE '%'"
OF_STREAMS = {
    "after the first batch": STREAM + "next(batches)\ndie()",
    "after the last batch": STREAM + "for _ in range(5):\n    next(batches)\ndie()",
    "before the statement's end": "dying(Statement, 'end', 'before')\n" + STREAM + "list(batches)",
    "after the statement's end": "dying(Statement, 'end', 'after')\n" + STREAM + "list(batches)",
    "before the ledger's commit": "dying(Ledger, 'commit', 'before')\n" + STREAM + "list(batches)",
    "all batches are with the caller": STREAM + "assert sum(map(len, batches)) == 100\ndie()",
    "another statement asked between batches": STREAM + f"next(batches)\nsession.sql({ANOTHER!r})\ndie()",
}


@pytest.mark.parametrize("step", OF_STREAMS)
@pytest.mark.parametrize("text", [SELECT, FILTERED], ids=["in windows", "finished first"])
def test_a_stream_killed_at_any_step_repays_at_most_what_was_in_flight(
    run: Run, asked_again: AskedAgain, simulator: SimulatorProcess, text: str, step: str
) -> None:
    assert run(OF_STREAMS[step], text) == -signal.SIGKILL
    asked_again(text)
    assert simulator.stats()["requests"] <= ROWS + CONCURRENCY


WITHIN = f"session.sql('BEGIN')\n{SQL}session.sql({ANOTHER!r})\n"


def test_what_a_killed_transaction_had_written_is_not_paid_again(run: Run, asked_again: AskedAgain) -> None:
    assert run(WITHIN + "die()", INSERT) == -signal.SIGKILL
    assert asked_again(INSERT) == 0


def test_answers_go_with_the_first_statement_that_asks_after_the_transaction(
    run: Run, home: Path, asked_again: AskedAgain
) -> None:
    script = f"{WITHIN}session.sql('COMMIT')\nsession.sql({ANOTHER!r})\ndie()"
    assert run(script, INSERT) == -signal.SIGKILL
    assert len(left_behind(home)) == 1
    assert asked_again(INSERT) == ROWS


def test_answers_go_when_the_next_statement_asks(run: Run, home: Path, asked_again: AskedAgain) -> None:
    assert run(f"{SQL}session.sql({ANOTHER!r})\ndie()", SELECT) == -signal.SIGKILL
    assert len(left_behind(home)) == 1
    assert asked_again(SELECT) == ROWS


def test_a_result_that_was_on_its_way_to_a_table_is_not_paid_again(run: Run, asked_again: AskedAgain) -> None:
    script = SQL + "dying(engine, 'definitions_used', 'after')\nsession.sql('CREATE TABLE kept AS FROM result')"
    assert run(script, SELECT) == -signal.SIGKILL
    assert asked_again(SELECT) == 0


def test_a_statement_that_resumed_another_one_is_itself_resumed_in_full(
    run: Run, asked_again: AskedAgain, simulator: SimulatorProcess
) -> None:
    assert run("dying_when_kept(50)\n" + SQL, SELECT) == -signal.SIGKILL
    assert run(SQL + "die()", SELECT) == -signal.SIGKILL
    assert asked_again(SELECT) == 0
    assert simulator.stats()["requests"] <= ROWS + CONCURRENCY


@pytest.mark.parametrize("text", [SELECT, UPDATE])
def test_a_process_that_exits_leaves_no_answers_behind(
    run: Run, home: Path, asked_again: AskedAgain, text: str
) -> None:
    assert run(SQL, text) == 0
    assert left_behind(home) == []
    assert asked_again(text) == ROWS


def test_a_process_that_exits_leaves_none_of_those_that_it_resumed(run: Run, home: Path) -> None:
    assert run("dying_when_kept(50)\n" + SQL, SELECT) == -signal.SIGKILL
    assert run(SQL, SELECT) == 0
    assert left_behind(home) == []


@pytest.fixture
def session(conf: ConfFolder, home: Path) -> Iterator[aiq.Session]:
    with aiq.connect(conf=conf.path, home=home, user="ann") as session:
        session.con.execute(f"CREATE TABLE prompts AS SELECT 'Row ' || i || '.' AS p FROM range({ROWS}) AS r(i)")
        yield session


def test_a_process_that_lives_asks_anew(session: aiq.Session, simulator: SimulatorProcess) -> None:
    for count in range(1, 4):
        session.sql(SELECT)
        assert simulator.stats()["requests"] == count * ROWS


def test_another_session_of_a_process_that_lives_asks_anew(
    session: aiq.Session, conf: ConfFolder, home: Path, simulator: SimulatorProcess
) -> None:
    session.sql(SELECT)
    with aiq.connect(session.con, conf=conf.path, home=home, user="ann") as other:
        other.sql(SELECT)
    assert simulator.stats()["requests"] == 2 * ROWS


def test_what_was_resumed_is_asked_anew_by_other_sessions_of_that_process(
    run: Run, session: aiq.Session, conf: ConfFolder, home: Path, simulator: SimulatorProcess
) -> None:
    assert run(SQL + "die()", SELECT) == -signal.SIGKILL
    session.sql(SELECT)
    assert simulator.stats()["requests"] == ROWS
    with aiq.connect(session.con.cursor(), conf=conf.path, home=home, user="ann") as other:
        other.sql(SELECT)
    assert simulator.stats()["requests"] == 2 * ROWS


def test_many_statements_leave_the_answers_of_the_last_one_until_the_session_is_closed(
    session: aiq.Session, home: Path
) -> None:
    for number in range(10):
        session.sql(f"SELECT ai_query('chat', 'Number {number}.')")
        assert len(left_behind(home)) == 1
    session.close()
    assert left_behind(home) == []


def test_sessions_that_are_gone_pile_nothing_up(conf: ConfFolder, home: Path) -> None:
    for number in range(10):
        aiq.connect(conf=conf.path, home=home, user="ann").sql(f"SELECT ai_query('chat', 'Number {number}.')")
        gc.collect()
        assert len(left_behind(home)) == 1


def test_ctrl_c_while_the_ledger_is_committed_pays_nothing_again(
    session: aiq.Session, simulator: SimulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(ledger: Ledger) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Ledger, "commit", interrupted)
        session.sql(SELECT)
    session.sql(SELECT)
    assert simulator.stats()["requests"] == ROWS


def test_answers_stay_while_their_calls_are_in_no_spool(
    session: aiq.Session, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(ledger: Ledger) -> None:
        raise LedgerError("the disk is full")

    session.sql(SELECT)
    with monkeypatch.context() as patch, pytest.warns(UserWarning, match="the disk is full"):
        patch.setattr(Ledger, "flush", full)
        session._finish_earlier()
    assert len(left_behind(home)) == 1
    session.close()
    assert left_behind(home) == []
