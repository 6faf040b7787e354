"""What a call costs: own prices first, then published ones, and never zero for what is not known."""

from __future__ import annotations

from typing import Any

import pytest
from genai_prices import Usage as PricedUsage
from genai_prices import calc_price
from genai_prices.data_snapshot import get_snapshot

from aiq.config.connections import OpenAIConfig
from aiq.config.endpoint import Price
from aiq.ledger.prices import price_of
from aiq.request import Usage


def test_an_own_price_goes_before_the_published_one(make: Any) -> None:
    tag = price_of(make.entity(), {"gpt-4o-mini": Price(1.0, 2.0, 0.5)})
    assert tag is not None and tag.version == "conf/aiq.yml"
    assert tag.cost_usd(Usage(1000, 100, cached_tokens=400)) == pytest.approx((600 + 200 + 200) / 1e6)


def test_cached_tokens_cost_as_others_where_no_price_is_given(make: Any) -> None:
    tag = price_of(make.entity(), {"gpt-4o-mini": Price(1.0, 2.0)})
    assert tag is not None and tag.cost_usd(Usage(1000, 0, cached_tokens=400)) == pytest.approx(1000 / 1e6)


def test_a_published_price_says_which_version_it_is_of(make: Any) -> None:
    tag = price_of(make.entity(), {})
    assert tag is not None and tag.version.startswith("genai-prices ")
    assert tag.cost_usd(Usage(1_000_000, 0)) == pytest.approx(0.15)


@pytest.mark.parametrize("provider", ["palm", "google-cloud-vertex-ai"])
def test_gemini_has_a_published_price_wherever_it_is_asked(make: Any, provider: str) -> None:
    tag = price_of(make.entity(provider=provider, model="gemini-2.5-flash"), {})
    assert tag is not None and tag.cost_usd(Usage(1_000_000, 0)) == pytest.approx(0.30)


@pytest.mark.parametrize("changes", [{"model": "no-such-model"}, {"provider": "custom"}])
def test_an_unknown_price_is_none(make: Any, changes: Any) -> None:
    assert price_of(make.entity(**changes), {}) is None


def test_a_long_prompt_is_priced_by_its_tier_whole(make: Any) -> None:
    tier = Price(2.0, 8.0, above_input_tokens=200_000)
    tag = price_of(make.entity(), {"gpt-4o-mini": Price(1.0, 4.0, 0.1, 1.25, tiers=(tier,))})
    assert tag is not None
    assert tag.cost_usd(Usage(200_000, 10)) == pytest.approx((200_000 + 40) / 1e6)
    assert tag.cost_usd(Usage(200_001, 10)) == pytest.approx((400_002 + 80) / 1e6)
    written = Usage(1000, 0, cached_tokens=300, cache_write_tokens=200)
    assert tag.cost_usd(written) == pytest.approx((500 + 30 + 250) / 1e6)


def test_no_call_costs_more_than_the_most_it_can(make: Any) -> None:
    tier = Price(2.0, 8.0, above_input_tokens=1000)
    tag = price_of(make.entity(), {"gpt-4o-mini": Price(1.0, 4.0, 0.1, 1.25, tiers=(tier,))})
    assert tag is not None
    for tokens in (1, 1000, 1001, 5000):
        most = tag.most_usd(Usage(tokens, 50))
        for part in (0, tokens // 2, tokens):
            assert tag.cost_usd(Usage(tokens, 50, cache_write_tokens=part)) <= most
            assert tag.cost_usd(Usage(tokens, 50, cached_tokens=part)) <= most


ENTITIES = {
    "openai": {"provider": "openai"},
    "azure": {"provider": "openai", "config": OpenAIConfig(api_type="azure", api_base="https://r.test")},
    "anthropic": {"provider": "anthropic"},
    "aws": {"provider": "amazon-bedrock"},
    "google": {"provider": "google-cloud-vertex-ai"},
    "cohere": {"provider": "cohere"},
    "databricks": {"provider": "databricks-model-serving"},
}


@pytest.mark.parametrize("publisher", ENTITIES)
def test_every_published_model_costs_what_genai_prices_says(make: Any, publisher: str) -> None:
    [models] = [provider.models for provider in get_snapshot().providers if provider.id == publisher]
    priced = 0
    for model in models:
        tag = price_of(make.entity(model=model.id, **ENTITIES[publisher]), {})
        if tag is None:
            continue
        priced += 1
        assert tag.version.startswith("genai-prices ")
        for tokens_in, tokens_out, cached, written in ((1000, 100, 0, 0), (150_000, 900, 64, 0), (900_000, 7, 500, 0)):
            usage = PricedUsage(
                input_tokens=tokens_in, output_tokens=tokens_out, cache_read_tokens=cached, cache_write_tokens=written
            )
            expected = calc_price(usage, model_ref=model.id, provider_id=publisher).total_price
            cost = tag.cost_usd(Usage(tokens_in, tokens_out, cached, 0, False, written))
            assert cost == pytest.approx(float(expected), rel=1e-9), model.id
    assert priced > 5


def test_what_is_written_to_a_cache_costs_what_genai_prices_says(make: Any) -> None:
    tag = price_of(make.entity(provider="anthropic", model="claude-sonnet-4-5"), {})
    assert tag is not None
    for tokens_in in (1000, 300_000):
        usage = PricedUsage(input_tokens=tokens_in, output_tokens=9, cache_read_tokens=100, cache_write_tokens=600)
        expected = calc_price(usage, model_ref="claude-sonnet-4-5", provider_id="anthropic").total_price
        cost = tag.cost_usd(Usage(tokens_in, 9, cached_tokens=100, cache_write_tokens=600))
        assert cost == pytest.approx(float(expected), rel=1e-9)
