"""What the simulated provider accepts, answers, refuses and counts. No socket is opened here."""

from __future__ import annotations

import base64
import gzip
import struct
from typing import Any

import orjson
import pytest

from aiq.simulator.profile import FaultRate, Latency, Profile, Quota, TokenPrice
from aiq.simulator.provider import Provider, Reply, VendorCall
from aiq.simulator.tokens import chat_tokens, text_tokens

CHAT = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"


def _provider(**profile: Any) -> Provider:
    return Provider(Profile(**profile), clock=lambda: 1_700_000_000.0, ticks=lambda: 1000.0)


def _send(provider: Provider, path: str, body: Any, key: str = "sk-test-key-1234", method: str = "POST") -> Reply:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    headers = {b"authorization": f"Bearer {key}".encode()} if key else {}
    reply = provider.handle(VendorCall(method.encode(), path.encode(), headers, data))
    provider.finish(reply, 0 if reply.ending in ("silent", "reset") else reply.status)
    return reply


def _chat(prompt: Any = "Say hello to the world.", model: str = "gpt-4o-mini", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **more}


def _text(reply: Reply) -> str:
    text: str = orjson.loads(reply.body)["choices"][0]["message"]["content"]
    return text


def _vectors(provider: Provider, *texts: str, **more: Any) -> list[Any]:
    reply = _send(provider, EMBEDDINGS, {"model": "e", "input": list(texts), **more})
    return [item["embedding"] for item in orjson.loads(reply.body)["data"]]


SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}


def _format(**fields: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True, **fields}}


@pytest.mark.parametrize(
    ("more", "param", "code"),
    [
        ({"max_token": 3}, "max_token", "unknown_parameter"),
        ({"temperature": 3}, "temperature", "decimal_above_max_value"),
        ({"temperature": "hot"}, "temperature", "invalid_type"),
        ({"temperature": True}, "temperature", "invalid_type"),
        ({"top_p": -0.1}, "top_p", "decimal_below_min_value"),
        ({"n": 0}, "n", "integer_below_min_value"),
        ({"n": 1.5}, "n", "invalid_type"),
        ({"max_tokens": 0}, "max_tokens", "integer_below_min_value"),
        ({"messages": []}, "messages", "empty_array"),
        ({"messages": None}, "messages", "invalid_type"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "messages[0].role", "invalid_value"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "invalid_type"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "array_above_max_length"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "invalid_value"),
        ({"response_format": {"type": "json_object"}}, "messages", None),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "missing_required_parameter"),
        ({"response_format": _format(name="no spaces")}, "response_format.json_schema.name", "invalid_value"),
        ({"response_format": _format(schema={"type": "array"})}, "response_format", "invalid_json_schema"),
        (
            {"response_format": _format(schema={**SCHEMA, "additionalProperties": True})},
            "response_format",
            "invalid_json_schema",
        ),
        ({"response_format": _format(schema={**SCHEMA, "required": []})}, "response_format", "invalid_json_schema"),
        ({"response_format": _format(schema={"type": "text"}, strict=False)}, "response_format", "invalid_json_schema"),
        ({"model": "o3-mini", "max_tokens": 5}, "max_tokens", "unsupported_parameter"),
        ({"model": "gpt-5", "max_tokens": 5}, "max_tokens", "unsupported_parameter"),
        ({"stream_options": {"include_usage": True}}, "stream_options", None),
    ],
)
def test_a_wrong_chat_parameter_is_refused_by_name(more: dict[str, Any], param: str, code: str | None) -> None:
    reply = _send(_provider(), CHAT, _chat() | more)
    error = orjson.loads(reply.body)["error"]
    assert (reply.status, error["param"], error["code"]) == (400, param, code)


@pytest.mark.parametrize(
    "more",
    [
        {"temperature": 0, "top_p": 1.0, "n": 2, "seed": -5, "stop": "x", "user": "u", "max_tokens": None},
        {"response_format": _format()},
        {"response_format": _format(schema={"type": "object"}, strict=False)},
        {"model": "o3-mini", "max_completion_tokens": 5},
        {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]},
    ],
)
def test_a_right_chat_request_is_answered(more: dict[str, Any]) -> None:
    assert _send(_provider(), CHAT, _chat() | more).status == 200


