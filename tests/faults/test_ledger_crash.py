"""The ledger when its process is killed at each step, and when several processes share one home.

The children are real processes that kill themselves with SIGKILL; the hooks they kill themselves in are set
up in the child's own script.
"""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path
from subprocess import PIPE

import pytest

from aiq.ledger.ledger import Ledger
from aiq.ledger.tables import Tables
from tests.prepared import Program, prepared
from tests.processes import line_with

CALLS, USAGE, PAYLOADS = "system.aiq.calls", "system.serving.endpoint_usage", "main.ai.chat_payload"
STATEMENTS = "system.aiq.statements"

PRELUDE = """
import asyncio, os, signal, sys
from pathlib import Path
from aiq.ledger import commit, delta, recovery
from aiq.ledger.ledger import Ledger
from aiq.ledger.records import Intent, Outcome, StatementRow
from aiq.ledger.spool import Spool

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def intent(i):
    return Intent(f"r{i}", 1, "st", "chat", "ent", "ann", 1_700_000_000_000_000)

def outcome(i):
    return Outcome(
        request_id=f"r{i}", attempt=1, statement_id="st", endpoint="chat", served_entity_id="ent",
        served_entity_name="gpt", provider="openai", model="m", task="llm/v1/chat", requester="ann",
        start_us=1_700_000_000_000_000, status="ok", status_code=200, error_class=None, error_message=None,
        latency_ms=1.0, queue_ms=0.0, limit_wait_ms=0.0, input_tokens=1, output_tokens=1, cached_tokens=0,
        reasoning_tokens=0, tokens_estimated=False, cost_usd=None, price_version=None, rows=1,
        finish_reason="stop", cache_hit=False, fallback_from=None, final=True, track_usage=True,
        payload_table="main.ai.chat_payload", request="{}", response="{}",
    )

def statement(name):
    return StatementRow(name, "SELECT 1", "ann", "duckdb", 1_700_000_000_000_000)

async def calls(ledger, numbers, answered=lambda i: True):
    async def one(i):
        await ledger.intend(intent(i))
        if answered(i):
            ledger.record(outcome(i))
    await asyncio.gather(*(one(i) for i in numbers))
    await asyncio.sleep(0)

def after(owner, name, count, then=die):
    # calls `then` when the function has returned for the count-th time
    real, left = getattr(owner, name), [count]
    def wrapped(*args, **kwargs):
        result = real(*args, **kwargs)
        left[0] -= 1
        if not left[0]:
            then()
        return result
    setattr(owner, name, wrapped)

home = Path(sys.argv[1])
"""

RUN = (
    "ledger = Ledger.open(home)\nledger.note_statement(statement('cut'))\nledger.note_statement(statement('st'))\n"
    "asyncio.run(calls(ledger, range(100), lambda i: i % 10))\n"
    "ledger.note_statement(statement('st')._replace(status='ok', end_us=1_700_000_000_000_001))\n"
)


def start(script: str, *arguments: object) -> Program:
    return prepared().start("-c", PRELUDE + script, *arguments, stdin=PIPE, stdout=PIPE)


def killed(script: str, home: Path) -> None:
    child = start(script, home)
    child.communicate()
    assert child.returncode == -signal.SIGKILL


def column(home: Path, table: str, name: str) -> list[str]:
    tables = Tables(home)
    return tables.to_arrow(table).column(name).to_pylist() if table in tables.names() else []


def counts(home: Path) -> dict[str, int]:
    """Rows by status in the calls table, and of the two other tables; -1 where a row is doubled."""
    ids = {
        CALLS: column(home, CALLS, "request_id"),
        USAGE: column(home, USAGE, "databricks_request_id"),
        PAYLOADS: column(home, PAYLOADS, "databricks_request_id"),
    }
    unique = {name: len(found) if len(found) == len(set(found)) else -1 for name, found in ids.items()}
    return {
        **Counter(column(home, CALLS, "status")),
        "calls": unique[CALLS],
        "usage": unique[USAGE],
        "payloads": unique[PAYLOADS],
    }


def statements(home: Path) -> list[tuple[str, str]]:
    return sorted(zip(column(home, STATEMENTS, "statement_id"), column(home, STATEMENTS, "status"), strict=True))


def test_a_process_killed_after_its_intents_leaves_orphans(tmp_path: Path) -> None:
    killed("ledger = Ledger.open(home)\nasyncio.run(calls(ledger, range(30), lambda i: False))\ndie()", tmp_path)
    Ledger.open(tmp_path).close()
    assert counts(tmp_path) == {"orphaned": 30, "calls": 30, "usage": 0, "payloads": 0}


AFTER_OUTCOMES = {"ok": 90, "orphaned": 10, "calls": 100, "usage": 90, "payloads": 90}

