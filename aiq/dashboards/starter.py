"""The board that `aiq dashboard new` writes, to begin with."""

from __future__ import annotations

import json
from typing import Any

_QUERY = [
    "SELECT date_trunc('HOUR', start_time) AS hour, endpoint_name,\n",
    "  COUNT_IF(final) AS requests, SUM(cost_usd) AS cost_usd\n",
    "FROM system.aiq.calls\n",
    "GROUP BY ALL\n",
]


def starter(title: str) -> str:
    """A board of one page as the text of its file: a heading, two counters, a chart and a table."""
    tiles = [
        {
            "widget": {"name": "heading", "multilineTextboxSpec": {"lines": [f"# {title}\n", "What it is for."]}},
            "position": {"x": 0, "y": 0, "width": 12, "height": 2},
        },
        _tile("requests", "Requests", "counter", 2, {"value": _field("sum(requests)")}, (0, 2, 3, 3)),
        _tile("dollars", "US dollars", "counter", 2, {"value": _field("sum(cost_usd)")}, (3, 2, 3, 3)),
        _tile(
            "spend",
            "Spend by day",
            "bar",
            3,
            {
                "x": {"fieldName": "daily(hour)", "displayName": "day", "scale": {"type": "temporal"}},
                "y": _field("sum(cost_usd)") | {"displayName": "US dollars", "scale": {"type": "quantitative"}},
                "color": {"fieldName": "endpoint_name", "displayName": "endpoint", "scale": {"type": "categorical"}},
            },
            (0, 5, 7, 6),
        ),
        _tile(
            "endpoints",
            "Endpoints",
            "table",
            2,
            {"columns": [_field("endpoint_name"), _field("sum(requests)"), _field("sum(cost_usd)")]},
            (7, 5, 5, 6),
        ),
    ]
    page = {
        "name": "overview",
        "displayName": "Overview",
        "layout": tiles,
        "pageType": "PAGE_TYPE_CANVAS",
        "layoutVersion": "GRID_V1",
    }
    dataset = {"name": "calls", "displayName": "Calls by hour", "queryLines": _QUERY}
    return json.dumps({"datasets": [dataset], "pages": [page]}, indent=2) + "\n"


_EXPRESSIONS = {
    "sum(requests)": "SUM(`requests`)",
    "sum(cost_usd)": "SUM(`cost_usd`)",
    "daily(hour)": 'DATE_TRUNC("DAY", `hour`)',
    "endpoint_name": "`endpoint_name`",
}


def _field(name: str) -> dict[str, Any]:
    return {"fieldName": name}


def _tile(
    name: str, title: str, kind: str, version: int, encodings: dict[str, Any], place: tuple[int, int, int, int]
) -> dict[str, Any]:
    text = json.dumps(encodings)
    fields = [{"name": each, "expression": sql} for each, sql in _EXPRESSIONS.items() if f'"{each}"' in text]
    query = {"datasetName": "calls", "fields": fields, "disaggregated": False}
    frame = {"title": title, "showTitle": True}
    spec = {"version": version, "widgetType": kind, "encodings": encodings, "frame": frame}
    x, y, width, height = place
    return {
        "widget": {"name": name, "queries": [{"name": "main_query", "query": query}], "spec": spec},
        "position": {"x": x, "y": y, "width": width, "height": height},
    }
