"""Azure OpenAI with Microsoft Entra: an application's tokens, from SQL and as the vendor's own SDK sends them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import AuthenticationError, AzureOpenAI

import aiq
from aiq.simulator.process import SimulatorProcess
from aiq.simulator.vendors.base import SECRET

SCOPE = "https://cognitiveservices.azure.com/.default"


@pytest.fixture
def entity(simulator: SimulatorProcess) -> Callable[..., dict[str, Any]]:
    def served(secret: str = SECRET) -> dict[str, Any]:
        config = {
            "openai_api_type": "azuread",
            "openai_api_base": simulator.url,
            "openai_api_version": "2024-10-21",
            "openai_deployment_name": "gpt-4o",
            "microsoft_entra_tenant_id": "tenant-1",
            "microsoft_entra_client_id": "app",
            "microsoft_entra_client_secret_plaintext": secret,
        }
        external = {"name": "gpt-4o", "provider": "openai", "task": "llm/v1/chat", "openai_config": config}
        return {"name": "main", "external_model": external, "aiq": {"authority": simulator.url}}

    return served


@pytest.fixture
def session(conf: Any, home: Path, entity: Any) -> Any:
    conf.endpoint("azure", entity())
    conf.endpoint("wrong", entity(secret="wrong-secret-of-app"))
    return aiq.connect(conf=str(conf.path), home=str(home))


def paths(simulator: SimulatorProcess) -> list[str]:
    return [attempt["path"] for attempt in simulator.attempts()]


def test_a_token_is_got_once_for_all_rows(session: Any, simulator: SimulatorProcess) -> None:
    rows = session.sql("SELECT ai_query('azure', 'Say ' || i) FROM range(10) t(i)").fetchall()
    assert all(row[0].startswith("[simulated] ") for row in rows)
    assert paths(simulator).count("/tenant-1/oauth2/v2.0/token") == 1
    assert paths(simulator).count("/openai/deployments/gpt-4o/chat/completions") == 10


def test_a_wrong_secret_is_told_in_entras_words_and_without_it(session: Any) -> None:
    with pytest.raises(aiq.AiqError, match="AADSTS7000215") as caught:
        session.sql("SELECT ai_query('wrong', 'Hi')")
    assert "wrong-secret-of-app" not in str(caught.value)


def grant(simulator: SimulatorProcess, **changes: str) -> httpx.Response:
    fields = {
        "grant_type": "client_credentials",
        "client_id": "app",
        "client_secret": SECRET,
        "scope": SCOPE,
        **changes,
    }
    return httpx.post(f"{simulator.url}/tenant-1/oauth2/v2.0/token", data=fields)


def test_the_sdk_is_served_with_a_token(simulator: SimulatorProcess) -> None:
    token = grant(simulator).json()["access_token"]
    for given, ok in ((token, True), (token[:-1] + "x", False)):
        client = AzureOpenAI(
            azure_endpoint=simulator.url, api_version="2024-10-21", azure_ad_token=given, max_retries=0
        )
        messages: Any = [{"role": "user", "content": "Hi"}]
        with client:
            if ok:
                assert client.chat.completions.create(model="gpt-4o", messages=messages).choices[0].message.content
            else:
                with pytest.raises(AuthenticationError):
                    client.chat.completions.create(model="gpt-4o", messages=messages)


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({"client_secret": "no"}, 401, "invalid_client"),
        ({"client_id": ""}, 401, "invalid_client"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"scope": "https://graph.microsoft.com/.default"}, 400, "invalid_scope"),
    ],
)
def test_what_entra_would_not_grant_is_refused(
    simulator: SimulatorProcess, changes: dict[str, str], status: int, error: str
) -> None:
    answer = grant(simulator, **changes)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
