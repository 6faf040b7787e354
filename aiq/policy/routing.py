"""Which served entity answers, and which are asked when it cannot. Must never know a wire format.

Source: Databricks AI Gateway: traffic percentages; fallbacks in the order of `served_entities`, cycling, at most 2.
"""

from __future__ import annotations

import itertools
import random
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from hashlib import blake2b

from aiq.config.endpoint import Endpoint, ServedEntity
from aiq.policy.ejection import Health
from aiq.request import Request

MAX_FALLBACKS = 2


class Router:
    """Draws an entity by traffic percentage, and says which are asked after it."""

    def __init__(
        self,
        endpoint: Endpoint,
        rng: random.Random,
        healths: Mapping[str, Health] | None = None,
        windows: Mapping[str, int | None] | None = None,
    ) -> None:
        """By entity name: `healths` say which are ejected, `windows` how many tokens fit, None where not known."""
        self._rng, self._endpoint = rng, endpoint
        self._entities = endpoint.entities
        self._healths, self._windows = healths or {}, windows or {}
        shares = [entity.traffic_percentage for entity in self._entities]
        self._bounds = list(itertools.accumulate(shares))
        self._orders = [self._order(i, endpoint.fallback) for i in range(len(self._entities))]
        self._sole = self._orders[shares.index(100)] if 100 in shares else None
        self._sticky = endpoint.failover.sticky
        self._pinned = {entity.name: (entity,) for entity in self._entities}

    def order(self, request: Request) -> Sequence[ServedEntity]:
        """The entity that the request is for and, with fallbacks enabled, all others as they come after it.

        One that the request names is asked alone, whatever its share of the traffic.
        """
        if request.entity is not None:
            return self._pinned[request.entity]
        if self._sole is not None:
            return self._sole
        return self._orders[bisect_right(self._bounds, self._draw(request) * 100)]

    def first(self, order: Sequence[ServedEntity]) -> int:
        """The position to ask first: that of the first not ejected. Where all are, ejection does not count."""
        if len(order) == 1 or self._available(order[0]):
            return 0
        return next((i for i, entity in enumerate(order) if self._available(entity)), 0)

    def next(self, order: Sequence[ServedEntity], position: int, fallbacks: int, *, larger: bool = False) -> int | None:
        """The position to ask when the one at `position` cannot answer; None for no other.

        `fallbacks` is how many were asked already. With `larger` only an entity with a larger context window counts.
        """
        if fallbacks >= MAX_FALLBACKS or position + 1 >= len(order):
            return None
        least = (self._windows.get(order[position].name) or 0) if larger else -1
        for after in range(position + 1, len(order)):
            if self._available(order[after]):
                if not larger:
                    return after
                if least and (self._windows.get(order[after].name) or 0) > least:
                    return after
        return None

    def _available(self, entity: ServedEntity) -> bool:
        health = self._healths.get(entity.name)
        return health is None or not health.ejected or health.available()

    def _draw(self, request: Request) -> float:
        """A number in [0, 1): random, or always the same for the same caller."""
        key = None
        if self._sticky == "user":
            key = request.caller.user
        elif self._sticky == "client_request_id":
            key = request.client_request_id
        if key is None:
            return self._rng.random()
        # With the endpoint's name, else the users of one endpoint's first entity would be those of every endpoint's.
        text = f"{self._endpoint.name}\0{key}".encode("utf-8", "surrogatepass")
        return (int.from_bytes(blake2b(text, digest_size=8).digest(), "big") >> 11) / 2**53  # never 1.0

    def _order(self, first: int, fallback: bool) -> Sequence[ServedEntity]:
        if not fallback:
            return (self._entities[first],)
        return self._entities[first:] + self._entities[:first]
