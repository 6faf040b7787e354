"""Axes, colours and tooltips of charts in Vega-Lite. What stands in a title or label is data there, never code."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from aiq.dashboards.colours import colour_of, is_colour, mappings_of
from aiq.dashboards.formats import axis_format
from aiq.dashboards.marks import Channel, Marks, hides, milliseconds, ordered, scaled, shown_plain
from aiq.dashboards.model import at, flag_at, objects_at, text_at

_LONGEST_LABEL = 140
_SCHEMES = frozenset(
    (
        "blues", "greens", "greys", "oranges", "purples", "reds", "turbo", "viridis", "magma", "inferno",
        "plasma", "cividis", "bluegreen", "bluepurple", "goldgreen", "goldorange", "goldred", "greenblue",
        "orangered", "purplebluegreen", "purpleblue", "purplered", "redpurple", "yellowgreenblue",
        "yellowgreen", "yelloworangebrown", "yelloworangered", "blueorange", "brownbluegreen", "purplegreen",
        "pinkyellowgreen", "purpleorange", "redblue", "redgrey", "redyellowblue", "redyellowgreen", "spectral",
        "rainbow", "sinebow",
    )
)  # fmt: skip
_SHORT = {"ylgnbu": "yellowgreenblue", "rdylbu": "redyellowblue", "rdylgn": "redyellowgreen", "rdbu": "redblue"}
_SHORT |= {"ylorrd": "yelloworangered", "ylgn": "yellowgreen", "bugn": "bluegreen", "orrd": "orangered"}


def axis(channel: Channel, spec: Any, order: list[str] | None = None, title: str | None = None) -> dict[str, Any]:
    """The encoding of x or y. `spec` is the encoding as the file has it, `order` the categories'."""
    named = title if title is not None else text_at(spec, "axis", "title") or channel.title
    drawn: dict[str, Any] = {"title": None if hides(spec, "Title") else named}
    if hides(spec, "Labels"):
        drawn["labels"] = False
    if channel.kind == "categorical":
        drawn |= {"labelLimit": _LONGEST_LABEL, "labelOverlap": True}
        return {"field": f"{channel.key}_text", "type": "nominal", "sort": order, "axis": drawn}
    scale: dict[str, Any] = {}
    if flag_at(spec, "scale", "reverse"):
        scale["reverse"] = True
    if channel.kind == "temporal":
        return {"field": channel.key, "type": "temporal", "scale": scale | {"type": "utc"}, "axis": drawn}
    for end, key in (("min", "domainMin"), ("max", "domainMax")):
        value = at(spec, "scale", "domain", end) or at(spec, "scale", key)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            scale[key] = value
    return {
        "field": channel.key,
        "type": "quantitative",
        "scale": scale,
        "axis": drawn
        | {"labelExpr": axis_format(channel.format if channel.format is not None else at(spec, "format"))},
    }


def colour(channel: Channel | None, found: Marks, palette: tuple[str, ...], spec: Any, fold: bool) -> dict[str, Any]:
    """The encoding of colour: a channel's, or (`fold`) that of several measures by their titles; {} for neither."""
    legend: dict[str, Any] = {"title": None}
    if channel is not None:
        hidden = flag_at(channel.spec, "legend", "hideTitle")
        legend["title"] = None if hidden else text_at(channel.spec, "legend", "title") or channel.title
        if flag_at(channel.spec, "legend", "hide"):
            return {"color": _colours(channel, found, palette, fold) | {"legend": None}}
    if text_at(spec, "encodings", "color", "legend", "position") == "right":
        legend["orient"] = "right"
    if channel is None and not fold:
        return {}
    return {"color": _colours(channel, found, palette, fold) | {"legend": legend}}


