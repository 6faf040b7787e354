"""What the ledger says was spent is what the providers bill, to the token and the cent, whatever went wrong before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import aiq
from aiq.simulator.process import SimulatorProcess
from aiq.simulator.profile import Profile

if TYPE_CHECKING:
    from tests.conftest import ConfFolder

PRICES: dict[str, dict[str, Any]] = {
    "gpt-4o": {
        "input_per_mtok": 2.5,
        "output_per_mtok": 10,
        "cached_input_per_mtok": 1.25,
        "service_tiers": {"flex": 0.5, "priority": 1.7},
    },
    "o3-mini": {"input_per_mtok": 1.1, "output_per_mtok": 4.4, "cached_input_per_mtok": 0.55},
    "text-embedding-3-small": {"input_per_mtok": 0.02, "output_per_mtok": 0},
    "claude-sonnet-4-5": {
        "input_per_mtok": 3,
        "output_per_mtok": 15,
        "cached_input_per_mtok": 0.3,
        "cache_write_per_mtok": 3.75,
        "cache_write_1h_per_mtok": 6,
    },
    "gemini-2.5-pro": {
        "input_per_mtok": 1.25,
        "output_per_mtok": 10,
        "cached_input_per_mtok": 0.125,
        "service_tiers": {"flex": 0.5, "priority": 1.8},
        "tiers": [
            {
                "above_input_tokens": 5000,
                "input_per_mtok": 2.5,
                "output_per_mtok": 15,
                "cached_input_per_mtok": 0.25,
            }
        ],
    },
    "anthropic.claude-3-5-sonnet-20240620-v1:0": {
        "input_per_mtok": 3,
        "output_per_mtok": 15,
        "cached_input_per_mtok": 0.3,
        "cache_write_per_mtok": 3.75,
        "cache_write_1h_per_mtok": 6,
        "service_tiers": {"flex": 0.5, "priority": 1.75},
    },
    "command-a": {"input_per_mtok": 2.5, "output_per_mtok": 10},
}
FAULTS = ("503-once", "cut-once", "truncated-once", "reset-once", "429", "html-502-once", "malformed-once")
"""Each fails an attempt that must not be billed, and the next one succeeds."""


@pytest.fixture(scope="module")
def billing() -> Iterator[SimulatorProcess]:
    profile = Profile.from_dict({"prices": PRICES, "retry_after_ms": 10})
    with SimulatorProcess.start(profile) as process:
        yield process


@pytest.fixture
def session(billing: SimulatorProcess, tmp_path: Path, home: Path, make_conf: Any) -> Iterator[aiq.Session]:
    billing.reset()
    conf: ConfFolder = make_conf(tmp_path / "conf", billing.url)
    conf.settings(prices=PRICES)

    def served(name: str, model: str, **external: Any) -> dict[str, Any]:
        own = {} if external["provider"] == "cohere" else {"aiq": {"api_base": billing.url}}
        return {"name": name, "external_model": {"name": model, "task": "llm/v1/chat", **external}, **own}

    conf.endpoint("openai", model="gpt-4o")
    streamed = {"aiq": {"idle_timeout_s": 60}}
    conf.endpoint("openai_stream", model="gpt-4o", gateway=streamed)
    responses = conf.entity("main", "gpt-4o")
    conf.endpoint("responses", {**responses, "aiq": {**responses.get("aiq", {}), "responses": True}})
    conf.endpoint("thinking", model="o3-mini")
    conf.endpoint("embeddings", model="text-embedding-3-small", task="llm/v1/embeddings")
    key = {"anthropic_api_key_plaintext": "sk-test"}
    conf.endpoint("anthropic", served("main", "claude-sonnet-4-5", provider="anthropic", anthropic_config=key))
    key = {"palm_api_key_plaintext": "AIza-test"}
    conf.endpoint("gemini", served("main", "gemini-2.5-pro", provider="palm", palm_config=key))
    gemini = served("main", "gemini-2.5-pro", provider="palm", palm_config=key)
    conf.endpoint("gemini_stream", gemini, gateway=streamed)
    key = {"cohere_api_key_plaintext": "co-test", "cohere_api_base": billing.url}
    conf.endpoint("cohere", served("main", "command-a", provider="cohere", cohere_config=key))
    key = {
        "aws_region": "us-east-1",
        "bedrock_provider": "anthropic",
        "aws_access_key_id_plaintext": "AKIATEST",
        "aws_secret_access_key_plaintext": "simulated",
    }
    model = "anthropic.claude-3-5-sonnet-20240620-v1:0"
    conf.endpoint("bedrock", served("main", model, provider="amazon-bedrock", amazon_bedrock_config=key))
    with aiq.connect(conf=conf.path, home=home) as session:
        yield session


def _check(billing: SimulatorProcess, session: aiq.Session) -> dict[str, dict[str, Any]]:
    """The invoice by model, which the ledger agrees with."""
    invoice = {line["model"]: line for line in billing.invoice()}
    relation = session.sql(
        """
        SELECT model, sum(input_tokens), sum(cached_tokens), sum(output_tokens), sum(reasoning_tokens),
               sum(cost_usd), bool_or(tokens_estimated)
        FROM system.aiq.calls WHERE input_tokens > 0 GROUP BY ALL
        """
    )
    assert relation is not None
    booked = {row[0]: row[1:] for row in relation.fetchall()}
    assert booked.keys() == invoice.keys()
    for model, (tokens_in, cached, tokens_out, reasoning, usd, estimated) in booked.items():
        line = invoice[model]
        wanted = (line["input_tokens"], line["cached_tokens"], line["output_tokens"], line["reasoning_tokens"])
        assert (model, tokens_in, cached, tokens_out, reasoning) == (model, *wanted)
        assert usd == pytest.approx(line["cost_usd"], abs=1e-9) and not estimated
    return invoice


def test_the_ledger_is_the_invoice_of_every_provider(billing: SimulatorProcess, session: aiq.Session) -> None:
    for endpoint in ("openai", "thinking", "anthropic", "gemini", "cohere", "bedrock", "embeddings"):
        session.sql(f"SELECT ai_query('{endpoint}', 'Row ' || i || ' says hello') FROM range(40) t(i)")
    assert len(_check(billing, session)) == 7


def test_attempts_that_failed_are_billed_by_nobody(billing: SimulatorProcess, session: aiq.Session) -> None:
    faults = ", ".join(f"'{fault}'" for fault in FAULTS)
    for endpoint in ("openai", "thinking", "anthropic", "gemini", "cohere", "bedrock"):
        session.sql(
            f"""
            SELECT ai_query('{endpoint}', 'Row ' || i || ' [[fault:' || fault || ']]')
            FROM range(3) t(i), (SELECT unnest([{faults}]) AS fault)
            """
        )
    invoice = _check(billing, session)
    assert {line["requests"] for line in invoice.values()} == {3 * len(FAULTS)}
    assert billing.stats()["requests"] >= 2 * 6 * 3 * len(FAULTS)


def test_what_was_read_from_the_cache_costs_what_it_costs(billing: SimulatorProcess, session: aiq.Session) -> None:
    rules = "Follow these rules closely. " * 300
    for endpoint in ("openai", "gemini"):
        for row in range(4):
            session.sql(f"SELECT ai_query('{endpoint}', ? || 'Row {row}')", [rules])
    invoice = _check(billing, session)
    assert all(line["cached_tokens"] > 3 * 1024 for line in invoice.values())


def test_long_prompts_cost_what_their_tier_says(billing: SimulatorProcess, session: aiq.Session) -> None:
    for size in (100, 19_000, 21_000, 50_000):
        session.sql("SELECT ai_query('gemini', ?)", ["x" * size])
    line = _check(billing, session)["gemini-2.5-pro"]
    flat = (line["input_tokens"] * 1.25 + line["output_tokens"] * 10) / 1e6
    assert line["cost_usd"] > 1.2 * flat


TIERS = ("default", "flex", "priority")


def test_every_service_tier_costs_what_it_costs(billing: SimulatorProcess, session: aiq.Session) -> None:
    prompt, endpoints = "x" * 30_000, ("openai", "openai_stream", "responses", "gemini", "gemini_stream", "bedrock")
    for endpoint in endpoints:
        for tier in TIERS:
            session.sql(
                f"SELECT ai_query('{endpoint}', ? || i, modelParameters => {{'service_tier': '{tier}'}}) "
                "FROM range(2) t(i)",
                [prompt],
            )
    invoice = _check(billing, session)
    assert {line["requests"] for line in invoice.values()} == {18, 12, 6}
    relation = session.sql("SELECT service_tier, count(*) FROM system.aiq.calls GROUP BY ALL ORDER BY ALL")
    assert relation is not None
    counted = {tier or "standard": count for tier, count in relation.fetchall()}
    assert counted["flex"] == counted["priority"] == 2 * len(endpoints)
    relation = session.sql(
        """
        SELECT service_tier,
               cost_usd * 1e6 / ((input_tokens - cached_tokens) * 2.5 + cached_tokens * 1.25 + output_tokens * 10)
        FROM system.aiq.calls WHERE model = 'gpt-4o'
        """
    )
    assert relation is not None
    factors = {"standard": 1, "flex": 0.5, "priority": 1.7}
    assert all(factor == pytest.approx(factors[tier]) for tier, factor in relation.fetchall())


@pytest.mark.parametrize("endpoint", ["anthropic", "bedrock"])
def test_what_was_written_to_the_cache_costs_what_it_is_kept_for(
    billing: SimulatorProcess, session: aiq.Session, endpoint: str
) -> None:
    rules = "Follow these rules closely. " * 300
    part = "{'type': 'text', 'text': ?, 'cache_control': {'type': 'ephemeral', 'ttl': ?}}"
    for ttl in ("5m", "1h"):
        for row in range(3):  # the first writes, the others read
            session.sql(
                f"SELECT ai_query('{endpoint}', struct_pack(messages := [{{'role': 'user', 'content': [{part}]}}, "
                f"{{'role': 'user', 'content': [{part}]}}]))",
                [ttl + rules, ttl, f"Row {row}", ttl],
            )
    (line,) = _check(billing, session).values()
    relation = session.sql("SELECT sum(cache_write_tokens), sum(cached_tokens) FROM system.aiq.calls")
    assert relation is not None
    ((written, read),) = relation.fetchall()
    assert (written, read) == (line["cache_write_tokens"], line["cached_tokens"]) and read == 2 * written > 0
    fresh = line["input_tokens"] - read - written
    dollars = (fresh * 3 + read * 0.3 + written / 2 * (3.75 + 6) + line["output_tokens"] * 15) / 1e6
    assert line["cost_usd"] == pytest.approx(dollars)