@pytest.mark.parametrize("given", ["", [], ["a", ""], ["a"] * 2049, [1.5], {"a": 1}, ["a", 1], None, "x" * 40_000])
def test_a_wrong_embeddings_input_is_refused(given: Any) -> None:
    assert _send(_provider(), EMBEDDINGS, {"model": "e", "input": given}).status == 400


@pytest.mark.parametrize("given", ["a", ["a", "b"], [1, 2, 3], [[1, 2], [3]]])
def test_every_input_form_gives_a_vector_for_each_input(given: Any) -> None:
    reply = _send(_provider(), EMBEDDINGS, {"model": "e", "input": given})
    expected = 1 if given in ("a", [1, 2, 3]) else 2
    assert len(orjson.loads(reply.body)["data"]) == expected


@pytest.mark.parametrize("body", [b"{", b"[]", b"", b'{"model": 5}'])
def test_a_body_that_is_no_request_is_refused(body: bytes) -> None:
    assert _send(_provider(), CHAT, body).status == 400


def test_a_missing_model_is_refused() -> None:
    assert _send(_provider(), CHAT, {"messages": [{"role": "user", "content": "x"}]}).status == 400


@pytest.mark.parametrize(("key", "code"), [("", None), ("sk-invalid", "invalid_api_key")])
def test_a_missing_or_wrong_key_is_401(key: str, code: str | None) -> None:
    reply = _send(_provider(), CHAT, _chat(), key=key)
    assert (reply.status, orjson.loads(reply.body)["error"]["code"]) == (401, code)


def test_a_profile_can_pin_the_accepted_keys() -> None:
    provider = _provider(keys=("sk-one",))
    assert [_send(provider, CHAT, _chat(), key=key).status for key in ("sk-one", "sk-two")] == [200, 401]


@pytest.mark.parametrize(("method", "path", "status"), [("POST", "/v1/nothing", 404), ("GET", CHAT, 405)])
def test_a_wrong_address_is_refused(method: str, path: str, status: int) -> None:
    assert _send(_provider(), path, b"", method=method).status == status


def test_an_answer_depends_on_nothing_but_the_request_and_the_profile() -> None:
    bodies = [_text(_send(_provider(), CHAT, _chat(temperature=0.5))) for _ in range(2)]
    assert bodies[0] == bodies[1]


def test_a_text_is_labelled_and_taken_from_the_prompt() -> None:
    text = _text(_send(_provider(), CHAT, _chat("Summarize: The kettle leaks badly.")))
    assert text.startswith("[simulated] ") and "The kettle leaks badly." in text


def test_the_label_can_be_switched_off() -> None:
    assert not _text(_send(_provider(label=False), CHAT, _chat())).startswith("[")


def test_max_tokens_cuts_between_characters_and_says_so() -> None:
    reply = _send(_provider(label=False), CHAT, _chat("日本語の文章です" * 10, max_tokens=4))
    body = orjson.loads(reply.body)
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == text_tokens(body["choices"][0]["message"]["content"]) <= 4


def test_usage_follows_the_published_rule() -> None:
    body = _chat("Grüße aus Köln", n=2)
    answer = orjson.loads(_send(_provider(), CHAT, body).body)
    assert answer["usage"]["prompt_tokens"] == chat_tokens(body["messages"])
    said = sum(text_tokens(choice["message"]["content"]) for choice in answer["choices"])
    assert answer["usage"]["completion_tokens"] == said


def test_a_classification_prompt_gets_one_of_its_labels() -> None:
    prompt = "Classify.\nAnswer with exactly one of: sports, politics, tech\nText: the politics of tea"
    assert _text(_send(_provider(), CHAT, _chat(prompt))) == "politics"


def test_a_json_schema_answer_conforms() -> None:
    assert orjson.loads(_text(_send(_provider(), CHAT, _chat(response_format=_format())))).keys() == {"a"}


def test_a_json_object_answer_is_an_object() -> None:
    reply = _send(_provider(), CHAT, _chat("Answer in JSON", response_format={"type": "json_object"}))
    assert isinstance(orjson.loads(_text(reply)), dict)


def _image(url: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}]


def test_an_answer_about_an_image_names_its_type_and_size() -> None:
    url = "data:image/png;base64," + base64.b64encode(b"x" * 100).decode()
    assert "image/png, 100 bytes" in _text(_send(_provider(), CHAT, _chat(_image(url))))


