"""Signatures: AWS's published examples, and botocore's own signer for thousands of requests."""

from __future__ import annotations

import datetime
import hmac
import random
import string
from typing import Any
from unittest.mock import patch
from urllib.parse import quote

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from aiq.providers.bedrock.sigv4 import Signer

KEY_ID, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
AT = 1440938160.0  # 2015-08-30T12:36:00Z, the time of AWS's examples


def signature(headers: list[tuple[str, str]]) -> str:
    return dict(headers)["authorization"].rpartition("Signature=")[2]


def test_the_published_example_of_a_signed_post_is_met() -> None:
    signer = Signer(
        KEY_ID, SECRET, region="us-east-1", service="service", url="https://example.amazonaws.com/",
        content_type="application/x-www-form-urlencoded",
    )  # fmt: skip
    headers = dict(signer.headers(b"Param1=value1", AT))
    assert headers["x-amz-date"] == "20150830T123600Z"
    assert headers["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        "SignedHeaders=content-type;host;x-amz-date, "
        "Signature=ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"
    )


def botocore_signature(url: str, body: bytes, now_s: float, region: str, token: str = "") -> str:
    at = datetime.datetime.fromtimestamp(now_s, datetime.UTC).replace(tzinfo=None)
    request = AWSRequest("POST", url, headers={"content-type": "application/json"}, data=body)
    with patch("botocore.auth.get_current_datetime", lambda: at, create=True):
        SigV4Auth(Credentials(KEY_ID, SECRET, token or None), "bedrock", region).add_auth(request)
    return str(request.headers["Authorization"])


def urls(rng: random.Random) -> Any:
    letters = string.ascii_letters + string.digits + "-._~:/%+=@ $&,;!*'()äß漢🎉"
    while True:
        model = quote("".join(rng.choices(letters, k=rng.randint(1, 40))), safe="")
        host = rng.choice(
            ["bedrock-runtime.us-east-1.amazonaws.com", "Proxy.Example:8443", "127.0.0.1:9000", "[::1]:80", "h:443"]
        )
        prefix = rng.choice(["", "", "/v1", "/a//b", "/x/../y", "/./z", "/a%20b", "/~me"])
        scheme = rng.choice(["https", "http"])
        yield f"{scheme}://{host}{prefix}/model/{model}/{rng.choice(['converse', 'converse-stream', 'invoke'])}"


def test_it_signs_as_botocore_does() -> None:
    rng = random.Random(7)
    made = urls(rng)
    for _ in range(1000):
        url, region = next(made), rng.choice(["us-east-1", "eu-central-1", "cn-north-1"])
        token = rng.choice(["", "IQoJb3JpZ2luX2VjE+/=" * rng.randint(1, 40)])
        signer = Signer(KEY_ID, SECRET, region=region, service="bedrock", url=url, session_token=token)
        for _ in range(3):
            body, now_s = rng.randbytes(rng.randint(0, 200)), rng.uniform(1.5e9, 2e9)
            headers = dict(signer.headers(body, now_s))
            assert headers["authorization"] == botocore_signature(url, body, now_s, region, token)
            assert headers.get("x-amz-security-token", "") == token


def test_the_key_is_derived_once_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    derived: list[bytes] = []
    plain = hmac.digest

    def counted(key: bytes, message: bytes, digest: str) -> bytes:
        derived.append(message)
        return plain(key, message, digest)

    monkeypatch.setattr("aiq.providers.bedrock.sigv4.hmac.digest", counted)
    signer = Signer(KEY_ID, SECRET, region="us-east-1", service="bedrock", url="https://h/p")
    for now_s in (AT, AT, AT + 1, AT + 3600):
        signer.headers(b"{}", now_s)
    assert len(derived) == 4 + 4  # four steps to the key, then one a request
    signer.headers(b"{}", AT + 86_400)
    assert len(derived) == 8 + 4 + 1


def test_a_clock_that_goes_back_over_midnight_signs_for_the_day_before() -> None:
    signer = Signer(KEY_ID, SECRET, region="us-east-1", service="bedrock", url="https://h/p")
    first = signer.headers(b"{}", AT)
    signer.headers(b"{}", AT + 86_400)
    assert signer.headers(b"{}", AT) == first


@pytest.mark.parametrize("change", ["body", "time", "path", "secret", "region"])
def test_every_part_of_a_request_is_signed(change: str) -> None:
    def sign(body: bytes = b"{}", now_s: float = AT, path: str = "/p", secret: str = SECRET, region: str = "r") -> str:
        return signature(
            Signer(KEY_ID, secret, region=region, service="s", url=f"https://h{path}").headers(body, now_s)
        )

    changed: dict[str, Any] = {"body": b"{ }", "time": AT + 1, "path": "/q", "secret": "x", "region": "q"}
    name = "now_s" if change == "time" else change
    assert sign(**{name: changed[change]}) != sign()
