"""Budgets, limits and the tables go by the usage that a provider bills, in whatever form it states that."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

import aiq
from aiq.batch.loop import submit
from aiq.errors import BudgetExceeded, PolicyError
from aiq.ledger.records import CALLS_SCHEMA, CALLS_TABLE
from aiq.ledger.tables import Tables
from aiq.request import Caller, Request
from tests.contract.providers import external
from tests.contract.raw_server import Raw, RawServer, sse

if TYPE_CHECKING:
    from tests.conftest import ConfFolder

PRICE = {"input_per_mtok": 3, "output_per_mtok": 15}
EACH_USD = (10 * 3 + 10_010 * 15) / 1e6
BEFORE = CALLS_SCHEMA.names[: CALLS_SCHEMA.names.index("fallback_reason") + 1]
"""The columns of `system.aiq.calls` before there were those of tiers, waits and who asked."""


def _xai(mark: str, body: bytes, path: str) -> Raw:
    """Reasoning stands beside the completion; only the total shows it."""
    usage = {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 10_020,
             "completion_tokens_details": {"reasoning_tokens": 10_000}}  # fmt: skip
    message = {"role": "assistant", "content": "Yes."}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    if b'"stream":true' in body:
        choice = {"index": 0, "delta": message, "finish_reason": None}
        end = {"index": 0, "delta": {}, "finish_reason": "stop"}
        return sse([{"choices": [choice]}, {"choices": [end]}, {"choices": [], "usage": usage}, "[DONE]"])
    return Raw(json.dumps({"model": "grok", "choices": [choice], "usage": usage}).encode())


@pytest.fixture
def xai() -> Iterator[RawServer]:
    with RawServer(_xai) as server:
        yield server


@pytest.fixture
def configure(tmp_path: Path, xai: RawServer, make_conf: Callable[[Path, str], ConfFolder]) -> Callable[..., Path]:
    def written(**gateway: Any) -> Path:
        conf = make_conf(tmp_path / "conf", xai.url)
        conf.settings(prices={"grok": PRICE}, retries=0)
        custom = {"custom_provider_url": f"{xai.url}/v1", "bearer_token_auth": {"token_plaintext": "EMPTY"}}
        conf.endpoint("chat", external("custom", "grok", custom), gateway=gateway)
        return conf.path

    return written


@pytest.mark.parametrize("parameters", ["", ", modelParameters => {'max_tokens': 10}"])
def test_a_budget_of_a_dollar_stops_at_a_dollar_where_reasoning_is_billed_beside_the_answer(
    configure: Callable[..., Path], home: Path, xai: RawServer, parameters: str
) -> None:
    with aiq.connect(conf=configure(), home=home) as session:
        session.sql("SET aiq_max_cost_usd = 1")
        with pytest.raises(BudgetExceeded):
            session.sql(f"SELECT ai_query('chat', 'Is ' || i || ' odd?'{parameters}) FROM range(200) r(i)").fetchall()
    billed = len(xai.asked) * EACH_USD
    assert 0.7 < billed <= 1.0
    rows = Tables(home).to_arrow(CALLS_TABLE).to_pylist()
    assert sum(row["cost_usd"] for row in rows) == pytest.approx(billed)
    assert {row["reasoning_tokens"] for row in rows} == {10_000}


def test_a_limit_of_tokens_counts_reasoning_beside_the_answer(configure: Callable[..., Path], home: Path) -> None:
    limit = {"key": "endpoint", "renewal_period": "day", "tokens": 10_030}
    body = {"messages": [{"role": "user", "content": "Is 1 odd?"}], "max_tokens": 10}
    request = Request("chat", "llm/v1/chat", body, Caller("ann"), "st", interactive=True)
    with aiq.connect(conf=configure(aiq={"rate_limits": [limit]}), home=home) as session:
        session.gateway.open_endpoint("chat")
        submit(session.gateway.answer(request)).result(timeout=30)
        with pytest.raises(PolicyError, match="Tokens-per-day"):
            submit(session.gateway.answer(request)).result(timeout=30)


def test_the_table_says_when_the_first_token_came_and_who_asked(configure: Callable[..., Path], home: Path) -> None:
    conf = configure(aiq={"first_token_timeout_s": 60, "idle_timeout_s": 60})
    with aiq.connect(conf=conf, home=home, usage_context={"team": "search"}) as session:
        session.sql("SELECT ai_query('chat', 'Is 1 odd?')").fetchall()
        (row,) = session.sql(
            "SELECT time_to_first_token_ms, latency_ms, usage_context['team'], unpriced FROM system.aiq.calls"
        ).fetchall()
    assert 0 < row[0] <= row[1]
    assert row[2:] == ("search", None)


def test_the_table_has_one_hash_for_each_text_of_a_statement(configure: Callable[..., Path], home: Path) -> None:
    with aiq.connect(conf=configure(), home=home) as session:
        for number in (1, 2):
            session.sql("SELECT ai_query('chat', 'Is ' || $n || ' odd?')", {"n": number}).fetchall()
        session.sql("SELECT ai_query('chat', 'Is 3 odd?')").fetchall()
        found = session.sql("SELECT count(*) FROM system.aiq.calls GROUP BY statement_hash ORDER BY 1").fetchall()
    assert found == [(1,), (2,)]


def test_a_home_of_an_earlier_version_gets_the_new_columns_and_keeps_its_rows(
    configure: Callable[..., Path], home: Path
) -> None:
    old = pa.schema([CALLS_SCHEMA.field(name) for name in BEFORE])
    values: dict[str, Any] = dict.fromkeys(BEFORE)
    values |= {"request_id": "r", "attempt": 1, "statement_id": "s", "endpoint_name": "chat", "status": "ok", "rows": 1,
               "model": "grok", "cost_usd": 0.5, "cache_hit": False, "final": True}  # fmt: skip
    path = home / "tables" / "system" / "aiq" / "calls"
    write_deltalake(path, pa.Table.from_pylist([values], old))
    with aiq.connect(conf=configure(), home=home) as session:
        assert session.sql("SELECT model, cost_usd FROM system.aiq.calls").fetchall() == [("grok", 0.5)]
        session.sql("SELECT ai_query('chat', 'Is 1 odd?')").fetchall()
        rows = session.sql("SELECT cost_usd, service_tier, unpriced FROM system.aiq.calls ORDER BY cost_usd").fetchall()
    assert rows == [(pytest.approx(EACH_USD), None, None), (0.5, None, None)]
    assert DeltaTable(path).schema().to_arrow().names == CALLS_SCHEMA.names


@pytest.mark.parametrize("choices", [[], [{"message": {"content": None}, "finish_reason": "stop"}]])
def test_a_billed_answer_that_is_none_is_asked_for_once_more(
    tmp_path: Path, home: Path, make_conf: Callable[[Path, str], ConfFolder], choices: list[Any]
) -> None:
    raw = Raw(json.dumps({"choices": choices, "usage": {"prompt_tokens": 10, "completion_tokens": 10}}).encode())
    with RawServer(lambda mark, body, path: raw) as server:
        conf = make_conf(tmp_path / "conf", server.url)
        conf.settings(prices={"grok": PRICE}, retries=10)
        custom = {"custom_provider_url": f"{server.url}/v1", "bearer_token_auth": {"token_plaintext": "EMPTY"}}
        conf.endpoint("chat", external("custom", "grok", custom))
        with aiq.connect(conf=conf.path, home=home) as session:
            ((answer,),) = session.sql("SELECT ai_query('chat', 'Is 1 odd?', failOnError => false)").fetchall()
        assert answer["result"] is None and answer["errorMessage"]
        assert len(server.asked) == 2
    costs = Tables(home).to_arrow(CALLS_TABLE).column("cost_usd").to_pylist()
    assert costs == [pytest.approx(180e-6)] * 2
