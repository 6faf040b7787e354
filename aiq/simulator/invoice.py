"""What the simulated providers bill: tokens by key and model, and what they come to. Must never hold an API key.

A bill can be computed again from the answers alone: the rules of tokens and of the cache are public (`tokens.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiq.simulator.exchange import Counts
from aiq.simulator.profile import TokenPrice


class Invoice:
    """The lines of a bill. Tokens are summed up by tier, so that no dollar is lost in rounding each request."""

    def __init__(self, prices: Mapping[str, TokenPrice]) -> None:
        self._prices = prices
        self._lines: dict[tuple[str, str, str, str], tuple[list[int], list[int]]] = {}

    def add(self, vendor: str, key: str, key_hash: str, model: str, counts: Counts) -> None:
        """A request that was answered. `key` is no more than the last characters of the real one."""
        line = self._lines.get((vendor, key, key_hash, model))
        if line is None:
            line = self._lines[vendor, key, key_hash, model] = ([0] * 6, [0] * 6)
        price = self._prices.get(model)
        tier = line[1 if price is not None and price.is_long(counts.input) else 0]
        tier[0] += 1
        tier[1] += counts.input
        tier[2] += counts.cached
        tier[3] += counts.written
        tier[4] += counts.output
        tier[5] += counts.reasoning

    def lines(self) -> list[dict[str, Any]]:
        """The JSON of `GET /__invoice`, a line for each vendor, key and model.

        `input_tokens` has the cached ones within it, `output_tokens` those of reasoning. `cost_usd` is null where the
        profile has no price.
        """
        return [
            {
                "vendor": vendor,
                "key": key,
                "key_hash": key_hash,
                "model": model,
                "requests": standard[0] + long[0],
                "input_tokens": standard[1] + long[1],
                "cached_tokens": standard[2] + long[2],
                "cache_write_tokens": standard[3] + long[3],
                "output_tokens": standard[4] + long[4],
                "reasoning_tokens": standard[5] + long[5],
                "cost_usd": self._cost_usd(model, standard, long),
            }
            for (vendor, key, key_hash, model), (standard, long) in sorted(self._lines.items())
        ]

    def cost_usd(self) -> float:
        """US dollars of all lines that have a price."""
        return round(sum(line["cost_usd"] or 0.0 for line in self.lines()), 12)

    def _cost_usd(self, model: str, standard: list[int], long: list[int]) -> float | None:
        price = self._prices.get(model)
        if price is None:
            return None
        return round(price.cost_usd(standard, long=False) + price.cost_usd(long, long=True), 12)
