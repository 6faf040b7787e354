"""Access tokens: one request for all who wait, renewed in time, and again when the provider takes it no longer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from aiq.errors import ProviderError
from aiq.gateway.access_token import AccessToken
from aiq.providers.base import CloudToken, HttpRequest, HttpResponse


class Granting:
    """An adapter and a transport in one: grants tokens of a life, or fails as it is told."""

    def __init__(self, life_s: float = 3600.0) -> None:
        self.life_s, self.asked = life_s, 0
        self.failure: ProviderError | None = None
        self.wait: Callable[[], asyncio.Future[None]] | None = None

    def token_request(self) -> HttpRequest:
        return HttpRequest("http://token.test", [], b"")

    def take_token(self, response: HttpResponse) -> float:
        return self.life_s

    async def send(self, request: HttpRequest, timeout_s: float) -> HttpResponse:
        self.asked += 1
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        return HttpResponse(200, lambda name: None, b"{}")


@pytest.fixture
def time(make):
    return make.time()


def test_a_token_is_got_once_for_all_who_wait(time):
    adapter = Granting()
    token = AccessToken(adapter, time.clock)

    async def work():
        await asyncio.gather(*(token.renew(adapter) for _ in range(50)))

    assert token.due
    asyncio.run(work())
    assert adapter.asked == 1 and not token.due


@pytest.mark.parametrize(("life_s", "renewed_after_s"), [(3600, 3300), (400, 200), (60, 30)])
def test_a_token_is_renewed_before_it_ends(time, life_s, renewed_after_s):
    adapter = Granting(life_s)
    token = AccessToken(adapter, time.clock)
    asyncio.run(token.renew(adapter))
    time.now += renewed_after_s - 1
    assert not token.due
    time.now += 1
    assert token.due


def test_a_refused_token_is_asked_for_again_unless_it_is_new(time):
    adapter = Granting()
    token = AccessToken(adapter, time.clock)
    asyncio.run(token.renew(adapter))
    assert not token.refused(token.number) and not token.due
    time.now += 60
    assert token.refused(token.number) and token.due


def test_a_token_that_is_refused_when_there_is_a_newer_one_costs_no_other(time):
    adapter = Granting()
    token = AccessToken(adapter, time.clock)
    asyncio.run(token.renew(adapter))
    old = token.number
    asyncio.run(token.renew(adapter))
    assert token.refused(old) and not token.due and adapter.asked == 2


def test_a_failure_to_get_one_is_everybodys_who_waits_and_not_remembered(time, make):
    adapter = Granting()
    adapter.failure = make.error("auth", 401)
    token = AccessToken(adapter, time.clock)

    async def work():
        return await asyncio.gather(*(token.renew(adapter) for _ in range(3)), return_exceptions=True)

    errors = asyncio.run(work())
    assert all(isinstance(error, ProviderError) and "no access token was granted" in error.reason for error in errors)
    adapter.failure = None
    asyncio.run(token.renew(adapter))
    assert adapter.asked == 2 and not token.due


def test_who_gives_up_waiting_does_not_take_the_token_from_the_others(time):
    adapter = Granting()
    token = AccessToken(adapter, time.clock)

    async def work():
        first, second = (asyncio.ensure_future(token.renew(adapter)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await second

    asyncio.run(work())
    assert adapter.asked == 1 and not token.due


def test_a_clouds_sdk_is_asked_once_for_all_who_wait_and_not_on_the_event_loop(time):
    taken, threads = [], []

    class Adapter(Granting):
        def take_cloud_token(self, grant):
            taken.append(grant.token)

    def source():
        threads.append(threading.get_ident())
        return CloudToken(f"token-{len(threads)}", 1200.0)

    adapter = Adapter()
    token = AccessToken(adapter, time.clock, source)

    async def work():
        await asyncio.gather(*(token.renew(adapter) for _ in range(50)))

    asyncio.run(work())
    time.now += 899
    assert taken == ["token-1"] and threads[0] != threading.get_ident() and not token.due
    time.now += 1
    assert token.due
    asyncio.run(token.renew(adapter))
    assert taken == ["token-1", "token-2"] and adapter.asked == 0


def test_a_grant_does_not_show_what_is_secret():
    assert "hidden" not in repr(CloudToken("hidden-token", 5.0, "hidden-id", "hidden-secret"))


def test_a_renewal_that_fails_leaves_the_token_that_is_still_good(time):
    adapter = Granting()
    token = AccessToken(adapter, time.clock)
    asyncio.run(token.renew(adapter))
    adapter.failure = ProviderError("down", kind="network", status=503)
    time.now += 3300
    asyncio.run(token.renew(adapter))
    assert not token.due and token.number == 1
    time.now += 10
    assert token.due  # and is asked for again
    time.now += 285
    with pytest.raises(ProviderError, match="down"):  # it is over by now, or nearly
        asyncio.run(token.renew(adapter))


def test_what_a_clouds_sdk_was_denied_is_denied_to_the_next_requests_too(time):
    asked = []

    def source():
        asked.append(1)
        raise ProviderError("no role", kind="auth", status=403)

    adapter = Granting()
    token = AccessToken(adapter, time.clock, source)
    for _ in range(20):
        with pytest.raises(ProviderError, match="no role"):
            asyncio.run(token.renew(adapter))
    assert len(asked) == 1
    time.now += 5
    with pytest.raises(ProviderError, match="no role"):
        asyncio.run(token.renew(adapter))
    assert len(asked) == 2
