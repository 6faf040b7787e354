"""Pivot tables as HTML: fields as rows, fields as columns, measures in the cells, totals by queries of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from html import escape
from typing import Any

from aiq.dashboards.expressions import is_aggregate, to_sql
from aiq.dashboards.filters import PageScope
from aiq.dashboards.grids import cell_css, written
from aiq.dashboards.marks import rank, shown_plain
from aiq.dashboards.model import Widget, WidgetQuery, at, flag_at, objects_at, text_at
from aiq.dashboards.numbers import Numbers
from aiq.errors import AiqError

_ROWS, _COLUMNS = 500, 60
Key = tuple[str, ...]


def pivot_html(
    widget: Widget, query: WidgetQuery, numbers: Numbers, scope: PageScope, palette: tuple[str, ...]
) -> tuple[str, str]:
    """The body of a pivot's tile, and what is to be said of it. Raises AiqError in words for it."""
    encodings = at(widget.spec, "encodings")
    rows, columns = _fields(at(encodings, "rows")), _fields(at(encodings, "columns"))
    measures = _fields(at(encodings, "cell") or at(encodings, "cells") or at(encodings, "values"))
    if not measures or not (rows or columns):
        raise AiqError("the pivot names no measure, or neither rows nor columns")
    cells, labels, note = _cells(query, rows, columns, measures, numbers, scope)
    row_keys, column_keys = _sorted_keys(labels[0]), _sorted_keys(labels[1])
    if len(row_keys) > _ROWS or len(column_keys) > _COLUMNS:
        note += (
            f" The first {min(_ROWS, len(row_keys))} of {len(row_keys):,} rows and {min(_COLUMNS, len(column_keys))}"
        )
        note += f" of {len(column_keys):,} columns."
        row_keys, column_keys = row_keys[:_ROWS], column_keys[:_COLUMNS]
    aggregated = all(is_aggregate(_expression(query, text_at(each, "fieldName"))) for each in measures)
    down, across = _wants_total(rows) and aggregated and rows, _wants_total(columns) and aggregated and columns
    if across:
        extra, _, _ = _cells(query, rows, [], measures, numbers, scope)
        cells |= {(row, _TOTAL, n): value for (row, _, n), value in extra.items()}
    if down:
        extra, _, _ = _cells(query, [], columns, measures, numbers, scope)
        cells |= {(_TOTAL, column, n): value for (_, column, n), value in extra.items()}
    if down and across:
        extra, _, _ = _cells(query, [], [], measures, numbers, scope)
        cells |= {(_TOTAL, _TOTAL, n): value for (_, _, n), value in extra.items()}
    column_keys += [_TOTAL] if across else []
    row_keys += [_TOTAL] if down else []
    return _html(widget, rows, measures, row_keys, column_keys, cells, palette), note.strip()


_TOTAL: Key = ("\0total",)


def _fields(value: Any) -> list[Mapping[str, Any]]:
    """The fields of a part of the encodings, as versions 3 and 4 write them."""
    found = (
        objects_at(value, "fields")
        if isinstance(value, Mapping) and "fields" in value
        else objects_at({"a": value}, "a")
    )
    return [each for each in found if text_at(each, "fieldName")]


def _wants_total(fields: list[Mapping[str, Any]]) -> bool:
    return any(flag_at(each, "total", "show") for each in fields)


def _expression(query: WidgetQuery, name: str) -> str:
    found = next((each.expression for each in query.fields if each.name == name), None)
    if found is None:
        raise AiqError(f"the widget's query has no field {name!r}")
    return to_sql(found, {})


