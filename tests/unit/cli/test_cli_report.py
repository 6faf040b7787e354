"""`aiq report`: every analysis by its name, over the calls of a time, an endpoint and a requester."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from aiq import runtime
from aiq.cli.app import app
from aiq.cli.narrow import Narrowing, narrowed
from aiq.cli.report import names, opened, time_of
from aiq.engines.duckdb.session import DuckDBSession
from aiq.errors import StatementError
from aiq.ledger.records import CALLS_TABLE, STATEMENTS_TABLE
from aiq.shipped_sql import read_sql
from tests.made_ledger import Rows, made_ledger

NOW = datetime.now(UTC).replace(microsecond=0)
Report = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with an empty conf and a home of made-up calls."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "conf" / "endpoints").mkdir(parents=True)
    yield folder
    for gateway in [gateway for gateway in runtime._gateways.values() if gateway.ledger.home == folder / "home"]:
        gateway.ledger.close()


@pytest.fixture(scope="module")
def rows(place: Path) -> dict[str, Rows]:
    return made_ledger(place / "home", NOW)


@pytest.fixture(scope="module")
def session(place: Path, rows: dict[str, Rows]) -> Iterator[DuckDBSession]:
    with opened(place / "conf", place / "home") as session:
        yield session


@pytest.fixture
def report(place: Path, rows: dict[str, Rows]) -> Report:
    """The rows of `aiq <arguments> --format json`."""

    def report(*arguments: str) -> list[dict[str, Any]]:
        where = ["--conf", str(place / "conf"), "--home", str(place / "home")]
        done = CliRunner().invoke(app, [*arguments, "--format", "json", *where], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    return report


def test_the_list_has_every_analysis_with_what_it_answers() -> None:
    lines = CliRunner().invoke(app, ["report"]).stdout
    assert [name for name in names() if f"\n{name} " not in f"\n{lines}"] == []
    assert "What each model cost, in US dollars" in lines


@pytest.mark.parametrize("name", sorted({*names()} - {"requests_with_payloads"}))
def test_every_analysis_runs_narrowed_and_finds_no_more_groups(name: str, session: DuckDBSession) -> None:
    def found(scope: Narrowing) -> list[tuple[Any, ...]]:
        text, values = narrowed(read_sql(name), scope, {})
        result = session.sql(text, values or None)
        assert result is not None
        return result.fetchall()

    assert 0 < len(found(Narrowing())) >= len(found(Narrowing(since=NOW - timedelta(days=3), endpoint="chat")))


def test_spend_is_the_sum_of_the_calls_of_the_endpoint_user_and_time(report: Report, rows: dict[str, Rows]) -> None:
    since, until = NOW - timedelta(days=5), NOW - timedelta(days=1)
    found = report("report", "spend_by_day", "--since", since.isoformat(), "--until", until.isoformat(), "--endpoint",
                   "chat", "--user", "o'hara")  # fmt: skip
    wanted = [
        call
        for call in rows[CALLS_TABLE]
        if call["attempt"] and call["endpoint_name"] == "chat" and call["requester"] == "o'hara"
        and since <= call["start_time"] < until
    ]  # fmt: skip
    by_day = Counter[str]()
    for call in wanted:
        by_day[str(call["start_time"].date())] += call.get("input_tokens", 0) + call.get("output_tokens", 0)
    assert {row["day"]: row["tokens"] for row in found} == by_day
    spent = sum(call.get("cost_usd") or 0 for call in wanted)
    assert sum(row["cost_usd"] or 0 for row in found) == pytest.approx(spent, abs=1e-5) and spent > 0


def test_requests_are_counted_once_by_how_they_ended(report: Report, rows: dict[str, Rows]) -> None:
    found = report("report", "requests_by_hour")
    last = [call for call in rows[CALLS_TABLE] if call["final"]]
    wanted = Counter("reused" if call["cache_hit"] else call["status"] for call in last)
    names = {"answered": "ok", "failed": "error", "refused": "refused", "orphaned": "orphaned", "reused": "reused"}
    assert {status: sum(row[name] for row in found) for name, status in names.items()} == dict(wanted)
    assert sum(row["requests"] for row in found) == len(last)


def test_statements_in_flight_are_those_without_an_end_whatever_the_time(report: Report, rows: dict[str, Rows]) -> None:
    ended = {row["statement_id"] for row in rows[STATEMENTS_TABLE]}
    wanted = {call["statement_id"] for call in rows[CALLS_TABLE] if call["statement_id"]} - ended
    assert {row["statement_id"] for row in report("report", "statements_in_flight")} == wanted != set()
    assert {row["statement_id"] for row in report("report", "statements_in_flight", "--since", "2d")} <= wanted


def test_seconds_of_a_statement_are_those_between_start_and_end(report: Report, rows: dict[str, Rows]) -> None:
    took = {
        row["statement_id"]: int((row["end_time"] - row["start_time"]).total_seconds())
        for row in rows[STATEMENTS_TABLE]
        if row["end_time"]
    }
    longest = sorted(took.values(), reverse=True)[:20]
    assert [row["seconds"] for row in report("report", "slowest_statements")] == longest


def test_a_quote_in_a_name_is_a_value(report: Report) -> None:
    assert {row["endpoint_name"] for row in report("report", "cost_by_model", "--endpoint", "o'brien")} == {"o'brien"}
    assert report("report", "cost_by_model", "--user", "' OR 1 = 1 --") == []


def test_a_table_without_requesters_is_not_narrowed_by_one() -> None:
    with pytest.raises(StatementError, match="--user"):
        narrowed(read_sql("configuration_changes"), Narrowing(user="ann@example.com"), {})


def test_texts_are_of_the_endpoint_that_is_asked_for() -> None:
    payloads = {"a": "main.x.a_payload", "b": "main.y.b_payload"}
    text, values = narrowed(read_sql("requests_with_payloads"), Narrowing(endpoint="b"), payloads)
    assert '"main"."y"."b_payload"' in text and values == {"endpoint": "b"}
    with pytest.raises(StatementError, match="--endpoint: a, b"):
        narrowed(read_sql("requests_with_payloads"), Narrowing(), payloads)
    with pytest.raises(StatementError, match="no endpoint keeps them"):
        narrowed(read_sql("requests_with_payloads"), Narrowing(), {})
    with pytest.raises(StatementError, match="no inference table"):
        narrowed(read_sql("requests_with_payloads"), Narrowing(endpoint="c"), payloads)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("90m", datetime(2026, 3, 1, 10, 30, tzinfo=UTC)),
        ("7D", datetime(2026, 2, 22, 12, tzinfo=UTC)),
        ("2026-02-03", datetime(2026, 2, 3, tzinfo=UTC)),
        ("2026-02-03T01:00+02:00", datetime(2026, 2, 2, 23, tzinfo=UTC)),
    ],
)
def test_a_time_is_so_long_ago_or_a_date(text: str, time: datetime) -> None:
    assert time_of(text, "--since", datetime(2026, 3, 1, 12, tzinfo=UTC)) == time


@pytest.mark.parametrize("text", ["", "yesterday", "7", "7y", "-1d", "2026-13-01", "999999w"])
def test_what_is_no_time_is_wrong_usage(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is no time"):
        time_of(text, "--since")
