"""Runs alerts when their schedules say so, one after the other. Knows no query: what is run, and time, are passed in.

What came due while another alert was running, or while the machine slept, is run once and not for each time missed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from aiq.alerts.alert import Alert
from aiq.alerts.quartz import Quartz

LOOK_S = 20.0
"""Files are read again, and the clock is looked at, at least so often."""


def watched(alerts: Sequence[Alert]) -> list[Alert]:
    """Those that a schedule runs."""
    return [alert for alert in alerts if alert.schedule is not None and not alert.schedule.paused]


def watch(
    load: Callable[[], Sequence[Alert]], clock: Callable[[], datetime], sleep: Callable[[float], object]
) -> Iterator[list[Alert]]:
    """The alerts that are due, each time that some are; ends where none will ever be. `clock` has a zone.

    `load` gives all alerts as their files say them now; one that is new or changed is due from then on.
    """
    due: dict[Alert, datetime | None] = {}
    while True:
        now = clock()
        due = {alert: due[alert] if alert in due else _next(alert, now) for alert in watched(load())}
        coming = [moment for moment in due.values() if moment is not None]
        if not coming:
            return
        if (wait := (min(coming) - now).total_seconds()) > 0:
            sleep(min(wait, LOOK_S))
            continue
        ready = [alert for alert, moment in due.items() if moment is not None and moment <= now]
        yield ready
        for alert in ready:
            due[alert] = _next(alert, clock())


def _next(alert: Alert, now: datetime) -> datetime | None:
    assert alert.schedule is not None  # it is watched
    return Quartz(alert.schedule.cron, alert.schedule.zone).after(now)
