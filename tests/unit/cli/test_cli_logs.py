"""`aiq logs` and `aiq usage` over made-up calls."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import typer
from typer.testing import CliRunner

from aiq import runtime
from aiq.cli.app import app
from aiq.cli.logs import _REQUESTS, following, month_of
from aiq.cli.report import opened
from aiq.ledger import delta
from aiq.ledger.records import CALLS_SCHEMA, CALLS_TABLE
from tests.made_ledger import Rows, made_ledger

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
FEBRUARY = (datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("logs")
    (folder / "conf" / "endpoints").mkdir(parents=True)
    yield folder
    for gateway in [gateway for gateway in runtime._gateways.values() if gateway.ledger.home == folder / "home"]:
        gateway.ledger.close()


@pytest.fixture(scope="module")
def calls(place: Path) -> Rows:
    return made_ledger(place / "home", NOW)[CALLS_TABLE]


def run(place: Path, *arguments: str) -> list[dict[str, Any]]:
    where = ["--conf", str(place / "conf"), "--home", str(place / "home")]
    done = CliRunner().invoke(app, [*arguments, "--format", "json", *where], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_the_latest_requests_of_an_endpoint_come_with_the_newest_last(place: Path, calls: Rows) -> None:
    wanted = sorted(
        (call["start_time"], call["request_id"])
        for call in calls
        if call["final"] and call["endpoint_name"] == "o'brien"
    )
    found = run(place, "logs", "-n", "7", "--endpoint", "o'brien")
    assert [row["request_id"] for row in found] == [request for _, request in wanted[-7:]]


def test_followed_requests_come_once_each_also_those_that_are_committed_late(place: Path, calls: Rows) -> None:
    late = calls[0] | {"final": True, "status": "error", "error_message": "went\nwrong\x1b[2J"}
    added = [
        late | {"request_id": "new-1", "start_time": NOW - timedelta(minutes=50)},
        late | {"request_id": "new-2", "start_time": NOW + timedelta(seconds=1)},
    ]

    def sleep(seconds: float) -> None:
        """What another process does meanwhile."""
        row = added.pop(0)
        table = pa.Table.from_pylist([{name: row.get(name) for name in CALLS_SCHEMA.names}], CALLS_SCHEMA)
        place_of = delta.located(place / "home" / "tables", CALLS_TABLE)
        delta.append(place_of, CALLS_TABLE, CALLS_SCHEMA, {}, lambda _: table)

    latest = f"SELECT * FROM ({_REQUESTS} AND start_time < '2026-03-04 12:00:00+00' ORDER BY start_time DESC LIMIT 2)"
    with opened(place / "conf", place / "home") as session:
        lines = list(islice(following(session, _REQUESTS, latest, {}, sleep, lambda: NOW), 4))
    assert ["new-1" in line for line in lines] == [False, False, True, False]
    assert ["new-2" in line for line in lines] == [False, False, False, True]
    assert "went wrong" in lines[2] and "\x1b" not in lines[2]


def test_the_rows_of_a_month_add_up_to_its_calls(place: Path, calls: Rows) -> None:
    wanted = [call for call in calls if FEBRUARY[0] <= call["start_time"] < FEBRUARY[1]]
    assert 0 < len(wanted) < len(calls)
    spent = sum(call.get("cost_usd") or 0 for call in wanted)
    for rows in (run(place, "usage", "--month", "2026-02"), run(place, "usage", "--month", "2026-02", "--tag", "team")):
        assert sum(row["cost_usd"] or 0 for row in rows) == pytest.approx(spent, abs=1e-4)
        assert sum(row["input_tokens"] for row in rows) == sum(call.get("input_tokens") or 0 for call in wanted)
        assert sum(row["failed"] for row in rows) == sum(call["final"] and call["status"] != "ok" for call in wanted)
    assert {row["tags"] for row in rows} == {"x", None}


def test_two_tags_are_one_row(place: Path, calls: Rows) -> None:
    rows = run(place, "usage", "--month", "2026-02", "--user", "o'hara")
    assert {row["requester"] for row in rows} == {"o'hara"}
    tags = [row["tags"] for row in rows if row["endpoint_name"] == "chat"]
    assert ["project=it's", "team=x"] in tags and tags.count(None) == 1 and [] not in tags


def test_a_month_ends_where_the_next_begins() -> None:
    assert month_of("2026-02") == FEBRUARY
    assert month_of(None, datetime(2025, 12, 31, 23, 59, tzinfo=UTC))[1] == datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "2026", "2026-13", "2026-11-01", "November", "0000-01", "9999-12"])
def test_what_is_no_month_is_wrong_usage(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is no month"):
        month_of(text)


def test_followed_lines_have_no_format() -> None:
    assert CliRunner().invoke(app, ["logs", "--follow", "--format", "json"]).exit_code == 2
