"""What a call costs: own prices first, then published ones, and never zero for what is not known."""

from __future__ import annotations

from typing import Any

import pytest

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
