"""States of an alert from run to run, and when somebody is notified of one."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from aiq.alerts.alert import Alert, Subscription
from aiq.alerts.run import AlertRunner
from aiq.engines.duckdb.session import DuckDBSession
from aiq.errors import ConfigError
from aiq.ledger.alerts import AlertHistory, AlertRow
from aiq.ledger.commit import Workspace
from aiq.ledger.tables import Tables
from tests.unit.alerts.conftest import Moving, Place, of_table

LOG = {"log": {"file": {"path": "log.jsonl"}}}


@pytest.fixture
def session(place: Place) -> Iterator[DuckDBSession]:
    place.settings(alert_destinations=LOG)
    with place.connect() as session:
        session.sql("CREATE TABLE numbers (v INTEGER)")
        yield session


Run = Callable[..., tuple[str, int]]


@pytest.fixture
def run(session: DuckDBSession, place: Place, moving: Moving) -> Run:
    """Runs the alert over a value (None: no row); returns its state and how many notifications there are."""

    def run(value: int | str | None, alert: Alert, **options: Any) -> tuple[str, int]:
        session.sql("DELETE FROM numbers")
        broken = alert if value != "broken" else alert._replace(query="SELECT v FROM nowhere")
        if isinstance(value, int):
            session.sql(f"INSERT INTO numbers VALUES ({value})")
        ran = AlertRunner(session, **{"to": ["log"], "clock": moving, **options}).run(broken)
        return ran.found.state, len(place.lines())

    return run


def test_a_change_to_triggered_is_notified_once(run: Run, moving: Moving, place: Place) -> None:
    alert = of_table()
    assert run(1, alert) == ("OK", 0)
    assert run(11, alert) == ("TRIGGERED", 1)
    moving.add(86400 * 365)
    assert run(12, alert) == ("TRIGGERED", 1)
    assert run(1, alert) == ("OK", 1)
    assert run(11, alert) == ("TRIGGERED", 2)
    assert [line["reason"] for line in place.lines()] == ["triggered", "triggered"]
    assert place.lines()[0]["summary"] == "High: TRIGGERED (v = 11, alert at v > 10)"


def test_it_is_notified_again_after_retrigger_seconds(run: Run, moving: Moving, place: Place) -> None:
    alert = of_table(retrigger_s=600)
    assert run(11, alert) == ("TRIGGERED", 1)
    moving.add(599)
    assert run(11, alert) == ("TRIGGERED", 1)
    moving.add(1)
    assert run(11, alert) == ("TRIGGERED", 2)
    moving.add(599)
    assert run(11, alert) == ("TRIGGERED", 2)


def test_one_second_means_each_evaluation(run: Run, moving: Moving) -> None:
    for count in range(1, 4):
        assert run(11, of_table(retrigger_s=1)) == ("TRIGGERED", count)
        moving.add(1)


def test_ok_is_notified_if_wanted_even_after_an_error(run: Run, place: Place) -> None:
    alert = of_table(notify_on_ok=True)
    assert run(1, alert) == ("OK", 0)
    assert run(11, alert) == ("TRIGGERED", 1)
    assert run("broken", alert) == ("ERROR", 1)
    assert run(1, alert) == ("OK", 2)
    assert run(1, alert) == ("OK", 2)
    assert [line["state"] for line in place.lines()] == ["TRIGGERED", "OK"]


def test_no_row_keeps_to_the_state_for_it(run: Run) -> None:
    assert run(None, of_table()) == ("ERROR", 0)
    assert run(None, of_table(empty_state="OK")) == ("OK", 0)
    assert run(None, of_table(empty_state="TRIGGERED")) == ("TRIGGERED", 1)


def test_a_notification_that_failed_comes_again_to_who_lacks_it(place: Place, session: DuckDBSession, run: Run) -> None:
    wall = place.folder / "wall"
    fails = {"command": {"run": ["sh", "-c", f"test -e {wall} && exit 3; cat > {place.folder}/got"]}}
    place.settings(alert_destinations={**LOG, "call": fails})
    wall.touch()
    alert = of_table()
    assert run(11, alert, to=["log", "call"]) == ("TRIGGERED", 1)
    assert run(11, alert, to=["log", "call"]) == ("TRIGGERED", 1) and not (place.folder / "got").exists()
    wall.unlink()
    assert run(11, alert, to=["log", "call"]) == ("TRIGGERED", 1) and (place.folder / "got").exists()
    (place.folder / "got").unlink()
    assert run(11, alert, to=["log", "call"]) == ("TRIGGERED", 1) and not (place.folder / "got").exists()
    rows = session.sql("SELECT delivery, undelivered FROM system.aiq.alerts WHERE event = 'delivery' ORDER BY sequence")
    assert rows is not None and rows.fetchall() == [("failed", "call"), ("failed", "call"), ("sent", None)]


def test_a_notification_whose_runner_died_comes_again(
    run: Run, moving: Moving, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(AlertRunner, "deliver", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(11, of_table())
    assert run(11, of_table()) == ("TRIGGERED", 0)  # the other one may still be at it
    moving.add(601)
    assert run(11, of_table()) == ("TRIGGERED", 1)
    moving.add(601)
    assert run(11, of_table()) == ("TRIGGERED", 1)


def test_without_notifications_states_are_kept(run: Run) -> None:
    assert run(11, of_table(), to=(), notifies=False) == ("TRIGGERED", 0)
    assert run(11, of_table()) == ("TRIGGERED", 0)


def test_any_course_of_states_is_notified_as_a_second_writing_says(run: Run, moving: Moving) -> None:
    """60 steps; the rule written anew, over the whole past instead of the last row."""
    chance = random.Random(20261130)
    for number in range(3):
        alert = of_table(
            id=f"a{number}",
            notify_on_ok=chance.random() < 0.5,
            retrigger_s=chance.choice([0, 1, 100]),
            empty_state="OK",
        )
        past: list[tuple[str, bool]] = []
        start, last_sent = run(0, of_table(id="other"))[1], None
        for _ in range(20):
            moving.add(chance.choice([1, 30, 90]))
            value = chance.choice([11, 11, 1, None, "broken"])
            state, count = run(value, alert)
            assert state == {11: "TRIGGERED", 1: "OK", None: "OK", "broken": "ERROR"}[value]
            before = past[-1][0] if past else "UNKNOWN"
            without_ok = [each for each, _ in past][len(past) - _since_ok(past) :]
            due = state == "TRIGGERED" and (
                before != "TRIGGERED"
                or bool(alert.retrigger_s and moving.now - last_sent >= timedelta(seconds=alert.retrigger_s))
            )
            due = due or (state == "OK" and alert.notify_on_ok and "TRIGGERED" in without_ok)
            past.append((state, due))
            if due:
                last_sent = moving.now
            assert count - start == sum(sent for _, sent in past), past


def _since_ok(past: list[tuple[str, bool]]) -> int:
    """How many of the last states are not OK."""
    count = 0
    for state, _ in reversed(past):
        if state == "OK":
            break
        count += 1
    return count


def test_subscriptions_lead_to_destinations_by_name_id_or_mail(place: Place, session: DuckDBSession) -> None:
    mail = {"smtp": {"host": "mail.example.com", "from": "aiq@example.com"}}
    list_ = {"smtp": {"host": "mail.example.com", "from": "aiq@example.com", "to": ["all@example.com"]}}
    place.settings(
        alert_destinations={"all": list_, **LOG, "mail": mail, "uuid": {**LOG["log"], "destination_id": "7-7"}}
    )
    session.gateway.refresh()
    subscriptions = (
        Subscription(destination_id="7-7"),
        Subscription(destination_id="log"),
        Subscription(user_email="b@x.org"),
        Subscription(user_email="${workspace.current_user.userName}"),
    )
    found = AlertRunner(session).targets(of_table(subscriptions=subscriptions))
    assert [(target.destination.name, target.addresses) for target in found] == [
        ("uuid", ()),
        ("log", ()),
        ("mail", ("b@x.org",)),
        ("mail", (session.caller.user,)),
    ]


@pytest.mark.parametrize(
    ("subscription", "words"),
    [
        (Subscription(destination_id="nobody"), "notifies the destination nobody, which conf/aiq.yml does not have"),
        (Subscription(user_email="a@x.org"), "no smtp destination without `to`"),
    ],
)
def test_who_cannot_be_notified_is_said_before_the_query_runs(
    place: Place, session: DuckDBSession, subscription: Subscription, words: str
) -> None:
    alert = of_table(subscriptions=(subscription,), query="SELECT v FROM nowhere")
    with pytest.raises(ConfigError, match=words):
        AlertRunner(session).run(alert)
    assert not (place.home / "tables" / "system" / "aiq" / "alerts").exists()


def test_a_long_history_stays_small_and_is_not_forgotten(tmp_path: Path, moving: Moving) -> None:
    """Small files are put together every twenty commits; the number of the last row is in the checkpoint then."""
    history = AlertHistory(Workspace(tmp_path))
    for number in range(1, 46):
        for name in ("a", "b"):
            row = AlertRow(name, name, number, "evaluation", moving(), "OK", "OK", value=f"{name}{number}")
            assert history.append(row)
    fresh = AlertHistory(Workspace(tmp_path))
    assert [(row.sequence, row.value) for name in ("a", "b") if (row := fresh.last(name))] == [(45, "a45"), (45, "b45")]
    assert fresh.next_sequence("a") == 46 and fresh.next_sequence("c") == 1
    (info,) = Tables(tmp_path).info()
    assert info.rows == 90 and info.files < 20


def test_one_of_several_writers_has_the_next_row(tmp_path: Path, moving: Moving) -> None:
    """They all have seen the same last row; in each of six turns one commit is made and the others are refused."""
    writers, turns = 4, 6
    barrier, made = threading.Barrier(writers), []

    def write(number: int) -> None:
        history = AlertHistory(Workspace(tmp_path))
        for turn in range(1, turns + 1):
            row = AlertRow("it's", "x", turn, "evaluation", moving(), "OK", "UNKNOWN", value=str(number))
            barrier.wait()
            if history.append(row):
                made.append((turn, str(number)))
            barrier.wait()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [turn for turn, _ in sorted(made)] == list(range(1, turns + 1))
    last = AlertHistory(Workspace(tmp_path)).last("it's")
    assert last is not None and (last.sequence, last.value) == sorted(made)[-1]
