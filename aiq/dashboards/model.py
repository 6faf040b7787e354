"""What a dashboard file says, as plain values. Knows neither JSON's spelling nor SQL's nor HTML's.

What is drawn of a widget differs by its kind, so `Widget.spec` stays the file's own object, read with `at` and its kin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Selection:
    """What is chosen of a filter or parameter: values, or a range whose ends may be open. Nothing at all: everything.

    `data_type` is Databricks' word: STRING, INTEGER, DECIMAL, DATE or DATETIME.
    """

    values: tuple[str, ...] = ()
    low: str | None = None
    high: str | None = None
    data_type: str = "STRING"

    @property
    def is_range(self) -> bool:
        """Whether an end of a range is given."""
        return self.low is not None or self.high is not None

    def __bool__(self) -> bool:
        return bool(self.values) or self.is_range


@dataclass(frozen=True, slots=True)
class DatasetParameter:
    """A parameter of a dataset's query, `:keyword`. `shape` is "", MULTI or RANGE."""

    keyword: str
    title: str
    data_type: str = "STRING"
    shape: str = ""
    default: Selection | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """A query, with its parameters. `columns` are expressions over it that widgets use by name.

    `catalog` and `schema` are where its tables lie that the text does not say it of; "": nothing is said.
    """

    name: str
    title: str
    text: str
    parameters: tuple[DatasetParameter, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    catalog: str = ""
    schema: str = ""


@dataclass(frozen=True, slots=True)
class QueryField:
    """A column of a widget's query: the name by which the widget uses it, and an expression over the dataset."""

    name: str
    expression: str


@dataclass(frozen=True, slots=True)
class WidgetQuery:
    """What a widget asks of a dataset. With `rows_as_they_are` nothing is grouped."""

    name: str
    dataset: str
    fields: tuple[QueryField, ...] = ()
    rows_as_they_are: bool = False
    conditions: tuple[str, ...] = ()
    orders: tuple[tuple[str, bool], ...] = ()
    """Expressions, and whether they descend."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """By the name that a filter uses, the keyword of the dataset."""
    values: Mapping[str, Selection] = field(default_factory=dict)
    """Values of the dataset's parameters that hold for this query."""


@dataclass(frozen=True, slots=True)
class Widget:
    """A chart, table, counter, text or filter. `kind` is Databricks' widgetType, or "text"."""

    name: str
    kind: str
    version: int | None = None
    title: str = ""
    description: str = ""
    text: str = ""
    queries: tuple[WidgetQuery, ...] = ()
    spec: Mapping[str, Any] = field(default_factory=dict)
    extensions: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    """Why it cannot be drawn, where that is known from the file alone."""

    @property
    def is_filter(self) -> bool:
        """Whether it chooses what others show."""
        return self.kind.startswith("filter-") or self.kind == "range-slider"


@dataclass(frozen=True, slots=True)
class Tile:
    """A widget in its place, in cells of the page's grid."""

    x: int
    y: int
    width: int
    height: int
    widget: Widget


@dataclass(frozen=True, slots=True)
class Page:
    """Tiles on a grid of 6 or 12 columns. The tiles of a global page filter all pages."""

    name: str
    title: str
    tiles: tuple[Tile, ...]
    grid: int = 6
    is_global: bool = False


@dataclass(frozen=True, slots=True)
class Board:
    """A dashboard."""

    name: str
    datasets: Mapping[str, Dataset]
    pages: tuple[Page, ...]
    theme: Mapping[str, Any] = field(default_factory=dict)

    def filters(self) -> list[Widget]:
        """All filters."""
        return [tile.widget for page in self.pages for tile in page.tiles if tile.widget.is_filter]

    def filters_of(self, page: Page) -> list[Widget]:
        """The filters that hold on a page: its own, and those of the global pages."""
        holding = [each for each in self.pages if each.is_global or each is page]
        return [tile.widget for each in holding for tile in each.tiles if tile.widget.is_filter]


def at(value: Any, *path: str) -> Any:
    """What stands at a path of keys in a JSON value; None where there is no such place."""
    for key in path:
        if type(value) is not dict and not isinstance(value, Mapping):  # the former is quick, and most are one
            return None
        value = value.get(key)
    return value


def text_at(value: Any, *path: str) -> str:
    """The text at a path, "" where there is none. A title may be an object that has its text as `value`."""
    found = at(value, *path)
    if isinstance(found, str):
        return found
    found = at(found, "value")
    return found if isinstance(found, str) else ""


def objects_at(value: Any, *path: str) -> list[Mapping[str, Any]]:
    """The objects in the list at a path, or the one object that stands there instead."""
    found = at(value, *path)
    if isinstance(found, Mapping):
        return [found]
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []


def flag_at(value: Any, *path: str) -> bool:
    """Whether `true` stands at a path."""
    return at(value, *path) is True
