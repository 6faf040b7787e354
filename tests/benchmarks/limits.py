"""Measures rate limits: what admission costs a row, how fair waiting is, and how much of a limit is used.

    python tests/benchmarks/limits.py [--rows N] [--redis URL]

Admission: one endpoint limit and one user limit with room for all, acquired and settled as the gateway does it.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from aiq.config.endpoint import Endpoint, RateLimit, Settings
from aiq.policy.limits import RateLimiter, open_book
from aiq.request import Caller, Request, Usage

ROUNDS = 5
JITTER_S = 0.01
"""A worker notes a grant a little after it was given, some more than others."""
WORKER = """
import asyncio, sys, time
from pathlib import Path
from aiq.config.endpoint import Endpoint, RateLimit, Settings
from aiq.policy.limits import RateLimiter, open_book
from aiq.request import Caller, Request

home, amount, period, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])

async def main():
    endpoint = Endpoint("chat", "e", "llm/v1/chat", (), "f", aiq_rate_limits=(RateLimit(amount, period_s=period),))
    limiter = RateLimiter(endpoint, time.monotonic, book=open_book(Settings(), Path(home)))
    request = Request("chat", "llm/v1/chat", {"messages": []}, Caller("ann"), "s")
    end, times = time.monotonic() + seconds, []
    async def work():
        while time.monotonic() < end:
            await limiter.acquire(request._replace(deadline_s=end))
            times.append(time.monotonic())
    await asyncio.gather(*(work() for _ in range(16)), return_exceptions=True)
    print(" ".join(f"{at:.4f}" for at in times))

asyncio.run(main())
"""


def request(user: str = "ann", max_tokens: int = 100) -> Request:
    body = {"messages": [{"role": "user", "content": "Is this review positive? " * 8}], "max_tokens": max_tokens}
    return Request("chat", "llm/v1/chat", body, Caller(user), "s")


def endpoint(*limits: RateLimit) -> Endpoint:
    return Endpoint("chat", "e", "llm/v1/chat", (), "f", aiq_rate_limits=limits)


async def admission_us(settings: Settings, unit: str, rows: int) -> float:
    """Microseconds a row, the median of some rounds."""
    limits = (RateLimit(2 * 10**9, unit=unit), RateLimit(10**9, "user", unit=unit))  # type: ignore[arg-type]
    asked, usage, rounds = request(), Usage(50, 20), []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as home:
            book = open_book(settings, Path(home))
            limiter = RateLimiter(endpoint(*limits), time.monotonic, book=book)
            for _ in range(1000):  # leases grow with what is used
                limiter.settle(limiter.try_acquire(asked) or await limiter.acquire(asked), usage, None)
            started = time.perf_counter()
            for _ in range(rows):
                limiter.settle(limiter.try_acquire(asked) or await limiter.acquire(asked), usage, None)
            rounds.append((time.perf_counter() - started) / rows * 1e6)
            await book.close()
    return statistics.median(rounds)


async def jain_index(seconds: float) -> float:
    """Of the tokens of two users, one with 50 small requests at work, one with 3 large ones."""
    period_s, served = 0.5, {"ann": 0, "bob": 0}
    limiter = RateLimiter(endpoint(RateLimit(20_000, unit="tokens", period_s=period_s)), time.monotonic)  # type: ignore[arg-type]
    end, rng = time.monotonic() + seconds, random.Random(1)

    async def work(user: str, tokens: int) -> None:
        while time.monotonic() < end:
            asked = request(user, rng.randint(tokens // 2, tokens))
            grant = await limiter.acquire(asked)
            served[user] += grant.charges[0][2]
            await asyncio.sleep(0)

    await asyncio.gather(*[work("ann", 100) for _ in range(50)], *[work("bob", 2000) for _ in range(3)])
    shares = list(served.values())
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))


def utilisation(amount: int, period_s: float, periods: int, count: int = 4) -> tuple[float, float]:
    """Of processes on one home: the part of the limit that was used, and the most in any period by the limit."""
    with tempfile.TemporaryDirectory() as home:
        words = [sys.executable, "-c", WORKER, home, str(amount), str(period_s), str(period_s * periods)]
        workers = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(count)]
        times = sorted(float(at) for worker in workers for at in worker.communicate()[0].split())
    full = (len(times) - 1) // amount  # the limit was used up so often, and the next one came in the period after
    used = full * period_s / (times[full * amount] - times[0])
    most, start = 0, 0
    for number, at in enumerate(times):
        while times[start] <= at - period_s + JITTER_S:
            start += 1
        most = max(most, number - start + 1)
    return used, most / amount


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--redis", help="redis://host:port/0 of a server that may be filled")
    arguments = parser.parse_args()
    stores: dict[str, Settings] = {"memory": Settings(limits_store="memory"), "file": Settings()}
    if arguments.redis:
        stores["redis"] = Settings(limits_store="redis", limits_redis_url=arguments.redis)
    print("| admission, us a row | calls | tokens |\n|---|---|---|")
    for name, settings in stores.items():
        figures = [asyncio.run(admission_us(settings, unit, arguments.rows)) for unit in ("calls", "tokens")]
        print(f"| {name} | {figures[0]:.2f} | {figures[1]:.2f} |")
    print(f"\nFairness of two users with unequal load (Jain index): {asyncio.run(jain_index(5.0)):.4f}")
    print("\n| 4 processes, one home | used of the limit | most in any period |\n|---|---|---|")
    measured: list[tuple[str, Callable[[], tuple[float, float]]]] = [
        ("100 in 2 s", lambda: utilisation(100, 2.0, 4)),
        ("5,000 in 2 s", lambda: utilisation(5000, 2.0, 4)),
    ]
    for name, measure in measured:
        used, most = measure()
        print(f"| {name} | {used:.1%} | {most:.1%} |")


if __name__ == "__main__":
    main()
