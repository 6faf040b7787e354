"""The values of a chart, as Vega-Lite takes them: rows with the keys x, y, color, size, and texts for the tooltip.

Keys are ours, so that no name of a field means anything to Vega; texts of the tooltip are made here, in UTC.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from aiq.dashboards.formats import shown
from aiq.dashboards.model import at, flag_at, objects_at, text_at
from aiq.dashboards.numbers import Figures
from aiq.dashboards.parameters import plain_text
from aiq.errors import AiqError

CATEGORIES, SERIES, MARKS = 60, 20, 5_000
"""What a person can still see of an axis, of a legend and of a plane."""


@dataclass(frozen=True, slots=True)
class Channel:
    """One field of a chart: where it stands in the rows, how it is scaled, what it is called."""

    key: str
    place: int
    kind: str
    """categorical, quantitative or temporal"""
    title: str
    spec: Mapping[str, Any]

    @property
    def format(self) -> Any:
        """Databricks' format object, None where there is none."""
        return at(self.spec, "format")


def channel(key: str, spec: Mapping[str, Any], figures: Figures, parent: Any = None) -> Channel | None:
    """The channel of an encoding, None where it has no field. Raises AiqError for a field that the query lacks.

    `parent` is the encoding that a list of fields stands in, with their scale.
    """
    name = text_at(spec, "fieldName")
    if not name:
        return None
    place = figures.column(name)
    if place is None:
        raise AiqError(f"the widget's query has no field {name!r}")
    kind = text_at(spec, "scale", "type") or text_at(parent, "scale", "type") or kind_of(figures.types[place])
    return Channel(key, place, kind, text_at(spec, "displayName") or name, spec)


def channels(key: str, spec: Any, figures: Figures) -> list[Channel]:
    """The channels of an encoding with one field, or with several (`fields`)."""
    several = objects_at(spec, "fields")
    found = [channel(key, each, figures, spec) for each in several or objects_at({"one": spec}, "one")]
    return [each for each in found if each is not None]


def kind_of(type_name: str) -> str:
    """How values of a type are scaled where the file does not say."""
    if type_name.startswith(("TIMESTAMP", "DATE")):
        return "temporal"
    base = type_name.split("(")[0]
    numeric = base in ("DECIMAL", "DOUBLE", "FLOAT") or (base.endswith("INT") or base.endswith("INTEGER"))
    return "quantitative" if numeric else "categorical"


def scaled(value: Any, kind: str) -> Any:
    """A value as its scale takes it: a finite number, milliseconds since 1970 in UTC, or a text. None: no mark."""
    if value is None:
        return None
    if kind == "quantitative":
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                return None
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            return None
        return float(value) if math.isfinite(value) else None
    if kind == "temporal":
        return milliseconds(value)
    return shown_plain(value)


