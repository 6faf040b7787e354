"""Tables as HTML: formats, links, colour rules. What a cell holds is text, whatever it looks like."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from html import escape
from typing import Any

from aiq.dashboards.colours import colour_of, meets
from aiq.dashboards.formats import NULL, by_moment, patterned, shown
from aiq.dashboards.markdown import link
from aiq.dashboards.marks import rank, shown_plain
from aiq.dashboards.model import Widget, at, flag_at, objects_at, text_at
from aiq.dashboards.numbers import Figures

PAGE_ROWS = 25
_LONGEST = 2_000
"""Characters of a cell."""
_HOLE = re.compile(r"\{\{\s*(@|[^{}]+?)\s*\}\}")


@dataclass(frozen=True, slots=True)
class GridColumn:
    """A column of a table: where it stands in the rows, its title, and the file's object for it."""

    place: int
    title: str
    spec: Mapping[str, Any]
    numeric: bool


def table_html(widget: Widget, figures: Figures, palette: tuple[str, ...]) -> tuple[str, str]:
    """The body of a table's tile, and what is to be said of it."""
    columns, missing = _columns(widget, figures)
    note = f"The query has no field {', '.join(missing)}." if missing else ""
    if not columns:
        return "<p>The table has no columns.</p>", note
    rows = _sorted(widget, figures, columns)
    numbered = flag_at(widget.spec, "withRowNumber")
    head = '<th scope="col" class="n">#</th>' if numbered else ""
    for each in columns:
        titled = f' title="{escape(text_at(each.spec, "description"))}"' if text_at(each.spec, "description") else ""
        head += f'<th scope="col" class="{_align(each)}"{titled}>{escape(each.title)}</th>'
    body = []
    for number, row in enumerate(rows, 1):
        cells = f'<td class="n">{number:,}</td>' if numbered else ""
        body.append(f"<tr>{cells}{''.join(_cell(each, row, figures, palette) for each in columns)}</tr>")
    size = at(widget.spec, "itemsPerPage")
    size = size if isinstance(size, int) and not isinstance(size, bool) and 0 < size <= 1000 else PAGE_ROWS
    title = escape(widget.title or "table")
    html = (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{title}"><table class="grid" data-page="{size}">'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )
    return html, note


def _columns(widget: Widget, figures: Figures) -> tuple[list[GridColumn], list[str]]:
    """The columns to show, in order, and the names of those that the query lacks."""
    wanted = objects_at(widget.spec, "encodings", "columns")
    if not wanted:
        wanted = [{"fieldName": name} for name in figures.names]
    found, missing = [], []
    for each in wanted:
        name = text_at(each, "fieldName")
        if at(each, "visible") is False:
            continue
        place = figures.column(name)
        if place is None:
            missing.append(name or "without a name")
            continue
        title = text_at(each, "displayName") or text_at(each, "title") or name
        kind = figures.types[place].split("(")[0]
        numeric = kind in ("DOUBLE", "FLOAT", "DECIMAL") or kind.endswith(("INT", "INTEGER"))
        found.append(GridColumn(place, title, each, numeric))
    if all(isinstance(each.spec.get("order"), int | float) for each in found):
        found.sort(key=lambda each: float(each.spec["order"]))
    return found, missing


def _sorted(widget: Widget, figures: Figures, columns: list[GridColumn]) -> list[tuple[Any, ...]]:
    """The rows in the order that the table asks for, else as the query has them."""
    rows = list(figures.rows)
    wanted = objects_at(widget.spec, "encodings", "columns")
    for each in reversed(objects_at(widget.spec, "encodings", "rowOrder")):
        name, index = text_at(each, "field", "fieldName"), at(each, "field", "index")
        if not name and isinstance(index, int) and 0 <= index < len(wanted):
            name = text_at(wanted[index], "fieldName")
        place = figures.column(name)
        if place is None:
            continue
        down = text_at(each, "by").endswith("reversed")
        rows.sort(key=lambda row, at=place: rank(row[at]), reverse=down)  # type: ignore[misc]
    return rows


def _align(column: GridColumn) -> str:
    asked = text_at(column.spec, "alignContent")
    return {"left": "l", "right": "n", "center": "c"}.get(asked, "n" if column.numeric else "l")


def _cell(column: GridColumn, row: tuple[Any, ...], figures: Figures, palette: tuple[str, ...]) -> str:
    value = row[column.place]
    classes = _align(column) + (" null" if value is None else "") + (" time" if isinstance(value, date) else "")
    style = _cell_style(column, value, row, figures, palette)
    text = written(value, column.spec)
    cut = text if len(text) <= _LONGEST else text[:_LONGEST] + " ..."
    html = f'<bdi class="text">{escape(cut)}</bdi>'
    if value is not None and (url := _url(column.spec, value, row, figures)) is not None:
        html = link(url[0], f'<bdi class="text">{escape(url[1] or cut)}</bdi>')
    return f'<td class="{classes}"{style}>{html}</td>'


def written(value: Any, spec: Mapping[str, Any]) -> str:
    """A value of a cell as text, by the column's formats, of the newer or older form."""
    if value is None:
        return NULL
    if isinstance(value, bool):
        words = at(spec, "booleanValues")
        return str(words[int(value)]) if isinstance(words, list) and len(words) == 2 else shown(value)
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, ensure_ascii=False, default=shown)
    if isinstance(value, int | float | Decimal):
        pattern = text_at(spec, "numberFormat")
        if pattern and text_at(spec, "displayAs") in ("number", ""):
            return patterned(value, pattern, percent_of_one=at(spec, "scalePercentBy100") is not False)
        if text_at(spec, "displayAs") == "string" and isinstance(value, int):
            return str(value)
    if isinstance(value, date) and text_at(spec, "dateTimeFormat"):
        return by_moment(value, text_at(spec, "dateTimeFormat"))
    return shown(value, at(spec, "format"))


