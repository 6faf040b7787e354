"""Makes dashboards for tests, and opens sessions for their numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import duckdb

from aiq.dashboards.filters import PageScope, scope_of
from aiq.dashboards.model import Board, Page, Selection, Widget
from aiq.dashboards.numbers import Figures, Numbers
from aiq.dashboards.read import read_board
from aiq.dashboards.tiles import DrawnTile, draw

NOW = datetime(2026, 11, 30, 12, 34, 56, 789000, UTC)
RED, GREEN = "#ff0000", "#00ff00"


def widget(kind: str, fields: Mapping[str, str], encodings: Any, **more: Any) -> dict[str, Any]:
    """A tile of the file: `fields` are the expressions of the query by their names."""
    query = {
        "datasetName": more.pop("dataset", "data"),
        "fields": [{"name": name, "expression": expression} for name, expression in fields.items()],
        "disaggregated": more.pop("disaggregated", False),
        **more.pop("query", {}),
    }
    spec = {"widgetType": kind, "version": 3, "encodings": encodings, **more}
    body = {"name": f"{kind}_1", "queries": [{"name": "main_query", "query": query}], "spec": spec}
    return {"widget": body, "position": {"x": 0, "y": 0, "width": 6, "height": 6}}


def board(sql: str, *tiles: Mapping[str, Any], **dataset: Any) -> Board:
    """A board of one page over one dataset called data."""
    text = json.dumps(
        {
            "datasets": [{"name": "data", "displayName": "Data", "queryLines": [sql], **dataset}],
            "pages": [{"name": "one", "displayName": "One", "layout": list(tiles), "layoutVersion": "GRID_V1"}],
        }
    )
    return read_board(text, "test")


class OpenBoard:
    """A board with its numbers."""

    def __init__(self, session: Any, found: Board, chosen: Mapping[str, Selection] | None = None) -> None:
        self.board, self.page = found, found.pages[0]
        self.scope: PageScope = scope_of(found, self.page, chosen or {})
        self.numbers = Numbers(session, found, NOW)

    def drawn(self, place: int = 0) -> DrawnTile:
        """One tile as it is drawn."""
        return draw(self.page.tiles[place], self.numbers, self.scope, (RED, GREEN))

    def figures(self, place: int = 0, **options: Any) -> Figures:
        """The rows of one widget's query."""
        return self.numbers.figures(self.widget(place).queries[0], self.scope, **options)

    def widget(self, place: int = 0) -> Widget:
        """One widget."""
        return self.page.tiles[place].widget


def page_of(found: Board) -> Page:
    """The first page."""
    return found.pages[0]


def marks_of(drawn: DrawnTile, layer: int = 0) -> list[dict[str, Any]]:
    """The rows that a chart draws. Fails with the tile's problem where there is no chart."""
    assert drawn.spec is not None, drawn.problem or drawn.html
    found = drawn.spec["layer"][layer].get("data") or drawn.spec["data"]
    return list(found["values"])


def connection() -> duckdb.DuckDBPyConnection:
    """A database in memory, in UTC."""
    con = duckdb.connect(config={"python_enable_replacements": False})
    con.execute("SET TimeZone = 'UTC'")
    return con
