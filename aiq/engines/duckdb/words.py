"""What DuckDB says of a statement, in the words of the person who wrote it: names of columns, and errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache

import duckdb

from aiq.engines.duckdb.rewrite import tree
from aiq.errors import StatementError
from aiq.functions.signature import FUNCTION, NOT_ROWS, PARAMETERS
from aiq.sql.databricks.macros import without_macros

_CALL = re.compile(r'(?:"__aiq_[0-9a-f]{12}"|__aiq_[0-9a-f]{12})\((\d+), ')
_PLAIN_CALL = re.compile(r"\b__aiq_query(?:_pure)?\(")
_BARE_NAME = re.compile(r'\b__aiq_(?:query(?:_pure)?|[0-9a-f]{12})\b(?!"?\()')
_BEFORE_ENDPOINT = 3
"""What the function of a connection takes before the arguments of `ai_query`: who asks, and the type of the request."""
_NAME = re.compile(r"\b(?:__aiq_[0-9a-f]{12}|__aiq_query(?:_pure)?)\b(?!\()")
_EXPLAINED = 'statement of type "EXPLAIN"'
_TABLE_FUNCTION = re.compile(r'Table Function with name "?(?:__aiq_[0-9a-f]{12}|ai_query)"? does not exist')
_PLACE = re.compile(r"\n\nLINE (\d+): (.*\n[ ]*\^+)")


REQUEST = "__aiq_request"
"""Stands for the request in a call as DuckDB would name it."""


@lru_cache(256)
def name_of_call(text: str) -> str:
    """How DuckDB would name a column that is a call and has no alias."""
    query = tree.read(f"SELECT {text}")
    items = query.node["select_list"] if query is not None else []
    printed = tree.expression_text(items[0]) if len(items) == 1 else None
    return text if printed is None else printed


def in_users_words(text: str, calls: Mapping[int, str]) -> str:
    """A text of DuckDB's with each numbered call as it was written, and parameters as they were given.

    `calls` are the calls by number, `REQUEST` in the place of their request: that is as it stands in the text.
    """
    pieces: list[str] = []
    at = 0
    while (found := _CALL.search(text, at)) is not None:
        arguments, end = _arguments(text, found.end())
        written = calls.get(int(found.group(1)), f"ai_query(.., {REQUEST})")
        pieces += [text[at : found.start()], written.replace(REQUEST, in_users_words(arguments[0], calls))]
        at = end
    return _NAME.sub(FUNCTION, "".join([*pieces, text[at:]])).replace("$aiq_", "$")


def calls_as_written(text: str) -> str:
    """A plan or an error with the calls of a connection as they are written; boxes stay as wide as they are.

    `│ __aiq_query(1, 9, 'VARCHAR', 'chat', s, NULL, NULL, NULL, NULL, NULL) │` -> `│ ai_query('chat', s)     ..    │`
    """
    at = 0
    while (found := _PLAIN_CALL.search(text, at)) is not None:
        arguments, end = _arguments(text, found.end())
        own = [argument.strip() for argument in arguments[_BEFORE_ENDPOINT:]]
        at = found.end()
        if len(own) != len(PARAMETERS):  # of a format that escapes quotes
            continue
        options = [f"{name} := {own[i]}" for i, name in enumerate(PARAMETERS) if i > 1 and own[i] != "NULL"]
        call = f"{FUNCTION}({', '.join([*own[:2], *options])})"
        rest, line_end = text[end:], text.find("\n", end) - end
        bar = rest.find("│")
        if 0 <= bar < line_end:
            rest = rest[:bar] + " " * (end - found.start() - len(call)) + rest[bar:]
        text = text[: found.start()] + call + rest
        at = found.start() + len(FUNCTION)
    return _NAME.sub(FUNCTION, text)


def _arguments(text: str, at: int) -> tuple[list[str], int]:
    """What stands between the commas of a parenthesis that is open at a place, and where that parenthesis ends."""
    depth, quote = 1, ""
    found: list[str] = []
    for i in range(at, len(text)):
        letter = text[i]
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
            if depth == 0:
                return [*found, text[at:i]], i + 1
        elif letter == "," and depth == 1:
            found.append(text[at:i])
            at = i + 1
    return [*found, text[at:]], len(text)


def error_in_users_words(
    error: duckdb.Error,
    calls: Mapping[int, str],
    written: str,
    *,
    bind: Callable[[], duckdb.Error | None] | None = None,
) -> duckdb.Error:
    """The same error without our names. `bind` has DuckDB look at the statement as `written`, and gives its error.

    The place in the text is kept where it is one in the text as written.
    """
    message = _BARE_NAME.sub(FUNCTION, without_macros(str(error)))
    if _EXPLAINED in message:  # a read-only database names what it refuses
        message = message.replace(_EXPLAINED, f'statement of type "{tree.kind_of(written)}"')
    said = in_users_words(_PLACE.sub("", message), calls)
    own = bind() if bind is not None else None
    if own is not None and _first_line(_PLACE.sub("", str(own))) == _first_line(said):
        return _like(error, in_users_words(_in_text(str(own), written), calls))
    return _like(error, in_users_words(_in_text(message, written), calls))


def error_of_statement(error: duckdb.Error, text: str) -> Exception:
    """An error with a place in a statement as the user wrote it, or without one: functions and views are spelled out.

    A call in FROM, of which DuckDB says that there is no such table function, is a StatementError.
    """
    message = str(error)
    if _TABLE_FUNCTION.search(message):
        return StatementError(NOT_ROWS)
    message = _BARE_NAME.sub(FUNCTION, without_macros(message))
    if message == "unordered_map::at":  # DuckDB 2.0 loses such a column where it chooses between overloads of a macro
        return StatementError(
            "DuckDB cannot plan this statement: a query inside of a query gives a column of an outer one, or a "
            "parameter of the function it is in, to a function of Databricks' dialect. Call that function one query "
            "further out: SELECT upper(x) FROM (SELECT d AS x), not SELECT x FROM (SELECT upper(d) AS x)"
        )
    return _like(error, calls_as_written(_in_text(message, text)))


def _in_text(message: str, written: str) -> str:
    """A message with the place that it names in the text as written; without a place where there is none."""
    place = _PLACE.search(message)
    if place is None:
        return message
    shown, mark = place.group(2).splitlines()
    lines = list(enumerate(written.splitlines(), 1))
    bare = shown.removeprefix("...").removesuffix("...")
    found = [(number, place.group(2)) for number, line in lines if bare and bare in line]
    if not found:  # a call stands before the place: what follows it is as it was written
        rest = shown[mark.index("^") - len(f"LINE {place.group(1)}: ") :]
        carets = mark.strip()
        ends = [(number, line) for number, line in lines if rest and line.endswith(rest)]
        found = [
            (number, f"{line}\n{' ' * (len(f'LINE {number}: ') + len(line) - len(rest))}{carets}")
            for number, line in ends
        ]
    said = f"\n\nLINE {found[0][0]}: {found[0][1]}" if found else ""
    return message[: place.start()] + said + message[place.end() :]


def _first_line(message: str) -> str:
    return message.splitlines()[0] if message else ""


def _like(error: duckdb.Error, message: str) -> duckdb.Error:
    if message == str(error):
        return error
    made = type(error)(message)
    made.__cause__ = error.__cause__
    return made
