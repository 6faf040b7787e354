"""What a call costs in US dollars. Unknown models cost None, never zero.

Prices come from conf/aiq.yml first, then from the genai-prices package that is installed; nothing is fetched.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import NamedTuple

from aiq.config.endpoint import Price, ServedEntity
from aiq.request import Usage

_PROVIDER_IDS = {
    "openai": "openai",
    "anthropic": "anthropic",
    "amazon-bedrock": "aws",
    "palm": "google",
    "google-cloud-vertex-ai": "google",
    "cohere": "cohere",
}


class PriceTag(NamedTuple):
    """The price of one model, in US dollars per token, and where it is from."""

    per_input: float
    per_output: float
    per_cached_input: float
    version: str

    def cost_usd(self, usage: Usage) -> float:
        fresh = usage.input_tokens - usage.cached_tokens
        return (
            fresh * self.per_input + usage.cached_tokens * self.per_cached_input + usage.output_tokens * self.per_output
        )


def price_of(entity: ServedEntity, overrides: dict[str, Price]) -> PriceTag | None:
    """The price tag of an entity's model, or None where neither the settings nor genai-prices knows it."""
    own = overrides.get(entity.model)
    if own is not None:
        cached = own.input_per_mtok if own.cached_input_per_mtok is None else own.cached_input_per_mtok
        return PriceTag(own.input_per_mtok / 1e6, own.output_per_mtok / 1e6, cached / 1e6, "conf/aiq.yml")
    return _published(entity.model, _PROVIDER_IDS.get(entity.provider))


@cache
def _published(model: str, provider: str | None) -> PriceTag | None:
    from genai_prices import Usage as PricedUsage
    from genai_prices import calc_price

    if provider is None:  # a server of somebody's own is not priced by the name of the model it runs
        return None
    try:
        # At a million tokens a tier for long prompts would apply, so prices are asked for a thousand.
        parts = [
            calc_price(usage, model_ref=model, provider_id=provider).total_price
            for usage in (
                PricedUsage(input_tokens=1000),
                PricedUsage(output_tokens=1000),
                PricedUsage(input_tokens=1000, cache_read_tokens=1000),
            )
        ]
    except (LookupError, ValueError):
        return None
    per_input, per_output, per_cached = (float(part) / 1000 for part in parts)
    return PriceTag(per_input, per_output, per_cached, f"genai-prices {version('genai-prices')}")
