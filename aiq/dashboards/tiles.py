"""Draws one tile: as HTML, or as a chart that the page's script draws from a Vega-Lite specification.

An error of its SQL, or a kind that is not drawn, stands on the tile in words; the others stand.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from html import escape
from typing import Any

from aiq.dashboards.colours import is_colour
from aiq.dashboards.counters import counter_html
from aiq.dashboards.filters import PageScope
from aiq.dashboards.grids import table_html
from aiq.dashboards.markdown import to_html
from aiq.dashboards.marks import MARKS
from aiq.dashboards.model import Tile, Widget, WidgetQuery, at, text_at
from aiq.dashboards.numbers import MAX_ROWS, Figures, Numbers
from aiq.dashboards.pivots import pivot_html
from aiq.dashboards.shapes import box_chart, heatmap_chart, histogram_chart, pie_chart
from aiq.dashboards.specs import Chart, axes_chart, combo_chart
from aiq.dashboards.time_marks import with_time_marks
from aiq.errors import AiqError

log = logging.getLogger("aiq.dashboards")

_TABLE_ROWS = 1_000
_LATER = {"funnel", "waterfall", "sankey", "sunburst", "word-cloud", "choropleth-map", "symbol-map", "forecast-line"}
"""Databricks' kinds that are known and not drawn here."""


@dataclass(frozen=True, slots=True)
class DrawnTile:
    """What a tile shows. `spec` is its chart's specification, None where `html` is all of it.

    `problem` says why the widget is not drawn, "" where it is.
    """

    tile: Tile
    html: str
    spec: dict[str, Any] | None = None
    note: str = ""
    problem: str = ""


def draw(tile: Tile, numbers: Numbers, scope: PageScope, palette: tuple[str, ...]) -> DrawnTile:
    """The tile of a widget that is no filter."""
    widget = tile.widget
    if widget.kind == "text":
        return DrawnTile(tile, f'<div class="words">{to_html(widget.text)}</div>')
    try:
        if widget.problem:
            raise AiqError(widget.problem)
        return _drawn(tile, widget, numbers, scope, palette)
    except AiqError as error:
        return DrawnTile(tile, "", problem=str(error))
    except Exception as error:  # a file may say anything; the board stands
        log.warning("the widget %s cannot be drawn", widget.name, exc_info=True)
        return DrawnTile(
            tile, "", problem=f"What the file says of this {widget.kind} widget is not understood: {error}"
        )


def _drawn(tile: Tile, widget: Widget, numbers: Numbers, scope: PageScope, palette: tuple[str, ...]) -> DrawnTile:
    kind = widget.kind
    if kind in ("counter", "table"):
        figures = numbers.figures(main_query(widget), scope, _TABLE_ROWS)
        if kind == "counter":
            return DrawnTile(tile, counter_html(widget, figures, palette))
        html, note = table_html(widget, figures, palette)
        return DrawnTile(tile, html if figures.rows else _EMPTY, note=f"{figures.note} {note}".strip())
    if kind in ("bar", "line", "area", "scatter", "combo"):
        sampled = kind in ("scatter", "line")
        figures = numbers.figures(main_query(widget), scope, MARKS if sampled else MAX_ROWS, sampled=sampled)
        chart = (combo_chart if kind == "combo" else axes_chart)(widget, figures, palette)
        return _charted(tile, figures, chart if kind == "scatter" else with_time_marks(chart, numbers, scope))
    if kind in ("pie", "heatmap"):
        figures = numbers.figures(main_query(widget), scope)
        return _charted(tile, figures, (pie_chart if kind == "pie" else heatmap_chart)(widget, figures, palette))
    if kind in ("histogram", "box"):
        shape = histogram_chart if kind == "histogram" else box_chart
        chart = shape(widget, main_query(widget), numbers, scope, palette)
        return DrawnTile(tile, "", chart.spec, chart.note) if chart.spec["data"]["values"] else DrawnTile(tile, _EMPTY)
    if kind == "pivot":
        html, note = pivot_html(widget, main_query(widget), numbers, scope, palette)
        return DrawnTile(tile, html, note=note)
    if kind in _LATER:
        raise AiqError(f"A {kind} widget is not drawn here yet; it is on Databricks.")
    version = f" (version {widget.version})" if widget.version is not None else ""
    raise AiqError(f"A {kind} widget{version} is not known here and not drawn.")


_EMPTY = '<p class="empty">No rows.</p>'


def _charted(tile: Tile, figures: Figures, chart: Chart) -> DrawnTile:
    if not figures.rows:
        return DrawnTile(tile, _EMPTY)
    return DrawnTile(tile, "", chart.spec, chart.note)


def main_query(widget: Widget) -> WidgetQuery:
    """The query that a widget draws. Raises AiqError where it has none."""
    wanted = text_at(widget.spec, "data", "queryName") or "main_query"
    for each in widget.queries:
        if each.name == wanted:
            return each
    if not widget.queries:
        raise AiqError("The file has no query for this widget.")
    return widget.queries[0]


def tile_html(drawn: DrawnTile, number: int) -> str:
    """A drawn tile in its place on the grid. Its chart goes into the element `chart-<number>`."""
    tile, widget = drawn.tile, drawn.tile.widget
    place = f"grid-area:{tile.y + 1}/{tile.x + 1}/span {tile.height}/span {tile.width};--rows:{tile.height}"
    for mode in ("light", "dark"):
        own = at(widget.extensions, "widgetBackgroundColor", mode)
        place += f";--own-{mode}:{own}" if is_colour(own) else ""
        font = at(widget.spec, "style", "fontColor", mode)
        place += f";--font-{mode}:{font}" if is_colour(font) else ""
    parts = []
    title = widget.title
    if title:
        parts.append(f"<h2>{escape(title)}</h2>")
    if widget.description:
        parts.append(f'<p class="about">{escape(widget.description)}</p>')
    if drawn.problem:
        parts.append(f'<p class="problem" role="note"><strong>Not drawn.</strong> {escape(drawn.problem)}</p>')
    elif drawn.spec is not None:
        name = escape(title or f"{widget.kind} chart")
        parts.append(f'<div class="chart" id="chart-{number}" role="img" aria-label="{name}"></div>')
    else:
        parts.append(f'<div class="body">{drawn.html}</div>')
    if drawn.note:
        parts.append(f'<p class="note">{escape(drawn.note)}</p>')
    kind = "".join(each for each in widget.kind if each.isalnum() or each == "-")
    return f'<section class="tile {kind}" style="{place}">{"".join(parts)}</section>'
