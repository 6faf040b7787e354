"""Rate limits hold over every rolling minute, and a request waits exactly as long as it must."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiq.config.endpoint import RateLimit
from aiq.errors import PolicyError
from aiq.policy.limits import RateLimiter
from aiq.policy.limits.book import MemoryBook
from aiq.policy.limits.rules import Rules
from aiq.request import Caller, Usage

MINUTE_S = 60.0
ENDPOINT_2, USER_1 = RateLimit(2), RateLimit(1, "user")


def limiter(make: Any, time: Any, *limits: RateLimit, **changes: Any) -> RateLimiter:
    return RateLimiter(make.endpoint(aiq_rate_limits=limits), time.clock, time.sleep, **changes)


def granted(time: Any, limits: RateLimiter, request: Any) -> bool:
    """Whether a request is granted at once."""
    return refusal(time, limits, request) is None


def refusal(time: Any, limits: RateLimiter, request: Any) -> PolicyError | None:
    async def ask() -> PolicyError | None:
        try:
            await limits.acquire(request, wait=False)
        except PolicyError as error:
            return error
        return None

    return time.run(ask())


@given(st.integers(1, 4), st.integers(1, 3), st.lists(st.tuples(st.floats(0, 20), st.sampled_from("ab")), max_size=25))
@settings(max_examples=40, deadline=None)
def test_no_rolling_minute_holds_more_than_the_limits(
    make: Any, shared: int, own: int, arrivals: list[tuple[float, str]]
) -> None:
    time = make.time()
    limits = limiter(make, time, RateLimit(shared), RateLimit(own, "user"))
    log: list[tuple[float, str]] = []

    async def ask(at: float, user: str) -> None:
        await time.sleep(at)
        await limits.acquire(make.request(user))
        log.append((time.now, user))

    async def all_of_them() -> None:
        await asyncio.gather(*(ask(at, user) for at, user in arrivals))

    time.run(all_of_them())
    assert len(log) == len(arrivals)
    for start, _ in log:
        minute = [user for at, user in log if start <= at < start + MINUTE_S - 1e-6]
        assert len(minute) <= shared
        assert all(minute.count(user) <= own for user in minute)


def test_a_refused_request_charges_no_limit(make: Any) -> None:
    time = make.time()
    limits = limiter(make, time, ENDPOINT_2, USER_1)
    assert granted(time, limits, make.request("ann"))
    assert not granted(time, limits, make.request("ann"))  # her own limit; the endpoint's second call is still there
    assert granted(time, limits, make.request("bob"))


def test_an_exhausted_endpoint_charges_no_user(make: Any) -> None:
    time = make.time()
    limits = limiter(make, time, RateLimit(1), USER_1)
    assert granted(time, limits, make.request("ann"))
    assert not granted(time, limits, make.request("bob"))
    time.now += MINUTE_S
    assert granted(time, limits, make.request("bob"))


def test_those_who_wait_are_served_in_the_order_they_came(make: Any) -> None:
    time = make.time()
    limits = limiter(make, time, RateLimit(1))
    served: list[int] = []

    async def ask(number: int) -> None:
        await limits.acquire(make.request())
        served.append(number)

    async def many() -> None:
        await asyncio.gather(*map(ask, range(6)))

    time.run(many())
    assert served == list(range(6))
    assert time.now == 1000 + 5 * MINUTE_S


def test_a_user_over_the_own_limit_holds_up_nobody_else(make: Any) -> None:
    time = make.time()
    limits = limiter(make, time, RateLimit(100), USER_1)

    async def work() -> float:
        await limits.acquire(make.request("ann"))
        waiting = asyncio.create_task(limits.acquire(make.request("ann")))
        await time.settle()
        grant = await limits.acquire(make.request("bob"))
        waiting.cancel()
        return grant.waited_s

    assert time.run(work()) == 0.0


def test_a_waiter_that_is_cancelled_takes_no_grant(make: Any) -> None:
    time = make.time()
    limits = limiter(make, time, RateLimit(1))

    async def work() -> float:
        await limits.acquire(make.request())
        waiters = [asyncio.create_task(limits.acquire(make.request())) for _ in range(3)]
        await time.settle()
        waiters[0].cancel()
        waiters[1].cancel()
        await asyncio.gather(*waiters, return_exceptions=True)
        return waiters[2].result().waited_s

    assert time.run(work()) == MINUTE_S


def test_a_waiter_that_is_cancelled_in_the_moment_of_its_grant_gives_it_back(make: Any) -> None:
    time = make.time()
    limits = limiter(make, time, RateLimit(1, unit="concurrency", period_s=0))

    async def work(steps: int) -> None:
        first = await limits.acquire(make.request())
        waiting = asyncio.create_task(limits.acquire(make.request()))
        await time.settle()
        limits.settle(first, None, None)
        for _ in range(steps):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        if not waiting.cancelled():  # it was granted before
            limits.release(waiting.result())
        limits.release(await limits.acquire(make.request(), wait=False))

    for steps in range(8):  # the moment is somewhere in here
        time.run(work(steps))


def test_the_wait_is_reported_with_the_limit_it_was_for(make: Any) -> None:
    time = make.time()
    limits = limiter(make, time, RateLimit(1))

    async def work() -> list[Any]:
        grants = [await limits.acquire(make.request()), await limits.acquire(make.request())]
        return [(grant.waited_s, grant.limit) for grant in grants]

    assert time.run(work()) == [(0.0, None), (MINUTE_S, "Requests-per-minute (RPM) rate limit")]


@pytest.mark.parametrize(
    ("limits", "end"),
    [
        ([RateLimit(1)], "Requests-per-minute (RPM) rate limit exceeded"),
        ([USER_1], "Requests-per-minute (RPM) rate limit exceeded for user"),
        ([RateLimit(11, unit="tokens")], "Tokens-per-minute (TPM) rate limit exceeded"),
        ([RateLimit(11, "user", unit="tokens")], "Tokens-per-minute (TPM) rate limit exceeded for user"),
        ([RateLimit(1, period_s=86400)], "Requests-per-day rate limit exceeded"),
    ],
)
def test_a_limit_that_is_reached_is_a_429_in_databricks_words(make: Any, limits: Any, end: str) -> None:
    time = make.time()
    bucket = limiter(make, time, *limits)
    request = make.request("ann", "x" * 39, interactive=True)._replace(
        body={"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 10}
    )
    assert granted(time, bucket, request)
    error = refusal(time, bucket, request)
    assert error is not None
    assert error.reason == f"User defined rate limit(s) exceeded for 'chat'. {end}"
    assert (error.status, error.error_code) == (429, "REQUEST_LIMIT_EXCEEDED")
    assert error.limit == end.replace(" exceeded", "")
    assert error.retry_after_s == limits[0].period_s


def test_a_deadline_before_the_turn_is_refused_at_once_with_the_wait(make: Any) -> None:
    time = make.time()
    bucket = limiter(make, time, RateLimit(1))

    async def work() -> None:
        await bucket.acquire(make.request())
        time.now += 20
        await bucket.acquire(make.request(deadline_s=time.now + 30))

    with pytest.raises(PolicyError) as caught:
        time.run(work())
    assert (caught.value.retry_after_s, time.now) == (40, 1020)


def test_a_deadline_that_comes_while_others_are_ahead_is_a_429(make: Any) -> None:
    time = make.time()
    bucket = limiter(make, time, RateLimit(1))

    async def work() -> list[Any]:
        asked = [make.request(), make.request(), make.request(deadline_s=time.now + 30)]
        return await asyncio.gather(*map(bucket.acquire, asked), return_exceptions=True)

    *_, last = time.run(work())
    assert last.status == 429


def test_the_words_of_a_429_name_the_limit_that_is_the_last_to_grant(make: Any) -> None:
    time = make.time()
    bucket = limiter(make, time, RateLimit(1, period_s=3600), RateLimit(1, "user"))
    assert granted(time, bucket, make.request())
    error = refusal(time, bucket, make.request())
    assert error is not None and error.reason.endswith("Requests-per-hour rate limit exceeded")


@pytest.mark.parametrize(
    "limits",
    [
        [RateLimit(0)],
        [RateLimit(0, "user")],
        [RateLimit(9), RateLimit(0, "user", "ann")],
        [RateLimit(0, "user_group", "staff")],
        [RateLimit(0, unit="tokens")],
        [RateLimit(0, "service_principal", "ann"), RateLimit(5, "user")],
    ],
)
def test_a_limit_of_nothing_blocks_with_403(make: Any, limits: Any) -> None:
    time = make.time()
    request = make.request(caller=Caller("ann", ("staff",)))
    with pytest.raises(PolicyError) as caught:
        time.run(limiter(make, time, *limits).acquire(request))
    assert (caught.value.status, caught.value.error_code) == (403, "PERMISSION_DENIED")


def test_a_block_in_one_of_two_groups_does_not_block(make: Any) -> None:
    time = make.time()
    limits = limiter(make, time, RateLimit(0, "user_group", "a"), RateLimit(1, "user_group", "b"))
    assert granted(time, limits, make.request(caller=Caller("ann", ("a", "b"))))


def test_more_users_than_are_kept_at_hand_keep_their_limits(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiq.policy.limits.limiter._MAX_PLANS", 3)
    time = make.time()
    limits = limiter(make, time, USER_1)
    users = [make.request(f"user{number}") for number in range(20)]
    assert all(granted(time, limits, request) for request in users)
    assert not any(granted(time, limits, request) for request in users)
    time.now += MINUTE_S
    assert granted(time, limits, make.request("another"))
    assert granted(time, limits, users[0])
    assert len(limits._plans) <= 3


def test_an_endpoint_without_limits_never_waits(make: Any) -> None:
    time = make.time()
    limits = limiter(make, time)
    assert not limits.limited
    assert all(granted(time, limits, make.request()) for _ in range(100))


def test_an_interactive_caller_is_refused_where_a_batch_waits(make: Any) -> None:
    time = make.time()
    limits = limiter(make, time, RateLimit(1))

    async def work() -> Any:
        await limits.acquire(make.request())
        with pytest.raises(PolicyError) as caught:
            await limits.acquire(make.request(interactive=True))
        return caught.value.retry_after_s, (await limits.acquire(make.request())).waited_s

    assert time.run(work()) == (MINUTE_S, MINUTE_S)


def test_a_concurrency_limit_bounds_what_is_in_flight(make: Any) -> None:
    time = make.time()
    limits = limiter(make, time, RateLimit(3, unit="concurrency", period_s=0))
    in_flight, most = 0, 0

    async def work() -> None:
        nonlocal in_flight, most
        grant = await limits.acquire(make.request())
        in_flight += 1
        most = max(most, in_flight)
        await time.sleep(1)
        in_flight -= 1
        limits.settle(grant, None, None)

    async def many() -> None:
        await asyncio.gather(*(work() for _ in range(12)))

    time.run(many())
    assert (most, time.now) == (3, 1004)


def test_dollars_are_not_overshot_by_a_thousand_in_flight(make: Any) -> None:
    time = make.time()
    limits = limiter(make, time, RateLimit(1.0, unit="cost_usd", period_s=86400), most_usd=lambda request: 0.003)
    spent: list[float] = []

    async def work(number: int) -> None:
        try:
            grant = await limits.acquire(make.request(deadline_s=time.now + 600))
        except PolicyError:
            return
        await time.sleep(number % 7)
        cost = 0.003 if number % 3 else 0.0011
        spent.append(cost)
        limits.settle(grant, Usage(10, 10), cost)

    async def many() -> None:
        await asyncio.gather(*(work(number) for number in range(1024)))

    time.run(many())
    assert 1.0 - 0.003 < sum(spent) <= 1.0


def test_a_request_that_costs_more_than_the_whole_limit_says_what_to_change(make: Any) -> None:
    time = make.time()
    limits = limiter(make, time, RateLimit(1.0, unit="cost_usd"), most_usd=lambda request: 1.5)
    error = refusal(time, limits, make.request())
    assert error is not None and error.status == 429 and "lower max_tokens" in error.reason


def test_a_prompt_longer_than_the_whole_limit_says_what_to_change(make: Any) -> None:
    time = make.time()
    limits = limiter(make, time, RateLimit(100, unit="tokens"))
    error = refusal(time, limits, make.request("ann", "x" * 1000))
    assert error is not None and "251 input tokens" in error.reason


def test_an_answer_that_may_be_longer_than_the_limit_takes_all_of_it(make: Any) -> None:
    time = make.time()
    limits = limiter(make, time, RateLimit(100, unit="tokens"))
    assert granted(time, limits, make.request())
    assert not granted(time, limits, make.request())


def test_a_long_prompt_does_not_wait_for_ever_for_a_small_limit_of_output_tokens(make: Any) -> None:
    time = make.time()
    limits = limiter(make, time, RateLimit(10, unit="output_tokens"))
    assert granted(time, limits, make.request("ann", "x" * 1000))


@pytest.mark.parametrize("limit", [5, 1500])
def test_what_was_used_still_counts_when_a_limit_is_changed(make: Any, limit: int) -> None:
    time, book = make.time(), MemoryBook()
    before = limiter(make, time, RateLimit(limit), book=book)
    assert all(granted(time, before, make.request()) for _ in range(3))
    after = limiter(make, time, RateLimit(4), book=book)
    assert [granted(time, after, make.request()) for _ in range(2)] == [True, False]


def test_input_and_output_tokens_are_limited_apart(make: Any) -> None:
    time = make.time()
    limits = limiter(make, time, RateLimit(15, unit="input_tokens"), RateLimit(100, unit="output_tokens"))
    request = make.request("ann", body={"messages": [{"role": "user", "content": "x" * 39}], "max_tokens": 5})
    assert granted(time, limits, request)
    error = refusal(time, limits, request)
    assert error is not None and "Input-tokens-per-minute" in error.reason


def test_tokens_that_were_not_used_serve_those_who_wait(make: Any) -> None:
    time = make.time()
    limits = limiter(make, time, RateLimit(100, unit="tokens"))
    request = make.request(body={"messages": [{"role": "user", "content": "x"}], "max_tokens": 99})

    async def work() -> float:
        first = await limits.acquire(request)
        second = asyncio.create_task(limits.acquire(request._replace(body={**request.body, "max_tokens": 50})))
        await time.sleep(5)
        limits.settle(first, Usage(1, 9), None)
        return (await second).waited_s

    assert time.run(work()) == 5.0


def test_tokens_beyond_the_reservation_become_a_debt(make: Any) -> None:
    time = make.time()
    limits = limiter(make, time, RateLimit(100, unit="tokens"))
    request = make.request(body={"messages": [{"role": "user", "content": "x"}], "max_tokens": 9})

    async def work() -> Any:
        grant = await limits.acquire(request)
        time.now += 30
        limits.settle(grant, Usage(1, 150), None)
        with pytest.raises(PolicyError) as caught:
            await limits.acquire(request, wait=False)
        return caught.value.retry_after_s

    assert time.run(work()) == MINUTE_S  # from when it was known, so that it cannot be outlived by a slow answer


@pytest.mark.parametrize(("known", "left"), [(None, 0), (Usage(1, 0), 89)])
def test_a_reservation_is_kept_where_nobody_knows_what_was_used(make: Any, known: Usage | None, left: int) -> None:
    time = make.time()
    limits = limiter(make, time, RateLimit(90, unit="tokens"))
    body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 89}

    async def work() -> None:
        limits.settle(await limits.acquire(make.request(body=body)), known, None)

    time.run(work())
    small = make.request(body={**body, "max_tokens": max(1, left - 1)})
    assert granted(time, limits, small) is bool(left)


def test_a_released_grant_gives_everything_back(make: Any) -> None:
    time = make.time()
    limits = limiter(make, time, RateLimit(1), RateLimit(50, unit="tokens"))

    async def work() -> None:
        limits.release(await limits.acquire(make.request()))

    time.run(work())
    assert granted(time, limits, make.request())


def test_settling_twice_changes_nothing(make: Any) -> None:
    time = make.time()
    limits = limiter(make, time, RateLimit(100, unit="tokens"))
    body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 49}

    async def work() -> None:
        grant = await limits.acquire(make.request(body=body))
        await limits.acquire(make.request(body=body))
        for _ in range(3):
            limits.settle(grant, Usage(25, 0), None)

    time.run(work())
    assert not granted(time, limits, make.request(body=body))


def test_a_large_request_is_not_starved_by_small_ones(make: Any) -> None:
    time = make.time()
    limits = limiter(make, time, RateLimit(100, unit="tokens"))

    def asks(tokens: int) -> Any:
        return make.request("bob", body={"messages": [{"role": "user", "content": "x"}], "max_tokens": tokens - 1})

    async def small() -> None:
        for _ in range(40):
            await limits.acquire(asks(10)._replace(caller=Caller("ann")))

    async def work() -> float:
        others = [asyncio.create_task(small()) for _ in range(3)]
        await time.sleep(1)
        grant = await limits.acquire(asks(95))
        for other in others:
            other.cancel()
        return grant.waited_s

    assert time.run(work()) <= 2 * MINUTE_S


def test_who_does_not_fit_into_the_queue_is_told_so(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiq.policy.limits.waiting.MAX_WAITING", 2)
    time = make.time()
    limits = limiter(make, time, RateLimit(1))

    async def work() -> list[Any]:
        return await asyncio.gather(*(limits.acquire(make.request()) for _ in range(4)), return_exceptions=True)

    errors = [end for end in time.run(work()) if isinstance(end, PolicyError)]
    assert len(errors) == 1 and "wait for the rate limits" in errors[0].reason


def test_those_who_wait_say_for_what_and_when_the_next_one_goes(make: Any) -> None:
    time = make.time()
    limits = limiter(make, time, RateLimit(2, "user"))
    said: list[str] = []

    async def look() -> None:
        await time.sleep(17.0)
        said.append(str(limits.waits()))
        await time.sleep(50.0)
        said.append(str(limits.waits()))

    async def all_of_them() -> None:
        await asyncio.gather(look(), *(limits.acquire(make.request("ann")) for _ in range(5)))

    assert limits.waits() is None
    time.run(all_of_them())
    assert said == [
        "3 wait for 2 calls/minute of user ann, next in 43 s",
        "1 waits for 2 calls/minute of user ann, next in 53 s",
    ]
    assert limits.waits() is None


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (RateLimit(20), "20 calls/minute"),
        (RateLimit(1000, "user", "ann|b%", "tokens"), "1,000 tokens/minute of user ann|b%"),
        (RateLimit(3, "user_group", "analysts", "calls", 3600), "3 calls/hour of group analysts"),
        (RateLimit(2.5, "usage_context", None, "cost_usd", 86400, "team"), "$2.5/day of team red"),
        (RateLimit(4, unit="concurrency", period_s=0), "4 requests at once"),
    ],
)
def test_a_limit_has_words_that_a_person_uses(make: Any, limit: RateLimit, words: str) -> None:
    caller = Caller("ann|b%", ("analysts",), {"team": "red"})
    ((scope,),) = Rules(make.endpoint(aiq_rate_limits=(limit,))).scopes(caller)
    assert scope.plainly() == words


def test_how_long_requests_take_is_known_from_the_limits(make: Any) -> None:
    limits = limiter(make, make.time(), RateLimit(20), RateLimit(600, unit="tokens"), RateLimit(1, unit="cost_usd"))
    ann = Caller("ann")
    assert limits.seconds_for(ann, 40, 1.0, 0.0) == pytest.approx(120.0)
    assert limits.seconds_for(ann, 40, 60.0, 0.0) == pytest.approx(240.0)
    assert limits.seconds_for(ann, 40, 1.0, 0.25) == pytest.approx(600.0)
    assert limiter(make, make.time(), RateLimit(4, unit="concurrency", period_s=0)).seconds_for(ann, 9, 1.0, 0.0) == 0.0
