"""OpenAI's wire format: URLs and headers out, answers and error classes in; no exception but ProviderError."""

from __future__ import annotations

import base64
import struct
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiq.config.connections import CustomConfig, ModelServerConfig, OpenAIConfig, Secret
from aiq.errors import ProviderError
from aiq.providers import Adapter, adapter_for
from aiq.request import Answer, Usage

SECRET = "sk-very-secret/value"


def opened(make: Any, **changes: Any) -> Adapter:
    adapter = adapter_for(make.entity(**changes))
    adapter.prepare()
    return adapter


def refused(adapter: Adapter, request: Any, response: Any) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        adapter.decode(request, response)
    return caught.value


# Requests

AZURE = OpenAIConfig(
    Secret(SECRET, "s"), "azure", "https://res.openai.azure.com/", api_version="2024-10-21", deployment_name="my dep"
)
ENTRA = OpenAIConfig(Secret(SECRET, "s"), "azuread", "https://r.test", api_version="v", deployment_name="d")


@pytest.mark.parametrize(
    ("config", "url"),
    [
        (OpenAIConfig(), "https://api.openai.com/v1/chat/completions"),
        (OpenAIConfig(api_base="http://h:1/v1/"), "http://h:1/v1/chat/completions"),
        (AZURE, "https://res.openai.azure.com/openai/deployments/my%20dep/chat/completions?api-version=2024-10-21"),
        (CustomConfig("http://h/v1"), "http://h/v1/chat/completions"),
        (CustomConfig("http://h/v1/"), "http://h/v1/chat/completions"),
        (CustomConfig("http://h/v1/chat/completions"), "http://h/v1/chat/completions"),
        (CustomConfig("http://h/v1?tenant=a"), "http://h/v1/chat/completions?tenant=a"),
        (CustomConfig("http://h"), "http://h/chat/completions"),
    ],
)
def test_the_url_is_completed_with_the_tasks_path(make: Any, config: Any, url: str) -> None:
    provider = "custom" if isinstance(config, CustomConfig) else "openai"
    assert opened(make, config=config, provider=provider).encode(make.request()).url == url


@pytest.mark.parametrize(
    ("config", "header"),
    [
        (OpenAIConfig(Secret(SECRET, "s")), ("authorization", f"Bearer {SECRET}")),
        (AZURE, ("api-key", SECRET)),
        (ENTRA, ("authorization", f"Bearer {SECRET}")),
        (CustomConfig("http://h", bearer=Secret(SECRET, "s")), ("authorization", f"Bearer {SECRET}")),
        (CustomConfig("http://h", header=("x-key", Secret(SECRET, "s"))), ("x-key", SECRET)),
        (OpenAIConfig(organization="org-1"), ("openai-organization", "org-1")),
    ],
)
def test_the_credential_goes_where_the_provider_wants_it(make: Any, config: Any, header: tuple[str, str]) -> None:
    provider = "custom" if isinstance(config, CustomConfig) else "openai"
    assert header in opened(make, config=config, provider=provider).encode(make.request()).headers


def test_without_a_credential_none_is_sent(make: Any) -> None:
    adapter = opened(make, config=CustomConfig("http://h"), provider="custom")
    assert adapter.encode(make.request()).headers == [("content-type", "application/json")]


def test_the_model_is_in_the_body_but_for_azure(make: Any) -> None:
    assert orjson.loads(opened(make).encode(make.request()).body)["model"] == "gpt-4o-mini"
    assert "model" not in orjson.loads(opened(make, config=AZURE).encode(make.request()).body)


def test_max_tokens_is_renamed_once_the_model_asks_for_it(make: Any) -> None:
    adapter = opened(make)
    request = make.request(body={"messages": [], "max_tokens": 5})
    error = {"code": "unsupported_parameter", "param": "max_tokens", "message": "use max_completion_tokens"}
    assert refused(adapter, request, make.response({"error": error}, 400)).kind == "adapted"
    sent = orjson.loads(adapter.encode(request).body)
    assert sent["max_completion_tokens"] == 5
    assert "max_tokens" not in sent
    assert request.body["max_tokens"] == 5


def test_all_requests_that_were_in_flight_when_it_was_learnt_are_sent_again(make: Any) -> None:
    adapter = opened(make)
    error = {"error": {"code": "unsupported_parameter", "param": "max_tokens"}}
    kinds = [refused(adapter, make.request(), make.response(error, 400)).kind for _ in range(3)]
    assert kinds == ["adapted"] * 3


# Errors