@pytest.mark.parametrize("url", ["data:image/png;base64,@@@", "data:text/plain;base64,aGk=", "photo.png"])
def test_an_unreadable_image_is_refused(url: str) -> None:
    assert _send(_provider(), CHAT, _chat(_image(url))).status == 400


def test_embeddings_are_unit_vectors_of_the_asked_size() -> None:
    vector = _vectors(_provider(), "the quick brown fox", dimensions=32)[0]
    assert len(vector) == 32 and sum(x * x for x in vector) == pytest.approx(1, abs=1e-4)


def test_similar_texts_have_similar_vectors() -> None:
    fox, foxes, bank = _vectors(
        _provider(), "the quick brown fox jumps", "a quick brown fox jumped", "quarterly interest rates rose"
    )

    def cosine(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    assert cosine(fox, foxes) > cosine(fox, bank) + 0.3


def test_base64_embeddings_are_the_same_floats() -> None:
    floats = _vectors(_provider(), "tea")[0]
    packed = base64.b64decode(_vectors(_provider(), "tea", encoding_format="base64")[0])
    assert list(struct.unpack("<64f", packed)) == pytest.approx(floats)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"dataframe_records": [{"a": 1}, {"a": 2}]}, [{"a": 1}, {"a": 2}]),
        ({"dataframe_split": {"columns": ["a"], "data": [[1], [2]]}}, [{"a": 1}, {"a": 2}]),
        ({"inputs": {"a": [1, 2]}}, [{"a": 1}, {"a": 2}]),
        ({"inputs": [3, 4]}, [3, 4]),
        ({"instances": [{"a": 1, "__return": 9}]}, [9]),
    ],
)
@pytest.mark.parametrize("path", ["/invocations", "/serving-endpoints/churn/invocations"])
def test_scoring_answers_a_prediction_for_each_record(path: str, body: Any, expected: list[Any]) -> None:
    key = "" if path == "/invocations" else "dapi-1"  # a workspace asks everybody who he is
    assert orjson.loads(_send(_provider(), path, body, key=key).body) == {"predictions": expected}


@pytest.mark.parametrize(
    "body",
    [{}, {"inputs": [1], "instances": [1]}, {"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}, {"rows": []}],
)
def test_a_wrong_scoring_body_is_refused_in_mlflow_words(body: Any) -> None:
    reply = _send(_provider(), "/invocations", body)
    assert (reply.status, orjson.loads(reply.body)["error_code"]) == (400, "BAD_REQUEST")


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("sim-429-forever", 429, "rate_limit_exceeded"),
        ("sim-quota-exhausted", 429, "insufficient_quota"),
        ("sim-500", 500, None),
        ("sim-503", 503, None),
        ("sim-529", 529, None),
        ("sim-401", 401, "invalid_api_key"),
        ("sim-404", 404, "model_not_found"),
        ("sim-context-length", 400, "context_length_exceeded"),
        ("sim-content-filter", 400, "content_policy_violation"),
    ],
)
def test_a_failing_model_fails_every_time(model: str, status: int, code: str | None) -> None:
    provider = _provider()
    replies = [_send(provider, CHAT, _chat(model=model)) for _ in range(2)]
    assert [(r.status, orjson.loads(r.body)["error"]["code"]) for r in replies] == [(status, code)] * 2


@pytest.mark.parametrize("model", ["sim-500-once", "sim-429", "sim-429-retry-after", "sim-timeout-once"])
def test_a_once_fault_strikes_each_distinct_body_once(model: str) -> None:
    provider = _provider()
    oks = [_send(provider, CHAT, _chat(prompt, model)).attempt for prompt in ("a", "a", "b", "b")]
    assert [attempt.ok for attempt in oks if attempt] == [False, True, False, True]


def test_a_reset_forgets_what_has_failed_once() -> None:
    provider = _provider()
    statuses = [_send(provider, CHAT, _chat(model="sim-500-once")).status for _ in range(2)]
    provider.reset()
    assert [*statuses, _send(provider, CHAT, _chat(model="sim-500-once")).status] == [500, 200, 500]


