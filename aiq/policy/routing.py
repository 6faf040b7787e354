"""Which served entity answers, and which are asked when it cannot. Must never know a wire format.

Source: Databricks AI Gateway: traffic percentages; fallbacks in the order of `served_entities`, cycling, at most 2.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

from aiq.config.endpoint import Endpoint, ServedEntity

MAX_FALLBACKS = 2


class Router:
    """Draws an entity by traffic percentage and appends its fallbacks."""

    def __init__(self, endpoint: Endpoint, rng: random.Random) -> None:
        self._rng = rng
        self._entities = endpoint.entities
        shares = [entity.traffic_percentage for entity in self._entities]
        self._bounds = list(itertools.accumulate(shares))
        self._orders = [self._order(i, endpoint.fallback) for i in range(len(self._entities))]
        self._sole = shares.index(100) if 100 in shares else None

    def order(self) -> Sequence[ServedEntity]:
        """The entity to ask first and, with fallbacks enabled, the at most two to ask after it."""
        if self._sole is not None:
            return self._orders[self._sole]
        drawn = self._rng.random() * 100
        return self._orders[next(i for i, bound in enumerate(self._bounds) if drawn < bound)]

    def _order(self, first: int, fallback: bool) -> Sequence[ServedEntity]:
        if not fallback:
            return (self._entities[first],)
        cycle = self._entities[first:] + self._entities[:first]
        return cycle[: 1 + MAX_FALLBACKS]
