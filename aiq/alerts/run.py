"""One run of an alert: evaluate, compare with the state before, claim the notification, send it, note how it went.

The claim is a row of the history that only one runner can write, so two of them notify once. A notification that
failed, or whose runner died, is sent again by the next evaluation that finds the same state. The clock is passed in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from aiq.alerts.alert import Alert, Operand
from aiq.alerts.evaluate import Evaluation, evaluate
from aiq.alerts.files import CURRENT_USER
from aiq.alerts.notification import Notification, notification
from aiq.alerts.send import Undelivered, send
from aiq.config.destinations import Destination, Smtp
from aiq.config.endpoint import Settings
from aiq.errors import ConfigError, LedgerError
from aiq.ledger.alerts import AlertHistory, AlertRow
from aiq.statements.session import Session

PENDING = timedelta(minutes=10)
"""After that a notification that was begun counts as never sent: its runner has died."""
_TRIES = 100


class Receiver(NamedTuple):
    """Whom to notify: a destination, and the addresses that an alert names for its mail."""

    destination: Destination
    addresses: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As the history has it."""
        return ", ".join(self.addresses) if self.addresses else self.destination.name


class Ran(NamedTuple):
    """What a run came to. `failures` are those of notifications, by destination; `notified` those that have it."""

    alert: Alert
    found: Evaluation
    row: AlertRow
    notified: tuple[str, ...] = ()
    failures: Mapping[str, str] = {}