@pytest.mark.parametrize("path", [CHAT, "/v1/completions", EMBEDDINGS, "/invocations"])
def test_a_marker_makes_a_single_row_fail_on_every_route(path: str) -> None:
    text = "row 7 [[fault:503]]"
    bodies: dict[str, Any] = {
        CHAT: _chat(text),
        "/v1/completions": {"model": "m", "prompt": text},
        EMBEDDINGS: {"model": "m", "input": ["row 6", text]},
        "/invocations": {"inputs": [text]},
    }
    assert _send(_provider(), path, bodies[path]).status == 503


def test_a_marker_is_not_repeated_in_the_answer() -> None:
    provider = _provider()
    replies = [_send(provider, CHAT, _chat("Hello [[fault:500-once]] there")) for _ in range(2)]
    assert "fault" not in _text(replies[1])


def test_an_unknown_marker_is_refused() -> None:
    assert _send(_provider(), CHAT, _chat("[[fault:5000]]")).status == 400


def test_a_flaky_model_fails_its_share_and_the_same_rows_again() -> None:
    runs = []
    for _ in range(2):
        provider = _provider()
        runs.append([_send(provider, CHAT, _chat(f"row {i}", "sim-flaky-30")).status for i in range(400)])
    assert runs[0] == runs[1]
    assert 80 < runs[0].count(503) < 160


def test_a_fault_rate_strikes_only_its_models() -> None:
    provider = _provider(faults=(FaultRate("503", 0.5, ("gpt-4o*",)),))
    failed = {
        model: sum(_send(provider, CHAT, _chat(f"row {i}", model)).status == 503 for i in range(200))
        for model in ("gpt-4o-mini", "other")
    }
    assert 60 < failed["gpt-4o-mini"] < 140 and failed["other"] == 0


def test_a_fault_rate_spares_the_first_requests() -> None:
    provider = _provider(faults=(FaultRate("503", 1.0, after=2),))
    assert [_send(provider, CHAT, _chat(f"row {i}")).status for i in range(4)] == [200, 200, 503, 503]


@pytest.mark.parametrize("model", ["sim-truncated", "sim-malformed", "sim-html"])
def test_an_unusable_body_comes_with_status_200_and_is_not_billed(model: str) -> None:
    provider = _provider()
    reply = _send(provider, CHAT, _chat(model=model))
    assert (reply.status, provider.records.stats()["prompt_tokens"]) == (200, 0)
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(reply.body)


def test_the_shape_faults_answer_what_their_names_say() -> None:
    provider = _provider(huge_bytes=5000)

    def answer(name: str) -> Any:
        return orjson.loads(_send(provider, CHAT, _chat(model=name)).body)

    assert answer("sim-empty")["choices"] == []
    assert answer("sim-null")["choices"][0]["message"]["content"] is None
    assert answer("sim-refusal")["choices"][0]["message"]["refusal"]
    assert "usage" not in answer("sim-no-usage")
    assert answer("sim-absurd-usage")["usage"]["prompt_tokens"] < 0
    assert len(answer("sim-huge")["choices"][0]["message"]["content"]) == 5000
    assert orjson.loads(gzip.decompress(_send(provider, CHAT, _chat(model="sim-gzip")).body))["choices"]
    assert _send(provider, CHAT, _chat(model="sim-html-502")).status == 502
    assert _send(provider, CHAT, _chat(model="sim-redirect")).headers == b"location: /redirected\r\n"


def test_azure_says_content_filter_its_own_way() -> None:
    path = "/openai/deployments/sim-content-filter/chat/completions?api-version=2024-10-21"
    reply = Provider(Profile()).handle(VendorCall(b"POST", path.encode(), {b"api-key": b"key"}, orjson.dumps(_chat())))
    error = orjson.loads(reply.body)["error"]
    assert (error["code"], error["innererror"]["code"]) == ("content_filter", "ResponsibleAIPolicyViolation")


def test_azure_wants_an_api_version() -> None:
    assert _send(_provider(), "/openai/deployments/gpt/chat/completions", _chat()).status == 404


def test_requests_over_the_quota_are_counted() -> None:
    provider = _provider(quotas=(Quota(rpm=2),))
    statuses = [_send(provider, CHAT, _chat()).status for _ in range(5)]
    assert (statuses, provider.records.stats()["over_quota"]) == ([200, 200, 429, 429, 429], 3)


def test_a_quota_refusal_does_not_use_up_a_once_fault() -> None:
    now = [0.0]
    provider = Provider(Profile(quotas=(Quota(rpm=1),)), ticks=lambda: now[0])
    statuses = []
    for _ in range(3):
        statuses += [_send(provider, CHAT, _chat(p, "sim-500-once")).status for p in ("a",)]
        now[0] += 30
    assert statuses == [500, 429, 200]


