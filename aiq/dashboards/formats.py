"""Numbers and times as text: Databricks' formats of fields, and the patterns of its older tables (`$0,.00`)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from aiq.dashboards.model import at, flag_at, text_at

NULL = "null"
SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥", "INR": "₹", "CNY": "¥", "KRW": "₩", "BRL": "R$"}
_SCALES = ("", "K", "M", "B", "T")
_LONG = Decimal(10) ** 21
"""From here on a number is written with its exponent: 1e+308."""
_EXACT = Context(prec=400)
_NUMERAL = re.compile(
    r"(?P<before>[^0#]*)0(?P<group>,?)(?:[0,]*)(?P<decimals>\.[0\[\]]+)?(?P<percent>\s*%)?(?P<after>.*)"
)
_MOMENT = re.compile(r"\[([^\]]*)\]|YYYY|YY|MMMM|MMM|MM|M|DD|D|dddd|ddd|HH|H|hh|h|mm|m|ss|s|SSS|A|a|Q|LTS|LT|LLL|LL|L")
_PARTS = {
    "YYYY": "%Y", "YY": "%y", "MMMM": "%B", "MMM": "%b", "MM": "%m", "DD": "%d", "dddd": "%A", "ddd": "%a", "HH": "%H",
    "hh": "%I", "mm": "%M", "ss": "%S", "A": "%p", "LTS": "%H:%M:%S", "LT": "%H:%M", "LLL": "%Y-%m-%d %H:%M",
    "LL": "%Y-%m-%d", "L": "%Y-%m-%d",
}  # fmt: skip


def shown(value: Any, format: Any = None) -> str:
    """A value as text, by Databricks' `format` object where there is one."""
    if value is None:
        return NULL
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal):
        return number(value, format if isinstance(format, Mapping) else {})
    if isinstance(value, datetime | date):
        return when(value, format)
    if isinstance(value, timedelta):
        return str(value)
    if isinstance(value, bytes | bytearray):
        return bytes(value).hex(" ")
    return str(value)


def number(value: int | float | Decimal, format: Mapping[str, Any]) -> str:
    """A number by a `format` object: type, currencyCode, abbreviation, decimalPlaces, hideGroupSeparator.

    Without decimalPlaces a fraction has two digits, or as many as show two that are not zero.
    """
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else "-∞"
    exact = value if isinstance(value, Decimal) else Decimal(repr(value))
    kind, suffix = text_at(format, "type"), ""
    if kind == "number-percent":
        exact, suffix = _EXACT.multiply(exact, Decimal(100)), "%"
    least, most = _places(format, exact)
    if text_at(format, "abbreviation") == "compact":
        exact, letter = _compact(exact, most)
        suffix = letter + suffix
    if abs(exact) >= _LONG:
        return f"{float(value):.3g}{suffix}"
    digits = _digits(exact, least, most, grouped=not flag_at(format, "hideGroupSeparator"))
    if kind == "number-currency":
        code = text_at(format, "currencyCode") or "USD"
        symbol = SYMBOLS.get(code, f"{code} ")
        digits = f"-{symbol}{digits[1:]}" if digits.startswith("-") else symbol + digits
    return digits + suffix


def _compact(value: Decimal, places: int) -> tuple[Decimal, str]:
    """A number in thousands, millions and so on: what is left of it, and the letter."""
    step = 0
    while step < len(_SCALES) - 1 and abs(_rounded(value, places)) >= 1000:
        value, step = _EXACT.divide(value, Decimal(1000)), step + 1
    return value, _SCALES[step]


def _places(format: Mapping[str, Any], value: Decimal) -> tuple[int, int]:
    """The least and the most digits after the point."""
    kind, count = text_at(format, "decimalPlaces", "type"), at(format, "decimalPlaces", "places")
    if kind == "all":
        return 0, 100
    if isinstance(count, int) and not isinstance(count, bool) and 0 <= count <= 100:
        return (count if kind == "exact" else 0), count
    if text_at(format, "type") == "number-currency" and not 0 < abs(value) < Decimal("0.1"):
        return 2, 2
    if 0 < abs(value) < Decimal("0.1"):
        return 0, min(1 - value.adjusted(), 100)
    return 0, 2


def _rounded(value: Decimal, places: int) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP, _EXACT)


