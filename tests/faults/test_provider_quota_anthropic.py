"""Anthropic's quota, real in a process of its own: each bucket is used as it refills, and hardly anybody is refused.

The bucket is emptied first, so that a few seconds show the pace at which it refills.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiq.config.connections import KeyConfig, Secret
from aiq.config.endpoint import Config, Endpoint, ServedEntity, Settings
from aiq.gateway import Gateway
from aiq.ledger.ledger import Ledger
from aiq.request import Caller, Request
from aiq.simulator.process import SimulatorProcess
from aiq.simulator.profile import Latency, Profile, Quota

LIMITS = {"requests": 600, "input": 60_000, "output": 60_000}
WORDS = "The quick brown fox jumps over a lazy dog while many curious travellers watch it from beneath the shady trees "
SECONDS = 2.5
SETTLING_S = 0.5
"""What refills while the burst is sent is used first."""


@pytest.fixture(scope="module")
def provider() -> Iterator[SimulatorProcess]:
    quotas = (
        Quota(rpm=LIMITS["requests"], models=("requests",)),
        Quota(itpm=LIMITS["input"], models=("input",)),
        Quota(otpm=LIMITS["output"], models=("output",)),
    )
    with SimulatorProcess.start(Profile(quotas=quotas, latency=Latency(median_ms=50, sigma=0.5))) as process:
        yield process


@pytest.mark.parametrize("unit", list(LIMITS))
def test_a_bucket_is_used_as_it_refills_and_hardly_anybody_is_refused(
    provider: SimulatorProcess, tmp_path: Path, unit: str
) -> None:
    provider.reset()
    config = KeyConfig(Secret("sk-ant-test", "test"), provider.url)
    entity = ServedEntity("id", "main", "anthropic", unit, "llm/v1/chat", config)
    endpoint = Endpoint("chat", "e", "llm/v1/chat", (entity,), "f")
    conf = Config("conf", Settings(limits_store="memory"), {"chat": endpoint})
    numbers, drained, ended, used = iter(range(1_000_000)), asyncio.Event(), asyncio.Event(), 0

    async def work(gateway: Gateway) -> None:
        nonlocal used
        for number in numbers:
            if ended.is_set():  # An answer that comes as its task is cancelled may win.
                return
            text = f"Number {number}: {WORDS * (4 if unit == 'input' else 1)}"
            body = {"messages": [{"role": "user", "content": text}], "max_tokens": 1000}
            usage = (await gateway.answer(Request("chat", "llm/v1/chat", body, Caller("ann"), "s"))).usage
            used += {"requests": 1, "input": usage.input_tokens, "output": usage.output_tokens}[unit]
            if used >= LIMITS[unit]:
                drained.set()

    async def run() -> None:
        gateway = Gateway(conf, ledger)
        gateway.open_endpoint("chat")
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work(gateway)) for _ in range(64)]
            await drained.wait()
            await asyncio.sleep(SETTLING_S + 2 * SECONDS)
            ended.set()
            for task in tasks:
                task.cancel()
        await gateway.close()

    ledger = Ledger.open(tmp_path / "home")
    try:
        asyncio.run(run())
    finally:
        ledger.close()
    attempts = provider.attempts()
    amount = {
        "requests": lambda a: 1,
        "input": lambda a: a["prompt_tokens"],
        "output": lambda a: a["completion_tokens"],
    }
    ends, taken = 0, 0
    while taken < LIMITS[unit]:
        taken += amount[unit](attempts[ends])
        ends += 1
    start = attempts[ends - 1]["at_ms"] + SETTLING_S * 1000
    later = [(a["at_ms"], amount[unit](a)) for a in attempts[ends:] if a["at_ms"] > start]
    # In any interval of this length: one in which this machine held nothing up.
    most = max(sum(taken for at, taken in later if first <= at < first + SECONDS * 1000) for first, _ in later)
    assert most >= 0.9 * SECONDS * LIMITS[unit] / 60
    assert sum(a["status"] == 429 for a in attempts) <= 0.01 * len(attempts)
