"""Charts as Vega-Lite specifications whose numbers need a query of their own, or no axes: pie, heatmap, histogram, box.

Bins and quartiles are computed by SQL over all rows, never over a sample.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from aiq.dashboards.encodings import axis, colour, colours_of, lines_across, tooltip
from aiq.dashboards.expressions import bin_width, is_aggregate
from aiq.dashboards.filters import PageScope
from aiq.dashboards.marks import (
    CATEGORIES,
    SERIES,
    Channel,
    Marks,
    category_order,
    channel,
    cut,
    marks,
    ordered,
    piled,
    shown_plain,
    summed,
)
from aiq.dashboards.model import Widget, WidgetQuery, at, flag_at, text_at
from aiq.dashboards.numbers import Figures, Numbers
from aiq.dashboards.specs import Chart, axes_chart
from aiq.errors import AiqError

_BINS = 25
_DARK_FIRST = ("viridis", "magma", "inferno", "plasma", "cividis", "turbo")
"""Schemes whose low end is dark."""
_STATISTICS = ("whiskerStart", "boxStart", "boxMid", "boxEnd", "whiskerEnd")


def pie_chart(widget: Widget, figures: Figures, palette: tuple[str, ...]) -> Chart:
    """The parts of a sum. Raises AiqError in words for the tile."""
    encodings, palette = at(widget.spec, "encodings"), colours_of(widget.spec, palette)
    angle = _needed(channel("y", at(encodings, "angle") or {}, figures), "the pie chart names no field for its angle")
    angle = replace(angle, kind="quantitative")
    shade = channel("color", at(encodings, "color") or {}, figures)
    shade = replace(shade, kind="categorical") if shade is not None else None
    found = marks(figures, [angle, *([shade] if shade else [])])
    found = summed(found, ["color"] if shade else [], "y", angle.format)
    negative = sum((row["y"] or 0) < 0 for row in found.rows)
    found = Marks([row for row in found.rows if (row["y"] or 0) >= 0], found.note)
    found = found.noted(f"Not drawn, as they are negative: {negative:,}." if negative else "")
    if shade is not None:
        found = cut(found, "color", "y", SERIES, "parts")
    total = sum(row["y"] or 0.0 for row in found.rows)
    rows = [row | {"share_text": f"{row['y'] / total:.1%}" if total and row["y"] else ""} for row in found.rows]
    found = Marks(sorted(rows, key=lambda row: -(row["y"] or 0.0)), found.note)
    names = [("color", shade.title)] if shade else []
    encoding: dict[str, Any] = {
        "theta": {"field": "y", "type": "quantitative", "stack": True},
        "order": {"field": "y", "sort": "descending"},
        **colour(shade, found, palette, widget.spec, False),
        "tooltip": tooltip([*names, ("y", angle.title), ("share", "Share")]),
    }
    layers: list[Any] = [{"mark": {"type": "arc", "innerRadius": 0, "stroke": "#8883"}, "encoding": encoding}]
    if flag_at(encodings, "label", "show"):
        text = {"field": "share_text", "type": "nominal"}
        kept = {key: encoding[key] for key in ("theta", "order")} | (
            {"detail": {"field": "color_text"}} if shade else {}
        )
        mark = {"type": "text", "radiusOffset": -24, "fontSize": 10}
        layers.append({"mark": mark, "encoding": kept | {"text": text, "radius": {"value": {"expr": _RADIUS}}}})
        layers[0]["encoding"] |= {"radius": {"value": {"expr": _RADIUS}}}
    return Chart({"data": {"values": found.values()}, "layer": layers}, found.note)


_RADIUS = "min(width, height) / 2"


def heatmap_chart(widget: Widget, figures: Figures, palette: tuple[str, ...]) -> Chart:
    """A colour for each pair of categories. Raises AiqError in words for the tile."""
    encodings = at(widget.spec, "encodings")
    sides = [channel(key, at(encodings, key) or {}, figures) for key in ("x", "y")]
    x, y = (_needed(each, "the heatmap names no field for x or y") for each in sides)
    shade = _needed(channel("color", at(encodings, "color") or {}, figures), "the heatmap names no field for color")
    found = marks(figures, [x, y, shade])
    several = len({(row["x"], row["y"]) for row in found.rows}) < len(found.rows)
    if several and shade.kind == "quantitative":
        found = summed(found, ["x", "y"], "color", shade.format).noted("Cells of several rows show their sum.")
    orders = {}
    for each in (x, y):
        if each.kind == "categorical":
            order = category_order(each, found.rows, "color")
        else:
            order = list(
                dict.fromkeys(r[f"{each.key}_text"] for r in sorted(found.rows, key=lambda r: r[each.key] or 0))
            )
        found = cut(found, each.key, "color", CATEGORIES, f"values of {each.title}")
        left = {row[f"{each.key}_text"] for row in found.rows}
        orders[each.key] = [text for text in order if text in left]
    encoding: dict[str, Any] = {
        side.key: axis(replace(side, kind="categorical"), at(encodings, side.key), orders[side.key]) for side in (x, y)
    }
    encoding |= colour(shade, found, palette, widget.spec, False)
    encoding["tooltip"] = tooltip([("x", x.title), ("y", y.title), ("color", shade.title)])
    layers: list[Any] = [{"mark": {"type": "rect"}, "encoding": encoding}]
    if flag_at(encodings, "label", "show"):
        scheme = at(encoding, "color", "scale", "scheme")
        text = {"field": "color_text", "type": "nominal"}
        places = {key: encoding[key] for key in ("x", "y")}
        values = [row["color"] for row in found.rows if isinstance(row["color"], float)]
        middle = min(values) / 2 + max(values) / 2 if values else 0.0
        high, low = ("#14202b", "#ffffff") if scheme in _DARK_FIRST else ("#ffffff", "#14202b")
        fill = {"condition": {"test": f"datum.color > {middle!r}", "value": high}, "value": low}
        layers.append({"mark": {"type": "text", "fontSize": 10}, "encoding": places | {"text": text, "color": fill}})
    return Chart({"data": {"values": found.values()}, "layer": layers}, found.note)


def histogram_chart(
    widget: Widget, query: WidgetQuery, numbers: Numbers, scope: PageScope, palette: tuple[str, ...]
) -> Chart:
    """How often values lie in each bin: the query's own bins, or bins of a round width. Raises AiqError."""
    encodings, palette = at(widget.spec, "encodings"), colours_of(widget.spec, palette)
    name = text_at(encodings, "x", "fieldName")
    field = next((each for each in query.fields if each.name == name), None)
    if field is None:
        raise AiqError(f"the widget's query has no field {name!r}")
    width = bin_width(field.expression)
    if text_at(encodings, "x", "scale", "type") == "categorical":
        return axes_chart(replace(widget, kind="bar"), numbers.figures(query, scope), palette)
    if width is None:
        title = text_at(encodings, "y", "displayName") or "count"
        rows, width = _binned(query, query.fields.index(field) + 1, numbers, scope)
        number_format, x_title = at(encodings, "x", "format"), text_at(encodings, "x", "displayName") or name
        found = [(row[0], None, row[1]) for row in rows]
        shade = None
    else:
        figures = numbers.figures(query, scope)
        x = _needed(channel("x", at(encodings, "x") or {}, figures), "the histogram names no field for x")
        y = _needed(channel("y", at(encodings, "y") or {}, figures), "the histogram names no field for y")
        shade = channel("color", at(encodings, "color") or {}, figures)
        found = [(row[x.place], row[shade.place] if shade else None, row[y.place]) for row in figures.rows]
        title, number_format, x_title = y.title, x.format, x.title
    rows_ = [(float(low), float(low) + width, series, count) for low, series, count in found if low is not None]
    bins = Figures(("low", "high", "series", "count"), ("DOUBLE", "DOUBLE", "VARCHAR", "BIGINT"), rows_, len(rows_))
    spec = {"format": number_format}
    low, high = Channel("x", 0, "quantitative", x_title, spec), Channel("high", 1, "quantitative", x_title, spec)
    count = Channel("y", 3, "quantitative", title, at(encodings, "y") or {})
    shade = shade and replace(shade, place=2, kind="categorical")
    drawn = summed(marks(bins, [low, high, count, *([shade] if shade else [])]), ["x", *(["color"] if shade else [])],
                   "y", count.format)  # fmt: skip
    drawn = piled(cut(drawn, "color", "y", SERIES, "series") if shade else drawn, "x", "y", "zero")
    drawn = Marks([row | {"range_text": f"{row['x_text']} to {row['high_text']}"} for row in drawn.rows], drawn.note)
    encoding = {
        "x": axis(low, at(encodings, "x")) | {"scale": {"zero": False, "nice": False}},
        "x2": {"field": "high"},
        "y": axis(count, at(encodings, "y"), None, title) | {"field": "y_low", "scale": {"zero": True}},
        "y2": {"field": "y_high"},
        **colour(shade, drawn, palette, widget.spec, False),
        "tooltip": tooltip([("range", x_title), *([("color", shade.title)] if shade else []), ("y", title)]),
    }
    missing = any(each[0] is None for each in found)
    drawn = drawn.noted("Rows without a value are not drawn." if missing else "")
    mark: dict[str, Any] = {"type": "bar", "orient": "vertical", "binSpacing": 1}
    layers: list[Any] = [{"mark": mark | ({} if shade else {"color": palette[0]}), "encoding": encoding}]
    layers += lines_across(widget.spec, {"x": "quantitative", "y": "quantitative"}, {})
    return Chart({"data": {"values": drawn.values()}, "layer": layers}, drawn.note)


