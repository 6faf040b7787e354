"""The Gemini API: addresses, credentials, and OpenAI's requests in Gemini's words."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiq.config.connections import KeyConfig, Secret
from aiq.errors import ProviderError
from aiq.functions.model_parameters import FunctionError, check_model_parameters
from aiq.providers import abilities_of
from tests.unit.providers.google.gemini import KEY, PIXEL, SCHEMA, call, entity, opened, refusal, sent, signed

# Addresses and credentials


@pytest.mark.parametrize(
    ("base", "model", "url"),
    [
        (None, "gemini-2.5-flash", "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash"),
        ("http://h:1", "models/gemini-2.5-flash", "http://h:1/v1beta/models/gemini-2.5-flash"),
        ("http://h:1/proxy", "tunedModels/mine", "http://h:1/proxy/v1beta/tunedModels/mine"),
        ("http://h:1", "odd name?", "http://h:1/v1beta/models/odd%20name%3F"),
    ],
)
def test_the_url_names_model_and_method(make: Any, base: str | None, model: str, url: str) -> None:
    adapter = opened(make, model, config=KeyConfig(Secret(KEY, "s"), base))
    assert adapter.address == adapter.encode(make.request()).url == f"{url}:generateContent"
    assert adapter.encode(make.request(), stream=True).url == f"{url}:streamGenerateContent?alt=sse"


def test_the_key_goes_into_a_header_and_never_into_the_url(make: Any) -> None:
    wire = opened(make).encode(make.request(), stream=True)
    assert wire.headers == [("content-type", "application/json"), ("x-goog-api-key", KEY)]
    assert KEY not in wire.url and KEY.encode() not in wire.body


def test_no_token_is_asked_for(make: Any) -> None:
    assert opened(make).token_request() is None


# Requests


def test_a_plain_prompt_is_one_content(make: Any) -> None:
    assert sent(make, {}) == {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}


def test_what_system_and_developer_say_is_the_system_instruction(make: Any) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "developer", "content": [{"type": "text", "text": "In French."}]},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    ]
    assert sent(make, {"messages": messages}) == {
        "systemInstruction": {"parts": [{"text": "Be brief."}, {"text": "In French."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "Hi"}]},
            {"role": "model", "parts": [{"text": "Hello."}]},
            {"role": "user", "parts": [{"text": "a"}, {"text": "b"}]},
        ],
    }


@pytest.mark.parametrize(
    ("body", "config"),
    [
        ({"temperature": 0.5, "top_p": 0.9, "max_tokens": 7}, {"temperature": 0.5, "topP": 0.9, "maxOutputTokens": 7}),
        ({"max_completion_tokens": 8, "seed": 3, "n": 2}, {"maxOutputTokens": 8, "seed": 3, "candidateCount": 2}),
        ({"stop": "x"}, {"stopSequences": ["x"]}),
        ({"stop": ["x", "y"]}, {"stopSequences": ["x", "y"]}),
        ({"presence_penalty": 1.0, "frequency_penalty": -1.0}, {"presencePenalty": 1.0, "frequencyPenalty": -1.0}),
        ({"logprobs": True, "top_logprobs": 2}, {"responseLogprobs": True, "logprobs": 2}),
        ({"response_format": {"type": "json_object"}}, {"responseMimeType": "application/json"}),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "strict": True, "schema": SCHEMA},
                }
            },
            {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA},
        ),
        ({"top_k": 40}, {"topK": 40}),
        ({"what_is_new": 1}, {"what_is_new": 1}),
    ],
)
def test_parameters_have_gemini_names(make: Any, body: dict[str, Any], config: dict[str, Any]) -> None:
    assert sent(make, body)["generationConfig"] == config


@pytest.mark.parametrize(
    "body",
    [{"response_format": {"type": "text"}}, {"parallel_tool_calls": True}, {"user": None}, {"service_tier": "auto"}],
)
def test_what_is_so_anyhow_is_not_sent(make: Any, body: dict[str, Any]) -> None:
    assert sent(make, body) == sent(make, {})


@pytest.mark.parametrize(
    ("body", "wire"),
    [
        ({"safety_settings": [{"category": "c"}]}, {"safetySettings": [{"category": "c"}]}),
        ({"cachedContent": "cachedContents/1"}, {"cachedContent": "cachedContents/1"}),
        ({"service_tier": "default"}, {"serviceTier": "standard"}),
        ({"service_tier": "flex"}, {"serviceTier": "flex"}),
    ],
)
def test_some_parameters_stand_beside_the_configuration(make: Any, body: dict[str, Any], wire: dict[str, Any]) -> None:
    assert sent(make, body) == {**sent(make, {}), **wire}


@pytest.mark.parametrize(
    ("model", "effort", "thinking"),
    [
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0}),
        ("gemini-2.5-flash", "minimal", {"thinkingBudget": 1024}),
        ("gemini-2.5-pro", "medium", {"thinkingBudget": 8192}),
        ("gemini-2.5-pro", "high", {"thinkingBudget": 24_576}),
        ("gemini-3-flash-preview", "none", {"thinkingLevel": "MINIMAL"}),
        ("gemini-3.1-pro", "low", {"thinkingLevel": "LOW"}),
        ("gemini-flash-latest", "high", {"thinkingLevel": "HIGH"}),
    ],
)
def test_an_effort_is_a_budget_before_gemini_3_and_a_level_from_then_on(
    make: Any, model: str, effort: str, thinking: dict[str, Any]
) -> None:
    assert sent(make, {"reasoning_effort": effort}, model)["generationConfig"] == {"thinkingConfig": thinking}


def test_an_effort_and_a_thinking_configuration_are_put_together(make: Any) -> None:
    both = {"thinking_config": {"includeThoughts": True}, "reasoning_effort": "low"}
    expected = {"thinkingConfig": {"includeThoughts": True, "thinkingBudget": 1024}}
    assert sent(make, both)["generationConfig"] == expected
    assert sent(make, dict(reversed(both.items())))["generationConfig"] == expected


@pytest.mark.parametrize(
    ("part", "wire"),
    [
        (
            {"type": "image_url", "image_url": {"url": PIXEL}},
            {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://h.test/a/b.JPG?x=1"}},
            {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://h.test/a/b.JPG?x=1"}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "gs://bucket/a.webp"}},
            {"fileData": {"mimeType": "image/webp", "fileUri": "gs://bucket/a.webp"}},
        ),
        (
            {"type": "input_audio", "input_audio": {"format": "wav", "data": "UklGRg=="}},
            {"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}},
        ),
        (
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0="}},
            {"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0="}},
        ),
    ],
)
def test_images_and_files_are_data_or_links(make: Any, part: dict[str, Any], wire: dict[str, Any]) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "See"}, part]}]
    assert sent(make, {"messages": messages})["contents"][0]["parts"] == [{"text": "See"}, wire]


TOOLS = [
    {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA, "strict": True}},
    {"type": "function", "function": {"name": "g"}},
]


def test_tools_are_function_declarations(make: Any) -> None:
    assert sent(make, {"tools": [*TOOLS, {"googleSearch": {}}]})["tools"] == [
        {
            "functionDeclarations": [
                {"name": "f", "description": "d", "parametersJsonSchema": SCHEMA},
                {"name": "g"},
            ]
        },
        {"googleSearch": {}},
    ]


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        ({"type": "function", "function": {"name": "f"}}, {"mode": "ANY", "allowedFunctionNames": ["f"]}),
    ],
)
def test_a_tool_choice_is_a_mode(make: Any, choice: Any, config: dict[str, Any]) -> None:
    assert sent(make, {"tools": TOOLS, "tool_choice": choice})["toolConfig"] == {"functionCallingConfig": config}


CONVERSATION = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": None, "tool_calls": [call("c1", **signed("S1")), call("call_aiq_r_1", "g", "")]},
    {"role": "tool", "tool_call_id": "c1", "content": '{"ok":true}'},
    {"role": "tool", "tool_call_id": "call_aiq_r_1", "content": [{"type": "text", "text": "done"}]},
    {"role": "user", "content": "And?"},
]


def test_calls_and_their_results_are_told_with_names_ids_and_signatures(make: Any) -> None:
    assert sent(make, {"messages": CONVERSATION})["contents"][1:3] == [
        {
            "role": "model",
            "parts": [
                {"functionCall": {"name": "f", "args": {"a": 1}, "id": "c1"}, "thoughtSignature": "S1"},
                {"functionCall": {"name": "g", "args": {}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "f", "response": {"ok": True}, "id": "c1"}},
                {"functionResponse": {"name": "g", "response": {"result": "done"}}},
            ],
        },
    ]


@pytest.mark.parametrize(("model", "signature"), [("gemini-3-pro", "skip_thought_signature_validator"),
                                                  ("gemini-2.5-pro", None)])  # fmt: skip
def test_a_call_that_another_model_made_has_googles_stand_in_for_a_signature(
    make: Any, model: str, signature: str | None
) -> None:
    messages = [{"role": "assistant", "content": "Wait.", "tool_calls": [call("c1"), call("c2")]}]
    parts = sent(make, {"messages": messages}, model)["contents"][0]["parts"]
    assert [part.get("thoughtSignature") for part in parts] == [None, signature, None]


def test_an_answer_goes_back_with_its_signature(make: Any) -> None:
    messages = [{"role": "assistant", "content": "Hello.", **signed("S")}]
    assert sent(make, {"messages": messages})["contents"][0]["parts"] == [{"text": "Hello.", "thoughtSignature": "S"}]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"messages": [{"role": "critic", "content": "x"}]}, "no messages of role 'critic'"),
        ({"messages": [{"role": "system", "content": "x"}]}, "needs a message of a user"),
        ({"messages": [{"role": "tool", "tool_call_id": "c9", "content": "x"}]}, "which function"),
        ({"messages": [{"role": "user", "content": [{"type": "video_url"}]}]}, "no parts of type 'video_url'"),
        ({"messages": [{"role": "user", "content": None}]}, "cannot read the request"),
        ({"messages": ["x"]}, "cannot read the request"),
        ({"messages": [{"role": "assistant", "tool_calls": [call("c", arguments="{")]}]}, "cannot read the request"),
        (
            {"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": {"url": PIXEL}}]}]},
            "nothing but text in a message of role 'system'",
        ),
        ({"tools": [{"type": "custom"}]}, "no tools of type 'custom'"),
        ({"tool_choice": "any"}, "no tool_choice 'any'"),
        ({"tool_choice": {"type": "allowed_tools"}}, "no tool_choice of type 'allowed_tools'"),
        ({"response_format": {"type": "grammar"}}, "no response_format of type 'grammar'"),
        ({"reasoning_effort": "endless"}, "no reasoning_effort 'endless'"),
        ({"service_tier": "scale"}, "no service_tier 'scale'"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"logit_bias": {"1": 2}}, "cannot honour logit_bias"),
        ({"user": "ann"}, "cannot honour user"),
    ],
)
def test_what_gemini_cannot_do_is_refused_by_name(make: Any, body: dict[str, Any], words: str) -> None:
    assert words in refusal(make, body)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://h.test/image", "told the type of a linked image"),
        ("file:///etc/passwd", "a data: URL"),
        ("data:;base64,AAAA", "a data: URL"),
        ("data:image/png,plain", "a data: URL"),
        ("data:image/gif;base64,R0lGODlh", "no GIF"),
    ],
)
def test_an_image_that_cannot_be_sent_is_refused(make: Any, url: str, words: str) -> None:
    part = {"type": "image_url", "image_url": {"url": url}}
    assert words in refusal(make, {"messages": [{"role": "user", "content": [part]}]})


@pytest.mark.parametrize("name", ["logit_bias", "user", "parallel_tool_calls", "verbosity"])
def test_what_gemini_cannot_do_is_refused_before_a_statement_runs(make: Any, name: str) -> None:
    value: Any = {"logit_bias": {"1": 1}, "user": "ann", "parallel_tool_calls": True, "verbosity": "low"}[name]
    with pytest.raises(FunctionError, match=f"`{name}` cannot be honoured by provider palm"):
        check_model_parameters(
            {name: value}, task="llm/v1/chat", endpoint="e", providers={"palm": abilities_of(entity(make))}
        )


def test_a_parameter_of_its_own_is_taken(make: Any) -> None:
    abilities = {"palm": abilities_of(entity(make))}
    given_ = {"top_k": 5, "reasoning_effort": "low"}
    assert check_model_parameters(given_, task="llm/v1/chat", endpoint="e", providers=abilities) == given_


def test_a_request_is_not_changed_by_being_sent(make: Any) -> None:
    body = {"messages": CONVERSATION, "tools": TOOLS, "stop": "x", "thinking_config": {"includeThoughts": True}}
    before = orjson.dumps(body)
    sent(make, {**body, "reasoning_effort": "low"})
    assert orjson.dumps(body) == before


# Embeddings


def test_embeddings_travel_as_a_batch(make: Any) -> None:
    changes = {"task": "llm/v1/embeddings", "model": "gemini-embedding-001"}
    body = {"input": ["a", "b"], "dimensions": 4, "task_type": "CLUSTERING"}
    each = {"model": "models/gemini-embedding-001", "outputDimensionality": 4, "taskType": "CLUSTERING"}
    assert sent(make, body, **changes) == {
        "requests": [{"content": {"parts": [{"text": text}]}, **each} for text in "ab"]
    }
    assert opened(make, **changes).address.endswith("/v1beta/models/gemini-embedding-001:batchEmbedContents")


def test_a_batch_holds_a_hundred_texts_at_most(make: Any) -> None:
    limit = abilities_of(entity(make)).most_inputs
    assert limit is not None and limit("gemini-embedding-001") == 100


@pytest.mark.parametrize(
    ("body", "words"), [({"input": [[1, 2]]}, "embeds texts"), ({"input": ["a"], "user": "u"}, "cannot honour user")]
)
def test_an_input_that_is_no_text_is_refused(make: Any, body: dict[str, Any], words: str) -> None:
    assert words in refusal(make, body, task="llm/v1/embeddings")


# Nonsense

NAMES = (
    "messages", "role", "content", "type", "text", "image_url", "url", "tool_calls", "id", "function", "name",
    "arguments", "tool_call_id", "tools", "parameters", "tool_choice", "response_format", "json_schema", "schema",
    "stop", "reasoning_effort", "thinking_config", "extra_content", "google", "thought_signature", "input",
    "dimensions",
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["user", "assistant", "tool", "function", "text"])
    | st.sampled_from(["image_url", "json_schema", PIXEL, "http://[", "{"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=200)
@given(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=6), st.sampled_from(["llm/v1/chat", "llm/v1/embeddings"]))
def test_no_request_raises_anything_but_a_provider_error(make: Any, body: Any, task: Any) -> None:
    request = make.request(body={"messages": [], "input": [], **body}, task=task)
    with suppress(ProviderError):
        assert isinstance(orjson.loads(opened(make, task=task).encode(request).body), dict)
