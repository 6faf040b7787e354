"""When a Quartz schedule is due, beside a second writing of the rules that tries every minute of a year."""

from __future__ import annotations

import calendar
import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from aiq.alerts.quartz import Quartz


def due(text: str, zone: str, start: str, count: int = 3) -> list[str]:
    """The next times in the zone's own clock."""
    moment, found = datetime.fromisoformat(start).astimezone(UTC), []
    for _ in range(count):
        after = Quartz(text, zone).after(moment)
        if after is None:
            break
        moment = after
        found.append(after.astimezone(ZoneInfo(zone)).isoformat())
    return found


EXAMPLES = [
    ("0 0 8 * * ?", ["2026-03-01T08:00:00+00:00", "2026-03-02T08:00:00+00:00", "2026-03-03T08:00:00+00:00"]),
    (
        "0 0/20 9-10 ? * MON-FRI",
        ["2026-03-02T09:00:00+00:00", "2026-03-02T09:20:00+00:00", "2026-03-02T09:40:00+00:00"],
    ),
    ("30 */30 * * * ?", ["2026-03-01T00:00:30+00:00", "2026-03-01T00:30:30+00:00", "2026-03-01T01:00:30+00:00"]),
    ("0 15 10 L * ?", ["2026-03-31T10:15:00+00:00", "2026-04-30T10:15:00+00:00", "2026-05-31T10:15:00+00:00"]),
    ("0 0 0 L-3 * ?", ["2026-03-28T00:00:00+00:00", "2026-04-27T00:00:00+00:00", "2026-05-28T00:00:00+00:00"]),
    ("0 0 0 LW * ?", ["2026-03-31T00:00:00+00:00", "2026-04-30T00:00:00+00:00", "2026-05-29T00:00:00+00:00"]),
    ("0 0 0 15W * ?", ["2026-03-16T00:00:00+00:00", "2026-04-15T00:00:00+00:00", "2026-05-15T00:00:00+00:00"]),
    ("0 0 0 1W * ?", ["2026-03-02T00:00:00+00:00", "2026-04-01T00:00:00+00:00", "2026-05-01T00:00:00+00:00"]),
    ("0 0 0 ? * 6L", ["2026-03-27T00:00:00+00:00", "2026-04-24T00:00:00+00:00", "2026-05-29T00:00:00+00:00"]),
    ("0 0 0 ? * FRI#3", ["2026-03-20T00:00:00+00:00", "2026-04-17T00:00:00+00:00", "2026-05-15T00:00:00+00:00"]),
    ("0 0 0 ? * L", ["2026-03-07T00:00:00+00:00", "2026-03-14T00:00:00+00:00", "2026-03-21T00:00:00+00:00"]),
    ("0 0 0 29 2 ?", ["2028-02-29T00:00:00+00:00", "2032-02-29T00:00:00+00:00", "2036-02-29T00:00:00+00:00"]),
    ("0 0 22-1 1 1 ? 2027", ["2027-01-01T00:00:00+00:00", "2027-01-01T01:00:00+00:00", "2027-01-01T22:00:00+00:00"]),
    ("0 0 12 1/10 * ?", ["2026-03-01T12:00:00+00:00", "2026-03-11T12:00:00+00:00", "2026-03-21T12:00:00+00:00"]),
    ("0 0 0 ? * SAT-MON", ["2026-03-02T00:00:00+00:00", "2026-03-07T00:00:00+00:00", "2026-03-08T00:00:00+00:00"]),
    (
        "0 0 0 31 * ? 2026-2027/2",
        ["2026-03-31T00:00:00+00:00", "2026-05-31T00:00:00+00:00", "2026-07-31T00:00:00+00:00"],
    ),
    ("0 0 0 1 1 ? 2020", []),
]


@pytest.mark.parametrize(("text", "times"), EXAMPLES)
def test_a_schedule_is_due_as_quartz_says(text: str, times: list[str]) -> None:
    assert due(text, "UTC", "2026-03-01T00:00:00+00:00") == times


