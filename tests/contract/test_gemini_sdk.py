"""Google's own SDK against the simulated Gemini API and Vertex AI: `google-genai`, with `google-auth` for the service
account.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from google import genai
from google.auth.exceptions import RefreshError
from google.genai import errors, types
from google.oauth2 import credentials, service_account
from pydantic import BaseModel

from aiq.simulator.process import SimulatorProcess
from aiq.simulator.profile import Profile, Quota
from aiq.simulator.vendors.vertex import KEY_FILE
from tests.processes import PATIENCE_S

SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]
PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 8


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    quotas = (Quota(rpm=2, models=("limited",)), Quota(rpd=1, models=("daily",)))
    with SimulatorProcess.start(Profile(quotas=quotas, split_utf8=True, retry_after_ms=10)) as process:
        yield process


def key_file(simulator: SimulatorProcess) -> dict[str, Any]:
    with urllib.request.urlopen(simulator.url + KEY_FILE.decode(), timeout=PATIENCE_S) as response:
        found: dict[str, Any] = json.load(response)
    return found


def options(url: str, version: str = "v1beta", **more: Any) -> types.HttpOptions:
    return types.HttpOptions(base_url=url, api_version=version, timeout=int(PATIENCE_S * 1000), **more)


@pytest.fixture(scope="module")
def developer(simulator: SimulatorProcess) -> genai.Client:
    return genai.Client(api_key="AIza-test", http_options=options(simulator.url))


def account(simulator: SimulatorProcess, **changes: Any) -> Any:
    info = {**key_file(simulator), **changes}
    return service_account.Credentials.from_service_account_info(info, scopes=SCOPES)  # type: ignore[no-untyped-call]


def cloud(simulator: SimulatorProcess, granted: Any) -> genai.Client:
    return genai.Client(
        vertexai=True, project="p", location="us-central1", credentials=granted,
        http_options=options(simulator.url, "v1"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def vertex(simulator: SimulatorProcess) -> genai.Client:
    return cloud(simulator, account(simulator))


@pytest.fixture(params=["developer", "vertex"])
def client(request: pytest.FixtureRequest) -> genai.Client:
    found: genai.Client = request.getfixturevalue(request.param)
    return found


def ask(
    client: genai.Client, prompt: str = "Say hello to the world.", model: str = "gemini-2.5-flash", **config: Any
) -> Any:
    settings = types.GenerateContentConfig(**config) if config else None
    return client.models.generate_content(model=model, contents=prompt, config=settings)


def test_a_chat_is_answered_and_counted(client: genai.Client) -> None:
    answer = ask(client, system_instruction="Be brief.", temperature=0.1, max_output_tokens=50, seed=3)
    assert "[simulated] " in answer.text
    counts = answer.usage_metadata
    assert counts.prompt_token_count > 0
    assert counts.total_token_count == counts.prompt_token_count + counts.candidates_token_count
    assert answer.candidates[0].finish_reason == types.FinishReason.STOP


def test_a_stream_adds_up_to_the_whole_answer(client: genai.Client) -> None:
    prompt = "Grüße 🎉 aus 東京, mit vielen Wörtern"
    pieces = list(client.models.generate_content_stream(model="gemini-2.5-flash", contents=prompt))
    assert len(pieces) > 3
    assert "".join(piece.text or "" for piece in pieces) == ask(client, prompt).text
    assert pieces[-1].usage_metadata.candidates_token_count > 0


class Person(BaseModel):
    """A structured answer."""

    name: str
    age: int


def test_structured_output_parses_into_the_asked_class(client: genai.Client) -> None:
    answer = ask(client, "Who?", response_mime_type="application/json", response_schema=Person)
    assert isinstance(answer.parsed, Person)
    schema = Person.model_json_schema()
    answer = ask(client, "Who?", response_mime_type="application/json", response_json_schema=schema)
    assert set(json.loads(answer.text)) == {"name", "age"}


WEATHER = types.FunctionDeclaration(
    name="weather",
    description="The weather of a city",
    parameters_json_schema={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)


@pytest.mark.parametrize("model", ["gemini-2.5-flash", "gemini-3-flash"])
def test_tools_are_called_and_their_results_understood(client: genai.Client, model: str) -> None:
    chat = client.chats.create(
        model=model, config=types.GenerateContentConfig(tools=[types.Tool(function_declarations=[WEATHER])])
    )
    answer = chat.send_message("What weather is it?")
    assert answer.function_calls is not None and answer.function_calls[0].name == "weather"
    made = answer.function_calls[0]
    assert bool(made.id) == (model == "gemini-3-flash")
    result = types.FunctionResponse(id=made.id, name="weather", response={"result": "rain"})
    told = chat.send_message(types.Part(function_response=result))
    assert "The tool says" in str(told.text) and "rain" in str(told.text)


def test_an_image_is_seen(client: genai.Client) -> None:
    part = types.Part.from_bytes(data=PNG, mime_type="image/png")
    answer = client.models.generate_content(model="gemini-2.5-flash", contents=["What is it?", part])
    assert "image/png, 16 bytes" in str(answer.text)


def test_thoughts_are_counted_apart_and_marked(client: genai.Client) -> None:
    thinking = types.ThinkingConfig(thinking_budget=1024, include_thoughts=True)
    answer = ask(client, "Hi", thinking_config=thinking)
    assert answer.usage_metadata.thoughts_token_count > 0
    assert [part.thought for part in answer.candidates[0].content.parts] == [True, None]


def test_a_long_prompt_is_cached_the_second_time(client: genai.Client) -> None:
    prompt = "A long prompt. " * 600
    assert ask(client, prompt).usage_metadata.cached_content_token_count is None
    assert ask(client, prompt).usage_metadata.cached_content_token_count > 1000


def test_blocked_prompts_and_answers_are_the_sdks_own(client: genai.Client) -> None:
    blocked = ask(client, "Hi [[fault:content-filter]]")
    assert blocked.prompt_feedback.block_reason == types.BlockedReason.PROHIBITED_CONTENT and not blocked.candidates
    refused = ask(client, "Hi [[fault:refusal]]")
    assert refused.candidates[0].finish_reason == types.FinishReason.SAFETY and refused.text is None


def test_embeddings_are_vectors_in_order(developer: genai.Client, vertex: genai.Client) -> None:
    config = types.EmbedContentConfig(output_dimensionality=4, task_type="CLUSTERING")
    batch = developer.models.embed_content(model="gemini-embedding-001", contents=["a", "b"], config=config)
    predicted = vertex.models.embed_content(model="text-embedding-005", contents=["a", "b"], config=config)
    alone = vertex.models.embed_content(model="gemini-embedding-2", contents=["a"], config=config)
    assert batch.embeddings is not None and predicted.embeddings is not None and alone.embeddings is not None
    assert [one.values for one in batch.embeddings] == [one.values for one in predicted.embeddings]
    assert alone.embeddings[0].values == batch.embeddings[0].values
    assert predicted.embeddings[0].statistics is not None and predicted.embeddings[0].statistics.token_count == 1


def test_the_models_are_listed(developer: genai.Client) -> None:
    assert "models/sim-503" in [model.name for model in developer.models.list()]


@pytest.mark.parametrize(
    ("fault", "code", "status"),
    [
        ("400", 400, "INVALID_ARGUMENT"),
        ("context-length", 400, "INVALID_ARGUMENT"),
        ("402", 402, "RESOURCE_EXHAUSTED"),
        ("403", 403, "PERMISSION_DENIED"),
        ("404", 404, "NOT_FOUND"),
        ("429", 429, "RESOURCE_EXHAUSTED"),
        ("500", 500, "INTERNAL"),
        ("503", 503, "UNAVAILABLE"),
        ("504", 504, "DEADLINE_EXCEEDED"),
    ],
)
def test_errors_are_the_sdks_own(client: genai.Client, fault: str, code: int, status: str) -> None:
    for call in (client.models.generate_content, lambda **of: list(client.models.generate_content_stream(**of))):
        with pytest.raises(errors.ServerError if code >= 500 else errors.ClientError) as caught:
            call(model=f"sim-{fault}", contents=f"Hi {call}")
        assert (caught.value.code, caught.value.status) == (code, status)


def test_an_error_in_the_middle_of_a_stream_is_raised(client: genai.Client) -> None:
    with pytest.raises(errors.ServerError, match="overloaded"):
        list(client.models.generate_content_stream(model="sim-error-chunk", contents="Tell me of the sea and the wind"))


def test_the_sdk_retries_what_passes(simulator: SimulatorProcess) -> None:
    retry = types.HttpRetryOptions(attempts=3, initial_delay=0.01, max_delay=0.02)
    client = genai.Client(api_key="AIza-test", http_options=options(simulator.url, retry_options=retry))
    assert ask(client, "Retry [[fault:503-once]]").text


def test_a_quota_is_told_with_its_name_and_when_to_come_back(developer: genai.Client) -> None:
    for model, quota in (("limited", "PerMinute"), ("daily", "PerDay")):
        with pytest.raises(errors.ClientError) as caught:
            for number in range(4):
                ask(developer, f"Number {number}", model)
        failure, retry = caught.value.details["error"]["details"]
        assert quota in failure["violations"][0]["quotaId"] and retry["retryDelay"].endswith("s")


@pytest.mark.parametrize(("key", "code"), [("sk-invalid", 400), ("", 403)])
def test_a_wrong_key_is_refused_as_google_does(simulator: SimulatorProcess, key: str, code: int) -> None:
    http = options(simulator.url, headers={"x-goog-api-key": key})
    with pytest.raises(errors.ClientError) as caught:
        ask(genai.Client(api_key="k", http_options=http))
    assert caught.value.code == code
    if key:
        assert caught.value.details["error"]["details"][0]["reason"] == "API_KEY_INVALID"


def test_a_key_in_the_query_is_taken(simulator: SimulatorProcess) -> None:
    body = {"contents": [{"parts": [{"text": "Hi"}]}]}
    url = f"{simulator.url}/v1beta/models/gemini-2.5-flash:generateContent"
    assert httpx.post(url, params={"key": "AIza-test"}, json=body).status_code == 200
    assert httpx.post(url, params={"key": "sk-invalid"}, json=body).status_code == 400


# Service accounts


def test_a_token_that_nobody_granted_is_refused(simulator: SimulatorProcess) -> None:
    with pytest.raises(errors.ClientError) as caught:
        ask(cloud(simulator, credentials.Credentials("ya29.made-up")))  # type: ignore[no-untyped-call]
    assert (caught.value.code, caught.value.status) == (401, "UNAUTHENTICATED")


def test_another_key_is_no_signature(simulator: SimulatorProcess) -> None:
    with SimulatorProcess.start() as other, pytest.raises(RefreshError, match="Invalid JWT Signature"):
        ask(cloud(simulator, account(simulator, private_key=key_file(other)["private_key"])))


def test_an_account_that_is_not_pinned_gets_no_token() -> None:
    with (
        SimulatorProcess.start(Profile(keys=("someone@else.test",))) as strict,
        pytest.raises(RefreshError, match="account not found"),
    ):
        ask(cloud(strict, account(strict)))
