"""The sixteen fail-over scenarios S01 to S16 against a real simulator: whole answers, and streams where it differs.

Waiting that is the gateway's own (Retry-After, backoff, ejection) passes in a time of the test and is unscaled. Silence
of the provider is real, and scaled: one second of a scenario is 60 ms here. The table is in docs/failover.md.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, NamedTuple, TypeVar

import pytest

from aiq.config.connections import OpenAIConfig, Secret
from aiq.config.endpoint import Config, Endpoint, FailoverConfig, ServedEntity, Settings
from aiq.errors import ProviderError, StreamBroken
from aiq.gateway import Gateway
from aiq.ledger.ledger import Ledger
from aiq.ledger.tables import Tables
from aiq.providers.base import Chunk, HttpRequest, HttpResponse
from aiq.request import Answer, Caller, Request
from aiq.simulator import faults
from aiq.simulator.process import SimulatorProcess
from aiq.simulator.profile import FaultRate, Profile
from aiq.transport import ResponseStream, open_transport

T = TypeVar("T")
SCALE = 0.06
"""Real seconds of one second of silence."""
TIMEOUTS = FailoverConfig(first_token_timeout_s=10 * SCALE, idle_timeout_s=20 * SCALE)
LATE, STALLED = f"sim-late-{20_000 * SCALE * 4:.0f}", f"sim-stall-{30_000 * SCALE * 4:.0f}"
"""Four times as long as in the scenario, so that a slow machine does not hear them in time."""
GOOD = "gpt-4o"


class OwnTime:
    """A clock that only sleeping moves, and a sleep that takes no time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


class Sent(NamedTuple):
    at_s: float
    model: str


class Recording:
    """The real transport; what it sent, when, and for how long each read would have waited."""

    def __init__(self, settings: Settings, time: OwnTime) -> None:
        self._inner, self._time = open_transport(settings), time
        self.sent: list[Sent] = []
        self.waits: list[float] = []

    def _note(self, request: HttpRequest) -> None:
        model = request.body.decode().partition('"model":"')[2].partition('"')[0]
        self.sent.append(Sent(round(self._time.now - 1000.0, 6), model))

    async def send(self, request: HttpRequest, timeout_s: float) -> HttpResponse:
        self._note(request)
        return await self._inner.send(request, timeout_s)

    async def stream(self, request: HttpRequest, timeout_s: float, wait_s: float) -> ResponseStream:
        self._note(request)
        opened = await self._inner.stream(request, timeout_s, wait_s)
        read = opened.read

        async def noted(wait_s: float) -> bytes:
            self.waits.append(wait_s)
            return await read(wait_s)

        opened.read = noted  # type: ignore[method-assign]
        return opened

    async def close(self) -> None:
        await self._inner.close()


class Bench:
    """A gateway before a simulator, in a time of its own."""

    def __init__(self, gateway: Gateway, time: OwnTime, transport: Recording, simulator: SimulatorProcess) -> None:
        self.gateway, self.time, self.transport, self.simulator = gateway, time, transport, simulator

    @property
    def asked(self) -> list[str]:
        return [sent.model for sent in self.transport.sent]

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        async def bounded() -> T:
            try:
                async with asyncio.timeout(60):  # a hang fails instead of hanging
                    return await work
            finally:
                await self.gateway.close()

        return asyncio.run(bounded())

    def answer(self, text: str = "How does a sail boat sail against the wind?") -> Answer:
        return self.run(self.gateway.answer(request(text)))

    def read(
        self, text: str = "How does a sail boat sail against the wind?"
    ) -> tuple[list[Chunk], BaseException | None]:
        """The chunks of a streamed answer, and the error that ended it."""

        async def work() -> tuple[list[Chunk], BaseException | None]:
            chunks: list[Chunk] = []
            try:
                async for chunk in self.gateway.stream(request(text)):
                    chunks.append(chunk)
            except ProviderError as error:
                return chunks, error
            return chunks, None

        return self.run(work())


def request(text: str) -> Request:
    body = {"messages": [{"role": "user", "content": text}]}
    return Request("chat", "llm/v1/chat", body, Caller("ann"), "st-1")


@pytest.fixture(scope="module")
def simulator_of_scenarios() -> Iterator[SimulatorProcess]:
    with SimulatorProcess.start(Profile(retry_after_ms=2000)) as process:
        yield process


