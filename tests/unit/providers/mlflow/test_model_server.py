"""MLflow's scoring protocol, and the characters that usage is estimated from."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiq.config.connections import ModelServerConfig, Secret
from aiq.errors import ProviderError
from aiq.providers import Adapter, adapter_for
from aiq.providers.wire.estimates import estimate_tokens
from aiq.request import Usage, text_characters

CONFIG = ModelServerConfig("http://h:5001/invocations", Secret("dapi-secret", "s"))


def server(make: Any) -> Adapter:
    adapter = adapter_for(make.entity(task="custom", provider="model-server", config=CONFIG, model="spam"))
    adapter.prepare()
    return adapter


def test_the_body_is_sent_as_it_is_to_the_url_as_it_is(make: Any) -> None:
    wire = server(make).encode(make.request(task="custom", body={"inputs": ["a"]}))
    assert wire.url == CONFIG.url
    assert wire.body == b'{"inputs":["a"]}'
    assert ("authorization", "Bearer dapi-secret") in wire.headers


@pytest.mark.parametrize("name", ["predictions", "outputs"])
def test_predictions_are_an_answer_without_tokens(make: Any, name: str) -> None:
    answer = server(make).decode(make.request(task="custom"), make.response({name: [1, {"p": 0.5}]}))
    assert (answer.value, answer.usage, answer.model) == ([1, {"p": 0.5}], Usage(0, 0), "spam")


@pytest.mark.parametrize("body", [{}, [], None, {"predictions": 1}, {"predictions": None}, b"<html>", b""])
def test_anything_else_is_a_bad_answer(make: Any, body: Any) -> None:
    with pytest.raises(ProviderError) as caught:
        server(make).decode(make.request(task="custom"), make.response(body))
    assert caught.value.kind == "bad_answer"


@pytest.mark.parametrize(("status", "kind"), [(400, "bad_request"), (429, "rate_limited"), (503, "overloaded")])
def test_its_errors_have_classes_words_and_hints(make: Any, status: int, kind: str) -> None:
    reply = make.response({"error_code": "BAD", "message": "schema mismatch"}, status, retry_after="3")
    with pytest.raises(ProviderError, match="schema mismatch") as caught:
        server(make).decode(make.request(task="custom"), reply)
    assert (caught.value.kind, caught.value.retry_after_s) == (kind, 3.0)


@pytest.mark.parametrize("status", [200, 401])
def test_a_token_that_the_server_repeats_is_not_shown(make: Any, status: int) -> None:
    for body in (
        {"message": "bad token dapi-secret"},
        b"bad token dapi-secret",
        {"message": "x" * 495 + "dapi-secret"},
    ):
        with pytest.raises(ProviderError) as caught:
            server(make).decode(make.request(task="custom"), make.response(body, status))
        assert "dapi" not in str(caught.value) + str(caught.value.body)


@pytest.mark.parametrize(
    ("body", "characters"),
    [
        ({"messages": [{"content": "four"}, {"content": None}, {"content": "more"}]}, 8),
        ({"messages": [{"content": [{"type": "text", "text": "four"}, {"image_url": {"url": "data:..."}}]}]}, 4),
        ({"prompt": "abc"}, 3),
        ({"input": ["ab", "c"]}, 3),
        ({"inputs": ["not a text for tokens"]}, 0),
        ({"messages": "odd"}, 0),
        ({"messages": ["odd", {"content": ["odd", {"text": 5}]}]}, 0),
    ],
)
def test_text_is_counted_and_images_are_not(body: dict[str, Any], characters: int) -> None:
    assert text_characters(body) == characters


@given(st.integers(0, 10**6))
def test_an_estimate_is_databricks_formula(characters: int) -> None:
    assert estimate_tokens(characters) == int((characters + 1) / 4)
