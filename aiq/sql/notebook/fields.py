"""The names that people know the fields of `failOnError => false` by: result or response, errorMessage or error.

Databricks' own pages have used all of them. What a statement reads gets the name that the struct has; the struct, and
what `SELECT *` shows of it, stay as they are.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from sqlglot import Token

from aiq.sql import calls
from aiq.sql.notebook.names import column_spans

_RESULT = ("result", "response")
_ERROR = ("error", "errorstatus", "error_message", "errormessage")
_OFF = re.compile(r"^\s*false\s*$", re.IGNORECASE)


def with_field_names(text: str, *, error_field: str, dialect: str) -> str:
    """`r.response` and `r.error` as `r.result` and `r.errorMessage`, where `r` is a call with failOnError => false.

    `error_field` is the struct's first name. `r` is a call itself or its alias, also where a later SELECT reads it.
    """
    if "failonerror" not in text.lower():
        return text
    tokens = calls.tokenize(text, dialect)
    columns = set(column_spans(tokens))
    replaced: list[tuple[int, int, str]] = []
    for i in _fields(text, tokens):
        field = tokens[i + 1]
        meant = _meant(field.text, error_field)
        if meant is not None:
            first = _chain(tokens, i - 1)
            named = (first, i + 2) in columns  # a column without an alias keeps the name that was written
            replaced.append((field.start, field.end + 1, f"{meant} AS {field.text}" if named else meant))
    return calls.replace(text, replaced)


def names_read(text: str, *, error_field: str, dialect: str) -> tuple[str, str]:
    """The names by which a statement reads the two fields, where the struct itself must have them.

    The usual ones where it reads none, or a field by several names.
    """
    usual = (error_field, "errorMessage")
    if "failonerror" not in text.lower():
        return usual
    tokens = calls.tokenize(text, dialect)
    read = {tokens[i + 1].text for i in _fields(text, tokens)}
    found = [[name for name in read if name.lower() in names] for names in (_RESULT, _ERROR)]
    first, second = (names[0] if len(names) == 1 else own for names, own in zip(found, usual, strict=True))
    return first, second


def _fields(text: str, tokens: Sequence[Token]) -> list[int]:
    """The dots behind which a statement reads a field of a call with failOnError => false, by any of its names."""
    structs = [call for call in calls.find_calls(text, tokens) if _gives_struct(call)]
    if not structs:
        return []
    ends = {token.end + 1: i for i, token in enumerate(tokens)}
    closing = {ends[call.end] for call in structs}
    aliases = {alias for last in closing if (alias := _alias(tokens, last + 1)) is not None}
    found = []
    for i in range(1, len(tokens) - 1):
        if tokens[i].token_type.name != "DOT" or tokens[i + 1].text.lower() not in (*_RESULT, *_ERROR):
            continue
        if i + 2 < len(tokens) and tokens[i + 2].token_type.name == "L_PAREN":
            continue
        owner = tokens[i - 1].text.lower()
        if i - 1 in closing or (owner in aliases and not _is_column(tokens, owner, tokens[i + 1])):
            found.append(i)
    return found


def _gives_struct(call: calls.Call) -> bool:
    named = {argument.name.lower(): argument.text for argument in call.arguments if argument.name is not None}
    given = [argument.text for argument in call.arguments if argument.name is None]
    return bool(_OFF.match(named.get("failonerror", given[3] if len(given) > 3 else "true")))


def _meant(field: str, error_field: str) -> str | None:
    """The struct's own name of a field; None where it is that, or none of ours."""
    name = field.lower()
    meant = error_field if name in _RESULT else "errorMessage" if name in _ERROR else None
    return None if meant is None or name == meant.lower() else meant


def _alias(tokens: Sequence[Token], i: int) -> str | None:
    """The alias that stands at a token, in lower case."""
    if i < len(tokens) and tokens[i].text.lower() == "as":
        i += 1
    elif i >= len(tokens) or tokens[i].token_type.name not in ("VAR", "IDENTIFIER"):
        return None
    return tokens[i].text.lower() if i < len(tokens) else None


def _chain(tokens: Sequence[Token], last: int) -> int:
    """The first token of `a.b.c` or of a call, whose last token is given."""
    if tokens[last].token_type.name == "R_PAREN":
        depth = 0
        while last > 0:
            depth += (tokens[last].token_type.name == "R_PAREN") - (tokens[last].token_type.name == "L_PAREN")
            last -= 1
            if depth == 0:
                return last
    while last >= 2 and tokens[last - 1].token_type.name == "DOT":
        last -= 2
    return last


def _is_column(tokens: Sequence[Token], owner: str, field: Token) -> bool:
    """Whether `owner.field` may be a column of a table: the statement reads a table of that name, and names the column
    without it somewhere."""
    pairs = [(before.text.lower(), token) for before, token in itertools.pairwise(tokens)]
    reads = any(before in ("from", "join") and token.text.lower() == owner for before, token in pairs)
    return reads and any(
        before != "." and token.text.lower() == field.text.lower() and token.start != field.start
        for before, token in pairs
    )