def _url(spec: Mapping[str, Any], value: Any, row: tuple[Any, ...], figures: Figures) -> tuple[str, str] | None:
    """The link of a cell and its words, None where it has none."""
    newer = at(spec, "link")
    if isinstance(newer, Mapping):
        template = text_at(newer, "url") or text_at(newer, "urlTemplate") or text_at(newer, "href")
        return (_filled(template, value, row, figures), "") if template else None
    if text_at(spec, "displayAs") != "link":
        return None
    template = text_at(spec, "linkUrlTemplate") or "{{ @ }}"
    words = text_at(spec, "linkTextTemplate")
    return _filled(template, value, row, figures), _filled(words, value, row, figures) if words else ""


def _filled(template: str, value: Any, row: tuple[Any, ...], figures: Figures) -> str:
    def hole(found: re.Match[str]) -> str:
        if found[1] == "@":
            return shown_plain(value)
        place = figures.column(found[1].strip("`"))
        return shown_plain(row[place]) if place is not None else ""

    return _HOLE.sub(hole, template)


def _cell_style(
    column: GridColumn, value: Any, row: tuple[Any, ...], figures: Figures, palette: tuple[str, ...]
) -> str:
    """The colours of a cell: of the first rule that it meets."""
    if found := cell_css(column.spec, value, palette):
        return found
    for rule in objects_at(column.spec, "cellFormat", "rules"):
        place = figures.column(text_at(rule, "if", "column"))
        compared = row[place] if place is not None else value
        if meets(compared, text_at(rule, "if", "fn"), at(rule, "if", "literal")):
            colours = at(rule, "value")
            return _css(
                colour_of(at(colours, "foregroundColor"), palette), colour_of(at(colours, "backgroundColor"), palette)
            )
    plain = at(column.spec, "cellFormat", "default")
    return _css(colour_of(at(plain, "foregroundColor"), palette), colour_of(at(plain, "backgroundColor"), palette))


def cell_css(spec: Mapping[str, Any], value: Any, palette: tuple[str, ...]) -> str:
    """The colours that the first rule which a value meets gives to its cell, as an attribute; "" for none."""
    for rule in objects_at(spec, "style", "rules"):
        operand = at(rule, "condition", "operand", "value")
        if meets(value, text_at(rule, "condition", "operator"), operand):
            return _css(colour_of(at(rule, "color"), palette), colour_of(at(rule, "backgroundColor"), palette))
    return ""


def _css(front: str | None, back: str | None) -> str:
    rules = [f"color:{front}"] * (front is not None) + [f"background:{back}"] * (back is not None)
    return f' style="{";".join(rules)}"' if rules else ""
