"""Guards that ask an endpoint, before a transport in a virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aiq.config.endpoint import Config, EndpointSettings, Guardrails, Settings, SideGuardrails
from aiq.errors import GuardrailBlocked
from aiq.gateway import Gateway
from aiq.ledger.ledger import Ledger

TIMEOUT_S = 10.0
ROWS = 5


class Slow:
    """A transport whose judge takes its time, and whose other models answer at once."""

    def __init__(self, time: Any, make: Any, judge_s: float) -> None:
        self._time, self._make, self._judge_s = time, make, judge_s

    async def send(self, request: Any, timeout_s: float) -> Any:
        if "judge.test" not in request.url:
            return self._make.chat_answer()
        if self._judge_s > timeout_s:
            await self._time.sleep(timeout_s)
            raise self._make.error("timeout", 504)
        await self._time.sleep(self._judge_s)
        return self._make.chat_answer('{"decision": "proceed"}')

    async def close(self) -> None:
        pass


@pytest.mark.parametrize(("judge_s", "blocked"), [(6.0, 0), (11.0, ROWS)])
def test_the_time_of_a_guard_is_that_of_its_call_and_not_of_its_queue(
    make: Any, ledger: Ledger, judge_s: float, blocked: int
) -> None:
    time = make.time()
    guards = Guardrails(input=SideGuardrails(custom=("judge",)), timeout_s=TIMEOUT_S)
    chat = make.endpoint(make.entity("a"), guardrails=guards)
    judge = make.endpoint(make.entity("judge"), name="judge")
    settings = Settings(limits_store="memory", retries=0, endpoints={"judge": EndpointSettings(concurrency=1)})
    built = Gateway(
        Config("conf", settings, {"chat": chat, "judge": judge}),
        ledger,
        transport=Slow(time, make, judge_s),  # type: ignore[arg-type]
        clock=time.clock,
        sleep=time.sleep,
    )
    built.open_endpoint("chat")

    async def ask() -> int:
        asked = (built.answer(make.request()) for _ in range(ROWS))
        return sum(isinstance(each, GuardrailBlocked) for each in await asyncio.gather(*asked, return_exceptions=True))

    assert time.run(ask()) == blocked