def _colours(channel: Channel | None, found: Marks, palette: tuple[str, ...], fold: bool) -> dict[str, Any]:
    if channel is not None and channel.kind == "quantitative":
        ramp = at(channel.spec, "scale", "colorRamp")
        scheme = text_at(ramp, "scheme").lower()
        scheme = _SHORT.get(scheme, scheme)
        colours = [colour_of(at(ramp, "colors", end), palette) for end in ("start", "middle", "end")]
        given = [each for each in colours if each]
        scale: dict[str, Any] = {"scheme": scheme if scheme in _SCHEMES else "blues"}
        if len(given) > 1:
            scale = {"range": given}
        return {"field": "color", "type": "quantitative", "scale": scale}
    if channel is not None and channel.kind == "temporal":
        return {"field": "color", "type": "temporal", "scale": {"type": "utc"}}
    raw = [row["color_raw"] for row in found.rows]
    domain = list(dict.fromkeys(map(shown_plain, raw))) if fold else [shown_plain(each) for each in ordered(raw)]
    mapped = mappings_of(at(channel.spec, "scale") if channel else None, palette)
    free = iter([each for each in palette if each not in mapped.values()] * (1 + len(domain) // max(1, len(palette))))
    fallback = palette[0]
    colours_ = [mapped.get(each) or next(free, fallback) for each in domain]
    return {"field": "color_text", "type": "nominal", "scale": {"domain": domain, "range": colours_}}


def colours_of(widget_spec: Mapping[str, Any], palette: tuple[str, ...]) -> tuple[str, ...]:
    """The palette of a widget: its own colours first."""
    own = at(widget_spec, "mark", "colors")
    found = [colour_of(each, palette) for each in own] if isinstance(own, list) else []
    mine = tuple(each for each in found if each)
    return mine + tuple(each for each in palette if each not in mine)


def tooltip(named: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """The tooltip of keys and their titles; a title that stands twice is numbered."""
    found: list[dict[str, Any]] = []
    seen: dict[str, int] = {}
    for key, title in named:
        seen[title] = seen.get(title, 0) + 1
        name = title if seen[title] == 1 else f"{title} ({seen[title]})"
        found.append({"field": f"{key}_text", "type": "nominal", "title": f"{name}:"})
    return found


def lines_across(spec: Mapping[str, Any], kinds: Mapping[str, str], orders: Mapping[str, list[str]]) -> list[Any]:
    """Layers of the lines that a file draws across a chart; those that stand on no place of it are left out.

    `kinds` are the scales of x and y, `orders` their categories.
    """
    layers = []
    for each in objects_at(spec, "annotations"):
        kind = text_at(each, "type")
        key = {"vertical-line": "x", "horizontal-line": "y"}.get(kind)
        if key is None or key not in kinds:
            continue
        value = scaled(at(each, "encodings", key, "dataValue"), kinds[key])
        if value is None or (kinds[key] == "categorical" and value not in orders.get(key, [])):
            continue
        given = at(each, "color") or at(each, "encodings", "color", "value") or at(each, "encodings", "color")
        shade = colour_of(given, ("#888888",))
        shade = shade if is_colour(shade) else "#888888"
        label = text_at(each, "encodings", "label", "value") or text_at(each, "label")
        layers += _line(key, kinds[key], value, label, str(shade))
    return layers


def _line(key: str, kind: str, value: Any, label: str, shade: str) -> list[Any]:
    field = f"{key}_text" if kind == "categorical" else key
    scale: dict[str, Any] = {"scale": {"type": "utc"}} if kind == "temporal" else {}
    name = {"categorical": "nominal", "quantitative": "quantitative", "temporal": "temporal"}[kind]
    data = {"values": [{field: value, "label": label}]}
    place = {key: {"field": field, "type": name, **scale}}
    rule = {"mark": {"type": "rule", "strokeDash": [4, 3], "color": shade}, "data": data, "encoding": place}
    if not label:
        return [rule]
    other = {"y": {"value": 0}} if key == "x" else {"x": {"value": 0}}
    text = {"type": "text", "align": "left", "baseline": "bottom", "dx": 3, "dy": 9 if key == "x" else -3}
    labelled = {"text": {"field": "label", "type": "nominal"}}
    return [rule, {"mark": text | {"color": shade}, "data": data, "encoding": place | other | labelled}]


def bar_ends(found: Marks, key: str) -> Marks:
    """Rows with `key_end`, where the bar of a time ends: at the next time of the same step, a day, a month.

    `key_middle` is between the two.
    """
    starts = sorted({row[key] for row in found.rows if row[key] is not None})
    ends = {start: _end(start, starts) for start in starts}
    rows = []
    for row in found.rows:
        start, end = row[key], ends.get(row[key])
        middle = None if start is None or end is None else (start + end) / 2
        rows.append(row | {f"{key}_end": end, f"{key}_middle": middle})
    return Marks(rows, found.note)


def _end(start: float, starts: list[float]) -> float:
    moments = [datetime.fromtimestamp(each / 1000, UTC) for each in starts]
    months = [each.year * 12 + each.month for each in moments]
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    firsts = all((each.day, each.hour, each.minute, each.second) == (1, 0, 0, 0) for each in moments)
    if firsts and len(starts) > 1:
        step = min(later - earlier for earlier, later in pairwise(months))
        when = datetime.fromtimestamp(start / 1000, UTC)
        year, month = divmod(when.year * 12 + when.month - 1 + step, 12)
        return milliseconds(when.replace(year=year, month=month + 1)) or start
    if gaps:
        return start + min(gaps)
    when = moments[0]
    return start + (86_400_000 if (when.hour, when.minute) == (0, 0) else 3_600_000 if when.minute == 0 else 60_000)
