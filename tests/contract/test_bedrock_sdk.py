"""AWS's own SDK against the simulator: what botocore signs and sends is accepted, and it understands the answers."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from typing import Any

import botocore.session
import orjson
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

from aiq.simulator.process import SimulatorProcess
from aiq.simulator.profile import Profile, Quota
from tests.processes import PATIENCE_S

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 8
HELLO: list[dict[str, Any]] = [{"role": "user", "content": [{"text": "Say hello to the world."}]}]
USE = {"toolUse": {"toolUseId": "1", "name": "f", "input": {}}}
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
TOOLS = {
    "tools": [
        {
            "toolSpec": {
                "name": "weather",
                "description": "The weather of a city",
                "inputSchema": {
                    "json": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
                },
            }
        }
    ]
}
Connect = Callable[..., Any]


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    quotas = (Quota(rpm=3, models=("anthropic.limited",)), Quota(tpm=1000, models=("anthropic.small",)))
    keys = ("AKIATEST:secret/of+mine", "bedrock-key")
    with SimulatorProcess.start(Profile(quotas=quotas, keys=keys)) as process:
        yield process


@pytest.fixture(scope="module")
def session() -> Any:
    """Reads the SDK's models once."""
    return botocore.session.Session()


@pytest.fixture
def connect(session: Any, simulator: SimulatorProcess, monkeypatch: pytest.MonkeyPatch) -> Connect:
    """`connect(retries=2, secret="wrong")`: a client; `key` is an API key instead of the pair."""

    def connected(
        *, retries: int = 0, identity: str = "AKIATEST", secret: str = "secret/of+mine", key: str = ""
    ) -> Any:
        if key:
            monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", key)
        else:
            monkeypatch.delenv("AWS_BEARER_TOKEN_BEDROCK", raising=False)
        # The SDK sends an API key to https only, so the address is changed after it has looked.
        url = simulator.url.replace("http:", "https:") if key else simulator.url
        client = session.create_client(
            "bedrock-runtime",
            region_name="eu-central-1",
            endpoint_url=url,
            aws_access_key_id=identity,
            aws_secret_access_key=secret,
            config=Config(retries={"total_max_attempts": 1 + retries, "mode": "standard"}, read_timeout=PATIENCE_S),
        )
        client.meta.events.register("before-send", _plain)
        return client

    return connected


def _plain(request: Any, **_: Any) -> None:
    request.url = request.url.replace("https:", "http:")


@pytest.fixture
def client(connect: Connect) -> Any:
    return connect()


def text_of(answer: Any) -> str:
    return "".join(block.get("text", "") for block in answer["output"]["message"]["content"])


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"text": text}]}]


def code_of(caught: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


def test_a_signed_conversation_is_answered(client: Any) -> None:
    answer = client.converse(
        modelId=CLAUDE,
        system=[{"text": "Be kind."}],
        messages=HELLO,
        inferenceConfig={"maxTokens": 50, "temperature": 0.5},
    )
    assert text_of(answer).startswith("[simulated] ")
    assert answer["stopReason"] == "end_turn"
    assert answer["usage"]["totalTokens"] == answer["usage"]["inputTokens"] + answer["usage"]["outputTokens"]


def test_an_arn_is_one_segment_of_a_signed_path(client: Any) -> None:
    arn = "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/abc123"
    assert text_of(client.converse(modelId=arn, messages=HELLO))


def test_an_api_key_needs_no_signature(connect: Connect) -> None:
    assert text_of(connect(key="bedrock-key").converse(modelId=CLAUDE, messages=HELLO))
    with pytest.raises(ClientError) as caught:
        connect(key="other").converse(modelId=CLAUDE, messages=HELLO)
    assert code_of(caught) == ("AccessDeniedException", 403)


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"secret": "wrong"}, "InvalidSignatureException"),
        ({"identity": "AKIAOTHER"}, "UnrecognizedClientException"),
    ],
)
def test_wrong_credentials_are_refused(connect: Connect, wrong: dict[str, str], code: str) -> None:
    with pytest.raises(ClientError) as caught:
        connect(**wrong).converse(modelId=CLAUDE, messages=HELLO)
    assert code_of(caught) == (code, 403)


@pytest.mark.parametrize("minutes", [-6, 6])
def test_a_signature_of_another_time_is_refused(client: Any, monkeypatch: pytest.MonkeyPatch, minutes: int) -> None:
    then = datetime.datetime.now(datetime.UTC).replace(tzinfo=None) + datetime.timedelta(minutes=minutes)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: then)
    with pytest.raises(ClientError) as caught:
        client.converse(modelId=CLAUDE, messages=HELLO)
    assert code_of(caught) == ("InvalidSignatureException", 403)