FIXTURES = [
    (400, {"error": {"message": "x", "code": None, "type": "invalid_request_error"}}, "bad_request"),
    (400, {"error": {"code": "context_length_exceeded"}}, "context_length"),
    (400, {"error": {"code": "content_policy_violation"}}, "content_filter"),
    (
        400,
        {"error": {"code": "content_filter", "innererror": {"code": "ResponsibleAIPolicyViolation"}}},
        "content_filter",
    ),
    (400, {"error": {"code": "other", "innererror": {"code": "ResponsibleAIPolicyViolation"}}}, "content_filter"),
    (400, {"error": {"code": "other", "innererror": "words"}}, "bad_request"),
    (400, {"object": "error", "message": "vLLM says no", "code": 400}, "bad_request"),
    (401, {"error": {"code": "invalid_api_key"}}, "auth"),
    (402, {"error": "pay"}, "quota_exhausted"),
    (403, {}, "auth"),
    (404, {"error": {"code": "model_not_found"}}, "not_found"),
    (404, {"error": {"code": "DeploymentNotFound"}}, "not_found"),
    (408, {}, "overloaded"),
    (409, {}, "overloaded"),
    (413, {}, "bad_request"),
    (424, {}, "overloaded"),
    (425, {}, "overloaded"),
    (429, {"error": {"code": "rate_limit_exceeded"}}, "rate_limited"),
    (429, {"error": {"code": "insufficient_quota"}}, "quota_exhausted"),
    (429, {"error": {"code": None, "type": "insufficient_quota"}}, "quota_exhausted"),
    (429, [], "rate_limited"),
    (500, None, "overloaded"),
    (502, {}, "overloaded"),
    (503, {"error": {"message": None}}, "overloaded"),
    (504, {}, "overloaded"),
    (529, {}, "overloaded"),
    (302, {}, "not_found"),
]


@pytest.mark.parametrize(("status", "body", "kind"), FIXTURES)
def test_each_error_has_its_class(make: Any, status: int, body: Any, kind: str) -> None:
    error = refused(opened(make), make.request(), make.response(body, status))
    assert (error.kind, error.status) == (kind, status)
    assert error.reason


@pytest.mark.parametrize(
    ("code", "kind", "status"),
    [
        ("rate_limit_exceeded", "rate_limited", 429),
        ("insufficient_quota", "quota_exhausted", 429),
        ("invalid_api_key", "auth", 401),
        ("content_filter", "content_filter", 400),
        ("context_length_exceeded", "context_length", 400),
        ("server_error", "bad_answer", 502),
    ],
)
def test_an_error_inside_a_200_is_the_error_it_should_have_been(make: Any, code: str, kind: str, status: int) -> None:
    error = refused(opened(make), make.request(), make.failure(200, code))
    assert (error.kind, error.status) == (kind, status)


@pytest.mark.parametrize("status", [200, 502])
@pytest.mark.parametrize("view", [bytes, memoryview])
def test_an_html_page_is_named_as_such(make: Any, status: int, view: Any) -> None:
    page = make.response(b"<html><body>Bad gateway</body></html>", status)
    error = refused(opened(make), make.request(), page._replace(body=view(page.body)))
    assert "HTML page" in error.reason
    assert error.kind == ("bad_answer" if status == 200 else "overloaded")


def test_a_redirect_says_that_it_is_not_followed(make: Any) -> None:
    error = refused(opened(make), make.request(), make.response(b"", 307, location="http://elsewhere"))
    assert "never followed" in error.reason


@pytest.mark.parametrize("status", [200, 400, 401, 500])
def test_a_credential_that_the_provider_repeats_is_not_shown(make: Any, status: int) -> None:
    adapter = opened(make, config=OpenAIConfig(Secret(SECRET, "s")))
    for body in (
        {"error": {"message": f"key {SECRET} is wrong"}},
        {"error": {"message": "x" * 490 + f" {SECRET}"}},  # cut in the middle
        f"plain words with {SECRET}".encode(),
        ("<p>" + SECRET).encode(),
        {"choices": SECRET},
        {"choices": [{"message": {"refusal": f"not with {SECRET}"}}]},
    ):
        error = refused(adapter, make.request(), make.response(body, status))
        assert SECRET[:8] not in str(error) + str(error.body)


def test_long_words_are_shortened_to_one_line(make: Any) -> None:
    error = refused(opened(make), make.request(), make.failure(500, None, "a\nb\t" * 400))
    assert len(error.reason) == 500
    assert "\n" not in error.reason


# The hint

DATE = "Wed, 21 Oct 2026 07:28:00 GMT"


