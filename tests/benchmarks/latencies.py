"""How long the benchmark provider takes for a prompt, and what the same latencies cost at best.

Shared by the provider, which waits, and by the report, which knows the ideal. Standard library only.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from statistics import NormalDist
from typing import NamedTuple

_NORMAL = NormalDist()
_P99 = _NORMAL.inv_cdf(0.99)
_GOLDEN = (math.sqrt(5) - 1) / 2


class Latency(NamedTuple):
    """Log-normal with this median and 99th percentile; the same for every prompt where `p99_ms` is None."""

    median_ms: float = 0.0
    p99_ms: float | None = None

    def of_s(self, number: int) -> float:
        """Seconds for the prompt of this number."""
        if self.p99_ms is None:
            return self.median_ms / 1000
        unit = math.fmod(number * _GOLDEN, 1.0)  # spreads numbers evenly, whatever their order
        deviate = _NORMAL.inv_cdf(min(max(unit, 1e-6), 1 - 1e-6))
        return self.median_ms / 1000 * (self.p99_ms / self.median_ms) ** (deviate / _P99)

    def ideal_s(self, numbers: Iterable[int], in_flight: int) -> float:
        """Seconds of list scheduling: each prompt in its turn, as soon as one of `in_flight` places is free."""
        free = [0.0] * in_flight
        for number in numbers:
            heapq.heapreplace(free, free[0] + self.of_s(number))
        return max(free)
