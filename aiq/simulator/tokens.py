"""How the simulator counts tokens: one simple rule, public so that tests can compute every bill themselves.

Must never depend on a model or a vocabulary. A text is ceil(UTF-8 bytes / 4) tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from aiq.simulator.exchange import Tool

MESSAGE_OVERHEAD = 3
"""Tokens added for each chat message."""

PART_TOKENS = 85
"""Tokens of an image, audio or file part, whatever its size."""


def text_tokens(text: str) -> int:
    """Tokens of a text: ceil(UTF-8 bytes / 4); 0 for the empty text."""
    return (len(text.encode("utf-8", "surrogatepass")) + 3) // 4


def chat_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """Prompt tokens of chat messages.

    Each message costs its content's tokens + 3. In a content list every text part is counted by itself
    and every other part costs 85. A call of a tool costs its name and its arguments.
    """
    total = 0
    for message in messages:
        total += MESSAGE_OVERHEAD
        content = message.get("content")
        if isinstance(content, str):
            total += text_tokens(content)
        elif isinstance(content, list):
            for part in content:
                total += text_tokens(part["text"]) if part["type"] == "text" else PART_TOKENS
        for call in message.get("tool_calls") or ():
            total += text_tokens(call["function"]["name"]) + text_tokens(call["function"]["arguments"])
    return total


def tool_tokens(tools: Sequence[Tool]) -> int:
    """Prompt tokens of the tools of a request: each costs its name and its schema as JSON."""
    return sum(text_tokens(tool.name) + (len(orjson.dumps(tool.schema)) + 3) // 4 for tool in tools)


_EFFORT_TOKENS = {"none": 0, "minimal": 0, "low": 64, "medium": 128, "high": 256, "xhigh": 512, "max": 512}


def reasoning_tokens(model: str, effort: str | None) -> int:
    """Tokens that a model thinks before it answers: by `effort` where it is given, else 128 if it is one that reasons.

    Those are `o1*`, `o3*`, `o4*`, `gpt-5*`, `*-thinking` and `*-reasoning`. An answer's limit cuts them.
    """
    if effort is not None:
        return _EFFORT_TOKENS.get(effort, 128)
    return 128 if model.startswith(("o1", "o3", "o4", "gpt-5")) or model.endswith(("-thinking", "-reasoning")) else 0


def input_tokens(inputs: Sequence[str | list[int]]) -> int:
    """Tokens of embedding inputs or completion prompts; an input given as token ids costs its length."""
    return sum(text_tokens(item) if isinstance(item, str) else len(item) for item in inputs)


CACHE_FROM_TOKENS, CACHE_STEP_TOKENS = 1024, 128


def cacheable_lengths(size: int) -> range:
    """The beginnings, in UTF-8 bytes, that a cache may hold of a prompt of `size` bytes.

    They are those of 1,024 tokens, 1,152, 1,280 and so on, at four bytes a token.
    """
    return range(CACHE_FROM_TOKENS * 4, size + 1, CACHE_STEP_TOKENS * 4)


def cut_to_tokens(text: str, limit: int) -> str:
    """The longest beginning of `text` that is at most `limit` tokens and ends between two characters."""
    return text.encode()[: limit * 4].decode("utf-8", "ignore")
