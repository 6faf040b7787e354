"""The boards that ship, over a made-up ledger: every widget is drawn, and its numbers are those of other ways."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from aiq.dashboards.colours import PALETTE
from aiq.dashboards.files import load, name_of, shipped
from aiq.dashboards.filters import scope_of
from aiq.dashboards.model import Board, Selection, Widget
from aiq.dashboards.numbers import Figures, Numbers
from aiq.dashboards.render import drawn_pages
from aiq.dashboards.tiles import draw, main_query
from aiq.engines.connect import connect
from aiq.shipped_sql import read_sql
from tests.made_ledger import made_ledger
from tests.unit.dashboards.boards import connection

NOW = datetime.now(UTC)
WEEK = {"period": Selection((), (NOW - timedelta(days=30)).isoformat(), NOW.isoformat(), "DATETIME")}


class Home(NamedTuple):
    session: Any
    calls: list[dict[str, Any]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder: Path = tmp_path_factory.mktemp("shipped")
    (folder / "conf").mkdir()
    (folder / "conf" / "aiq.yml").write_text("catalogs: {main: }\n")
    rows = made_ledger(folder / "home", NOW)
    with connection() as con, connect(con, conf=folder / "conf", home=folder / "home") as session:
        con.execute("CREATE SCHEMA aiq")
        con.execute(
            "CREATE TABLE aiq.chat_payload AS SELECT now() AS request_time, 'ann' AS requester, 200 AS status_code,"
            """ '{"messages": [{"content": "Hi"}]}' AS request, 7 AS execution_duration_ms,"""
            """ '{"choices": [{"message": {"content": "Ho"}}]}' AS response"""
        )
        yield Home(session, rows["system.aiq.calls"])


@pytest.fixture(scope="module")
def boards() -> dict[str, Board]:
    return {name_of(file): load(file) for file in shipped()}


def test_three_boards_ship_in_databricks_own_format(boards: dict[str, Board]) -> None:
    assert list(boards) == ["gateway", "providers", "statements"]
    for file in shipped():
        found = json.loads(file.read_text(encoding="utf-8"))
        assert set(found) <= {"datasets", "pages", "uiSettings"}
        names = [each["widget"]["name"] for page in found["pages"] for each in page["layout"]]
        assert len(names) == len(set(names))


def test_no_two_tiles_stand_on_one_place(boards: dict[str, Board]) -> None:
    for board in boards.values():
        for page in board.pages:
            places = [
                (x, y)
                for tile in page.tiles
                for x in range(tile.x, tile.x + tile.width)
                for y in range(tile.y, tile.y + tile.height)
            ]
            assert len(places) == len(set(places)), (board.name, page.name)


@pytest.mark.parametrize("name", ["gateway", "providers", "statements"])
def test_every_widget_of_a_board_is_drawn(home: Home, boards: dict[str, Board], name: str) -> None:
    pages = drawn_pages(home.session, boards[name], {})
    problems = {tile.tile.widget.title: tile.problem for page in pages for tile in page.tiles if tile.problem}
    empty = {tile.tile.widget.title for page in pages for tile in page.tiles if "No rows." in tile.html}
    assert problems == {} and empty == set()


def widget(board: Board, title: str) -> Widget:
    return next(tile.widget for page in board.pages for tile in page.tiles if tile.widget.title == title)


def figures(home: Home, board: Board, title: str) -> Figures:
    wanted = widget(board, title)
    with Numbers(home.session, board, NOW) as numbers:
        return numbers.figures(main_query(wanted), scope_of(board, board.pages[0], WEEK))


def rounded(rows: Any) -> list[tuple[Any, ...]]:
    return sorted(
        (
            tuple(
                round(float(v), 1)
                if hasattr(v, "as_integer_ratio") and abs(v) > 99
                else round(float(v), 4)
                if hasattr(v, "as_integer_ratio")
                else v
                for v in row
            )
            for row in rows
        ),
        key=repr,
    )


@pytest.mark.parametrize(
    ("board", "title", "report", "columns"),
    [
        ("gateway", "What it takes to get an answer", "attempts_per_request",
         "endpoint_name, requests, provider_calls, calls_per_request, fallbacks, hedges, repairs, probes"),
        ("gateway", "Fallbacks that fired", "fallbacks_fired",
         "endpoint_name, fallback_from, served_entity_name, fallback_reason, attempts, answered, cost_usd"),
        ("gateway", "Chargeback by tags", "chargeback_by_tag", "tags, requests, tokens, cost_usd, unpriced"),
        ("gateway", "Saved by reuse", "saved_by_reuse", "SUM(saved_usd)"),
        ("gateway", "Top requesters", "top_requesters", "requester, requests, failed, tokens, cost_usd"),
        ("gateway", "Models without a price", "unpriced_models",
         "endpoint_name, provider, model, reason, answers, tokens, last_time"),
        ("gateway", "Spend by model", "spend_by_hour_and_model",
         "hour, COALESCE(model, '(none)'), SUM(cost_usd) GROUP BY ALL HAVING SUM(cost_usd) > 0"),
        ("providers", "Health", "provider_health",
         "endpoint_name, served_entity_name, provider, provider_calls, failed, failed_share, rate_limited, timeouts,"
         " tried_again, p95_ms, last_answer, last_failure"),
        ("providers", "Cost by model", "cost_by_model",
         "endpoint_name, provider, model, provider_calls, sql_rows, input_tokens, output_tokens, cost_usd,"
         " usd_per_1000_rows, unpriced"),
        ("statements", "Statements that cost most", "most_expensive_statements",
         "start_time, requester, engine, status, requests, reused, failed, tokens, cost_usd, text"),
        ("statements", "Statements that took longest", "slowest_statements",
         "start_time, requester, status, seconds, requests, reused, failed, cost_usd, text"),
        ("statements", "Statements in flight", "statements_in_flight",
         "first_call, last_call, requester, requests, tokens, cost_usd, text, statement_id"),
    ],
)  # fmt: skip
def test_a_widget_shows_what_the_report_says(
    home: Home, boards: dict[str, Board], board: str, title: str, report: str, columns: str
) -> None:
    found = figures(home, boards[board], title)
    select, group, rest = columns.partition(" GROUP BY")
    expected = home.session.sql(f"SELECT {select} FROM ({read_sql(report)}) {group} {rest}").fetchall()
    rows = found.rows if not group else [row for row in found.rows if row[-1]]  # hours without a cost
    assert rows and rounded(rows) == rounded(expected)


def test_counters_of_today_are_counted_by_hand(home: Home, boards: dict[str, Board]) -> None:
    """In Python, with half an hour around the moment that `now` is left out on both sides."""
    day = [call for call in home.calls if call["start_time"] >= NOW - timedelta(days=1)]
    final = [call for call in day if call["final"]]
    row = figures(home, boards["gateway"], "Requests").rows[0]
    assert abs(row[0] - len(final)) <= sum(
        abs(c["start_time"] - (NOW - timedelta(days=1))) < timedelta(minutes=30) for c in day
    )
    tokens = sum((call.get("input_tokens") or 0) + (call.get("output_tokens") or 0) for call in day)
    assert figures(home, boards["gateway"], "Tokens").rows[0][0] <= tokens


def test_outcomes_of_hours_are_counted_by_hand(home: Home, boards: dict[str, Board]) -> None:
    expected: dict[tuple[Any, str], int] = defaultdict(int)
    for call in home.calls:
        hour = call["start_time"].replace(minute=0, second=0, microsecond=0)
        expected[hour, "reused" if call["cache_hit"] else call["status"]] += bool(call["final"])
    found = figures(home, boards["gateway"], "How requests ended").rows
    assert {(hour, outcome): n for hour, outcome, n in found} == dict(expected)


def test_the_latency_of_hours_is_computed_by_hand(home: Home, boards: dict[str, Board]) -> None:
    """Percentiles between two values lie on the line between them."""
    values: dict[Any, list[float]] = defaultdict(list)
    for call in home.calls:
        if call["status"] == "ok" and call.get("latency_ms") is not None and not call["cache_hit"]:
            values[call["start_time"].replace(minute=0, second=0, microsecond=0)].append(call["latency_ms"])

    def percentile(found: list[float], share: float) -> float:
        place, rest = divmod((len(found) - 1) * share, 1)
        low, high = (sorted(found)[min(int(place) + up, len(found) - 1)] for up in (0, 1))
        return low + (high - low) * rest

    expected = {hour: [percentile(each, share) for share in (0.5, 0.95, 0.99)] for hour, each in values.items()}
    found = {hour: list(rest) for hour, *rest in figures(home, boards["gateway"], "Latency of answers").rows}
    assert found == {hour: pytest.approx(each) for hour, each in expected.items()}
    assert max(map(len, values.values())) > 2


def test_the_cost_of_a_thousand_rows_is_that_of_priced_rows(home: Home, boards: dict[str, Board]) -> None:
    cost: dict[str, float] = defaultdict(float)
    count: dict[str, int] = defaultdict(int)
    for call in home.calls:
        if call["attempt"] > 0 and call.get("cost_usd") is not None:
            cost[call["model"]] += call["cost_usd"]
            count[call["model"]] += call["rows"]
    found = {model: usd for model, usd in figures(home, boards["providers"], "Cost of a thousand rows").rows if usd}
    assert found == {model: pytest.approx(1000 * cost[model] / count[model]) for model in cost}


def test_the_filter_of_endpoints_holds_for_widgets_that_know_them(home: Home, boards: dict[str, Board]) -> None:
    board = boards["gateway"]
    tiles = {tile.widget.title: tile for page in board.pages for tile in page.tiles}
    scope = scope_of(board, board.pages[0], WEEK | {"endpoint": Selection(("o'brien",))})
    with Numbers(home.session, board, NOW) as numbers:
        for title in ("What it takes to get an answer", "Reuse by endpoint", "Guardrails"):
            html = draw(tiles[title], numbers, scope, PALETTE).html
            assert "o&#x27;brien" in html and ">chat<" not in html
