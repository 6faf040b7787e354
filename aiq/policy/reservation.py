"""How many tokens one request can be billed for at the most: what a budget reserves before a call.

Knows bodies in OpenAI's shape and what providers publish of their models; must never know a price or an endpoint.
"""

from __future__ import annotations

from typing import Any

import orjson

from aiq.request import Request, Usage

OVERHEAD_TOKENS = 16
"""What a provider adds to a conversation; the names of the body's own fields are more than it adds to a message."""

UNKNOWN_OUTPUT_TOKENS = 16_384
"""Of an answer without a limit from a model whose maximum is not known here: the one bound that is no promise."""

UNKNOWN_IMAGE_TOKENS = 48_169
"""Of an image before a model that is not known here: the most of all that are."""

_OUTPUT_TOKENS = (
    ("gpt-3.5", 4_096),
    ("gpt-35", 4_096),
    ("gpt-4-turbo", 4_096),
    ("gpt-4o-2024-05-13", 4_096),
    ("gpt-4o", 16_384),
    ("chatgpt-4o", 16_384),
    ("gpt-4.1", 32_768),
    ("gpt-4.5", 16_384),
    ("gpt-4", 8_192),
    ("gpt-5-chat", 16_384),
    ("gpt-5-pro", 272_000),
    ("gpt", 128_000),
    ("o1-preview", 32_768),
    ("o1-mini", 65_536),
    ("o1", 100_000),
    ("o3", 100_000),
    ("o4", 100_000),
    ("command-a-plus", 65_536),
    ("command-a-reasoning", 32_768),
    ("command-a", 8_192),
    ("command", 4_096),
    ("jamba", 4_096),
)
"""The longest answer of a model of this name, or of this name and more after a dash; the first that fits.

Source: the pages of OpenAI, Cohere and AI21 of their models.
"""

_IMAGE_TOKENS = (
    ("gpt-4o-mini", 48_169),
    ("gpt-4o", 1_445),
    ("chatgpt-4o", 1_445),
    ("gpt-4-turbo", 1_445),
    ("gpt-4.5", 1_445),
    ("gpt-4.1-mini", 2_489),
    ("gpt-4.1-nano", 3_779),
    ("gpt-4.1", 1_445),
    ("gpt-5-mini", 2_489),
    ("gpt-5-nano", 3_779),
    ("gpt-5", 1_190),
    ("o4-mini", 2_642),
    ("o1", 1_275),
    ("o3", 1_275),
)
"""The most that one image counts, by the model's name in the same way.

Source: OpenAI's guide to images: a base and 8 tiles of 512 pixels (an image is scaled to 2,048 x 768 at most), or 1,536
patches times the model's factor.
"""


def most_tokens(request: Request, model: str) -> Usage:
    """The most tokens of one attempt of a request to a model.

    In: one a byte of the body, because no token is shorter than a byte; images by what their provider counts at the
    most. Out: what the request allows, else the longest answer of the model.
    """
    images, body = _without_images(request.body)
    tokens_in = len(orjson.dumps(body)) + OVERHEAD_TOKENS
    if images:
        tokens_in += images * _by_name(_IMAGE_TOKENS, model, UNKNOWN_IMAGE_TOKENS)
    return Usage(tokens_in, most_output_tokens(request, model))


def most_output_tokens(request: Request, model: str) -> int:
    """The most tokens of one answer; 0 for embeddings, which have none."""
    if request.task == "llm/v1/embeddings":
        return 0
    limits = [request.body.get(name) for name in ("max_completion_tokens", "max_tokens")]
    allowed = [int(limit) for limit in limits if isinstance(limit, int | float) and limit > 0]
    return max(allowed) if allowed else _by_name(_OUTPUT_TOKENS, model, UNKNOWN_OUTPUT_TOKENS)


def _without_images(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """How many images a body has, and the body without them: their bytes are not text."""
    messages, images = body.get("messages"), 0
    if not isinstance(messages, list):
        return 0, body
    kept = []
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list):
            parts = [part for part in content if not (isinstance(part, dict) and part.get("type") == "image_url")]
            images += len(content) - len(parts)
            message = {**message, "content": parts}
        kept.append(message)
    return images, {**body, "messages": kept} if images else body


def _by_name(known: tuple[tuple[str, int], ...], model: str, otherwise: int) -> int:
    name = model.lower().rpartition("/")[2].removeprefix("ft:")
    return next((tokens for own, tokens in known if name == own or name.startswith(f"{own}-")), otherwise)
