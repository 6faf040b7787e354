"""Widgets and templates of a text get their values: `${catalog}`, `{{ name }}`, `:name` and `getArgument('name')`.

Knows SQL text and Python values; what a session declares in SQL is in `session_variables.py`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from typing import Any

from aiq.errors import StatementError
from aiq.sql.literals import literal
from aiq.sql.pieces import Kind, pieces

Value = Callable[[str], Any]
"""The value of a variable by its name; raises KeyError where there is none."""

_TEMPLATE = re.compile(r"\$\{\s*([\w.:-]+)\s*\}|\{\{\s*(\w+)\s*\}\}")
_ONLY_NAMES = re.compile(r"(?:[\w./:*-]|\$\{[^}]*\}|\{\{[^}]*\}\})*")
_NAMING = re.compile(
    r"(?:\b(?:from|join|into|table|view|update|schema|catalog|database|use|exists|overwrite)\s+|[.`])$", re.IGNORECASE
)
_ARGUMENT = re.compile(r"\bgetargument\s*\(\s*$", re.IGNORECASE)


def with_variables(text: str, value: Value, *, databricks: bool) -> str:
    """A text with `${name}` and `{{ name }}` replaced.

    `${name}` becomes the value's text, `{{ name }}` a literal, or a name where one is due; in quotes both are text.
    What is in a longer quoted text and has no value stays: it is a part of a prompt. Raises StatementError that names
    what has no value.
    """
    if "${" not in text and "{{" not in text:
        return text
    missing: list[str] = []
    made: list[str] = []

    def filled(kind: Kind, part: str) -> str:
        def put(found: re.Match[str]) -> str:
            name = found.group(1) or found.group(2)
            try:
                known = value(name)
            except KeyError:
                if kind == "code" or (databricks and _ONLY_NAMES.fullmatch(part[1:-1])):
                    missing.append(name)
                return found.group()
            if kind == "code":
                before = "".join(made) + part[: found.start()]
                is_name = found.group(1) or part[found.end() : found.end() + 1] == "." or _NAMING.search(before)
                return str(known) if is_name else literal(known)
            return _in_quotes(str(known), part, databricks=databricks)

        return part if kind == "comment" else _TEMPLATE.sub(put, part)

    for piece in pieces(text, databricks=databricks):
        made.append(filled(piece.kind, text[piece.start : piece.end]))
    refuse(missing)
    return "".join(made)


def refuse(missing: list[str]) -> None:
    """Raises StatementError where variables have no value."""
    if missing:
        names = ", ".join(dict.fromkeys(missing))
        first = missing[0]
        raise StatementError(
            f"the statement has no value for {names}; give it as variables={{'{first}': ...}} of connect() or sql(), "
            f"or on the command line as --var {first}=..."
        )


def with_arguments(text: str, value: Value, *, databricks: bool) -> str:
    """A text with literals for `getArgument('name')`. Raises StatementError that names what has no value."""
    if "getargument" not in text.lower():
        return text
    found = list(pieces(text, databricks=databricks))
    made, at, missing = list[str](), 0, list[str]()
    for before, quoted in itertools.pairwise(found):
        opening = _ARGUMENT.search(text[before.start : before.end]) if before.kind == "code" else None
        closing = re.compile(r"\s*\)").match(text, quoted.end) if opening and quoted.kind == "text" else None
        if opening is None or closing is None:
            continue
        name = text[quoted.start + 1 : quoted.end - 1]
        try:
            made += [text[at : before.start + opening.start()], literal(value(name))]
        except KeyError:
            missing.append(name)
        at = closing.end()
    refuse(missing)
    return "".join([*made, text[at:]])


def value_of(variables: Mapping[str, Any]) -> Value:
    """Variables by name, in any case, as widgets are."""
    lower = {name.lower(): value for name, value in variables.items()}

    def value(name: str) -> Any:
        return lower[name.lower()]

    return value


def _in_quotes(words: str, part: str, *, databricks: bool) -> str:
    """Words as they stand between the quotes of `part`."""
    quote = part[0]
    if quote not in "'\"`":  # a raw string has no way to spell its own quote
        return words
    if databricks and quote != "`":
        return words.replace("\\", "\\\\").replace(quote, f"\\{quote}")
    return words.replace(quote, quote * 2)
