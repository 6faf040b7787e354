"""Where Google's access tokens may come from: google-auth finds or exchanges them, before a real server on this
machine.

Vertex AI is the simulator, which takes no other tokens than those of its own kind.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import google.oauth2.credentials
import pytest
from google.auth.compute_engine import _metadata

import aiq
from aiq.errors import ConfigError
from aiq.simulator.process import SimulatorProcess
from aiq.simulator.vendors import oauth
from aiq.simulator.vendors.vertex import KEY_FILE
from tests.contract.cloud_server import CloudServer, cloud_server, in_seconds
from tests.processes import PATIENCE_S

METADATA = "/computeMetadata/v1/instance/service-accounts/default"
Ask = Callable[..., list[str]]


def granted() -> str:
    return str(oauth.grant("vertex", "ann", time.time())["access_token"])


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[CloudServer]:
    """Google's metadata server and token services; the machine has no other credential."""
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
    with cloud_server() as server:
        # Where Google's library has its services: it reads the first from the environment when it is imported.
        monkeypatch.setattr(_metadata, "_GCE_METADATA_HOST", server.url.removeprefix("http://"))
        monkeypatch.setattr(google.oauth2.credentials, "_GOOGLE_OAUTH2_TOKEN_ENDPOINT", f"{server.url}/token")
        monkeypatch.setenv("GCE_METADATA_IP", server.url.removeprefix("http://"))
        server.json("/token", lambda asked: {"access_token": granted(), "expires_in": 3599, "token_type": "Bearer"})
        yield server


@pytest.fixture
def machine(cloud: CloudServer) -> CloudServer:
    """A machine of Google Cloud's, with a service account."""
    cloud.answers["/"] = lambda asked: (200, b"{}")
    cloud.json(f"{METADATA}/", lambda asked: {"email": "vm@p.iam.gserviceaccount.com", "scopes": [], "aliases": []})
    cloud.answers[f"{METADATA}/token"] = cloud.answers["/token"]
    cloud.answers["/computeMetadata/v1/project/project-id"] = lambda asked: (200, b"p")
    cloud.answers["/computeMetadata/v1/universe/universe-domain"] = lambda asked: (404, b"")
    return cloud


@pytest.fixture
def ask(conf: Any, home: Path, simulator: SimulatorProcess) -> Ask:
    """`ask({"credentials": "default"}, rows=3)`: the answers of an endpoint whose `aiq` says so."""

    def asked(own: dict[str, Any], *, rows: int = 1, model: str = "gemini-2.5-flash", **section: Any) -> list[str]:
        external = {
            "name": model,
            "provider": "google-cloud-vertex-ai",
            "task": "llm/v1/chat",
            "google_cloud_vertex_ai_config": {"project_id": "p", "region": "europe-west4", **section},
        }
        own = {"api_base": simulator.url, **own}
        conf.endpoint("cloud", {"name": "main", "external_model": external, "aiq": own})
        with aiq.connect(conf=str(conf.path), home=str(home)) as session:
            sql = "SELECT ai_query('cloud', 'Say ' || i) FROM range(?) t(i)"
            return [text for (text,) in session.sql(sql, [rows]).fetchall()]

    return asked


def write(path: Path, info: dict[str, Any]) -> str:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(json.dumps(info))
    return str(path)


def user() -> dict[str, Any]:
    """What `gcloud auth application-default login` writes."""
    keys = {"client_id": "gcloud", "client_secret": "s", "refresh_token": "hidden-refresh", "quota_project_id": "payer"}
    return {"type": "authorized_user", **keys}


def test_the_metadata_server_is_asked_once_for_many_rows(ask: Ask, machine: CloudServer) -> None:
    assert len(set(ask({"credentials": "metadata"}, rows=200))) == 200
    assert machine.paths().count(f"{METADATA}/token") == 1
    assert all(asked.headers["metadata-flavor"] == "Google" for asked in machine.asked)


@pytest.mark.parametrize(
    "model", ["claude-sonnet-4-5@20250929", "mistral-small-2503", "meta/llama-3.3-70b-instruct-maas"]
)
def test_other_makers_models_take_the_same_tokens(ask: Ask, machine: CloudServer, model: str) -> None:
    assert ask({"credentials": "metadata"}, model=model)[0].startswith("[simulated]")


def test_the_default_order_ends_at_the_machine(ask: Ask, machine: CloudServer) -> None:
    assert ask({"credentials": "default"})


