"""What a budget reserves for a request: never less than it can be billed for, where that can be known."""

from __future__ import annotations

from typing import Any

import pytest

from aiq.policy.reservation import UNKNOWN_OUTPUT_TOKENS, most_tokens
from aiq.request import Caller, Request, Task


def request(body: dict[str, Any], task: Task = "llm/v1/chat") -> Request:
    return Request("chat", task, body, Caller("ann"), "s")


def chat(content: Any, **more: Any) -> Request:
    return request({"messages": [{"role": "user", "content": content}], **more})


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}


@pytest.mark.parametrize("text", ["", "Hello", "é" * 100, "日本語" * 50, '\n\t"\\' * 20, "👍🏽" * 9])
def test_no_token_is_shorter_than_a_byte(text: str) -> None:
    assert most_tokens(chat(text), "gpt-4o").input_tokens >= len(text.encode()) + 7


def test_every_message_of_a_conversation_counts() -> None:
    messages = [{"role": "user", "content": "a" * 50}, {"role": "assistant", "content": "b" * 50}] * 4
    assert most_tokens(request({"messages": messages}), "gpt-4o").input_tokens >= 8 * 54


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("gpt-4o", 1_445),
        ("gpt-4o-2024-11-20", 1_445),
        ("gpt-4o-mini", 48_169),
        ("gpt-4.1-mini", 2_489),
        ("o4-mini", 2_642),
        ("gpt-5-2025-08-07", 1_190),
        ("gpt-5.4", 48_169),
        ("a-model-of-tomorrow", 48_169),
    ],
)
def test_an_image_counts_what_its_provider_counts_at_the_most(model: str, tokens: int) -> None:
    text = {"type": "text", "text": "What is it?"}
    without = most_tokens(chat([text]), model).input_tokens
    assert most_tokens(chat([text, IMAGE, IMAGE]), model).input_tokens == without + 2 * tokens


def test_a_body_with_images_is_left_as_it_is() -> None:
    content = [{"type": "text", "text": "What is it?"}, IMAGE]
    most_tokens(chat(content), "gpt-4o")
    assert len(content) == 2


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_an_answer_is_as_long_as_the_request_allows(name: str) -> None:
    assert most_tokens(chat("x", **{name: 20}), "gpt-4o").output_tokens == 20


def test_of_two_limits_the_higher_counts() -> None:
    assert most_tokens(chat("x", max_tokens=20, max_completion_tokens=30), "gpt-4o").output_tokens == 30


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("gpt-4o-mini", 16_384),
        ("gpt-4o-2024-05-13", 4_096),
        ("ft:gpt-4o-mini-2024-07-18:us", 16_384),
        ("openai/gpt-4.1", 32_768),
        ("gpt-4", 8_192),
        ("gpt-5", 128_000),
        ("gpt-5-chat-latest", 16_384),
        ("gpt-5.4-mini", 128_000),
        ("gpt-35-turbo-16k", 4_096),
        ("o3-mini", 100_000),
        ("llama-3", UNKNOWN_OUTPUT_TOKENS),
    ],
)
def test_without_a_limit_an_answer_is_as_long_as_the_model_can(model: str, tokens: int) -> None:
    assert most_tokens(chat("x"), model).output_tokens == tokens


def test_an_embedding_has_no_output() -> None:
    found = most_tokens(request({"input": ["a" * 100, "b" * 100]}, "llm/v1/embeddings"), "text-embedding-3-small")
    assert found.output_tokens == 0 and found.input_tokens >= 200
