"""What the embeddings of the local server answer and refuse."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from aiq.local.embeddings import BadEmbeddingRequest, vectors_of


class Lengths:
    """An embedder whose vector of a text is its length."""

    def encode(self, texts: list[str], is_query: bool) -> Any:
        return np.array([[len(text), 0.5] for text in texts], dtype=np.float32)

    def token_count(self, text: str, is_query: bool) -> int:
        return len(text.split())


def test_each_text_has_its_vector_in_order_and_its_tokens_are_counted() -> None:
    answer = vectors_of(Lengths(), "lengths", {"input": ["a b", "c"]})
    assert [(item["index"], item["embedding"]) for item in answer["data"]] == [(0, [3.0, 0.5]), (1, [1.0, 0.5])]
    assert answer["usage"]["prompt_tokens"] == 3


def test_base64_has_the_same_numbers() -> None:
    [item] = vectors_of(Lengths(), "lengths", {"input": "abc", "encoding_format": "base64"})["data"]
    assert np.frombuffer(base64.b64decode(item["embedding"]), dtype=np.float32).tolist() == [3.0, 0.5]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ([], "not a JSON object"),
        ({}, "'input'"),
        ({"input": []}, "'input'"),
        ({"input": [1]}, "'input'"),
        ({"input": ["a", ""]}, "a text is empty"),
        ({"input": "a\0b"}, "NUL"),
        ({"input": "\ud800"}, "surrogate"),
        ({"input": ["a", "a " * 4097]}, "4097 tokens, and lengths takes at most 4096"),
        ({"input": "a", "dimensions": 100}, "'dimensions'"),
        ({"input": "a", "encoding_format": "hex"}, "'encoding_format'"),
    ],
)
def test_what_it_would_read_otherwise_than_it_was_sent_is_refused(body: object, words: str) -> None:
    with pytest.raises(BadEmbeddingRequest, match=words):
        vectors_of(Lengths(), "lengths", body)
