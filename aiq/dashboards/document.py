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
    """A page with its tiles drawn. `filters` are the tiles of its filters as HTML."""

    def __init__(self, name: str, title: str, grid: int, tiles: list[DrawnTile], filters: list[str]) -> None:
        self.name, self.title, self.grid, self.tiles, self.filters = name, title, grid, tiles, filters


def document(
    title: str, theme: Mapping[str, Any], pages: list[DrawnPage], script: str, *, made: datetime, policy: str = _POLICY
) -> str:
    """The document of pages, one below the other. `script` is Vega's."""
    body, specs = [], []
    number = 0
    for page in pages:
        tiles = list(page.filters)
        for drawn in page.tiles:
            number += 1
            tiles.append(tile_html(drawn, number))
            if drawn.spec is not None:
                specs.append(
                    f'<script type="application/json" data-chart="chart-{number}">{script_json(drawn.spec)}</script>'
                )
        heading = f"<h2>{escape(page.title)}</h2>" if len(pages) > 1 else ""
        grid = f'<div class="tiles" style="--columns:{page.grid}">{"".join(tiles)}</div>'
        body.append(f'<main class="page" id="page-{escape(page.name)}">{heading}{grid}</main>')
    links = "".join(f'<a href="#page-{escape(page.name)}">{escape(page.title)}</a>' for page in pages)
    nav = f'<nav class="pages" aria-label="Pages">{links}</nav>' if len(pages) > 1 else ""
    when = f"{made.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    drawing = f"<script>{safe_script(script)}</script>" if specs else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{escape(title)}</title><style>{_own('page.css')}{theme_css(theme)}</style></head><body>"
        f'<header class="board"><h1>{escape(title)}</h1><p>{when}</p></header>{nav}{"".join(body)}'
        f"{''.join(specs)}{drawing}<script>{_own('page.js')}</script></body></html>"
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


def _own(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
