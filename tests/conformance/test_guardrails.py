"""Guardrails on the way of a row: what the provider sees, what SQL gets, and what the ledger keeps of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import aiq
from aiq.errors import GuardrailBlocked

if TYPE_CHECKING:
    from aiq.simulator.process import SimulatorProcess
    from tests.conftest import ConfFolder

Rows = Callable[..., list[dict[str, Any]]]
PAYLOAD = "main.ai.chat_payload"
TABLE = {"enabled": True, "catalog_name": "main", "schema_name": "ai", "table_name_prefix": "chat"}
PROMPT = "Forward this to jane.doe@corp.com please"


def guarded(conf: ConfFolder, *, own: dict[str, Any] | None = None, **sides: Any) -> None:
    gateway: dict[str, Any] = {"inference_table_config": TABLE, "guardrails": sides}
    conf.endpoint("chat", gateway={**gateway, **({"aiq": {"guardrails": own}} if own else {})})


def ask(conf: ConfFolder, home: Path, prompt: str, *, fail_on_error: bool = False) -> Any:
    with aiq.connect(conf=conf.path, home=home, user="ann@example.com") as session:
        extra = "" if fail_on_error else ", failOnError => false"
        result = session.sql(f"SELECT ai_query('chat', ?{extra}) AS r", [prompt])
        assert result is not None
        return result.fetchall()[0][0]


def test_masked_text_is_what_the_provider_sees_and_what_is_logged(
    conf: ConfFolder, home: Path, simulator: SimulatorProcess, ledger_rows: Rows
) -> None:
    guarded(conf, input={"pii": {"behavior": "MASK"}})
    answer = ask(conf, home, PROMPT)
    assert "<EMAIL_ADDRESS>" in answer["result"] and "jane.doe" not in answer["result"]
    assert simulator.stats()["requests"] == 1
    logged = ledger_rows(PAYLOAD)[0]
    assert "<EMAIL_ADDRESS>" in logged["request"] and "jane.doe" not in json.dumps(logged, default=str)
    assert ledger_rows("system.aiq.calls")[0]["guards"] == "input:pii:EMAIL_ADDRESS"


def test_parameters_of_a_call_are_read_as_its_prompt_is(
    conf: ConfFolder, home: Path, simulator: SimulatorProcess, ledger_rows: Rows
) -> None:
    guarded(conf, input={"pii": {"behavior": "MASK"}})
    call = "SELECT ai_query('chat', 'hello', modelParameters => {}, failOnError => false) AS r"
    with aiq.connect(conf=conf.path, home=home) as session:
        masked = session.sql(call.format("{'user': 'jane.doe@corp.com'}"))
        refused = session.sql(call.format("{'stop': ['jane.doe@corp.com']}"))
        assert masked is not None and masked.fetchall()[0][0]["errorMessage"] is None
        assert refused is not None and "`stop`" in refused.fetchall()[0][0]["errorMessage"]
    assert simulator.stats()["requests"] == 1
    logged = ledger_rows(PAYLOAD)
    assert [json.loads(row["request"])["user"] for row in logged if row["request"]] == ["<EMAIL_ADDRESS>"]
    assert "jane.doe" not in json.dumps(logged, default=str)


def test_a_blocked_request_is_a_row_error_and_never_leaves(
    conf: ConfFolder, home: Path, simulator: SimulatorProcess, ledger_rows: Rows
) -> None:
    guarded(conf, input={"pii": {"behavior": "BLOCK"}})
    answer = ask(conf, home, PROMPT)
    assert answer["result"] is None and "EMAIL_ADDRESS" in answer["errorMessage"]
    assert simulator.stats()["requests"] == 0
    call = ledger_rows("system.aiq.calls")[0]
    assert (call["status"], call["status_code"], call["attempt"]) == ("refused", 400, 0)
    assert call["guards"] == "input:pii:EMAIL_ADDRESS"
    logged = ledger_rows(PAYLOAD)[0]
    assert logged["request"] is None and "jane.doe" not in json.dumps(logged, default=str)
    body = json.loads(json.loads(logged["response"])["message"])
    assert body["finishReason"] == "input_guardrail_triggered"


def test_a_blocked_request_ends_a_statement_that_fails_on_errors(conf: ConfFolder, home: Path) -> None:
    guarded(conf, input={"invalid_keywords": ["Project Falcon"]})
    with pytest.raises(GuardrailBlocked):
        ask(conf, home, "Tell me about project falcon", fail_on_error=True)


def test_a_blocked_answer_was_paid_and_is_not_shown(
    conf: ConfFolder, home: Path, simulator: SimulatorProcess, ledger_rows: Rows
) -> None:
    guarded(conf, output={"pii": {"behavior": "BLOCK"}})
    answer = ask(conf, home, PROMPT)
    assert answer["result"] is None and simulator.stats()["requests"] == 1
    call = ledger_rows("system.aiq.calls")[0]
    assert (call["status"], call["attempt"], call["final"]) == ("refused", 1, True)
    assert call["guards"] == "output:pii:EMAIL_ADDRESS"
    assert call["output_tokens"] > 0 and call["cost_usd"] > 0
    assert "jane.doe" not in (ledger_rows(PAYLOAD)[0]["response"] or "")


def test_a_masked_answer_is_what_is_logged(conf: ConfFolder, home: Path, ledger_rows: Rows) -> None:
    guarded(conf, output={"pii": {"behavior": "MASK"}})
    assert "<EMAIL_ADDRESS>" in ask(conf, home, PROMPT)["result"]
    assert "jane.doe" not in ledger_rows(PAYLOAD)[0]["response"]


def test_a_guard_that_cannot_be_understood_blocks(conf: ConfFolder, home: Path, ledger_rows: Rows) -> None:
    conf.endpoint("judge")
    guarded(conf, own={"safety": {"endpoint": "judge", "format": "moderation"}}, input={"safety": True})
    assert ask(conf, home, "A harmless question")["result"] is None
    calls = {row["endpoint_name"]: row for row in ledger_rows("system.aiq.calls")}
    assert calls["judge"]["status"] == "ok" and calls["chat"]["status"] == "refused"
    assert calls["chat"]["guards"] == "input:safety:failed"


def test_a_guard_needs_no_permission_of_the_guarded(conf: ConfFolder, home: Path, ledger_rows: Rows) -> None:
    conf.endpoint("judge", permissions=[{"level": "CAN_QUERY", "user_name": "safety@example.com"}])
    own = {"safety": {"endpoint": "judge", "format": "moderation"}, "on_error": "allow"}
    guarded(conf, own=own, input={"safety": True})
    assert ask(conf, home, "A harmless question")["result"] is not None
    assert [row["status"] for row in ledger_rows("system.aiq.calls", endpoint_name="judge")] == ["ok"]


def test_what_is_refused_before_it_was_checked_is_not_logged(conf: ConfFolder, home: Path, ledger_rows: Rows) -> None:
    limits = [{"calls": 0, "key": "user", "renewal_period": "minute"}]
    sides = {"input": {"pii": {"behavior": "MASK"}}}
    conf.endpoint("chat", gateway={"inference_table_config": TABLE, "guardrails": sides, "rate_limits": limits})
    assert "blocked" in ask(conf, home, PROMPT)["errorMessage"]
    assert ledger_rows(PAYLOAD)[0]["request"] is None


def test_an_answer_kept_from_before_a_guard_is_not_found_after_it(conf: ConfFolder, home: Path) -> None:
    guarded(conf)
    with aiq.connect(conf=conf.path, home=home, user="ann@example.com") as session:
        session.sql("SET aiq_reuse = 'durable'")
        session.sql("SELECT ai_query('chat', ?)", [PROMPT])
    guarded(conf, output={"pii": {"behavior": "MASK"}})
    with aiq.connect(conf=conf.path, home=home, user="ann@example.com") as session:
        session.sql("SET aiq_reuse = 'durable'")
        result = session.sql("SELECT ai_query('chat', ?)", [PROMPT])
        assert result is not None and "<EMAIL_ADDRESS>" in result.fetchall()[0][0]


def test_embeddings_are_guarded_as_well(conf: ConfFolder, home: Path, simulator: SimulatorProcess) -> None:
    conf.endpoint(
        "emb",
        task="llm/v1/embeddings",
        model="text-embedding-3-small",
        gateway={"guardrails": {"input": {"pii": {"behavior": "BLOCK"}}}},
    )
    with aiq.connect(conf=conf.path, home=home) as session:
        sql = "SELECT ai_query('emb', p, failOnError => false) FROM (VALUES ('plain'), (?)) t(p)"
        result = session.sql(sql, [PROMPT])
        assert result is not None
        plain, blocked = (row[0] for row in result.fetchall())
    assert plain["result"] is not None and blocked["result"] is None
    assert all("jane.doe" not in json.dumps(attempt) for attempt in simulator.attempts())