def _cells(
    query: WidgetQuery,
    rows: list[Mapping[str, Any]],
    columns: list[Mapping[str, Any]],
    measures: list[Mapping[str, Any]],
    numbers: Numbers,
    scope: PageScope,
) -> tuple[dict[tuple[Key, Key, int], Any], tuple[dict[Key, tuple[Any, ...]], dict[Key, tuple[Any, ...]]], str]:
    """The values by row, column and number of the measure, and the values that the keys of both stand for."""
    names = [text_at(each, "fieldName") for each in [*rows, *columns, *measures]]
    fields = []
    for name in names:
        _expression(query, name)
        fields.append(next(each for each in query.fields if each.name == name))
    figures = numbers.figures(replace(query, fields=tuple(fields), orders=()), scope)
    cells: dict[tuple[Key, Key, int], Any] = {}
    row_labels: dict[Key, tuple[Any, ...]] = {}
    column_labels: dict[Key, tuple[Any, ...]] = {}
    several = False
    middle, end = len(rows), len(rows) + len(columns)
    for values in figures.rows:
        row, column = tuple(map(shown_plain, values[:middle])), tuple(map(shown_plain, values[middle:end]))
        row_labels.setdefault(row, values[:middle])
        column_labels.setdefault(column, values[middle:end])
        for n, value in enumerate(values[end:]):
            key = (row, column, n)
            if key in cells and cells[key] is not None and value is not None:
                several = True
                try:
                    value = cells[key] + value
                except TypeError:
                    value = f"{cells[key]}, {value}"
            elif value is None:
                value = cells.get(key)
            cells[key] = value
    note = "Cells of several rows show their sum." if several else ""
    return cells, (row_labels, column_labels), f"{figures.note} {note}".strip()


def _sorted_keys(labels: Mapping[Key, tuple[Any, ...]]) -> list[Key]:
    return sorted(labels, key=lambda key: tuple(rank(value) for value in labels[key]))


def _html(
    widget: Widget,
    rows: list[Mapping[str, Any]],
    measures: list[Mapping[str, Any]],
    row_keys: list[Key],
    column_keys: list[Key],
    cells: Mapping[tuple[Key, Key, int], Any],
    palette: tuple[str, ...],
) -> str:
    def title(each: Mapping[str, Any]) -> str:
        return escape(text_at(each, "displayName") or text_at(each, "title") or text_at(each, "fieldName"))

    def label(key: Key) -> str:
        return "Total" if key is _TOTAL else escape(" / ".join(key))

    count = len(measures)
    corner = "".join(f'<th scope="col" rowspan="{2 if count > 1 else 1}">{title(each)}</th>' for each in rows)
    if count > 1:
        tops = "".join(f'<th scope="colgroup" colspan="{count}" class="c">{label(key)}</th>' for key in column_keys)
        below = "".join(f'<th scope="col" class="n">{title(each)}</th>' for _ in column_keys for each in measures)
        head = f"<tr>{corner}{tops}</tr><tr>{below}</tr>"
    else:
        named = [label(key) or title(measures[0]) for key in column_keys]
        head = f"<tr>{corner}{''.join(f'<th scope=col class=n>{each}</th>' for each in named)}</tr>"
    scales = [
        _ends(cells, n) if text_at(each, "cellType") == "color-scale" else None for n, each in enumerate(measures)
    ]
    body = []
    for row in row_keys:
        heads = ["Total", *[""] * (len(rows) - 1)] if row is _TOTAL else [escape(each) for each in row]
        line = "".join(f'<th scope="row"><bdi>{each}</bdi></th>' for each in heads[: len(rows)])
        for column in column_keys:
            for n, measure in enumerate(measures):
                value = cells.get((row, column, n))
                total = row is _TOTAL or column is _TOTAL
                style = cell_css(measure, value, palette) or ("" if total else _shade(value, scales[n]))
                text = "" if (row, column, n) not in cells else escape(written(value, measure))
                line += f'<td class="n{" total" if total else ""}{" null" if value is None else ""}"{style}>{text}</td>'
        body.append(f"<tr>{line}</tr>")
    name = escape(widget.title or "pivot table")
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{name}"><table class="grid">'
        f"<thead>{head}</thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def _ends(cells: Mapping[tuple[Key, Key, int], Any], measure: int) -> tuple[float, float] | None:
    values = [
        float(value)
        for (row, column, n), value in cells.items()
        if n == measure and row is not _TOTAL and column is not _TOTAL and isinstance(rank(value)[1], int | float)
    ]
    return (min(values), max(values)) if values else None


def _shade(value: Any, ends: tuple[float, float] | None) -> str:
    """The background of a cell on a scale of colour."""
    if ends is None or value is None or ends[0] == ends[1] or rank(value)[0] != 0:
        return ""
    share = (float(value) - ends[0]) / (ends[1] - ends[0])
    return (
        f' style="background:color-mix(in srgb,var(--accent) {share * 60:.0f}%,transparent)"' if 0 <= share <= 1 else ""
    )
