"""A statement's text as code, quoted pieces and comments, in Databricks' spelling or DuckDB's.

Knows where quotes and comments begin and end, and nothing else of SQL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

Kind = Literal["code", "text", "name", "comment"]

TAG = r"(?P<tag>(?:[A-Za-z_\x80-\U0010ffff][\w\x80-\U0010ffff]*)?)"
"""What stands between the dollars of DuckDB's `$tag$text$tag$`: any character beyond ASCII is a letter there."""

_COMMENT = r"(?P<comment>--[^\n\r]*|/\*(?:[^*]|\*(?!/))*(?:\*/|\Z))"
_DATABRICKS = re.compile(
    _COMMENT
    + r"|(?P<raw>(?<![\w])[rR](?:'[^']*(?:'|\Z)|\"[^\"]*(?:\"|\Z)))"
    + r"|(?P<text>'(?:[^'\\]|\\.|'')*(?:'|\Z)|\"(?:[^\"\\]|\\.|\"\")*(?:\"|\Z))"
    + r"|(?P<name>`(?:[^`]|``)*(?:`|\Z))",
    re.DOTALL,
)
_DUCKDB = re.compile(
    _COMMENT
    + r"|(?P<raw>(?<![\w])[eE]'(?:[^'\\]|\\.|'')*(?:'|\Z)|\$"
    + TAG
    + r"\$.*?(?:\$(?P=tag)\$|\Z))"
    + r"|(?P<text>'(?:[^']|'')*(?:'|\Z))"
    + r"|(?P<name>\"(?:[^\"]|\"\")*(?:\"|\Z))",
    re.DOTALL,
)


class TextPiece(NamedTuple):
    """A part of a text, `start` to `end` (exclusive). `text` is a string in quotes, `name` a name in quotes."""

    kind: Kind
    start: int
    end: int


def pieces(text: str, *, databricks: bool) -> Iterator[TextPiece]:
    """The parts of a text, in order, without gaps. What is not closed reaches to the end."""
    at = 0
    for found in (_DATABRICKS if databricks else _DUCKDB).finditer(text):
        if found.start() > at:
            yield TextPiece("code", at, found.start())
        kind: Kind = "comment" if found["comment"] else "name" if found["name"] else "text"
        yield TextPiece(kind, found.start(), found.end())
        at = found.end()
    if at < len(text):
        yield TextPiece("code", at, len(text))


def changed(text: str, change: Callable[[Kind, str], str], *, databricks: bool) -> str:
    """A text with each of its parts as `change(kind, part)` gives it."""
    return "".join(change(piece.kind, text[piece.start : piece.end]) for piece in pieces(text, databricks=databricks))
