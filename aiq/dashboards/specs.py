"""Charts as Vega-Lite specifications: bars, lines, areas, points and bars with lines. The rest: shapes.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from aiq.dashboards.encodings import axis, bar_ends, colour, colours_of, lines_across, tooltip
from aiq.dashboards.marks import (
    CATEGORIES,
    SERIES,
    Channel,
    Marks,
    category_order,
    channel,
    channels,
    cut,
    folded,
    marks,
    piled,
    sorts_by_value,
    summed,
)
from aiq.dashboards.model import Widget, at, flag_at, objects_at, text_at
from aiq.dashboards.numbers import Figures
from aiq.errors import AiqError

_MARKS: dict[str, dict[str, Any]] = {
    "bar": {"type": "bar"},
    "line": {"type": "line"},
    "area": {"type": "area", "opacity": 0.8},
    "scatter": {"type": "point", "filled": True, "opacity": 0.7},
}
_FEW = 60
"""So many points of a line are also dots."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A Vega-Lite specification without its size, and what is to be said of it on the tile."""

    spec: dict[str, Any]
    note: str = ""


def axes_chart(widget: Widget, figures: Figures, palette: tuple[str, ...]) -> Chart:
    """A bar, line, area or scatter chart. Raises AiqError in words for the tile."""
    spec, encodings, kind = widget.spec, at(widget.spec, "encodings"), widget.kind
    palette = colours_of(spec, palette)
    xs, ys = channels("x", at(encodings, "x"), figures), channels("y", at(encodings, "y"), figures)
    if not xs or not ys:
        raise AiqError(f"the {kind} chart names no field for {'x' if not xs else 'y'}")
    shade = channel("color", at(encodings, "color") or {}, figures)
    size = channel("size", at(encodings, "size") or {}, figures)
    several, key = (xs, "x") if len(xs) > 1 else (ys, "y")
    extra = _extra(encodings, figures)
    if len(several) > 1:
        fixed = [*(ys if key == "x" else xs)[:1], *extra]
        found, shade = folded(figures, fixed, several, key), None
    else:
        found = marks(figures, [xs[0], ys[0], *filter(None, (shade, size)), *extra])
    x, y, fold = replace(xs[0], key="x"), replace(ys[0], key="y"), len(several) > 1
    found = found.noted(_not_numbers(found, [each for each in (x, y) if each.kind == "quantitative"]))
    flat = kind == "bar" and x.kind == "quantitative" and y.kind != "quantitative"
    base, measure = (y, "x") if flat else (x, "y")
    found = found.noted(_without_place(found, base) if kind != "scatter" else "")
    by_colour = (shade is not None and shade.kind == "categorical") or fold
    if kind in ("bar", "area") and (x if flat else y).kind == "quantitative":
        found = summed(found, [base.key, *(["color"] if shade is not None or fold else [])], measure, y.format)
    if by_colour and kind != "scatter":
        found = cut(found, "color", measure, SERIES, "series")
    orders: dict[str, list[str]] = {}
    for each, sum_of in ((x, "y"), (y, "x")):
        if each.kind == "categorical":
            order = category_order(each, found.rows, sum_of)
            found = cut(found, each.key, sum_of, CATEGORIES, "categories", order if sorts_by_value(each) else None)
            left = {row[f"{each.key}_text"] for row in found.rows}
            orders[each.key] = [text for text in order if text in left]
    names = [("x", text_at(encodings, "x", "axis", "title") or x.title)]
    names += [("color", shade.title)] if shade is not None else [("color", "Series")] if fold else []
    names += [("y", "Value" if fold and key == "y" else text_at(encodings, "y", "axis", "title") or y.title)]
    names += [("size", size.title)] if size is not None else []
    names += [(each.key, each.title) for each in extra]
    encoding = {
        "x": axis(x, at(encodings, "x"), orders.get("x"), _title(at(encodings, "x"), xs)),
        "y": axis(y, at(encodings, "y"), orders.get("y"), _title(at(encodings, "y"), ys)),
        **colour(shade, found, palette, spec, fold),
        "tooltip": tooltip(names),
    }
    if size is not None and size.kind == "quantitative":
        encoding["size"] = {"field": "size", "type": "quantitative", "legend": None}
    mark: dict[str, Any] = dict(_MARKS[kind])
    if "color" not in encoding:
        mark["color"] = palette[0]
    if kind == "line" and len(found.rows) <= _FEW:
        mark["point"] = True
    if kind in ("bar", "area"):
        found = _stacked(spec, encoding, mark, found, base, measure, "color" in encoding and by_colour)
    layers = [{"mark": mark, "encoding": encoding}]
    if flag_at(encodings, "label", "show"):
        layers.append(_labels(encoding, measure, kind))
    layers += lines_across(spec, {"x": x.kind, "y": y.kind}, orders)
    return Chart({"data": {"values": found.values()}, "layer": layers}, found.note)


