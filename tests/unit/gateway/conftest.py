"""What tests of the gateway share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from aiq.ledger.ledger import Ledger
from aiq.ledger.tables import Tables

Rows = list[dict[str, Any]]


@pytest.fixture
def calls(ledger: Ledger) -> Callable[[], Rows]:
    """The rows of system.aiq.calls, in the order of the attempts."""

    def read() -> Rows:
        ledger.commit()
        tables = Tables(ledger.home)
        rows: Rows = tables.to_arrow("system.aiq.calls").to_pylist() if "system.aiq.calls" in tables.names() else []
        return sorted(rows, key=lambda row: (row["request_id"], row["attempt"]))

    return read
