"""Arrow batches through the gateway, in order, ahead of the reader. No Spark is needed for any of it."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from aiq.engines.spark.ask import SLICE_ROWS, ask, in_order, slices
from aiq.engines.spark.job import Job, Origin, answer_type
from aiq.engines.spark.worker import opened
from aiq.errors import ConfigError, StatementError
from aiq.functions.call_site import Options
from aiq.request import Caller
from aiq.runtime import open_gateway
from aiq.simulator.process import SimulatorProcess
from tests.conftest import ConfFolder
from tests.processes import PATIENCE_S

Rows = list[dict[str, Any]]


@pytest.fixture
def job(conf: ConfFolder, home: Path) -> Job:
    origin = Origin.of(open_gateway(conf.path, home), Caller("ann@example.com"))
    return Job(origin, "statement-1", "chat", Options())


def batch(**columns: Any) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(columns)


def test_rows_are_answered_in_order_beside_their_other_columns(job: Job) -> None:
    asked = [batch(id=[1, 2], request=["a", None]), batch(id=[3], request=["b"])]
    answers = pa.Table.from_batches(ask(iter(asked), job))
    assert answers.column_names == ["id", "answer"]
    assert answers["id"].to_pylist() == [1, 2, 3]
    assert [answer is None for answer in answers["answer"].to_pylist()] == [False, True, False]


def test_equal_requests_of_several_batches_are_paid_once(job: Job, simulator: SimulatorProcess) -> None:
    asked = [batch(id=list(range(700)), request=[f"p {i % 7}" for i in range(700)]) for _ in range(3)]
    assert sum(each.num_rows for each in ask(iter(asked), job)) == 2100
    assert simulator.stats()["requests"] == 7


def test_every_worker_records_the_statement_it_works_on(job: Job, ledger_rows: Callable[..., Rows]) -> None:
    list(ask(iter([batch(request=["a"])]), job))
    open_gateway(job.origin.conf, job.origin.home).ledger.commit()
    assert [row["statement_id"] for row in ledger_rows("system.aiq.calls")] == ["statement-1"]


def test_the_answer_has_the_type_of_the_call(conf: ConfFolder, home: Path, job: Job) -> None:
    options = Options(return_type="INT", fail_on_error=False)
    kind = answer_type(open_gateway(conf.path, home), "chat", options)
    (found,) = ask(iter([batch(request=["Answer with exactly one of: 1, 2"])]), job._replace(options=options))
    assert found.schema.field("answer").type == kind


def test_who_stops_reading_stops_the_statement(job: Job, simulator: SimulatorProcess) -> None:
    def endless() -> Iterator[pa.RecordBatch]:
        for number in range(10**9):
            yield batch(request=[f"{number} {row}" for row in range(SLICE_ROWS)])

    reading = ask(endless(), job)
    next(reading)
    reading.close()  # type: ignore[attr-defined]
    simulator.reset()
    assert simulator.stats()["requests"] <= 64  # those in flight at that moment may still arrive


def test_a_failure_ends_the_reading(job: Job) -> None:
    with pytest.raises(StatementError, match="nowhere"):
        list(ask(iter([batch(request=["a"])]), job._replace(endpoint="nowhere")))


def test_later_pieces_are_under_way_while_the_first_one_waits() -> None:
    released, started = threading.Event(), threading.Semaphore(0)

    def work(piece: pa.RecordBatch) -> int:
        started.release()
        if piece.column(0)[0].as_py() == 0:
            assert released.wait(PATIENCE_S)
        return int(piece.column(0)[0].as_py())

    def pieces() -> Iterator[pa.RecordBatch]:
        for number in range(4):
            yield batch(n=[number])
        for _ in range(2):  # also the second one started, though nobody could be given the first
            assert started.acquire(timeout=PATIENCE_S)
        released.set()

    assert list(in_order(pieces(), work, 10_000)) == [0, 1, 2, 3]


def test_no_more_is_read_ahead_than_was_said() -> None:
    read: list[int] = []

    def pieces() -> Iterator[pa.RecordBatch]:
        for number in range(100):
            read.append(number)
            yield batch(n=[number] * 10)

    assert next(in_order(pieces(), lambda piece: piece.num_rows, 50)) == 10
    assert len(read) <= 6


def test_large_batches_are_cut() -> None:
    rows = [piece.num_rows for piece in slices(iter([batch(n=list(range(SLICE_ROWS + 1)))]))]
    assert rows == [SLICE_ROWS, 1]


def test_a_job_travels_without_its_secrets(conf: ConfFolder, home: Path) -> None:
    conf.endpoint("chat", conf.entity("main", "gpt-4o-mini", key="{{secrets/openai/key}}"))
    for name in ("emb", "complete"):
        (conf.path / "endpoints" / f"{name}.yml").unlink()
    (conf.path / "aiq.yml").write_text(
        "progress: false # not for others\nendpoints: {model: {model_server: {url: 'http://127.0.0.1:1'}}}\n"
    )
    (home / "secrets" / "openai").mkdir(parents=True)
    (home / "secrets" / "openai" / "key").write_text("sk-planted-7731")
    (home / "secrets" / "openai" / "key").chmod(0o600)
    gateway = open_gateway(conf.path, home)
    gateway.open_endpoint("chat")  # by now the value is known to this process
    origin = Origin.of(gateway, Caller("ann@example.com"))
    sent = pickle.dumps(Job(origin, "s", "chat", Options()))
    assert b"secrets/openai/key" in sent
    assert b"sk-planted-7731" not in sent and b"not for others" not in sent


def test_a_worker_without_the_folder_reads_what_came_with_the_job(
    conf: ConfFolder, home: Path, monkeypatch: pytest.MonkeyPatch, simulator: SimulatorProcess
) -> None:
    monkeypatch.setenv("AIQ_SECRET_OPENAI_KEY", "sk-test")
    for name in ("emb", "complete"):
        (conf.path / "endpoints" / f"{name}.yml").unlink()
    conf.endpoint("chat", conf.entity("main", "gpt-4o-mini", key="{{secrets/openai/key}}"))
    origin = Origin.of(open_gateway(conf.path, home), Caller("ann@example.com"))
    conf.path.rename(conf.path.with_name("moved"))
    (answer,) = ask(iter([batch(request=["a"])]), Job(origin, "s", "chat", Options()))
    assert answer.num_rows == simulator.stats()["requests"] == 1


def test_a_plain_secret_does_not_travel_and_the_worker_says_so(job: Job, conf: ConfFolder) -> None:
    assert job.origin.files is None  # the fixture's endpoints have plain keys
    conf.path.rename(conf.path.with_name("moved"))
    with pytest.raises(ConfigError, match="Write secrets as"):
        list(ask(iter([batch(request=["a"])]), job))


@pytest.mark.parametrize(("store", "parts"), [("memory", 4), ("file", 2)])
def test_limits_that_cannot_be_shared_are_divided_and_that_is_told(
    conf: ConfFolder, home: Path, store: str, parts: int
) -> None:
    conf.settings(limits_store=store, endpoints={"model": {"model_server": {"url": "http://127.0.0.1:1"}}})
    conf.endpoint("chat", gateway={"rate_limits": [{"calls": 100, "renewal_period": "minute"}]})
    with pytest.warns(UserWarning, match="limits_store: redis"):
        origin = Origin.of(open_gateway(conf.path, home), Caller("ann@example.com"), slots=4, hosts=2)
    (limit,) = opened(origin).endpoint("chat").rate_limits
    assert limit.amount == 100 // parts
