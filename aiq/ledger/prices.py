"""What a call costs in US dollars. Unknown models cost None, never zero.

Prices come from conf/aiq.yml first, then from the genai-prices package that is installed; nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from typing import NamedTuple

from aiq.config.endpoint import Price, ServedEntity
from aiq.config.publishers import publisher_of
from aiq.request import Usage

_PER_MTOK = ("input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok")


class Rates(NamedTuple):
    """US dollars a token."""

    input: float
    output: float
    cached_input: float
    cache_write: float


class PriceTag(NamedTuple):
    """The price of one model, in US dollars per token, and where it is from.

    `tiers` are rates of longer prompts with the tokens that a prompt must exceed, shortest first: they hold for all
    tokens of the call.
    """

    per_input: float
    per_output: float
    per_cached_input: float
    version: str
    per_cache_write: float | None = None
    tiers: tuple[tuple[int, Rates], ...] = ()

    def cost_usd(self, usage: Usage) -> float:
        """US dollars of a call. Cached and cache-write tokens are parts of its input tokens."""
        tokens_in, tokens_out, cached, written = usage[0], usage[1], usage.cached_tokens, usage.cache_write_tokens
        per_input, per_output, per_cached = self.per_input, self.per_output, self.per_cached_input
        per_write = self.per_cache_write
        for above, rates in self.tiers:
            if tokens_in > above:
                per_input, per_output, per_cached, per_write = rates
        cost = (tokens_in - cached - written) * per_input + cached * per_cached + tokens_out * per_output
        return cost + written * (per_input if per_write is None else per_write) if written else cost

    def most_usd(self, usage: Usage) -> float:
        """US dollars that a call of at most these tokens costs at the most, however much of it goes into a cache."""
        dearest = [
            Rates(self.per_input, self.per_output, self.per_cached_input, self.per_cache_write or self.per_input),
            *(rates for above, rates in self.tiers if usage.input_tokens > above),
        ]
        per_input = max(max(rates.input, rates.cached_input, rates.cache_write) for rates in dearest)
        return usage.input_tokens * per_input + usage.output_tokens * max(rates.output for rates in dearest)


def price_of(entity: ServedEntity, overrides: dict[str, Price]) -> PriceTag | None:
    """The price tag of an entity's model, or None where neither the settings nor genai-prices knows it."""
    own = overrides.get(entity.model)
    if own is None:
        return _published(entity.model, publisher_of(entity))
    tiers = tuple((tier.above_input_tokens, _rates(tier)) for tier in own.tiers)
    return _tag(_rates(own), tiers, "conf/aiq.yml")


def _rates(price: Price) -> Rates:
    cached = price.input_per_mtok if price.cached_input_per_mtok is None else price.cached_input_per_mtok
    written = price.input_per_mtok if price.cache_write_per_mtok is None else price.cache_write_per_mtok
    return Rates(price.input_per_mtok / 1e6, price.output_per_mtok / 1e6, cached / 1e6, written / 1e6)


def _tag(base: Rates, tiers: Iterable[tuple[int, Rates]], of: str) -> PriceTag:
    return PriceTag(base.input, base.output, base.cached_input, of, base.cache_write, tuple(tiers))


@cache
def _published(model: str, publisher: str | None) -> PriceTag | None:
    from genai_prices import Usage as PricedUsage
    from genai_prices import calc_price
    from genai_prices.types import TieredPrices

    if publisher is None:
        return None
    try:
        price = calc_price(PricedUsage(input_tokens=1), model_ref=model, provider_id=publisher).model_price
    except (LookupError, ValueError):
        return None
    prices = [getattr(price, name, None) for name in _PER_MTOK]
    starts = sorted({tier.start for each in prices if isinstance(each, TieredPrices) for tier in each.tiers})

    def rates(tokens_in: int) -> Rates | None:
        found: list[float | None] = []
        for each in prices:
            if isinstance(each, TieredPrices):
                applies = [tier.price for tier in each.tiers if tokens_in > tier.start]
                each = applies[-1] if applies else each.base
            found.append(None if each is None else float(each) / 1e6)
        per_input, per_output, cached, written = found
        if per_input is None:
            return None
        return Rates(
            per_input,
            per_output or 0.0,
            per_input if cached is None else cached,
            per_input if written is None else written,
        )

    base = rates(0)
    if base is None:  # priced by the hour, the character or the search
        return None
    tiers = [(start, found) for start in starts if (found := rates(start + 1)) is not None]
    return _tag(base, tiers, f"genai-prices {version('genai-prices')}")
