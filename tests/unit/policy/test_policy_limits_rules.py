"""Which limits hold for whom: Databricks' rules, and our own beside them."""

from __future__ import annotations

from typing import Any

import pytest

from aiq.config.endpoint import RateLimit
from aiq.errors import PolicyError
from aiq.policy.limits import RateLimiter
from aiq.policy.limits.rules import Rules
from aiq.request import Caller

ALL, EACH = RateLimit(100), RateLimit(10, "user")
ANN = RateLimit(3, "user", "ann")
APP = RateLimit(4, "service_principal", "app-1")
STAFF, ADMINS = RateLimit(5, "user_group", "staff"), RateLimit(7, "user_group", "admins")
TOKENS = RateLimit(1000, "user", unit="tokens")
STAFF_TOKENS = RateLimit(900, "user_group", "staff", "tokens")


@pytest.mark.parametrize(
    ("limits", "caller", "found"),
    [
        ([ALL], Caller("bob"), [(ALL,)]),
        ([ALL, EACH], Caller("bob"), [(ALL,), (EACH,)]),
        ([ALL, EACH, ANN], Caller("ann"), [(ALL,), (ANN,)]),
        ([EACH, APP], Caller("app-1"), [(APP,)]),
        ([EACH, STAFF], Caller("bob", ("staff",)), [(STAFF,)]),
        ([EACH, STAFF], Caller("bob", ("others",)), [(EACH,)]),
        ([EACH, STAFF, ADMINS], Caller("bob", ("admins", "staff")), [(STAFF, ADMINS)]),
        ([EACH, STAFF, ANN], Caller("ann", ("staff",)), [(ANN,)]),
        ([STAFF, APP], Caller("app-1", ("staff",)), [(APP,)]),
        ([EACH, TOKENS, ANN], Caller("ann"), [(ANN,), (TOKENS,)]),
        ([STAFF, STAFF_TOKENS, ADMINS], Caller("bob", ("staff", "admins")), [(STAFF, ADMINS), (STAFF_TOKENS,)]),
    ],
)
def test_the_limits_of_a_caller(make: Any, limits: Any, caller: Caller, found: Any) -> None:
    scopes = Rules(make.endpoint(limits=limits)).scopes(caller)
    assert [tuple(scope.limit for scope in clause) for clause in scopes] == found


def test_a_limit_by_tag_has_a_bucket_for_each_value_and_one_for_none(make: Any) -> None:
    by_team = RateLimit(5, "usage_context", tag="team")
    rules = Rules(make.endpoint(aiq_rate_limits=(by_team,)))
    callers = [
        Caller("ann", (), context) for context in ({"team": "a"}, {"team": "b"}, {"team": "a", "x": "y"}, None, {})
    ]
    names = [rules.scopes(caller)[0][0].name for caller in callers]
    assert names[0] == names[2] != names[1]
    assert names[3] == names[4] not in names[:2]


def test_names_of_buckets_cannot_be_mixed_up(make: Any) -> None:
    rules = Rules(make.endpoint(limits=[EACH]))
    names = {rules.scopes(Caller(user))[0][0].name for user in ("a|b", "a%7Cb", "a", "b", "")}
    assert len(names) == 5


def ask(make: Any, limits: RateLimiter, time: Any, caller: Caller) -> bool:
    async def work() -> bool:
        try:
            await limits.acquire(make.request(caller=caller), wait=False)
        except PolicyError:
            return False
        return True

    return time.run(work())


def test_a_group_shares_its_limit(make: Any) -> None:
    time = make.time()
    limits = RateLimiter(make.endpoint(limits=[RateLimit(2, "user_group", "staff")]), time.clock, time.sleep)
    asked = [ask(make, limits, time, Caller(user, ("staff",))) for user in ("ann", "bob", "cy")]
    assert asked == [True, True, False]
    assert ask(make, limits, time, Caller("dan"))


def test_who_is_in_two_groups_is_refused_only_when_both_are_over(make: Any) -> None:
    time = make.time()
    limits = RateLimiter(
        make.endpoint(limits=[RateLimit(1, "user_group", "a"), RateLimit(3, "user_group", "b")]), time.clock, time.sleep
    )
    both = Caller("ann", ("a", "b"))
    assert [ask(make, limits, time, both) for _ in range(4)] == [True, True, True, False]
    assert not ask(make, limits, time, Caller("bob", ("a",)))  # her calls were calls of the group


def test_the_endpoints_limit_stops_everybody(make: Any) -> None:
    time = make.time()
    limits = RateLimiter(make.endpoint(limits=[RateLimit(1), RateLimit(9, "user", "ann")]), time.clock, time.sleep)
    assert ask(make, limits, time, Caller("bob"))
    assert not ask(make, limits, time, Caller("ann"))


def test_the_calls_a_minute_of_a_caller(make: Any) -> None:
    time = make.time()
    limits = RateLimiter(
        make.endpoint(limits=[ALL, EACH, STAFF, ADMINS], aiq_rate_limits=(RateLimit(1, period_s=3600),)), time.clock
    )
    assert limits.calls_per_minute(Caller("bob")) == 10
    assert limits.calls_per_minute(Caller("bob", ("staff", "admins"))) == 7
