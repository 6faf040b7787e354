# ruff: noqa: E501 -- a pattern and lines of zones
"""Texts of times as Spark reads them: with the parts that may be missing, and with zones by their names."""

from __future__ import annotations

import datetime as dt
import re
from functools import cache
from zoneinfo import available_timezones

_STAMP = re.compile(
    r"([+-]?\d{4,6})(?:-(\d{1,2})(?:-(\d{1,2})(?:(?: |T(?=\d))(?:(\d{1,2})(?::(\d{1,2})(?::(\d{1,2})(?:\.(\d*))?)?)?)?\s*(.*?))?)?)?",
    re.ASCII | re.DOTALL,
)
_OFFSET = re.compile(r"(?:UTC|GMT|UT)?([+-])(\d{1,2})(?::?(\d{1,2})(?::?(\d{2}))?)?", re.ASCII)
_SHORT = {
    "ACT": "Australia/Darwin", "AET": "Australia/Sydney", "AGT": "America/Argentina/Buenos_Aires",
    "ART": "Africa/Cairo",
    "AST": "America/Anchorage", "BET": "America/Sao_Paulo", "BST": "Asia/Dhaka", "CAT": "Africa/Harare",
    "CNT": "America/St_Johns", "CST": "America/Chicago", "CTT": "Asia/Shanghai", "EAT": "Africa/Addis_Ababa",
    "ECT": "Europe/Paris", "IET": "America/Indiana/Indianapolis", "IST": "Asia/Kolkata", "JST": "Asia/Tokyo",
    "MIT": "Pacific/Apia", "NET": "Asia/Yerevan", "NST": "Pacific/Auckland", "PLT": "Asia/Karachi",
    "PNT": "America/Phoenix", "PRT": "America/Puerto_Rico", "PST": "America/Los_Angeles", "SST": "Pacific/Guadalcanal",
    "VST": "Asia/Ho_Chi_Minh", "EST": "-05:00", "MST": "-07:00", "HST": "-10:00",
}  # fmt: skip
"""The short names of zones that Java knows."""


def stamp(text: str, local: bool) -> str:
    """A time as DuckDB reads it, or with `|` and the name of the zone that it names.

    `2024-01-01 10:00:00+01` becomes `2024-01-01 09:00:00+00`, `2024-1-1T10:0:0 PST` `2024-01-01 10:00:00|America/Los_Angeles`.
    `local`: without the zone. A text that is no TIMESTAMP becomes one that DuckDB refuses.
    """
    found = _STAMP.fullmatch(text.strip())
    if found is None:
        return _no_stamp(text)
    year, month, day, hour, minute, second = (
        int(each or least) for each, least in zip(found.groups(), (0, 1, 1, 0, 0, 0), strict=False)
    )
    micros, zone = int(((found[7] or "") + "000000")[:6]), found[8] or ""
    plain = 0 < year < 10000
    try:
        moment = dt.datetime(year if plain else 2000 + year % 400, month, day, hour, minute, second, micros)
    except ValueError:
        return _no_stamp(text)
    if zone and found[6] is None:  # Spark reads a zone behind seconds only
        return _no_stamp(text)
    if zone and not local:
        place = _zone(zone)
        if place is None or not plain:
            return _no_stamp(text)
        if isinstance(place, str):
            return f"{moment.isoformat(' ')}|{place}"
        return moment.replace(tzinfo=place).astimezone(dt.UTC).replace(tzinfo=None).isoformat(" ") + "+00"
    shown = moment.isoformat(" ")
    return shown if plain else f"{year}{shown[4:]}" if year > 0 else f"{1 - year:04d}{shown[4:]} (BC)"


def _no_stamp(text: str) -> str:
    """What no cast takes: DuckDB's error, which TRY makes NULL of, shows it."""
    return f'[CAST_INVALID_INPUT] The value "{text}" is no TIMESTAMP. Use try_cast, which gives NULL then.'


def _zone(name: str) -> dt.tzinfo | str | None:
    """An offset, or the name of a region for DuckDB; None for what is neither."""
    name = _SHORT.get(name, name)
    if name in ("Z", "UTC", "GMT", "UT"):
        return dt.UTC
    if (offset := _OFFSET.fullmatch(name)) is not None:
        sign, hours, minutes, seconds = offset.groups()
        size = dt.timedelta(hours=int(hours), minutes=int(minutes or 0), seconds=int(seconds or 0))
        if int(minutes or 0) > 59 or size > dt.timedelta(hours=18):
            return None
        return dt.timezone(-size if sign == "-" else size)
    return name if name in _regions() else None


@cache
def _regions() -> frozenset[str]:
    return frozenset(available_timezones())


_NAMED = re.compile(r"(epoch|now|today|tomorrow|yesterday)[ \t]*(.*)", re.ASCII | re.DOTALL | re.IGNORECASE)
_MADE = {
    "epoch": ("DATE '1970-01-01'", "to_timestamp(0)", "TIMESTAMP '1970-01-01 00:00:00'"),
    "now": ("CAST(now() AS DATE)", "now()", "CAST(now() AS TIMESTAMP)"),
    "today": ("CAST(now() AS DATE)",),
    "tomorrow": ("(CAST(now() AS DATE) + 1)",),
    "yesterday": ("(CAST(now() AS DATE) - 1)",),
}
_KINDS = ("DATE", "TIMESTAMPTZ", "TIMESTAMP")


def named_moment(text: str, kind: str) -> str | None:
    """What a constant that names a day or a time stands for: `'today'` as a DATE is `CAST(now() AS DATE)`. Else None.

    `kind` is DATE, TIMESTAMPTZ or TIMESTAMP. Spark reads such words in constants only: in a column they are no date.
    """
    found = _NAMED.fullmatch(text.strip())
    if found is None:
        return None
    word, zone = found[1].lower(), found[2]
    if zone and (word == "now" or _zone(zone) is None):
        return None
    made = _MADE[word]
    return made[_KINDS.index(kind)] if len(made) > 1 else f"CAST({made[0]} AS {kind})"
