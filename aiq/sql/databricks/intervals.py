"""Intervals that are written out: months, or days and a time within a day.

Spark counts a day of hours as a day: where clocks change, `ts + INTERVAL 24 HOURS` is the same time of the next day.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import NamedTuple

from sqlglot import exp

_SECOND = 1_000_000
_MICROS = {
    "MICROSECOND": 1, "MILLISECOND": 1000, "SECOND": _SECOND, "MINUTE": 60 * _SECOND, "HOUR": 3600 * _SECOND,
    "DAY": 86400 * _SECOND, "WEEK": 7 * 86400 * _SECOND,
}  # fmt: skip
_MONTHS = {"YEAR": 12, "MONTH": 1}
_SPANS = {
    ("YEAR", "MONTH"): r"(?P<YEAR>\d+)-(?P<MONTH>\d+)",
    ("DAY", "HOUR"): r"(?P<DAY>\d+) (?P<HOUR>\d+)",
    ("DAY", "MINUTE"): r"(?P<DAY>\d+) (?P<HOUR>\d+):(?P<MINUTE>\d+)",
    ("DAY", "SECOND"): r"(?P<DAY>\d+) (?P<HOUR>\d+):(?P<MINUTE>\d+):(?P<SECOND>\d+(\.\d{1,6})?)",
    ("HOUR", "MINUTE"): r"(?P<HOUR>\d+):(?P<MINUTE>\d+)",
    ("HOUR", "SECOND"): r"(?P<HOUR>\d+):(?P<MINUTE>\d+):(?P<SECOND>\d+(\.\d{1,6})?)",
    ("MINUTE", "SECOND"): r"(?P<MINUTE>\d+):(?P<SECOND>\d+(\.\d{1,6})?)",
}


class Amount(NamedTuple):
    """An interval; `whole_days` where a DATE that it is added to stays a DATE."""

    months: int
    micros: int
    whole_days: bool

    def text(self, sign: int) -> str:
        """The interval for DuckDB, with `sign` -1 the one that is taken away."""
        if self.months:
            return f"to_months({sign * self.months})"
        size, way = abs(self.micros), sign if self.micros >= 0 else -sign
        days, rest = divmod(size, _MICROS["DAY"])
        parts = [f"to_days({way * days})"] if days or not rest else []
        return " + ".join([*parts, *([f"to_microseconds({way * rest})"] if rest else [])])


def is_interval(node: exp.Expr) -> bool:
    """Whether a node is an INTERVAL, or the sum that `INTERVAL 1 DAY 2 HOURS` is read as."""
    if isinstance(node, exp.Add):
        return is_interval(node.this) and is_interval(node.expression)
    return isinstance(node, exp.Interval)


def amount(node: exp.Expr) -> Amount | None:
    """What an interval amounts to; None for one that is not written out, or of months and days."""
    if isinstance(node, exp.Add):
        one, two = amount(node.this), amount(node.expression)
        if one is None or two is None or (one.months and two.micros) or (one.micros and two.months):
            return None
        return Amount(one.months + two.months, one.micros + two.micros, one.whole_days and two.whole_days)
    value, unit = node.this, node.args.get("unit")
    if not isinstance(value, exp.Literal):
        return None
    text = value.name.strip()
    if isinstance(unit, exp.IntervalSpan):
        return _of_span(text, (unit.this.name.upper(), unit.expression.name.upper()))
    if unit is not None:
        return _of(text, unit.name)
    words = text.split()
    parts = [_of(number, word) for number, word in zip(words[::2], words[1::2], strict=False)]
    if not parts or len(words) % 2 or None in parts:
        return None
    known = [part for part in parts if part is not None]
    months, micros = sum(part.months for part in known), sum(part.micros for part in known)
    whole_days = all(part.whole_days for part in known)
    return None if months and micros else Amount(months, micros, whole_days)


def difference(node: exp.Expr) -> tuple[exp.Expr, exp.Expr] | None:
    """The sides of `a - b`, which is an interval where both are days or times; None for anything else."""
    node = node.unnest()
    if not isinstance(node, exp.Sub) or is_interval(node.this) or is_interval(node.expression):
        return None
    return node.this, node.expression


def _of(number: str, unit: str) -> Amount | None:
    name = unit.upper().removesuffix("S")
    pattern = r"[+-]?\d{1,9}(\.\d{1,6})?" if name == "SECOND" else r"[+-]?\d{1,9}"
    if re.fullmatch(pattern, number, re.ASCII) is None:
        return None
    if name in _MONTHS:
        return Amount(int(number) * _MONTHS[name], 0, True)
    if name in _MICROS:
        return Amount(0, int(Decimal(number) * _MICROS[name]), name in ("DAY", "WEEK"))
    return None


def _of_span(text: str, span: tuple[str, str]) -> Amount | None:
    sign = -1 if text.startswith("-") else 1
    found = re.fullmatch(_SPANS.get(span, "(?!)"), text.removeprefix("-").removeprefix("+"), re.ASCII)
    if found is None:
        return None
    given = {unit: Decimal(number) * sign for unit, number in found.groupdict().items()}
    limits = dict(MONTH=Decimal(11), HOUR=Decimal(23), MINUTE=Decimal(59), SECOND=Decimal("59.999999"))
    if any(unit != span[0] and abs(number) > limits[unit] for unit, number in given.items()):
        return None
    if span[0] == "YEAR":
        return Amount(int(sum(number * _MONTHS[unit] for unit, number in given.items())), 0, True)
    return Amount(0, int(sum(number * _MICROS[unit] for unit, number in given.items())), False)
