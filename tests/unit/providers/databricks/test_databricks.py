"""Another workspace's serving endpoints: OpenAI's forms, Databricks' errors, and tokens of a service principal."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest

from aiq.config.connections import DatabricksConfig, Secret
from aiq.errors import ProviderError
from aiq.providers import adapter_for

TOKEN = DatabricksConfig("https://w.test", api_token=Secret("dapi-secret", "test"))
PRINCIPAL = DatabricksConfig("https://w.test", client_id="app", client_secret=Secret("dose-secret", "test"))


@pytest.fixture
def build(make: Any) -> Any:
    def build(config: DatabricksConfig = TOKEN, **changes: Any) -> Any:
        found = make.entity(provider="databricks-model-serving", config=config, model="my ep", **changes)
        adapter = adapter_for(found)
        adapter.prepare()
        return adapter

    return build


def test_an_endpoint_is_asked_by_its_path_without_a_model(build: Any, make: Any) -> None:
    wire = build().encode(make.request(text="Hi"))
    assert wire.url == "https://w.test/serving-endpoints/my%20ep/invocations"
    assert ("authorization", "Bearer dapi-secret") in wire.headers
    assert orjson.loads(wire.body) == {"messages": [{"role": "user", "content": "Hi"}]}


def test_an_answer_is_openais(build: Any, make: Any) -> None:
    answer = build().decode(make.request(), make.chat_answer("Hello.", model="llama-4"))
    assert (answer.value, answer.model, answer.usage.input_tokens) == ("Hello.", "llama-4", 10)


GUARDED = '{"input_guardrail":[{"flagged":true}],"finishReason":"input_guardrail_triggered"}'


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (429, {"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "m"}, "rate_limited"),
        (403, {"error_code": "PERMISSION_DENIED", "message": "m"}, "auth"),
        (404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "m"}, "not_found"),
        (503, {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "m"}, "overloaded"),
        (500, {"error_code": "INTERNAL_ERROR", "message": "m"}, "overloaded"),
        (400, {"error_code": "BAD_REQUEST", "message": "m"}, "bad_request"),
        (400, {"error_code": "BAD_REQUEST", "message": GUARDED}, "content_filter"),
        (400, {"error_code": "BAD_REQUEST", "message": "This model's maximum context length is 8"}, "context_length"),
        (429, {"error": {"message": "ITPM", "type": "rate_limit_exceeded", "code": 429}}, "rate_limited"),
        (502, b"<html>Bad gateway</html>", "overloaded"),
        (302, b"", "not_found"),
    ],
)
def test_every_error_has_its_class(build: Any, make: Any, status: int, body: Any, kind: str) -> None:
    with pytest.raises(ProviderError) as caught:
        build().decode(make.request(), make.response(body, status))
    assert (caught.value.kind, caught.value.status) == (kind, status)


def test_a_hint_in_the_body_is_one(build: Any, make: Any) -> None:
    body = {"error": {"message": "ITPM", "type": "rate_limit_exceeded", "code": 429, "retry_after": 15}}
    with pytest.raises(ProviderError) as caught:
        build().decode(make.request(), make.response(body, 429))
    assert caught.value.retry_after_s == 15


def test_a_service_principal_asks_for_a_token_and_uses_it(build: Any, make: Any) -> None:
    adapter = build(PRINCIPAL)
    wire = adapter.token_request()
    assert wire.url == "https://w.test/oidc/v1/token"
    assert dict(wire.headers)["authorization"] == "Basic " + base64.b64encode(b"app:dose-secret").decode()
    assert wire.body == b"grant_type=client_credentials&scope=all-apis"
    granted = {"access_token": "eyJ-1", "token_type": "Bearer", "expires_in": 3600}
    assert adapter.take_token(make.response(granted)) == 3600
    assert ("authorization", "Bearer eyJ-1") in adapter.encode(make.request()).headers
    adapter.take_token(make.response({**granted, "access_token": "eyJ-2"}))
    headers = adapter.encode(make.request()).headers
    assert [value for name, value in headers if name == "authorization"] == ["Bearer eyJ-2"]


def test_a_token_that_somebody_gave_needs_no_request(build: Any) -> None:
    assert build().token_request() is None


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, {"error": "invalid_client", "error_description": "dose-secret is wrong"}, "auth"),
        (400, {"error": "invalid_scope"}, "auth"),
        (503, b"", "overloaded"),
        (200, {"access_token": ""}, "bad_answer"),
        (200, {"access_token": "a\nb", "expires_in": 9}, "bad_answer"),
        (200, {"access_token": "a", "expires_in": "soon"}, "bad_answer"),
        (200, b"<html>", "bad_answer"),
    ],
)
def test_a_token_that_is_not_granted_is_an_error_without_the_secret(
    build: Any, make: Any, status: int, body: Any, kind: str
) -> None:
    with pytest.raises(ProviderError) as caught:
        build(PRINCIPAL).take_token(make.response(body, status))
    assert caught.value.kind == kind
    assert "dose-secret" not in str(caught.value) + repr(vars(caught.value))