def milliseconds(value: Any) -> float | None:
    """A date or time (UTC where it names no zone) as milliseconds since 1970; None where it is none."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime):
        return None
    when = value if value.tzinfo else value.replace(tzinfo=UTC)
    return (when - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000


def shown_plain(value: Any) -> str:
    """A value as the label of a category, one text for each value: numbers in full, so that 2026 is a year."""
    if isinstance(value, bool):
        return shown(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float | Decimal) and math.isfinite(value):
        exact = Decimal(repr(value)) if isinstance(value, float) else value
        text = f"{exact:f}" if abs(exact.adjusted()) < 16 else str(value)
        return text.rstrip("0").rstrip(".") if "." in text and "e" not in text.lower() else text
    if isinstance(value, datetime) and value.microsecond % 1000:
        return plain_text(value)
    return shown(value)


def rank(value: Any) -> tuple[int, Any]:
    """What values of any types are sorted by: numbers, times, texts, then NaN and null."""
    if value is None:
        return 4, ""
    if isinstance(value, int | float | Decimal):
        return (0, value) if value == value else (3, "")
    if isinstance(value, date):
        return 1, milliseconds(value)
    return 2, shown_plain(value)


def ordered(values: Iterable[Any]) -> list[Any]:
    """Distinct values in ascending order."""
    return sorted({shown_plain(value): value for value in values}.values(), key=rank)


def category_order(channel: Channel, rows: list[dict[str, Any]], measure: str) -> list[str]:
    """The categories of an axis in the order that the file asks for; ascending where it asks for none.

    `measure` is the key whose sum `y` sorts by.
    """
    by = text_at(channel.spec, "scale", "sort", "by")
    in_data = list(dict.fromkeys(row[channel.key + "_text"] for row in rows))
    if by in ("natural-order", "natural-order-reversed"):
        return in_data[::-1] if by.endswith("reversed") else in_data
    if by == "custom-order":
        wanted = at(channel.spec, "scale", "sort", "orderedValues")
        first = [shown_plain(each) for each in wanted] if isinstance(wanted, list) else []
        return list(dict.fromkeys([*(each for each in first if each in set(in_data)), *_ascending(channel, rows)]))
    axis = "y" if channel.key == "x" else "x"
    if by in (axis, f"{axis}-reversed", "value", "value-reversed"):
        sums: dict[str, float] = defaultdict(float)
        for row in rows:
            sums[row[channel.key + "_text"]] += _size(row, measure)
        return sorted(_ascending(channel, rows), key=lambda each: sums[each], reverse=by.endswith("reversed"))
    found = _ascending(channel, rows)
    return found[::-1] if by.endswith("reversed") else found


def _size(row: Mapping[str, Any], measure: str) -> float:
    """The measure of a row where it is a number, else 0."""
    value = row.get(measure)
    return value if isinstance(value, float) else 0.0


def _ascending(channel: Channel, rows: list[dict[str, Any]]) -> list[str]:
    return [shown_plain(each) for each in ordered(row[channel.key + "_raw"] for row in rows)]


@dataclass(frozen=True, slots=True)
class Marks:
    """The rows of a chart. `note` says what of them is not drawn."""

    rows: list[dict[str, Any]]
    note: str = ""

    def values(self) -> list[dict[str, Any]]:
        """The rows without what only we need."""
        return [{key: value for key, value in row.items() if not key.endswith("_raw")} for row in self.rows]

    def noted(self, note: str) -> Marks:
        """The same with one more note."""
        return replace(self, note=f"{self.note} {note}".strip()) if note else self


def marks(figures: Figures, channels: list[Channel], extra: list[Channel] | None = None) -> Marks:
    """A row of a chart for each row of the query: key, key_text and key_raw of each channel."""
    rows = []
    for values in figures.rows:
        row: dict[str, Any] = {}
        for each in [*channels, *(extra or ())]:
            value = values[each.place]
            row[each.key] = scaled(value, each.kind)
            row[each.key + "_text"] = shown_plain(value) if each.kind == "categorical" else shown(value, each.format)
            row[each.key + "_raw"] = value
            if each.kind == "categorical" and value is None:
                row[each.key] = row[each.key + "_text"]
        rows.append(row)
    return Marks(rows, figures.note)


def folded(figures: Figures, fixed: list[Channel], measures: list[Channel], key: str) -> Marks:
    """Several measures as series: a row for each of them, its title as `color`, its value as `key`."""
    parts = [marks(figures, [*fixed, replace(each, key=key)]).rows for each in measures]
    rows = []
    for group in zip(*parts, strict=True):
        for measure, row in zip(measures, group, strict=True):
            rows.append(row | {"color": measure.title, "color_text": measure.title, "color_raw": measure.title})
    return Marks(rows, figures.note)


def summed(found: Marks, keys: list[str], measure: str, format: Any) -> Marks:
    """Rows of the same keys as one, their measures added up, as stacked bars of them would stand.

    A group without a number stays without one.
    """
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in found.rows:
        group = groups.setdefault(tuple(row[key] for key in keys), row | {measure: None, "added": 0})
        if row[measure] is not None:
            group[measure] = row[measure] + (group[measure] or 0.0)
            group["added"] += 1
    rows = []
    for row in groups.values():
        if row.pop("added") > 1:
            row[measure + "_text"] = shown(row[measure], format)
        rows.append(row)
    return Marks(rows, found.note)


def piled(found: Marks, base: str, measure: str, how: str | None) -> Marks:
    """Rows with `<measure>_low`, `_middle` and `_high`, where their part of a bar begins and ends.

    `how` is zero (one on the other, negative ones downwards), normalize (shares of 1), or None (each from 0).
    """
    up: dict[Any, float] = defaultdict(float)
    down: dict[Any, float] = defaultdict(float)
    totals: dict[Any, float] = defaultdict(float)
    for row in found.rows:
        totals[row[base]] += abs(_size(row, measure))
    rows = []
    for row in found.rows:
        value, at_base = row[measure], row[base]
        if value is None:
            rows.append(row | {f"{measure}_{end}": None for end in ("low", "middle", "high")})
            continue
        if how == "normalize":
            value = value / totals[at_base] if totals[at_base] else 0.0
        side = up if value >= 0 else down
        low = 0.0 if how is None else side[at_base]
        side[at_base] += value
        ends = {f"{measure}_low": low, f"{measure}_middle": low + value / 2, f"{measure}_high": low + value}
        rows.append(row | ends)
    return Marks(rows, found.note)


def cut(found: Marks, key: str, measure: str, most: int, what: str, order: list[str] | None = None) -> Marks:
    """The rows of at most `most` categories: those that come first in `order`, or the largest by their measure."""
    sizes: dict[str, float] = defaultdict(float)
    for row in found.rows:
        sizes[row[key + "_text"]] += abs(_size(row, measure))
    if len(sizes) <= most:
        return found
    kept = set(order[:most]) if order else set(sorted(sizes, key=lambda each: (-sizes[each], each))[:most])
    which = "first" if order else "largest"
    rows = [row for row in found.rows if row[key + "_text"] in kept]
    return Marks(rows, found.note).noted(f"The {most} {which} of {len(sizes):,} {what}.")


def sorts_by_value(channel: Channel) -> bool:
    """Whether a file wants the categories of an axis in an order that says which come first."""
    by = text_at(channel.spec, "scale", "sort", "by")
    return by in ("y", "y-reversed", "x", "x-reversed", "value", "value-reversed", "custom-order", "natural-order")


def hides(spec: Any, what: str) -> bool:
    """Whether an axis hides its title or labels."""
    return flag_at(spec, "axis", f"hide{what}")
