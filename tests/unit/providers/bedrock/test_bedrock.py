"""What goes to Amazon Bedrock: OpenAI's chat as Converse, embeddings as InvokeModel, and how it is signed."""

from __future__ import annotations

from typing import Any

import botocore.session
import orjson
import pytest
from botocore.validate import ParamValidator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiq.config.connections import BedrockConfig, Secret
from aiq.errors import ProviderError
from aiq.providers import abilities_of, adapter_for, inputs_per_call
from aiq.providers.base import HttpRequest

CLAUDE = "anthropic.claude-sonnet-4-5-20250929-v1:0"
PNG = "data:image/png;base64,iVBORw0KGgo="
TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "Looks", "parameters": {"type": "object", "properties": {"in": {}}}},
}
SPEC = {
    "toolSpec": {
        "name": "weather",
        "description": "Looks",
        "inputSchema": {"json": {"type": "object", "properties": {"in": {}}}},
    }
}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"in":"Rome"}'}}
TALK = [
    {"role": "user", "content": "weather?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
]
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}}


def make_entity(
    make: Any, model: str = CLAUDE, *, task: str = "llm/v1/chat", vendor: str = "anthropic", **config: Any
) -> Any:
    keys = {"access_key_id": Secret("AKID", "t"), "secret_access_key": Secret("secret-key", "t")}
    settings = BedrockConfig("us-east-1", vendor, **(config or keys))  # type: ignore[arg-type]
    return make.entity(provider="amazon-bedrock", model=model, task=task, config=settings)


@pytest.fixture
def adapter(make: Any) -> Any:
    def made(model: str = CLAUDE, **changes: Any) -> Any:
        found = adapter_for(make_entity(make, model, **changes), lambda: 1.7e9)
        found.prepare()
        return found

    return made


@pytest.fixture
def encode(make: Any, adapter: Any) -> Any:
    """`encode(temperature=1, messages=[...])`: the body that is sent."""

    def sent(*, vendor: str = "anthropic", **body: Any) -> Any:
        body = {"messages": [{"role": "user", "content": "Hi"}], **body}
        return orjson.loads(adapter(vendor=vendor).encode(make.request(body=body)).body)

    return sent


def refused(encode: Any, **body: Any) -> str:
    with pytest.raises(ProviderError) as caught:
        encode(**body)
    assert (caught.value.kind, caught.value.status) == ("bad_request", 400)
    return caught.value.reason


def test_a_prompt_is_one_turn_and_says_how_long_its_answer_may_be(encode: Any) -> None:
    assert encode() == {
        "messages": [{"role": "user", "content": [{"text": "Hi"}]}],
        "inferenceConfig": {"maxTokens": 4096},
    }


def test_parameters_have_converses_names(encode: Any) -> None:
    body = encode(max_tokens=9, temperature=0.0, top_p=0.5, stop="END", n=1, service_tier="flex", metadata={"a": "b"})
    assert body["inferenceConfig"] == {"maxTokens": 9, "temperature": 0.0, "topP": 0.5, "stopSequences": ["END"]}
    assert body["serviceTier"] == {"type": "flex"}
    assert body["requestMetadata"] == {"a": "b"}
    assert "additionalModelRequestFields" not in body


def test_a_newer_name_of_the_limit_is_the_same(encode: Any) -> None:
    assert encode(max_completion_tokens=7)["inferenceConfig"] == {"maxTokens": 7}


def test_several_stop_sequences_stay_a_list(encode: Any) -> None:
    assert encode(stop=["a", "b"])["inferenceConfig"]["stopSequences"] == ["a", "b"]


@pytest.mark.parametrize(("effort", "wanted"), [("low", "low"), ("minimal", "low"), ("xhigh", "xhigh")])
def test_reasoning_effort_is_the_outputs_effort(encode: Any, effort: str, wanted: str) -> None:
    assert encode(reasoning_effort=effort)["outputConfig"] == {"effort": wanted}


def test_no_reasoning_effort_is_not_sent(encode: Any) -> None:
    assert "outputConfig" not in encode(reasoning_effort="none")


