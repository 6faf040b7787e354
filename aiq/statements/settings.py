"""Settings of a session and of one statement, in SQL: `SET aiq_reuse = 'durable 7 days'`, or a hint in a statement.

A hint is a comment before the statement or after its SELECT: `/*+ aiq_reuse(session), aiq_max_cost_usd(5) */ SELECT`.
Knows SQL text only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import pyarrow as pa

from aiq.config.nearest import nearest
from aiq.config.reuse import Reuse, parse_reuse
from aiq.config.usage_context import parse_usage_context, shown_usage_context
from aiq.errors import StatementError
from aiq.request import Caller

_SET = re.compile(r"(set|reset)\s+(?:session\s+|local\s+|global\s+)?(aiq_\w+)\s*(=|to\b)?", re.IGNORECASE)
_SHOW = re.compile(r"show\s+(?:all\s+)?(aiq_\w+)\s*;?\s*$", re.IGNORECASE)
_VALUE = re.compile(r"\s*('[^']*'|\"[^\"]*\"|[^;]*)\s*(;?)(.*)$", re.DOTALL)
_BLANK = re.compile(r"\s+|--[^\n]*|/\*(?!\+).*?\*/", re.DOTALL)
_QUOTED_OR_COMMENT = re.compile(
    r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\$(\w*)\$.*?\$\1\$|--[^\n]*|/\*(\+)?(.*?)\*/", re.DOTALL
)
_HINT = re.compile(r"\s*(\w+)\s*\(\s*([^()]*?)\s*\)\s*,?")
_NAMES = ("aiq_reuse", "aiq_max_cost_usd", "aiq_usage_context", "aiq_quiet")
_TRUE_OR_FALSE = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}
_UNITS = ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes"))


class StatementSettings(NamedTuple):
    """What holds for a statement. `reuse` None: what the endpoint says, else the statement alone.

    `quiet`: whether progress and receipt are left out; None: where no person is there to read them. `usage_context`:
    tags that calls have besides those of the session's caller. `needs_budget`: whether a statement that asks is refused
    without `max_cost_usd`; no SQL sets it.
    """

    reuse: Reuse | None = None
    max_cost_usd: float | None = None
    quiet: bool | None = None
    usage_context: Mapping[str, str] | None = None
    needs_budget: bool = False

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
            elif name == "aiq_usage_context":
                made = made._replace(usage_context=None if text is None else parse_usage_context(text))
            elif name == "aiq_quiet":
                made = made._replace(quiet=None if text is None else _true_or_false(name, text))
            else:
                made = made._replace(max_cost_usd=None if text is None else _dollars(text))
        return made


def as_tagged(caller: Caller, settings: StatementSettings) -> Caller:
    """Who asks, with the tags of a statement besides its own; of one name the statement's."""
    if not settings.usage_context:
        return caller
    return caller._replace(usage_context={**(caller.usage_context or {}), **settings.usage_context})


def first_setting(text: str) -> tuple[dict[str, str | None], str] | None:
    """The setting of ours that a text begins with, and the text with blanks in its place, so that places stay.

    None where it begins with another statement, or where nothing follows. Raises StatementError.
    """
    rest = _without_comments_before(text)
    match = _SET.match(rest)
    if match is None:
        return None
    value = _VALUE.match(rest, match.end())
    assert value is not None  # every part of it may be empty
    if not value.group(2) or not _without_comments_before(value.group(3)).strip(" \t\r\n;"):
        return None
    end = len(text) - len(value.group(3))
    changed = set_statement(text[:end])
    assert changed is not None  # it is one
    return changed, re.sub(r"[^\n]", " ", text[:end]) + text[end:]


def set_statement(text: str) -> dict[str, str | None] | None:
    """The setting that a SET or RESET of ours changes, or None for any other statement. Raises StatementError."""
    text = _without_comments_before(text)
    match = _SET.match(text)
    if match is None:
        return None
    verb, name, assigned = match.group(1).lower(), match.group(2).lower(), match.group(3)
    found = _VALUE.match(text, match.end())
    assert found is not None  # every part of it may be empty
    value = found.group(1).strip()
    if value[:1] not in ("'", '"'):
        value = re.sub(r"(--[^\n]*|/\*.*?\*/)", "", value, flags=re.DOTALL).strip()
    if rest := _without_comments_before(found.group(3)).strip():
        if not found.group(2):
            raise StatementError(f"{verb.upper()} {name} takes one value, but after it stands '{rest}'")
        raise StatementError(
            f"session.sql runs one statement; run {verb.upper()} {name} and what follows it one by one"
        )
    if verb == "reset":
        if assigned or value:
            raise StatementError(f"RESET {name} takes no value; to set one: SET {name} = ...")
        return {name: None}
    if value and not assigned:
        raise StatementError(f"SET {name} needs '=' or TO before its value: SET {name} = {value}")
    if value.lower() in ("default", "null"):
        return {name: None}
    if not value:
        raise StatementError(f"SET {name} needs a value: SET {name} = ...")
    return {name: value.strip("'\"")}