def _binned(query: WidgetQuery, place: int, numbers: Numbers, scope: PageScope) -> tuple[list[tuple[Any, ...]], float]:
    """The bins of a field that the query does not bin: their lower ends and counts, and their width."""
    weights = [n for n, each in enumerate(query.fields, 1) if n != place and is_aggregate(each.expression)]
    weight = "SUM(weight)" if weights else "COUNT(*)"
    plain = query if weights else replace(query, rows_as_they_are=True)
    finite = "value IS NOT NULL AND ABS(value) < DOUBLE('Infinity')"

    def inner(text: str) -> str:
        weighed = f", field_{weights[0]} AS weight" if weights else ""
        return f"(SELECT DOUBLE(field_{place}) AS value{weighed} FROM ({text}))\nWHERE {finite}"

    ends = numbers.figures(
        plain, scope, shape=lambda text, _: f"SELECT MIN(value) AS low, MAX(value) AS high FROM {inner(text)}"
    ).rows[0]
    if ends[0] is None:
        return [], 1.0
    width = _round_width(float(ends[0]), float(ends[1]))
    bins = f"FLOOR(value / DOUBLE('{width!r}'))"
    counted = numbers.figures(
        plain,
        scope,
        shape=lambda text, _: f"SELECT {bins} AS bin, {weight} AS n FROM {inner(text)} GROUP BY 1 ORDER BY 1",
    )
    return [(bin * width, n) for bin, n in counted.rows], width


