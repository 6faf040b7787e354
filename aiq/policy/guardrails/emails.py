"""E-mail addresses as presidio's EmailRecognizer finds them, in time that grows with the text and not with its square.

presidio's pattern tries every word of a text as the beginning of an address. Here each @ is looked at once, to both
sides. Knows no request and no other kind of PII.
"""

from __future__ import annotations

from collections.abc import Callable

import regex  # type: ignore[import-untyped]

PATTERN = (
    r"\b((([!#$%&'*+\-/=?^_`{|}~\w])|([!#$%&'*+\-/=?^_`{|}~\w][!#$%&'*+\-/=?^_`{|}~\.\w]{0,}"
    r"[!#$%&'*+\-/=?^_`{|}~\w]))[@]\w+(?:-+\w+)*(?:\.\w+(?:-+\w+)*)+)\b"
)
"""The pattern of presidio-analyzer that this module is equal to; with any other one it must not be used."""

_NAME_BACKWARDS = regex.compile(r"(?r)[!#$%&'*+\-/=?^_`{|}~.\w]+")
_NAME_START = regex.compile(r"\b[!#$%&'*+\-/=?^_`{|}~\w]")
_DOMAIN = regex.compile(r"@\w+(?:-+\w+)*(?:\.\w+(?:-+\w+)*)+\b")


def find_addresses(text: str, has_domain: Callable[[str], bool]) -> list[tuple[int, int]]:
    """Start and end of every address. `has_domain` says whether an address ends in a public domain."""
    found = []
    begin, at = 0, text.find("@")
    while at >= 0:
        domain = _DOMAIN.match(text, at)
        name = _NAME_BACKWARDS.match(text, begin, at) if domain is not None and at > begin else None
        # Neither its first nor its last character is a dot.
        start = _NAME_START.search(text, name.start(), at) if name is not None and text[at - 1] != "." else None
        begin = at + 1
        if domain is not None and start is not None:
            begin = domain.end()
            if has_domain(text[start.start() : begin]):
                found.append((start.start(), begin))
        at = text.find("@", begin)
    return found
