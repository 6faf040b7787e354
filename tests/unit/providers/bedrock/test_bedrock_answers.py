"""What comes back from Amazon Bedrock: answers, embeddings, and every error."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiq.config.connections import BedrockConfig, Secret
from aiq.errors import ProviderError
from aiq.providers import adapter_for
from aiq.providers.bedrock.request import ANSWER_TOOL
from aiq.request import Answer, Usage

NOW = 1.7e9
SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}


def make_adapter(make: Any, model: str = "m", vendor: str = "anthropic", task: str = "llm/v1/chat") -> Any:
    config = BedrockConfig("us-east-1", vendor, Secret("AKID", "t"), Secret("secret-key", "t"))  # type: ignore[arg-type]
    found = adapter_for(make.entity(provider="amazon-bedrock", model=model, task=task, config=config), lambda: NOW)
    found.prepare()
    return found


@pytest.fixture
def adapter(make: Any) -> Any:
    return make_adapter(make)


def converse(*blocks: Any, reason: Any = "end_turn", **changes: Any) -> dict[str, Any]:
    usage = {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15}
    message = {"role": "assistant", "content": list(blocks)}
    return {
        "output": {"message": message},
        "stopReason": reason,
        "usage": usage,
        "metrics": {"latencyMs": 1},
        **changes,
    }


def use(name: str, arguments: Any, identity: str = "t1") -> dict[str, Any]:
    return {"toolUse": {"toolUseId": identity, "name": name, "input": arguments}}


@pytest.fixture
def decode(make: Any, adapter: Any) -> Any:
    def decoded(body: Any, status: int = 200, request: Any = None, **headers: str) -> Answer:
        answer = adapter.decode(request or make.request(), make.response(body, status, **headers))
        assert isinstance(answer, Answer)
        return answer

    return decoded


def failed(decode: Any, *arguments: Any, **headers: Any) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        decode(*arguments, **headers)
    return caught.value


def test_a_text_is_an_answer_in_openais_form(decode: Any) -> None:
    answer = decode(converse({"text": "Hello."}), x_amzn_requestid="r-1")
    assert (answer.value, answer.finish_reason, answer.model) == ("Hello.", "stop", "m")
    assert answer.usage == Usage(10, 5)
    raw = orjson.loads(answer.raw)
    assert raw["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}
    ]
    assert (raw["id"], raw["object"], raw["created"]) == ("r-1", "chat.completion", int(NOW))
    assert raw["usage"]["total_tokens"] == 15


def test_several_texts_are_one(decode: Any) -> None:
    cited = {"citationsContent": {"content": [{"text": "b"}], "citations": []}}
    assert decode(converse({"text": "a"}, cited, {"text": "c"})).value == "abc"


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"), ("stop_sequence", "stop"), ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
    ],
)  # fmt: skip
def test_stop_reasons_are_openais(decode: Any, reason: str, finish: str) -> None:
    assert decode(converse({"text": "x"}, reason=reason)).finish_reason == finish


def test_thoughts_are_no_part_of_the_value(decode: Any) -> None:
    thought = {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "s"}}}
    hidden = {"reasoningContent": {"redactedContent": "AAAA"}}
    answer = decode(converse(thought, hidden, {"text": "Yes."}))
    assert answer.value == "Yes."
    assert orjson.loads(answer.raw)["choices"][0]["message"]["reasoning_content"] == "Hm."


def test_calls_of_tools_are_openais(decode: Any) -> None:
    answer = decode(converse({"text": "Look."}, use("weather", {"in": "Rome"}), reason="tool_use"))
    assert (answer.value, answer.finish_reason) == ("Look.", "tool_calls")
    assert orjson.loads(answer.raw)["choices"][0]["message"]["tool_calls"] == [
        {"id": "t1", "type": "function", "function": {"name": "weather", "arguments": '{"in":"Rome"}'}}
    ]


def test_an_answer_of_calls_alone_has_no_text(decode: Any) -> None:
    assert decode(converse(use("weather", {}), reason="tool_use")).value is None


def test_what_the_answer_tool_is_called_with_is_the_answer(decode: Any) -> None:
    answer = decode(converse({"text": "Here:"}, use(ANSWER_TOOL, {"a": 1}), reason="tool_use"))
    assert (answer.value, answer.finish_reason) == ('{"a":1}', "stop")
    assert "tool_calls" not in answer.raw


def test_an_answer_beside_calls_leaves_them_to_be_made(decode: Any) -> None:
    answer = decode(converse(use("weather", {}), use(ANSWER_TOOL, {"a": 1}, "t2"), reason="tool_use"))
    assert (answer.value, answer.finish_reason) == ('{"a":1}', "tool_calls")


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (converse(), "bad_answer", "without a word"),
        (converse(reason="max_tokens"), "no_answer", "raise max_tokens"),
        (converse({"text": "half"}, reason="new_reason"), "bad_answer", "new_reason"),
    ],
)
def test_what_is_no_answer_is_an_error(decode: Any, body: Any, kind: str, words: str) -> None:
    with pytest.raises(ProviderError, match=words) as caught:
        decode(body)
    assert caught.value.kind == kind


def test_tokens_of_the_cache_are_input(decode: Any) -> None:
    usage = {
        "inputTokens": 10,
        "outputTokens": 5,
        "totalTokens": 45,
        "cacheReadInputTokens": 20,
        "cacheWriteInputTokens": 10,
    }
    answer = decode(converse({"text": "x"}, usage=usage))
    assert answer.usage == Usage(40, 5, cached_tokens=20, cache_write_tokens=10)


@pytest.mark.parametrize(
    "usage", [None, {}, {"inputTokens": -1, "outputTokens": 2}, {"inputTokens": 10**12, "outputTokens": 2}, 7]
)
def test_absurd_or_missing_usage_is_estimated(decode: Any, usage: Any) -> None:
    answer = decode(converse({"text": "abcdefg"}, usage=usage))
    assert answer.usage.estimated and answer.usage.output_tokens == 2


@pytest.mark.parametrize(
    ("blocks", "reason"),
    [
        ([{"text": "Sorry."}], "guardrail_intervened"),
        ([{"text": "Half"}], "content_filtered"),
        ([], "content_filtered"),
        ([], "guardrail_intervened"),
    ],
)
def test_what_was_blocked_is_an_error_and_billed(decode: Any, blocks: Any, reason: str) -> None:
    error = failed(decode, converse(*blocks, reason=reason))
    assert (error.kind, error.status, error.usage) == ("content_filter", 400, Usage(10, 5))
    assert reason in error.reason


@pytest.mark.parametrize("reason", ["malformed_model_output", "malformed_tool_use"])
def test_a_malformed_answer_is_unusable_and_billed(decode: Any, reason: str) -> None:
    error = failed(decode, converse({"text": "x"}, reason=reason))
    assert (error.kind, error.usage) == ("bad_answer", Usage(10, 5))


@pytest.mark.parametrize(
    "body",
    [
        b"<html>sign in</html>", b"", b"{", [], 5, {}, {"output": {}}, converse({"text": 5}), converse("x"),
        converse(None), converse({"toolUse": {}}), converse(use("f", {}, 7)),  # type: ignore[arg-type]
        converse({"text": "x"}) | {"output": None}, {"message": "no"},
    ],
)  # fmt: skip
def test_an_answer_of_another_form_is_unusable(decode: Any, body: Any) -> None:
    error = failed(decode, body)
    assert (error.kind, error.status) == ("bad_answer", 200)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=4),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["output", "message", "content", "text", "toolUse", "stopReason", "usage"]), inner
            )
        ),
        max_leaves=15,
    ),
    st.sampled_from([200, 400, 403, 429, 500, 302]),
)
def test_no_body_makes_it_fail_otherwise(make: Any, body: Any, status: int) -> None:
    adapter = make_adapter(make)
    with contextlib.suppress(ProviderError):
        adapter.decode(make.request(), make.response(body, status))


@given(st.binary(max_size=100), st.sampled_from([200, 400, 500]))
def test_no_bytes_make_it_fail_otherwise(make: Any, body: bytes, status: int) -> None:
    with pytest.raises(ProviderError):
        make_adapter(make).decode(make.request(), make.response(body, status))


URI = "http://internal.amazon.com/coral/com.amazon.coral.service/"
LONG = "Input is too long for requested model."


@pytest.mark.parametrize(
    ("status", "name", "words", "kind"),
    [
        (429, "ThrottlingException", "Too many requests, please wait before trying again.", "rate_limited"),
        (429, "ThrottlingException", "Too many tokens per day, please wait before trying again.", "quota_exhausted"),
        (429, "ModelNotReadyException", "The model is not ready.", "overloaded"),
        (400, "ServiceQuotaExceededException", "Over the quota.", "quota_exhausted"),
        (403, "AccessDeniedException", "You don't have access to the model.", "auth"),
        (403, "UnrecognizedClientException", "The security token included in the request is invalid.", "auth"),
        (403, "ExpiredTokenException", "The token is expired.", "auth"),
        (404, "ResourceNotFoundException", "Could not resolve the foundation model.", "not_found"),
        (408, "ModelTimeoutException", "The model took too long.", "overloaded"),
        (424, "ModelErrorException", "The model failed.", "overloaded"),
        (500, "InternalServerException", "Sorry.", "overloaded"),
        (503, "ServiceUnavailableException", "Busy.", "overloaded"),
        (400, "ValidationException", LONG, "context_length"),
        (400, "ValidationException", "prompt is too long: 209353 tokens > 199999 maximum", "context_length"),
        (400, "ValidationException", "Too many input tokens. Max input tokens: 8192, got 9000", "context_length"),
        (400, "ValidationException", "Malformed input request: expected maxLength: 5, actual: 6", "context_length"),
        (400, "ValidationException", "input length and `max_tokens` exceed context limit: 2 + 3 > 4", "context_length"),
        (400, "ValidationException", "This model's maximum context length is 8192 tokens.", "context_length"),
        (400, "ValidationException", "The provided model identifier is invalid.", "not_found"),
        (
            400, "ValidationException",
            "Invocation of model ID anthropic.claude with on-demand throughput isn't supported.", "not_found",
        ),
        (400, "ValidationException", "Output blocked by content filtering policy", "content_filter"),
        (400, "ValidationException", "The text field in the ContentBlock object is blank.", "bad_request"),
        (418, "SomethingNew", "?", "bad_request"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["{}", "{}:" + URI, "com.amazon.coral.service#{}", "aws.rest#{}:" + URI])
def test_errors_are_classified_by_their_name_and_words(
    decode: Any, status: int, name: str, words: str, kind: str, form: str
) -> None:
    error = failed(decode, {"message": words}, status, x_amzn_errortype=form.format(name))
    assert (error.kind, error.status) == (kind, status)
    assert error.reason == f"{name}: {words}"


def test_an_error_may_name_itself_in_its_body(decode: Any) -> None:
    body = {"__type": "com.amazonaws.bedrock#ServiceQuotaExceededException", "Message": "no"}
    assert failed(decode, body, 400).kind == "quota_exhausted"


@pytest.mark.parametrize("body", [b"", b"<html>bad gateway</html>", b"[]", b'"x"', b"{"])
def test_an_error_without_json_goes_by_its_status(decode: Any, body: bytes) -> None:
    error = failed(decode, body, 503)
    assert (error.kind, error.status) == ("overloaded", 503)
    assert error.reason


def test_a_redirect_is_not_followed(decode: Any) -> None:
    assert "never followed" in failed(decode, b"", 302, location="http://evil.test").reason


def test_a_hint_is_taken(decode: Any) -> None:
    assert failed(decode, {"message": "no"}, 429, retry_after="3").retry_after_s == 3


def test_words_never_hold_the_secret(decode: Any) -> None:
    error = failed(decode, {"message": "you sent secret-key"}, 403)
    assert "secret-key" not in error.reason + str(error.body)


def test_a_model_without_structured_output_is_made_to_call_a_tool(make: Any, adapter: Any, decode: Any) -> None:
    request = make.request(body={"messages": [{"role": "user", "content": "Hi"}], "response_format": SCHEMA})
    words = {"message": "This model doesn't support the outputConfig.textFormat field. Remove it and try again."}
    assert failed(decode, words, 400, request, x_amzn_errortype="ValidationException").kind == "adapted"
    config = orjson.loads(adapter.encode(request).body)
    assert "outputConfig" not in config
    assert config["toolConfig"]["tools"][0]["toolSpec"]["name"] == ANSWER_TOOL
    assert config["toolConfig"]["toolChoice"] == {"any": {}}
    # Requests that were in flight meanwhile say the same.
    assert failed(decode, words, 400, request).kind == "adapted"
    assert failed(decode, words, 400, make.request()).kind == "bad_request"


def test_a_model_that_takes_less_is_asked_in_a_simpler_way(make: Any, adapter: Any, decode: Any) -> None:
    request = make.request(body={"messages": [{"role": "user", "content": "Hi"}], "response_format": SCHEMA})
    tool, text_format = "toolConfig", "outputConfig"
    for words, there, said in (
        ("outputConfig.textFormat is not supported", [tool], "Hi"),
        (
            "This model doesn't support the toolConfig.toolChoice.any field.",
            [tool],
            f"Answer by calling {ANSWER_TOOL}.",
        ),
        ("This model doesn't support tool use.", [], '{"type":"object"}'),
    ):
        assert failed(decode, {"message": words}, 400, request).kind == "adapted"
        body = orjson.loads(adapter.encode(request).body)
        assert [name for name in (tool, text_format) if name in body] == there
        assert said in body["messages"][0]["content"][-1]["text"]
        assert "toolChoice" not in body.get(tool, {}) or said == "Hi"


def test_tools_of_ones_own_are_not_done_without(make: Any, decode: Any) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    request = make.request(body={"messages": [], "response_format": SCHEMA, "tools": tools})
    assert failed(decode, {"message": "This model doesn't support tool use."}, 400, request).kind == "bad_request"


def test_a_model_that_thinks_is_not_forced_to_call(make: Any, adapter: Any, decode: Any) -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}], "response_format": SCHEMA}
    words = {"message": "outputConfig.textFormat: unsupported"}
    failed(decode, words, 400, make.request(body=body))
    thinking = make.request(body={**body, "thinking": {"type": "enabled", "budget_tokens": 1024}})
    assert "toolChoice" not in orjson.loads(adapter.encode(thinking).body)["toolConfig"]


def test_a_bad_schema_is_the_statements_to_mend(make: Any, decode: Any) -> None:
    request = make.request(body={"messages": [], "response_format": SCHEMA})
    words = {"message": "outputConfig.textFormat: for 'object' type, 'additionalProperties' must be false"}
    assert failed(decode, words, 400, request).kind == "bad_request"


def test_a_model_that_answers_less_is_asked_for_less(make: Any, adapter: Any, decode: Any) -> None:
    words = {
        "message": "The maximum tokens you requested exceeds the model limit of 2048. Try again with fewer tokens."
    }
    assert failed(decode, words, 400).kind == "adapted"
    assert orjson.loads(adapter.encode(make.request()).body)["inferenceConfig"] == {"maxTokens": 2048}
    asked = make.request(body={"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4000})
    assert failed(decode, words, 400, asked).kind == "bad_request"


def test_a_wrong_clock_is_set_by_the_providers(make: Any, adapter: Any, decode: Any) -> None:
    words = {"message": "Signature expired: 20231114T221320Z is now earlier than 20231114T230000Z"}
    date = "Tue, 14 Nov 2023 23:13:20 GMT"  # an hour after NOW
    expired = {"x_amzn_errortype": "InvalidSignatureException", "date": date}
    assert failed(decode, words, 403, **expired).kind == "adapted"
    assert dict(adapter.encode(make.request()).headers)["x-amz-date"] == "20231114T231320Z"
    assert failed(decode, {"message": "The signature does not match"}, 403, **expired).kind == "auth"


def test_a_right_clock_is_not_why_a_signature_is_refused(decode: Any) -> None:
    date = "Tue, 14 Nov 2023 22:13:20 GMT"
    expired = {"x_amzn_errortype": "InvalidSignatureException", "date": date}
    assert failed(decode, {"message": "Signature expired"}, 403, **expired).kind == "auth"


def embedded(make: Any, body: Any, texts: int = 1, **headers: str) -> Answer:
    adapter = make_adapter(make, "amazon.titan-embed-text-v2:0", "amazon", "llm/v1/embeddings")
    request = make.request(body={"input": ["abcdefg"] * texts}, task="llm/v1/embeddings")
    answer: Answer = adapter.decode(request, make.response(body, **headers))
    return answer


def test_titans_vector(make: Any) -> None:
    answer = embedded(make, {"embedding": [0.5, 1], "inputTextTokenCount": 3})
    assert (answer.value, answer.usage) == ([[0.5, 1]], Usage(3, 0))


@pytest.mark.parametrize("form", [[[1.0], [2.0]], {"float": [[1.0], [2.0]]}])
def test_coheres_vectors(make: Any, form: Any) -> None:
    answer = embedded(make, {"id": "x", "embeddings": form}, 2, x_amzn_bedrock_input_token_count="9")
    assert (answer.value, answer.usage) == ([[1.0], [2.0]], Usage(9, 0))


@pytest.mark.parametrize("stated", ["", "-1", "1e3", "9" * 30, "x"])
def test_unstated_tokens_of_embeddings_are_estimated(make: Any, stated: str) -> None:
    answer = embedded(make, {"embeddings": [[1.0]]}, x_amzn_bedrock_input_token_count=stated)
    assert answer.usage == Usage(2, 0, estimated=True)


@pytest.mark.parametrize(
    "body",
    [{}, [], {"embedding": []}, {"embedding": ["x"]}, {"embedding": [1.0], "embeddings": []},
     {"embeddings": [[1.0], [2.0]]}, {"embedding": None}, {"embeddings": {"int8": [[1]]}}, {"embedding": [[1.0]]}],
)  # fmt: skip
def test_vectors_of_another_form_are_unusable(make: Any, body: Any) -> None:
    with pytest.raises(ProviderError) as caught:
        embedded(make, body)
    assert caught.value.kind == "bad_answer"