def test_latency_depends_on_the_prompt_and_the_answer_only() -> None:
    latency = Latency(median_ms=300, sigma=0.5, per_token_ms=10)
    delays = [_send(_provider(latency=latency), CHAT, _chat(p)).delay_s for p in ("a", "a", "b")]
    assert delays[0] == delays[1] != delays[2] and min(delays) > 0


def test_a_model_is_cold_at_first() -> None:
    provider = _provider(latency=Latency(fixed_ms=100, cold_start_ms=900))
    delays = [_send(provider, CHAT, _chat(model=model)).delay_s for model in ("a", "a", "b")]
    provider.reset()
    assert [*delays, _send(provider, CHAT, _chat(model="a")).delay_s] == pytest.approx([1.0, 0.1, 1.0, 1.0])


def test_a_crowd_slows_everybody_down() -> None:
    provider = _provider(latency=Latency(fixed_ms=100, per_token_ms=10, slow_above=2))
    call = VendorCall(b"POST", CHAT.encode(), {b"authorization": b"Bearer sk-x"}, orjson.dumps(_chat(stream=True)))
    replies = [provider.handle(call) for _ in range(4)]
    assert [reply.delay_s for reply in replies] == pytest.approx([0.1, 0.1, 0.15, 0.2])
    assert [reply.step_s for reply in replies] == pytest.approx([0.01, 0.01, 0.015, 0.02])


def test_the_seed_moves_latencies() -> None:
    latency = Latency(median_ms=300, sigma=0.5)
    delays = {_send(_provider(latency=latency, seed=seed), CHAT, _chat()).delay_s for seed in (1, 2)}
    assert len(delays) == 2


def test_only_what_was_answered_is_billed() -> None:
    provider = _provider(prices=(("gpt-4o-mini", TokenPrice(1.0, 2.0)),))
    answer = orjson.loads(_send(provider, CHAT, _chat()).body)
    _send(provider, CHAT, _chat(model="sim-500"))
    _send(provider, CHAT, _chat(top_p=5))
    stats, usage = provider.records.stats(), answer["usage"]
    assert (stats["requests"], stats["ok"], stats["errors"]) == (3, 1, 2)
    assert (stats["prompt_tokens"], stats["completion_tokens"]) == (
        usage["prompt_tokens"],
        usage["completion_tokens"],
    )
    assert stats["cost_usd"] == pytest.approx((usage["prompt_tokens"] + 2 * usage["completion_tokens"]) / 1e6)
    assert stats["by_status"] == {"200": 1, "400": 1, "500": 1}


def test_an_answer_nobody_waited_for_is_not_billed() -> None:
    provider = _provider()
    call = VendorCall(b"POST", CHAT.encode(), {b"authorization": b"Bearer sk-x"}, orjson.dumps(_chat()))
    provider.finish(provider.handle(call), 499)
    assert provider.records.stats()["prompt_tokens"] == 0


def test_requests_in_flight_are_counted_until_they_end() -> None:
    provider = _provider()
    call = VendorCall(b"POST", CHAT.encode(), {b"authorization": b"Bearer sk-x"}, orjson.dumps(_chat()))
    replies = [provider.handle(call) for _ in range(3)]
    for reply in replies[:2]:
        provider.finish(reply, 200)
    stats = provider.records.stats()
    assert (stats["in_flight"], stats["max_in_flight"], stats["distinct_bodies"]) == (1, 3, 1)


def test_the_attempt_log_shows_no_more_of_a_key_than_its_end() -> None:
    provider = _provider()
    _send(provider, CHAT, _chat(), key="sk-very-secret-9876")
    log = provider.records.attempts()
    assert log[0]["key"] == "9876" and "secret" not in str(log)


def test_the_attempt_log_tells_when_what_and_how_it_ended() -> None:
    provider = _provider()
    _send(provider, CHAT, _chat(model="sim-503"))
    entry = provider.records.attempts()[0]
    assert (entry["at_ms"], entry["path"], entry["model"], entry["status"], entry["fault"]) == (
        1_700_000_000_000,
        CHAT,
        "sim-503",
        503,
        "503",
    )
