"""The words of a SQL text with their places, for the statements that are read here and not by an engine.

Knows how the two dialects quote; must never know what a statement means.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from aiq.errors import StatementError
from aiq.functions.signature import FUNCTION
from aiq.sql.pieces import TAG

DATABRICKS, DUCKDB = "databricks", "duckdb"

_COMMENT = r"(?P<comment>--[^\n\r]*|/\*(?:[^*]|\*(?!/))*\*/)"
_WORD = r"(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?\w*)|(?P<word>(?:\w|[^\x00-\x7f\s])(?:[\w$]|[^\x00-\x7f\s])*)"
_SIGN = r"(?P<sign>=>|->>|->|::|:=|\|\||[^\s])"
_TEXTS = {
    DATABRICKS: r"(?P<text>[rR]'[^']*'|[rR]\"[^\"]*\"|[xX]?'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.|\"\")*\")"
    r"|(?P<name>`(?:[^`]|``)*`)",
    DUCKDB: r"(?P<text>[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|\$" + TAG + r"\$.*?\$(?P=tag)\$)"
    r"|(?P<name>\"(?:[^\"]|\"\")*\")",
}
_LEXERS = {name: re.compile(rf"\s*(?:{_COMMENT}|{texts}|{_WORD}|{_SIGN})", re.DOTALL) for name, texts in _TEXTS.items()}
_OPEN = {
    DATABRICKS: {"'": "a string", '"': "a string", "`": "a quoted name"},
    DUCKDB: {"'": "a string", '"': "a quoted name"},
}


class Word(NamedTuple):
    """A word, quoted name, text, number or sign, `end` exclusive.

    `text` is what it says: a word in capitals, a name without its quotes, all else as written. `kind` is word, name,
    text, number or sign.
    """

    text: str
    kind: str
    start: int
    end: int

    def says(self, *words: str) -> bool:
        """Whether it is one of these words, or signs; a quoted name never is."""
        return self.kind in ("word", "sign") and self.text in words

    @property
    def may_name(self) -> bool:
        """Whether it may be a name, or a part of one."""
        return self.kind in ("word", "name")


def words(text: str, dialect: str) -> list[Word]:
    """The words of a text without comments. Raises StatementError where a string or comment does not end."""
    found: list[Word] = []
    for match in _LEXERS[dialect].finditer(text):
        kind = match.lastgroup
        kind = "text" if kind == "tag" else kind
        if kind is None or kind == "comment":
            continue
        start, end = match.span(kind)
        piece = match.group(kind)
        if kind == "word":
            found.append(Word(piece.upper(), kind, start, end))
        elif kind == "name":
            quote = piece[0]
            found.append(Word(piece[1:-1].replace(quote * 2, quote), kind, start, end))
        else:
            if kind == "sign" and piece in _OPEN[dialect]:
                raise StatementError(f"{_OPEN[dialect][piece]} of the statement does not end; add the missing {piece}")
            if kind == "sign" and text.startswith("/*", start):
                raise StatementError("a comment of the statement does not end; add the missing */")
            found.append(Word(piece, kind, start, end))
    return found


def name_at(found: Sequence[Word], at: int, text: str) -> tuple[tuple[str, ...], int]:
    """The dotted name that starts at a word, its parts as written, and the place of the word behind it; () for none."""
    parts: list[str] = []
    while at < len(found) and found[at].may_name:
        word = found[at]
        parts.append(word.text if word.kind == "name" else text[word.start : word.end])
        if not (at + 2 < len(found) and found[at + 1].says(".") and found[at + 2].may_name):
            return tuple(parts), at + 1
        at += 2
    return tuple(parts), at


def behind_group(found: Sequence[Word], at: int) -> int:
    """The place of the word behind the bracket that opens at `at` and all that is in it."""
    depth = 0
    for i in range(at, len(found)):
        depth += found[i].says("(", "[", "{") - found[i].says(")", "]", "}")
        if depth == 0:
            return i + 1
    raise StatementError("a parenthesis of the statement is not closed; add the missing )")


def at_commas(found: Sequence[Word], start: int, end: int) -> list[tuple[int, int]]:
    """The places, `end` exclusive, of what stands between commas that are in no bracket; nothing is left out."""
    if start == end:
        return []
    lists, first, depth = [], start, 0
    for i in range(start, end):
        depth += found[i].says("(", "[", "{") - found[i].says(")", "]", "}")
        if depth == 0 and found[i].says(","):
            lists.append((first, i))
            first = i + 1
    return [*lists, (first, end)]


def string_value(piece: str) -> str:
    """What a plain quoted text says, as for a comment."""
    body = piece[1:-1]
    return re.sub(r"\\(.)|''", lambda match: match.group(1) or "'", body)


def quoted(name: str, dialect: str) -> str:
    """A name in a dialect's quotes."""
    quote = "`" if dialect == DATABRICKS else '"'
    return quote + name.replace(quote, quote * 2) + quote


def listed(text: str) -> frozenset[str]:
    """The words of a list that is written with blanks."""
    return frozenset(text.split())


def asks(text: str, dialect: str) -> bool:
    """Whether a text calls an AI function."""
    found = words(text, dialect)
    return any(
        word.may_name and word.text.lower() == FUNCTION and found[i + 1].says("(") for i, word in enumerate(found[:-1])
    )