@pytest.fixture
def bench(simulator_of_scenarios: SimulatorProcess, ledger: Ledger) -> Callable[..., Bench]:
    """`bench("sim-503", "gpt-4o")`: an endpoint of these models, the first with all traffic, the others fallbacks."""
    simulator_of_scenarios.reset()

    def build(*models: str, failover: FailoverConfig = TIMEOUTS, windows: dict[str, int] | None = None) -> Bench:
        config = OpenAIConfig(api_key=Secret("sk-test", "test"), api_base=f"{simulator_of_scenarios.url}/v1")
        entities = tuple(
            ServedEntity(
                f"id-{i}", f"e{i}", "openai", model, "llm/v1/chat", config, 0 if i else 100,
                context_window=(windows or {}).get(model),
            )
            for i, model in enumerate(models)
        )  # fmt: skip
        endpoint = Endpoint("chat", "e-1", "llm/v1/chat", entities, "f", fallback=True, failover=failover)
        time, settings = OwnTime(), Settings(limits_store="memory")
        transport = Recording(settings, time)
        gateway = Gateway(
            Config("conf", settings, {"chat": endpoint}),
            ledger,
            transport=transport,
            clock=time.clock,
            sleep=time.sleep,
            rng=random.Random(1),
        )
        gateway.open_endpoint("chat")
        return Bench(gateway, time, transport, simulator_of_scenarios)

    return build


@pytest.fixture
def calls(ledger: Ledger) -> Callable[[], list[dict[str, Any]]]:
    def read() -> list[dict[str, Any]]:
        ledger.commit()
        return sorted(Tables(ledger.home).to_arrow("system.aiq.calls").to_pylist(), key=lambda row: row["attempt"])

    return read


Open = Callable[..., Bench]


@pytest.fixture
def whole(bench: Open) -> str:
    """What the good model says to the usual question."""
    said = bench(GOOD, failover=FailoverConfig()).answer().value
    assert isinstance(said, str) and len(said) > 20
    return said


