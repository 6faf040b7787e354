"""What the simulated providers bill: tokens by key and model, and what they come to. Must never hold an API key.

A bill can be computed again from the answers alone: the rules of tokens and of the cache are public (`tokens.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiq.simulator.exchange import Counts
from aiq.simulator.profile import TokenPrice


class Invoice:
    """The lines of a bill. Tokens are summed up by price, so that no dollar is lost in rounding each request.

    A price is one of a model, and what the service tier multiplies it by.
    """

    def __init__(self, prices: Mapping[str, TokenPrice]) -> None:
        self._prices = prices
        self._lines: dict[tuple[str, str, str, str], dict[tuple[TokenPrice | None, float], list[int]]] = {}

    def add(self, vendor: str, key: str, key_hash: str, model: str, counts: Counts) -> None:
        """A request that was answered. `key` is no more than the last characters of the real one."""
        line = self._lines.setdefault((vendor, key, key_hash, model), {})
        price = self._prices.get(model) if self._prices else None
        rate: tuple[TokenPrice | None, float] = (None, 1.0)
        if price is not None:
            rate = (price.of(counts.input) if price.tiers else price), dict(price.service_tiers).get(counts.tier, 1.0)
        sums = line.get(rate)
        if sums is None:
            sums = line[rate] = [0] * 7
        sums[0] += 1
        sums[1] += counts.input
        sums[2] += counts.cached
        sums[3] += counts.written
        sums[4] += counts.output
        sums[5] += counts.written_1h
        sums[6] += counts.reasoning

    def lines(self) -> list[dict[str, Any]]:
        """The JSON of `GET /__invoice`, a line for each vendor, key and model.

        `input_tokens` has the cached ones within it, `output_tokens` those of reasoning. `cost_usd` is null where the
        profile has no price.
        """
        lines = []
        for (vendor, key, key_hash, model), by_price in sorted(self._lines.items()):
            requests, total, cached, written, output, _, reasoning = map(sum, zip(*by_price.values(), strict=True))
            costs = [
                factor * price.cost_usd(*sums[1:6]) for (price, factor), sums in by_price.items() if price is not None
            ]
            lines.append(
                {
                    "vendor": vendor,
                    "key": key,
                    "key_hash": key_hash,
                    "model": model,
                    "requests": requests,
                    "input_tokens": total,
                    "cached_tokens": cached,
                    "cache_write_tokens": written,
                    "output_tokens": output,
                    "reasoning_tokens": reasoning,
                    "cost_usd": round(sum(costs), 12) if costs else None,
                }
            )
        return lines

    def cost_usd(self) -> float:
        """US dollars of all lines that have a price."""
        return round(sum(line["cost_usd"] or 0.0 for line in self.lines()), 12)
