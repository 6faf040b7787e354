"""The simulator's check of signatures: AWS's published examples, botocore's signer, and all that is no signature."""

from __future__ import annotations

import datetime
import random
from typing import Any
from unittest.mock import patch
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from aiq.simulator.exchange import VendorCall
from aiq.simulator.refusal import VendorError
from aiq.simulator.vendors.aws_signature import verify

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
AT = 1440938160.0  # 2015-08-30T12:36:00Z, the time of AWS's examples
SCOPE = "AKIDEXAMPLE/20150830/us-east-1/service/aws4_request"


def secret_of(key_id: str) -> str | None:
    return SECRET if key_id == "AKIDEXAMPLE" else None


def published(
    signature: str, *, method: bytes = b"POST", target: bytes = b"/", body: bytes = b"", **headers: str
) -> VendorCall:
    lines = {"host": "example.amazonaws.com", "x-amz-date": "20150830T123600Z"}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    signed = ";".join(sorted(lines))
    lines["authorization"] = f"AWS4-HMAC-SHA256 Credential={SCOPE}, SignedHeaders={signed}, Signature={signature}"
    return VendorCall(method, target, {name.encode(): value.encode() for name, value in lines.items()}, body)


VANILLA = "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
EXAMPLES = [
    published(VANILLA),
    published("5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31", method=b"GET"),
    published(
        "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb", method=b"GET", target=b"/?Param1=value1"
    ),
    published(
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500", method=b"GET",
        target=b"/?Param2=value2&Param1=value1",
    ),
    published(
        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        content_type="application/x-www-form-urlencoded", body=b"Param1=value1",
    ),
]  # fmt: skip


@pytest.mark.parametrize("example", EXAMPLES)
def test_published_examples_are_accepted(example: VendorCall) -> None:
    assert verify(example, "service", secret_of, AT) == "AKIDEXAMPLE"


def botocore_call(rng: random.Random, now_s: float) -> VendorCall:
    letters = "abcXYZ019-._~:/%+=@ $&,;!*'()äß漢🎉"

    def word(longest: int) -> str:
        return quote("".join(rng.choices(letters, k=rng.randint(0, longest))), safe="")

    path = "/".join(word(12) for _ in range(rng.randint(1, 4)))
    query = "&".join(f"{word(3)}={word(3)}" for _ in range(rng.randint(0, 3)))
    url = f"http://127.0.0.1:{rng.randint(1024, 65000)}/{path}" + (f"?{query}" if query else "")
    body = rng.randbytes(rng.randint(0, 100))
    method = rng.choice(["POST", "GET"])
    headers = {"Content-Type": "application/json", "X-Own": "  a   b "} if rng.random() < 0.5 else {}
    request = AWSRequest(method, url, headers=headers, data=body)
    at = datetime.datetime.fromtimestamp(now_s, datetime.UTC).replace(tzinfo=None)
    with patch("botocore.auth.get_current_datetime", lambda: at):
        SigV4Auth(Credentials("AKIDEXAMPLE", SECRET), "bedrock", "eu-west-1").add_auth(request)
    parts = urlsplit(url)
    sent = {name.lower().encode(): value.encode() for name, value in request.headers.items()}
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    return VendorCall(method.encode(), target.encode(), {b"host": parts.netloc.encode(), **sent}, body)


def test_what_botocore_signs_is_accepted_and_any_change_is_not() -> None:
    rng = random.Random(11)
    for _ in range(1000):
        now_s = rng.uniform(1.5e9, 2e9)
        call = botocore_call(rng, now_s)
        assert verify(call, "bedrock", secret_of, now_s + rng.uniform(-299, 299)) == "AKIDEXAMPLE"
        with pytest.raises(VendorError):
            verify(call._replace(body=call.body + b" "), "bedrock", secret_of, now_s)
        with pytest.raises(VendorError):
            verify(call._replace(target=call.target + b"x"), "bedrock", secret_of, now_s)


def refused(call: VendorCall, *, service: str = "service", now_s: float = AT) -> tuple[int, str]:
    with pytest.raises(VendorError) as caught:
        verify(call, service, secret_of, now_s)
    return caught.value.status, caught.value.kind


def with_authorization(value: str) -> VendorCall:
    call = published(VANILLA)
    return call._replace(headers={**call.headers, b"authorization": value.encode()})


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("", "MissingAuthenticationTokenException"),
        ("Basic abc", "IncompleteSignatureException"),
        ("AWS4-HMAC-SHA256 Credential=x, SignedHeaders=host, Signature=0", "IncompleteSignatureException"),
        (f"AWS4-HMAC-SHA256 Credential={SCOPE}, Signature=0", "IncompleteSignatureException"),
        (f"AWS4-HMAC-SHA256 Credential={SCOPE}, SignedHeaders=host, Signature=0", "InvalidSignatureException"),
        (
            f"AWS4-HMAC-SHA256 Credential={SCOPE}, SignedHeaders=host;x-amz-date, Signature=0",
            "InvalidSignatureException",
        ),
        (
            "AWS4-HMAC-SHA256 Credential=AKIDOTHER/20150830/us-east-1/service/aws4_request, "
            "SignedHeaders=host;x-amz-date, Signature=0",
            "UnrecognizedClientException",
        ),
        (
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150829/us-east-1/service/aws4_request, "
            "SignedHeaders=host;x-amz-date, Signature=0",
            "InvalidSignatureException",
        ),
    ],
)
def test_what_is_no_signature_of_ours_is_refused(value: str, name: str) -> None:
    assert refused(with_authorization(value)) == (403, name)


@pytest.mark.parametrize("off_s", [-301, 301, -86_400, 86_400])
def test_a_signature_of_another_time_is_refused(off_s: float) -> None:
    assert refused(published(VANILLA), now_s=AT + off_s) == (403, "InvalidSignatureException")


def test_a_signature_for_another_service_is_refused() -> None:
    assert refused(published(VANILLA), service="bedrock") == (403, "InvalidSignatureException")


def test_a_request_without_its_time_is_refused() -> None:
    call: Any = published(VANILLA)
    headers = {name: value for name, value in call.headers.items() if name != b"x-amz-date"}
    assert refused(call._replace(headers=headers)) == (403, "InvalidSignatureException")