def test_a_stream_adds_up_to_the_whole_answer(client: Any) -> None:
    messages = user("Grüße 🎉 aus 東京, mit vielen Wörtern")
    events = list(client.converse_stream(modelId=CLAUDE, messages=messages)["stream"])
    pieces = [event["contentBlockDelta"]["delta"]["text"] for event in events if "contentBlockDelta" in event]
    whole = client.converse(modelId=CLAUDE, messages=messages)
    assert "".join(pieces) == text_of(whole)
    assert len(pieces) > 1
    assert [next(iter(event)) for event in events[-2:]] == ["messageStop", "metadata"]
    assert events[-1]["metadata"]["usage"] == whole["usage"]


def test_an_exception_within_a_stream_reaches_the_sdk(client: Any) -> None:
    stream = client.converse_stream(modelId=CLAUDE, messages=user("Many words to stream [[fault:error-chunk]]"))
    with pytest.raises(EventStreamError, match="serviceUnavailableException"):
        list(stream["stream"])


def test_a_damaged_stream_is_noticed(client: Any) -> None:
    stream = client.converse_stream(modelId=CLAUDE, messages=user("Many words to stream [[fault:malformed-chunk]]"))
    with pytest.raises(Exception, match=r"[Cc]hecksum"):
        list(stream["stream"])


def test_a_tool_is_called_and_its_result_heard(client: Any) -> None:
    config = {**TOOLS, "toolChoice": {"any": {}}}
    asked = client.converse(modelId=CLAUDE, messages=HELLO, toolConfig=config)
    assert asked["stopReason"] == "tool_use"
    (used,) = [block["toolUse"] for block in asked["output"]["message"]["content"] if "toolUse" in block]
    assert used["name"] == "weather" and isinstance(used["input"]["city"], str)
    result = {"toolUseId": used["toolUseId"], "content": [{"text": "Sunny in Rome."}], "status": "success"}
    talk = [*HELLO, asked["output"]["message"], {"role": "user", "content": [{"toolResult": result}]}]
    assert "Sunny in Rome." in text_of(client.converse(modelId=CLAUDE, messages=talk, toolConfig=TOOLS))


def test_a_streamed_call_has_its_arguments_in_pieces(client: Any) -> None:
    events = client.converse_stream(modelId=CLAUDE, messages=HELLO, toolConfig={**TOOLS, "toolChoice": {"any": {}}})
    events = list(events["stream"])
    pieces = [
        event["contentBlockDelta"]["delta"]["toolUse"]["input"] for event in events if "contentBlockDelta" in event
    ]
    assert isinstance(orjson.loads("".join(pieces))["city"], str)


