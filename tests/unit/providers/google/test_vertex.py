"""Gemini on Vertex AI: addresses, a service account's key and its tokens, and the two ways of embeddings."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from aiq.config.connections import Secret, VertexConfig
from aiq.errors import ProviderError, SecretError
from aiq.providers import Adapter, abilities_of, adapter_for
from aiq.request import Usage

NOW = 1_700_000_000.5
PRIVATE = rsa.generate_private_key(65537, 2048)


def pem(key: Any) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


KEY = {
    "type": "service_account",
    "project_id": "p",
    "private_key_id": "kid-1",
    "private_key": pem(PRIVATE),
    "client_email": "aiq@p.iam.gserviceaccount.com",
    "token_uri": "https://oauth2.googleapis.com/token",
}
SECRET = KEY["private_key"].splitlines()[1][:16]


def entity(make: Any, key: Any = KEY, base: str | None = None, region: str = "us-central1", **changes: Any) -> Any:
    text = key if isinstance(key, str) else json.dumps(key, indent=2)
    config = VertexConfig("p", region, Secret(text, "secrets/gcp/key"), base)
    values = {"provider": "google-cloud-vertex-ai", "config": config, "model": "gemini-2.5-flash"}
    return make.entity(**{**values, **changes})


def opened(make: Any, *args: Any, **changes: Any) -> Adapter:
    adapter = adapter_for(entity(make, *args, **changes), lambda: NOW)
    adapter.prepare()
    return adapter


def granted(make: Any, adapter: Adapter, token: str = "ya29.token") -> float:
    return adapter.take_token(make.response({"access_token": token, "expires_in": 3599, "token_type": "Bearer"}))


# Addresses

GOOGLE = "publishers/google/models/gemini-2.5-flash:generateContent"


@pytest.mark.parametrize(
    ("region", "base", "model", "url"),
    [
        (
            "us-central1",
            None,
            "gemini-2.5-flash",
            f"https://us-central1-aiplatform.googleapis.com/v1/projects/p/locations/us-central1/{GOOGLE}",
        ),
        (
            "global",
            None,
            "gemini-2.5-flash",
            f"https://aiplatform.googleapis.com/v1/projects/p/locations/global/{GOOGLE}",
        ),
        (
            "eu",
            None,
            "gemini-2.5-flash",
            f"https://aiplatform.eu.rep.googleapis.com/v1/projects/p/locations/eu/{GOOGLE}",
        ),
        ("us-central1", "http://h:1", "endpoints/7", "http://h:1/v1/projects/p/locations/us-central1/endpoints/7:"),
        ("us-central1", "http://h:1", "projects/q/locations/r/endpoints/7", "http://h:1/v1/projects/q/locations/r/"),
        ("us-central1", "http://h:1", "publishers/google/models/y", "/us-central1/publishers/google/models/y:"),
    ],
)
def test_the_url_names_project_region_and_model(make: Any, region: str, base: str | None, model: str, url: str) -> None:
    adapter = opened(make, base=base, region=region, model=model)
    assert url in adapter.address and adapter.encode(make.request()).url == adapter.address
    stream = adapter.encode(make.request(), stream=True).url
    assert stream == adapter.address.replace(":generateContent", ":streamGenerateContent?alt=sse")


# Tokens


def test_a_token_is_asked_for_with_a_signed_assertion(make: Any) -> None:
    wire = opened(make).token_request()
    assert wire is not None and wire.url == KEY["token_uri"]
    assert wire.headers == [("content-type", "application/x-www-form-urlencoded")]
    form = parse_qs(wire.body.decode())
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    assertion = form["assertion"][0]
    assert jwt.get_unverified_header(assertion) == {"alg": "RS256", "typ": "JWT", "kid": "kid-1"}
    options: Any = {"verify_exp": False, "verify_iat": False}
    claims = jwt.decode(assertion, PRIVATE.public_key(), ["RS256"], audience=KEY["token_uri"], options=options)
    assert claims == {
        "iss": KEY["client_email"],
        "scope": "https://www.googleapis.com/auth/cloud-platform",
        "aud": KEY["token_uri"],
        "iat": 1_700_000_000,
        "exp": 1_700_003_600,
    }


def test_the_last_token_is_what_goes_along(make: Any) -> None:
    adapter = opened(make)
    assert granted(make, adapter, "one") == 3599.0
    assert granted(make, adapter, "two") == 3599.0
    headers = adapter.encode(make.request()).headers
    assert headers == [("content-type", "application/json"), ("authorization", "Bearer two")]


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}, "auth", "JWT Signature"),
        (401, {"error": "invalid_client"}, "auth", "invalid_client"),
        (404, b"<html>", "auth", "HTTP 404"),
        (429, {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}}, "rate_limited", "429"),
        (503, b"", "overloaded", "503"),
        (200, b"<html>", "bad_answer", "answered HTTP"),
        (200, {"access_token": "x", "expires_in": "soon"}, "bad_answer", "no token"),
        (200, {"access_token": "", "expires_in": 9}, "bad_answer", "no token"),
        (200, {"access_token": "a\r\nb: c", "expires_in": 9}, "bad_answer", "no token"),
        (200, {"access_token": 5, "expires_in": 9}, "bad_answer", "no token"),
        (200, {"access_token": "x", "expires_in": -9}, "bad_answer", "no token"),
        (200, [], "bad_answer", "answered HTTP"),
    ],
)
def test_a_token_that_is_not_granted_is_an_error(make: Any, status: int, body: Any, kind: str, words: str) -> None:
    with pytest.raises(ProviderError, match=words) as caught:
        opened(make).take_token(make.response(body, status))
    assert caught.value.kind == kind


def test_neither_assertion_nor_token_is_shown_in_the_providers_words(make: Any) -> None:
    adapter = opened(make)
    wire = adapter.token_request()
    assert wire is not None
    assertion = parse_qs(wire.body.decode())["assertion"][0]
    granted(make, adapter, "ya29.secret")
    for act in (adapter.take_token, lambda response: adapter.decode(make.request(), response)):
        with pytest.raises(ProviderError) as caught:
            act(make.response({"error": {"message": f"no {assertion} ya29.secret"}}, 400))
        shown = str(caught.value) + str(caught.value.body)
        assert assertion[:20] not in shown and "ya29" not in shown


@given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(
    st.sampled_from(["access_token", "expires_in", "error"]), inner)), st.sampled_from([200, 400, 500]))  # fmt: skip
@settings(max_examples=100)
def test_no_token_response_raises_anything_but_a_provider_error(make: Any, body: Any, status: int) -> None:
    adapter = adapter_for(entity(make), lambda: NOW)
    with suppress(ProviderError):
        assert adapter.take_token(make.response(json.dumps(body).encode(), status)) > 0


# Keys


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (pem(PRIVATE), "holds the private key alone"),
        ("not JSON at all", "is not JSON"),
        ("[]", "is not JSON"),
        ({**KEY, "type": "authorized_user"}, "a credential of type 'authorized_user'"),
        ({**KEY, "type": SECRET}, "no key file of a service account"),
        ({**KEY, "client_email": ""}, "has no client_email"),
        ({**KEY, "private_key": None}, "has no private_key"),
        ({name: value for name, value in KEY.items() if name != "token_uri"}, "has no token_uri"),
        ({**KEY, "private_key": KEY["private_key"].replace("\n", "\\n")}, "private_key that cannot be read"),
        ({**KEY, "private_key": KEY["private_key"][:-200]}, "private_key that cannot be read"),
        ({**KEY, "private_key": pem(ec.generate_private_key(ec.SECP256R1()))}, "an RSA key"),
    ],
)
def test_a_wrong_key_says_what_is_wrong_and_shows_nothing_of_it(make: Any, key: Any, words: str) -> None:
    adapter = adapter_for(entity(make, key))
    with pytest.raises(SecretError, match=words) as caught:
        adapter.prepare()
    assert "served entity 'main' (secrets/gcp/key)" in str(caught.value)
    seen, error = "", caught.value
    while error is not None:
        seen, error = seen + repr(error), error.__cause__  # type: ignore[assignment]
    assert SECRET not in seen and "BEGIN" not in seen and caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("uri", "base"),
    [
        ("https://oauth2.googleapis.com/token", None),
        ("https://oauth2.googleapis.com/token", "http://127.0.0.1:9"),
        ("https://accounts.google.com/o/oauth2/token", None),
        ("http://127.0.0.1:9/token", "http://127.0.0.1:9/vertex"),
    ],
)
def test_an_assertion_goes_to_google_or_to_the_host_that_the_endpoint_names(
    make: Any, uri: str, base: str | None
) -> None:
    wire = opened(make, {**KEY, "token_uri": uri}, base).token_request()
    assert wire is not None and wire.url == uri


@pytest.mark.parametrize(
    ("uri", "base"),
    [
        ("https://evil.test/token", None),
        ("http://oauth2.googleapis.com/token", None),
        ("https://oauth2.googleapis.com.evil.test/token", None),
        ("https://oauth2.googleapis.com@evil.test/token", None),
        ("https://oauth2.googleapis.com:444/token", None),
        ("http://127.0.0.1:9/token", "http://127.0.0.1:8"),
        ("http://127.0.0.1:9/token", "https://127.0.0.1:9"),
        ("token", None),
        ("https://[", None),
    ],
)
def test_an_assertion_goes_nowhere_else(make: Any, uri: str, base: str | None) -> None:
    with pytest.raises(SecretError, match="token_uri"):
        adapter_for(entity(make, {**KEY, "token_uri": uri}, base)).prepare()


# Embeddings


def embedding(make: Any, model: str) -> Adapter:
    return opened(make, model=model, task="llm/v1/embeddings")


def embed(make: Any, model: str, body: dict[str, Any]) -> Any:
    return orjson.loads(embedding(make, model).encode(make.request(task="llm/v1/embeddings", body=body)).body)


def test_text_embeddings_are_predictions_of_instances(make: Any) -> None:
    body = {"input": ["a", "b"], "dimensions": 4, "task_type": "CLUSTERING", "auto_truncate": False}
    assert embed(make, "text-embedding-005", body) == {
        "instances": [{"content": "a", "task_type": "CLUSTERING"}, {"content": "b", "task_type": "CLUSTERING"}],
        "parameters": {"outputDimensionality": 4, "autoTruncate": False},
    }
    assert embedding(make, "text-embedding-005").address.endswith("/models/text-embedding-005:predict")


def test_the_first_gemini_embedding_is_predicted_one_at_a_time(make: Any) -> None:
    assert embedding(make, "gemini-embedding-001").address.endswith(":predict")
    limit = abilities_of(entity(make)).most_inputs
    assert limit is not None
    assert [limit(model) for model in ("gemini-embedding-001", "gemini-embedding-2", "text-embedding-005")] == [
        1,
        1,
        250,
    ]


def test_later_gemini_embeddings_are_asked_for_by_themselves(make: Any) -> None:
    assert embed(make, "gemini-embedding-2", {"input": ["a"], "dimensions": 4}) == {
        "content": {"parts": [{"text": "a"}]},
        "outputDimensionality": 4,
    }
    assert embedding(make, "gemini-embedding-2").address.endswith(":embedContent")
    with pytest.raises(ProviderError, match="one text a call"):
        embed(make, "gemini-embedding-2", {"input": ["a", "b"]})


def vector(values: list[float], tokens: Any = 2) -> dict[str, Any]:
    return {"embeddings": {"values": values, "statistics": {"token_count": tokens, "truncated": False}}}


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        ({"predictions": [vector([1.0]), vector([2.0], 3.0)]}, Usage(5, 0)),
        ({"predictions": [vector([1.0]), vector([2.0], -1)]}, Usage(2, 0, estimated=True)),
        ({"predictions": [vector([1.0]), {"embeddings": {"values": [2.0]}}]}, Usage(2, 0, estimated=True)),
    ],
)
def test_predictions_are_vectors_with_their_tokens(make: Any, body: Any, usage: Usage) -> None:
    request = make.request(task="llm/v1/embeddings", body={"input": ["four", "more"]})
    answer = embedding(make, "text-embedding-005").decode(request, make.response(body))
    assert (answer.value, answer.usage) == ([[1.0], [2.0]], usage)


def test_a_vector_by_itself_is_one_too(make: Any) -> None:
    request = make.request(task="llm/v1/embeddings", body={"input": ["a"]})
    body = {"embedding": {"values": [1.0]}, "usageMetadata": {"promptTokenCount": 1}, "truncated": False}
    answer = embedding(make, "gemini-embedding-2").decode(request, make.response(body))
    assert (answer.value, answer.usage) == ([[1.0]], Usage(1, 0))