def test_what_only_the_model_knows_goes_to_the_model(encode: Any) -> None:
    body = encode(thinking={"type": "enabled", "budget_tokens": 1024}, anthropic_beta=["x"], seed=5)
    assert body["additionalModelRequestFields"] == {
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "anthropic_beta": ["x"],
        "seed": 5,
    }
    assert body["inferenceConfig"] == {"maxTokens": 4096 + 1024}


def test_additional_fields_of_ones_own_are_added(encode: Any) -> None:
    body = encode(additionalModelRequestFields={"top_a": 1}, top_k=5)
    assert body["additionalModelRequestFields"] == {"top_a": 1, "top_k": 5}
    assert "additionalModelRequestFields" in refused(encode, additionalModelRequestFields="x")


@pytest.mark.parametrize(
    ("vendor", "wanted"),
    [("anthropic", {"top_k": 5}), ("amazon", {"inferenceConfig": {"topK": 5}}), ("cohere", {"k": 5})],
)
def test_top_k_has_each_vendors_name(encode: Any, vendor: str, wanted: Any) -> None:
    assert encode(top_k=5, vendor=vendor)["additionalModelRequestFields"] == wanted


def test_converses_own_fields_stand_beside_the_messages(encode: Any) -> None:
    guardrail = {"guardrailIdentifier": "g", "guardrailVersion": "1"}
    body = encode(guardrailConfig=guardrail, performanceConfig={"latency": "optimized"})
    assert body["guardrailConfig"] == guardrail
    assert body["performanceConfig"] == {"latency": "optimized"}


def test_a_name_in_a_body_changes_neither_model_nor_address(make: Any, adapter: Any) -> None:
    plain, evil = adapter(), {"modelId": "x", "model": "y", "endpoint_url": "http://evil", "headers": {"a": "b"}}
    body = {"messages": [{"role": "user", "content": "Hi"}], **evil}
    sent, usual = plain.encode(make.request(body=body)), plain.encode(make.request())
    assert sent.url == usual.url
    assert [name for name, _ in sent.headers] == [name for name, _ in usual.headers]


def test_what_the_system_says_stands_apart(encode: Any) -> None:
    body = encode(
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [{"type": "text", "text": "In German."}]},
            {"role": "system", "content": ""},
            {"role": "user", "content": "Hi"},
        ]
    )
    assert body["system"] == [{"text": "Be brief."}, {"text": "In German."}]
    assert body["messages"] == [{"role": "user", "content": [{"text": "Hi"}]}]


def test_turns_alternate(encode: Any) -> None:
    body = encode(
        messages=[
            {"role": "user", "content": "a"},
            {"role": "user", "content": [{"type": "text", "text": "b"}]},
            {"role": "assistant", "content": "c"},
            {"role": "user", "content": "d"},
        ]
    )
    assert body["messages"] == [
        {"role": "user", "content": [{"text": "a"}, {"text": "b"}]},
        {"role": "assistant", "content": [{"text": "c"}]},
        {"role": "user", "content": [{"text": "d"}]},
    ]


def test_images_are_sent_as_bytes(encode: Any) -> None:
    parts = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}}]
    assert encode(messages=[{"role": "user", "content": parts}])["messages"][0]["content"] == [
        {"text": "What?"},
        {"image": {"format": "png", "source": {"bytes": "iVBORw0KGgo="}}},
    ]


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"type": "image_url", "image_url": {"url": "data:image/bmp;base64,AAAA"}}, "no image/bmp"),
        ({"type": "video_url", "video_url": {}}, "no part of type 'video_url'"),
        ({"type": "file", "file": {}}, "a data: URL of a PDF"),
        ({"type": "file", "file": {"file_data": "data:text/plain;base64,AAAA"}}, "a data: URL of a PDF"),
    ],
)
def test_other_parts_are_refused_by_name(encode: Any, part: Any, words: str) -> None:
    assert words in refused(encode, messages=[{"role": "user", "content": [part]}])


