"""A board as one HTML document: style, script and data within it, and no reference to any other place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from aiq.dashboards.colours import theme_css
from aiq.dashboards.tiles import DrawnTile, tile_html

_HERE = Path(__file__).parent
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; base-uri 'none'"


class DrawnPage:
    """A page with its tiles drawn. `filters` are the tiles of its filters as HTML; a global page's hold for all."""

    def __init__(
        self,
        name: str,
        title: str,
        grid: int,
        tiles: list[DrawnTile],
        filters: list[str],
        *,
        is_global: bool = False,
    ) -> None:
        self.name, self.title, self.grid, self.tiles, self.filters = name, title, grid, tiles, filters
        self.is_global = is_global


def document(title: str, theme: Mapping[str, Any], pages: list[DrawnPage], script: str, *, made: datetime) -> str:
    """The document of pages, one below the other, with all that it needs. `script` is Vega's."""
    shared = "".join(each for page in pages if page.is_global for each in page.filters)
    pages = [page for page in pages if not page.is_global or page.tiles]
    body, specs = bodies(pages)
    links = "".join(f'<a href="#page-{n}">{escape(page.title)}</a>' for n, page in enumerate(pages, 1))
    nav = f'<nav class="pages" aria-label="Pages">{links}</nav>' if len(pages) > 1 else ""
    filters = f'<div class="filters">{shared}</div>' if shared else ""
    drawing = f"<script>{safe_script(script)}</script>" if specs else ""
    return framed(
        title,
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<style>{own_file('page.css')}{theme_css(theme)}</style>",
        f"{heading(title, made)}{filters}{nav}{body}{specs}{drawing}<script>{own_file('page.js')}</script>",
    )


def bodies(pages: list[DrawnPage]) -> tuple[str, str]:
    """The HTML of pages, and the data of their charts."""
    body, specs = [], []
    number = 0
    for place, page in enumerate(pages, 1):
        tiles = [] if page.is_global else list(page.filters)
        for drawn in page.tiles:
            number += 1
            tiles.append(tile_html(drawn, number))
            if drawn.spec is not None:
                data = script_json(drawn.spec)
                specs.append(f'<script type="application/json" data-chart="chart-{number}">{data}</script>')
        named = f"<h2>{escape(page.title)}</h2>" if len(pages) > 1 else ""
        grid = f'<div class="tiles" style="--columns:{page.grid}">{"".join(tiles)}</div>'
        body.append(f'<main class="page" id="page-{place}">{named}{grid}</main>')
    return "".join(body), "".join(specs)


def heading(title: str, made: datetime, more: str = "") -> str:
    """The head of a board: its title and when it was made."""
    when = f"{made.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return f'<header class="board"><h1>{escape(title)}</h1><p>{when}</p>{more}</header>'


def framed(title: str, head: str, body: str) -> str:
    """A whole document."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta name="referrer" content="no-referrer"><title>{escape(title)}</title>{head}</head>'
        f"<body>{body}</body></html>"
    )


def script_json(value: Any) -> str:
    """JSON that may stand in a script element: nothing in it can end the element or begin a comment."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def safe_script(text: str) -> str:
    """Script text that does not end the element it stands in."""
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def own_file(name: str) -> str:
    """A file of this package."""
    return (_HERE / name).read_text(encoding="utf-8")