def _extra(encodings: Any, figures: Figures) -> list[Channel]:
    """Fields that stand in the tooltip alone."""
    found = [channel(f"extra{n}", each, figures) for n, each in enumerate(objects_at(encodings, "extra"))]
    return [each for each in found if each is not None]


def _title(spec: Any, several: list[Channel]) -> str | None:
    """The title of an axis with several measures: the file's, or none."""
    if len(several) < 2:
        return None
    return text_at(spec, "axis", "title") or text_at(spec, "displayName")


def _not_numbers(found: Marks, measures: list[Channel]) -> str:
    """What to say of values that no axis has a place for: NaN, infinite, texts."""
    count = sum(row[each.key] is None and row[f"{each.key}_raw"] is not None for each in measures for row in found.rows)
    return f"{count:,} values are not finite numbers and are not drawn." if count else ""


def _without_place(found: Marks, base: Channel) -> str:
    """What to say of marks that have a value and no place on the axis."""
    count = 0 if base.kind == "categorical" else sum(row[base.key] is None for row in found.rows)
    return f"Not drawn, without {base.title}: {count:,}." if count else ""


def _stacked(
    spec: Mapping[str, Any],
    encoding: dict[str, Any],
    mark: dict[str, Any],
    found: Marks,
    base: Channel,
    measure: str,
    coloured: bool,
) -> Marks:
    """Sets how the series of bars and areas stand: on each other, beside each other, as shares of 100 %."""
    layout = text_at(spec, "mark", "layout")
    if layout in ("percent-stack", "stack-100"):
        encoding[measure]["stack"] = "normalize"
        encoding[measure]["axis"] |= {"labelExpr": "format(datum.value, '.0%')"}
    elif layout == "layer" or (mark["type"] == "area" and layout == "group"):
        encoding[measure]["stack"] = None
        mark["opacity"] = 0.6
    elif layout == "group" and coloured and mark["type"] == "bar":
        encoding[measure]["stack"] = None
        offset = "yOffset" if base.key == "y" else "xOffset"
        encoding[offset] = {"field": "color_text", "sort": encoding["color"]["scale"].get("domain")}
        if base.kind != "categorical":
            order = list(
                dict.fromkeys(r[f"{base.key}_text"] for r in sorted(found.rows, key=lambda r: r[base.key] or 0))
            )
            encoding[base.key] |= {"field": f"{base.key}_text", "type": "ordinal", "sort": order}
            encoding[base.key].pop("scale", None)
            encoding[base.key]["axis"].pop("labelExpr", None)
        return found
    else:
        encoding[measure]["stack"] = "zero"
    if coloured:
        encoding["order"] = {"field": "color_text", "sort": "descending"}
    if mark["type"] == "bar" and base.kind == "temporal":
        return _timed_bars(encoding, mark, found, base, measure)
    return found


def _timed_bars(encoding: dict[str, Any], mark: dict[str, Any], found: Marks, base: Channel, measure: str) -> Marks:
    """Bars as long as their step of time, from edge to edge: Vega-Lite does not stack such bars, so it is done here."""
    how = encoding[measure].pop("stack", None)
    order = {text: place for place, text in enumerate(at(encoding, "color", "scale", "domain") or ())}
    found = Marks(sorted(found.rows, key=lambda row: order.get(row.get("color_text"), 0)), found.note)
    found = piled(bar_ends(found, base.key), base.key, measure, how)
    encoding[f"{base.key}2"] = {"field": f"{base.key}_end"}
    encoding[measure]["field"] = f"{measure}_low"
    encoding[measure]["scale"] = {"zero": True} | encoding[measure].get("scale", {})
    encoding[f"{measure}2"] = {"field": f"{measure}_high"}
    encoding.pop("order", None)
    mark |= {"binSpacing": 1, "orient": "horizontal" if base.key == "y" else "vertical"}
    return found


