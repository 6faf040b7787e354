"""Values of parameters: what is chosen, as the Python value that is bound. Relative dates are `now-7d/d` and their kin.

A range includes its ends, so the upper end `now/d` is the end of today.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from aiq.dashboards.model import Dataset, DatasetParameter, Selection
from aiq.errors import AiqError
from aiq.sql.pieces import pieces

_RELATIVE = re.compile(r"now(?P<steps>(?:[+-]\d{1,6}[smhdwMQy])*)(?:/(?P<unit>[smhdwMQy]))?")
_STEP = re.compile(r"([+-]\d{1,6})([smhdwMQy])")
_NAMED = re.compile(r"(?<![:\w]):([A-Za-z_]\w*)")
_SPANS = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
_SPANS["w"] = timedelta(weeks=1)
_MONTHS = {"M": 1, "Q": 3, "y": 12}
_TICK = timedelta(microseconds=1)


def names_in(text: str) -> set[str]:
    """The parameters that a Databricks text names."""
    code = [text[piece.start : piece.end] for piece in pieces(text, databricks=True) if piece.kind == "code"]
    return {name for part in code for name in _NAMED.findall(part)}


def bound(dataset: Dataset, chosen: Mapping[str, Selection], now: datetime) -> dict[str, Any]:
    """The parameters that a dataset's text names, by their keywords. Raises AiqError for one without a value."""
    known = {each.keyword: each for each in dataset.parameters}
    values = {}
    for name in sorted(names_in(dataset.text)):
        parameter = known.get(name)
        if parameter is None:
            raise AiqError(f"the dataset {dataset.title} names the parameter :{name}, which the file does not define")
        selection = chosen.get(name) or parameter.default
        if not selection and parameter.shape != "MULTI":
            raise AiqError(f"the parameter {parameter.title} has no value; choose one")
        values[name] = value_of(parameter, selection or Selection(), now)
    return values


def value_of(parameter: DatasetParameter, selection: Selection, now: datetime) -> Any:
    """What to bind: a value, a list of them (MULTI), or min and max (RANGE). Raises AiqError."""

    def typed(text: str | None, *, high: bool = False) -> Any:
        return None if text is None else typed_value(text, parameter.data_type, now, high=high, of=parameter.title)

    if parameter.shape == "RANGE":
        low, high = selection.low, selection.high
        if not selection.is_range:  # a single day is a range of itself
            low = high = selection.values[0]
        if low is None or high is None:
            raise AiqError(f"the parameter {parameter.title} needs both ends of its range")
        return {"min": typed(low), "max": typed(high, high=True)}
    values = selection.values or tuple(end for end in (selection.low, selection.high) if end is not None)
    if parameter.shape == "MULTI":
        return [typed(value) for value in values]
    return typed(values[0])


def typed_value(text: str, data_type: str, now: datetime, *, high: bool = False, of: str = "") -> Any:
    """A text as a value of Databricks' type. `high` makes a rounded time the end of its day, month or year.

    Raises AiqError, naming the parameter `of`.
    """
    try:
        if data_type == "INTEGER":
            return int(text)
        if data_type == "DECIMAL":
            number = Decimal(text)
            return number if number.is_finite() else float(text)
        if data_type == "DATE":
            return moment(text, now, high=high).date()
        if data_type == "DATETIME":
            return moment(text, now, high=high)
    except (ValueError, InvalidOperation, OverflowError):
        raise AiqError(f"{text!r} is no {data_type} for the parameter {of}") from None
    return text


def moment(text: str, now: datetime, *, high: bool = False) -> datetime:
    """A time in UTC: ISO 8601, or relative as `now-12M/M`. Raises ValueError and OverflowError.

    As the upper end (`high`) what is rounded, and a date alone, is its last microsecond: `now/d` is 23:59:59.999999.
    """
    relative = _RELATIVE.fullmatch(text.strip())
    if relative is None:
        found = datetime.fromisoformat(text.strip())
        found = found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
        return found + _SPANS["d"] - _TICK if high and len(text.strip()) == 10 else found
    found = now.astimezone(UTC)
    for count, unit in _STEP.findall(relative["steps"]):
        found = _moved(found, int(count), unit)
    if (unit := relative["unit"]) is None:
        return found
    start = _start_of(found, unit)
    return _moved(start, 1, unit) - _TICK if high else start


def _moved(when: datetime, count: int, unit: str) -> datetime:
    if unit in _SPANS:
        return when + count * _SPANS[unit]
    months = when.year * 12 + when.month - 1 + count * _MONTHS[unit]
    year, month = divmod(months, 12)
    if not 1 <= year <= 9999:
        raise OverflowError("no such year")
    return when.replace(year=year, month=month + 1, day=min(when.day, monthrange(year, month + 1)[1]))


def _start_of(when: datetime, unit: str) -> datetime:
    if unit == "s":
        return when.replace(microsecond=0)
    if unit == "m":
        return when.replace(second=0, microsecond=0)
    if unit == "h":
        return when.replace(minute=0, second=0, microsecond=0)
    day = when.replace(hour=0, minute=0, second=0, microsecond=0)
    if unit == "d":
        return day
    if unit == "w":
        return day - timedelta(days=day.weekday())
    first = day.replace(day=1)
    if unit == "M":
        return first
    return first.replace(month=1 if unit == "y" else 3 * ((first.month - 1) // 3) + 1)


def plain_text(value: Any) -> str:
    """A value as a filter shows it and as the URL carries it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        utc = value.astimezone(UTC) if value.tzinfo else value
        return utc.replace(tzinfo=None).isoformat(sep=" ")
    return value.isoformat() if isinstance(value, date) else str(value)
