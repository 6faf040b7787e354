"""Content of messages as the servers that speak OpenAI's form send it: a text, parts of it, reasoning among it. Pure.

Sources: Databricks' reasoning models, Mistral's content chunks, vLLM's and DeepSeek's `reasoning_content`.
"""

from __future__ import annotations

from typing import Any

_OPEN, _CLOSE = "<think>", "</think>"
_TEXTS = frozenset({"text", "output_text"})
_THOUGHTS = frozenset({"reasoning", "thinking", "summary_text", "reasoning_text"})
_NO_TEXT = frozenset({"redacted_thinking", "reference", "citation", "citations", "signature"})


def spoken(content: Any) -> tuple[str | None, str]:
    """The text of a message's content, None where it has none, and the reasoning among it.

    Raises TypeError for content that is neither a text nor parts of one.
    """
    if content is None or isinstance(content, str):
        return content, ""
    if not isinstance(content, list):
        raise TypeError("content is not text")
    texts: list[str] = []
    thoughts: list[str] = []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
            continue
        kind = part["type"]
        if kind in _TEXTS:
            texts.append(_text(part["text"]))
        elif kind in _THOUGHTS:
            thoughts.append(_thought(part))
        elif kind not in _NO_TEXT:
            raise TypeError("a part that is no text")
    return ("".join(texts) if texts else None), "".join(thoughts)


def without_thoughts(text: str) -> tuple[str, str]:
    """A text without the block of thoughts that it begins with, and those thoughts. Without an end all of it is."""
    begun = text.lstrip()
    if not begun.startswith(_OPEN):
        return text, ""
    thoughts, _, rest = begun[len(_OPEN) :].partition(_CLOSE)
    return rest.lstrip(), thoughts.strip()


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _thought(part: dict[str, Any]) -> str:
    """`thinking` is a text or parts, a `summary` is parts, and `text` a text."""
    said = next((part[name] for name in ("thinking", "summary", "text", "reasoning", "content") if part.get(name)), "")
    if isinstance(said, str):
        return said
    return "".join(each if isinstance(each, str) else _text(each.get("text") or "") for each in said)
