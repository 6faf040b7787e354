"""`aiq alerts`: what it prints, its exit codes, and the alerts that ship."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from typer.testing import CliRunner

from aiq import runtime
from aiq.alerts import watch
from aiq.alerts.alert import Alert
from aiq.alerts.evaluate import Evaluation, evaluate
from aiq.alerts.files import read_alerts
from aiq.cli.app import app
from aiq.cli.report import opened
from aiq.ledger.records import CALLS_SCHEMA, CALLS_TABLE
from aiq.shipped_sql import shipped_folder
from tests.made_ledger import Rows, made_ledger
from tests.unit.alerts.conftest import Moving
from tests.unit.cli.conftest import Run

Aiq = Callable[..., tuple[int, str, str]]


def alert_file(folder: Path, name: str, query: str = "SELECT v FROM numbers", **evaluation: Any) -> Path:
    made = {
        "source": {"name": "v"},
        "comparison_operator": "GREATER_THAN",
        "threshold": {"value": {"double_value": 10}},
        **evaluation,
    }
    path = folder / f"{name}.dbalert.json"
    path.write_text(json.dumps({"evaluation": made, "query_lines": [query]}))
    return path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "conf" / "endpoints").mkdir(parents=True)
    (tmp_path / "conf" / "alerts").mkdir()
    (tmp_path / "conf" / "aiq.yml").write_text("alert_destinations: {log: {file: {path: log.jsonl}}}")
    with duckdb.connect(str(tmp_path / "shop.duckdb")) as con:
        con.execute("CREATE TABLE numbers AS SELECT 11 AS v")
    return tmp_path


@pytest.fixture
def aiq(place: Path, monkeypatch: pytest.MonkeyPatch) -> Aiq:
    monkeypatch.setattr("aiq.cli.stopping.stop_on_sigterm", lambda: None)  # the process is the tests' own

    def aiq(*words: str) -> tuple[int, str, str]:
        home, conf = ("--home", str(place / "home")), ("--conf", str(place / "conf"))
        done = CliRunner().invoke(app, ["alerts", *words, *conf, *home])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            return 1, done.stdout, f"{done.stderr}{done.exception}"
        return done.exit_code, done.stdout, done.stderr

    return aiq


def test_the_exit_code_is_that_of_the_worst_state(place: Path, aiq: Aiq) -> None:
    db = ("--db", str(place / "shop.duckdb"))
    alerts = place / "conf" / "alerts"
    alert_file(alerts, "fine", threshold={"value": {"double_value": 100}})
    assert aiq("run", *db) == (0, "fine: OK (v = 11, alert at v > 100)\n", "")
    alert_file(alerts, "high")
    code, out, _ = aiq("run", *db, "--to", "log")
    assert (code, out.splitlines()[1]) == (3, "high: TRIGGERED (v = 11, alert at v > 10), notified log")
    alert_file(alerts, "lost", "SELECT v FROM nowhere")
    code, out, _ = aiq("run", *db)
    assert code == 1 and out.splitlines()[2].startswith("lost: ERROR (")
    assert [json.loads(line)["alert_id"] for line in (place / "conf" / "log.jsonl").read_text().splitlines()] == [
        "high"
    ]
    code, out, _ = aiq("list", str(alerts))
    assert code == 0 and [line.split()[:2] for line in out.splitlines()] == [
        ["fine", "OK"],
        ["high", "TRIGGERED"],
        ["lost", "ERROR"],
    ]


def test_a_database_that_is_not_written_to_reads_our_tables_and_databricks_functions(place: Path, aiq: Aiq) -> None:
    query = "SELECT COUNT(*) AS v, to_date('2026-11-30') AS d FROM system.aiq.calls, `numbers`"
    path = str(alert_file(place, "x", query, comparison_operator="EQUAL", threshold={"value": {"double_value": 0}}))
    assert aiq("run", path, "--db", str(place / "shop.duckdb")) == (3, "x: TRIGGERED (v = 0, alert at v = 0)\n", "")


def test_one_who_cannot_be_notified_stops_no_other_alert(place: Path, aiq: Aiq) -> None:
    alerts = place / "conf" / "alerts"
    alert_file(alerts, "a", notification={"subscriptions": [{"user_email": "a@example.com"}]})
    alert_file(alerts, "b", "SELECT 1 AS v")
    code, out, err = aiq("run")
    assert (code, out) == (1, "b: OK (v = 1, alert at v > 10)\n")
    assert "a: not run:" in err and "a@example.com" in err


def test_a_notification_that_fails_is_an_error(place: Path, aiq: Aiq) -> None:
    (place / "conf" / "aiq.yml").write_text("alert_destinations: {bad: {command: {run: ['false']}}}")
    code, _, err = aiq("run", str(alert_file(place, "x", "SELECT 11 AS v")), "--to", "bad")
    assert (code, err) == (1, "x: bad was not notified: false ended with 1\n")


def test_test_sends_and_evaluates_nothing(place: Path, aiq: Aiq) -> None:
    path = str(alert_file(place, "x", "SELECT v FROM nowhere"))
    assert aiq("test", path, "--to", "log") == (0, "x: log: sent\n", "")
    (line,) = (place / "conf" / "log.jsonl").read_text().splitlines()
    assert json.loads(line)["summary"] == "[test] x: TRIGGERED (v = 10, alert at v > 10)"
    assert aiq("test", path) == (0, "x: notifies nobody; subscribe a destination, or give --to\n", "")
    assert not (place / "home" / "tables" / "system" / "aiq" / "alerts").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "spend_todey"), "there is no file and no alert spend_todey. Did you mean 'spend_today'?"),
        (("run",), "has no alerts"),
        (("run", "spend_today", "--to", "nobody"), "conf/aiq.yml has no alert destination nobody; it has log"),
        (("test", "spend_today", "--to", "nobody"), "it has log"),
    ],
)
def test_what_is_not_there_is_said(aiq: Aiq, words: tuple[str, ...], said: str) -> None:
    code, _, err = aiq(*words)
    assert code == 1 and said in err


def test_what_is_not_honoured_is_a_warning(place: Path, aiq: Aiq) -> None:
    path = alert_file(place, "x", "SELECT 1 AS v", trheshold=1)
    path.write_text(
        path.read_text().replace('{"evaluation"', '{"warehouse_id": "w", "custom_summary": "{{X}}", "evaluation"')
    )
    _, _, err = aiq("run", str(path))
    assert "warehouse_id: not used: the query runs here" in err and "trheshold: unknown field" in err
    assert "{{X}} is no name of a template" in err


def test_two_processes_at_once_notify_once(folder: Path, run: Run) -> None:
    (folder / "conf" / "aiq.yml").write_text("alert_destinations: {log: {file: {path: log.jsonl}}}")
    alert_file(folder, "x", "SELECT 11 AS v")
    codes: list[int] = []
    words = ("alerts", "run", "x.dbalert.json", "--to", "log")
    threads = [threading.Thread(target=lambda: codes.append(run(*words).returncode)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [3, 3]
    assert len((folder / "conf" / "log.jsonl").read_text().splitlines()) == 1


def expected(calls: Rows, now: datetime) -> dict[str, tuple[Any, Any]]:
    """Value and threshold that each alert that ships has at a moment, computed again from the rows."""
    day, hour, quarter = timedelta(days=1), timedelta(hours=1), timedelta(minutes=15)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)

    def since(calls: Rows, age: timedelta) -> Rows:
        return [call for call in calls if call["start_time"] >= now - age]

    def usd(rows: Rows) -> float:
        return sum(call["cost_usd"] or 0 for call in rows)

    final = [call for call in calls if call["final"]]
    recent = since(final, quarter)
    failed = [call for call in recent if call["status"] in ("error", "orphaned")]
    unpriced = [c for c in since(calls, day) if c["status"] == "ok" and not c["cache_hit"] and c["cost_usd"] is None]
    refused = [call for call in final if call["status"] == "refused"]
    before = [call for call in since(calls, 8 * day) if call["start_time"] < now - day]
    return {
        "spend_today": (usd([call for call in calls if call["start_time"] >= midnight]), 10),
        "spend_against_week": (usd(since(calls, day)), max(1, 3 * usd(before) / 7)),
        "error_share": (len(failed) / len(recent) if len(recent) >= 20 else None, 0.1),
        "throttled": (len([call for call in since(refused, quarter) if call["limited_by"]]) or None, 0),
        "guardrail_blocks": (len([call for call in since(refused, hour) if call["guards"]]) or None, 10),
        "unpriced_model": (len({call["model"] for call in unpriced if call["model"]}) if unpriced else None, 0),
        "orphaned_attempts": (len([c for c in since(calls, day) if c["status"] == "orphaned"]) or None, 0),
        "no_traffic": (len(since(final, day)), 1),
    }


def settled(alert: Alert, session: Any, calls: Rows) -> tuple[Evaluation, dict[str, tuple[Any, Any]]]:
    """An evaluation during which no row left or entered a span of time, and what it has to find."""
    while True:
        before = expected(calls, datetime.now(UTC))
        made = evaluate(alert, session)
        if expected(calls, datetime.now(UTC)) == before:
            return made, before


@pytest.mark.parametrize("hours", [0.2, 24 * 7])
def test_the_alerts_that_ship_say_what_the_rows_say(tmp_path: Path, hours: float) -> None:
    """300 requests of a week, and the same of 12 minutes."""
    (tmp_path / "conf" / "endpoints").mkdir(parents=True)
    made_at = datetime.now(UTC).replace(microsecond=0)
    calls = made_ledger(tmp_path / "home", made_at, spread=timedelta(hours=hours))[CALLS_TABLE]
    calls = [dict.fromkeys(CALLS_SCHEMA.names) | call for call in calls]
    found = {alert.id: alert for alert in read_alerts(shipped_folder("alerts")).alerts}
    assert set(found) == {*expected(calls, made_at), "slow_answers"} and len(found) == 9
    with opened(tmp_path / "conf", tmp_path / "home") as session:
        for name, alert in found.items():
            made, wanted = settled(alert, session, calls)
            assert made.state in ("OK", "TRIGGERED"), made.error
            if name in wanted:
                value, threshold = wanted[name]
                assert made.value == (None if value is None else pytest.approx(value)), name
                assert made.threshold is None or float(made.threshold) == pytest.approx(threshold)
    for gateway in [gateway for gateway in runtime._gateways.values() if gateway.ledger.home == tmp_path / "home"]:
        gateway.ledger.close()


def test_alerts_that_ship_are_whole() -> None:
    """They name no one, none is paused, and their texts have no unknown names."""
    found = read_alerts(shipped_folder("alerts"))
    assert found.warnings == []
    for alert in found.alerts:
        assert alert.summary and alert.description and alert.schedule and not alert.schedule.paused
        assert alert.subscriptions == ()
        assert isinstance(alert.threshold, Decimal) or alert.threshold


def test_watch_runs_by_schedule_until_it_is_stopped(place: Path, aiq: Aiq, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that moves when it sleeps; a file that is broken meanwhile leaves its former alert running."""
    path = alert_file(place, "x")
    schedule = ', "schedule": {"quartz_cron_schedule": "0 0 8 * * ?", "timezone_id": "Europe/Berlin"}}'
    path.write_text(path.read_text()[:-1] + schedule)
    moving, days, real = Moving(), [], watch.watch

    def sleep(seconds: float) -> None:
        path.write_text("{")
        moving.add(seconds)

    def moved(load: Any, clock: Any, sleeping: Any) -> Iterator[list[Alert]]:
        for due in real(load, moving, sleep):
            days.append(moving.now)
            if len(days) == 3:
                raise KeyboardInterrupt
            yield due

    monkeypatch.setattr(watch, "watch", moved)
    code, out, err = aiq("watch", str(path), "--db", str(place / "shop.duckdb"), "--to", "log")
    assert code != 0 and [moment.isoformat() for moment in days] == [
        "2026-12-01T07:00:00+00:00",
        "2026-12-02T07:00:00+00:00",
        "2026-12-03T07:00:00+00:00",
    ]
    assert [line.partition(" x: ")[2] for line in out.splitlines()] == [
        "TRIGGERED (v = 11, alert at v > 10), notified log",
        "TRIGGERED (v = 11, alert at v > 10)",
    ]
    assert err.count("x.dbalert.json") == 1  # said once


def test_watch_says_that_nothing_has_a_schedule(place: Path, aiq: Aiq) -> None:
    code, _, err = aiq("watch", str(alert_file(place, "x")))
    assert code == 1 and "x: has no schedule, and is not watched" in err and "no alert is due any more" in err
