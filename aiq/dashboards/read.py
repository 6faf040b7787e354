"""Reads Databricks' dashboard files. What is wrong with one widget is said on its tile; the others stand.

The format is not published; it is read here as files of Databricks have it: a grid of 6 columns, or of 12 with
`layoutVersion` GRID_V1, and the lines of `queryLines` joined with nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aiq.dashboards.model import (
    Board,
    Dataset,
    DatasetParameter,
    Page,
    QueryField,
    Selection,
    Tile,
    Widget,
    WidgetQuery,
    at,
    flag_at,
    objects_at,
    text_at,
)
from aiq.errors import AiqError

SUFFIX = ".lvdash.json"
_MOST_CELLS = 10_000
"""No board is so many rows high; a damaged file must not make a page that no browser can lay out."""


def read_board(text: str, name: str) -> Board:
    """The dashboard that a file's text describes. Raises AiqError for a text that is no dashboard."""
    try:
        found = json.loads(text.removeprefix("\ufeff"))
    except json.JSONDecodeError as error:
        raise AiqError(
            f"{name} is not JSON: {error.msg} in line {error.lineno}, column {error.colno}; export the dashboard "
            f"from Databricks as a file that ends with {SUFFIX}"
        ) from None
    except RecursionError:
        raise AiqError(f"{name} is nested too deeply to be a dashboard") from None
    if "\\ud" in text.lower():  # halves of characters, which neither SQL nor HTML can hold
        found = json.loads(json.dumps(found, ensure_ascii=False).encode("utf-8", "replace"))
    if not isinstance(found, Mapping):
        raise AiqError(f"{name} is no dashboard: its JSON is not an object with datasets and pages")
    if not found.keys() & {"datasets", "pages", "uiSettings"} and found:
        raise AiqError(f"{name} is no dashboard: it has neither datasets nor pages")
    datasets = [_dataset(each, number) for number, each in enumerate(objects_at(found, "datasets"), 1)]
    return Board(
        name,
        {each.name: each for each in datasets},
        tuple(_page(each, number) for number, each in enumerate(objects_at(found, "pages"), 1)),
        at(found, "uiSettings", "theme") or {},
    )


def _dataset(value: Mapping[str, Any], number: int) -> Dataset:
    lines = at(value, "queryLines")
    text = "".join(map(str, lines)) if isinstance(lines, list) else text_at(value, "query")
    asset = text_at(value, "asset_name") or text_at(value, "assetName")
    if not text.strip() and asset:
        text = "SELECT * FROM " + ".".join(f"`{part}`" for part in asset.replace("`", "").split("."))
    name = text_at(value, "name") or f"dataset {number}"
    columns = {
        text_at(each, "displayName") or text_at(each, "name"): text_at(each, "expression")
        for each in objects_at(value, "columns")
    }
    return Dataset(
        name,
        text_at(value, "displayName") or name,
        text,
        tuple(_parameter(each) for each in objects_at(value, "parameters")),
        {title: expression for title, expression in columns.items() if title and expression},
        text_at(value, "catalog"),
        text_at(value, "schema"),
    )


def _parameter(value: Mapping[str, Any]) -> DatasetParameter:
    keyword = text_at(value, "keyword")
    data_type = text_at(value, "dataType") or "STRING"
    return DatasetParameter(
        keyword,
        text_at(value, "displayName") or keyword,
        data_type,
        text_at(value, "complexType"),
        selection_of(at(value, "defaultSelection"), data_type),
    )


def selection_of(value: Any, data_type: str = "STRING") -> Selection | None:
    """What `defaultSelection` chooses, None where it chooses nothing."""
    if (values := at(value, "values")) is not None:
        chosen = tuple(str(each["value"]) for each in objects_at(values, "values") if each.get("value") is not None)
        found = Selection(chosen, data_type=text_at(values, "dataType") or data_type)
    elif (ends := at(value, "range")) is not None:
        low, high = at(ends, "min", "value"), at(ends, "max", "value")
        low, high = (None if end is None else str(end) for end in (low, high))
        found = Selection((), low, high, text_at(ends, "dataType") or data_type)
    else:
        return None
    return found or None


def _page(value: Mapping[str, Any], number: int) -> Page:
    name = text_at(value, "name") or f"page{number}"
    grid = 12 if text_at(value, "layoutVersion") == "GRID_V1" else 6
    return Page(
        name,
        text_at(value, "displayName") or name,
        tuple(_tile(each, grid, number) for number, each in enumerate(objects_at(value, "layout"), 1)),
        grid,
        text_at(value, "pageType") == "PAGE_TYPE_GLOBAL_FILTERS",
    )


def _tile(value: Mapping[str, Any], grid: int, number: int) -> Tile:
    def cells(key: str, least: int, most: int, otherwise: int) -> int:
        found = at(value, "position", key)
        if isinstance(found, bool) or not isinstance(found, int | float) or found != found:
            return otherwise
        return int(min(max(found, least), most))

    x = cells("x", 0, grid - 1, 0)
    width = cells("width", 1, grid - x, grid - x)
    y, height = cells("y", 0, _MOST_CELLS, 0), cells("height", 1, _MOST_CELLS, 3)
    return Tile(x, y, width, height, _widget(at(value, "widget"), number))


def _widget(value: Any, number: int) -> Widget:
    name = text_at(value, "name") or f"widget{number}"
    if (lines := at(value, "multilineTextboxSpec", "lines")) is not None:
        return Widget(name, "text", text="".join(map(str, lines)) if isinstance(lines, list) else str(lines))
    if isinstance(at(value, "textbox_spec"), str):
        return Widget(name, "text", text=text_at(value, "textbox_spec"))
    spec = at(value, "spec")
    if not isinstance(spec, Mapping):
        return Widget(name, "unknown", problem="The file says nothing of what it shows.")
    kind, version = text_at(spec, "widgetType"), at(spec, "version")
    title = text_at(spec, "frame", "title") if at(spec, "frame", "showTitle") is not False else ""
    described = text_at(spec, "frame", "description") if flag_at(spec, "frame", "showDescription") else ""
    problem = ""
    if not kind:
        kind, old = "unknown", text_at(spec, "viz_spec", "viz_type").lower()
        problem = (
            f"It is a {old} of an older version; open the dashboard on Databricks, and save the widget there."
            if old
            else "The file does not say what kind of widget it is."
        )
    return Widget(
        name,
        kind,
        version if isinstance(version, int) else None,
        title,
        described,
        "",
        tuple(_query(each) for each in objects_at(value, "queries")),
        spec,
        at(value, "specExtensions") or {},
        problem,
    )


def _query(value: Mapping[str, Any]) -> WidgetQuery:
    query = at(value, "query")
    values = {
        text_at(each, "keyword"): chosen
        for each in objects_at(query, "parameterValues")
        if (chosen := selection_of(at(each, "selection"))) is not None
    }
    return WidgetQuery(
        text_at(value, "name"),
        text_at(query, "datasetName"),
        tuple(QueryField(text_at(each, "name"), text_at(each, "expression")) for each in objects_at(query, "fields")),
        flag_at(query, "disaggregated"),
        tuple(filter(None, (text_at(each, "expression") for each in objects_at(query, "filters")))),
        tuple(
            (expression, text_at(each, "direction") == "DESC")
            for each in objects_at(query, "orders")
            if (expression := text_at(each, "expression"))
        ),
        {text_at(each, "name"): text_at(each, "keyword") for each in objects_at(query, "parameters")},
        values,
    )