def _digits(value: Decimal, least: int, most: int, *, grouped: bool) -> str:
    text = f"{_rounded(value, most):{',' if grouped else ''}f}"
    whole, point, fraction = text.partition(".")
    fraction = fraction.rstrip("0").ljust(least, "0")
    found = f"{whole}.{fraction}" if point and fraction else whole
    return found.removeprefix("-") if not any(digit in found for digit in "123456789") else found


def patterned(value: Any, pattern: str, *, percent_of_one: bool = True) -> str:
    """A number by a pattern of Databricks' older tables: `0`, `0,`, `0.00`, `$0,.00`, `0.0%`.

    With `%` the number is multiplied by 100, unless `percent_of_one` is false.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or not math.isfinite(value):
        return shown(value)
    found = _NUMERAL.fullmatch(pattern.strip())
    if found is None:
        return shown(value)
    exact = value if isinstance(value, Decimal) else Decimal(repr(value))
    if abs(exact) >= _LONG:
        return f"{float(value):.3g}"
    if found["percent"] and percent_of_one:
        exact = _EXACT.multiply(exact, Decimal(100))
    decimals = found["decimals"] or ""
    most = decimals.count("0")
    least = decimals.split("[")[0].count("0")
    digits = _digits(exact, least, most, grouped=bool(found["group"]))
    sign = "-" if digits.startswith("-") else ""
    return f"{sign}{found['before']}{digits.removeprefix('-')}{found['percent'] or ''}{found['after']}"


def when(value: date, format: Any = None) -> str:
    """A date, or a time in UTC, in ISO's order. A `format` object may leave the date or the time away."""
    if not isinstance(value, datetime):
        return value.isoformat()
    utc = value.astimezone(UTC) if value.tzinfo else value
    day = f"{utc:%Y-%m-%d}"
    if text_at(format, "type") == "date-time":
        without_date = text_at(format, "date") in ("none", "") and text_at(format, "time") not in ("none", "")
        if text_at(format, "time") == "none":
            return day
        if without_date:
            return f"{utc:%H:%M:%S}"
    clock = f"{utc:%H:%M:%S}" if utc.second or utc.microsecond else f"{utc:%H:%M}"
    if utc.microsecond:
        clock += f".{utc.microsecond // 1000:03d}"
    return day if clock == "00:00" else f"{day} {clock}"


def by_moment(value: Any, pattern: str) -> str:
    """A time by a pattern such as `DD/MM/YYYY HH:mm:ss.SSS`, in UTC."""
    if not isinstance(value, date) or not pattern:
        return shown(value)
    if isinstance(value, datetime):
        utc = value.astimezone(UTC) if value.tzinfo else value
    else:
        utc = datetime(value.year, value.month, value.day)

    def part(found: re.Match[str]) -> str:
        word = found[0]
        if word.startswith("["):
            return found[1]
        if word == "SSS":
            return f"{utc.microsecond // 1000:03d}"
        if word == "Q":
            return str((utc.month + 2) // 3)
        if word == "a":
            return utc.strftime("%p").lower()
        if word in _PARTS:
            return utc.strftime(_PARTS[word]) if word != "YYYY" else f"{utc.year:04d}"
        return utc.strftime(_PARTS[word * 2]).lstrip("0") or "0"

    return _MOMENT.sub(part, pattern)


def axis_format(format: Any) -> str:
    """The expression by which Vega writes the numbers of an axis as `number` would; a `format` object or None."""
    kind, value = text_at(format, "type"), "datum.value"
    count = at(format, "decimalPlaces", "places")
    places = count if isinstance(count, int) and 0 <= count <= 20 else None
    if kind == "number-percent":
        return f"format({value}, ',.{places if places is not None else 1}~%')"
    small = f"format({value}, ',.{places if places is not None else 4}~f')"
    if format is None or text_at(format, "abbreviation") == "compact":
        short = f"replace(replace(format({value}, '.4~s'), 'G', 'B'), 'k', 'K')"
        small = f"(abs({value}) < 1000 ? {small} : {short})"
    small = f"(abs({value}) < 1e15 ? {small} : format({value}, '.3~e'))"
    if kind == "number-currency":
        code = text_at(format, "currencyCode") or "USD"
        symbol = SYMBOLS.get(code, f"{code} ") if re.fullmatch("[A-Z]{3}", code) else "$"
        return f"'{symbol}' + {small}"
    return small
