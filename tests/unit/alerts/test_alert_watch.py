"""Alerts are run when their schedules say so, by a clock that moves when somebody sleeps."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice

from aiq.alerts.alert import Alert, Schedule
from aiq.alerts.watch import LOOK_S, watch
from tests.unit.alerts.conftest import Moving, of_table


def scheduled(name: str, cron: str, paused: bool = False, zone: str = "UTC") -> Alert:
    return of_table(id=name, schedule=Schedule(cron, zone, paused))


def runs(moving: Moving, alerts: Sequence[Alert], count: int, takes_s: float = 0.0) -> list[tuple[str, str]]:
    found = []
    for due in islice(watch(lambda: alerts, moving, moving.add), count):
        for alert in due:
            found.append((f"{moving.now:%H:%M:%S}", alert.id))
            moving.add(takes_s)
    return found


def test_each_alert_is_run_at_its_times(moving: Moving) -> None:
    alerts = [
        scheduled("ten", "0 0/10 * * * ?"),
        scheduled("quarter", "0 0/15 * * * ?"),
        scheduled("off", "* * * * * ?", True),
    ]
    assert runs(moving, [*alerts, of_table()], 5) == [
        ("12:10:00", "ten"),
        ("12:15:00", "quarter"),
        ("12:20:00", "ten"),
        ("12:30:00", "ten"),
        ("12:30:00", "quarter"),
        ("12:40:00", "ten"),
    ]


def test_times_that_were_missed_are_one_run(moving: Moving) -> None:
    assert runs(moving, [scheduled("minute", "0 * * * * ?")], 3, takes_s=200) == [
        ("12:01:00", "minute"),
        ("12:05:00", "minute"),
        ("12:09:00", "minute"),
    ]


def test_it_ends_where_nothing_is_due_any_more(moving: Moving) -> None:
    assert runs(moving, [scheduled("past", "0 0 0 1 1 ? 2020"), of_table()], 3) == []
    assert runs(moving, [scheduled("once", "0 0 13 30 11 ? 2026")], 3) == [("13:00:00", "once")]


def test_a_file_that_is_changed_counts_from_then_on(moving: Moving) -> None:
    before, after = scheduled("a", "0 0 14 * * ?"), scheduled("a", "30 30 12 * * ?")
    half_past = datetime(2026, 11, 30, 12, 10, tzinfo=UTC)
    found = watch(lambda: [before if moving.now < half_past else after], moving, moving.add)
    assert next(found) == [after]
    assert moving.now == datetime(2026, 11, 30, 12, 30, 30, tzinfo=UTC)


def test_the_clock_is_looked_at_so_that_a_step_of_it_is_noticed(moving: Moving) -> None:
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        moving.add(seconds if len(slept) > 1 else timedelta(minutes=30).total_seconds())

    found = watch(lambda: [scheduled("a", "0 0 13 * * ?")], moving, sleep)
    assert next(found)[0].id == "a" and moving.now.hour == 13
    assert max(slept) == LOOK_S