class AlertRunner:
    """Runs alerts in a session. `to` replaces whom they subscribe; `notifies` False: they only evaluate."""

    def __init__(
        self,
        session: Session[Any],
        *,
        to: Sequence[str] = (),
        notifies: bool = True,
        max_cost_usd: float | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._session, self._to, self._notifies, self._clock = session, to, notifies, clock
        self._max_cost_usd = max_cost_usd
        self._history = AlertHistory.of_home(session.gateway.ledger.home, self._settings)

    @property
    def _settings(self) -> Settings:
        return self._session.gateway.config.settings

    def run(self, alert: Alert) -> Ran:
        """Evaluates the alert and notifies whom it may concern.

        Raises ConfigError, before the query runs, where somebody is subscribed who cannot be notified; LedgerError.
        """
        targets = self.targets(alert) if self._notifies else []
        started = time.monotonic()
        found = evaluate(alert, self._session, self._max_cost_usd)
        latency_ms = (time.monotonic() - started) * 1000
        for _ in range(_TRIES):
            now = self._clock()
            row, wanted = self._next_row(alert, found, targets, now)
            if self._history.append(row._replace(latency_ms=latency_ms)):
                break
        else:
            raise LedgerError(f"the state of alert {alert.id} is changed by others all the time; run it again")
        if not wanted or row.reason is None:
            return Ran(alert, found, row)
        failures = self.deliver(notification(alert, found, row.reason, now), wanted)
        self._note_delivery(row, failures)
        return Ran(alert, found, row, tuple(t.name for t in wanted if t.name not in failures), failures)

    def test(self, alert: Alert) -> tuple[list[Receiver], dict[str, str]]:
        """Sends a notification of made-up values; returns whom to, and what failed. Evaluates and records nothing."""
        value = alert.threshold if not isinstance(alert.threshold, Operand) else None
        said = notification(alert, Evaluation("TRIGGERED", value, value), "test", self._clock())
        said = said._replace(summary=f"[test] {said.summary}", text=f"[test] {said.text}")
        targets = self.targets(alert)
        return targets, self.deliver(said, targets)

    def deliver(self, said: Notification, targets: Sequence[Receiver]) -> dict[str, str]:
        """Sends to all; returns what failed, by name."""
        failures = {}
        for target in targets:
            try:
                send(said, target.destination, self._settings, target.addresses)
            except Undelivered as error:
                failures[target.name] = str(error)
        return failures

    def targets(self, alert: Alert) -> list[Receiver]:
        """Whom an alert notifies. Raises ConfigError for one who cannot be."""
        known = self._settings.alert_destinations
        if self._to:
            for name in self._to:
                if name not in known:
                    raise ConfigError(
                        f"conf/aiq.yml has no alert destination {name}; it has {', '.join(known) or 'none'}"
                    )
            return [Receiver(known[name]) for name in dict.fromkeys(self._to)]
        by_id = {each.id: each for each in known.values() if each.id is not None} | known
        found: dict[str, Receiver] = {}
        for each in alert.subscriptions:
            if each.destination_id is not None:
                if each.destination_id not in by_id:
                    raise ConfigError(
                        f"notifies the destination {each.destination_id}, which conf/aiq.yml does not have; add one of "
                        "that name or destination_id under alert_destinations, or say whom with --to",
                        file=alert.file,
                    )
                target = Receiver(by_id[each.destination_id])
            else:
                address = each.user_email or ""
                address = self._session.caller.user if address == CURRENT_USER else address
                target = Receiver(self._mail(alert, address), (address,))
            found[target.name] = target
        return list(found.values())

    def _mail(self, alert: Alert, address: str) -> Destination:
        """The destination by which addresses get mail: the first without receivers of its own."""
        for each in self._settings.alert_destinations.values():
            if isinstance(each.to, Smtp) and not each.to.to:
                return each
        raise ConfigError(
            f"notifies {address} by mail, and conf/aiq.yml has no smtp destination without `to`; add one under "
            "alert_destinations, or say whom to notify with --to",
            file=alert.file,
        )

    def _next_row(
        self, alert: Alert, found: Evaluation, targets: Sequence[Receiver], now: datetime
    ) -> tuple[AlertRow, Sequence[Receiver]]:
        """The row that follows on the last one, and whom its notification is for."""
        last = self._history.last(alert.id)
        reason, wanted = why(alert, last, found.state, targets, now) if self._notifies else (None, [])
        triggered = last.triggered_time if last is not None else None
        if found.state == "OK":
            triggered = None
        elif found.state == "TRIGGERED" and triggered is None:
            triggered = now
        names = ", ".join(target.name for target in wanted) or None
        row = AlertRow(
            alert_id=alert.id,
            alert_name=alert.name,
            sequence=last.sequence + 1 if last is not None else self._history.next_sequence(alert.id),
            event="evaluation",
            event_time=now,
            state=found.state,
            previous_state=last.state if last is not None else "UNKNOWN",
            value=found.value_text,
            condition=alert.condition,
            error_message=found.error,
            reason=reason,
            delivery="pending" if wanted and reason else None,
            destinations=names,
            undelivered=names,
            triggered_time=triggered,
            notified_time=now if reason else last.notified_time if last is not None else None,
            requester=self._session.caller.user,
            file=alert.file,
        )
        under_way = last is not None and last.delivery in ("pending", "failed") and last.state == found.state
        if reason is None and last is not None and under_way:
            row = row._replace(reason=last.reason, delivery=last.delivery, undelivered=last.undelivered)
        return row, wanted

    def _note_delivery(self, claim: AlertRow, failures: Mapping[str, str]) -> None:
        for _ in range(_TRIES):
            last = self._history.last(claim.alert_id) or claim
            row = last._replace(
                sequence=last.sequence + 1,
                event="delivery",
                event_time=self._clock(),
                error_message="; ".join(f"{name}: {words}" for name, words in failures.items()) or None,
                reason=claim.reason,
                delivery="failed" if failures else "sent",
                destinations=claim.destinations,
                undelivered=", ".join(failures) or None,
                latency_ms=None,
            )
            if self._history.append(row):
                return
        raise LedgerError(f"how the notification of alert {claim.alert_id} went could not be noted; it may come again")


def why(
    alert: Alert, last: AlertRow | None, state: str, targets: Sequence[Receiver], now: datetime
) -> tuple[str | None, Sequence[Receiver]]:
    """Why somebody is notified of a state, and who; None: nobody is.

    On the change to TRIGGERED; while it lasts, again after `retrigger_s`; on OK, if the alert wants that; and again to
    those whom it did not reach.
    """
    previous = last.state if last is not None else "UNKNOWN"
    if state == "TRIGGERED":
        if previous != "TRIGGERED":
            return "triggered", targets
        since = last.notified_time if last is not None else None
        if alert.retrigger_s and (since is None or now - since >= timedelta(seconds=alert.retrigger_s)):
            return "retriggered", targets
    elif state == "OK" and alert.notify_on_ok and last is not None and last.triggered_time is not None:
        return "ok", targets
    if last is None or previous != state or last.reason is None:
        return None, []
    is_lost = last.delivery == "pending" and last.notified_time is not None and now - last.notified_time > PENDING
    if last.delivery == "failed" or is_lost:
        missing = set((last.undelivered or "").split(", "))
        if again := [target for target in targets if set(target.name.split(", ")) & missing]:
            return "again", again
    return None, []
