"""Azure OpenAI with Microsoft Entra: how a token is asked for, and that the latest one is sent."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import pytest

from aiq.config.connections import EntraConfig, OpenAIConfig, Secret
from aiq.errors import ProviderError
from aiq.providers import adapter_for


def adapter(make: Any, authority: str) -> Any:
    entra = EntraConfig("tenant-1", "app", Secret("client secret+", "t"), authority)
    config = OpenAIConfig(None, "azuread", "https://r.test", "2024-10-21", "d", entra=entra)
    found = adapter_for(make.entity(config=config))
    found.prepare()
    return found


@pytest.mark.parametrize(
    ("authority", "scope"),
    [
        ("https://login.microsoftonline.com", "https://cognitiveservices.azure.com/.default"),
        ("https://login.microsoftonline.us", "https://cognitiveservices.azure.us/.default"),
        ("https://login.partner.microsoftonline.cn", "https://cognitiveservices.azure.cn/.default"),
    ],
)
def test_a_token_is_asked_for_in_the_clients_name(make: Any, authority: str, scope: str) -> None:
    request = adapter(make, authority).token_request()
    assert request.url == f"{authority}/tenant-1/oauth2/v2.0/token"
    assert dict(request.headers)["content-type"] == "application/x-www-form-urlencoded"
    fields = {"grant_type": "client_credentials", "client_id": "app", "client_secret": "client secret+", "scope": scope}
    assert {name: values[0] for name, values in parse_qs(request.body.decode()).items()} == fields


def test_the_latest_token_is_sent_and_none_is_told(make: Any) -> None:
    found = adapter(make, "https://login.test")
    for token in ("first", "second"):
        assert found.take_token(make.response({"access_token": token, "expires_in": 3599})) == 3599
    sent = found.encode(make.request())
    assert [value for name, value in sent.headers if name == "authorization"] == ["Bearer second"]
    with pytest.raises(ProviderError) as caught:
        found.decode(make.request(), make.response({"error": {"message": "you sent second"}}, 401))
    assert "second" not in caught.value.reason
