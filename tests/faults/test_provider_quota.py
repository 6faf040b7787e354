"""A provider's quota, real in a process of its own: used nearly whole, hardly ever refused, and in nobody's way.

The bucket is emptied first, so that a few seconds show the pace at which it refills.
"""

from __future__ import annotations

import asyncio
import bisect
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aiq.config.connections import OpenAIConfig, Secret
from aiq.config.endpoint import Config, Endpoint, ServedEntity, Settings
from aiq.errors import ProviderError
from aiq.gateway import Gateway
from aiq.ledger.ledger import Ledger
from aiq.request import Answer, Caller, Request
from aiq.simulator.process import SimulatorProcess
from aiq.simulator.profile import Latency, Profile, Quota

RPM, TPM, MAX_TOKENS = 1200, 1_200_000, 1000
SECONDS = 2.5
SETTLING_S = 0.5
"""What refills while the burst is sent is used first."""
BURST = {"requests": RPM, "tokens": TPM // MAX_TOKENS}
A_SECOND = {unit: number / 60 for unit, number in BURST.items()}

Attempts = Sequence[dict[str, Any]]


@pytest.fixture(scope="module")
def provider() -> Iterator[SimulatorProcess]:
    """Limits the requests of model `requests`, the tokens of `tokens`, and gives `little` six a minute."""
    quotas = (
        Quota(rpm=RPM, models=("requests",)),
        Quota(tpm=TPM, models=("tokens",)),
        Quota(rpm=6, models=("little",)),
    )
    with SimulatorProcess.start(Profile(quotas=quotas, latency=Latency(median_ms=50, sigma=0.5))) as process:
        yield process


Opened = Callable[..., Any]


@pytest.fixture
def opened(provider: SimulatorProcess, ledger: Ledger) -> Opened:
    """`async with opened("requests") as gateway`: an endpoint of these models, the first with all traffic."""
    provider.reset()

    @asynccontextmanager
    async def build(*models: str) -> AsyncIterator[Gateway]:
        config = OpenAIConfig(api_key=Secret("sk-test", "test"), api_base=f"{provider.url}/v1")
        entities = tuple(
            ServedEntity(f"id-{model}", model, "openai", model, "llm/v1/chat", config, 0 if number else 100)
            for number, model in enumerate(models)
        )
        endpoint = Endpoint("chat", "e", "llm/v1/chat", entities, "f", fallback=len(models) > 1)
        gateway = Gateway(Config("conf", Settings(limits_store="memory"), {"chat": endpoint}), ledger)
        gateway.open_endpoint("chat")
        try:
            yield gateway
        finally:
            await gateway.close()

    return build


def ask(number: int, **changes: Any) -> Request:
    body = {"messages": [{"role": "user", "content": f"Row {number}"}], "max_tokens": MAX_TOKENS}
    return Request("chat", "llm/v1/chat", body, Caller("ann"), "s")._replace(**changes)


async def keep_busy(gateway: Gateway, burst: int) -> None:
    """Asks for more than is allowed, until twice as long as is looked at after the burst of a full bucket.

    What fails ends it with its error.
    """
    numbers, answered = iter(range(1_000_000)), 0
    drained = asyncio.Event()

    async def work() -> None:
        nonlocal answered
        for number in numbers:
            await gateway.answer(ask(number))
            answered += 1
            if answered >= burst:
                drained.set()

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work()) for _ in range(96)]
        await drained.wait()
        await asyncio.sleep(SETTLING_S + 2 * SECONDS)
        for task in tasks:
            task.cancel()


def most_in_any(seconds: float, times_ms: Sequence[float]) -> int:
    """The most of these in any interval of this length: one in which this machine held nothing up."""
    return max(bisect.bisect_left(times_ms, at + seconds * 1000) - number for number, at in enumerate(times_ms))


@pytest.mark.parametrize("unit", ["requests", "tokens"])
def test_a_quota_is_used_as_it_refills_and_hardly_anybody_is_refused(
    opened: Opened, provider: SimulatorProcess, unit: str
) -> None:
    async def run() -> None:
        async with opened(unit) as gateway:
            await keep_busy(gateway, BURST[unit])

    asyncio.run(run())
    attempts = provider.attempts()
    admitted = [attempt["at_ms"] for attempt in attempts if attempt["status"] != 429]
    start = admitted[BURST[unit] - 1]  # the bucket has been used up but for what refilled meanwhile
    used = most_in_any(SECONDS, [at for at in admitted if at > start + SETTLING_S * 1000])
    assert used >= 0.97 * A_SECOND[unit] * SECONDS
    assert len(attempts) - len(admitted) <= 0.01 * len(attempts)


def test_rows_go_to_the_next_entity_rather_than_wait_long_for_quota(opened: Opened, provider: SimulatorProcess) -> None:
    async def run() -> list[Answer]:
        async with opened("little", "requests") as gateway:
            await gateway.answer(ask(0))
            return list(await asyncio.gather(*(gateway.answer(ask(number)) for number in range(1, 51))))

    answers = asyncio.run(run())
    by_model = provider.stats()["by_model"]
    assert len(answers) == 50
    assert (by_model["little"]["ok"], by_model["little"]["errors"]) == (6, 0)
    assert by_model["requests"]["ok"] == 45


def test_somebody_who_waits_in_person_is_told_when_there_is_quota_again(opened: Opened) -> None:
    async def run() -> ProviderError:
        async with opened("little") as gateway:
            for number in range(6):
                await gateway.answer(ask(number))
            with pytest.raises(ProviderError) as caught:
                await gateway.answer(ask(6, interactive=True))
            return caught.value

    error = asyncio.run(run())
    assert error.status == 429
    assert error.retry_after_s is not None and 0 < error.retry_after_s <= 10.5
    assert "quota" in error.reason


def test_a_row_is_not_kept_waiting_for_quota_beyond_its_deadline(opened: Opened, provider: SimulatorProcess) -> None:
    async def run() -> ProviderError:
        async with opened("little") as gateway:
            for number in range(6):
                await gateway.answer(ask(number))
            with pytest.raises(ProviderError) as caught:
                await gateway.answer(ask(6, deadline_s=time.monotonic() + 2.0))
            return caught.value

    assert asyncio.run(run()).status == 429
    assert provider.stats()["over_quota"] == 0


def test_a_stream_teaches_the_quota_with_its_headers(opened: Opened, provider: SimulatorProcess) -> None:
    async def run() -> ProviderError:
        async with opened("little") as gateway:
            for number in range(6):
                async for _ in gateway.stream(ask(number)):
                    pass
            with pytest.raises(ProviderError) as caught:
                async for _ in gateway.stream(ask(6, interactive=True)):
                    pass
            return caught.value

    assert asyncio.run(run()).status == 429
    assert provider.stats()["over_quota"] == 0
