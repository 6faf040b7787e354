"""When a Quartz cron expression is due: `0 0 8 ? * MON-FRI` in Europe/Berlin. Knows no alert and no clock.

Seconds, minutes, hours, day of month, month, day of week, and perhaps a year. Source: the documentation of Quartz'
CronExpression. Around daylight saving an hour that is named runs once: an hour that the clock leaves out as much later
as it leaves out, one that comes twice at its first time. With `*` for the hours, every hour that there is counts.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
FIRST_YEAR, LAST_YEAR = 1970, 2099
_RANGE = re.compile(r"(?P<all>\*)?(?:(?P<first>\w+)(?:-(?P<last>\w+))?)?(?:/(?P<step>\d+))?")
_LAST_DAY = re.compile(r"L(?:-(\d+))?(W)?")
_WEEKDAY_NEAR = re.compile(r"(\d+)W")
_LAST_OF_DAY = re.compile(r"(\w+?)L")
_NTH_OF_DAY = re.compile(r"(\w+)#(\d)")

OnDay = Callable[[date], bool]


class _Field(NamedTuple):
    """What may stand in one place of an expression."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()


_SECOND, _MINUTE, _HOUR = _Field("seconds", 0, 59), _Field("minutes", 0, 59), _Field("hours", 0, 23)
_DAY, _MONTH = _Field("day of month", 1, 31), _Field("month", 1, 12, _MONTHS)
_WEEKDAY, _YEAR = _Field("day of week", 1, 7, _DAYS), _Field("year", FIRST_YEAR, LAST_YEAR)


class Quartz:
    """One expression in one time zone. Raises ValueError, in a person's words, for one that is none."""

    def __init__(self, text: str, zone: str) -> None:
        parts = text.upper().split()
        if len(parts) not in (6, 7):
            raise ValueError(
                f"{text!r} has {len(parts)} fields; a Quartz schedule has 6 or 7: seconds, minutes, hours, day of "
                "month, month, day of week, and perhaps a year (0 0 8 * * ? is daily at 8:00)"
            )
        try:
            self._zone = ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"there is no time zone {zone!r}; give one such as Europe/Berlin or UTC") from None
        second, minute, hour, day, month, weekday, *year = parts
        if (day == "?") == (weekday == "?"):
            raise ValueError(f"{text!r}: one of day of month and day of week is ?, and the other one says the days")
        self._seconds, self._minutes = sorted(_numbers(second, _SECOND)), sorted(_numbers(minute, _MINUTE))
        self._hours, self._months = sorted(_numbers(hour, _HOUR)), _numbers(month, _MONTH)
        self._every_hour = len(self._hours) == 24
        self._years = _numbers(year[0], _YEAR) if year else set(range(FIRST_YEAR, LAST_YEAR + 1))
        self._on_day = _any(map(_day_of_month, day.split(","))) if weekday == "?" else _any(_weekdays(weekday))

    def after(self, moment: datetime) -> datetime | None:
        """The first time after a moment (with its zone), in UTC; None where there is none up to the year 2099."""
        local = moment.astimezone(self._zone)
        for day in self._days(local.date() - timedelta(days=1)):
            found = [due for hour in self._hours if (due := self._in_hour(day, hour, moment)) is not None]
            if found:
                return min(found)
        return None

    def _days(self, first: date) -> Iterator[date]:
        year, month = first.year, first.month
        while year <= LAST_YEAR:
            if year in self._years and month in self._months:
                for number in range(1, calendar.monthrange(year, month)[1] + 1):
                    day = date(year, month, number)
                    if day >= first and self._on_day(day):
                        yield day
            year, month = (year, month + 1) if month < 12 else (year + 1, 1)

    def _in_hour(self, day: date, hour: int, moment: datetime) -> datetime | None:
        """The first time in one hour of the clock that is after a moment."""
        end = datetime.combine(day, time(hour, 59, 59, fold=1), self._zone).astimezone(UTC)
        if end + timedelta(days=1) < moment:  # far behind, whatever the clock did meanwhile
            return None
        best: datetime | None = None
        for minute in self._minutes:
            for second in self._seconds:
                for due in self._instants(datetime.combine(day, time(hour, minute, second), self._zone)):
                    if due > moment and (best is None or due < best):
                        best = due
                if best is not None and not self._may_come_earlier(day, hour):
                    return best
        return best

    def _may_come_earlier(self, day: date, hour: int) -> bool:
        """Whether times of an hour may be out of order: the clock is changed in it."""
        start = datetime.combine(day, time(hour), self._zone)
        return start.utcoffset() != datetime.combine(day, time(hour, 59, 59, fold=1), self._zone).utcoffset()

    def _instants(self, local: datetime) -> Iterator[datetime]:
        first = local.astimezone(UTC)
        exists = first.astimezone(self._zone).replace(fold=0, tzinfo=None) == local.replace(tzinfo=None)
        if exists or not self._every_hour:
            yield first
        if exists and self._every_hour:
            again = local.replace(fold=1).astimezone(UTC)
            if again > first:
                yield again


