"""Claude, Mistral and open models on Vertex AI: what is sent is what the makers' own clients send there."""

from __future__ import annotations

from typing import Any

import httpx2 as httpx
import orjson
import pytest
from anthropic import AnthropicVertex

from aiq.config.connections import VertexConfig
from aiq.errors import ProviderError, UnsupportedConfigError
from aiq.providers import Adapter, abilities_of, adapter_for
from aiq.providers.base import CloudToken

HELLO = [{"role": "user", "content": "Hi"}]
ROOT = "/v1/projects/p/locations/europe-west1"


def opened(make: Any, model: str, region: str = "europe-west1", task: str = "llm/v1/chat") -> Adapter:
    config = VertexConfig("p", region)
    entity = make.entity(provider="google-cloud-vertex-ai", config=config, model=model, task=task)
    adapter = adapter_for(entity, lambda: 1.7e9)
    adapter.take_cloud_token(CloudToken("ya29.hidden", 3600.0, project="payer"))
    return adapter


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("region", ["europe-west1", "global", "us"])
def test_claude_is_asked_as_its_makers_client_asks(make: Any, region: str, stream: bool) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(400, json={})

    client = AnthropicVertex(
        region=region,
        project_id="p",
        access_token="ya29.hidden",
        max_retries=0,
        http_client=httpx.Client(transport=httpx.MockTransport(answer)),
    )
    with pytest.raises(Exception, match="400"):
        client.messages.create(
            model="claude-sonnet-4-5@20250929", max_tokens=9, messages=HELLO, stream=stream, stop_sequences=["END"]
        )
    adapter = opened(make, "claude-sonnet-4-5@20250929", region)
    ours = adapter.encode(make.request(body={"messages": HELLO, "max_tokens": 9, "stop": "END"}), stream=stream)
    assert ours.url == str(seen[0].url)
    sent, theirs = orjson.loads(ours.body), orjson.loads(seen[0].content)
    # The client of today names a version that takes no temperature; ours is the one before, as at Anthropic itself.
    assert (sent.pop("anthropic_version"), theirs.pop("anthropic_version")) == ("vertex-2023-10-16", "2026-10-21")
    assert sent == {name: value for name, value in theirs.items() if value or name != "stream"}
    headers = dict(ours.headers)
    assert headers["authorization"] == seen[0].headers["authorization"] == "Bearer ya29.hidden"
    assert headers["x-goog-user-project"] == "payer"


@pytest.mark.parametrize("name", ["anthropic/claude-opus-5", "publishers/anthropic/models/claude-opus-5"])
def test_a_model_may_be_named_with_its_maker(make: Any, name: str) -> None:
    assert opened(make, name).address.endswith(f"{ROOT}/publishers/anthropic/models/claude-opus-5:rawPredict")


def test_mistral_has_its_own_names(make: Any) -> None:
    body = {"messages": HELLO, "seed": 7, "max_completion_tokens": 9}
    adapter = opened(make, "mistral-small-2503")
    sent = adapter.encode(make.request(body=body))
    assert orjson.loads(sent.body) == {
        "model": "mistral-small-2503", "messages": HELLO, "random_seed": 7, "max_tokens": 9
    }  # fmt: skip
    assert sent.url.endswith(f"{ROOT}/publishers/mistralai/models/mistral-small-2503:rawPredict")
    streamed = adapter.encode(make.request(body=body), stream=True)
    assert streamed.url.endswith(":streamRawPredict") and "stream_options" not in orjson.loads(streamed.body)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("meta/llama-4-maverick-17b-128e-instruct-maas", "meta/llama-4-maverick-17b-128e-instruct-maas"),
        ("llama-3.3-70b-instruct-maas", "meta/llama-3.3-70b-instruct-maas"),
        ("publishers/deepseek-ai/models/deepseek-v3.1-maas", "deepseek-ai/deepseek-v3.1-maas"),
    ],
)
def test_open_models_speak_openais_form(make: Any, name: str, wanted: str) -> None:
    sent = opened(make, name).encode(make.request(body={"messages": HELLO, "seed": 7}))
    assert sent.url.endswith(f"{ROOT}/endpoints/openapi/chat/completions")
    assert orjson.loads(sent.body) == {"model": wanted, "messages": HELLO, "seed": 7}


@pytest.mark.parametrize("model", ["claude-opus-5", "mistral-small-2503", "meta/llama-4"])
def test_googles_refusals_stand_before_all_of_them(make: Any, model: str) -> None:
    error = {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Quota exceeded for ya29.hidden"}
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"}]
    for body in ({"error": error | {"details": details}}, [{"error": error | {"details": details}}]):
        with pytest.raises(ProviderError) as caught:
            opened(make, model).decode(make.request(), make.response(body, status=429))
        assert (caught.value.kind, caught.value.retry_after_s) == ("rate_limited", 7.0)
        assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("model", ["claude-opus-5", "mistral-small-2503", "meta/llama-4"])
def test_embeddings_are_googles_own_alone(make: Any, model: str) -> None:
    with pytest.raises(UnsupportedConfigError, match="has chat only on Vertex AI"):
        opened(make, model, task="llm/v1/embeddings")


def test_claude_can_what_claude_can(make: Any) -> None:
    config = VertexConfig("p", "global")
    entity = make.entity(provider="google-cloud-vertex-ai", config=config, model="claude-opus-5")
    assert not abilities_of(entity).honours("llm/v1/chat", "seed")
