"""A changed endpoint file holds for new requests, also of a statement that is running; a broken one changes nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

import aiq
from aiq.batch.loop import submit
from aiq.errors import GuardrailBlocked, PolicyError, StatementError
from aiq.providers.base import HttpRequest
from tests.processes import PATIENCE_S

if TYPE_CHECKING:
    from aiq.simulator.process import SimulatorProcess
    from tests.conftest import ConfFolder

Rows = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def session(conf: ConfFolder, home: Path) -> Iterator[aiq.Session]:
    with aiq.connect(conf=conf.path, home=home, user="ann@example.com") as opened:
        opened.sql("SELECT ai_query('chat', 'first')")
        yield opened


def models(ledger_rows: Rows) -> list[str]:
    rows = ledger_rows("system.aiq.calls", endpoint_name="chat")
    return [row["model"] for row in sorted(rows, key=lambda row: row["start_time"])]


def test_the_next_statement_asks_the_model_that_the_file_names_now(
    session: aiq.Session, conf: ConfFolder, ledger_rows: Rows
) -> None:
    conf.endpoint("chat", model="gpt-4.1-mini")
    session.sql("SELECT ai_query('chat', 'second')")
    assert [name.rpartition("-20")[0] or name for name in models(ledger_rows)] == ["gpt-4o-mini", "gpt-4.1-mini"]


def test_a_registered_connection_asks_the_model_that_the_file_names_now(
    conf: ConfFolder, home: Path, simulator: SimulatorProcess
) -> None:
    with duckdb.connect() as con:
        aiq.register(con, conf=conf.path, home=home)
        con.execute("SELECT ai_query('chat', 'first')").fetchall()
        conf.endpoint("chat", model="gpt-4.1-mini")
        con.execute("SELECT ai_query('chat', 'second')").fetchall()
        conf.endpoint("chat", model="text-embedding-3-small", task="llm/v1/embeddings")
        with pytest.raises(duckdb.Error, match=r"returns STRING, but this call returns FLOAT\[\]"):
            con.execute("SELECT ai_query('chat', 'third')").fetchall()
        (conf.path / "endpoints" / "chat.yml").unlink()
        with pytest.raises(duckdb.Error, match="'chat' does not exist"):
            con.execute("SELECT ai_query('chat', 'fourth')").fetchall()
    asked = [attempt["model"] for attempt in simulator.attempts()]
    assert asked == ["gpt-4o-mini", "gpt-4.1-mini"]


def test_a_change_is_a_new_version_in_served_entities(
    session: aiq.Session, conf: ConfFolder, ledger_rows: Rows
) -> None:
    conf.endpoint("chat", model="gpt-4.1-mini")
    session.sql("SELECT ai_query('chat', 'second')")
    rows = ledger_rows("system.serving.served_entities", endpoint_name="chat")
    assert sorted((row["endpoint_config_version"], row["entity_name"]) for row in rows) == [
        (1, "gpt-4o-mini"),
        (2, "gpt-4.1-mini"),
    ]


def test_requests_of_a_running_statement_meet_the_new_policy(
    session: aiq.Session, conf: ConfFolder, simulator: SimulatorProcess
) -> None:
    def block() -> None:
        while simulator.stats()["requests"] < 6:
            time.sleep(0.01)
        conf.endpoint("chat", gateway={"guardrails": {"input": {"invalid_keywords": ["number"]}}})

    changing = threading.Thread(target=block)
    changing.start()
    try:
        with pytest.raises(GuardrailBlocked):
            session.sql("SELECT ai_query('chat', 'number ' || i) FROM range(30000) t(i)")
    finally:
        changing.join()
    assert simulator.stats()["requests"] < 30_000


def test_a_permission_that_is_taken_away_holds_for_kept_answers(session: aiq.Session, conf: ConfFolder) -> None:
    session.sql("SET aiq_reuse = 'session'")
    session.sql("SELECT ai_query('chat', 'kept')")
    conf.endpoint("chat", permissions=[{"level": "CAN_QUERY", "user_name": "bob@example.com"}])
    with pytest.raises(PolicyError, match="CAN_QUERY"):
        session.sql("SELECT ai_query('chat', 'kept')")


def test_an_endpoint_that_is_taken_out_cannot_be_asked(session: aiq.Session, conf: ConfFolder) -> None:
    (conf.path / "endpoints" / "chat.yml").unlink()
    with pytest.raises(StatementError, match="does not exist"):
        session.sql("SELECT ai_query('chat', 'second')")


def test_a_broken_file_keeps_the_earlier_configuration_and_says_so(
    session: aiq.Session, conf: ConfFolder, ledger_rows: Rows
) -> None:
    (conf.path / "endpoints" / "chat.yml").write_text("name: chat\nconfig: {served_entities: []}\n")
    with pytest.warns(UserWarning, match=r"chat\.yml.*stays in force"):
        session.sql("SELECT ai_query('chat', 'second')")
    assert len(models(ledger_rows)) == 2
    conf.endpoint("chat", model="gpt-4.1-mini")
    session.sql("SELECT ai_query('chat', 'third')")
    assert "gpt-4.1-mini" in models(ledger_rows)[-1]


def test_requests_that_wait_for_a_limit_go_when_it_is_taken_away(session: aiq.Session, conf: ConfFolder) -> None:
    conf.endpoint("chat", gateway={"rate_limits": [{"calls": 1, "key": "user", "renewal_period": "minute"}]})

    def lift() -> None:
        while not session.gateway.waiting_for_limits:
            time.sleep(0.01)
        conf.endpoint("chat")

    lifting = threading.Thread(target=lift)
    lifting.start()
    # The limit would hold them for four minutes, which is longer than a test may take.
    result = session.sql("SELECT ai_query('chat', 'number ' || i) FROM range(5) t(i)")
    lifting.join()
    assert result is not None and len(result.fetchall()) == 5


def test_a_judge_that_becomes_another_model_is_asked_in_its_own_words(
    session: aiq.Session, conf: ConfFolder, ledger_rows: Rows
) -> None:
    conf.endpoint("judge")
    own = {"guardrails": {"safety": {"endpoint": "judge", "format": "moderation"}, "on_error": "allow"}}
    conf.endpoint("chat", gateway={"guardrails": {"input": {"safety": True}}, "aiq": own})
    session.sql("SELECT ai_query('chat', 'one')")
    conf.endpoint("judge", task="llm/v1/completions", model="gpt-3.5-turbo-instruct")
    session.sql("SELECT ai_query('chat', 'two')")
    assert sorted(row["task"] for row in ledger_rows("system.aiq.calls", endpoint_name="judge", status="ok")) == [
        "llm/v1/chat",
        "llm/v1/completions",
    ]


def test_what_was_counted_against_a_limit_stays_counted(session: aiq.Session, conf: ConfFolder) -> None:
    limit = {"calls": 2, "key": "user", "renewal_period": "minute"}
    conf.endpoint("chat", gateway={"rate_limits": [limit]})
    session.sql("SELECT ai_query('chat', 'second')")
    conf.endpoint("chat", model="gpt-4.1-mini", gateway={"rate_limits": [limit]})
    session.sql("SELECT ai_query('chat', 'third')")
    assert session.gateway.calls_per_minute("chat", session.caller) == 2
    # Two of two are used: a fourth waits, until it is stopped.
    running = threading.Thread(target=_interrupted, args=(session,))
    running.start()
    with pytest.raises(aiq.AiqError):
        session.sql("SELECT ai_query('chat', 'fourth')")
    running.join()


def _interrupted(session: aiq.Session) -> None:
    while not session.gateway.waiting_for_limits:
        time.sleep(0.01)
    session.interrupt()


def test_a_key_in_the_file_that_is_replaced_signs_the_next_request(
    session: aiq.Session, conf: ConfFolder, simulator: SimulatorProcess
) -> None:
    file = conf.path / "endpoints" / "chat.yml"
    file.write_text(file.read_text().replace("sk-test", "sk-rotated"))
    session.sql("SELECT ai_query('chat', 'second')")
    assert [attempt["key"][-4:] for attempt in simulator.attempts()] == ["test", "ated"]


def test_a_replaced_http_client_serves_its_requests_to_their_end_and_is_closed(
    session: aiq.Session, conf: ConfFolder, simulator: SimulatorProcess
) -> None:
    before = session.gateway.routes.transport
    assert before is not None

    def replace() -> None:
        while simulator.stats()["requests"] < 6:
            time.sleep(0.01)
        settings = conf.path / "aiq.yml"
        settings.write_text(settings.read_text() + "connect_timeout_s: 9\n")

    changing = threading.Thread(target=replace)
    changing.start()
    result = session.sql("SELECT ai_query('chat', 'number ' || i) FROM range(6000) t(i)")
    changing.join()
    assert result is not None and len(result.fetchall()) == 6_000
    session.sql("SELECT ai_query('chat', 'last')")
    assert session.gateway.routes.transport is not before
    deadline = time.monotonic() + PATIENCE_S
    with pytest.raises(Exception, match="closed"):  # soon after its last request
        while time.monotonic() < deadline:
            submit(before.send(HttpRequest(simulator.url, [], b"{}"), 5.0)).result(PATIENCE_S)
