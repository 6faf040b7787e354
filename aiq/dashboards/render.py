"""Draws boards: opens a session's numbers for each page, and makes the document."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING

from aiq.dashboards.bundle import bundle
from aiq.dashboards.colours import palette_of
from aiq.dashboards.document import DrawnPage, document
from aiq.dashboards.filters import default_of, scope_of
from aiq.dashboards.formats import when
from aiq.dashboards.model import Board, Page, Selection, Tile, Widget, objects_at, text_at
from aiq.dashboards.numbers import Numbers
from aiq.dashboards.parameters import moment
from aiq.dashboards.tiles import draw

if TYPE_CHECKING:
    from aiq.engines.duckdb.session import DuckDBSession


def drawn_page(
    board: Board,
    page: Page,
    numbers: Numbers,
    chosen: Mapping[str, Selection],
    control: Callable[[Widget, str], str] | None = None,
) -> DrawnPage:
    """A page with the numbers of now, for what is chosen of its filters.

    `control` makes the HTML of a filter from it and its title; without it the filter says what is chosen.
    """
    scope, palette = scope_of(board, page, chosen), palette_of(board.theme)
    tiles = sorted(page.tiles, key=lambda tile: (tile.y, tile.x))
    drawn = [draw(tile, numbers, scope, palette) for tile in tiles if not tile.widget.is_filter]
    filters = [_filter_html(tile, chosen, numbers.now, control) for tile in tiles if tile.widget.is_filter]
    return DrawnPage(page.name, page.title, page.grid, drawn, filters, is_global=page.is_global)


def _filter_html(
    tile: Tile, chosen: Mapping[str, Selection], now: datetime, control: Callable[[Widget, str], str] | None
) -> str:
    """The tile of a filter."""
    widget = tile.widget
    selection = chosen[widget.name] if widget.name in chosen else default_of(widget)
    fields = objects_at(widget.spec, "encodings", "fields")
    title = widget.title or next((text for each in fields if (text := text_at(each, "displayName"))), widget.name)
    place = f"grid-area:{tile.y + 1}/{tile.x + 1}/span {tile.height}/span {tile.width}"
    said = f'<p class="choice">{escape(described(selection, now))}</p>'
    inner = said if control is None else control(widget, title)
    return f'<section class="tile filter" style="{place}"><h2>{escape(title)}</h2>{inner}</section>'


def described(selection: Selection | None, now: datetime) -> str:
    """A selection in words; relative times as the times that they are now, in UTC."""
    if not selection:
        return "All"

    def said(text: str, *, high: bool = False) -> str:
        if not selection.data_type.startswith("DATE"):
            return text
        try:
            found = moment(text, now, high=high)
        except (ValueError, OverflowError):
            return text
        return when(found.date() if selection.data_type == "DATE" else found.replace(second=0, microsecond=0))

    if selection.is_range:
        low, high = selection.low, selection.high
        return f"{said(low) if low else '...'} to {said(high, high=True) if high else '...'}"
    return ", ".join(said(value) for value in selection.values)


def drawn_pages(
    session: DuckDBSession, board: Board, chosen: Mapping[str, Selection], now: datetime | None = None
) -> list[DrawnPage]:
    """All pages of a board."""
    with Numbers(session, board, now) as numbers:
        return [drawn_page(board, page, numbers, chosen) for page in board.pages]


def html_of(
    session: DuckDBSession, board: Board, title: str, chosen: Mapping[str, Selection], now: datetime | None = None
) -> tuple[str, list[DrawnPage]]:
    """A board as one HTML document, and its pages. Raises ConfigError where the extra for charts is missing."""
    now, script = now or datetime.now(UTC), bundle()
    pages = drawn_pages(session, board, chosen, now)
    return document(title, board.theme, pages, script, made=now), pages
