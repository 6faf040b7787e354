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

_PER_MTOK = (
    "input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok", "cache_write_1h_mtok", "input_audio_mtok",
    "cache_audio_read_mtok", "output_audio_mtok", "output_image_mtok", "output_reasoning_mtok",
)  # fmt: skip


STATED = "stated by the provider"
"""The version of a price that a provider states with its answer."""


class Rates(NamedTuple):
    """US dollars a token. What is None has no known price; reasoning then costs what other output does."""

    input: float
    output: float
    cached_input: float
    cache_write: float
    cache_write_1h: float | None = None
    audio_input: float | None = None
    cached_audio: float | None = None
    audio_output: float | None = None
    image_output: float | None = None
    reasoning: float | None = None


_RARE: tuple[float | None, ...] = (None,) * 6


class PriceTag(NamedTuple):
    """The price of one model, in US dollars per token, and where it is from.

    `tiers` are rates of longer prompts with the tokens that a prompt must exceed, shortest first: they hold for all
    tokens of the call. `rare` are the base's rates of what few calls have: those of `Rates` from `cache_write_1h` on.
    `service_tiers` are what the price is multiplied by where the answer is of such a tier.
    """

    per_input: float
    per_output: float
    per_cached_input: float
    version: str
    per_cache_write: float | None = None
    tiers: tuple[tuple[int, Rates], ...] = ()
    rare: tuple[float | None, ...] = _RARE
    service_tiers: tuple[tuple[str, float], ...] = ()

    def cost_usd(self, usage: Usage) -> float | None:
        """US dollars of a call, None where a part of it has no known price: `unpriced` says which.

        Cached and cache-write tokens are parts of its input tokens.
        """
        if not self.tiers and self.rare[5] is None and usage.is_plain:  # most are, and this is on the way of every row
            fresh = usage[0] - usage[2] - usage[5]
            cost = fresh * self.per_input + usage[2] * self.per_cached_input + usage[1] * self.per_output
            return cost + usage[5] * (self.per_input if self.per_cache_write is None else self.per_cache_write)
        if usage.stated_usd is not None:
            return usage.stated_usd
        rates = self._rates(usage.input_tokens)
        tokens_in, tokens_out, cached, written = usage[0], usage[1], usage.cached_tokens, usage.cache_write_tokens
        cost = (tokens_in - cached - written) * rates[0] + cached * rates[2] + tokens_out * rates[1]
        cost += written * rates[3]
        if rates[9] is not None:
            cost += usage.reasoning_tokens * (rates[9] - rates[1])
        return cost if usage.is_plain else self._special(cost, usage, rates)

    def unpriced(self, usage: Usage) -> str | None:
        """Why `cost_usd` is None, in words; None where it is not."""
        if self.cost_usd(usage) is not None:
            return None
        parts = _parts(usage, self._rates(usage.input_tokens))
        lacking = [what for what, tokens, price, _ in parts if tokens and price is None]
        if self._factor(usage.service_tier) is None:
            lacking.append(f"service tier {usage.service_tier}")
        if usage.surcharge:
            lacking.append(usage.surcharge)
        return f"no price of {', '.join(lacking)}"

    def most_usd(self, usage: Usage) -> float:
        """US dollars that a call of at most these tokens costs at the most, however much of it goes into a cache."""
        dearest = [self._rates(0), *(rates for above, rates in self.tiers if usage.input_tokens > above)]
        per_input = max(
            max(rates.input, rates.cached_input, rates.cache_write, rates.cache_write_1h or 0.0) for rates in dearest
        )
        per_output = max(max(rates.output, rates.reasoning or 0.0) for rates in dearest)
        factor = max((1.0, *(factor for _, factor in self.service_tiers)))
        return (usage.input_tokens * per_input + usage.output_tokens * per_output) * factor

    def _rates(self, tokens_in: int) -> Rates:
        """`Rates` of a prompt of so many tokens."""
        for above, rates in reversed(self.tiers):
            if tokens_in > above:
                return rates
        per_write = self.per_input if self.per_cache_write is None else self.per_cache_write
        return Rates(self.per_input, self.per_output, self.per_cached_input, per_write, *self.rare)

    def _factor(self, service_tier: str | None) -> float | None:
        if service_tier is None or service_tier == "standard":
            return 1.0
        return dict(self.service_tiers).get(service_tier)

    def _special(self, cost: float, usage: Usage, rates: Rates) -> float | None:
        """The cost of a call with more in it than text at the usual prices; `cost` prices all of it as text."""
        factor = self._factor(usage.service_tier)
        if usage.surcharge or factor is None:
            return None
        for _, tokens, price, instead_of in _parts(usage, rates):
            if tokens:
                if price is None:
                    return None
                cost += tokens * (price - instead_of)
        return cost * factor


def cost_of(price: PriceTag | None, usage: Usage) -> float | None:
    """US dollars of a call: what the provider itself says, else by the price; None where neither is known."""
    return usage.stated_usd if price is None else price.cost_usd(usage)


def _parts(usage: Usage, rates: Rates) -> tuple[tuple[str, int, float | None, float], ...]:
    """The parts of a call that may have prices of their own: name, tokens, the price, and the price as text."""
    return (
        ("cache writes for an hour", usage.cache_write_1h_tokens, rates.cache_write_1h, rates.cache_write),
        ("audio input", usage.audio_input_tokens - usage.cached_audio_tokens, rates.audio_input, rates.input),
        ("cached audio input", usage.cached_audio_tokens, rates.cached_audio, rates.cached_input),
        ("audio output", usage.audio_output_tokens, rates.audio_output, rates.output),
        ("image output", usage.image_output_tokens, rates.image_output, rates.output),
    )


def price_of(entity: ServedEntity, overrides: dict[str, Price]) -> PriceTag | None:
    """The price tag of an entity's model, or None where neither the settings nor genai-prices knows it."""
    own = overrides.get(entity.model)
    if own is None:
        return _published(entity.model, publisher_of(entity))
    tiers = tuple((tier.above_input_tokens, _rates(tier)) for tier in own.tiers)
    return _tag(_rates(own), tiers, "conf/aiq.yml")._replace(service_tiers=own.service_tiers)


def _rates(price: Price) -> Rates:
    cached = price.input_per_mtok if price.cached_input_per_mtok is None else price.cached_input_per_mtok
    written = price.input_per_mtok if price.cache_write_per_mtok is None else price.cache_write_per_mtok
    rare = (price.cache_write_1h_per_mtok, price.audio_input_per_mtok, price.cached_audio_per_mtok,
            price.audio_output_per_mtok, price.image_output_per_mtok)  # fmt: skip
    return Rates(
        price.input_per_mtok / 1e6,
        price.output_per_mtok / 1e6,
        cached / 1e6,
        written / 1e6,
        *(None if each is None else each / 1e6 for each in rare),
    )


def _tag(base: Rates, tiers: Iterable[tuple[int, Rates]], of: str) -> PriceTag:
    return PriceTag(base.input, base.output, base.cached_input, of, base.cache_write, tuple(tiers), base[4:])


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
        per_input, per_output, cached, written, *rare = found
        if per_input is None:
            return None
        return Rates(
            per_input,
            per_output or 0.0,
            per_input if cached is None else cached,
            per_input if written is None else written,
            *rare,
        )

    base = rates(0)
    if base is None:  # priced by the hour, the character or the search
        return None
    tiers = [(start, found) for start in starts if (found := rates(start + 1)) is not None]
    return _tag(base, tiers, f"genai-prices {version('genai-prices')}")