def _round_width(low: float, high: float) -> float:
    """A width of 1, 2 or 5 times a power of ten, so that there are at most some 25 bins."""
    span = high / _BINS - low / _BINS
    if not math.isfinite(span) or span <= 0:
        return max(abs(low) / 10, 1.0) if span <= 0 else high / _BINS
    power = 10.0 ** math.floor(math.log10(span))
    return next(step * power for step in (1.0, 2.0, 5.0, 10.0) if step * power >= span)


def box_chart(
    widget: Widget, query: WidgetQuery, numbers: Numbers, scope: PageScope, palette: tuple[str, ...]
) -> Chart:
    """Quartiles of each category: given by five fields of the query, or computed of one. Raises AiqError."""
    encodings, palette = at(widget.spec, "encodings"), colours_of(widget.spec, palette)
    given = [text_at(encodings, "y", each, "fieldName") for each in _STATISTICS]
    name, x_name = text_at(encodings, "y", "fieldName"), text_at(encodings, "x", "fieldName")
    if all(given):
        figures, wanted = numbers.figures(query, scope), given
    else:
        places = {each.name: n for n, each in enumerate(query.fields, 1)}
        if name not in places:
            raise AiqError("the box plot names no field for y")
        value, key = f"DOUBLE(field_{places[name]})", f"field_{places[x_name]}" if x_name in places else "''"
        quartiles = ", ".join(f"PERCENTILE({value}, {part}) AS q{part[2:]}" for part in ("0.25", "0.5", "0.75"))
        figures = numbers.figures(
            replace(query, rows_as_they_are=True),
            scope,
            shape=lambda text, _: (
                f"SELECT {key} AS category, MIN({value}) AS low, {quartiles}, MAX({value}) AS high FROM ({text})\n"
                f"WHERE {value} IS NOT NULL GROUP BY 1"
            ),
        )
        x_name, wanted = "category", ["low", "q25", "q5", "q75", "high"]
    title = text_at(encodings, "x", "displayName") or text_at(encodings, "x", "fieldName")
    base = channel("x", {**(at(encodings, "x") or {}), "fieldName": x_name, "displayName": title}, figures)
    x = replace(_needed(base, "the box plot names no field for x"), kind="categorical")
    spec = at(encodings, "y")
    channels = [
        _needed(channel(f"q{n}", {"fieldName": each, "scale": {"type": "quantitative"}}, figures), "")
        for n, each in enumerate(wanted)
    ]
    found = cut(marks(figures, [x, *channels]), "x", "q2", CATEGORIES, "categories")
    order = [shown_plain(each) for each in ordered(row["x_raw"] for row in found.rows)]
    y = replace(channels[0], title=text_at(spec, "displayName") or name or "value", spec=spec or {})

    def layer(mark: dict[str, Any], low: int, high: int | None) -> dict[str, Any]:
        up = {"y2": {"field": f"q{high}"}} if high is not None else {}
        ends = {"y": axis(y, spec) | {"field": f"q{low}", "scale": {"zero": False}}, **up}
        words = [("x", title), *((f"q{n}", text) for n, text in enumerate(_WORDS))]
        return {"mark": mark, "encoding": {"x": axis(x, at(encodings, "x"), order), **ends, "tooltip": tooltip(words)}}

    layers = [
        layer({"type": "rule"}, 0, 1),
        layer({"type": "rule"}, 3, 4),
        layer({"type": "bar", "color": palette[0], "opacity": 0.7, "width": {"band": 0.5}}, 1, 3),
        layer({"type": "tick", "color": "#fff", "thickness": 2, "bandSize": 14}, 2, None),
    ]
    note = "" if all(given) else "Whiskers: minimum and maximum."
    return Chart({"data": {"values": found.values()}, "layer": layers}, found.noted(note).note)


_WORDS = ("Low", "First quarter", "Median", "Third quarter", "High")


def _needed(found: Channel | None, words: str) -> Channel:
    if found is None:
        raise AiqError(words)
    return found
