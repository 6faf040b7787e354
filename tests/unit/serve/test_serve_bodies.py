"""Whatever a body says: a request that the endpoint's adapter can encode, or a refusal; never another error."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from aiq.config.endpoint import Endpoint
from aiq.config.load import load_config
from aiq.errors import ProviderError
from aiq.providers import adapter_for
from aiq.request import Caller
from aiq.serve.bodies import asked_of
from aiq.serve.refusals import Refusal

CALLER = Caller("ada@example.com", ("people",))
SECRET = "sk-0123456789abcdef"
MODELS: dict[str, dict[str, Any]] = {
    "openai": {"provider": "openai", "openai_config": {"openai_api_key_plaintext": SECRET}},
    "anthropic": {"provider": "anthropic", "anthropic_config": {"anthropic_api_key_plaintext": SECRET}},
    "cohere": {"provider": "cohere", "cohere_config": {"cohere_api_key_plaintext": SECRET}},
    "custom": {
        "provider": "custom",
        "custom_provider_config": {
            "custom_provider_url": "http://127.0.0.1:9/v1/chat/completions",
            "bearer_token_auth": {"token_plaintext": SECRET},
        },
    },
    "bedrock": {
        "provider": "amazon-bedrock",
        "amazon_bedrock_config": {
            "aws_region": "us-east-1",
            "bedrock_provider": "anthropic",
            "aws_access_key_id_plaintext": "AKIA0123456789ABCDEF",
            "aws_secret_access_key_plaintext": SECRET,
        },
    },
}


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Endpoint]:
    folder = tmp_path_factory.mktemp("conf")
    (folder / "endpoints").mkdir()
    for name, model in MODELS.items():
        entity = {"external_model": {"name": "some-model", "task": "llm/v1/chat", **model}}
        body = {"name": name, "config": {"served_entities": [entity]}}
        (folder / "endpoints" / f"{name}.yml").write_text(yaml.safe_dump(body))
    return dict(load_config(folder, folder / "home").endpoints)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FUNCTION = st.fixed_dictionaries({"name": st.text(max_size=5)}, optional={"parameters": JSON, "arguments": JSON})
PART = JSON | st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image_url", "file", "input_audio", "refusal"])},
    optional={"text": JSON, "image_url": JSON | st.fixed_dictionaries({"url": st.text(max_size=30)})},
)
CALL = JSON | st.fixed_dictionaries({"id": JSON, "type": st.just("function"), "function": FUNCTION})
MESSAGE = JSON | st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool", "developer", "function"]) | JSON},
    optional={
        "content": st.text() | JSON | st.lists(PART, max_size=3),
        "tool_calls": JSON | st.lists(CALL, max_size=2),
        "tool_call_id": JSON,
        "name": JSON,
    },
)
BODY = st.fixed_dictionaries(
    {"messages": st.lists(MESSAGE, max_size=4) | JSON},
    optional={
        "tools": st.lists(JSON | st.fixed_dictionaries({"type": st.just("function"), "function": FUNCTION})) | JSON,
        "tool_choice": JSON | st.sampled_from(["auto", "none", "required"]),
        "response_format": JSON | st.fixed_dictionaries({"type": st.sampled_from(["json_object", "text"])}),
    }
    | {
        name: JSON
        for name in (
            "temperature", "max_tokens", "n", "stop", "stream", "top_p", "seed", "logprobs", "user", "metadata",
            "usage_context", "client_request_id", "extra_params", "reasoning_effort", "parallel_tool_calls",
            "custom_inputs", "model",
        )
    },
)  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
@given(body=BODY)
def test_a_body_is_encoded_or_refused(endpoints: dict[str, Endpoint], name: str, body: dict[str, Any]) -> None:
    endpoint = endpoints[name]
    try:
        asked = asked_of(endpoint, body, CALLER, "tag")
    except Refusal as refusal:
        assert refusal.status == 400 and refusal.message
        return
    adapter = adapter_for(endpoint.entities[0], lambda: 0.0)
    adapter.prepare()
    try:
        wire = adapter.encode(asked.request, stream=asked.stream)
    except ProviderError as error:
        assert error.kind in ("bad_request", "content_filter")
        return
    assert isinstance(orjson.loads(wire.body), dict)
