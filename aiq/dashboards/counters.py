"""Counters as HTML: a number, what it is to be compared with, and its course as a small line."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from aiq.dashboards.colours import colour_of, meets
from aiq.dashboards.formats import shown
from aiq.dashboards.marks import rank, scaled
from aiq.dashboards.model import Widget, at, objects_at, text_at
from aiq.dashboards.numbers import Figures
from aiq.errors import AiqError

_WIDTH, _HEIGHT = 240, 40
_POINTS = 400


def counter_html(widget: Widget, figures: Figures, palette: tuple[str, ...]) -> str:
    """The body of a counter's tile. Raises AiqError in words for it."""
    encodings = at(widget.spec, "encodings")
    value, period = at(encodings, "value"), at(encodings, "period")
    if not text_at(value, "fieldName"):
        value, period = period, None
    if not text_at(value, "fieldName"):
        raise AiqError("the counter names no field for its value")
    rows = figures.rows
    if period is not None and text_at(period, "fieldName"):
        place = _place(figures, period)
        rows = sorted((row for row in rows if row[place] is not None), key=lambda row: rank(row[place]))
    if not rows:
        return '<p class="number null">no rows</p>'
    row = rows[-1] if period is not None else rows[_row_number(value, len(rows))]
    found = row[_place(figures, value)]
    target_spec = at(encodings, "target")
    has_target = bool(text_at(target_spec, "fieldName"))
    target = row[_place(figures, target_spec)] if has_target else None
    style = _style(value, found, target, palette)
    parts = [f'<p class="number{" null" if found is None else ""}"{style}>{escape(_written(found, value))}</p>']
    if period is not None:
        parts.append(f'<p class="below">{escape(shown(row[_place(figures, period)], at(period, "format")))}</p>')
    if has_target:
        name = text_at(target_spec, "displayName") or "target"
        parts.append(f'<p class="below">{escape(name)}: {escape(_written(target, target_spec))}</p>')
    if period is not None:
        parts.append(_sparkline([scaled(each[_place(figures, value)], "quantitative") for each in rows]))
    return "".join(parts)


def _place(figures: Figures, spec: Any) -> int:
    name = text_at(spec, "fieldName")
    place = figures.column(name)
    if place is None:
        raise AiqError(f"the widget's query has no field {name!r}")
    return place


def _row_number(spec: Any, count: int) -> int:
    """Which row a counter shows: the first, or the one the file names, from 1 or from the end."""
    number = at(spec, "rowNumber")
    if not isinstance(number, int) or isinstance(number, bool) or number == 0:
        return 0
    place = number - 1 if number > 0 else count + number
    return min(max(place, 0), count - 1)


def _written(value: Any, spec: Mapping[str, Any]) -> str:
    text = shown(value, at(spec, "format"))
    template = text_at(spec, "formatTemplate")
    for hole in ("{{ @formatted }}", "{{@formatted}}", "{{ @ }}", "{{@}}"):
        if hole in template:
            return template.replace(hole, text)
    return text


def _style(spec: Any, value: Any, target: Any, palette: tuple[str, ...]) -> str:
    """The colour that a rule gives to a value. A rule without an operand compares with the target."""
    for rule in objects_at(spec, "style", "rules"):
        operand = at(rule, "condition", "operand", "value")
        operand = target if operand is None else operand
        if meets(value, text_at(rule, "condition", "operator"), operand):
            colour = colour_of(at(rule, "color"), palette)
            return f' style="color:{colour}"' if colour else ""
    return ""


def _sparkline(values: list[Any]) -> str:
    """A line of values as SVG; where one is missing the line is broken."""
    step = -(-len(values) // _POINTS)
    values = values[::step] if step > 1 else values
    known = [each for each in values if each is not None]
    if len(known) < 2:
        return ""
    low, high = min(known), max(known)
    span = (high - low) or 1.0
    path, pen = [], "M"
    for number, value in enumerate(values):
        if value is None:
            pen = "M"
            continue
        x = number / (len(values) - 1) * _WIDTH
        y = _HEIGHT - 2 - (value / span - low / span) * (_HEIGHT - 4)
        path.append(f"{pen}{x:.1f} {y:.1f}")
        pen = "L"
    return (
        f'<svg class="sparkline" viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" aria-hidden="true">'
        f'<path d="{"".join(path)}"/></svg>'
    )
