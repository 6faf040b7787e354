"""A batch before a provider that fails a lot, lets little through, is down for a while, or says nothing.

In a virtual time, and counted.

Many rows at once, as a statement sends them; `tests/faults/test_outage.py` tries the same with a real simulator.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aiq.config.endpoint import Config, Settings
from aiq.errors import ProviderError
from aiq.gateway import Gateway
from aiq.ledger.ledger import Ledger
from aiq.policy.breaker import LONGEST_PAUSE_S, OPENS_AFTER, OPENS_AT_ATTEMPT

AT_ONCE = 64
LATENCY_S = 0.1


class Provider:
    """A transport: `reply(host, prompt)` says what an attempt gets, after a tenth of a second; None is silence."""

    def __init__(self, time: Any, reply: Callable[[str, str], Any]) -> None:
        self._time, self._reply = time, reply
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.prompts: Counter[str] = Counter()
        self.in_flight = self.most_in_flight = 0

    async def send(self, request: Any, timeout_s: float) -> Any:
        host, prompt = request.url.split("/")[2].removesuffix(".test"), request.body.decode()
        self.asked[host] += 1
        self.prompts[prompt] += 1
        reply = self._reply(host, prompt)
        self.in_flight += 1
        self.most_in_flight = max(self.in_flight, self.most_in_flight)
        try:
            if reply is None:
                await self._time.sleep(timeout_s)
                raise ProviderError("no answer", kind="timeout", status=504)
            await self._time.sleep(LATENCY_S)
        finally:
            self.in_flight -= 1
        self.answered[host] += reply.status == 200
        return reply

    async def close(self) -> None:
        pass


class Batch:
    """What became of a batch: seconds and errors, by row."""

    def __init__(self, provider: Provider, seconds: float, errors: dict[int, ProviderError]) -> None:
        self.provider, self.seconds, self.errors = provider, seconds, errors

    @property
    def asked(self) -> int:
        return self.provider.asked["a"]


class Bucket:
    """One request each `every_s` seconds, of which `most` may come together; others are refused with a hint."""

    def __init__(self, time: Any, make: Any, every_s: float, hint_s: float, most: int = 1) -> None:
        self._time, self._make, self._every_s, self._hint_s, self._most = time, make, every_s, hint_s, most
        self._left, self._at = float(most), time.clock()

    def __call__(self, host: str, _: str) -> Any:
        now = self._time.clock()
        self._left = min(self._most, self._left + (now - self._at) / self._every_s)
        self._at = now
        if host != "a":
            return self._make.chat_answer()
        if self._left < 1 - 1e-9:
            return self._make.failure(429, retry_after=str(self._hint_s))
        self._left -= 1
        return self._make.chat_answer()


@pytest.fixture
def time(make: Any) -> Any:
    return make.time()


@pytest.fixture
def batches(make: Any, time: Any, ledger: Ledger) -> Callable[..., list[Batch]]:
    """`batches(reply, rows, ..)`: statements of so many rows one after the other, 64 at once, to `a`; with `fallback`
    also to `b`."""

    def run(reply: Any, *rows: int, fallback: bool = False, interactive: bool = False, **settings: Any) -> list[Batch]:
        entities = (make.entity("a"), make.entity("b", 0)) if fallback else (make.entity("a"),)
        provider = Provider(time, reply)
        built = Gateway(
            Config(
                "conf",
                Settings(limits_store="memory", **settings),
                {"chat": make.endpoint(*entities, fallback=fallback)},
            ),
            ledger,
            transport=provider,  # type: ignore[arg-type]
            clock=time.clock,
            sleep=time.sleep,
            rng=random.Random(7),
        )
        built.open_endpoint("chat")

        async def statement(number: int, count: int) -> Batch:
            errors: dict[int, ProviderError] = {}

            async def work(waiting: Iterator[int]) -> None:
                for row in waiting:
                    asked = make.request(
                        text=f"{number}: row {row}", statement_id=f"st-{number}", interactive=interactive
                    )
                    try:
                        await built.answer(asked)
                    except ProviderError as error:
                        errors[row] = error

            started, waiting = time.clock(), iter(range(count))
            await asyncio.gather(*(work(waiting) for _ in range(min(AT_ONCE, count))))
            return Batch(provider, time.clock() - started, errors)

        async def one_after_the_other() -> list[Batch]:
            return [await statement(number, count) for number, count in enumerate(rows)]

        done: list[Batch] = time.run(one_after_the_other())
        target = built.routes["chat"].targets["a"]
        assert target.gate.in_flight == 0
        assert target.breaker._line == []
        return done

    return run


@pytest.fixture
def batch(batches: Callable[..., list[Batch]]) -> Callable[..., Batch]:
    """One statement."""
    return lambda reply, rows, **how: batches(reply, rows, **how)[0]


@pytest.mark.parametrize("share", [0.25, 0.4, 0.6])
@pytest.mark.parametrize("seed", [1, 2])
def test_where_many_requests_fail_no_row_is_lost_and_few_attempts_are_made(
    make: Any, batch: Callable[..., Batch], share: float, seed: int
) -> None:
    drawn = random.Random(seed)
    done = batch(lambda *_: make.failure(503) if drawn.random() < share else make.chat_answer(), 1500)
    assert done.errors == {}
    assert done.asked <= 1.3 * 1500 / (1 - share)


@pytest.mark.parametrize("refused", [100, 200])
def test_a_provider_that_refuses_so_many_requests_and_comes_back_costs_no_row(
    make: Any, batch: Callable[..., Batch], refused: int
) -> None:
    count = 0

    def reply(*_: str) -> Any:
        nonlocal count
        count += 1
        return make.failure(503) if count <= refused else make.chat_answer()

    done = batch(reply, 1500)
    assert done.errors == {}
    assert done.asked == 1500 + refused


@pytest.mark.parametrize("down_s", [10, 150])
def test_while_a_provider_is_down_one_request_at_a_time_tries_it(
    make: Any, time: Any, batch: Callable[..., Batch], down_s: int
) -> None:
    ends = time.clock() + 1 + down_s
    down = lambda: ends - down_s <= time.clock() < ends  # noqa: E731
    done = batch(lambda *_: make.failure(503) if down() else make.chat_answer(), 1500)
    assert done.errors == {}
    assert done.asked <= 1500 + OPENS_AT_ATTEMPT * AT_ONCE + OPENS_AFTER
    assert time.clock() - ends <= LONGEST_PAUSE_S + 30


def test_after_an_outage_as_many_are_in_flight_as_before(make: Any, time: Any, batch: Callable[..., Batch]) -> None:
    ends, provider_in_flight = time.clock() + 30, []

    def reply(*_: str) -> Any:
        if time.clock() < ends:
            return make.failure(503)
        provider_in_flight.append(time.clock())
        return make.chat_answer()

    done = batch(reply, 1500)
    assert done.errors == {}
    assert provider_in_flight[-1] - provider_in_flight[0] < 1500 * LATENCY_S / 16  # far from one at a time


@pytest.mark.parametrize("status", [503, 429])
def test_a_provider_that_is_down_for_good_is_given_up_with_its_own_words(
    make: Any, batch: Callable[..., Batch], status: int
) -> None:
    done = batch(lambda *_: make.failure(status, message="we are down"), 1500)
    assert len(done.errors) == 1500
    assert done.asked <= 1500 + OPENS_AT_ATTEMPT * AT_ONCE + OPENS_AFTER
    assert set(done.provider.prompts) and len(done.provider.prompts) == 1500  # each row had its own try
    words = str(done.errors[1499])
    assert "we are down" in words
    assert "requests tried it again, one at a time" in words
    assert done.seconds <= 10 * 60


def test_a_statement_after_one_that_was_given_up_has_its_own_patience(
    make: Any, time: Any, batches: Callable[..., list[Batch]]
) -> None:
    ends = time.clock() + 300
    first, second = batches(lambda *_: make.failure(503) if time.clock() < ends else make.chat_answer(), 100, 500)
    assert len(first.errors) == 100
    assert second.errors == {}


def test_rows_that_always_fail_do_not_hold_up_the_next_statement(
    make: Any, batches: Callable[..., list[Batch]]
) -> None:
    bad, good = batches(lambda _, prompt: make.failure(500) if "0: " in prompt else make.chat_answer(), 50, 500)
    assert len(bad.errors) == 50
    assert good.errors == {}
    assert good.seconds <= 10


def test_rows_behind_a_cluster_that_always_fails_are_asked_all_the_same(make: Any, batch: Callable[..., Batch]) -> None:
    done = batch(lambda _, prompt: make.failure(500) if _row(prompt) in range(200, 400) else make.chat_answer(), 1000)
    assert sorted(done.errors) == list(range(200, 400))
    assert max(done.provider.prompts.values()) <= 31


@pytest.mark.parametrize("every", [2, 5, 50])
def test_rows_that_always_fail_among_others_end(make: Any, batch: Callable[..., Batch], every: int) -> None:
    done = batch(lambda _, prompt: make.failure(500) if _row(prompt) % every == 0 else make.chat_answer(), 500)
    assert sorted(done.errors) == list(range(0, 500, every))
    most = {2: 31, 5: 15, 50: 15}[every]
    assert max(done.provider.prompts.values()) <= most


def test_a_silent_provider_is_probed_and_then_given_up(make: Any, batch: Callable[..., Batch]) -> None:
    done = batch(lambda *_: None, 1000, timeout_s=60.0)
    assert len(done.errors) == 1000
    assert done.asked <= 2 * AT_ONCE + 5
    assert done.seconds <= 5 * 60
    assert "no answer" in str(done.errors[999])
    assert "tried it again, one at a time" in str(done.errors[999])


def test_a_provider_that_was_silent_for_a_while_is_used_again(
    make: Any, time: Any, batch: Callable[..., Batch]
) -> None:
    ends = time.clock() + 12
    done = batch(lambda *_: None if time.clock() < ends else make.chat_answer(), 1500, timeout_s=10.0)
    assert done.errors == {}
    assert done.seconds <= 60
    assert done.asked <= 1500 + AT_ONCE + 5


def test_a_few_long_answers_do_not_have_the_others_given_up(make: Any, batch: Callable[..., Batch]) -> None:
    done = batch(lambda _, prompt: None if _row(prompt) < 10 else make.chat_answer(), 300, timeout_s=10.0)
    assert sorted(done.errors) == list(range(10))


@pytest.mark.parametrize("retries", [0, 1])
def test_with_few_retries_a_batch_waits_little(make: Any, batch: Callable[..., Batch], retries: int) -> None:
    done = batch(lambda *_: make.failure(503), 300, retries=retries)
    assert len(done.errors) == 300
    assert done.asked <= 300 + (2 * AT_ONCE if retries else 0)
    assert done.seconds <= 60


def test_where_both_entities_are_down_the_one_that_comes_back_answers(
    make: Any, time: Any, batch: Callable[..., Batch]
) -> None:
    ends = time.clock() + 20

    def reply(host: str, _: str) -> Any:
        return make.chat_answer() if host == "b" and time.clock() >= ends else make.failure(503)

    done = batch(reply, 500, fallback=True)
    assert done.errors == {}
    assert done.provider.answered["b"] == 500


def test_interactive_requests_do_not_wait_out_an_outage(make: Any, batch: Callable[..., Batch]) -> None:
    done = batch(lambda *_: make.failure(503), 64, interactive=True)
    assert len(done.errors) == 64
    assert done.asked <= 64 * 3


def test_a_spent_quota_of_retries_is_named(make: Any, batch: Callable[..., Batch]) -> None:
    drawn = random.Random(1)
    done = batch(lambda *_: make.failure(503) if drawn.random() < 0.6 else make.chat_answer(), 1000, interactive=True)
    assert any("quota of retries" in str(error) for error in done.errors.values())


@pytest.mark.parametrize("most", [1, 20])
def test_a_provider_that_grants_one_request_a_second_is_asked_for_about_one_a_second(
    make: Any, time: Any, batch: Callable[..., Batch], most: int
) -> None:
    done = batch(Bucket(time, make, every_s=1.0, hint_s=2.0, most=most), 200)
    assert done.errors == {}
    assert done.seconds <= 1.25 * (200 - most)
    assert done.asked - 200 <= AT_ONCE + 60


def test_a_provider_that_grants_ten_a_second_is_nearly_used_up(
    make: Any, time: Any, batch: Callable[..., Batch]
) -> None:
    done = batch(Bucket(time, make, every_s=0.1, hint_s=1.0), 1000)
    assert done.errors == {}
    assert done.seconds <= 130
    assert done.asked <= 1300


def test_where_a_fallback_is_idle_most_rows_of_a_slow_entity_go_there(
    make: Any, time: Any, batch: Callable[..., Batch]
) -> None:
    done = batch(Bucket(time, make, every_s=1.0, hint_s=2.0), 100, fallback=True)
    assert done.errors == {}
    assert done.provider.answered["b"] >= 80
    assert done.seconds <= 15


def test_where_the_fallback_lets_rows_wait_longer_they_stay(make: Any, time: Any, batch: Callable[..., Batch]) -> None:
    pauses, started = {"a": 20, "b": 90}, time.clock()

    def reply(host: str, _: str) -> Any:
        left_s = started + pauses[host] - time.clock()
        return make.failure(429, retry_after=str(left_s)) if left_s > 0 else make.chat_answer()

    done = batch(reply, 300, fallback=True)
    assert done.errors == {}
    assert done.provider.answered["b"] <= AT_ONCE  # those that went there before it was known
    assert done.provider.answered["a"] >= 300 - AT_ONCE


def test_a_row_that_is_always_refused_ends_though_others_are_answered(make: Any, batch: Callable[..., Batch]) -> None:
    done = batch(
        lambda _, prompt: make.failure(429, retry_after="0.1") if _row(prompt) < 3 else make.chat_answer(), 3000
    )
    assert sorted(done.errors) == [0, 1, 2]
    assert max(done.provider.prompts.values()) <= 21


def test_the_end_of_a_window_that_others_used_up_is_waited_for_without_a_slow_start(
    make: Any, time: Any, batch: Callable[..., Batch]
) -> None:
    ends = time.clock() + 20
    done = batch(lambda *_: make.failure(429, retry_after="20") if time.clock() < ends else make.chat_answer(), 640)
    assert done.errors == {}
    assert done.asked == 640 + AT_ONCE
    assert done.seconds <= 30


def _row(prompt: str) -> int:
    return int(prompt.split("row ")[1].split('"')[0])
