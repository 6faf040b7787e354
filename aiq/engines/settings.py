"""Settings of a session and of one statement, in SQL: `SET aiq_reuse = 'durable 7 days'`, or a hint before a statement.

A hint is a comment before the statement: `/*+ aiq_reuse(session), aiq_max_cost_usd(5) */ SELECT ...`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from aiq.config.describe import nearest
from aiq.config.reuse import Reuse, parse_reuse
from aiq.errors import StatementError

_SET = re.compile(
    r"^\s*(set|reset)\s+(?:session\s+|local\s+|global\s+)?(aiq_\w+)\s*(?:(?:=|to)\s*(.*?))?\s*;?\s*(?:--[^\n]*)?\s*$",
    re.IGNORECASE | re.DOTALL,
)
_BEFORE = re.compile(r"\s+|--[^\n]*|/\*(?!\+).*?\*/", re.DOTALL)
_HINTS = re.compile(r"^\s*/\*\+(.*?)\*/", re.DOTALL)
_HINT = re.compile(r"\s*(\w+)\s*\(\s*([^()]*?)\s*\)\s*,?")
_NAMES = ("aiq_reuse", "aiq_max_cost_usd")


class StatementSettings(NamedTuple):
    """What holds for a statement. `reuse` None: what the endpoint says, else the statement alone."""

    reuse: Reuse | None = None
    max_cost_usd: float | None = None

    def with_values(self, values: Mapping[str, str | None]) -> StatementSettings:
        """With some settings changed; None takes one back. Raises StatementError for a wrong name or value."""
        made = self
        for name, text in values.items():
            if name not in _NAMES:
                raise StatementError(
                    f"there is no setting {name}.{nearest(name, _NAMES)} There are: {', '.join(_NAMES)}."
                )
            if name == "aiq_reuse":
                made = made._replace(reuse=None if text is None else parse_reuse(text))
            else:
                made = made._replace(max_cost_usd=None if text is None else _dollars(text))
        return made


def set_statement(text: str) -> dict[str, str | None] | None:
    """The setting that a SET or RESET of ours changes, or None for any other statement."""
    match = _SET.match(_without_comments_before(text))
    if match is None:
        return None
    verb, name, value = match.group(1).lower(), match.group(2).lower(), match.group(3)
    if verb == "reset" or (value or "").strip().lower() in ("default", "null"):
        return {name: None}
    if not value:
        raise StatementError(f"SET {name} needs a value: SET {name} = ...")
    return {name: value.strip().strip("'\"")}


def hints(text: str) -> dict[str, str | None]:
    """The settings in a hint comment before a statement. Raises StatementError for a hint of ours that is malformed."""
    match = _HINTS.match(_without_comments_before(text))
    if match is None or "aiq_" not in match.group(1).lower():
        return {}
    found: dict[str, str | None] = {}
    rest = match.group(1)
    while rest.strip():
        hint = _HINT.match(rest)
        if hint is None:
            raise StatementError(f"the hint '{rest.strip()}' is not understood; write /*+ aiq_reuse(session) */")
        if hint.group(1).lower().startswith("aiq_"):
            found[hint.group(1).lower()] = hint.group(2).strip().strip("'\"")
        rest = rest[hint.end() :]
    return found


def _without_comments_before(text: str) -> str:
    start = 0
    while (found := _BEFORE.match(text, start)) is not None:
        start = found.end()
    return text[start:]


def _dollars(text: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = -1.0
    if not 0.0 < amount < float("inf"):
        raise StatementError(f"aiq_max_cost_usd must be a positive number of US dollars, not '{text}'")
    return amount
