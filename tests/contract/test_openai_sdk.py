"""The vendor's own SDK against a simulator in a process of its own: what it sends is accepted, and it understands the
answers and the errors.
"""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest
from openai import AzureOpenAI, OpenAI
from pydantic import BaseModel

from aiq.simulator.process import SimulatorProcess
from aiq.simulator.profile import Profile, Quota
from tests.processes import PATIENCE_S


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    profile = Profile(
        quotas=(Quota(rpm=3, models=("limited",)),), split_utf8=True, huge_bytes=100_000, retry_after_ms=10
    )
    with SimulatorProcess.start(profile) as process:
        yield process


@pytest.fixture(scope="module")
def client(simulator: SimulatorProcess) -> Iterator[OpenAI]:
    with OpenAI(api_key="sk-test-1234", base_url=f"{simulator.url}/v1", max_retries=0, timeout=PATIENCE_S) as client:
        yield client


def _ask(client: OpenAI, prompt: str = "Say hello to the world.", model: str = "gpt-4o-mini") -> str:
    answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": prompt}])
    return answer.choices[0].message.content or ""


def test_a_chat_is_answered(client: OpenAI) -> None:
    assert _ask(client).startswith("[simulated] ")


def test_every_answer_says_that_it_is_simulated(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": "Hi"}]
    )
    assert raw.headers["x-aiq-simulator"] == "1"
    assert raw.parse().system_fingerprint == "aiq-simulator"


def test_a_stream_adds_up_to_the_whole_answer(client: OpenAI) -> None:
    prompt = "Grüße 🎉 aus 東京, mit vielen Wörtern"
    stream = client.chat.completions.create(
        model="gpt-4o-mini",
        messages=[{"role": "user", "content": prompt}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == _ask(client, prompt)
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens > 0


class Person(BaseModel):
    """A structured answer."""

    name: str
    age: int
    nicknames: list[str]
    email: str | None


def test_structured_output_parses_into_the_asked_class(client: OpenAI) -> None:
    answer = client.chat.completions.parse(
        model="gpt-4o-mini", messages=[{"role": "user", "content": "Who?"}], response_format=Person
    )
    assert isinstance(answer.choices[0].message.parsed, Person)


def test_a_refusal_reaches_the_sdk(client: OpenAI) -> None:
    answer = client.chat.completions.parse(
        model="sim-refusal", messages=[{"role": "user", "content": "Who?"}], response_format=Person
    )
    assert answer.choices[0].message.refusal


def test_default_embeddings_equal_float_embeddings(client: OpenAI) -> None:
    packed = client.embeddings.create(model="text-embedding-3-small", input=["tea", "coffee"])
    floats = client.embeddings.create(model="text-embedding-3-small", input=["tea", "coffee"], encoding_format="float")
    assert [e.embedding for e in packed.data] == [pytest.approx(e.embedding) for e in floats.data]


def test_legacy_completions_answer_each_prompt(client: OpenAI) -> None:
    answer = client.completions.create(model="m", prompt=["one", "two"])
    assert [choice.text.split()[0] for choice in answer.choices] == ["[simulated]"] * 2


def test_the_models_are_listed(client: OpenAI) -> None:
    assert "sim-503" in [model.id for model in client.models.list()]


def test_a_gzip_answer_is_read(client: OpenAI) -> None:
    assert _ask(client, model="sim-gzip").startswith("[simulated] ")


def test_the_azure_client_is_served(simulator: SimulatorProcess) -> None:
    with AzureOpenAI(
        api_key="azure-key", azure_endpoint=simulator.url, api_version="2024-10-21", max_retries=0
    ) as client:
        chat = client.chat.completions.create(model="my-deployment", messages=[{"role": "user", "content": "Hi"}])
        vectors = client.embeddings.create(model="my-embeddings", input="tea")
    assert chat.model == "my-deployment" and len(vectors.data[0].embedding) == 64


def test_an_azure_stream_is_read(simulator: SimulatorProcess) -> None:
    with AzureOpenAI(api_key="azure-key", azure_endpoint=simulator.url, api_version="2024-10-21") as client:
        stream = client.chat.completions.create(
            model="my-deployment", messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        text = "".join(c.choices[0].delta.content or "" for c in stream if c.choices)
    assert text.startswith("[simulated] ")


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("sim-429-forever", openai.RateLimitError),
        ("sim-quota-exhausted", openai.RateLimitError),
        ("sim-context-length", openai.BadRequestError),
        ("sim-401", openai.AuthenticationError),
        ("sim-403", openai.PermissionDeniedError),
        ("sim-404", openai.NotFoundError),
        ("sim-409", openai.ConflictError),
        ("sim-500", openai.InternalServerError),
        ("sim-529", openai.InternalServerError),
        ("sim-html-502", openai.InternalServerError),
        ("sim-reset", openai.APIConnectionError),
        ("sim-cut", openai.APIConnectionError),
    ],
)
def test_a_fault_raises_the_error_the_sdk_has_for_it(client: OpenAI, model: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        _ask(client, model=model)


def test_silence_ends_in_a_timeout(client: OpenAI) -> None:
    with pytest.raises(openai.APITimeoutError):
        _ask(client.with_options(timeout=0.05), model="sim-timeout")


def test_a_wrong_parameter_raises_a_bad_request_with_its_name(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": "Hi"}], extra_body={"top_k": 5}
        )
    assert (caught.value.param, caught.value.code) == ("top_k", "unknown_parameter")


def test_a_wrong_key_raises_an_authentication_error(client: OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError):
        _ask(client.with_options(api_key="sk-invalid"))


@pytest.mark.parametrize("model", ["sim-429-retry-after", "sim-500-once", "sim-reset-once"])
def test_the_sdk_retries_its_way_through_a_passing_fault(
    client: OpenAI, simulator: SimulatorProcess, model: str
) -> None:
    before = len(simulator.attempts())
    assert _ask(client.with_options(max_retries=1), "retry me", model)
    assert [entry["ok"] for entry in simulator.attempts()[before:]] == [False, True]


def test_a_quota_is_told_in_headers_and_enforced(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="limited", messages=[{"role": "user", "content": "Hi"}]
    )
    assert raw.headers["x-ratelimit-remaining-requests"] == "2"
    with pytest.raises(openai.RateLimitError) as caught:
        for _ in range(3):
            _ask(client, model="limited")
    assert int(caught.value.response.headers["retry-after-ms"]) > 0