def test_files_and_recordings_have_the_form_of_awss_own_client(encode: Any) -> None:
    pdf, other = ({"type": "file", "file": {"file_data": f"data:application/pdf;base64,{x}"}} for x in ("AAAA", "AAAB"))
    audio = {"type": "input_audio", "input_audio": {"format": "mp3", "data": "AAAA"}}
    messages = encode(messages=[{"role": "user", "content": [pdf, other, audio]}])["messages"]
    names = [block["document"]["name"] for block in messages[0]["content"][:2]]
    assert len(set(names)) == 2
    shape = botocore.session.Session().get_service_model("bedrock-runtime").operation_model("Converse").input_shape
    report = ParamValidator().validate({"modelId": "m", "messages": messages}, shape)
    assert not report.has_errors(), report.generate_report()


def test_a_marked_part_ends_what_is_cached(encode: Any) -> None:
    part = {"type": "text", "text": "long", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    body = encode(messages=[{"role": "system", "content": [part]}, {"role": "user", "content": "Hi"}])
    assert body["system"] == [{"text": "long"}, {"cachePoint": {"type": "default", "ttl": "1h"}}]


def test_tools_and_their_results(encode: Any) -> None:
    body = encode(messages=TALK, tools=[TOOL], tool_choice="required")
    assert body["toolConfig"] == {"tools": [SPEC], "toolChoice": {"any": {}}}
    assert body["messages"] == [
        {"role": "user", "content": [{"text": "weather?"}]},
        {
            "role": "assistant",
            "content": [{"toolUse": {"toolUseId": "c1", "name": "weather", "input": {"in": "Rome"}}}],
        },
        {"role": "user", "content": [{"toolResult": {"toolUseId": "c1", "content": [{"text": "sunny"}]}}]},
    ]


def test_results_of_tools_called_together_are_one_turn(encode: Any) -> None:
    talk = [
        TALK[0],
        {"role": "assistant", "content": "Two.", "tool_calls": [CALL, {**CALL, "id": "c2"}]},
        TALK[2],
        {"role": "tool", "tool_call_id": "c2", "content": ""},
    ]
    turns = encode(messages=talk, tools=[TOOL])["messages"]
    assert [list(block) for block in turns[1]["content"]] == [["text"], ["toolUse"], ["toolUse"]]
    assert [block["toolResult"]["content"] for block in turns[2]["content"]] == [[{"text": "sunny"}], []]


@pytest.mark.parametrize("choice", [None, "auto"])
def test_the_model_chooses_by_default(encode: Any, choice: Any) -> None:
    assert encode(tools=[TOOL], tool_choice=choice)["toolConfig"] == {"tools": [SPEC]}


def test_one_tool_can_be_demanded(encode: Any) -> None:
    choice = {"type": "function", "function": {"name": "weather"}}
    assert encode(tools=[TOOL], tool_choice=choice)["toolConfig"]["toolChoice"] == {"tool": {"name": "weather"}}


def test_without_a_choice_of_tools_none_are_sent(encode: Any) -> None:
    assert "toolConfig" not in encode(tools=[TOOL], tool_choice="none")


def test_tools_that_a_conversation_speaks_of_are_declared(encode: Any) -> None:
    tools = encode(messages=TALK)["toolConfig"]["tools"]
    assert tools == [{"toolSpec": {"name": "weather", "inputSchema": {"json": {"type": "object", "properties": {}}}}}]


def test_claude_can_be_kept_from_calling(encode: Any) -> None:
    body = encode(messages=TALK, tools=[TOOL], tool_choice="none")
    assert body["additionalModelRequestFields"] == {"tool_choice": {"type": "none"}}
    assert "tool_choice none" in refused(encode, messages=TALK, tools=[TOOL], tool_choice="none", vendor="amazon")


def test_claude_can_be_kept_to_one_call(encode: Any) -> None:
    body = encode(tools=[TOOL], parallel_tool_calls=False)
    assert body["additionalModelRequestFields"]["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert "toolConfig" in encode(tools=[TOOL], parallel_tool_calls=True, vendor="amazon")
    assert "parallel_tool_calls" in refused(encode, tools=[TOOL], parallel_tool_calls=False, vendor="amazon")


def test_a_strict_tool_is_strict(encode: Any) -> None:
    strict = {"type": "function", "function": {**TOOL["function"], "strict": True}}  # type: ignore[dict-item]
    assert encode(tools=[strict])["toolConfig"]["tools"][0]["toolSpec"]["strict"] is True


def test_structured_output_is_converses_own(encode: Any) -> None:
    (given,) = [encode(response_format=FORMAT, reasoning_effort="low")["outputConfig"]]
    text_format = given["textFormat"]
    assert given["effort"] == "low"
    assert text_format["type"] == "json_schema"
    definition = text_format["structure"]["jsonSchema"]
    assert definition["name"] == "answer"
    assert orjson.loads(definition["schema"]) == SCHEMA


def test_what_structured_output_has_no_words_for_stands_in_descriptions(encode: Any) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 3}}, "additionalProperties": False}
    given = encode(response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema}})
    sent = orjson.loads(given["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"])
    assert sent["properties"]["a"] == {"type": "integer", "description": '{"minimum":3}'}


