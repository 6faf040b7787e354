"""The ledger on a disk that is full, or that cannot be written at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aiq.errors import LedgerError
from aiq.ledger.ledger import Ledger
from aiq.ledger.tables import Tables
from tests.prepared import prepared

SCRIPT = """
import asyncio, json, resource, signal, sys
from pathlib import Path
from aiq.errors import LedgerError
from aiq.ledger.ledger import Ledger
from aiq.ledger.records import Intent, Outcome

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

def outcome(i):
    return Outcome(
        request_id=f"r{i}", attempt=1, statement_id="st", endpoint="chat", served_entity_id="ent",
        served_entity_name="gpt", provider="openai", model="m", task="llm/v1/chat", requester="ann",
        start_us=1_700_000_000_000_000, status="ok", status_code=200, error_class=None, error_message=None,
        latency_ms=1.0, queue_ms=0.0, limit_wait_ms=0.0, input_tokens=1, output_tokens=1, cached_tokens=0,
        reasoning_tokens=0, tokens_estimated=False, cost_usd=None, price_version=None, rows=1,
        finish_reason="stop", cache_hit=False, fallback_from=None, final=True,
        payload_table="main.ai.chat_payload", request="x" * 10_000,
    )

async def call(ledger, i, made):
    await ledger.intend(Intent(f"r{i}", 1, "st", "chat", "ent", "ann", 1_700_000_000_000_000))
    made.append(i)
    ledger.record(outcome(i))

async def main(ledger):
    made = []
    for i in range(1000):
        try:
            await call(ledger, i, made)
        except LedgerError as error:
            return made, str(error)
    return made, None

ledger = Ledger.open(Path(sys.argv[1]), commit_rows=10**9, clock=lambda: 0.0)
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, unlimited[1]))
made, message = asyncio.run(main(ledger))
resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
ROOM_AGAIN
print(json.dumps([len(made), message]))
"""


def full_disk(home: Path, afterwards: str) -> tuple[int, str]:
    """Calls until the disk is full, then `afterwards` with room again: how many calls were made, and the
    error.
    """
    child = prepared().run("-c", SCRIPT.replace("ROOM_AGAIN", afterwards), home)
    assert child.returncode == 0, child.stderr
    made, message = json.loads(child.stdout)
    return made, message


def test_a_full_disk_stops_the_calls_and_says_what_to_do(tmp_path: Path) -> None:
    made, message = full_disk(tmp_path, "")
    assert 0 < made < 1000
    assert "Free space" in message


def test_a_disk_that_has_room_again_loses_no_call_that_was_made(tmp_path: Path) -> None:
    made, _ = full_disk(tmp_path, "ledger.close()")
    rows = Tables(tmp_path).to_arrow("system.aiq.calls").to_pylist()
    assert sorted(row["request_id"] for row in rows) == sorted(f"r{i}" for i in range(made))
    assert {row["status"] for row in rows} == {"ok"}


def test_a_call_that_was_refused_for_lack_of_space_is_no_orphan(tmp_path: Path) -> None:
    made, _ = full_disk(
        tmp_path, "ledger.flush()\nimport os\nprint(json.dumps([len(made), '']), flush=True)\nos._exit(0)"
    )
    Ledger.open(tmp_path).close()
    assert Tables(tmp_path).to_arrow("system.aiq.calls").num_rows == made


def test_a_commit_on_a_full_disk_is_complete_when_there_is_room_again(tmp_path: Path) -> None:
    made, _ = full_disk(
        tmp_path,
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, unlimited[1]))\n"
        "for _ in range(2):\n"
        "    try:\n"
        "        ledger.commit()\n"
        "        raise AssertionError('committed')\n"
        "    except LedgerError:\n"
        "        pass\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)\n"
        "ledger.close()",
    )
    tables = Tables(tmp_path)
    counts = {name: tables.to_arrow(name).num_rows for name in tables.names()}
    assert counts == {"system.aiq.calls": made, "main.ai.chat_payload": made}


@pytest.mark.parametrize("home", ["/proc/aiq-home", "/dev/null/home"])
def test_a_home_that_cannot_exist_is_refused_with_what_to_do(home: str) -> None:
    with pytest.raises(LedgerError, match=r"not writable.*AIQ_HOME"):
        Ledger.open(Path(home))