def text(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


# whole answers


def test_s01_a_hint_of_two_seconds_is_waited_for(bench: Open) -> None:
    opened = bench("sim-429-retry-after", GOOD)
    assert opened.answer().model == "sim-429-retry-after"
    first, second = opened.transport.sent
    assert second.at_s - first.at_s >= 2.0


def test_s02_an_endless_rate_limit_without_a_hint_is_asked_little(bench: Open) -> None:
    opened = bench("sim-429-unhinted", GOOD)
    assert opened.answer().model == GOOD
    assert sum(sent.at_s <= 3 for sent in opened.transport.sent) <= 4
    assert len(opened.asked) <= 6


def test_s03_a_server_error_once_is_retried_once_at_the_same_provider(bench: Open) -> None:
    opened = bench("sim-500-once", GOOD)
    assert opened.answer().model == "sim-500-once"
    assert opened.asked == ["sim-500-once"] * 2


def test_s04_a_provider_that_is_down_is_left_after_few_attempts(bench: Open) -> None:
    opened = bench("sim-503", GOOD)
    assert opened.answer().model == GOOD
    assert opened.asked.count("sim-503") <= 5


def test_s05_a_reset_before_the_headers_is_asked_again(bench: Open) -> None:
    assert bench("sim-reset-once", GOOD).answer().model == "sim-reset-once"


def test_s06_a_silent_provider_is_left_at_once(bench: Open) -> None:
    opened = bench("sim-timeout", GOOD)
    assert opened.answer().model == GOOD
    assert opened.asked == ["sim-timeout", GOOD]


def test_s07_a_first_token_that_is_late_is_not_waited_for(bench: Open) -> None:
    opened = bench(LATE, GOOD)
    assert opened.answer().model == GOOD
    assert opened.asked == [LATE, GOOD]


def test_s08_an_answer_that_was_cut_is_never_taken_for_a_whole_one(bench: Open, whole: str) -> None:
    opened = bench("sim-cut", GOOD)
    assert opened.answer().value == whole
    assert opened.asked[-1] == GOOD


def test_s09_an_answer_that_stalls_is_left_and_the_process_lives_on(bench: Open, whole: str) -> None:
    opened = bench(STALLED, GOOD)

    async def twice() -> list[Answer]:
        return [await opened.gateway.answer(request(text)) for text in ("One?", "Two?")]

    assert [answer.model for answer in opened.run(twice())] == [GOOD, GOOD]
    assert opened.asked == [STALLED, GOOD] * 2


def test_s10_a_malformed_chunk_leaves_nothing_of_its_answer(bench: Open, whole: str) -> None:
    assert bench("sim-malformed-chunk", GOOD).answer().value == whole


@pytest.mark.parametrize("model", ["sim-no-done", "sim-no-end"])
def test_s11_an_answer_without_done_is_whole_and_has_its_usage(bench: Open, model: str) -> None:
    opened = bench(model, GOOD)
    answer = opened.answer()
    assert (answer.model, opened.asked, answer.usage.estimated) == (model, [model], False)
    assert answer.finish_reason == "stop"
    assert opened.transport.waits[-1] < 8


def test_s12_a_prompt_that_is_too_long_goes_to_an_entity_with_more_context(bench: Open) -> None:
    windows = {"sim-context-length": 8_192, "gpt-4": 8_192, GOOD: 128_000}
    opened = bench("sim-context-length", "gpt-4", GOOD, windows=windows)
    assert opened.answer().model == GOOD
    assert opened.asked == ["sim-context-length", GOOD]


def test_s13_a_content_filter_is_not_routed_around(bench: Open) -> None:
    opened = bench("sim-content-filter", GOOD)
    with pytest.raises(ProviderError, match="content management policy") as caught:
        opened.answer()
    assert (caught.value.kind, opened.asked) == ("content_filter", ["sim-content-filter"])


def test_s14_after_a_cut_the_fallback_starts_from_the_beginning(bench: Open) -> None:
    opened = bench("sim-cut", "sim-no-prefill")
    answer = opened.answer()
    assert (answer.model, answer.finish_reason) == ("sim-no-prefill", "stop")


def test_s15_an_outage_is_served_by_the_fallback_and_ends(bench: Open) -> None:
    opened = bench("gpt-4o-mini", GOOD)

    async def answered_by(at_s: float) -> str:
        opened.time.now = max(opened.time.now, 1000.0 + at_s)
        return (await opened.gateway.answer(request(f"At {at_s} s?"))).model

    async def work() -> tuple[list[str], int, list[str]]:
        opened.simulator.set_faults(FaultRate("503", 1.0, ("gpt-4o-mini",)))
        during = [await answered_by(3.0 * i) for i in range(20)]
        attempts = opened.asked.count("gpt-4o-mini")
        opened.simulator.set_faults()
        return during, attempts, [await answered_by(60.0 + i) for i in range(31)]

    during, attempts, after = opened.run(work())
    assert set(during) == {GOOD}
    assert attempts <= 9
    assert after[-1] == "gpt-4o-mini"


def test_s16_the_answer_and_its_bill_are_the_fallbacks(bench: Open, calls: Callable[[], list[dict[str, Any]]]) -> None:
    opened = bench("sim-503", GOOD)
    answer = opened.answer()
    billed = opened.simulator.stats()
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (
        billed["prompt_tokens"],
        billed["completion_tokens"],
    )
    rows = calls()
    assert [(row["model"], row["status"]) for row in rows] == [("sim-503", "error")] * 3 + [(GOOD, "ok")]
    assert [row["cost_usd"] for row in rows] == [None, None, None, answer.cost_usd]


# the same without options of ours: answers that are not asked for as streams


@pytest.mark.parametrize("model", ["sim-cut", "sim-truncated", "sim-malformed", "sim-reset", "sim-html"])
def test_a_broken_whole_answer_is_rescued_too(bench: Open, whole: str, model: str) -> None:
    assert bench(model, GOOD, failover=FailoverConfig()).answer().value == whole


# streams


def test_a_stream_is_the_whole_answer_with_its_usage_last(bench: Open, whole: str) -> None:
    chunks, error = bench(GOOD).read()
    assert (text(chunks), error) == (whole, None)
    assert [chunk.usage is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].usage is not None and not chunks[-1].usage.estimated


@pytest.mark.parametrize(
    "fault",
    ["429-retry-after", "429-unhinted", "500-once", "503", "reset-once", "context-length", "content-filter", "401"],
)
def test_until_its_first_token_a_stream_is_retried_and_routed_like_a_whole_answer(bench: Open, fault: str) -> None:
    windows = {f"sim-{fault}": 8_192, GOOD: 128_000}
    streamed = bench(f"sim-{fault}", GOOD, windows=windows)
    _, error = streamed.read()
    streamed.simulator.reset()  # what fails once fails once more
    whole = bench(f"sim-{fault}", GOOD, windows=windows)
    try:
        whole.answer()
    except ProviderError as expected:
        assert isinstance(error, ProviderError) and error.kind == expected.kind
    else:
        assert error is None
    assert streamed.transport.sent == whole.transport.sent


@pytest.mark.parametrize("model", ["sim-timeout", LATE])
def test_s06_s07_a_stream_without_a_first_token_falls_back(bench: Open, whole: str, model: str) -> None:
    opened = bench(model, GOOD)
    chunks, error = opened.read()
    assert (text(chunks), error, opened.asked) == (whole, None, [model, GOOD])


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("sim-cut", "network"),
        ("sim-truncated", "bad_answer"),
        (STALLED, "timeout"),
        ("sim-malformed-chunk", "bad_answer"),
        ("sim-error-chunk", "overloaded"),
    ],
)
def test_s08_s09_s10_a_stream_that_breaks_after_its_first_token_ends_with_an_error(
    bench: Open, model: str, kind: str, calls: Callable[[], list[dict[str, Any]]]
) -> None:
    opened = bench(model, GOOD)
    chunks, error = opened.read()
    assert isinstance(error, StreamBroken) and error.kind == kind
    assert text(chunks) and opened.asked == [model]
    row = calls()[0]
    assert (row["status"], row["final"], row["tokens_estimated"]) == ("error", True, True)


