"""How the simulator counts tokens: one simple rule, public so that tests can compute every bill themselves.

Must never depend on a model or a vocabulary. A text is ceil(UTF-8 bytes / 4) tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

MESSAGE_OVERHEAD = 3
"""Tokens added for each chat message."""

PART_TOKENS = 85
"""Tokens of an image, audio or file part, whatever its size."""


def text_tokens(text: str) -> int:
    """Tokens of a text: ceil(UTF-8 bytes / 4); 0 for the empty text."""
    return (len(text.encode("utf-8", "surrogatepass")) + 3) // 4


def chat_tokens(messages: Sequence[Mapping[str, object]]) -> int:
    """Prompt tokens of chat messages.

    Each message costs its content's tokens + 3. In a content list every text part is counted by itself
    and every other part costs 85.
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
    return total


def input_tokens(inputs: Sequence[str | list[int]]) -> int:
    """Tokens of embedding inputs or completion prompts; an input given as token ids costs its length."""
    return sum(text_tokens(item) if isinstance(item, str) else len(item) for item in inputs)


def cut_to_tokens(text: str, limit: int) -> str:
    """The longest beginning of `text` that is at most `limit` tokens and ends between two characters."""
    return text.encode()[: limit * 4].decode("utf-8", "ignore")