@pytest.mark.parametrize(
    ("headers", "hint"),
    [
        ({"retry_after": "2"}, 2.0),
        ({"retry_after": "0.5"}, 0.5),
        ({"retry_after": " 7 "}, 7.0),
        ({"retry_after_ms": "250"}, 0.25),
        ({"retry_after_ms": "250", "retry_after": "9"}, 0.25),
        ({"retry_after_ms": "soon", "retry_after": "9"}, 9.0),
        ({"retry_after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": DATE}, 30.0),
        ({"retry_after": "Wed, 21 Oct 2026 07:28:30 GMT"}, None),
        ({"retry_after": "Wed, 21 Oct 2026 07:00:00 GMT", "date": DATE}, None),
        ({"retry_after": "Wed, 21 Oct 2026 07:28:30 -0000", "date": DATE}, None),
        ({"retry_after": "Wed, 21 Oct 99999999999999999999 07:28:30 GMT", "date": DATE}, None),
        ({"retry_after": "0"}, None),
        ({"retry_after": "-3"}, None),
        ({"retry_after": "nan"}, None),
        ({"retry_after": "inf"}, None),
        ({"retry_after": "1e9"}, None),
        ({"retry_after": ""}, None),
        ({"retry_after": "later"}, None),
        ({}, None),
    ],
)
def test_the_hint_is_read_in_every_form(make: Any, headers: dict[str, str], hint: float | None) -> None:
    assert refused(opened(make), make.request(), make.failure(429, **headers)).retry_after_s == hint


# Answers


def test_a_chat_completion_is_an_answer(make: Any) -> None:
    answer = opened(make).decode(make.request(), make.chat_answer("Hello."))
    assert answer[:4] == ("Hello.", Usage(10, 5), "gpt-4o-mini-2024", "stop")


def test_a_completion_is_an_answer(make: Any) -> None:
    body = {"choices": [{"text": "done", "finish_reason": "length"}], "usage": {"prompt_tokens": 1}}
    request = make.request(task="llm/v1/completions", body={"prompt": "x"})
    answer = opened(make, task="llm/v1/completions").decode(request, make.response(body))
    assert answer[:4] == ("done", Usage(1, 1, estimated=True), "gpt-4o-mini", "length")


def test_an_answer_without_content_is_an_error(make: Any) -> None:
    error = refused(opened(make), make.request(), make.chat_answer(None))
    assert (error.kind, error.once, error.usage) == ("bad_answer", True, Usage(10, 5))


@pytest.mark.parametrize("view", [bytes, memoryview])
def test_a_body_may_be_a_view(make: Any, view: Any) -> None:
    reply = make.chat_answer("é😀")
    answer = opened(make).decode(make.request(), reply._replace(body=view(reply.body)))
    assert answer.value == "é😀"
    assert orjson.loads(answer.raw)["choices"]


@pytest.mark.parametrize(
    "usage",
    [None, {}, [], "x", {"prompt_tokens": -1}, {"prompt_tokens": 1.5}, {"prompt_tokens": True},
     {"prompt_tokens": 2**63}, {"prompt_tokens": 1, "completion_tokens": -5},
     {"prompt_tokens": 1, "completion_tokens": "7"}],
)  # fmt: skip
def test_a_usage_that_is_missing_or_absurd_is_estimated(make: Any, usage: Any) -> None:
    answer = opened(make).decode(make.request(text="x" * 7), make.chat_answer("y" * 11, usage=usage))
    assert answer.usage == Usage(2, 3, estimated=True)


@pytest.mark.parametrize(
    "details", [None, [], "x", {"cached_tokens": None}, {"cached_tokens": "9"}, {"cached_tokens": 11}]
)
def test_odd_details_of_the_usage_do_not_cost_the_answer(make: Any, details: Any) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": details}
    assert opened(make).decode(make.request(), make.chat_answer(usage=usage)).usage == Usage(10, 5)


def test_cached_and_reasoning_tokens_are_read(make: Any) -> None:
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    assert opened(make).decode(make.request(), make.chat_answer(usage=usage)).usage == Usage(10, 5, 4, 3)


def test_a_refusal_is_a_content_filter_error_that_was_billed(make: Any) -> None:
    choice = {"message": {"content": None, "refusal": "I cannot."}, "finish_reason": "stop"}
    error = refused(opened(make), make.request(), make.chat_answer(choices=[choice]))
    assert (error.kind, error.status, error.usage) == ("content_filter", 400, Usage(10, 5))
    assert "I cannot." in error.reason


def test_an_answer_that_the_content_filter_emptied_is_an_error(make: Any) -> None:
    choice = {"message": {"content": ""}, "finish_reason": "content_filter"}
    assert refused(opened(make), make.request(), make.chat_answer(choices=[choice])).kind == "content_filter"


