"""Where Azure's access tokens may come from: azure-identity finds or exchanges them, before a real server on this
machine. Azure is the simulator, which takes no tokens but those of its own kind.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

import aiq
from aiq.config.endpoint import Settings
from aiq.config.secret_hosts import check_hosts
from aiq.errors import ConfigError, SecretError
from aiq.simulator.process import SimulatorProcess
from aiq.simulator.vendors import oauth
from tests.contract.cloud_server import Asked, CloudServer, cloud_server

IMDS = "/metadata/identity/oauth2/token"
SCOPE = "https://cognitiveservices.azure.com"
Ask = Callable[..., list[str]]


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of Azure is in the environment."""
    for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER", "AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AZURE_FEDERATED_TOKEN_FILE", "AZURE_AUTHORITY_HOST", "MSI_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def cloud() -> Iterator[CloudServer]:
    with cloud_server() as server:
        yield server


def granted(asked: Asked) -> dict[str, Any]:
    token = oauth.grant("azure", "app", time.time())["access_token"]
    ends = int(time.time()) + 3599
    return {"access_token": token, "expires_on": str(ends), "expires_in": "3599", "token_type": "Bearer"}


@pytest.fixture
def ask(conf: Any, home: Path, simulator: SimulatorProcess) -> Ask:
    """`ask({"credentials": "managed_identity"}, rows=3)`: the answers of an endpoint whose `aiq` says so."""

    def asked(own: dict[str, Any], *, rows: int = 1, path: str = "", **section: Any) -> list[str]:
        config = {
            "openai_api_type": "azuread",
            "openai_api_base": simulator.url + path,
            "openai_api_version": "2024-10-21",
            "openai_deployment_name": "my-chat",
            **section,
        }
        external = {"name": "gpt-4o", "provider": "openai", "task": "llm/v1/chat", "openai_config": config}
        conf.endpoint("cloud", {"name": "main", "external_model": external, "aiq": own})
        with aiq.connect(conf=str(conf.path), home=str(home)) as session:
            sql = "SELECT ai_query('cloud', 'Say ' || i) FROM range(?) t(i)"
            return [text for (text,) in session.sql(sql, [rows]).fetchall()]

    return asked