def shown(text: str, settings: StatementSettings) -> pa.Table | None:
    """The answer to `SHOW aiq_settings` or `SHOW aiq_reuse`: `name`, `value` (NULL: not set), `otherwise`; else None.

    SHOW with another name is DuckDB's: it describes a table.
    """
    match = _SHOW.match(_without_comments_before(text))
    wanted = "" if match is None else match.group(1).lower()
    if wanted not in ("aiq_settings", *_NAMES):
        return None
    cost = None if settings.max_cost_usd is None else f"{settings.max_cost_usd:g}"
    tags = None if settings.usage_context is None else shown_usage_context(settings.usage_context)
    quiet = None if settings.quiet is None else str(settings.quiet).lower()
    rows = [
        {"name": "aiq_reuse", "value": _reuse(settings.reuse), "otherwise": "as the endpoint says, else statement"},
        {"name": "aiq_max_cost_usd", "value": cost, "otherwise": "no limit"},
        {"name": "aiq_usage_context", "value": tags, "otherwise": "the tags of connect, or $AIQ_USAGE_CONTEXT"},
        {"name": "aiq_quiet", "value": quiet, "otherwise": "receipts on terminals and in notebooks"},
    ]
    return pa.Table.from_pylist(
        [row for row in rows if wanted in ("aiq_settings", row["name"])],
        pa.schema([("name", pa.string()), ("value", pa.string()), ("otherwise", pa.string())]),
    )


def hints(text: str) -> dict[str, str | None]:
    """The settings in a statement's hint comments. Raises StatementError for a hint of ours that is malformed."""
    found: dict[str, str | None] = {}
    for _, _, rest in _our_hints(text):
        while rest.strip():
            hint = _HINT.match(rest)
            if hint is None:
                raise StatementError(f"the hint '{rest.strip()}' is not understood; write /*+ aiq_reuse(session) */")
            name, value = hint.group(1).lower(), hint.group(2).strip().strip("'\"")
            if name.startswith("aiq_") and found.setdefault(name, value) != value:
                raise StatementError(f"two hints of one statement say {name}: '{found[name]}' and '{value}'; keep one")
            rest = rest[hint.end() :]
    return found


def without_hints(text: str) -> str:
    """A statement without the hints that `hints` reads, each character in its place: not every parser knows hints."""
    for start, end, _ in _our_hints(text):
        text = text[:start] + re.sub(r"[^\n]", " ", text[start:end]) + text[end:]
    return text


def _our_hints(text: str) -> list[tuple[int, int, str]]:
    """Start, end and content of each hint comment that names a setting of ours."""
    if "/*+" not in text or "aiq_" not in text.lower():
        return []
    return [
        (match.start(), match.end(), match.group(3))
        for match in _QUOTED_OR_COMMENT.finditer(text)
        if match.group(2) and "aiq_" in match.group(3).lower()
    ]


def _without_comments_before(text: str) -> str:
    start = 0
    while (found := _BLANK.match(text, start)) is not None:
        start = found.end()
    return text[start:]


def _reuse(reuse: Reuse | None) -> str | None:
    """As `SET aiq_reuse` takes it."""
    if reuse is None or reuse.ttl_s is None:
        return None if reuse is None else reuse.mode
    size, unit = next(((size, unit) for size, unit in _UNITS if reuse.ttl_s % size == 0), (1.0, "seconds"))
    return f"{reuse.mode} {reuse.ttl_s / size:g} {unit}"


def _true_or_false(name: str, text: str) -> bool:
    value = _TRUE_OR_FALSE.get(text.lower())
    if value is None:
        raise StatementError(f"{name} is true or false, not '{text}'")
    return value


def _dollars(text: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = -1.0
    if not 0.0 < amount < float("inf"):
        raise StatementError(f"aiq_max_cost_usd must be a positive number of US dollars, not '{text}'")
    return amount
