"""States and history of alerts: rows of `system.aiq.alerts`. Knows no query, and nobody who is notified.

A row follows on the row before it: the table's transaction version for an alert moves with each commit, and a commit
is refused where another process was first. So two runners never act on one and the same state.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from aiq.config.endpoint import Settings
from aiq.ledger import delta
from aiq.ledger.commit import Workspace
from aiq.ledger.private import tighten
from aiq.ledger.records import ALERTS_SCHEMA, ALERTS_TABLE
from aiq.ledger.upkeep import keep_small

if TYPE_CHECKING:
    from deltalake import DeltaTable


class AlertRow(NamedTuple):
    """An evaluation of an alert, or how its notification went. What the columns say: docs/alerts.md."""

    alert_id: str
    alert_name: str
    sequence: int
    """From 1 for each alert, without gaps."""
    event: str
    """evaluation or delivery."""
    event_time: datetime
    state: str
    previous_state: str
    value: str | None = None
    condition: str | None = None
    error_message: str | None = None
    reason: str | None = None
    """Why somebody is notified: triggered, retriggered, ok, again (a delivery had failed)."""
    delivery: str | None = None
    """pending, sent or failed."""
    destinations: str | None = None
    """Names with a comma between them."""
    undelivered: str | None = None
    triggered_time: datetime | None = None
    """Since when the alert is triggered."""
    notified_time: datetime | None = None
    """When the last notification was begun."""
    latency_ms: float | None = None
    requester: str | None = None
    file: str | None = None


class AlertHistory:
    """The table of one home, for reading an alert's last row and writing the next one."""

    def __init__(self, workspace: Workspace) -> None:
        self._path, self._is_home = workspace.table(ALERTS_TABLE), workspace.is_home

    @classmethod
    def of_home(cls, home: Path, settings: Settings) -> AlertHistory:
        """That of a home, whose tables may lie where the settings say."""
        return cls(Workspace(home, root=delta.root_of(home, settings)))

    def last(self, alert_id: str) -> AlertRow | None:
        """The last row of an alert, None where there is none. Raises LedgerError."""
        table = delta.open_table(self._path, ALERTS_TABLE)
        sequence = None if table is None else table.transaction_version(_application(alert_id))
        if table is None or sequence is None:
            return None
        quoted = alert_id.replace("'", "''")
        try:
            scan = table.scan(predicate=f"alert_id = '{quoted}' AND sequence = {sequence}")
            rows = pa.RecordBatchReader.from_stream(scan).read_all().to_pylist()
        except Exception as error:
            raise delta.unusable(self._path, ALERTS_TABLE, error) from error
        if not rows:  # deleted by the user
            return None
        return AlertRow(**{name: rows[0].get(name) for name in AlertRow._fields})

    def append(self, row: AlertRow) -> bool:
        """Writes the row that follows on the alert's last one, by its `sequence`.

        False where another process has written one meanwhile: then nothing is written. Raises LedgerError.
        """
        application = _application(row.alert_id)

        def rows(table: DeltaTable) -> pa.Table | None:
            if (table.transaction_version(application) or 0) != row.sequence - 1:
                return None
            return pa.Table.from_pylist([row._asdict()], ALERTS_SCHEMA)

        if not delta.append(self._path, ALERTS_TABLE, ALERTS_SCHEMA, {application: row.sequence}, rows):
            return False
        if self._is_home:
            keep_small(Path(str(self._path)), ALERTS_TABLE)
            tighten(Path(str(self._path)))
        return True

    def next_sequence(self, alert_id: str) -> int:
        """The number of the alert's next row, which stands even where the user has deleted rows."""
        table = delta.open_table(self._path, ALERTS_TABLE)
        return 1 + ((table.transaction_version(_application(alert_id)) or 0) if table is not None else 0)


def _application(alert_id: str) -> str:
    return f"aiq-alert:{alert_id}"