def _numbers(text: str, field: _Field) -> set[int]:
    """The numbers that a field names: `*`, `5`, `MON-FRI`, `22-2`, `0/15`, and lists of them."""
    found: set[int] = set()
    for part in text.split(","):
        match = _RANGE.fullmatch(part)
        if match is None or not part or (match["all"] and match["first"]) or not (match[0].strip("/")):
            raise ValueError(f"{part!r} is not understood as {field.name} of a Quartz schedule")
        step = 1 if match["step"] is None else int(match["step"])
        if not 1 <= step <= field.high - field.low + 1:
            raise ValueError(f"{part!r}: steps of {field.name} are from 1 to {field.high - field.low + 1}")
        if match["first"] is None:
            if not match["all"] and match["step"] is None:
                raise ValueError(f"{part!r} is not understood as {field.name} of a Quartz schedule")
            first, last = field.low, field.high
        else:
            first = _number(match["first"], field)
            last = first if match["step"] is None else field.high
            if match["last"] is not None:
                last = _number(match["last"], field)
        if last < first:
            if field is _YEAR:
                raise ValueError(f"{part!r}: the years are in the wrong order")
            span = field.high - field.low + 1
            found |= {field.low + (each - field.low) % span for each in range(first, last + span + 1, step)}
        else:
            found |= set(range(first, last + 1, step))
    return found


def _number(text: str, field: _Field) -> int:
    if text in field.names:
        return field.low + field.names.index(text)
    if not text.isascii() or not text.isdigit() or not field.low <= int(text) <= field.high:
        names = f" or {field.names[0]} to {field.names[-1]}" if field.names else ""
        raise ValueError(f"{text!r} is no {field.name}: {field.low} to {field.high}{names}")
    return int(text)


def _any(tests: Iterator[OnDay]) -> OnDay:
    every = list(tests)
    return lambda day: any(test(day) for test in every)


def _day_of_month(text: str) -> OnDay:
    """`15`, `L` (the last), `L-3`, `LW` (the last from Monday to Friday), `15W` (of those the nearest to the 15th)."""
    if last := _LAST_DAY.fullmatch(text):
        before, near = int(last[1] or 0), bool(last[2])
        if before > 30:
            raise ValueError(f"{text!r}: L-0 to L-30 are days of a month")
        return lambda day: (
            (wanted := _length(day) - before) >= 1 and day.day == (_nearest_weekday(day, wanted) if near else wanted)
        )
    if near_to := _WEEKDAY_NEAR.fullmatch(text):
        number = _number(near_to[1], _DAY)
        return lambda day: number <= _length(day) and day.day == _nearest_weekday(day, number)
    numbers = _numbers(text, _DAY)
    return lambda day: day.day in numbers


def _weekdays(text: str) -> Iterator[OnDay]:
    """`MON-FRI`, `6L` (the last Friday of a month), `6#3` (the third one), `L` (Saturday)."""
    for part in text.split(","):
        if last := _LAST_OF_DAY.fullmatch(part):
            yield _nth(_number(last[1], _WEEKDAY), None)
        elif nth := _NTH_OF_DAY.fullmatch(part):
            if not 1 <= int(nth[2]) <= 5:
                raise ValueError(f"{part!r}: a weekday is in a month at most 5 times")
            yield _nth(_number(nth[1], _WEEKDAY), int(nth[2]))
        else:
            numbers = {7} if part == "L" else _numbers(part, _WEEKDAY)
            yield lambda day, numbers=numbers: day.isoweekday() % 7 + 1 in numbers  # type: ignore[misc]


def _nth(weekday: int, number: int | None) -> OnDay:
    """Whether a day is the n-th of its weekday in the month; None: the last."""

    def is_it(day: date) -> bool:
        if day.isoweekday() % 7 + 1 != weekday:
            return False
        return day.day + 7 > _length(day) if number is None else (day.day - 1) // 7 + 1 == number

    return is_it


def _length(day: date) -> int:
    return calendar.monthrange(day.year, day.month)[1]


def _nearest_weekday(day: date, number: int) -> int:
    """The day from Monday to Friday that is nearest to a day of the month, in the same month."""
    weekday = day.replace(day=number).isoweekday()
    if weekday == 6:
        return number - 1 if number > 1 else number + 2
    if weekday == 7:
        return number + 1 if number < _length(day) else number - 2
    return number
