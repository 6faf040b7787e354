"""Reads string literals as Spark does, and writes each as a plain one: quoted once, quotes doubled, no escapes."""

from __future__ import annotations

import re

from aiq.errors import StatementError

_SKIPPED = re.compile(r"--[^\n]*|`(?:[^`]|``)*`|/\*", re.DOTALL)
_ESCAPED = re.compile(r"\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[01][0-7]{2}|.)", re.DOTALL)
_LETTERS = {"0": "\0", "b": "\b", "n": "\n", "r": "\r", "t": "\t", "Z": "\x1a", "%": "\\%", "_": "\\_"}


def with_plain_literals(text: str) -> str:
    """The statement with each string literal in single quotes and without escapes: `"a\\n"` becomes `'a<newline>'`.

    Raises StatementError for a literal that does not end.
    """
    pieces: list[str] = []
    at, ended = 0, -1
    while at < len(text):
        letter = text[at]
        if letter in "'\"":
            raw = at > 0 and text[at - 1] in "rR" and (at == 1 or not (text[at - 2].isalnum() or text[at - 2] == "_"))
            beside = at == ended  # 'a'"b" is the joined text ab, not a quote within one
            value, at = _literal(text, at, raw=raw)
            ended = at
            if raw:
                pieces[-1] = pieces[-1][:-1]
            if "\0" in value:
                raise StatementError("a string with the character \\0 has no counterpart on DuckDB; leave it out")
            pieces.append((" '" if beside else "'") + value.replace("'", "''") + "'")
        elif (skipped := _SKIPPED.match(text, at)) is not None:
            end = _comment_end(text, at) if skipped.group() == "/*" else skipped.end()
            pieces.append(text[at:end])
            at = end
        else:
            pieces.append(letter)
            at += 1
    return "".join(pieces)


def _comment_end(text: str, at: int) -> int:
    """Where a bracketed comment ends; Spark's may hold others."""
    depth = 0
    for found in re.compile(r"/\*|\*/").finditer(text, at):
        depth += 1 if found.group() == "/*" else -1
        if depth == 0:
            return found.end()
    return len(text)


def _literal(text: str, start: int, *, raw: bool) -> tuple[str, int]:
    """The value of the literal that begins at a place, and where it ends. A doubled quote is one quote."""
    quote, at = text[start], start + 1
    pieces: list[str] = []
    while at < len(text):
        letter = text[at]
        if letter == quote:
            if not raw and text[at + 1 : at + 2] == quote:
                pieces.append(quote)
                at += 2
                continue
            return "".join(pieces), at + 1
        if letter == "\\" and not raw and (escaped := _ESCAPED.match(text, at)) is not None:
            pieces.append(_unescaped(escaped.group(1)))
            at = escaped.end()
        else:
            pieces.append(letter)
            at += 1
    raise StatementError(
        f"the statement cannot be read as Databricks SQL: the string that begins at {start} has no end"
    )


def _unescaped(code: str) -> str:
    if len(code) > 1:
        return chr(int(code[1:], 16)) if code[0] in "uU" else chr(int(code, 8))
    return _LETTERS.get(code, code)
