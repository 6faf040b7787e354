"""What unit tests share: a time that passes only when everybody sleeps, endpoints, and a transport with a script."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

import orjson
import pytest

from aiq.config.connections import OpenAIConfig, Secret
from aiq.config.endpoint import Endpoint, RateLimit, ServedEntity
from aiq.errors import ProviderError
from aiq.providers.base import HttpRequest, HttpResponse
from aiq.request import Caller, Request, Task

T = TypeVar("T")


class VirtualTime:
    """A clock and a sleep. When nothing can run any more, the clock jumps to the end of the shortest sleep."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.slept: list[float] = []
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        wake = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._order), wake))
        await wake

    async def settle(self) -> None:
        """Lets all others run until they wait for something."""
        for _ in range(30):
            await asyncio.sleep(0)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs to the end. Fails where everybody waits for something that never comes."""
        return asyncio.run(self._drive(work))

    async def _drive(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.ensure_future(work)
        try:
            while True:
                await asyncio.sleep(0)
                while asyncio.get_running_loop()._ready:  # type: ignore[attr-defined]
                    await asyncio.sleep(0)
                if task.done():
                    return task.result()
                while self._sleepers and self._sleepers[0][2].done():
                    heapq.heappop(self._sleepers)
                assert self._sleepers, "everybody waits, and nobody will ever wake them"
                end, _, wake = heapq.heappop(self._sleepers)
                self.now = max(self.now, end)  # a test may have moved it on
                wake.set_result(None)
        finally:
            task.cancel()


class Clock:
    """UTC seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


class ScriptedTransport:
    """Answers what a test says: a response, an exception, or a function of the request, in turn; the last for ever."""

    def __init__(self, *replies: Any) -> None:
        self.replies, self.sent, self.closed = list(replies), list[HttpRequest](), False

    async def send(self, request: HttpRequest, timeout_s: float) -> HttpResponse:
        self.sent.append(request)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if callable(reply) and not isinstance(reply, HttpResponse):
            reply = reply(request)
        if asyncio.iscoroutine(reply):
            reply = await reply
        if isinstance(reply, BaseException):
            raise reply
        assert isinstance(reply, HttpResponse)
        return reply

    async def close(self) -> None:
        self.closed = True


def response(body: object = b"", status: int = 200, **headers: str) -> HttpResponse:
    """`body` is bytes, or anything that becomes JSON. `retry_after="1"` is the header retry-after."""
    lookup = {name.replace("_", "-"): value for name, value in headers.items()}
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return HttpResponse(status, lambda name: lookup.get(name.lower()), content)


def chat_answer(text: str | None = "Hello.", *, model: str = "gpt-4o-mini-2024", **changes: Any) -> HttpResponse:
    """A usual chat completion; `changes` replace its top-level fields."""
    return response(
        {
            "model": model,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
            **changes,
        }
    )


def failure(status: int, code: str | None = None, message: str = "no", **headers: str) -> HttpResponse:
    """An error as OpenAI words it."""
    return response({"error": {"message": message, "type": "t", "param": None, "code": code}}, status, **headers)


def entity(name: str = "main", traffic: int = 100, **changes: Any) -> ServedEntity:
    values: dict[str, Any] = {
        "id": f"id-{name}",
        "provider": "openai",
        "model": "gpt-4o-mini",
        "task": "llm/v1/chat",
        "config": OpenAIConfig(api_key=Secret("sk-secret", "test"), api_base=f"https://{name}.test/v1"),
    }
    return ServedEntity(name=name, traffic_percentage=traffic, **{**values, **changes})


def endpoint(*entities: ServedEntity, limits: Iterable[RateLimit] = (), **changes: Any) -> Endpoint:
    served = entities or (entity(),)
    values: dict[str, Any] = {"name": "chat", "id": "e-1", "task": served[0].task, "fingerprint": "f"}
    return Endpoint(entities=served, rate_limits=tuple(limits), **{**values, **changes})


def request(user: str = "ann", text: str = "Hi", *, task: Task = "llm/v1/chat", **changes: Any) -> Request:
    body = {"messages": [{"role": "user", "content": text}]}
    values: dict[str, Any] = {"endpoint": "chat", "body": body, "caller": Caller(user), "statement_id": "st-1"}
    return Request(task=task, **{**values, **changes})


def provider_error(kind: Any, status: int = 503, *, retry_after_s: float | None = None) -> ProviderError:
    return ProviderError("no", kind=kind, status=status, retry_after_s=retry_after_s)


class Make:
    """What tests build, under one name."""

    time = VirtualTime
    transport = ScriptedTransport
    response = staticmethod(response)
    chat_answer = staticmethod(chat_answer)
    failure = staticmethod(failure)
    entity = staticmethod(entity)
    endpoint = staticmethod(endpoint)
    request = staticmethod(request)
    error: Callable[..., ProviderError] = staticmethod(provider_error)


@pytest.fixture(scope="session")
def make() -> type[Make]:
    return Make
