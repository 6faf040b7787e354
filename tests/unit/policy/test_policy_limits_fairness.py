"""Who waits is served fairly between users, and reservations come near to what is used."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from aiq.config.endpoint import RateLimit
from aiq.policy.limits import RateLimiter
from aiq.policy.limits.estimate import LEARNT_AFTER, OUTPUT_TOKENS, Estimator
from aiq.policy.limits.fairness import FairQueue
from aiq.request import Caller, Usage


def jain(shares: list[float]) -> float:
    """1 where all shares are equal, 1 / n where one has everything."""
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))


def test_users_with_unequal_load_get_equal_tokens(make: Any) -> None:
    time = make.time()
    limits = RateLimiter(make.endpoint(limits=[RateLimit(10_000, unit="tokens")]), time.clock, time.sleep)
    served: Counter[str] = Counter()

    async def worker(user: str, tokens: int) -> None:
        body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": tokens - 1}
        while time.now < 1000 + 20 * 60:
            await limits.acquire(make.request(user, body=body))
            served[user] += tokens

    async def work() -> None:
        loads = [("ann", 50)] * 100 + [("bob", 500)] * 3
        tasks = [asyncio.create_task(worker(*load)) for load in loads]
        await time.sleep(20 * 60)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    time.run(work())
    assert jain([served["ann"], served["bob"]]) >= 0.99
    assert sum(served.values()) >= 0.95 * 10_000 * 20


def test_who_comes_later_is_not_behind_everybody_elses_queue() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(1000):
        queue.push("ann", f"ann-{number}", 1)
    serve(queue, 500)
    queue.push("bob", "bob-0", 1)
    assert "bob-0" in serve(queue, 2)


def test_who_was_away_has_no_savings() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(100):
        queue.push("ann", f"ann-{number}", 1)
    serve(queue, 50)
    for number in range(50):
        queue.push("bob", f"bob-{number}", 1)
    served = serve(queue, 20)
    assert sum(item.startswith("bob") for item in served) == 10


def serve(queue: FairQueue[str], count: int) -> list[str]:
    """Serves some, one round each."""
    served = []
    for _ in range(count):
        turns = queue.turns()
        served.append(next(turns))
        try:
            turns.send(True)
        except StopIteration:
            continue
    return served


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 50)), min_size=30, max_size=200))
@settings(max_examples=60, deadline=None)
def test_while_they_wait_no_user_is_ahead_by_more_than_two_requests(asked: list[tuple[str, int]]) -> None:
    queue: FairQueue[int] = FairQueue()
    costs = dict(enumerate(asked))
    left = Counter(user for user, _ in asked)
    for number, (user, cost) in costs.items():
        queue.push(user, number, cost)
    tokens: Counter[str] = Counter()
    for _ in asked:
        turns = queue.turns()
        user, cost = costs[next(turns)]
        tokens[user] += cost
        left[user] -= 1
        try:
            turns.send(True)
        except StopIteration:
            break
        waiting = [tokens[name] for name in "abc" if left[name]]
        if len(waiting) == 3:
            assert max(waiting) - min(waiting) <= 100


def test_reservations_shrink_from_max_tokens_to_what_is_likely(make: Any) -> None:
    estimator, rng = Estimator(), random.Random(1)
    request = make.request(body={"messages": [], "max_tokens": 4000})
    assert estimator.output_tokens(request) == 4000
    assert estimator.output_tokens(make.request()) == OUTPUT_TOKENS
    for _ in range(200):
        estimator.learn(400, Usage(130, rng.randint(40, 60)))
    assert 50 < estimator.output_tokens(request) < 80
    assert 125 <= estimator.input_tokens(400) <= 135


def test_what_was_learnt_never_exceeds_what_a_request_allows(make: Any) -> None:
    estimator = Estimator()
    for _ in range(LEARNT_AFTER):
        estimator.learn(10, Usage(3, 500))
    assert estimator.output_tokens(make.request(body={"max_tokens": 20})) == 20


def test_an_embedding_has_no_output_tokens(make: Any) -> None:
    request = make.request(task="llm/v1/embeddings", body={"input": ["a"]})
    assert Estimator().output_tokens(request) == 0


def test_a_limiter_learns_from_its_answers(make: Any) -> None:
    time = make.time()
    limits = RateLimiter(make.endpoint(limits=[RateLimit(5000, unit="tokens")]), time.clock, time.sleep)
    body = {"messages": [{"role": "user", "content": "x" * 99}], "max_tokens": 2000}

    async def work() -> list[int]:
        taken = []
        for _ in range(20):
            grant = await limits.acquire(make.request(caller=Caller("ann"), body=body))
            taken.append(grant.charges[0][2])
            limits.settle(grant, Usage(25, 30), None)
        return taken

    taken = time.run(work())
    assert (taken[0], taken[-1]) == (2025, 55)
