"""Patterns of dates: Java's in strftime's words."""

from __future__ import annotations

import re
from typing import NamedTuple

_DATES = {  # Java's letters -> strftime's, and what strptime may read
    "yyyy": ("%Y", r"\d{4}"), "y": ("%Y", r"\d{4}"), "yy": ("%y", r"\d{2}"), "MM": ("%m", r"\d{2}"),
    "M": ("%-m", r"\d{1,2}"), "MMM": ("%b", "[A-Z][a-z]{2}"), "MMMM": ("%B", "[A-Z][a-z]+"), "dd": ("%d", r"\d{2}"),
    "d": ("%-d", r"\d{1,2}"), "HH": ("%H", r"\d{2}"), "H": ("%-H", r"\d{1,2}"), "hh": ("%I", r"\d{2}"),
    "h": ("%-I", r"\d{1,2}"), "mm": ("%M", r"\d{2}"), "m": ("%-M", r"\d{1,2}"), "ss": ("%S", r"\d{2}"),
    "s": ("%-S", r"\d{1,2}"), "SSS": ("%g", ""), "SSSSSS": ("%f", ""), "a": ("%p", "(AM|PM)"),
    "E": ("%a", ""), "EEE": ("%a", ""), "EEEE": ("%A", ""), "DDD": ("%j", ""), "D": ("%-j", ""),
}  # fmt: skip
_PIECE = re.compile(r"'((?:[^']|'')*)'|([a-zA-Z])\2*|[^a-zA-Z'\[\]{}#]", re.DOTALL)


class DatePattern(NamedTuple):
    """`format` is strftime's; `regex` what a text must look like to be read with it, None where it only prints."""

    format: str
    regex: str | None


def date_pattern(java: str) -> DatePattern | None:
    """None for a pattern with a letter that has no exact counterpart, or with parts in brackets, which are optional."""
    made, regex, at, reads = "", "", 0, True
    while at < len(java):
        found = _PIECE.match(java, at)
        if found is None:
            return None
        text, at = found.group(), found.end()
        if found.group(2):
            if text not in _DATES:
                return None
            word, read = _DATES[text]
            made, regex, reads = made + word, regex + read, reads and bool(read)
        else:
            plain = (found.group(1).replace("''", "'") or "'") if text.startswith("'") else text
            made, regex = made + plain.replace("%", "%%"), regex + re.escape(plain)
    return DatePattern(made, regex if (reads and "yy" in java) or java in ("y",) else None)
