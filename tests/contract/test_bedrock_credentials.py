"""Where Bedrock's keys may come from: botocore finds or exchanges them for us as it does for its own clients.

The metadata services and STS are a real server; the simulator computes every signature again, and takes a temporary
key only with its session token, signed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

import aiq
from aiq.errors import ConfigError, UnsupportedConfigError
from aiq.simulator.process import SimulatorProcess
from aiq.simulator.vendors.base import SECRET
from tests.contract.cloud_server import Asked, CloudServer, cloud_server, in_seconds

ROLE = "arn:aws:iam::123456789012:role/models"
PROFILE = "arn:aws:iam::123456789012:instance-profile/models"
INFO, TOKEN, KEYS = "/latest/meta-data/iam/info", "/latest/api/token", "/latest/meta-data/iam/security-credentials/"
STS = """<{0}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{0}Result><Credentials>
<AccessKeyId>{1}</AccessKeyId><SecretAccessKey>simulated</SecretAccessKey><SessionToken>{2}</SessionToken>
<Expiration>{3}</Expiration></Credentials></{0}Result></{0}Response>"""
DENIED = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>AccessDenied</Code><Message>User: arn:aws:iam::1:user/me is not authorized to perform: sts:AssumeRole</Message>
</Error></ErrorResponse>"""
Ask = Callable[..., list[str]]


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[CloudServer]:
    """The machine's metadata services and STS; nothing is in its environment or files."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with cloud_server() as server:
        server.answers["/"] = lambda asked: (200, sts(asked).encode())
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", server.url)
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.url)
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        yield server


def sts(asked: Asked, token: str = "session-1", life_s: float = 3600) -> str:
    return STS.format(asked.fields["Action"], "ASIASTS", token, in_seconds(life_s))


def keys(key_id: str, token: str, life_s: float = 3600) -> dict[str, str]:
    pair = {"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": key_id, "SecretAccessKey": SECRET}
    return {**pair, "Token": token, "LastUpdated": in_seconds(-10), "Expiration": in_seconds(life_s)}


@pytest.fixture
def instance(cloud: CloudServer) -> CloudServer:
    """An EC2 instance with a profile, whose metadata is given for a token of version 2 only."""

    def guarded(body: Callable[[Asked], bytes]) -> Callable[[Asked], tuple[int, bytes]]:
        return lambda asked: (
            (200, body(asked)) if asked.headers.get("x-aws-ec2-metadata-token") == "imds2" else (401, b"")
        )

    cloud.answers[TOKEN] = lambda asked: (200, b"imds2") if asked.method == "PUT" else (405, b"")
    cloud.answers[KEYS] = guarded(lambda asked: b"models")
    cloud.answers[KEYS + "models"] = guarded(lambda asked: orjson.dumps(keys("ASIAEC2", "ec2-token")))
    cloud.answers[INFO] = guarded(lambda asked: orjson.dumps({"Code": "Success", "InstanceProfileArn": PROFILE}))
    return cloud


@pytest.fixture
def ask(conf: Any, home: Path, simulator: SimulatorProcess) -> Ask:
    """`ask({"credentials": "default"}, rows=3)`: the answers of an endpoint whose `aiq` says so."""

    def asked(own: dict[str, Any], section: dict[str, Any] | None = None, *, rows: int = 1) -> list[str]:
        config = {"aws_region": "eu-central-1", "bedrock_provider": "anthropic", **(section or {})}
        external = {
            "name": "anthropic.claude-3-haiku-20240307-v1:0",
            "provider": "amazon-bedrock",
            "task": "llm/v1/chat",
            "amazon_bedrock_config": config,
        }
        own = {"api_base": simulator.url, **own}
        conf.endpoint("cloud", {"name": "main", "external_model": external, "aiq": own})
        with aiq.connect(conf=str(conf.path), home=str(home)) as session:
            sql = "SELECT ai_query('cloud', 'Say ' || i) FROM range(?) t(i)"
            return [text for (text,) in session.sql(sql, [rows]).fetchall()]

    return asked


PAIR = {"aws_access_key_id_plaintext": "AKIATEST", "aws_secret_access_key_plaintext": SECRET}
TEMPORARY = {"aws_access_key_id_plaintext": "ASIATEST", "aws_secret_access_key_plaintext": SECRET}


def test_a_temporary_pair_goes_with_its_session_token(ask: Ask) -> None:
    assert ask({"aws_session_token_plaintext": "session-of-mine"}, TEMPORARY)[0].startswith("[simulated]")


def test_a_temporary_pair_that_is_over_is_told_without_its_token(ask: Ask) -> None:
    with pytest.raises(aiq.AiqError) as caught:
        ask({"aws_session_token_plaintext": "session-until-1000"}, TEMPORARY)
    assert "ExpiredTokenException" in str(caught.value) and "session-until" not in str(caught.value)


def test_a_role_is_assumed_once_for_many_rows(ask: Ask, cloud: CloudServer) -> None:
    own = {"aws_role_arn": ROLE, "aws_external_id": "partner-7", "aws_role_session_name": "nightly"}
    assert len(set(ask(own, PAIR, rows=200))) == 200
    (asked,) = cloud.asked
    assert (
        "Credential=AKIATEST/" in asked.headers["authorization"]
        and "/sts/aws4_request" in asked.headers["authorization"]
    )
    assert (asked.fields["Action"], asked.fields["RoleArn"], asked.fields["ExternalId"]) == (
        "AssumeRole", ROLE, "partner-7"
    )  # fmt: skip
    assert asked.fields["RoleSessionName"] == "nightly"


def test_what_sts_refuses_is_told_and_nothing_is_sent(
    ask: Ask, cloud: CloudServer, simulator: SimulatorProcess
) -> None:
    cloud.answers["/"] = lambda asked: (403, DENIED.encode())
    with pytest.raises(aiq.AiqError, match="not authorized to perform: sts:AssumeRole"):
        ask({"aws_role_arn": ROLE}, PAIR)
    assert simulator.attempts() == []


def test_keys_that_are_over_when_they_are_new_are_asked_for_once(ask: Ask, cloud: CloudServer) -> None:
    cloud.answers["/"] = lambda asked: (200, sts(asked, "session-until-1000").encode())
    with pytest.raises(aiq.AiqError, match="ExpiredToken") as caught:
        ask({"aws_role_arn": ROLE}, PAIR)
    assert len(cloud.asked) == 1 and "session-until" not in str(caught.value)


def test_a_token_file_is_exchanged_without_a_signature(ask: Ask, cloud: CloudServer, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("header.claims.signature\n")
    ask({"aws_web_identity_token_file": str(file), "aws_role_arn": ROLE})
    (asked,) = cloud.asked
    assert "authorization" not in asked.headers
    assert (asked.fields["Action"], asked.fields["WebIdentityToken"]) == (
        "AssumeRoleWithWebIdentity", "header.claims.signature"
    )  # fmt: skip


def test_a_token_file_that_is_not_there_is_named(ask: Ask, cloud: CloudServer, tmp_path: Path) -> None:
    with pytest.raises(aiq.AiqError, match=re.escape(str(tmp_path / "none"))):
        ask({"aws_web_identity_token_file": str(tmp_path / "none"), "aws_role_arn": ROLE})


def test_an_instance_gives_its_keys(ask: Ask, instance: CloudServer) -> None:
    ask({"credentials": "instance"}, rows=20)
    assert instance.paths().count(KEYS + "models") <= 2  # botocore reads them when it looks, and where they end soon


def test_the_instance_profile_of_a_databricks_file_is_the_machines(ask: Ask, instance: CloudServer) -> None:
    assert ask({}, {"instance_profile_arn": PROFILE})
    with pytest.raises(aiq.AiqError, match=r"has the instance profile .*/models, not .*/other"):
        ask({}, {"instance_profile_arn": PROFILE.replace("models", "other")})


def test_the_default_order_ends_at_the_instance(ask: Ask, instance: CloudServer) -> None:
    assert ask({"credentials": "default"})


def test_a_role_is_assumed_with_what_the_instance_has(ask: Ask, instance: CloudServer) -> None:
    assert ask({"credentials": "instance", "aws_role_arn": ROLE})
    assumed = next(asked for asked in instance.asked if asked.fields.get("Action") == "AssumeRole")
    assert "Credential=ASIAEC2/" in assumed.headers["authorization"]
    assert assumed.headers["x-amz-security-token"] == "ec2-token"


def test_a_container_gives_its_keys_for_its_own_token(
    ask: Ask, cloud: CloudServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{cloud.url}/pod")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "pod-token")
    cloud.json("/pod", lambda asked: keys("ASIAPOD", "pod-session"))
    assert ask({"credentials": "container"})
    assert cloud.asked[0].headers["authorization"] == "pod-token"


def test_the_environment_gives_its_keys(ask: Ask, cloud: CloudServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("ACCESS_KEY_ID", "ASIAENV"), ("SECRET_ACCESS_KEY", SECRET), ("SESSION_TOKEN", "env-session")):
        monkeypatch.setenv(f"AWS_{name}", value)
    assert ask({"credentials": "environment"}) and cloud.asked == []


def test_a_profile_gives_its_keys_whatever_else_the_machine_has(
    ask: Ask, instance: CloudServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "credentials").write_text(f"[team]\naws_access_key_id = AKIATEAM\naws_secret_access_key = {SECRET}\n")
    (tmp_path / "config").write_text(f"[profile cross]\nrole_arn = {ROLE}\nsource_profile = team\n\n[profile empty]\n")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "sk-invalid")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    assert ask({"aws_profile": "team"}) and instance.asked == []
    assert ask({"aws_profile": "cross"})
    assert "Credential=AKIATEAM/" in instance.asked[0].headers["authorization"]
    for name, words in (("empty", "profile empty has none of its own"), ("none", "none.* could not be found")):
        with pytest.raises(aiq.AiqError, match=words):
            ask({"aws_profile": name})


@pytest.mark.parametrize("source", ["environment", "container", "instance", "default"])
def test_where_nothing_is_found_it_says_where_it_looked(ask: Ask, cloud: CloudServer, source: str) -> None:
    with pytest.raises(aiq.AiqError, match="no AWS credentials: "):
        ask({"credentials": source})


@pytest.mark.parametrize(
    ("own", "section", "words"),
    [
        ({}, {}, "give exactly one of aws_access_key_id"),
        ({"credentials": "default", "aws_profile": "a"}, {}, "only one of credentials and aws_profile"),
        ({"credentials": "default"}, PAIR, "only one of credentials and aws_access_key_id"),
        ({"credentials": "instanse"}, {}, "instance"),
        ({"aws_external_id": "x"}, PAIR, "belongs to aws_role_arn"),
        ({"aws_role_arn": "models"}, PAIR, "expected an ARN"),
        ({"aws_web_identity_token_file": "/t"}, {}, "needs aws_role_arn"),
        ({"credentials": "default", "aws_session_token_plaintext": "x"}, {}, "belongs to aws_access_key_id"),
        ({"api_key_plaintext": "k", "aws_role_arn": ROLE}, {}, "cannot be assumed with an API key"),
        ({"aws_role_session_nam": "x"}, PAIR, "aws_role_session_name"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    ask: Ask, own: dict[str, Any], section: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        ask(own, section)


def test_what_only_databricks_has_is_refused_with_what_to_give(ask: Ask) -> None:
    with pytest.raises(UnsupportedConfigError, match="credentials"):
        ask({}, {"uc_service_credential_name": "c"})