def test_keys_of_any_name_are_asked_for_by_a_tool(encode: Any) -> None:
    schema = {"type": "object", "additionalProperties": {"type": "string"}}
    body = encode(response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema}})
    assert "outputConfig" not in body
    assert body["toolConfig"]["tools"][0]["toolSpec"]["inputSchema"] == {"json": schema}


def test_json_without_a_schema_is_an_instruction(encode: Any) -> None:
    body = encode(response_format={"type": "json_object"})
    (turn,) = body["messages"]  # where every model reads it
    assert turn["content"][0] == {"text": "Hi"} and "JSON object" in turn["content"][1]["text"]
    assert "outputConfig" not in body


def test_text_needs_no_format(encode: Any) -> None:
    assert "outputConfig" not in encode(response_format={"type": "text"})


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"n": 2}, "one answer a call"),
        ({"tools": [{"type": "custom", "custom": {}}]}, "only functions"),
        ({"tools": [TOOL], "tool_choice": "some"}, "no tool_choice 'some'"),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools"}}, "no tool_choice of type"),
        ({"response_format": {"type": "grammar"}}, "no response_format of type 'grammar'"),
        ({"messages": [{"role": "function", "content": "x"}]}, "the role 'function'"),
        ({"messages": [TALK[0], {"role": "assistant", "tool_calls": [{"id": "1", "custom": {}}]}]}, "functions only"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}]},
            "those of 'f' are not",
        ),
        ({"messages": []}, "OpenAI's form"),
        ({"messages": "x"}, "OpenAI's form"),
        ({"tools": [{"type": "function"}]}, "OpenAI's form"),
        ({"response_format": {"type": "json_schema"}}, "OpenAI's form"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(encode: Any, body: Any, words: str) -> None:
    reason = refused(encode, **body)
    assert reason.startswith("provider amazon-bedrock ")
    assert words in reason


NAMES = ["role", "content", "type", "text", "image_url", "url", "tool_calls", "function", "name", "json_schema"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from(["messages", "tools", "tool_choice", "response_format", "stop", "thinking", "top_k"]), JSON
    )
)
def test_no_body_makes_it_fail_otherwise(make: Any, body: Any) -> None:
    adapter = adapter_for(make_entity(make, vendor="amazon"), lambda: 0.0)
    adapter.prepare()
    try:
        adapter.encode(make.request(body=body))
    except ProviderError as error:
        assert error.kind == "bad_request"


@pytest.mark.parametrize(
    ("model", "segment"),
    [
        (CLAUDE, "anthropic.claude-sonnet-4-5-20250929-v1%3A0"),
        (
            "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/a1",
            "arn%3Aaws%3Abedrock%3Aeu-west-1%3A123456789012%3Aapplication-inference-profile%2Fa1",
        ),
    ],
)
def test_a_model_is_one_segment_of_the_path(make: Any, adapter: Any, model: str, segment: str) -> None:
    base = "https://bedrock-runtime.us-east-1.amazonaws.com/model"
    assert adapter(model).encode(make.request()).url == f"{base}/{segment}/converse"
    assert adapter(model).encode(make.request(), stream=True).url == f"{base}/{segment}/converse-stream"


