"""Traffic is drawn by percentage; fallbacks follow in the order of the file, at most two, and none that is ejected."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from aiq.config.endpoint import FailoverConfig
from aiq.policy.ejection import Health
from aiq.policy.routing import Router


def router(make: Any, shares: dict[str, int], fallback: bool = True, *, sticky: Any = "none", **more: Any) -> Router:
    served = [make.entity(name, share) for name, share in shares.items()]
    endpoint = make.endpoint(*served, fallback=fallback, failover=FailoverConfig(sticky=sticky))
    return Router(endpoint, random.Random(7), **more)


def asked(router: Router, request: Any, *, larger: bool = False) -> str:
    """The names of all that would be asked if each failed."""
    order = router.order(request)
    position: int | None = router.first(order)
    fallbacks, names = int(position != 0), []
    while position is not None:
        names.append(order[position].name)
        position = router.next(order, position, fallbacks, larger=larger)
        fallbacks += 1
    return " ".join(names)


def counts(make: Any, router: Router, draws: int = 10_000) -> Counter[str]:
    return Counter(asked(router, make.request()) for _ in range(draws))


def ejected() -> Health:
    health = Health(lambda: 1000.0)
    health.failed("auth", probe=False)
    return health


def test_ten_thousand_draws_follow_the_percentages(make: Any) -> None:
    found = counts(make, router(make, {"a": 70, "b": 25, "c": 5}, fallback=False))
    assert found["a"] == pytest.approx(7000, abs=200)
    assert found["b"] == pytest.approx(2500, abs=200)
    assert found["c"] == pytest.approx(500, abs=100)


def test_an_entity_that_is_named_is_asked_alone(make: Any) -> None:
    for sticky in ("none", "user"):
        routes = router(make, {"a": 100, "b": 0, "c": 0}, sticky=sticky, healths={"b": ejected()})
        assert asked(routes, make.request(entity="b")) == "b"
        assert asked(routes, make.request()) == "a c"  # nothing stays of it


def test_ten_thousand_sticky_users_follow_the_percentages(make: Any) -> None:
    sticky = router(make, {"a": 70, "b": 25, "c": 5}, fallback=False, sticky="user")
    found = Counter(asked(sticky, make.request(f"user-{i}")) for i in range(10_000))
    assert found["a"] == pytest.approx(7000, abs=200)
    assert found["b"] == pytest.approx(2500, abs=200)
    assert found["c"] == pytest.approx(500, abs=100)


def test_a_sticky_user_stays_with_one_entity(make: Any) -> None:
    sticky = router(make, {"a": 50, "b": 50}, sticky="user")
    assert all(len({asked(sticky, make.request(user)) for _ in range(20)}) == 1 for user in ("ann", "bob", "eve"))


def test_a_sticky_request_id_stays_with_one_entity_and_none_is_drawn(make: Any) -> None:
    sticky = router(make, {"a": 50, "b": 50}, sticky="client_request_id")
    assert len({asked(sticky, make.request(client_request_id="r-1")) for _ in range(20)}) == 1
    assert len({asked(sticky, make.request()) for _ in range(20)}) == 2


def test_an_entity_without_traffic_is_never_asked_first(make: Any) -> None:
    found = counts(make, router(make, {"z": 0, "a": 50, "y": 0, "b": 50, "x": 0}))
    assert {order[0] for order in found} == {"a", "b"}


def test_an_entity_without_traffic_is_a_fallback(make: Any) -> None:
    assert counts(make, router(make, {"a": 100, "z": 0}), 10) == {"a z": 10}


def test_fallbacks_cycle_to_the_top_of_the_list(make: Any) -> None:
    assert set(counts(make, router(make, {"a": 0, "b": 0, "c": 100}), 100)) == {"c a b"}


def test_there_are_at_most_two_fallbacks(make: Any) -> None:
    assert set(counts(make, router(make, {"a": 0, "b": 100, "c": 0, "d": 0, "e": 0}), 100)) == {"b c d"}


def test_without_fallbacks_one_entity_is_asked(make: Any) -> None:
    assert set(counts(make, router(make, {"a": 50, "b": 50}, fallback=False), 100)) == {"a", "b"}


def test_a_draw_just_below_a_hundred_finds_an_entity(make: Any) -> None:
    class Highest(random.Random):
        def random(self) -> float:
            return 1.0 - 2**-53

    served = [make.entity("a", 99), make.entity("b", 1), make.entity("c", 0)]
    assert Router(make.endpoint(*served), Highest()).order(make.request())[0].name == "b"


def test_an_ejected_entity_is_passed_over_and_is_no_fallback(make: Any) -> None:
    shares = {"a": 100, "b": 0, "c": 0, "d": 0}
    assert asked(router(make, shares, healths={"b": ejected()}), make.request()) == "a c d"


def test_the_first_fallback_stands_in_for_an_ejected_entity(make: Any) -> None:
    shares = {"a": 100, "b": 0, "c": 0, "d": 0}
    assert asked(router(make, shares, healths={"a": ejected()}), make.request()) == "b c"


def test_where_all_are_ejected_the_first_is_asked(make: Any) -> None:
    healths = {"a": ejected(), "b": ejected()}
    assert asked(router(make, {"a": 100, "b": 0}, healths=healths), make.request()) == "a"


def test_without_fallbacks_an_ejected_entity_is_asked_all_the_same(make: Any) -> None:
    assert asked(router(make, {"a": 100, "b": 0}, False, healths={"a": ejected()}), make.request()) == "a"


def test_more_context_is_sought_beyond_entities_with_as_much_or_an_unknown_one(make: Any) -> None:
    windows = {"a": 8_192, "b": 8_192, "c": None, "d": 128_000}
    found = router(make, {"a": 100, "b": 0, "c": 0, "d": 0}, windows=windows)
    assert asked(found, make.request(), larger=True) == "a d"


def test_an_entity_of_unknown_context_has_no_larger_one(make: Any) -> None:
    found = router(make, {"a": 100, "b": 0}, windows={"a": None, "b": 128_000})
    assert asked(found, make.request(), larger=True) == "a"
