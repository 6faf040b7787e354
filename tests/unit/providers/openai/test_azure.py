"""Azure OpenAI: where a deployment is, and tokens of Microsoft Entra."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import orjson
import pytest

from aiq.config.connections import EntraConfig, OpenAIConfig, Secret
from aiq.errors import ProviderError
from aiq.providers import adapter_for

APPLICATION = EntraConfig("tenant-1", "app-1", Secret("hush hush", "test"))


def config(**changes: Any) -> OpenAIConfig:
    values: dict[str, Any] = {
        "api_type": "azuread",
        "api_base": "https://r.openai.azure.com",
        "api_version": "2024-10-21",
        "deployment_name": "dep",
        "entra": APPLICATION,
    }
    return OpenAIConfig(**{**values, **changes})


@pytest.fixture
def adapter(make: Any) -> Any:
    made = adapter_for(make.entity(config=config()))
    made.prepare()
    return made


def granting(make: Any, token: Any = "t-1", **changes: Any) -> Any:
    return make.response({"token_type": "Bearer", "expires_in": 3599, "access_token": token, **changes})


def test_entra_is_asked_for_a_token_with_the_applications_secret(adapter: Any) -> None:
    asked = adapter.token_request()
    assert asked.url == "https://login.microsoftonline.com/tenant-1/oauth2/v2.0/token"
    assert dict(asked.headers)["content-type"] == "application/x-www-form-urlencoded"
    assert parse_qs(asked.body.decode()) == {
        "client_id": ["app-1"],
        "client_secret": ["hush hush"],
        "scope": ["https://cognitiveservices.azure.com/.default"],
        "grant_type": ["client_credentials"],
    }


def test_a_national_cloud_has_its_own_scope(make: Any) -> None:
    entra = EntraConfig("t", "a", Secret("s", "test"), "https://login.microsoftonline.us")
    adapter = adapter_for(make.entity(config=config(entra=entra)))
    adapter.prepare()
    asked = adapter.token_request()
    assert asked.url.startswith("https://login.microsoftonline.us/t/")
    assert parse_qs(asked.body.decode())["scope"] == ["https://cognitiveservices.azure.us/.default"]


def test_requests_carry_the_last_token_that_was_granted(adapter: Any, make: Any) -> None:
    assert adapter.take_token(granting(make)) == 3599.0
    assert adapter.take_token(granting(make, "t-2")) == 3599.0
    headers = adapter.encode(make.request()).headers
    assert [value for name, value in headers if name == "authorization"] == ["Bearer t-2"]
    assert "api-key" not in dict(headers)


def test_a_key_is_used_as_it_is(make: Any) -> None:
    adapter = adapter_for(make.entity(config=config(api_type="azure", entra=None, api_key=Secret("k-1", "test"))))
    adapter.prepare()
    assert adapter.token_request() is None
    assert dict(adapter.encode(make.request()).headers)["api-key"] == "k-1"


def test_entras_words_are_shown_without_the_secret(adapter: Any, make: Any) -> None:
    body = {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret 'hush hush'."}
    with pytest.raises(ProviderError) as caught:
        adapter.take_token(make.response(body, 401))
    assert (caught.value.kind, caught.value.status) == ("auth", 401)
    assert "AADSTS7000215" in caught.value.reason and "hush" not in caught.value.reason


def test_a_token_that_is_sent_back_is_never_shown(adapter: Any, make: Any) -> None:
    adapter.take_token(granting(make, "t-secret"))
    with pytest.raises(ProviderError) as caught:
        adapter.decode(make.request(), make.response({"error": {"code": "401", "message": "bad t-secret"}}, 401))
    assert caught.value.kind == "auth" and "t-secret" not in caught.value.reason + (caught.value.body or "")


@pytest.mark.parametrize(
    ("changes", "url", "model"),
    [
        ({}, "https://r.openai.azure.com/openai/deployments/dep/chat/completions?api-version=2024-10-21", None),
        ({"api_base": "https://r.test/openai/v1/"}, "https://r.test/openai/v1/chat/completions", "dep"),
        ({"responses": True}, "https://r.openai.azure.com/openai/v1/responses", "dep"),
    ],
)
def test_a_deployment_is_named_in_the_path_or_in_the_body(make: Any, changes: Any, url: str, model: Any) -> None:
    adapter = adapter_for(make.entity(config=config(**changes)))
    adapter.prepare()
    adapter.take_token(granting(make))
    wire = adapter.encode(make.request())
    assert wire.url == adapter.address == url
    assert orjson.loads(wire.body).get("model") == model