def test_china_has_a_domain_of_its_own(make: Any) -> None:
    entity = make_entity(make)
    china = BedrockConfig("cn-north-1", "anthropic", Secret("a", "t"), Secret("b", "t"))
    found = adapter_for(make.entity(provider="amazon-bedrock", model=entity.model, config=china))
    assert found.address == "https://bedrock-runtime.cn-north-1.amazonaws.com.cn"


def header(request: HttpRequest, name: str) -> str:
    return dict(request.headers)[name]


def test_a_key_pair_signs(make: Any, adapter: Any) -> None:
    sent = adapter().encode(make.request())
    assert header(sent, "authorization").startswith(
        "AWS4-HMAC-SHA256 Credential=AKID/20231114/us-east-1/bedrock/aws4_request, "
    )
    assert "secret-key" not in str(sent)


def test_an_api_key_is_a_bearer_token(make: Any, adapter: Any) -> None:
    sent = adapter(api_key=Secret("bedrock-key", "t")).encode(make.request())
    assert header(sent, "authorization") == "Bearer bedrock-key"
    assert "x-amz-date" not in dict(sent.headers)


def test_what_it_honours_is_known_before_a_call(make: Any) -> None:
    abilities = abilities_of(make_entity(make))
    assert abilities.honours("llm/v1/chat", "temperature")
    assert not abilities.honours("llm/v1/chat", "seed")
    assert not abilities.honours("llm/v1/chat", "logprobs")
    assert abilities.has_own("top_k")
    assert not abilities.has_own("temperatur")


def embed(make: Any, adapter: Any, model: str, *texts: str, vendor: str = "amazon", **body: Any) -> HttpRequest:
    request = make.request(body={"input": list(texts), **body}, task="llm/v1/embeddings")
    sent: HttpRequest = adapter(model, task="llm/v1/embeddings", vendor=vendor).encode(request)
    return sent


def test_titan_embeds_one_text(make: Any, adapter: Any) -> None:
    sent = embed(make, adapter, "amazon.titan-embed-text-v2:0", "a", dimensions=256, normalize=False)
    assert sent.url.endswith("/model/amazon.titan-embed-text-v2%3A0/invoke")
    assert orjson.loads(sent.body) == {"inputText": "a", "dimensions": 256, "normalize": False}


def test_cohere_embeds_many_texts(make: Any, adapter: Any) -> None:
    sent = embed(make, adapter, "cohere.embed-v4:0", "a", "b", vendor="cohere", dimensions=512)
    assert orjson.loads(sent.body) == {"texts": ["a", "b"], "input_type": "search_document", "output_dimension": 512}
    sent = embed(make, adapter, "cohere.embed-english-v3", "a", vendor="cohere", input_type="search_query")
    assert orjson.loads(sent.body) == {"texts": ["a"], "input_type": "search_query"}


@pytest.mark.parametrize(
    ("model", "vendor", "texts", "words"),
    [
        ("amazon.titan-embed-text-v1", "amazon", 1, "cannot choose the dimensions"),
        ("cohere.embed-english-v3", "cohere", 1, "cannot choose the dimensions"),
        ("amazon.titan-embed-text-v2:0", "amazon", 2, "one text a call"),
        ("cohere.embed-v4:0", "cohere", 97, "96 texts a call"),
        ("anthropic.claude", "anthropic", 1, "not of anthropic"),
    ],
)
def test_embeddings_that_cannot_be_had_are_refused(
    make: Any, adapter: Any, model: str, vendor: str, texts: int, words: str
) -> None:
    with pytest.raises(ProviderError, match=words):
        embed(make, adapter, model, *["a"] * texts, vendor=vendor, dimensions=256)


@pytest.mark.parametrize(
    ("model", "most"),
    [
        ("amazon.titan-embed-text-v2:0", 1),
        ("cohere.embed-english-v3", 96),
        ("us.cohere.embed-v4:0", 96),
        ("arn:aws:x", 1),
    ],
)
def test_a_call_carries_as_many_texts_as_its_model_takes(make: Any, model: str, most: int) -> None:
    assert inputs_per_call([make_entity(make, model, task="llm/v1/embeddings")], 128) == most