def test_an_answer_that_the_content_filter_cut_is_an_error(make: Any) -> None:
    choice = {"message": {"content": "half"}, "finish_reason": "content_filter"}
    assert refused(opened(make), make.request(), make.chat_answer(choices=[choice])).kind == "content_filter"


# Embeddings

EMBEDDINGS = "llm/v1/embeddings"


def embed(make: Any, data: Any, inputs: int = 2) -> Answer:
    request = make.request(task=EMBEDDINGS, body={"input": ["x"] * inputs})
    reply = make.response({"data": data, "model": "m", "usage": {"prompt_tokens": 4, "total_tokens": 4}})
    return opened(make, task=EMBEDDINGS).decode(request, reply)


def test_embeddings_come_back_in_the_order_of_the_inputs(make: Any) -> None:
    answer = embed(make, [{"index": 1, "embedding": [2.0, 0]}, {"index": 0, "embedding": [1.0]}])
    assert (answer.value, answer.usage) == ([[1.0], [2.0, 0]], Usage(4, 0))


def test_base64_embeddings_are_little_endian_floats(make: Any) -> None:
    text = base64.b64encode(struct.pack("<2f", 0.5, -1.25)).decode()
    assert embed(make, [{"index": 0, "embedding": text}], 1).value == [[0.5, -1.25]]


@pytest.mark.parametrize(
    "data",
    [
        [],
        [{"index": 0, "embedding": [1.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": -1, "embedding": [1.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 2, "embedding": [1.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": True, "embedding": [1.0]}],
        [{"index": 0, "embedding": [1.0]}, {"embedding": [1.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": None}],
        [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": []}],
        [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [None]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": ["1"]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": "not base64!"}],
        [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": "AAA="}],
        [{"index": i, "embedding": [1.0]} for i in (0, 1, 1)],
    ],
)
def test_anything_but_one_vector_per_input_is_a_bad_answer(make: Any, data: Any) -> None:
    with pytest.raises(ProviderError) as caught:
        embed(make, data)
    assert caught.value.kind == "bad_answer"


# Whatever comes

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "error",
                    "code",
                    "type",
                    "innererror",
                    "message",
                    "param",
                    "choices",
                    "content",
                    "refusal",
                    "finish_reason",
                    "text",
                    "data",
                    "index",
                    "embedding",
                    "usage",
                    "prompt_tokens",
                    "completion_tokens",
                    "prompt_tokens_details",
                    "cached_tokens",
                    "model",
                    "predictions",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)
STATUS = st.sampled_from([200, 200, 200, 204, 302, 400, 401, 429, 500, 599])
ADAPTERS = [
    ("llm/v1/chat", {}),
    ("llm/v1/completions", {"task": "llm/v1/completions"}),
    (EMBEDDINGS, {"task": EMBEDDINGS}),
    ("custom", {"task": "custom", "provider": "model-server", "config": ModelServerConfig("http://h")}),
]


def decode_whatever(make: Any, task: Any, changes: Any, reply: Any) -> None:
    body = {"input": ["x"], "messages": []}
    try:
        answer = opened(make, **changes).decode(make.request(task=task, body=body), reply)
    except ProviderError as error:
        assert str(error)
        return
    assert answer.finish_reason is None or isinstance(answer.finish_reason, str)
    assert all(type(count) is int and count >= 0 for count in answer.usage[:4])


@pytest.mark.parametrize(("task", "changes"), ADAPTERS)
@given(status=STATUS, body=st.binary(max_size=60), hint=st.text(max_size=30))
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_an_answer_or_a_provider_error(
    make: Any, task: Any, changes: Any, status: int, body: bytes, hint: str
) -> None:
    decode_whatever(make, task, changes, make.response(body, status, retry_after=hint, date=hint))


@pytest.mark.parametrize(("task", "changes"), ADAPTERS)
@given(status=STATUS, body=JSON)
@settings(max_examples=150, deadline=None)
def test_any_json_is_an_answer_or_a_provider_error(make: Any, task: Any, changes: Any, status: int, body: Any) -> None:
    decode_whatever(make, task, changes, make.response(body, status))


@pytest.mark.parametrize(("task", "changes"), ADAPTERS[:2])
@given(choice=JSON, usage=JSON, model=JSON)
@settings(max_examples=100, deadline=None)
def test_any_choice_is_an_answer_or_a_provider_error(
    make: Any, task: Any, changes: Any, choice: Any, usage: Any, model: Any
) -> None:
    choice = {"message": choice, "text": "x", "finish_reason": model}
    decode_whatever(make, task, changes, make.response({"choices": [choice], "usage": usage, "model": model}))
