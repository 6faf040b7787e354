"""The ledger of one process, from intent and outcome to rows in the Delta tables."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import stat
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest

from aiq.errors import LedgerError
from aiq.ledger import commit
from aiq.ledger.groups import OpenIntents, decode, default_fields, encode, orphan
from aiq.ledger.ledger import IDLE_S, MAX_AGE_S, Ledger
from aiq.ledger.records import CALLS_SCHEMA, CALLS_TABLE, USAGE_TABLE, Intent, Outcome
from aiq.ledger.spool import Spool
from aiq.ledger.tables import Tables
from tests.processes import PATIENCE_S

Make = Callable[..., Outcome]
MakeIntent = Callable[..., Intent]
PAYLOADS = "main.ai.chat_payload"


def ids(ledger: Ledger, name: str = CALLS_TABLE) -> list[str]:
    tables = Tables(ledger.home)
    if name not in tables.names():
        return []
    key = "request_id" if name == CALLS_TABLE else "databricks_request_id"
    return sorted(tables.to_arrow(name).column(key).to_pylist())


def statuses(ledger: Ledger) -> dict[str, str]:
    rows = Tables(ledger.home).to_arrow(CALLS_TABLE).to_pylist()
    return {row["request_id"]: row["status"] for row in rows}


def groups_in(ledger: Ledger) -> int:
    return len(ledger._spool.read(1, 1 << 30))


def fail_writes(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_payload: bytes) -> None:
        raise LedgerError("disk is full")

    monkeypatch.setattr(ledger._spool, "write", full)


def abandon(ledger: Ledger) -> None:
    """What a crash leaves: the files as they are, and the lock free."""
    with ledger._buffers:
        ledger._closed = True
    ledger._spool.close()


def test_a_committed_outcome_is_in_all_its_tables(ledger: Ledger, outcome: Make) -> None:
    ledger.record(outcome("a"))
    ledger.commit()
    assert [ids(ledger, name) for name in (CALLS_TABLE, USAGE_TABLE, PAYLOADS)] == [["a"]] * 3


def test_committing_twice_adds_no_row(ledger: Ledger, outcome: Make) -> None:
    ledger.record(outcome("a"))
    ledger.commit()
    ledger.commit()
    assert ids(ledger) == ["a"]


def test_an_intent_is_durable_when_it_returns(ledger: Ledger, intent: MakeIntent) -> None:
    async def run() -> int:
        await ledger.intend(intent("a"))
        return len(commit.unfinished(ledger._spool)[0])

    assert asyncio.run(run()) == 1


def test_the_intents_of_one_iteration_are_one_group(ledger: Ledger, intent: MakeIntent) -> None:
    async def run() -> None:
        await asyncio.gather(*(ledger.intend(intent(str(i))) for i in range(50)))

    asyncio.run(run())
    assert groups_in(ledger) == 1


def test_cancelling_one_intent_leaves_the_others_of_its_group(ledger: Ledger, intent: MakeIntent) -> None:
    async def run() -> list[Any]:
        tasks = [asyncio.ensure_future(ledger.intend(intent(str(i)))) for i in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    results = asyncio.run(run())
    assert [type(result) for result in results] == [type(None), asyncio.CancelledError, type(None)]


def test_outcomes_of_one_iteration_are_one_group(ledger: Ledger, outcome: Make) -> None:
    async def run() -> None:
        for i in range(50):
            ledger.record(outcome(str(i)))
        await asyncio.sleep(0)

    asyncio.run(run())
    assert groups_in(ledger) == 1


def test_an_outcome_without_a_loop_is_written_at_once(ledger: Ledger, outcome: Make) -> None:
    ledger.record(outcome("a"))
    assert groups_in(ledger) == 1


def test_a_loop_that_stopped_too_early_loses_no_outcome(ledger: Ledger, outcome: Make) -> None:
    async def record() -> None:
        ledger.record(outcome("a"))

    loop = asyncio.new_event_loop()
    task = loop.create_task(record())
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    assert task.done()
    ledger.record(outcome("b"))
    ledger.commit()
    assert ids(ledger) == ["a", "b"]


def test_a_failed_write_fails_the_intent(ledger: Ledger, intent: MakeIntent, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_writes(ledger, monkeypatch)
    with pytest.raises(LedgerError, match="disk is full"):
        asyncio.run(ledger.intend(intent("a")))
    monkeypatch.undo()
    assert groups_in(ledger) == 0


def test_outcomes_that_are_alike_are_one_group_and_rows_of_their_own(ledger: Ledger, outcome: Make) -> None:
    ledger.record_alike(outcome("", final=True, payload_table=None, track_usage=False), ["a", "b", "c"])
    assert groups_in(ledger) == 1
    ledger.commit()
    assert ids(ledger) == ["a", "b", "c"]
    assert set(statuses(ledger).values()) == {"ok"}


@pytest.mark.parametrize("count", [0, 1])
def test_few_outcomes_that_are_alike_are_no_exception(ledger: Ledger, outcome: Make, count: int) -> None:
    ledger.record_alike(outcome("", payload_table=None), ["a"][:count])
    ledger.commit()
    assert ids(ledger) == ["a"][:count]


def test_outcomes_that_are_alike_wait_for_room_as_others_do(
    ledger: Ledger, outcome: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_writes(ledger, monkeypatch)
    ledger.record_alike(outcome("", payload_table=None), ["a", "b"])
    monkeypatch.undo()
    ledger.commit()
    assert ids(ledger) == ["a", "b"]


def test_outcomes_that_are_alike_survive_the_death_of_their_process(
    ledger: Ledger, outcome: Make, tmp_path: Path
) -> None:
    ledger.record_alike(outcome("", payload_table=None), ["a", "b"])
    abandon(ledger)
    with contextlib.closing(Ledger.open(ledger.home)) as later:
        assert ids(later) == ["a", "b"]


def test_a_failed_write_of_an_outcome_fails_the_next_intent(
    ledger: Ledger, outcome: Make, intent: MakeIntent, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_writes(ledger, monkeypatch)
    ledger.record(outcome("a"))
    with pytest.raises(LedgerError, match="disk is full"):
        asyncio.run(ledger.intend(intent("b")))
    monkeypatch.undo()


def test_outcomes_that_could_not_be_written_are_written_when_there_is_room_again(
    ledger: Ledger, outcome: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_writes(ledger, monkeypatch)
    ledger.record(outcome("a"))
    with pytest.raises(LedgerError):
        ledger.commit()
    monkeypatch.undo()
    ledger.record(outcome("b"))
    ledger.commit()
    assert ids(ledger) == ["a", "b"]


def test_a_replayed_commit_adds_no_row(ledger: Ledger, outcome: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: object) -> None:
        raise LedgerError("interrupted")

    ledger.record(outcome("a"))
    monkeypatch.setattr(ledger._spool, "forget", lost)
    with pytest.raises(LedgerError):
        ledger.commit()
    monkeypatch.undo()
    ledger.record(outcome("b"))
    ledger.commit()
    assert [ids(ledger, name) for name in (CALLS_TABLE, USAGE_TABLE, PAYLOADS)] == [["a", "b"]] * 3


def test_a_commit_in_several_chunks_is_complete(ledger: Ledger, outcome: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "CHUNK_BYTES", 1)
    for i in range(5):
        ledger.record(outcome(str(i)))
    ledger.commit()
    assert ids(ledger) == ["0", "1", "2", "3", "4"]


def test_a_chunk_that_is_decoded_in_pieces_is_one_commit(
    ledger: Ledger, outcome: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "PIECE_BYTES", 1)
    for i in range(5):
        ledger.record(outcome(str(i)))
    ledger.commit()
    assert ids(ledger) == ["0", "1", "2", "3", "4"]
    assert {table.name: table.version for table in Tables(ledger.home).info()}[CALLS_TABLE] == 1


def test_a_commit_leaves_the_intents_that_are_in_flight(ledger: Ledger, outcome: Make, intent: MakeIntent) -> None:
    async def run() -> None:
        await ledger.intend(intent("a"))
        await ledger.intend(intent("b"))

    asyncio.run(run())
    ledger.record(outcome("a"))
    ledger.commit()
    assert list(commit.unfinished(ledger._spool)[0]) == [("b", 1)]


def test_a_commit_from_another_thread_while_calls_go_on_is_exact(
    ledger: Ledger, outcome: Make, intent: MakeIntent
) -> None:
    async def call(i: int) -> None:
        await ledger.intend(intent(str(i)))
        ledger.record(outcome(str(i)))

    async def run() -> None:
        for start in range(0, 2000, 20):
            await asyncio.gather(*(call(i) for i in range(start, start + 20)))

    calls = threading.Thread(target=asyncio.run, args=(run(),))
    calls.start()
    while calls.is_alive():
        ledger.commit()
    ledger.commit()
    assert Counter(ids(ledger)) == Counter(str(i) for i in range(2000))


# What somebody did to a table


def test_an_added_column_is_null_in_new_rows(ledger: Ledger, outcome: Make) -> None:
    from deltalake import DeltaTable, Field
    from deltalake.schema import PrimitiveType

    ledger.record(outcome("a"))
    ledger.commit()
    table = DeltaTable(Tables(ledger.home).path(CALLS_TABLE))
    table.alter.add_columns([Field("reviewed", PrimitiveType("boolean"))])
    ledger.record(outcome("b"))
    ledger.commit()
    rows = Tables(ledger.home).to_arrow(CALLS_TABLE).to_pylist()
    assert {row["request_id"]: row["reviewed"] for row in rows} == {"a": None, "b": None}


def test_a_dropped_column_holds_up_that_table_only_until_it_is_back(ledger: Ledger, outcome: Make) -> None:
    from deltalake import write_deltalake

    ledger.record(outcome("a"))
    ledger.commit()
    path = Tables(ledger.home).path(PAYLOADS)
    whole = Tables(ledger.home).to_arrow(PAYLOADS)
    write_deltalake(path, whole.drop_columns(["requester"]), mode="overwrite", schema_mode="overwrite")
    ledger.record(outcome("b"))
    with pytest.raises(LedgerError, match=rf"{PAYLOADS} has no column requester"):
        ledger.commit()
    assert (ids(ledger, CALLS_TABLE), ids(ledger, PAYLOADS)) == (["a", "b"], ["a"])
    write_deltalake(path, whole, mode="overwrite", schema_mode="overwrite")
    ledger.record(outcome("c"))
    ledger.commit()
    assert [ids(ledger, name) for name in (CALLS_TABLE, USAGE_TABLE, PAYLOADS)] == [["a", "b", "c"]] * 3


def test_a_column_of_another_type_names_the_table(ledger: Ledger, outcome: Make) -> None:
    from deltalake import write_deltalake

    path = ledger.home / "tables" / "main" / "ai" / "chat_payload"
    path.mkdir(parents=True)
    schema = [("databricks_request_id", pa.string()), ("request", pa.struct([("q", pa.int64())]))]
    write_deltalake(path, pa.schema(schema).empty_table())
    ledger.record(outcome("a"))
    with pytest.raises(LedgerError, match=PAYLOADS):
        ledger.commit()
    shutil.rmtree(path)


def test_a_corrupted_log_loses_no_row(ledger: Ledger, outcome: Make) -> None:
    ledger.record(outcome("a"))
    ledger.commit()
    log = Tables(ledger.home).path(USAGE_TABLE) / "_delta_log" / "00000000000000000001.json"
    good = log.read_bytes()
    log.write_bytes(b"{ torn")
    ledger.record(outcome("b"))
    with pytest.raises(LedgerError, match=rf"{USAGE_TABLE} cannot be used") as caught:
        ledger.commit()
    assert "\n" not in str(caught.value)
    log.write_bytes(good)
    ledger.commit()
    assert ids(ledger, USAGE_TABLE) == ["a", "b"]
    assert ids(ledger, CALLS_TABLE) == ["a", "b"]


def test_chunks_of_a_table_that_failed_once_are_not_overtaken(
    ledger: Ledger, outcome: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "CHUNK_BYTES", 1)
    real = commit.delta.append
    failures = iter([True])

    def flaky(path: Path, name: str, *rest: Any) -> int:
        if name == USAGE_TABLE and next(failures, False):
            raise LedgerError("not now")
        return real(path, name, *rest)

    monkeypatch.setattr(commit.delta, "append", flaky)
    ledger.record(outcome("a"))
    ledger.record(outcome("b"))
    with pytest.raises(LedgerError, match="not now"):
        ledger.commit()
    ledger.commit()
    assert ids(ledger, USAGE_TABLE) == ["a", "b"]


def test_a_deleted_table_is_made_again(ledger: Ledger, outcome: Make) -> None:
    ledger.record(outcome("a"))
    ledger.commit()
    shutil.rmtree(Tables(ledger.home).path(CALLS_TABLE))
    ledger.record(outcome("b"))
    ledger.commit()
    assert ids(ledger) == ["b"]


def test_data_files_without_a_log_are_not_taken_for_an_empty_table(ledger: Ledger, outcome: Make) -> None:
    ledger.record(outcome("a"))
    ledger.commit()
    path = Tables(ledger.home).path(CALLS_TABLE)
    (path / "_delta_log").rename(path / "moved")
    ledger.record(outcome("b"))
    with pytest.raises(LedgerError, match="no _delta_log"):
        ledger.commit()
    (path / "moved").rename(path / "_delta_log")
    ledger.commit()
    assert ids(ledger) == ["a", "b"]


@pytest.mark.parametrize("name", ["payload", "a.b.c.d", "../x.b.c", "a.b.", "a..c"])
def test_a_table_name_cannot_leave_the_home_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(LedgerError, match="no table name"):
        commit.delta.located(tmp_path, name)


# When it commits by itself


def test_nothing_is_due_while_rows_are_few_and_fresh(ledger: Ledger, outcome: Make) -> None:
    ledger.record(outcome("a"))
    assert ledger.maybe_commit() is False


def test_what_is_idle_is_committed(ledger: Ledger, outcome: Make, clock: Any) -> None:
    ledger.record(outcome("a"))
    clock.now += IDLE_S
    ledger.maybe_commit()
    ledger.commit()  # the committer thread may have been faster
    assert ids(ledger) == ["a"]


def test_what_is_old_is_committed_though_more_keeps_coming(
    tmp_path: Path, outcome: Make, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ledger, "_commit_loop", lambda self: None)
    ledger = Ledger.open(tmp_path, clock=clock)
    done = []
    for second in range(int(MAX_AGE_S) + 1):
        ledger.record(outcome(str(second)))
        done.append(ledger.maybe_commit())
        clock.now += 1
    assert done == [False] * int(MAX_AGE_S) + [True]
    ledger.close()


def test_enough_rows_are_committed_at_once(
    tmp_path: Path, outcome: Make, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ledger, "_commit_loop", lambda self: None)
    ledger = Ledger.open(tmp_path, commit_rows=3, clock=clock)
    done = []
    for i in range(3):
        ledger.record(outcome(str(i)))
        done.append(ledger.maybe_commit())
    assert done == [False, False, True]
    ledger.close()


def test_a_failed_commit_is_not_tried_again_at_once(
    tmp_path: Path, outcome: Make, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ledger, "_commit_loop", lambda self: None)
    ledger = Ledger.open(tmp_path, commit_rows=1, clock=clock)
    ledger.record(outcome("a"))

    def fail(*_: object) -> None:
        raise LedgerError("not now")

    with monkeypatch.context() as patch:
        patch.setattr(commit, "drain", fail)
        with pytest.raises(LedgerError):
            ledger.maybe_commit()
    assert ledger.maybe_commit() is False
    clock.now += 2.0
    assert ledger.maybe_commit() is True
    ledger.close()


def test_the_committer_thread_commits_when_enough_has_come_together(tmp_path: Path, outcome: Make) -> None:
    committed = threading.Event()

    class Watched(Ledger):
        def maybe_commit(self) -> bool:
            done = super().maybe_commit()
            if done:
                committed.set()
            return done

    ledger = Watched.open(tmp_path, commit_rows=5, clock=lambda: 0.0)
    for i in range(5):
        ledger.record(outcome(str(i)))
    assert committed.wait(PATIENCE_S)
    ledger.close()
    assert len(ids(ledger)) == 5


# Opening, closing, recovering


def test_a_home_is_created_for_its_owner_only(tmp_path: Path) -> None:
    home = tmp_path / "a" / "home"
    Ledger.open(home).close()
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_a_home_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match=r"not writable.*AIQ_HOME"):
        Ledger.open(tmp_path / "file" / "home")


def test_a_clean_close_leaves_no_spool_file(tmp_path: Path, outcome: Make) -> None:
    ledger = Ledger.open(tmp_path)
    ledger.record(outcome("a"))
    ledger.close()
    assert list((tmp_path / "spool").iterdir()) == []
    assert ids(ledger) == ["a"]


def test_closing_twice_does_nothing_more(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path)
    ledger.close()
    ledger.close()


def test_a_close_that_cannot_commit_leaves_the_rows_to_the_next_start(
    tmp_path: Path, outcome: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise LedgerError("not now")

    ledger = Ledger.open(tmp_path)
    ledger.record(outcome("a"))
    with monkeypatch.context() as patch:
        patch.setattr(commit, "drain", fail)
        with pytest.raises(LedgerError):
            ledger.close()
    Ledger.open(tmp_path).close()
    assert ids(ledger) == ["a"]


def test_an_intent_without_outcome_is_an_orphan_after_its_process_is_gone(
    tmp_path: Path, outcome: Make, intent: MakeIntent
) -> None:
    ledger = Ledger.open(tmp_path)

    async def run() -> None:
        await asyncio.gather(ledger.intend(intent("a")), ledger.intend(intent("b")))

    asyncio.run(run())
    ledger.record(outcome("a"))
    abandon(ledger)
    again = Ledger.open(tmp_path)
    assert statuses(again) == {"a": "ok", "b": "orphaned"}
    assert ids(again, USAGE_TABLE) == ["a"]
    again.close()


def test_an_orphan_carries_what_was_known_before_the_call(tmp_path: Path, intent: MakeIntent) -> None:
    ledger = Ledger.open(tmp_path)
    known = intent("a")._replace(
        served_entity_name="mini",
        provider="openai",
        model="gpt-4o-mini",
        task="llm/v1/chat",
        client_request_id="mine",
        usage_context={"team": "search"},
        function="ai_query",
        track_usage=True,
    )
    asyncio.run(ledger.intend(known))
    abandon(ledger)
    again = Ledger.open(tmp_path)
    (row,) = Tables(tmp_path).to_arrow("system.aiq.calls").to_pylist()
    assert (row["served_entity_name"], row["provider"], row["model"]) == ("mini", "openai", "gpt-4o-mini")
    assert (row["task"], row["function"], row["client_request_id"]) == ("llm/v1/chat", "ai_query", "mine")
    assert dict(row["usage_context"]) == {"team": "search"}
    assert row["start_time"].timestamp() == 1_700_000_000
    assert row["cost_usd"] is None and "may have been billed" in row["unpriced"]
    (usage,) = Tables(tmp_path).to_arrow(USAGE_TABLE).to_pylist()
    assert (usage["status_code"], usage["input_token_count"]) == (None, None)
    again.close()


def test_an_intent_of_an_earlier_version_is_an_orphan_with_less(tmp_path: Path, intent: MakeIntent) -> None:
    written = encode([intent("a")], [])
    fields, columns, outcomes = orjson.loads(written)
    shorter = orjson.dumps([fields, columns[:7], outcomes])
    names = orjson.dumps([[Intent._fields[:7], Outcome._fields], [], []])
    open_intents: OpenIntents = {}
    decode([(1, names), (2, shorter)], default_fields(), open_intents)
    (orphaned,) = map(orphan, open_intents.values())
    assert (orphaned.request_id, orphaned.provider, orphaned.task, orphaned.track_usage) == ("a", None, "", False)


def test_an_intent_carried_over_a_commit_is_an_orphan_too(tmp_path: Path, outcome: Make, intent: MakeIntent) -> None:
    ledger = Ledger.open(tmp_path)
    asyncio.run(ledger.intend(intent("a")))
    ledger.record(outcome("b"))
    ledger.commit()
    abandon(ledger)
    again = Ledger.open(tmp_path)
    assert statuses(again) == {"a": "orphaned", "b": "ok"}
    again.close()


def test_an_intent_whose_outcome_came_after_a_commit_is_no_orphan(
    tmp_path: Path, outcome: Make, intent: MakeIntent
) -> None:
    ledger = Ledger.open(tmp_path)
    asyncio.run(ledger.intend(intent("a")))
    ledger.record(outcome("b"))
    ledger.commit()
    ledger.record(outcome("a"))
    abandon(ledger)
    again = Ledger.open(tmp_path)
    assert statuses(again) == {"a": "ok", "b": "ok"}
    again.close()


def test_a_recovery_that_was_interrupted_counts_no_orphan_twice(
    tmp_path: Path, intent: MakeIntent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object) -> None:
        raise LedgerError("interrupted")

    ledger = Ledger.open(tmp_path)
    asyncio.run(ledger.intend(intent("a")))
    abandon(ledger)
    with monkeypatch.context() as patch:
        patch.setattr(Spool, "forget", lost)
        Ledger.open(tmp_path).close()
    Ledger.open(tmp_path).close()
    assert ids(ledger) == ["a"]
    assert list((tmp_path / "spool").iterdir()) == []


def test_the_spool_of_a_living_process_is_left_alone(ledger: Ledger, intent: MakeIntent) -> None:
    asyncio.run(ledger.intend(intent("a")))
    other = Ledger.open(ledger.home)
    assert other.recover() == 0
    other.close()
    assert ids(ledger) == []


def test_a_damaged_spool_is_kept_aside_and_does_not_fail_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "dead.db").write_bytes(b"garbage" * 1000)
    with caplog.at_level(logging.WARNING):
        Ledger.open(tmp_path).close()
    assert [path.name for path in (tmp_path / "spool").iterdir()] == ["dead.db.corrupt"]
    assert "dead.db.corrupt" in caplog.text


def test_a_group_that_cannot_be_decoded_is_damage_too(tmp_path: Path) -> None:
    Ledger.open(tmp_path).close()
    spool = Spool.create(tmp_path / "spool")
    spool.write(b"no json")
    spool.close()
    Ledger.open(tmp_path).close()
    assert [path.suffix for path in (tmp_path / "spool").iterdir()] == [".corrupt"]


def test_what_comes_before_the_damage_of_a_spool_is_committed(tmp_path: Path, outcome: Make) -> None:
    from aiq.ledger import groups

    ledger = Ledger.open(tmp_path)
    ledger.record(outcome("a"))
    abandon(ledger)
    spool = Spool.take(ledger._spool.path)
    assert spool is not None
    spool.write(b"no json")
    spool.write(groups.encode([], [outcome("b")]))
    spool.close()
    Ledger.open(tmp_path).close()
    assert ids(ledger) == ["a"]
    assert [path.suffix for path in (tmp_path / "spool").iterdir()] == [".corrupt"]


def test_a_forked_child_leaves_the_ledger_of_its_parent_alone(ledger: Ledger, outcome: Make) -> None:
    ledger.record(outcome("a"))
    child = os.fork()
    if child == 0:
        ledger.close()
        os._exit(0 if ledger._spool.path.exists() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    ledger.commit()
    assert ids(ledger) == ["a"]


def test_a_table_of_an_earlier_version_gets_the_columns_that_it_lacks(tmp_path: Path, outcome: Make) -> None:
    from deltalake import DeltaTable, Schema

    path = tmp_path.joinpath("tables", *CALLS_TABLE.split("."))
    path.mkdir(parents=True)
    earlier = pa.schema([field for field in CALLS_SCHEMA if field.name not in ("limited_by", "guards")])
    DeltaTable.create(path, schema=Schema.from_arrow(earlier))
    ledger = Ledger.open(tmp_path)
    ledger.record(outcome("a", limited_by="user tokens"))
    ledger.commit()
    ledger.close()
    rows = Tables(tmp_path).to_arrow(CALLS_TABLE).select(["limited_by", "guards"])
    assert rows.to_pylist() == [{"limited_by": "user tokens", "guards": None}]


def test_statements_that_follow_one_another_share_commits_and_lose_no_row(tmp_path: Path, outcome: Make) -> None:
    now = [1_700_000_000.0]
    ledger = Ledger.open(tmp_path / "home", clock=lambda: now[0])
    try:
        for n in range(40):
            ledger.record(outcome(f"quick-{n}"))
            ledger.commit_soon()
        assert ledger.tables.to_arrow(CALLS_TABLE).num_rows == 30
        now[0] += 1.0
        ledger.record(outcome("a second later"))
        ledger.commit_soon()
        assert ledger.tables.to_arrow(CALLS_TABLE).num_rows == 41
        ledger.record(outcome("at the end"))
        ledger.commit_soon()
    finally:
        ledger.close()
    assert ledger.tables.to_arrow(CALLS_TABLE).num_rows == 42