def _labels(encoding: Mapping[str, Any], measure: str, kind: str) -> dict[str, Any]:
    """A layer with the measure as text, in the middle of stacked parts, else beside the mark."""
    stacked = encoding[measure].get("stack") in ("zero", "normalize") and "color" in encoding
    place = dict(encoding[measure])
    if f"{measure}2" in encoding:
        stacked = "color" in encoding
        place["field"] = f"{measure}_middle" if stacked else f"{measure}_high"
    mark: dict[str, Any] = {"type": "text", "fontSize": 10}
    if stacked:
        place |= {} if f"{measure}2" in encoding else {"bandPosition": 0.5}
    elif measure == "x":
        mark |= {"align": "left", "dx": 4}
    else:
        mark |= {"dy": -7}
    kept = {
        key: value
        for key, value in encoding.items()
        if key in ("x", "y", f"{'y' if measure == 'x' else 'x'}2", "xOffset", "yOffset", "order")
    }
    base = "y" if measure == "x" else "x"
    if kept.pop(f"{base}2", None) is not None:
        kept[base] = kept[base] | {"field": f"{base}_middle"}
    detail = {"detail": {"field": "color_text"}} if "color" in encoding and kind != "scatter" else {}
    return {"mark": mark, "encoding": kept | detail | {measure: place, "text": {"field": f"{measure}_text"}}}


def combo_chart(widget: Widget, figures: Figures, palette: tuple[str, ...]) -> Chart:
    """Bars of the primary measures and lines of the secondary ones, each with its axis."""
    encodings = at(widget.spec, "encodings")
    palette = colours_of(widget.spec, palette)
    x = channel("x", at(encodings, "x") or {}, figures)
    primary = channels("y", at(encodings, "y", "primary"), figures)
    secondary = channels("y", at(encodings, "y", "secondary"), figures)
    if x is None or not (primary or secondary):
        raise AiqError("the combo chart names no field for x, or none for y")
    every = [*primary, *secondary]
    titles = [each.title for each in every]
    scale = {"domain": titles, "range": [palette[at % len(palette)] for at in range(len(titles))]}
    bars, lines = folded(figures, [x], primary, "y"), folded(figures, [x], secondary, "y")
    bars = summed(bars, ["x", "color"], "y", primary[0].format if primary else None)
    rows, order = [*bars.rows, *lines.rows], None
    if x.kind == "categorical":
        both = Marks(rows, figures.note)
        wanted = category_order(x, rows, "y")
        kept = cut(both, "x", "y", CATEGORIES, "categories", wanted if sorts_by_value(x) else None)
        left = {row["x_text"] for row in kept.rows}
        order = [each for each in wanted if each in left]
        bars, lines = (Marks([r for r in each.rows if r["x_text"] in left], kept.note) for each in (bars, lines))
    note = bars.note or lines.note
    own = at(encodings, "y", "primary", "scale") is not None or at(encodings, "y", "secondary", "scale") is not None
    layers = []
    for part, measures, kind, where in ((bars, primary, "bar", "primary"), (lines, secondary, "line", "secondary")):
        if not measures:
            continue
        spec = at(encodings, "y", where)
        title = text_at(spec, "axis", "title") or (measures[0].title if len(measures) == 1 else "")
        y = axis(replace(measures[0], kind="quantitative"), spec, None, title) | {"stack": None}
        y["axis"]["orient"] = "right" if kind == "line" else "left"
        encoding: dict[str, Any] = {
            "x": axis(x, at(encodings, "x"), order),
            "y": y,
            "color": {"field": "color_text", "type": "nominal", "scale": scale, "legend": {"title": None}},
            "tooltip": tooltip([("x", x.title), ("color", "Series"), ("y", "Value")]),
        }
        mark: dict[str, Any] = {"type": kind}
        if kind == "bar":
            encoding["y"]["stack"] = "zero"
            if x.kind == "temporal":
                part = _timed_bars(encoding, mark, part, x, "y")
        if kind == "line":
            mark["point"] = len(part.rows) <= _FEW
        layers.append({"data": {"values": part.values()}, "mark": mark, "encoding": encoding})
    found: dict[str, Any] = {"layer": layers}
    if own or len(layers) == 2:
        found["resolve"] = {"scale": {"y": "independent"}}
    return Chart(found, note)
