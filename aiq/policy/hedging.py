"""When an answer is so late that asking a second time pays. Knows latencies, not requests.

Source: Dean and Barroso, "The Tail at Scale" (2013): a second request after the 95th percentile of the first ones' time
adds at most five in a hundred and cuts the tail.
"""

from __future__ import annotations

REMEMBERED = 100
FEWEST = 20
"""Answers after which a percentile says something."""
_EVERY = 10
_SHARE = 0.95


class Latencies:
    """The last answers' latencies of one served entity, in seconds."""

    __slots__ = ("_count", "_last", "delay_s")

    def __init__(self) -> None:
        self._last: list[float] = []
        self._count = 0
        self.delay_s: float | None = None
        """After this long a second request is worth its price; None while too few answers are known."""

    def add(self, latency_s: float) -> None:
        if len(self._last) < REMEMBERED:
            self._last.append(latency_s)
        else:
            self._last[self._count % REMEMBERED] = latency_s
        self._count += 1
        if self._count >= FEWEST and self._count % _EVERY == 0:
            ordered = sorted(self._last)
            self.delay_s = ordered[int(_SHARE * (len(ordered) - 1) + 0.5)]
