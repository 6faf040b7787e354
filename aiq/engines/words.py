"""What DuckDB says of a statement, in the words of the person who wrote it: names of columns, and errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache

import duckdb

from aiq.plan import tree

_CALL = re.compile(r"\"?__aiq_[0-9a-f]{12}\"?\((\d+), ")
_OURS = re.compile(r"__aiq_|aiq_result_\d|aiq_rows|\$aiq_")
_PLACE = re.compile(r"\n\nLINE (\d+): (.*\n[ ]*\^+.*)", re.DOTALL)
_RESULT = re.compile(r"^CREATE OR REPLACE TEMP TABLE aiq_result_\d+ AS\s*")


@lru_cache(256)
def name_of_call(text: str) -> str:
    """How DuckDB would name a column that is a call and has no alias."""
    query = tree.read(f"SELECT {text}")
    items = query.node["select_list"] if query is not None else []
    printed = tree.expression_text(items[0]) if len(items) == 1 else None
    return text if printed is None else printed


def in_users_words(text: str, calls: Mapping[int, str]) -> str:
    """A text of DuckDB's with each numbered call as it was written, and parameters as they were given."""
    pieces: list[str] = []
    at = 0
    while (found := _CALL.search(text, at)) is not None:
        written = calls.get(int(found.group(1)))
        end = _end_of_call(text, found.end())
        pieces += [text[at : found.start()], written or "ai_query(..)"]
        at = end
    return "".join([*pieces, text[at:]]).replace("$aiq_", "$")


def _end_of_call(text: str, at: int) -> int:
    """Where the parenthesis closes that is open at a place; the end of the text where it does not."""
    depth, quote = 1, ""
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
                return i + 1
    return len(text)


def error_in_users_words(
    error: duckdb.Error, calls: Mapping[int, str], *, bind: Callable[[], duckdb.Error | None] | None = None
) -> duckdb.Error:
    """The same error without our names. `bind` has DuckDB look at the statement as it was written, and gives its error.

    The place in the text is kept where it is one in the text as written: that begins on the second line of what runs.
    """
    message = str(error)
    said = in_users_words(_PLACE.sub("", message), calls)
    if bind is not None and (own := bind()) is not None:
        if _PLACE.sub("", str(own)).splitlines()[0] == said.splitlines()[0]:
            return _like(error, _PLACE.sub(_one_line_up, str(own)).replace("$aiq_", "$"))
    place = _PLACE.search(message)
    if place is not None and not _OURS.search(place.group()) and int(place.group(1)) > 1:
        said += _one_line_up(place)
    return _like(error, said) if said != message else error


def _one_line_up(place: re.Match[str]) -> str:
    return f"\n\nLINE {int(place.group(1)) - 1}: {place.group(2)}"


def _like(error: duckdb.Error, message: str) -> duckdb.Error:
    made = type(error)(message)
    made.__cause__ = error.__cause__
    return made