@pytest.mark.parametrize(
    ("text", "zone", "start", "times"),
    [  # Berlin: 02:00 becomes 03:00 on 29 March 2026, and 03:00 becomes 02:00 on 25 October
        (
            "0 30 2 * * ?",
            "Europe/Berlin",
            "2026-03-28T12:00+01:00",
            ["2026-03-29T03:30+02:00", "2026-03-30T02:30+02:00"],
        ),
        (
            "0 30 2 * * ?",
            "Europe/Berlin",
            "2026-10-24T12:00+02:00",
            ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"],
        ),
        (
            "0 30 * * * ?",
            "Europe/Berlin",
            "2026-03-29T00:45+01:00",
            ["2026-03-29T01:30+01:00", "2026-03-29T03:30+02:00"],
        ),
        (
            "0 30 * * * ?",
            "Europe/Berlin",
            "2026-10-25T02:15+02:00",
            ["2026-10-25T02:30+02:00", "2026-10-25T02:30+01:00"],
        ),
        ("0 0 0 * * ?", "Africa/Cairo", "2026-04-23T12:00+02:00", ["2026-04-24T01:00+03:00", "2026-04-25T00:00+03:00"]),
        (
            "0 45 1 * * ?",
            "Australia/Lord_Howe",
            "2026-04-04T12:00+11:00",
            ["2026-04-05T01:45+11:00", "2026-04-06T01:45+10:30"],
        ),
    ],
)
def test_an_hour_that_is_named_runs_once_when_the_clock_is_changed(
    text: str, zone: str, start: str, times: list[str]
) -> None:
    assert [time.replace(":00+", "+") for time in due(text, zone, start, 2)] == times


def every_minute_that_matches(fields: list[set[int] | str], zone: str, start: datetime, days: int) -> list[datetime]:
    """A schedule without daylight saving rules of its own: hours are `*`, so each minute that there is counts."""
    minutes, day, month, weekday = fields
    found, moment = [], start
    while moment < start + timedelta(days=days):
        moment += timedelta(minutes=1)
        local = moment.astimezone(ZoneInfo(zone))
        last = calendar.monthrange(local.year, local.month)[1]
        fits = local.minute in minutes and (month == "*" or local.month in month)
        if day == "L":
            fits = fits and local.day == last
        elif day != "?":
            fits = fits and (day == "*" or local.day in day)
        if weekday != "?":
            fits = fits and (local.weekday() + 1) % 7 + 1 in weekday
        if fits:
            found.append(moment)
    return found


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe"])
def test_every_minute_of_two_months_is_due_or_not_by_either_writing(zone: str) -> None:
    chance = random.Random(f"{zone} 20261130")
    for start in (datetime(2026, 3, 8, tzinfo=UTC), datetime(2026, 10, 4, tzinfo=UTC)):
        minutes = set(chance.sample(range(60), chance.randint(1, 3)))
        days: set[int] | str = chance.choice(["L", "*", set(chance.sample(range(1, 32), 9))])
        weekdays: set[int] | str = "?"
        if chance.random() < 0.5:
            days, weekdays = "?", set(chance.sample(range(1, 8), 3))
        written = [",".join(map(str, part)) if isinstance(part, set) else part for part in (minutes, days, weekdays)]
        quartz = Quartz(f"0 {written[0]} * {written[1]} * {written[2]}", zone)
        expected = every_minute_that_matches([minutes, days, "*", weekdays], zone, start, 28)
        found, moment = [], start
        while (after := quartz.after(moment)) is not None and after <= start + timedelta(days=28):
            found.append(after)
            moment = after
        assert found == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 8 * * *", "has 5 fields"),
        ("0 0 8 * * *", "one of day of month and day of week is ?"),
        ("0 0 8 ? * ?", "one of day of month and day of week is ?"),
        ("60 0 8 * * ?", "'60' is no seconds: 0 to 59"),
        ("0 0 24 * * ?", "'24' is no hours"),
        ("0 0 8 32 * ?", "'32' is no day of month"),
        ("0 0 8 ? * FOO", "'FOO' is no day of week: 1 to 7 or SUN to SAT"),
        ("0 0 8 ? * 2#6", "at most 5 times"),
        ("0 0/0 8 * * ?", "steps of minutes"),
        ("0 0/99 8 * * ?", "steps of minutes"),
        ("0 , 8 * * ?", "not understood"),
        ("0 *5 8 * * ?", "not understood"),
        ("0 / 8 * * ?", "not understood"),
        ("0 0 8 L-31 * ?", "L-0 to L-30"),
        ("0 0 8 * * ? 1969", "'1969' is no year"),
        ("0 0 8 * * ? 2030-2020", "wrong order"),
        ("0 0 ٣ * * ?", "is no hours"),
    ],
)
def test_what_is_no_schedule_is_said_in_plain_words(text: str, words: str) -> None:
    with pytest.raises(ValueError) as failed:
        Quartz(text, "UTC")
    assert words in str(failed.value)