def test_the_default_order_begins_with_the_environment(
    ask: Ask, machine: CloudServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", write(tmp_path / "user.json", user()))
    assert ask({"credentials": "default"}) and machine.paths() == ["/token"]


def test_a_users_own_login_is_taken_from_gclouds_file(ask: Ask, cloud: CloudServer, tmp_path: Path) -> None:
    write(tmp_path / "gcloud" / "application_default_credentials.json", user())
    assert ask({"credentials": "default"}, rows=5)
    (asked,) = cloud.asked
    assert asked.fields["grant_type"] == "refresh_token" and asked.fields["refresh_token"] == "hidden-refresh"


def test_a_service_accounts_file_is_taken(ask: Ask, cloud: CloudServer, tmp_path: Path, simulator: Any) -> None:
    with urllib.request.urlopen(simulator.url + KEY_FILE.decode(), timeout=PATIENCE_S) as response:
        key = json.load(response)
    assert ask({"google_credentials_file": write(tmp_path / "key.json", key)})


def federated(cloud: CloudServer, source: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/k8s",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{cloud.url}/sts",
        "service_account_impersonation_url": f"{cloud.url}/serviceAccounts/a@p.iam:generateAccessToken",
        "credential_source": source,
    }


def test_a_workload_of_another_cloud_exchanges_its_token(ask: Ask, cloud: CloudServer, tmp_path: Path) -> None:
    (tmp_path / "subject").write_text("header.claims.signature")
    cloud.json("/sts", lambda asked: {"access_token": "federated", "expires_in": 3599, "token_type": "Bearer"})
    cloud.json(
        "/serviceAccounts/a@p.iam:generateAccessToken",
        lambda asked: {"accessToken": granted(), "expireTime": in_seconds(3599)},
    )
    info = federated(cloud, {"file": str(tmp_path / "subject")})
    assert ask({"google_credentials_file": write(tmp_path / "wif.json", info)}, rows=5)
    exchanged, impersonated = cloud.asked
    assert exchanged.fields["subject_token"] == "header.claims.signature"
    assert impersonated.headers["authorization"] == "Bearer federated"


def test_what_google_refuses_is_told_without_the_credential(ask: Ask, cloud: CloudServer, tmp_path: Path) -> None:
    refused = b'{"error": "invalid_grant", "error_description": "Token has been expired or revoked."}'
    cloud.answers["/token"] = lambda asked: (400, refused)
    with pytest.raises(aiq.AiqError, match="expired or revoked") as caught:
        ask({"google_credentials_file": write(tmp_path / "user.json", user())})
    assert "hidden-refresh" not in str(caught.value)


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ({"type": "gdch_service_account"}, "is of type 'gdch_service_account'; it takes service_account"),
        ({"type": "service_account"}, "no Google credentials"),
        (["no object"], "it takes service_account"),
    ],
)
def test_a_file_that_is_none_is_named(ask: Ask, cloud: CloudServer, tmp_path: Path, info: Any, words: str) -> None:
    with pytest.raises(aiq.AiqError, match=words):
        ask({"google_credentials_file": write(tmp_path / "own.json", info)})


def test_no_program_is_run_for_a_token(ask: Ask, cloud: CloudServer, tmp_path: Path) -> None:
    info = federated(cloud, {"executable": {"command": f"touch {tmp_path}/ran"}})
    with pytest.raises(aiq.AiqError, match="runs a program"):
        ask({"google_credentials_file": write(tmp_path / "wif.json", info)})


def test_a_file_that_is_not_there_is_named(ask: Ask, cloud: CloudServer, tmp_path: Path) -> None:
    with pytest.raises(aiq.AiqError, match=r"none\.json cannot be used: No such file"):
        ask({"google_credentials_file": str(tmp_path / "none.json")})


@pytest.mark.parametrize(
    ("own", "section", "words"),
    [
        ({}, {}, "private_key.*credentials.*google_credentials_file"),
        ({"credentials": "default"}, {"private_key_plaintext": "{}"}, "takes only one"),
        ({"credentials": "default", "google_credentials_file": "/x"}, {}, "give one of both"),
        ({"credentials": "instance"}, {}, "default"),
        ({"aws_profile": "x"}, {}, "does not belong to provider google-cloud-vertex-ai"),
    ],
)
def test_what_does_not_fit_together_is_refused(ask: Ask, own: Any, section: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ask(own, **section)