def test_a_virtual_machines_identity_is_asked_once_for_many_rows(
    ask: Ask, cloud: CloudServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", cloud.url)
    cloud.json(IMDS, granted)
    own = {"credentials": "managed_identity"}
    assert len(set(ask(own, rows=200, microsoft_entra_client_id="user-assigned"))) == 200
    (asked,) = [asked for asked in cloud.asked if asked.headers.get("metadata") == "true"]
    assert (asked.fields["resource"], asked.fields["client_id"]) == (SCOPE, "user-assigned")


@pytest.mark.parametrize("path", ["/models", "/openai/v1"])
def test_foundrys_models_take_the_same_tokens(
    ask: Ask, cloud: CloudServer, monkeypatch: pytest.MonkeyPatch, simulator: SimulatorProcess, path: str
) -> None:
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", cloud.url)
    cloud.json(IMDS, granted)
    assert ask({"credentials": "managed_identity"}, path=path)
    (attempt,) = simulator.attempts()
    assert attempt["path"] == f"{path}/chat/completions"


def test_an_app_services_identity_is_asked_with_its_own_header(
    ask: Ask, cloud: CloudServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{cloud.url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "app-service-header")
    cloud.json("/msi/token", granted)
    assert ask({"credentials": "managed_identity"})
    assert cloud.asked[0].headers["x-identity-header"] == "app-service-header"


def test_a_pods_token_is_exchanged_at_its_authority(ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    (tmp_path / "token").write_text("header.claims.signature")
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AZURE_CLIENT_ID", "workload")
    with cloud_server(context) as cloud:
        tenant = f"{cloud.url}/tenant-1"
        cloud.json(
            "/tenant-1/v2.0/.well-known/openid-configuration",
            lambda asked: {
                "authorization_endpoint": f"{tenant}/oauth2/v2.0/authorize",
                "token_endpoint": f"{tenant}/oauth2/v2.0/token",
                "issuer": f"{tenant}/v2.0",
            },
        )
        cloud.json("/tenant-1/oauth2/v2.0/token", lambda asked: granted(asked) | {"expires_in": 3599})
        own = {"credentials": "workload_identity", "authority": cloud.url}
        assert ask(own, rows=5, microsoft_entra_tenant_id="tenant-1")
        (asked,) = [asked for asked in cloud.asked if asked.path.endswith("/token")]
    assert (asked.fields["client_id"], asked.fields["client_assertion"]) == ("workload", "header.claims.signature")
    assert asked.fields["scope"].startswith(f"{SCOPE}/.default")


def test_where_no_identity_is_granted_it_says_why(
    ask: Ask, cloud: CloudServer, monkeypatch: pytest.MonkeyPatch, simulator: SimulatorProcess
) -> None:
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", cloud.url)
    cloud.answers[IMDS] = lambda asked: (
        400,
        b'{"error": "invalid_request", "error_description": "Identity not found"}',
    )
    with pytest.raises(aiq.AiqError, match=r"no Azure credentials: .*(?s:.*)Identity not found|no managed identity"):
        ask({"credentials": "managed_identity"})
    with pytest.raises(aiq.AiqError, match="AZURE_FEDERATED_TOKEN_FILE is not set"):
        ask({"credentials": "workload_identity"})
    assert simulator.attempts() == []


@pytest.mark.parametrize(
    ("own", "section", "words"),
    [
        ({}, {}, r"aiq\.credentials"),
        ({"credentials": "managed_identity"}, {"openai_api_key_plaintext": "k"}, "give one of both"),
        ({"credentials": "managed_identity"}, {"openai_api_type": "azure"}, "belongs to openai_api_type azuread"),
        ({"credentials": "managed_identity"}, {"microsoft_entra_client_secret_plaintext": "k"}, "is not needed"),
        ({"credentials": "managed_identity"}, {"microsoft_entra_tenant_id": "t"}, "belongs to credentials: workload"),
        ({"credentials": "managed_identty"}, {}, "managed_identity"),
        ({"azure_federated_token_file": "/t"}, {}, "belongs to credentials: workload"),
    ],
)
def test_what_does_not_fit_together_is_refused(ask: Ask, own: Any, section: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ask(own, **section)


@pytest.mark.parametrize(
    ("address", "settings", "words"),
    [
        ("https://r.openai.azure.com/openai/v1", {}, None),
        ("https://r.services.ai.azure.com/models", {}, None),
        ("https://r.openai.azure.us/openai/v1", {}, None),
        ("https://gateway.example/openai/v1", {}, "no host of Azure.*credential_hosts: .gateway.example"),
        ("https://gateway.example/openai/v1", {"credential_hosts": ("gateway.example",)}, None),
        ("http://r.openai.azure.com/openai/v1", {}, "over plain http"),
        ("https://openai.azure.com.example/openai/v1", {}, "no host of Azure"),
    ],
)
def test_a_machines_own_credentials_go_to_their_cloud(
    make_entity: Any, address: str, settings: Any, words: str | None
) -> None:
    entity = make_entity(address)
    if words is None:
        check_hosts(entity, address, Settings(**settings))
    else:
        with pytest.raises(SecretError, match=words):
            check_hosts(entity, address, Settings(**settings))


@pytest.fixture
def make_entity() -> Callable[[str], Any]:
    from aiq.config.cloud import AzureCredentials
    from aiq.config.connections import OpenAIConfig
    from aiq.config.endpoint import ServedEntity

    def made(address: str) -> Any:
        config = OpenAIConfig(api_type="azuread", api_base=address, credentials=AzureCredentials("managed_identity"))
        return ServedEntity("1", "main", "openai", "gpt-4o", "llm/v1/chat", config)

    return made
