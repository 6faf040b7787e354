"""A gate before Anthropic's three buckets, as the simulator counts and tells them: used, and hardly anybody is refused.

The algorithm is the simulator's own, headers and all, of which remaining tokens are rounded to thousands and resets to
seconds; time is virtual.
"""

from __future__ import annotations

import asyncio
import math
import random
from typing import Any

import pytest

from aiq.config.connections import KeyConfig, Secret
from aiq.policy.concurrency import Gate
from aiq.providers import adapter_for
from aiq.simulator.exchange import Counts, VendorRequest
from aiq.simulator.limits import ThreeBuckets
from aiq.simulator.profile import Quota
from aiq.simulator.refusal import OverQuota

EPOCH = 1_800_000_000.0


class Claude:
    """A simulated quota, and more requests than it allows."""

    def __init__(self, make: Any, quota: Quota, *, latency_s: float = 1.0, processes: int = 1) -> None:
        self.make, self.time, self.latency_s = make, make.time(), latency_s
        self.limits, self.rng = ThreeBuckets(quota, self.time.now), random.Random(0)
        self.gates = [Gate(512 // processes, self.time.clock, self.time.sleep) for _ in range(processes)]
        config = KeyConfig(Secret("k", "test"), "https://claude.test")
        self.adapter = adapter_for(make.entity(provider="anthropic", config=config), lambda: EPOCH + self.time.now)
        self.admitted = self.refused = self.input = self.output = 0

    def keep_busy(self, seconds: float, *, most: int = 1000, answer: int = 60, cached: float = 0.0) -> None:
        """Prompts of up to 500 tokens (`cached` of them for nothing), answers of about `answer` of `most` allowed."""

        async def work() -> None:
            gates = [self.gates[number % len(self.gates)] for number in range(600)]
            tasks = [asyncio.create_task(self._busy(gate, most, answer, cached)) for gate in gates]
            await self.time.sleep(seconds)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self.time.run(work())

    async def _busy(self, gate: Gate, most: int, answer: int, cached: float) -> None:
        rng, time = self.rng, self.time
        while True:
            request = self.make.request(text="x" * rng.randint(1, 2000))
            request.body["max_tokens"] = most
            tokens = len(request.body["messages"][0]["content"]) // 4 + 3
            slot = await gate.acquire(request=request)
            assert slot is not None
            sent, error, counts = time.now, None, None
            asked = VendorRequest("chat", "claude", {}, tokens, cached_tokens=int(cached * tokens))
            try:
                await time.sleep(rng.uniform(0.005, 0.03))
                try:
                    lines = self.limits.admit(asked, time.now, EPOCH + time.now)
                    self.admitted += 1
                    self.input += tokens - asked.cached_tokens
                    await time.sleep(rng.lognormvariate(math.log(self.latency_s), 0.5))
                    counts = Counts(tokens, min(most, 1 + int(rng.expovariate(1 / answer))))
                    self.output += counts.output
                    self.limits.settle(asked, counts, time.now)
                except OverQuota as refusal:
                    self.refused += 1
                    lines = refusal.headers
                    error = self.make.error("rate_limited", 429, retry_after_s=refusal.retry_s)
                headers = dict(line.split(": ", 1) for line in lines.decode().split("\r\n") if line)
                response = self.make.response(b"", **headers)
                stated = self.adapter.stated_limits(response)
                lacking = gate.learn(slot, request, stated, refused=error is not None)
            except BaseException as failure:
                gate.settle(slot, None)
                gate.release(sent, failure)
                raise
            gate.settle(slot, None if counts is None else counts.output)
            gate.release(sent, error, lacking=lacking)

    def shares(self, seconds: float, **limits: int) -> tuple[float, float]:
        """What was used of the one that binds, and what was refused."""
        [(unit, limit)] = limits.items()
        return getattr(self, unit) / (limit * (1 + seconds / 60)), self.refused / (self.admitted + self.refused)


@pytest.mark.parametrize("latency_s", [0.2, 4.0])
def test_requests_are_paced(make: Any, latency_s: float) -> None:
    claude = Claude(make, Quota(rpm=600, itpm=10_000_000, otpm=10_000_000), latency_s=latency_s)
    claude.keep_busy(90.0)
    used, refused = claude.shares(90.0, admitted=600)
    assert used >= 0.95 and refused <= 0.005, (used, refused)


@pytest.mark.parametrize("latency_s", [0.2, 4.0])
def test_input_is_paced(make: Any, latency_s: float) -> None:
    claude = Claude(make, Quota(rpm=60_000, itpm=200_000, otpm=10_000_000), latency_s=latency_s)
    claude.keep_busy(90.0, most=4096)
    used, refused = claude.shares(90.0, input=200_000)
    assert used >= 0.95 and refused <= 0.005, (used, refused)


@pytest.mark.parametrize("latency_s", [0.2, 4.0])
@pytest.mark.parametrize(("most", "answer"), [(100, 60), (4096, 60), (1000, 500)])
def test_output_is_paced_though_answers_are_shorter_than_they_may_be(
    make: Any, latency_s: float, most: int, answer: int
) -> None:
    claude = Claude(make, Quota(rpm=60_000, itpm=10_000_000, otpm=80_000), latency_s=latency_s)
    claude.keep_busy(90.0, most=most, answer=answer)
    used, refused = claude.shares(90.0, output=80_000)
    assert used >= 0.95 and refused <= 0.005, (used, refused)


def test_input_that_is_read_from_the_cache_leaves_room_for_more(make: Any) -> None:
    claude = Claude(make, Quota(rpm=60_000, itpm=40_000, otpm=10_000_000))
    claude.keep_busy(120.0, cached=0.9)
    used, refused = claude.shares(120.0, input=40_000)
    assert used >= 0.95 and refused <= 0.005, (used, refused)


@pytest.mark.parametrize("unit", ["admitted", "input", "output"])
def test_processes_that_share_a_key_share_each_bucket(make: Any, unit: str) -> None:
    limits = {"admitted": 600_000, "input": 10_000_000, "output": 10_000_000} | {
        unit: {"admitted": 600, "input": 200_000, "output": 80_000}[unit]
    }
    quota = Quota(rpm=limits["admitted"], itpm=limits["input"], otpm=limits["output"])
    claude = Claude(make, quota, processes=3)
    claude.keep_busy(120.0)
    used, refused = claude.shares(120.0, **{unit: limits[unit]})
    assert used >= 0.95 and refused <= 0.02, (used, refused)
