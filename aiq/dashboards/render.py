"""Draws boards: opens a session's numbers for each page, and makes the document."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING

from aiq.dashboards.bundle import bundle
from aiq.dashboards.colours import palette_of
from aiq.dashboards.document import DrawnPage, document
from aiq.dashboards.filters import default_of, scope_of
from aiq.dashboards.model import Board, Page, Selection, Tile, objects_at, text_at
from aiq.dashboards.numbers import Numbers
from aiq.dashboards.tiles import draw

if TYPE_CHECKING:
    from aiq.engines.duckdb.session import DuckDBSession


def drawn_page(board: Board, page: Page, numbers: Numbers, chosen: Mapping[str, Selection]) -> DrawnPage:
    """A page with the numbers of now, for what is chosen of its filters."""
    scope, palette = scope_of(board, page, chosen), palette_of(board.theme)
    tiles = sorted(page.tiles, key=lambda tile: (tile.y, tile.x))
    drawn = [draw(tile, numbers, scope, palette) for tile in tiles if not tile.widget.is_filter]
    filters = [choice_html(tile, chosen) for tile in tiles if tile.widget.is_filter]
    return DrawnPage(page.name, page.title, page.grid, drawn, filters)


def choice_html(tile: Tile, chosen: Mapping[str, Selection]) -> str:
    """The tile of a filter in a document that computes nothing: what is chosen."""
    widget = tile.widget
    selection = chosen[widget.name] if widget.name in chosen else default_of(widget)
    fields = objects_at(widget.spec, "encodings", "fields")
    title = widget.title or next((text for each in fields if (text := text_at(each, "displayName"))), widget.name)
    place = f"grid-area:{tile.y + 1}/{tile.x + 1}/span {tile.height}/span {tile.width}"
    return (
        f'<section class="tile filter" style="{place}"><h2>{escape(title)}</h2>'
        f'<p class="choice">{escape(described(selection))}</p></section>'
    )


def described(selection: Selection | None) -> str:
    """A selection in words."""
    if not selection:
        return "All"
    if selection.is_range:
        return f"{selection.low or '...'} to {selection.high or '...'}"
    return ", ".join(selection.values)


def html_of(
    session: DuckDBSession, board: Board, title: str, chosen: Mapping[str, Selection], now: datetime | None = None
) -> tuple[str, list[DrawnPage]]:
    """A board as one HTML document, and its pages. Raises ConfigError where the extra for charts is missing."""
    now = now or datetime.now(UTC)
    script = bundle()
    with Numbers(session, board, now) as numbers:
        pages = [drawn_page(board, page, numbers, chosen) for page in board.pages]
    return document(title, board.theme, pages, script, made=now), pages
