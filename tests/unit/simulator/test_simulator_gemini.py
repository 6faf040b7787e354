"""The simulated Gemini API and Vertex AI are as strict as Google, in Google's words; assertions are verified."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from aiq.simulator.exchange import VendorCall
from aiq.simulator.profile import Profile, Quota
from aiq.simulator.provider import Provider
from aiq.simulator.vendors.gemini_fields import GENERATE, checked
from aiq.simulator.vendors.vertex import EMAIL, KEY_FILE

FLASH, EMBEDDER = "gemini-2.5-flash", "gemini-embedding-001"
NOW = 1_700_000_000.0


@pytest.fixture
def provider() -> Provider:
    return Provider(Profile(), clock=lambda: NOW)


def send(provider: Provider, path: str, body: Any, method: bytes = b"POST", **headers: str) -> tuple[int, Any]:
    sent = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    reply = provider.handle(VendorCall(method, path.encode(), {b"host": b"sim.test", **sent}, data))
    provider.finish(reply, reply.status)
    if reply.pieces is not None:
        return reply.status, b"".join(reply.pieces)
    return reply.status, orjson.loads(reply.body)


def ask(provider: Provider, body: Any, method: str = "generateContent", model: str = FLASH) -> tuple[int, Any]:
    return send(provider, f"/v1beta/models/{model}:{method}", body, x_goog_api_key="k")


def said(text: str = "Hi", role: str = "user") -> dict[str, Any]:
    return {"role": role, "parts": [{"text": text}]}


def with_config(**config: Any) -> dict[str, Any]:
    return {"contents": [said()], "generationConfig": config}


CALL = {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]}
RESULT = {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}]}
DECLARED = [{"functionDeclarations": [{"name": "f"}]}]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "contents is not specified"),
        ({"contents": []}, "contents is not specified"),
        ({"contents": [said(role="system")]}, "Please use a valid role: user, model."),
        ({"contents": [{"role": "user", "parts": []}]}, "must not be empty"),
        ({"contents": [{"parts": [{"thought": True}]}]}, "required oneof field 'data'"),
        ({"contents": [{"parts": [{"text": "a", "fileData": {"fileUri": "u"}}]}]}, "is already set"),
        ({"contents": [{"parts": [{"inlineData": {"mimeType": "image/gif"}}]}]}, "Unsupported MIME type: image/gif"),
        ({"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": "?"}}]}]}, "Base64 decoding failed"),
        ({"contents": [{"parts": [{"fileData": {}}]}]}, "file_uri must be set"),
        ({"contents": [said(), CALL, said()]}, "number of function response parts"),
        ({"contents": [said(), RESULT]}, "number of function response parts"),
        ({"contents": [said()], "foo": 1}, 'Unknown name "foo": Cannot find field.'),
        ({"contents": [{"parts": [{"txt": "a"}]}]}, "Unknown name \"txt\" at 'contents[0].parts[0]'"),
        ({"contents": 5}, "Invalid value at 'contents[0]' (TYPE_MESSAGE), 5"),
        (with_config(temperature="hot"), "Invalid value at 'generation_config.temperature' (TYPE_FLOAT), \"hot\""),
        (with_config(temperature=3), "temperature is 3"),
        (with_config(maxOutputTokens=0), "maxOutputTokens is 0"),
        (with_config(seed=2**40), "Invalid value at 'generation_config.seed' (TYPE_INT32)"),
        (with_config(stopSequences=list("abcdef")), "at most 5"),
        (with_config(logprobs=2), "response_logprobs is not"),
        (with_config(responseMimeType="text/html"), "allowed mimetypes"),
        (with_config(responseJsonSchema={}), "only supported with a response MIME type of application/json"),
        (
            with_config(responseMimeType="application/json", responseSchema={}, responseJsonSchema={}),
            "Only one of response_schema",
        ),
        (with_config(thinkingConfig={"thinkingLevel": "LOW"}), "Thinking level is not supported for this model."),
        (with_config(thinkingConfig={"thinkingLevel": "LOW", "thinkingBudget": 1}), "only one of thinking budget"),
        (with_config(thinkingConfig={"thinkingBudget": 99_999}), "The thinking budget 99999 is invalid"),
        ({"contents": [said()], "tools": [{"functionDeclarations": [{"name": "1"}]}]}, "Invalid function name"),
        (
            {"contents": [said()], "tools": {"functionDeclarations": {"name": "f", "parameters": {"type": "ARRAY"}}}},
            "should be of type OBJECT",
        ),
        (
            {"contents": [said()], "toolConfig": {"functionCallingConfig": {"allowedFunctionNames": ["f"]}}},
            "only permitted when function calling mode is ANY",
        ),
        (
            {
                "contents": [said()],
                "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
            },
            "is not declared",
        ),
        ({"contents": [said()], "toolConfig": {"functionCallingConfig": {"mode": "SOMETIMES"}}}, "TYPE_ENUM"),
        (
            {**with_config(responseMimeType="application/json"), "tools": DECLARED},
            "Function calling with a response mime type",
        ),
    ],
)  # fmt: skip
def test_what_google_would_not_accept_is_refused_in_its_words(provider: Provider, body: Any, words: str) -> None:
    status, answer = ask(provider, body)
    assert (status, answer["error"]["code"], answer["error"]["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert words in answer["error"]["message"]


@pytest.mark.parametrize("body", [b"{", b"", b"[]", b"5"])
def test_a_body_that_is_no_object_is_refused(provider: Provider, body: bytes) -> None:
    assert ask(provider, body)[0] == 400


def test_names_may_be_written_with_underscores(provider: Provider) -> None:
    body = {"contents": said(), "system_instruction": said(), "generation_config": {"max_output_tokens": 2.0}}
    status, answer = ask(provider, body)
    assert (status, answer["candidates"][0]["finishReason"]) == (200, "MAX_TOKENS")


@pytest.mark.parametrize(
    ("signature", "words"), [(None, "missing a thought_signature"), ("bm8=", "Corrupted"), ("c2lnLTE=", None),
                             ("skip_thought_signature_validator", None)],
)  # fmt: skip
def test_gemini_3_wants_the_signature_of_a_call_back(provider: Provider, signature: Any, words: str | None) -> None:
    part = {**CALL["parts"][0], "thoughtSignature": signature}  # type: ignore[index]
    contents = [said(), {"role": "model", "parts": [part]}, RESULT]
    status, answer = ask(provider, {"contents": contents}, model="gemini-3-flash")
    assert status == (200 if words is None else 400)
    assert words is None or words in answer["error"]["message"]
    assert ask(provider, {"contents": [*contents, said("ok", "model"), said()]}, model="gemini-3-flash")[0] == 200
    assert ask(provider, {"contents": contents})[0] == 200


@pytest.mark.parametrize(
    ("method", "model", "body", "words"),
    [
        ("batchEmbedContents", EMBEDDER, {"requests": []}, "between 1 and 100"),
        ("batchEmbedContents", EMBEDDER, {"requests": [{"content": said()}]}, "unexpected model name"),
        ("batchEmbedContents", EMBEDDER, {"requests": [{"model": f"models/{EMBEDDER}"}]}, "contents is not specified"),
        ("embedContent", EMBEDDER, {"content": said(), "taskType": "FUN"}, "TaskType"),
        ("embedContent", EMBEDDER, {"content": said(), "outputDimensionality": 4000}, "between 1 and 3072"),
    ],
)
def test_embeddings_are_checked(provider: Provider, method: str, model: str, body: Any, words: str) -> None:
    status, answer = ask(provider, body, method, model)
    assert status == 400 and words in answer["error"]["message"]


def test_a_stream_wants_to_be_asked_for_as_events(provider: Provider) -> None:
    assert ask(provider, {"contents": [said()]}, "streamGenerateContent")[0] == 400
    status, stream = ask(provider, {"contents": [said()]}, "streamGenerateContent?alt=sse")
    events = [orjson.loads(event[6:]) for event in stream.split(b"\r\n\r\n") if event.startswith(b"data: ")]
    assert status == 200 and events[-1]["candidates"][0]["finishReason"] == "STOP"
    assert events[0]["usageMetadata"].keys() == {"promptTokenCount", "totalTokenCount"}


@pytest.mark.parametrize(("path", "method"), [("x:fly", b"POST"), ("x:generateContent", b"GET")])
def test_a_method_that_there_is_not_is_not_found(provider: Provider, path: str, method: bytes) -> None:
    status, answer = send(provider, f"/v1beta/models/{path}", {}, method, x_goog_api_key="k")
    assert (status, answer["error"]["status"]) == (404, "NOT_FOUND")


def test_a_quota_names_itself_and_when_to_come_back() -> None:
    provider = Provider(Profile(quotas=(Quota(rpm=1),)), clock=lambda: NOW, ticks=lambda: 0.0)
    assert ask(provider, {"contents": [said()]})[0] == 200
    status, answer = ask(provider, {"contents": [said()]})
    failure, retry = answer["error"]["details"]
    assert (status, answer["error"]["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert failure["violations"][0]["quotaValue"] == "1" and retry["retryDelay"] == "60.000000000s"


def test_the_error_of_a_stream_is_in_a_list(provider: Provider) -> None:
    status, answer = ask(provider, {}, "streamGenerateContent?alt=sse")
    assert status == 400 and answer[0]["error"]["code"] == 400


# Vertex AI

PLACE = "/v1/projects/p/locations/global/publishers/google/models"


def key_of(provider: Provider) -> dict[str, Any]:
    found: dict[str, Any] = send(provider, KEY_FILE.decode(), b"", b"GET")[1]
    return found


def claims(**changes: Any) -> dict[str, Any]:
    given_ = {"iss": EMAIL, "scope": "https://www.googleapis.com/auth/cloud-platform", "aud": "http://sim.test/token",
              "iat": int(NOW), "exp": int(NOW) + 3600}  # fmt: skip
    return {name: value for name, value in {**given_, **changes}.items() if value is not None}


BY_ASSERTION = "urn:ietf:params:oauth:grant-type:jwt-bearer"


def grant(provider: Provider, assertion: str, kind: str = BY_ASSERTION) -> tuple[int, Any]:
    return send(provider, "/token", urlencode({"grant_type": kind, "assertion": assertion}).encode())


def signed(provider: Provider, **changes: Any) -> str:
    return jwt.encode(claims(**changes), key_of(provider)["private_key"], "RS256")


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"iat": int(NOW) - 4000, "exp": int(NOW) - 400}, "invalid_grant", "reasonable timeframe"),
        ({"exp": int(NOW) + 9000}, "invalid_grant", "reasonable timeframe"),
        ({"iat": int(NOW) + 900}, "invalid_grant", "reasonable timeframe"),
        ({"exp": None}, "invalid_grant", "reasonable timeframe"),
        ({"aud": "https://else.test"}, "invalid_grant", "audience"),
        ({"scope": "email"}, "invalid_scope", "scope"),
        ({"iss": "sk-invalid"}, "invalid_grant", "account not found"),
    ],
)
def test_an_assertion_that_says_something_else_gets_no_token(
    provider: Provider, changes: Any, error: str, words: str
) -> None:
    status, answer = grant(provider, signed(provider, **changes))
    assert (status, answer["error"]) == (400, error) and words in answer["error_description"]


def test_an_assertion_has_to_be_signed_with_the_accounts_key(provider: Provider) -> None:
    whole = signed(provider)
    assert grant(provider, whole)[0] == 200
    other = jwt.encode(claims(), rsa.generate_private_key(65537, 2048), "RS256")
    head, body, _ = whole.split(".")
    for forged in (other, f"{head}.{body}.", f"{head}.{body}.AAAA", f"{head}.{body}", "x", "", whole[:-9]):
        assert grant(provider, forged)[0] == 400
    assert grant(provider, jwt.encode(claims(), None, "none"))[0] == 400
    assert grant(provider, jwt.encode(claims(), "shared" * 8, "HS256"))[0] == 400
    assert grant(provider, whole, "client_credentials")[1]["error"] == "unsupported_grant_type"


def test_a_token_is_good_until_it_ends() -> None:
    now = [NOW]
    provider = Provider(Profile(), clock=lambda: now[0])
    granted = grant(provider, signed(provider, iss="aiq-5s@p.iam.gserviceaccount.com"))[1]
    assert granted["expires_in"] == 5 and granted["token_type"] == "Bearer"

    def status() -> int:
        bearer = f"Bearer {granted['access_token']}"
        return send(provider, f"{PLACE}/{FLASH}:generateContent", {"contents": [said()]}, authorization=bearer)[0]

    assert status() == 200
    now[0] += 5.0
    assert status() == 401


@pytest.mark.parametrize("token", ["", "Bearer ", "Bearer ya29.x", "Bearer simtoken.9999999999999.0", "Basic x"])
def test_without_a_token_nobody_is_answered(provider: Provider, token: str) -> None:
    status, answer = send(provider, f"{PLACE}/{FLASH}:generateContent", {"contents": [said()]}, authorization=token)
    assert (status, answer["error"]["status"]) == (401, "UNAUTHENTICATED")


def vertex(provider: Provider, method: str, model: str, body: Any) -> tuple[int, Any]:
    token = grant(provider, signed(provider))[1]["access_token"]
    return send(provider, f"{PLACE}/{model}:{method}", body, authorization=f"Bearer {token}")


@pytest.mark.parametrize(
    ("model", "texts", "status"),
    [("text-embedding-005", 250, 200), ("text-embedding-005", 251, 400), (EMBEDDER, 1, 200), (EMBEDDER, 2, 400),
     ("gemini-embedding-2", 1, 400), ("text-embedding-005", 0, 400)],
)  # fmt: skip
def test_a_prediction_takes_what_its_model_takes(provider: Provider, model: str, texts: int, status: int) -> None:
    body = {"instances": [{"content": f"text {number}"} for number in range(texts)]}
    found, answer = vertex(provider, "predict", model, body)
    assert found == status
    assert status != 200 or len(answer["predictions"]) == texts


def test_a_prediction_takes_so_many_tokens_in_all(provider: Provider) -> None:
    for texts, expected in ((2, 200), (3, 400)):
        body = {"instances": [{"content": "x" * 40_000}] * texts}
        assert vertex(provider, "predict", "text-embedding-005", body)[0] == expected


def test_vertex_takes_no_empty_text(provider: Provider) -> None:
    status, answer = vertex(provider, "generateContent", FLASH, {"contents": [said("")]})
    assert status == 400 and "empty text parameter" in answer["error"]["message"]
    assert ask(provider, {"contents": [said("")]})[0] == 200


# Nonsense

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["contents", "parts", "role", "text", "inlineData", "mimeType", "data", "functionCall", "name", "args",
                 "functionResponse", "response", "generationConfig", "thinkingConfig", "thinkingLevel", "tools",
                 "functionDeclarations", "parameters", "toolConfig", "functionCallingConfig", "mode", "requests",
                 "content", "model", "instances", "responseMimeType", "responseJsonSchema", "systemInstruction"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=200)
@given(JSON, st.sampled_from(["generateContent", "embedContent", "batchEmbedContents"]))
def test_no_body_breaks_the_simulator(body: Any, method: str) -> None:
    data = json.dumps(body).encode()
    status, answer = ask(Provider(Profile(), clock=lambda: NOW), data, method)
    assert status in (200, 400) and isinstance(answer, dict)


def test_an_enumeration_or_a_list_of_one_is_read_as_google_reads_it() -> None:
    assert checked({"contents": {"parts": {"text": "a"}}}, GENERATE) == {"contents": [{"parts": [{"text": "a"}]}]}
