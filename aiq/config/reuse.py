"""How long an answer may be used again: the values of the setting `reuse`. Knows no store and no engine."""

from __future__ import annotations

import math
import re
from typing import Literal, NamedTuple, cast

from aiq.errors import StatementError

DEFAULT_TTL_S = 30 * 86400.0
"""Seconds a durable answer lives where nothing else is said."""

ReuseMode = Literal["statement", "session", "durable", "off"]
MODES = ("statement", "session", "durable", "off")
_UNITS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
    **dict.fromkeys(("w", "week", "weeks"), 7 * 86400.0),
}
_EXPECTED = "expected 'statement', 'session', 'durable', 'durable <time>' (such as 'durable 7 days') or 'off'"


class Reuse(NamedTuple):
    """Who may use an answer again: the statement, the session, every later statement for `ttl_s` seconds, or none.

    `ttl_s` is None in every mode but `durable`.
    """

    mode: ReuseMode
    ttl_s: float | None = None


def parse_reuse(text: str) -> Reuse:
    """What `text` says, such as `session` or `durable 12h`, in any case. Raises StatementError.

    `durable` alone is `durable 30 days`.
    """
    mode, *rest = text.lower().split(maxsplit=1) or [""]
    if mode not in MODES:
        raise StatementError(f"{text!r} is no kind of reuse: {_EXPECTED}")
    time = "".join(rest).strip()
    if mode != "durable":
        if time:
            raise StatementError(f"reuse {text!r}: only 'durable' takes a time, as in 'durable {time}'")
        return Reuse(cast(ReuseMode, mode))
    return Reuse("durable", _seconds(time, text) if time else DEFAULT_TTL_S)


def _seconds(time: str, text: str) -> float:
    """`7 days` or `1.5h` in seconds."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)", time)
    if match is None:
        raise StatementError(f"reuse {text!r}: {time!r} is no time; write a number and a unit, as in 'durable 7 days'")
    number, unit = match.groups()
    if unit not in _UNITS:
        fault = f"{unit!r} is no unit of time" if unit else "the unit is missing"
        raise StatementError(f"reuse {text!r}: {fault}; use seconds, minutes, hours, days or weeks")
    seconds = float(number) * _UNITS[unit]
    if not 0 < seconds < math.inf:
        raise StatementError(f"reuse {text!r}: the time must be above zero and finite; to keep nothing, use 'off'")
    return seconds
