"""The Gemini API: its answers and errors in OpenAI's words; no exception but ProviderError."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiq.errors import ProviderError
from aiq.request import Answer, Usage
from tests.unit.providers.google.gemini import KEY, call, opened, sent, signed


def candidate(*parts: dict[str, Any], reason: str | None = "STOP", index: int = 0, **changes: Any) -> dict[str, Any]:
    found = {"content": {"role": "model", "parts": list(parts)}, "finishReason": reason, "index": index, **changes}
    return {name: value for name, value in found.items() if value is not None}


def reply(*candidates: dict[str, Any], usage: Any = None, **changes: Any) -> dict[str, Any]:
    counts = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15} if usage is None else usage
    whole = {"candidates": list(candidates), "usageMetadata": counts, "modelVersion": "gemini-2.5-flash-001"}
    return {**whole, "responseId": "r1", **changes}


def decoded(make: Any, body: Any, request: Any = None, **changes: Any) -> Answer:
    return opened(make, **changes).decode(request or make.request(), make.response(body))


def refused(make: Any, body: Any, status: int = 200, **headers: str) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        opened(make).decode(make.request(), make.response(body, status, **headers))
    return caught.value


# Answers


def test_an_answer_has_text_tokens_model_and_reason_and_openais_form(make: Any) -> None:
    answer = decoded(make, reply(candidate({"text": "Hel"}, {"text": "lo."})))
    assert answer[:4] == ("Hello.", Usage(10, 5), "gemini-2.5-flash-001", "stop")
    assert orjson.loads(answer.raw) == {
        "id": "r1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "gemini-2.5-flash-001",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }


def test_thoughts_are_no_part_of_the_value(make: Any) -> None:
    counts = {"promptTokenCount": 10, "candidatesTokenCount": 5, "thoughtsTokenCount": 7, "totalTokenCount": 22}
    parts = ({"text": "Let me see.", "thought": True}, {"text": "42", "thoughtSignature": "S"})
    answer = decoded(make, reply(candidate(*parts), usage=counts))
    assert (answer.value, answer.usage) == ("42", Usage(10, 12, 0, 7))
    message = orjson.loads(answer.raw)["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "42", "reasoning_content": "Let me see.", **signed("S")}


@pytest.mark.parametrize(
    ("counts", "usage"),
    [
        ({"promptTokenCount": 9, "candidatesTokenCount": 4, "cachedContentTokenCount": 6}, Usage(9, 4, 6)),
        ({"promptTokenCount": 9, "candidatesTokenCount": 4, "cachedContentTokenCount": 60}, Usage(9, 4, 0)),
        ({"promptTokenCount": 9, "toolUsePromptTokenCount": 2, "candidatesTokenCount": 4}, Usage(11, 4)),
        ({"promptTokenCount": 9}, Usage(9, 1, estimated=True)),
    ],
)
def test_tokens_are_googles_arithmetic(make: Any, counts: Any, usage: Usage) -> None:
    assert decoded(make, reply(candidate({"text": "x"}), usage=counts)).usage == usage


@pytest.mark.parametrize(
    "counts",
    [{}, [], "x", {"promptTokenCount": -1}, {"promptTokenCount": 1.5}, {"promptTokenCount": 2**62},
     {"promptTokenCount": 1, "candidatesTokenCount": -5}, {"promptTokenCount": 1, "thoughtsTokenCount": "7"}],
)  # fmt: skip
def test_a_count_that_is_missing_or_absurd_is_estimated(make: Any, counts: Any) -> None:
    answer = decoded(make, reply(candidate({"text": "y" * 11}), usage=counts), make.request(text="x" * 7))
    assert answer.usage == Usage(2, 3, estimated=True)


def test_calls_are_openais_with_the_signatures_of_their_thoughts(make: Any) -> None:
    parts = (
        {"functionCall": {"name": "f", "args": {"a": 1}, "id": "c1"}, "thoughtSignature": "S1"},
        {"functionCall": {"name": "g"}},
    )
    answer = decoded(make, reply(candidate(*parts)))
    assert (answer.value, answer.finish_reason) == (None, "tool_calls")
    message = orjson.loads(answer.raw)["choices"][0]["message"]
    assert message["tool_calls"] == [call("c1", **signed("S1")), call("call_aiq_r1_1", "g", "{}")]


def test_what_was_answered_can_be_sent_back(make: Any) -> None:
    parts = [{"functionCall": {"name": "f", "args": {"a": 1}, "id": "c1"}, "thoughtSignature": "S1"},
             {"functionCall": {"name": "g", "args": {}}}]  # fmt: skip
    message = orjson.loads(decoded(make, reply(candidate(*parts))).raw)["choices"][0]["message"]
    assert sent(make, {"messages": [message]})["contents"] == [{"role": "model", "parts": parts}]


@pytest.mark.parametrize(("reason", "finished"), [("STOP", "stop"), ("MAX_TOKENS", "length")])
def test_reasons_to_stop_are_openais(make: Any, reason: str, finished: str) -> None:
    answer = decoded(make, reply(candidate({"text": "x"}, reason=reason)))
    assert (answer.value, answer.finish_reason) == ("x", finished)


def test_an_answer_whose_thoughts_took_all_tokens_is_none(make: Any) -> None:
    error = refused(make, reply({"content": {"role": "model"}, "finishReason": "MAX_TOKENS", "index": 0}))
    assert (error.kind, error.usage) == ("no_answer", Usage(10, 5))


def test_a_text_that_the_filter_cut_is_no_answer(make: Any) -> None:
    assert refused(make, reply(candidate({"text": "half"}, reason="SAFETY"))).kind == "content_filter"


def test_an_answer_without_a_reason_to_end_is_not_known_to_be_whole(make: Any) -> None:
    assert refused(make, reply(candidate({"text": "half"}, reason=None))).kind == "bad_answer"


@pytest.mark.parametrize(
    "reason", ["SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR"]
)
def test_an_answer_that_the_filter_removed_is_a_content_filter_and_billed(make: Any, reason: str) -> None:
    error = refused(make, reply({"finishReason": reason, "index": 0, "finishMessage": "too risky"}))
    assert (error.kind, error.status, error.usage) == ("content_filter", 400, Usage(10, 5))
    assert reason in error.reason and "too risky" in error.reason


def test_a_blocked_prompt_is_a_content_filter(make: Any) -> None:
    body = reply(usage={"promptTokenCount": 10, "totalTokenCount": 10}, promptFeedback={"blockReason": "SAFETY"})
    del body["candidates"]
    error = refused(make, body)
    assert (error.kind, error.status, error.usage) == ("content_filter", 400, Usage(10, 0))
    assert "blocked the prompt (SAFETY)" in error.reason


@pytest.mark.parametrize(
    "reason", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MALFORMED_RESPONSE", "OTHER", "SOMETHING_NEW"]
)
def test_a_reason_that_spoils_the_answer_makes_it_a_bad_one_and_billed(make: Any, reason: str) -> None:
    error = refused(make, reply(candidate({"text": "half"}, reason=reason, finishMessage="no JSON")))
    assert (error.kind, error.usage) == ("bad_answer", Usage(10, 5))
    assert f"{reason}: no JSON" in error.reason


def test_several_candidates_are_several_choices(make: Any) -> None:
    answer = decoded(make, reply(candidate({"text": "a"}), candidate({"text": "b"}, index=1, reason="MAX_TOKENS")))
    choices = orjson.loads(answer.raw)["choices"]
    assert answer.value == "a"
    assert [(choice["index"], choice["message"]["content"], choice["finish_reason"]) for choice in choices] == [
        (0, "a", "stop"),
        (1, "b", "length"),
    ]


def test_log_probabilities_are_openais(make: Any) -> None:
    result = {
        "chosenCandidates": [{"token": "é", "logProbability": -0.5}],
        "topCandidates": [{"candidates": [{"token": "x", "logProbability": -1.5}]}],
    }
    choice = orjson.loads(decoded(make, reply(candidate({"text": "é"}, logprobsResult=result))).raw)["choices"][0]
    other = {"token": "x", "logprob": -1.5, "bytes": [120]}
    chosen = {"token": "é", "logprob": -0.5, "bytes": [195, 169], "top_logprobs": [other]}
    assert choice["logprobs"] == {"content": [chosen], "refusal": None}


def test_a_stream_that_came_as_an_array_is_an_answer(make: Any) -> None:
    answer = decoded(make, [reply(candidate({"text": "a"}, reason=None)), reply(candidate({"text": "b"}))])
    assert answer[:4] == ("ab", Usage(10, 5), "gemini-2.5-flash-001", "stop")


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", [], 5, None, {}, {"candidates": []}, {"candidates": [5]}, {"candidates": {"a": 1}}, [5], [[]],
     {"candidates": [{"content": {"parts": [{"text": 5}]}}]},
     {"candidates": [{"content": {"parts": [{"functionCall": {"name": "f", "args": [1]}}]}}]}],
)  # fmt: skip
@pytest.mark.parametrize("view", [bytes, memoryview])
def test_everything_else_is_a_bad_answer(make: Any, body: Any, view: Any) -> None:
    found = make.response(body)
    with pytest.raises(ProviderError) as caught:
        opened(make).decode(make.request(), found._replace(body=view(found.body)))
    assert caught.value.kind == "bad_answer"


def embeddings(make: Any, body: Any, texts: int = 2) -> Answer:
    request = make.request(task="llm/v1/embeddings", body={"input": ["four"] * texts})
    return opened(make, "gemini-embedding-001", task="llm/v1/embeddings").decode(request, make.response(body))


def test_vectors_come_back_in_order_and_their_tokens_are_estimated_where_nobody_counts(make: Any) -> None:
    answer = embeddings(make, {"embeddings": [{"values": [1, 2.5]}, {"values": [3.0, 4.0]}]})
    assert answer[:4] == ([[1, 2.5], [3.0, 4.0]], Usage(2, 0, estimated=True), "gemini-embedding-001", None)
    assert orjson.loads(answer.raw)["data"][1] == {"object": "embedding", "index": 1, "embedding": [3.0, 4.0]}


def test_tokens_of_embeddings_are_taken_where_they_are_counted(make: Any) -> None:
    body = {"embeddings": [{"values": [1.0]}], "usageMetadata": {"promptTokenCount": 3}}
    assert embeddings(make, body, 1).usage == Usage(3, 0)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"embeddings": [{"values": [1.0]}]},
        {"embeddings": [{"values": [1.0]}, {"values": []}]},
        {"embeddings": [{"values": [1.0]}, {"values": ["x"]}]},
        {"embeddings": [{"values": [1.0]}, {"values": [True]}]},
        {"embeddings": None},
        [1],
        None,
    ],
)
def test_vectors_that_are_none_or_too_few_are_a_bad_answer(make: Any, body: Any) -> None:
    with pytest.raises(ProviderError) as caught:
        embeddings(make, body)
    assert caught.value.kind == "bad_answer"


# Errors


def status(code: int, name: str, message: str = "no", *details: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": name, "details": list(details)}}


def violation(**fields: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [fields]}


INVALID_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
TOO_LONG = "The input token count (134123) exceeds the maximum number of tokens allowed (131072)."
ERRORS = [
    (400, status(400, "INVALID_ARGUMENT"), "bad_request"),
    (400, status(400, "INVALID_ARGUMENT", "API key not valid.", INVALID_KEY), "auth"),
    (400, status(400, "INVALID_ARGUMENT", TOO_LONG), "context_length"),
    (
        400,
        status(400, "INVALID_ARGUMENT", "Unable to submit request because the input token count is 9 but model only"),
        "context_length",
    ),
    (400, status(400, "FAILED_PRECONDITION", "User location is not supported for the API use."), "auth"),
    (400, status(400, "FAILED_PRECONDITION"), "bad_request"),
    (401, status(401, "UNAUTHENTICATED"), "auth"),
    (402, status(402, "RESOURCE_EXHAUSTED"), "quota_exhausted"),
    (403, status(403, "PERMISSION_DENIED"), "auth"),
    (404, status(404, "NOT_FOUND"), "not_found"),
    (409, status(409, "ABORTED"), "overloaded"),
    (429, status(429, "RESOURCE_EXHAUSTED"), "rate_limited"),
    (429, status(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota, please check billing."), "rate_limited"),
    (429, status(429, "RESOURCE_EXHAUSTED", "no", violation(quotaId="RequestsPerMinutePerModel")), "rate_limited"),
    (429, status(429, "RESOURCE_EXHAUSTED", "no", violation(quotaId="RequestsPerDayPerModel")), "quota_exhausted"),
    (429, status(429, "RESOURCE_EXHAUSTED", "no", violation(quotaId="x", quotaValue="0")), "quota_exhausted"),
    (429, status(429, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted."), "quota_exhausted"),
    (429, status(429, "RESOURCE_EXHAUSTED", "no", {"retryDelay": "21599.9s"}), "quota_exhausted"),
    (429, [status(429, "RESOURCE_EXHAUSTED")], "rate_limited"),
    (499, status(499, "CANCELLED"), "overloaded"),
    (500, status(500, "INTERNAL"), "overloaded"),
    (503, [status(503, "UNAVAILABLE")], "overloaded"),
    (504, status(504, "DEADLINE_EXCEEDED"), "overloaded"),
    (502, b"<html>", "overloaded"),
    (400, {"error": "words"}, "bad_request"),
    (400, [], "bad_request"),
    (429, {"error": {"details": 5}}, "rate_limited"),
    (429, {"error": {"details": [5, {"violations": 5}, {"violations": [5]}, {"retryDelay": 5}]}}, "rate_limited"),
    (302, b"", "not_found"),
]


@pytest.mark.parametrize(("code", "body", "kind"), ERRORS)
def test_each_error_has_its_class(make: Any, code: int, body: Any, kind: str) -> None:
    error = refused(make, body, code)
    assert (error.kind, error.status) == (kind, code)
    assert error.reason


@pytest.mark.parametrize(("code", "body", "kind"), [case for case in ERRORS if isinstance(case[1], dict)])
def test_an_error_in_a_200_is_the_error_it_should_have_been(make: Any, code: int, body: Any, kind: str) -> None:
    if "code" not in body["error"]:
        return
    error = refused(make, body)
    assert (error.kind, error.status) == (kind, code)


@pytest.mark.parametrize(("body", "expected"), [({"status": "UNAVAILABLE"}, 503), ({"code": 7}, 502), ("x", 502)])
def test_an_error_in_a_200_without_a_code_goes_by_its_name(make: Any, body: Any, expected: int) -> None:
    assert refused(make, {"error": body}).status == expected


@pytest.mark.parametrize(
    ("details", "headers", "hint"),
    [
        ([{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.074824224s"}], {}, 34.074824224),
        ([{"retryDelay": "34s"}], {"retry_after": "9"}, 34.0),
        ([{"retryDelay": "0s"}], {}, None),
        ([{"retryDelay": "-3s"}], {}, None),
        ([{"retryDelay": "soon"}], {"retry_after": "9"}, 9.0),
        ([], {"retry_after": "9"}, 9.0),
        ([], {}, None),
    ],
)
def test_the_hint_is_in_the_details_or_in_a_header(make: Any, details: Any, headers: Any, hint: float | None) -> None:
    body = {"error": {"code": 429, "message": "no", "details": details}}
    assert refused(make, body, 429, **headers).retry_after_s == hint


@pytest.mark.parametrize("code", [200, 400, 500])
def test_a_key_that_the_provider_repeats_is_not_shown(make: Any, code: int) -> None:
    for body in (
        {"error": {"message": f"key {KEY} is wrong"}},
        {"error": {"message": "x" * 490 + f" {KEY}"}},
        f"words with {KEY}".encode(),
        {"candidates": KEY},
        {"promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": KEY}},
        reply({"finishReason": "OTHER", "finishMessage": KEY}),
    ):
        error = refused(make, body, code)
        assert KEY[:8] not in str(error) + str(error.body)


def test_a_key_that_the_model_repeats_is_not_recorded(make: Any) -> None:
    assert KEY not in decoded(make, reply(candidate({"text": f"The key is {KEY}."}))).raw


def test_a_response_states_no_limits(make: Any) -> None:
    reply_ = make.response({}, x_ratelimit_limit_requests="5", x_ratelimit_remaining_requests="4")
    assert opened(make).stated_limits(reply_) is None


# Nonsense

NAMES = (
    "candidates", "content", "parts", "text", "thought", "functionCall", "name", "args", "id", "finishReason",
    "index", "usageMetadata", "promptTokenCount", "candidatesTokenCount", "promptFeedback", "blockReason", "error",
    "code", "status", "details", "violations", "retryDelay", "embeddings", "values", "embedding", "predictions",
    "statistics", "token_count", "logprobsResult", "chosenCandidates", "topCandidates", "token", "logProbability",
    "thoughtSignature", "responseId",
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(NAMES),
            inner,
            max_size=6,
        )
    ),
    max_leaves=24,
)


@settings(max_examples=200)
@given(JSON, st.sampled_from([200, 400, 429, 503]), st.sampled_from(["llm/v1/chat", "llm/v1/embeddings"]))
def test_no_body_raises_anything_but_a_provider_error(make: Any, body: Any, code: int, task: Any) -> None:
    adapter = opened(make, task=task)
    request = make.request(task=task, body={"input": ["a"], "messages": []})
    try:
        answer = adapter.decode(request, make.response(json.dumps(body).encode(), code))
    except ProviderError:
        return
    assert isinstance(answer, Answer) and code == 200
    orjson.loads(answer.raw)
