"""`aiq alerts`: evaluates alerts, once or by their schedule, and notifies. Exit codes: 0 OK, 3 TRIGGERED, 1 ERROR."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aiq.cli.options import Conf, Home
from aiq.cli.printable import printable
from aiq.cli.report import opened
from aiq.errors import AiqError, ConfigError

if TYPE_CHECKING:
    from aiq.alerts.alert import Alert
    from aiq.alerts.files import AlertFiles
    from aiq.alerts.run import AlertRunner, Ran
    from aiq.engines.duckdb.session import DuckDBSession

alerts = typer.Typer(help="Alerts in Databricks' files: evaluate them, notify, keep their states.")

TRIGGERED = 3
"""Exit code of a run in which an alert is triggered and none fails."""

What = Annotated[
    str | None,
    typer.Argument(help="A file, a folder, or an alert's name. [default: alerts/ in the folder of the configuration]"),
]
To = Annotated[
    list[str] | None,
    typer.Option(help="Notify this destination of conf/aiq.yml instead of the subscribed; may be repeated."),
]
MaxCost = Annotated[
    float | None,
    typer.Option(help="US dollars that a query which asks a model may cost, where it says none.", min=0.000001),
]
Db = Annotated[
    Path | None,
    typer.Option(help="A DuckDB file with the tables that queries read; it is not written to.", exists=True),
]
NoNotify = Annotated[bool, typer.Option("--no-notify", help="Notify nobody.")]


@alerts.command("run")
def run_alerts(
    what: What = None,
    to: To = None,
    no_notify: NoNotify = False,
    max_cost: MaxCost = None,
    db: Db = None,
    conf: Conf = None,
    home: Home = None,
) -> None:
    """Evaluate alerts once and notify where their state says so, for cron and other schedulers.

    Exit code 0: all are OK; 3: one is TRIGGERED; 1: one could not be evaluated, or its notification not sent.
    """
    states = set()
    with _runner(conf, home, db, to, not no_notify, max_cost) as (runner, session):
        found = _found(what, session)
        _warn(found)
        for alert in found.alerts:
            states.add(_run(runner, alert))
    raise typer.Exit(1 if "ERROR" in states else TRIGGERED if "TRIGGERED" in states else 0)


@alerts.command("watch")
def watch_alerts(
    what: What = None,
    to: To = None,
    no_notify: NoNotify = False,
    max_cost: MaxCost = None,
    db: Db = None,
    conf: Conf = None,
    home: Home = None,
) -> None:
    """Evaluate alerts by their schedules until Ctrl-C. Files that are changed meanwhile are read again."""
    import time
    from datetime import UTC, datetime

    from aiq.alerts.watch import watch, watched

    with _runner(conf, home, None, to, not no_notify, max_cost) as (_, session):
        found = _found(what, session)
        _warn(found)
        for alert in found.alerts:
            if alert not in watched(found.alerts):
                why = "has no schedule" if alert.schedule is None else "is paused"
                print(printable(f"{alert.id}: {why}, and is not watched"), file=sys.stderr, flush=True)
        known, failed = found.alerts, ""

        def load() -> list[Alert]:
            nonlocal known, failed
            try:
                known, failed = _found(what, session).alerts, ""
            except AiqError as error:  # a file that is being written, or was written wrongly: the former ones go on
                if str(error) != failed:
                    failed = str(error)
                    print(printable(f"aiq: warning: {failed}"), file=sys.stderr, flush=True)
            return known

        for due in watch(load, lambda: datetime.now(UTC), time.sleep):
            # A database that stays open would keep others from writing to it.
            with _runner(conf, home, db, to, not no_notify, max_cost) as (runner, _):
                for alert in due:
                    _run(runner, alert, at=f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} ")
    raise ConfigError("no alert is due any more: none has a schedule that is not paused and has a time to come")


@alerts.command("list")
def list_alerts(what: What = None, conf: Conf = None, home: Home = None) -> None:
    """List alerts with their conditions and last states; without a name also those that ship with aiq."""
    from aiq.alerts.files import read_alerts
    from aiq.ledger.alerts import AlertHistory
    from aiq.shipped_sql import shipped_folder

    with opened(conf, home) as session:
        own = _folder(session)
        found = [_found(what, session)] if what is not None or own.is_dir() else []
        if what is None:
            found.append(read_alerts(shipped_folder("alerts")))
        history = AlertHistory.of_home(session.gateway.ledger.home, session.gateway.config.settings)
        seen: set[str] = set()
        for each in found:
            _warn(each)
            for alert in each.alerts:
                if alert.id in seen:  # a shipped one that the user has changed
                    continue
                seen.add(alert.id)
                last = history.last(alert.id)
                since = "" if last is None else f" at {last.event_time:%Y-%m-%d %H:%M}"
                when = "" if alert.schedule is None else f"  [{alert.schedule.cron} {alert.schedule.zone}]"
                state = "never run" if last is None else last.state
                print(printable(f"{alert.id:<20} {state}{since}  {alert.condition}{when}"))


@alerts.command("test")
def test_alerts(what: What = None, to: To = None, conf: Conf = None, home: Home = None) -> None:
    """Send a made-up notification to whom an alert would notify. Nothing is evaluated, and no state changes."""
    failed = False
    with _runner(conf, home, None, to, True, None) as (runner, session):
        found = _found(what, session)
        _warn(found)
        for alert in found.alerts:
            targets, failures = runner.test(alert)
            if not targets:
                print(printable(f"{alert.id}: notifies nobody; subscribe a destination, or give --to"))
            for target in targets:
                words = failures.get(target.name)
                failed = failed or words is not None
                print(printable(f"{alert.id}: {target.name}: {'sent' if words is None else f'not sent: {words}'}"))
    raise typer.Exit(1 if failed else 0)


@contextmanager
def _runner(
    conf: Path | None,
    home: Path | None,
    db: Path | None,
    to: list[str] | None,
    notifies: bool,
    max_cost: float | None,
) -> Iterator[tuple[AlertRunner, DuckDBSession]]:
    from aiq.alerts.run import AlertRunner
    from aiq.cli.stopping import stop_on_sigterm

    if to and not notifies:
        raise typer.BadParameter("notifies, and --no-notify does not; give one of them", param_hint="--to")
    with opened(conf, home, db) as session:
        stop_on_sigterm()
        yield AlertRunner(session, to=to or (), notifies=notifies, max_cost_usd=max_cost), session


def _folder(session: DuckDBSession) -> Path:
    return Path(session.gateway.config.folder) / "alerts"


def _found(what: str | None, session: DuckDBSession) -> AlertFiles:
    """The alerts that a word means: those of a file or folder, or the one of that name. Raises ConfigError."""
    from aiq.alerts.files import AlertFiles, read_alerts
    from aiq.config.nearest import nearest
    from aiq.shipped_sql import shipped_folder

    own = _folder(session)
    if what is None:
        if not own.is_dir():
            raise ConfigError(
                "there is no such folder; put alerts there, name a file, or one that ships: `aiq alerts list` has them",
                file=str(own),
            )
        return _some(read_alerts(own), own)
    if Path(what).exists():
        return _some(read_alerts(Path(what)), Path(what))
    places = [read_alerts(place) for place in (own, shipped_folder("alerts")) if place.is_dir()]
    for place in places:
        if named := [alert for alert in place.alerts if alert.id == what]:
            return AlertFiles(named, place.warnings)
    known = {alert.id for place in places for alert in place.alerts}
    raise ConfigError(f"there is no file and no alert {what}.{nearest(what, known)} `aiq alerts list` has them.")


def _some(found: AlertFiles, place: Path) -> AlertFiles:
    if not found.alerts:
        raise ConfigError("has no alerts: no *.dbalert.json, and no YAML file with resources.alerts", file=str(place))
    return found


def _warn(found: AlertFiles) -> None:
    from aiq.alerts.notification import unknown_names

    words = [*found.warnings]
    for alert in found.alerts:
        words += [f"{alert.file}: {{{{{name}}}}} is no name of a template" for name in unknown_names(alert)]
    for each in words:
        print(printable(f"aiq: warning: {each}"), file=sys.stderr)


def _run(runner: AlertRunner, alert: Alert, at: str = "") -> str:
    """Runs one alert and prints what it came to. Returns its state, ERROR where a notification failed too."""
    try:
        ran = runner.run(alert)
    except AiqError as error:  # of a configuration or the ledger: the other alerts are run all the same
        print(printable(f"{at}{alert.id}: not run: {error}"), file=sys.stderr, flush=True)
        return "ERROR"
    print(printable(at + line(ran)), flush=True)
    for name, words in ran.failures.items():
        print(printable(f"{at}{alert.id}: {name} was not notified: {words}"), file=sys.stderr, flush=True)
    return "ERROR" if ran.failures else ran.found.state


def line(ran: Ran) -> str:
    """What a run came to: `spend_today: TRIGGERED (usd = 12.5, alert at usd > 10), notified on-call`."""
    found = ran.found
    what = found.error or f"{ran.alert.source} = {found.value_text or 'NULL'}, alert at {ran.alert.condition}"
    notified = f", notified {', '.join(ran.notified)}" if ran.notified else ""
    return f"{ran.alert.id}: {found.state} ({what}){notified}"