@pytest.mark.parametrize("model", ["sim-no-done", "sim-no-end", "sim-odd-stream"])
def test_s11_a_stream_without_done_ends_well(bench: Open, model: str) -> None:
    opened = bench(model, GOOD)
    chunks, error = opened.read()
    assert (error, opened.asked) == (None, [model])
    assert chunks[-1].usage is not None and not chunks[-1].usage.estimated
    assert opened.transport.waits[-1] < 8


def test_a_stream_whose_usage_never_comes_has_an_estimate(bench: Open) -> None:
    chunks, error = bench("sim-no-usage", GOOD).read()
    assert error is None and chunks[-1].usage is not None and chunks[-1].usage.estimated


def test_s14_a_stream_that_was_cut_is_not_continued_elsewhere(bench: Open) -> None:
    opened = bench("sim-cut", "sim-no-prefill")
    _, error = opened.read()
    assert isinstance(error, StreamBroken) and "prefill" not in str(error)
    assert opened.asked == ["sim-cut"]


def test_s14_a_stream_that_broke_before_its_first_token_starts_again_elsewhere(bench: Open) -> None:
    opened = bench("sim-reset", "sim-no-prefill")
    chunks, error = opened.read()
    assert error is None and text(chunks)
    assert opened.asked[-1] == "sim-no-prefill"


def test_a_stream_that_nobody_reads_on_is_closed_and_recorded(
    bench: Open, calls: Callable[[], list[dict[str, Any]]]
) -> None:
    opened = bench("sim-stall-3000", GOOD)

    async def work() -> int:
        chunks = opened.gateway.stream(request("How does a sail boat sail against the wind?"))
        async for chunk in chunks:
            if chunk.token:
                break
        await chunks.aclose()
        while opened.simulator.attempts()[-1]["status"] != 499:  # until the provider has noticed that we left
            await asyncio.sleep(0.01)
        return opened.gateway.routes["chat"].targets["e0"].gate.in_flight

    assert opened.run(work()) == 0
    row = calls()[0]
    assert (row["status"], row["final"], row["tokens_estimated"]) == ("cancelled", True, True)


@pytest.mark.parametrize("fault", sorted(faults.NAMES - {"huge", "huge-line"}))
def test_every_stream_is_whole_or_ends_with_an_error(bench: Open, fault: str) -> None:
    prompt = "Boats sail against the wind by tacking to and fro."
    chunks, error = bench(f"sim-{fault}", GOOD).read(prompt)
    if error is None:
        assert text(chunks).endswith(prompt)
        assert chunks[-1].usage is not None
    else:
        assert isinstance(error, ProviderError)
        assert not chunks or isinstance(error, StreamBroken) or error.kind == "content_filter"
