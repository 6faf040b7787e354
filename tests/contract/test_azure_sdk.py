"""Azure OpenAI with keys and with tokens of Microsoft Entra: the SDK and our adapter before the simulator."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import AzureOpenAI

import aiq
from aiq.config.connections import EntraConfig, OpenAIConfig, Secret
from aiq.config.endpoint import Config, Endpoint, ServedEntity, Settings
from aiq.gateway import Gateway
from aiq.ledger.ledger import Ledger
from aiq.request import Caller, Request
from aiq.simulator.process import SimulatorProcess
from aiq.simulator.profile import FaultRate, Latency, Profile, Quota
from aiq.simulator.vendors.oauth import LIFE_S

HELLO: list[Any] = [{"role": "user", "content": "Say hello to the world."}]
TOKEN = "/tenant-1/oauth2/v2.0/token"


@pytest.fixture(scope="module")
def process() -> Iterator[SimulatorProcess]:
    with SimulatorProcess.start(Profile(latency=Latency(median_ms=20, sigma=0.3))) as process:
        yield process


@pytest.fixture
def simulator(process: SimulatorProcess) -> SimulatorProcess:
    process.reset()
    return process


def ask_entra(simulator: SimulatorProcess, **changes: str) -> httpx.Response:
    fields = {
        "client_id": "app",
        "client_secret": "simulated",
        "scope": "https://cognitiveservices.azure.com/.default",
        "grant_type": "client_credentials",
    }
    return httpx.post(simulator.url + TOKEN, data={**fields, **changes}, trust_env=False)


def client(simulator: SimulatorProcess, **credentials: Any) -> AzureOpenAI:
    return AzureOpenAI(azure_endpoint=simulator.url, api_version="2024-10-21", max_retries=0, **credentials)


def ask(number: int) -> Request:
    body = {"messages": [{"role": "user", "content": f"Number {number}"}]}
    return Request("chat", "llm/v1/chat", body, Caller("ann"), "s")


def token_requests(simulator: SimulatorProcess) -> int:
    return [attempt["path"] for attempt in simulator.attempts()].count(TOKEN)


# The SDK and the simulator


def test_the_sdk_is_served_with_tokens_it_gets_itself(simulator: SimulatorProcess) -> None:
    with client(simulator, azure_ad_token_provider=lambda: ask_entra(simulator).json()["access_token"]) as azure:
        chat = azure.chat.completions.create(model="my-chat", messages=HELLO)
        stream = azure.chat.completions.create(model="my-chat", messages=HELLO, stream=True)
        text = "".join(c.choices[0].delta.content or "" for c in stream if c.choices)
        vectors = azure.embeddings.create(model="my-vectors", input=["tea", "coffee"])
    assert chat.choices[0].message.content == text and len(vectors.data) == 2


def test_the_sdk_is_told_how_a_content_was_rated(simulator: SimulatorProcess) -> None:
    with client(simulator, api_key="azure-key") as azure:
        raw = azure.chat.completions.with_raw_response.create(model="my-chat", messages=HELLO)
    body = raw.parse().to_dict()
    assert body["prompt_filter_results"][0]["content_filter_results"]["hate"]["filtered"] is False  # type: ignore[index]
    assert body["choices"][0]["content_filter_results"]["violence"]["severity"] == "safe"  # type: ignore[index]
    assert raw.headers["x-ms-deployment-name"] == "my-chat"


def test_what_the_content_filter_stops_is_an_error_with_its_code(simulator: SimulatorProcess) -> None:
    with client(simulator, api_key="azure-key") as azure, pytest.raises(openai.BadRequestError) as caught:
        azure.chat.completions.create(model="sim-content-filter", messages=HELLO)
    assert caught.value.code == "content_filter"
    assert caught.value.body["innererror"]["code"] == "ResponsibleAIPolicyViolation"  # type: ignore[index,call-overload]


@pytest.mark.parametrize("token", ["simtoken.1000.0011", "simtoken.99999999999999.0011", "simtoken.x.y", "sk-invalid"])
def test_a_token_that_is_over_or_not_entras_is_refused(simulator: SimulatorProcess, token: str) -> None:
    with client(simulator, azure_ad_token=token) as azure, pytest.raises(openai.AuthenticationError) as caught:
        azure.chat.completions.create(model="my-chat", messages=HELLO)
    assert "expired" in caught.value.message


@pytest.mark.parametrize(
    ("changes", "status", "error", "code"),
    [
        ({"client_secret": "guessed"}, 401, "invalid_client", 7000215),
        ({"client_id": "sk-invalid"}, 400, "unauthorized_client", 700016),
        ({"scope": "https://graph.microsoft.com/.default"}, 400, "invalid_scope", 70011),
        ({"grant_type": "password"}, 400, "unsupported_grant_type", 70003),
        ({"client_id": ""}, 400, "invalid_request", 900144),
    ],
)
def test_entra_says_why_it_grants_no_token(
    simulator: SimulatorProcess, changes: dict[str, str], status: int, error: str, code: int
) -> None:
    response = ask_entra(simulator, **changes)
    body = response.json()
    assert (response.status_code, body["error"], body["error_codes"]) == (status, error, [code])


# Our adapter and the simulator

CONF = """\
name: chat
config:
  served_entities:
    - name: main
      external_model:
        name: gpt-4o
        provider: openai
        task: {task}
        openai_config:
          openai_api_type: azuread
          openai_api_base: {url}{base}
          openai_api_version: "2024-10-21"
          openai_deployment_name: my-deployment
          microsoft_entra_tenant_id: tenant-1
          microsoft_entra_client_id: {client}
          microsoft_entra_client_secret_plaintext: {secret}
      aiq: {{authority: "{url}"}}
