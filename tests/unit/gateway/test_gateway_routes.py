"""A changed configuration opens what it changes, and closes a transport that nothing uses any more."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import Any

import pytest

from aiq.config.connections import OpenAIConfig, Secret
from aiq.config.endpoint import Config, Settings
from aiq.errors import SecretError
from aiq.gateway import Gateway
from aiq.ledger.ledger import Ledger


@pytest.fixture
def time(make: Any) -> Any:
    return make.time()


class Bench:
    """A gateway over a scripted transport, whose configuration `change` replaces."""

    def __init__(self, make: Any, time: Any, ledger: Ledger, *replies: Any) -> None:
        self.config = Config("conf", Settings(), {"chat": make.endpoint()})
        self._changed: list[Config] = []
        self.transport = make.transport(*replies)
        self.gateway = Gateway(
            self.config,
            ledger,
            transport=self.transport,
            clock=time.clock,
            sleep=time.sleep,
            rng=random.Random(1),
            reload=lambda: self._changed.pop() if self._changed else None,
        )
        self.gateway.open_endpoint("chat")

    def change(self, **values: Any) -> None:
        """New values of the configuration, in force when it returns."""
        self.config = replace(self.config, **values)
        self._changed.append(self.config)
        self.gateway.refresh()


def keyed(make: Any, key: Secret) -> Any:
    return make.endpoint(make.entity(config=OpenAIConfig(api_key=key, api_base="https://main.test/v1")))


def test_a_replaced_transport_is_closed_when_its_last_request_has_ended(make: Any, time: Any, ledger: Ledger) -> None:
    async def slow() -> Any:
        await time.sleep(60)
        return make.chat_answer()

    bench = Bench(make, time, ledger, lambda _: slow())

    async def work() -> list[bool]:
        requests = [asyncio.ensure_future(bench.gateway.answer(make.request())) for _ in range(2)]
        await time.settle()
        bench.change(settings=Settings(connect_timeout_s=1.0))
        requests[0].cancel()
        await time.settle()
        seen = [bench.transport.closed]
        await requests[1]
        await time.settle()
        seen.append(bench.transport.closed)
        await bench.gateway.close()
        return seen

    assert time.run(work()) == [False, True]
    assert bench.gateway.routes.transport is not bench.transport


def test_a_transport_that_no_request_used_is_closed_by_the_next(make: Any, time: Any, ledger: Ledger) -> None:
    bench = Bench(make, time, ledger, make.chat_answer())
    bench.change(settings=Settings(connect_timeout_s=1.0))
    bench.gateway.routes["chat"].connections.transport = make.transport(make.chat_answer())

    async def work() -> None:
        await bench.gateway.answer(make.request())
        await bench.gateway.close()

    time.run(work())
    assert bench.transport.closed


def test_a_route_that_cannot_be_opened_again_keeps_its_transport(make: Any, time: Any, ledger: Ledger) -> None:
    bench = Bench(make, time, ledger, make.chat_answer())

    def lost() -> str:
        raise SecretError("secret openai/api_key was not found")

    endpoints = {"chat": keyed(make, Secret(lost, "secrets/openai/api_key"))}
    with pytest.warns(UserWarning, match="served as before"):
        bench.change(settings=Settings(connect_timeout_s=1.0), endpoints=endpoints)

    async def work() -> bool:
        await bench.gateway.answer(make.request())
        await time.settle()
        return bench.transport.closed

    assert time.run(work()) is False
    assert len(bench.transport.sent) == 1


def test_a_key_that_is_replaced_signs_the_next_request(make: Any, time: Any, ledger: Ledger) -> None:
    bench = Bench(make, time, ledger, make.chat_answer())
    for value in ("one", "two"):
        bench.change(endpoints={"chat": keyed(make, Secret(value, "plaintext"))})
        time.run(bench.gateway.answer(make.request()))
    assert [dict(sent.headers)["authorization"] for sent in bench.transport.sent] == ["Bearer one", "Bearer two"]


def test_an_endpoint_that_did_not_change_keeps_what_it_has_learnt(make: Any, time: Any, ledger: Ledger) -> None:
    bench = Bench(make, time, ledger, make.chat_answer())
    route = bench.gateway.routes["chat"]
    settings = Settings(storage_options={"secret": Secret("s3", "plaintext")})
    bench.change(settings=settings)
    assert bench.gateway.routes["chat"] is not route
    route = bench.gateway.routes["chat"]
    endpoints = {"chat": make.endpoint(), "other": make.endpoint(name="other")}
    bench.change(settings=replace(settings, storage_options={"secret": Secret("s3", "plaintext")}), endpoints=endpoints)
    assert bench.gateway.routes["chat"] is route
