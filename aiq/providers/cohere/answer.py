"""What Cohere's answers say: finish reasons, what is billed, texts and thoughts. Must never know a request.

Source: Cohere's OpenAPI description (`ChatFinishReason`, `Usage`, `AssistantMessageResponse`).
"""

from __future__ import annotations

from typing import Any

from aiq.errors import ErrorKind
from aiq.providers.wire.openai_form import count
from aiq.providers.wire.wholeness import OPENAI_REASON, end_of
from aiq.request import Usage

FAILED: dict[str, tuple[ErrorKind, int, str]] = {
    "ERROR": ("overloaded", 502, "the generation failed"),
    "TIMEOUT": ("overloaded", 504, "the generation took too long"),
    "USER_CANCEL": ("overloaded", 499, "the generation was cancelled"),
    "ERROR_LIMIT": ("context_length", 400, "the prompt left no room for an answer"),
    "ERROR_TOXIC": ("content_filter", 400, "the provider's content filter removed the answer"),
}
"""Finish reasons that are errors: kind, status and what it is. The last three are of the API's first version."""


def finish_reason(reason: str) -> str:
    """OpenAI's word for a finish reason."""
    return OPENAI_REASON.get(end_of("cohere", reason), reason.lower())


def usage_of(usage: Any) -> Usage | None:
    """What is billed, or where that is not said what was counted; None where it is missing or absurd.

    `tokens` also count what Cohere itself puts around a prompt, which is not billed.
    """
    if not isinstance(usage, dict):
        return None
    for units in (usage.get("billed_units"), usage.get("tokens")):
        if isinstance(units, dict) and "input_tokens" in units:
            tokens_in, tokens_out = count(units["input_tokens"]), count(units.get("output_tokens") or 0)
            if tokens_in is None or tokens_out is None:
                return None
            searches = count(units.get("search_units")) or 0
            cached = min(count(usage.get("cached_tokens") or 0) or 0, tokens_in)
            return Usage(tokens_in, tokens_out, cached, surcharge=f"{searches} search units" if searches else None)
    return None


def content_of(message: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The texts of a message, and its thoughts, which are no part of the answer: thinking, and plans to call tools."""
    content, texts, thoughts = message.get("content"), [], []
    if message.get("tool_plan"):
        thoughts.append(text_of(message["tool_plan"]))
    if isinstance(content, str):
        return [content], thoughts
    for part in content or ():
        if part["type"] == "text":
            texts.append(text_of(part["text"]))
        elif part["type"] == "thinking":
            thoughts.append(text_of(part["thinking"]))
    return texts, thoughts


def text_of(value: Any) -> str:
    """A value that has to be text. Raises TypeError."""
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value