def output_format(schema: dict[str, Any]) -> dict[str, Any]:
    definition = {"schema": orjson.dumps(schema).decode(), "name": "person"}
    return {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": definition}}}


def test_structured_output_conforms(client: Any) -> None:
    answer = client.converse(modelId=CLAUDE, messages=HELLO, outputConfig=output_format(SCHEMA))
    found = orjson.loads(text_of(answer))
    assert set(found) == {"name", "age"} and isinstance(found["age"], int)


@pytest.mark.parametrize(
    ("model", "schema", "words"),
    [
        ("anthropic.claude-3-haiku-20240307-v1:0", SCHEMA, "doesn't support the outputConfig.textFormat field"),
        (CLAUDE, {"type": "object", "properties": {}}, "'additionalProperties' must be false"),
    ],
)
def test_structured_output_that_cannot_be_had_is_refused(client: Any, model: str, schema: Any, words: str) -> None:
    with pytest.raises(client.exceptions.ValidationException, match=words):
        client.converse(modelId=model, messages=HELLO, outputConfig=output_format(schema))


def test_an_image_is_seen(client: Any) -> None:
    image = {"image": {"format": "png", "source": {"bytes": PNG}}}
    answer = client.converse(modelId=CLAUDE, messages=[{"role": "user", "content": [{"text": "What is it?"}, image]}])
    assert "Given 1 image(s) (image/png, 16 bytes)" in text_of(answer)


def test_thoughts_stand_apart(client: Any) -> None:
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    answer = client.converse(modelId=CLAUDE, messages=HELLO, additionalModelRequestFields=thinking)
    first, second = answer["output"]["message"]["content"]
    assert "reasoningText" in first["reasoningContent"] and "text" in second


def test_what_a_cache_point_ends_is_cached(client: Any) -> None:
    system = [{"text": "Long rules. " * 600}, {"cachePoint": {"type": "default"}}]
    first, second = (client.converse(modelId=CLAUDE, system=system, messages=HELLO)["usage"] for _ in range(2))
    assert first["cacheWriteInputTokens"] > 1000 and first["cacheReadInputTokens"] == 0
    assert second["cacheReadInputTokens"] == first["cacheWriteInputTokens"]
    assert second["inputTokens"] == first["inputTokens"]


def invoke(client: Any, model: str, body: dict[str, Any]) -> tuple[Any, str]:
    answer = client.invoke_model(modelId=model, body=orjson.dumps(body))
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    return orjson.loads(answer["body"].read()), headers["x-amzn-bedrock-input-token-count"]


def test_titan_embeds(client: Any) -> None:
    found, tokens = invoke(client, "amazon.titan-embed-text-v2:0", {"inputText": "Hello", "dimensions": 256})
    assert len(found["embedding"]) == 256
    assert found["inputTextTokenCount"] == int(tokens) > 0


def test_cohere_embeds(client: Any) -> None:
    body = {"texts": ["a", "b"], "input_type": "search_query"}
    found, tokens = invoke(client, "cohere.embed-english-v3", body)
    assert len(found["embeddings"]) == 2 and int(tokens) > 0
    found, _ = invoke(client, "cohere.embed-v4:0", {**body, "embedding_types": ["float"], "output_dimension": 256})
    assert [len(vector) for vector in found["embeddings"]["float"]] == [256, 256]


@pytest.mark.parametrize(
    ("model", "body", "words"),
    [
        ("amazon.titan-embed-text-v1", {"inputText": "a", "dimensions": 256}, "extraneous key"),
        ("amazon.titan-embed-text-v2:0", {"inputText": "a", "dimensions": 300}, "not in enum"),
        ("amazon.titan-embed-text-v2:0", {"inputText": ""}, "minLength"),
        ("cohere.embed-english-v3", {"texts": ["a"]}, "input_type"),
        ("cohere.embed-english-v3", {"texts": ["a"] * 97, "input_type": "search_query"}, "maximum item count"),
    ],
)
def test_malformed_embeddings_are_refused(client: Any, model: str, body: Any, words: str) -> None:
    with pytest.raises(client.exceptions.ValidationException, match=words):
        invoke(client, model, body)


@pytest.mark.parametrize(
    ("fault", "code", "status"),
    [
        ("401", "UnrecognizedClientException", 403),
        ("403", "AccessDeniedException", 403),
        ("404", "ResourceNotFoundException", 404),
        ("408", "ModelTimeoutException", 408),
        ("424", "ModelErrorException", 424),
        ("429", "ThrottlingException", 429),
        ("429-not-ready", "ModelNotReadyException", 429),
        ("500", "InternalServerException", 500),
        ("503", "ServiceUnavailableException", 503),
        ("context-length", "ValidationException", 400),
        ("quota-exhausted", "ServiceQuotaExceededException", 400),
    ],
)
def test_errors_become_the_sdks_own(client: Any, fault: str, code: str, status: int) -> None:
    for _ in range(2):  # with and without the URI behind the name
        with pytest.raises(ClientError) as caught:
            client.converse(modelId=CLAUDE, messages=user(f"{status} [[fault:{fault}]] {id(caught) if _ else 0}"))
        assert code_of(caught) == (code, status)
        if hasattr(client.exceptions, code):
            assert isinstance(caught.value, getattr(client.exceptions, code))


def test_what_the_filter_stopped_is_an_answer_without_text(client: Any) -> None:
    answer = client.converse(modelId=CLAUDE, messages=user("[[fault:content-filter]]"))
    assert (answer["stopReason"], answer["output"]["message"]["content"]) == ("content_filtered", [])


@pytest.mark.parametrize("fault", ["429", "503-once", "500-once", "429-not-ready"])
def test_the_sdk_retries_and_gets_an_answer(connect: Connect, fault: str) -> None:
    assert text_of(connect(retries=2).converse(modelId=CLAUDE, messages=user(f"retry me [[fault:{fault}]]")))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"messages": [{"role": "assistant", "content": [{"text": "Hi"}]}]}, "must start with a user message"),
        ({"messages": HELLO + HELLO}, "must alternate"),
        ({"messages": [{"role": "user", "content": [{"text": " "}]}]}, "is blank"),
        ({"inferenceConfig": {"temperature": 1.5}}, "less than or equal to 1"),
        ({"modelId": "meta.llama3-8b-instruct-v1:0", "inferenceConfig": {"maxTokens": 4096}}, "model limit of 2048"),
({"messages": [*HELLO, {"role": "assistant", "content": [USE]}]}, "toolConfig field must be defined"),
    ],
)  # fmt: skip
def test_what_bedrock_would_not_take_is_refused(client: Any, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(client.exceptions.ValidationException, match=words):
        client.converse(**{"modelId": CLAUDE, "messages": HELLO, **changes})


def test_requests_are_counted(client: Any) -> None:
    for _ in range(3):
        client.converse(modelId="anthropic.limited", messages=HELLO)
    with pytest.raises(client.exceptions.ThrottlingException, match="Too many requests"):
        client.converse(modelId="anthropic.limited", messages=HELLO)


def test_what_an_answer_may_cost_is_reserved_and_given_back(client: Any) -> None:
    with pytest.raises(client.exceptions.ThrottlingException, match="Too many tokens"):
        client.converse(modelId="anthropic.small", messages=HELLO)  # the longest answer of a model is 64,000 tokens
    for _ in range(5):
        client.converse(modelId="anthropic.small", messages=HELLO, inferenceConfig={"maxTokens": 500})
