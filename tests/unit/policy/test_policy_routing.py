"""Traffic is drawn by percentage; fallbacks follow in the order of the served entities, at most two."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from aiq.policy.routing import Router


def router(make: Any, shares: dict[str, int], fallback: bool = True, seed: int = 7) -> Router:
    served = [make.entity(name, share) for name, share in shares.items()]
    return Router(make.endpoint(*served, fallback=fallback), random.Random(seed))


def orders(router: Router, draws: int = 10_000) -> Counter[str]:
    return Counter(" ".join(entity.name for entity in router.order()) for _ in range(draws))


def test_ten_thousand_draws_follow_the_percentages(make: Any) -> None:
    counts = orders(router(make, {"a": 70, "b": 25, "c": 5}, fallback=False))
    assert counts["a"] == pytest.approx(7000, abs=200)
    assert counts["b"] == pytest.approx(2500, abs=200)
    assert counts["c"] == pytest.approx(500, abs=100)


def test_an_entity_without_traffic_is_never_asked_first(make: Any) -> None:
    counts = orders(router(make, {"z": 0, "a": 50, "y": 0, "b": 50, "x": 0}))
    assert {order[0] for order in counts} == {"a", "b"}


def test_an_entity_without_traffic_is_a_fallback(make: Any) -> None:
    assert orders(router(make, {"a": 100, "z": 0}), 10) == {"a z": 10}


def test_fallbacks_cycle_to_the_top_of_the_list(make: Any) -> None:
    assert set(orders(router(make, {"a": 0, "b": 0, "c": 100}))) == {"c a b"}


def test_there_are_at_most_two_fallbacks(make: Any) -> None:
    assert set(orders(router(make, {"a": 0, "b": 100, "c": 0, "d": 0, "e": 0}))) == {"b c d"}


def test_without_fallbacks_one_entity_is_asked(make: Any) -> None:
    assert set(orders(router(make, {"a": 50, "b": 50}, fallback=False))) == {"a", "b"}


def test_a_draw_just_below_a_hundred_finds_an_entity(make: Any) -> None:
    class Highest(random.Random):
        def random(self) -> float:
            return 1.0 - 2**-53

    served = [make.entity("a", 99), make.entity("b", 1), make.entity("c", 0)]
    assert Router(make.endpoint(*served), Highest()).order()[0].name == "b"