"""


@pytest.fixture
def opened(tmp_path: Path, simulator: SimulatorProcess) -> Iterator[Any]:
    """`opened(secret="guessed")`: a session whose endpoint `chat` gets its tokens from Entra."""
    sessions = []

    def build(**changes: str) -> aiq.Session:
        values = {"task": "llm/v1/chat", "base": "", "client": "app", "secret": "simulated", "url": simulator.url}
        folder = tmp_path / "conf" / "endpoints"
        folder.mkdir(parents=True)
        (folder / "chat.yml").write_text(CONF.format(**{**values, **changes}))
        (tmp_path / "conf" / "aiq.yml").write_text("progress: false\nconcurrency: 256\n")
        sessions.append(aiq.connect(conf=tmp_path / "conf", home=tmp_path / "home"))
        return sessions[-1]

    yield build
    for session in sessions:
        session.close()


def test_many_rows_at_once_ask_for_one_token(opened: Any, simulator: SimulatorProcess) -> None:
    session = opened()
    rows = session.sql("SELECT ai_query('chat', 'Number ' || i) FROM range(256) t(i)").fetchall()
    assert len({row[0] for row in rows}) == 256
    counted = session.sql("SELECT count(*), sum(input_tokens), sum(output_tokens) FROM system.aiq.calls").fetchall()
    stats = simulator.stats()
    assert counted == [(256, stats["prompt_tokens"], stats["completion_tokens"])]
    assert token_requests(simulator) == 1


def test_embeddings_and_the_path_without_versions(opened: Any) -> None:
    session = opened(task="llm/v1/embeddings", base="/openai/v1")
    assert session.sql("SELECT len(ai_query('chat', 'text ' || i)) FROM range(5) t(i)").fetchall() == [(64,)] * 5


def test_a_wrong_secret_is_an_error_in_entras_words(opened: Any) -> None:
    with pytest.raises(aiq.AiqError, match="AADSTS7000215") as caught:
        opened(secret="guessed-wrong").sql("SELECT ai_query('chat', 'x')")
    assert "no access token was granted" in str(caught.value) and "guessed-wrong" not in str(caught.value)


class Clocked:
    """A gateway whose endpoint `chat` gets its tokens from Entra, and whose clock is `later_s` ahead."""

    def __init__(self, simulator: SimulatorProcess, ledger: Ledger) -> None:
        self.later_s = 0.0
        entra = EntraConfig("tenant-1", "app", Secret("simulated", "test"), simulator.url)
        config = OpenAIConfig(None, "azuread", simulator.url, "2024-10-21", "my-deployment", entra=entra)
        entity = ServedEntity("id", "main", "openai", "gpt-4o", "llm/v1/chat", config)
        endpoint = Endpoint("chat", "e", "llm/v1/chat", (entity,), "f")
        conf = Config("conf", Settings(limits_store="memory", concurrency=64), {"chat": endpoint})
        self.gateway = Gateway(conf, ledger, clock=lambda: time.monotonic() + self.later_s)

    def run(self, work: Callable[[Gateway], Coroutine[Any, Any, None]]) -> None:
        async def run() -> None:
            self.gateway.open_endpoint("chat")
            try:
                await work(self.gateway)
            finally:
                await self.gateway.close()

        asyncio.run(run())


@pytest.fixture
def clocked(simulator: SimulatorProcess, tmp_path: Path) -> Iterator[Clocked]:
    ledger = Ledger.open(tmp_path / "home")
    yield Clocked(simulator, ledger)
    ledger.close()


def test_a_token_that_runs_out_in_the_middle_of_a_batch_is_renewed(
    clocked: Clocked, simulator: SimulatorProcess
) -> None:
    async def one(gateway: Gateway, number: int) -> None:
        assert (await gateway.answer(ask(number))).value
        if number == 100:  # while others are in flight, and most are still to be asked
            clocked.later_s = 2 * LIFE_S

    async def batch(gateway: Gateway) -> None:
        await asyncio.gather(*(one(gateway, number) for number in range(700)))

    clocked.run(batch)
    stats = simulator.stats()
    assert (stats["ok"], token_requests(simulator)) == (700 + 2, 2)


def test_a_refused_token_is_renewed_once_for_all(clocked: Clocked, simulator: SimulatorProcess) -> None:
    async def refused(gateway: Gateway) -> None:
        await gateway.answer(ask(0))
        simulator.set_faults(FaultRate("401-once", 1.0))  # as if the token had been withdrawn
        clocked.later_s = 60.0  # a token that is new is not asked for again
        answers = await asyncio.gather(*(gateway.answer(ask(number)) for number in range(1, 33)))
        assert len(answers) == 32

    clocked.run(refused)
    assert simulator.stats()["by_status"]["401"] == 32
    assert token_requests(simulator) == 2


def test_a_batch_gets_through_slices_of_which_the_headers_say_nothing(tmp_path: Path) -> None:
    config = OpenAIConfig(Secret("azure-key", "test"), "azure", None, "2024-10-21", "dep")
    with SimulatorProcess.start(Profile(quotas=(Quota(rpm=1200),))) as limited:
        entity = ServedEntity("id", "main", "openai", "gpt-4o", "llm/v1/chat", replace(config, api_base=limited.url))
        endpoint = Endpoint("chat", "e", "llm/v1/chat", (entity,), "f")

        async def run() -> int:
            gateway = Gateway(Config("conf", Settings(limits_store="memory"), {"chat": endpoint}), ledger)
            gateway.open_endpoint("chat")
            try:
                return len(await asyncio.gather(*(gateway.answer(ask(number)) for number in range(100))))
            finally:
                await gateway.close()

        ledger = Ledger.open(tmp_path / "home")
        try:
            assert asyncio.run(run()) == 100
        finally:
            ledger.close()
        assert limited.stats()["ok"] == 100