STEPS = {
    "before the commit": RUN + "die()",
    "after the first table": "after(delta, 'append', 1)\n" + RUN + "ledger.commit()",
    "after the second table": "after(delta, 'append', 2)\n" + RUN + "ledger.commit()",
    "after the third table": "after(delta, 'append', 3)\n" + RUN + "ledger.commit()",
    "after all tables": "after(delta, 'append', 4)\n" + RUN + "ledger.commit()",
    "after forgetting": "after(Spool, 'forget', 1)\n" + RUN + "ledger.commit()",
    "between two chunks": "commit.CHUNK_BYTES = 1\nafter(Spool, 'forget', 2)\n" + RUN + "ledger.commit()",
    "while forgetting": (
        RUN
        + "real = ledger._spool._connection()\n"
        + "class Dying:\n"
        + "    def execute(self, sql, *rest):\n"
        + "        return die() if sql.startswith('DELETE') else real.execute(sql, *rest)\n"
        + "    def cursor(self): return real.cursor()\n"
        + "ledger._spool._reader = Dying()\n"
        + "ledger.commit()"
    ),
    "after the commit": RUN + "ledger.commit()\ndie()",
}


@pytest.mark.parametrize("step", STEPS)
def test_a_process_killed_at_any_step_loses_and_doubles_nothing(tmp_path: Path, step: str) -> None:
    killed(STEPS[step], tmp_path)
    Ledger.open(tmp_path).close()
    assert counts(tmp_path) == AFTER_OUTCOMES
    assert statements(tmp_path) == [("cut", "orphaned"), ("st", "ok")]
    assert list((tmp_path / "spool").iterdir()) == []


RECOVERY_STEPS = {
    "after taking the spool": "after(Spool, 'take', 1)\nLedger.open(home)",
    "after writing the orphans": "after(Spool, 'write', 3)\nLedger.open(home)",
    "after the first table": "after(delta, 'append', 1)\nLedger.open(home)",
    "after all tables": "after(delta, 'append', 4)\nLedger.open(home)",
    "after forgetting": "after(Spool, 'forget', 1)\nLedger.open(home)",
}


@pytest.mark.parametrize("step", RECOVERY_STEPS)
def test_a_recovery_killed_at_any_step_is_recovered_in_turn(tmp_path: Path, step: str) -> None:
    killed(RUN + "die()", tmp_path)
    killed(RECOVERY_STEPS[step], tmp_path)
    Ledger.open(tmp_path).close()
    assert counts(tmp_path) == AFTER_OUTCOMES
    assert statements(tmp_path) == [("cut", "orphaned"), ("st", "ok")]
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_process_killed_at_a_random_moment_leaves_each_call_exactly_once(tmp_path: Path) -> None:
    script = (
        "ledger = Ledger.open(home, commit_rows=50)\n"
        "async def main():\n"
        "    for start in range(0, 1_000_000, 10):\n"
        "        await calls(ledger, range(start, start + 10))\n"
        "        print(start + 10, flush=True)\n"
        "asyncio.run(main())"
    )
    child = start(script, tmp_path)
    seen = 0
    while seen < 1500:
        seen = int(line_with(child))
    child.kill()
    rest = child.communicate()[0].split()
    seen = int(rest[-1]) if rest else seen
    Ledger.open(tmp_path).close()
    found = counts(tmp_path)
    assert found["calls"] >= seen
    assert found["usage"] == found["payloads"] == found["ok"]


def test_processes_share_one_home(tmp_path: Path) -> None:
    script = (
        "ledger = Ledger.open(home)\nfirst = int(sys.argv[2])\nsys.stdin.read(1)\n"
        "for start in range(first, first + 200, 50):\n"
        "    asyncio.run(calls(ledger, range(start, start + 50)))\n"
        "    ledger.commit()\n"
        "ledger.close()"
    )
    children = [start(script, tmp_path, 1000 * number) for number in range(4)]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("x")
        child.stdin.flush()
    assert [(child.communicate(), child.returncode)[1] for child in children] == [0] * 4
    assert counts(tmp_path) == {"ok": 800, "calls": 800, "usage": 800, "payloads": 800}


def test_two_starts_recover_a_dead_process_once(tmp_path: Path) -> None:
    killed(RUN + "die()", tmp_path)
    children = [start("sys.stdin.read(1)\nLedger.open(home).close()", tmp_path) for _ in range(3)]
    for child in children:
        child.communicate("x")
    Ledger.open(tmp_path).close()
    assert counts(tmp_path) == AFTER_OUTCOMES


def test_a_process_that_ends_without_closing_commits_at_exit(tmp_path: Path) -> None:
    child = start("ledger = Ledger.open(home)\nasyncio.run(calls(ledger, range(5)))", tmp_path)
    child.communicate()
    assert (child.returncode, counts(tmp_path)["calls"]) == (0, 5)
    assert list((tmp_path / "spool").iterdir()) == []
