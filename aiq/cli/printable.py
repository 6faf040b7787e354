"""Text from elsewhere, made fit for a terminal: what a model or a provider says must not steer it."""

from __future__ import annotations

import re

_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but tab and line end, marks that turn the direction of writing, halves of characters."""


def printable(text: str) -> str:
    r"""The text with `\x1b` and the like in the place of what a terminal would obey."""
    return _STEERING.sub(_escaped, text)


def json_printable(text: str) -> str:
    r"""JSON text that means the same, with `\u001b` and the like."""
    return _STEERING.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
