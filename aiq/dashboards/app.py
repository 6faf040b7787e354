"""Serves boards to a browser on this machine: an ASGI application that computes a page anew for what its URL chooses.

It knows no users: whoever reaches it sees what the home holds. A page of another site cannot read it: it answers to its
own names alone (Host), sets no CORS header, and lets no frame hold it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote

from aiq.dashboards.bundle import bundle
from aiq.dashboards.colours import theme_css
from aiq.dashboards.controls import chosen_of, control_html, form_html, query_of
from aiq.dashboards.document import bodies, framed, heading, own_file
from aiq.dashboards.files import load, name_of
from aiq.dashboards.filters import default_of, scope_of
from aiq.dashboards.model import Board, Page, Selection, Widget
from aiq.dashboards.numbers import Numbers
from aiq.dashboards.render import drawn_page
from aiq.errors import AiqError

if TYPE_CHECKING:
    from aiq.engines.duckdb.session import DuckDBSession

_LOCAL = ("localhost", "127.0.0.1", "[::1]")
_REFRESHES = (("", "off"), ("30", "30 s"), ("60", "1 min"), ("300", "5 min"))
_KEPT_PAGES = 32
_HEADERS = [
    (b"content-security-policy",
     b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src data:; form-action 'self'; "
     b"base-uri 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"), (b"x-frame-options", b"DENY"), (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"), (b"cross-origin-opener-policy", b"same-origin"),
]  # fmt: skip
_FILES = {"page.css": "text/css", "page.js": "text/javascript", "vega.js": "text/javascript"}
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class BoardApp:
    """The boards of some files, over one session. `host` is where it listens; `hosts` are further names it has."""

    def __init__(self, session: DuckDBSession, files: Sequence[Path], host: str, hosts: Sequence[str] = ()) -> None:
        self._session, self._files = session, {name_of(each): each for each in files}
        self._any_address = host in ("0.0.0.0", "::")
        self._hosts = {each.lower() for each in (*_LOCAL, host, f"[{host}]", *hosts)}
        self._running = threading.Lock()
        self._pages: OrderedDict[Any, str] = OrderedDict()
        self._vega = bundle().encode()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        status, kind, body = await self._answered(scope)
        fresh = b"no-cache" if kind == "text/html" else b"private, max-age=3600"
        headers = [*_HEADERS, (b"content-type", f"{kind}; charset=utf-8".encode()), (b"cache-control", fresh)]
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answered(self, scope: MutableMapping[str, Any]) -> tuple[int, str, bytes]:
        hosts = [value.decode("latin-1") for key, value in scope["headers"] if key == b"host"]
        if len(hosts) != 1 or not self._is_own(hosts[0]):
            return 421, "text/plain", b"This server answers to its own address alone; add a name with --allow-host.\n"
        if scope["method"] not in ("GET", "HEAD"):
            return 405, "text/plain", b"Boards are read with GET.\n"
        path = scope["path"].strip("/")
        if path in ("page.css", "page.js"):
            return 200, _FILES[path], own_file(path).encode()
        if path == "vega.js":
            return 200, _FILES[path], self._vega
        if path.startswith("board/") and (name := path.removeprefix("board/")) in self._files:
            query = scope["query_string"].decode("latin-1")
            try:
                html = await asyncio.to_thread(self._page, name, query)
            except AiqError as error:
                return 500, "text/plain", f"{error}\n".encode("utf-8", "replace")
            except ValueError:  # more values than anyone chooses
                return 400, "text/plain", b"The address chooses too much.\n"
            return 200, "text/html", html.encode("utf-8", "replace")
        if path == "":
            return 200, "text/html", self._listed().encode()
        return 404, "text/plain", b"There is no such board here.\n"

    def _is_own(self, host: str) -> bool:
        """Whether a Host header names this server, so that no other site's name leads here (DNS rebinding)."""
        name = host.lower()
        if not name.endswith("]") and ":" in name:
            name = name.rpartition(":")[0]
        if name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return self._any_address

    def _listed(self) -> str:
        links = "".join(f'<li><a href="/board/{quote(name)}">{escape(name)}</a></li>' for name in self._files)
        return framed("Dashboards", _head(None), f"<header class=board><h1>Dashboards</h1></header><ul>{links}</ul>")

    def _page(self, name: str, query: str) -> str:
        """A page as HTML: the kept one where neither the file, the tables, the choice nor the minute has changed."""
        file = self._files[name]
        board, now = load(file), datetime.now(UTC)
        pages = [page for page in board.pages if not page.is_global]
        if not pages:
            raise AiqError(f"the board {name} has no page")
        given = parse_qs(query)
        wanted = given.get("page", [""])[-1]
        page = next((each for each in pages if each.name == wanted), pages[0])
        refresh = next((value for value, _ in _REFRESHES if value == given.get("refresh", [""])[-1]), "")
        chosen = chosen_of(query, board)
        with self._running:
            key = (name, file.stat().st_mtime_ns, page.name, refresh, repr(chosen), self._version(), f"{now:%H:%M}")
            if key not in self._pages:
                self._pages[key] = self._drawn(board, page, pages, chosen, refresh, now)
                while len(self._pages) > _KEPT_PAGES:
                    self._pages.popitem(last=False)
            return self._pages[key]

    def _version(self) -> int:
        """What changes with every commit to the home's tables."""
        logs = Path(self._session.gateway.ledger.home).glob("tables/*/*/*/_delta_log")
        return hash(tuple(sorted((str(each), each.stat().st_mtime_ns) for each in logs)))

    def _drawn(
        self,
        board: Board,
        page: Page,
        pages: list[Page],
        chosen: dict[str, Selection],
        refresh: str,
        now: datetime,
    ) -> str:
        with Numbers(self._session, board, now) as numbers:

            def control(widget: Widget, title: str) -> str:
                others = {key: value for key, value in chosen.items() if key != widget.name}
                scope = scope_of(board, page, others | {widget.name: Selection()})
                selection = chosen[widget.name] if widget.name in chosen else default_of(widget)
                return control_html(widget, board, selection, numbers, scope, title)

            drawn = drawn_page(board, page, numbers, chosen, control)
            shared = [each for each in board.pages if each.is_global]
            filters = "".join(
                html
                for each in shared
                for html in drawn_page(board, _only_filters(each), numbers, chosen, control).filters
            )
        links = "".join(
            f'<a href="?{escape(query_of(chosen, board, each, refresh))}"'
            f"{' aria-current=page' if each is page else ''}>{escape(each.title)}</a>"
            for each in pages
        )
        nav = f'<nav class="pages" aria-label="Pages">{links}</nav>' if len(pages) > 1 else ""
        body, specs = bodies([drawn])
        back = '<p><a href="/">All boards</a></p>' if len(self._files) > 1 else ""
        again = f'<p><a href="?{escape(query_of(chosen, board, page, refresh))}">Refresh</a></p>'
        head = heading(board.name, now, again + back)
        bar = f'<div class="filters">{filters}{form_html(board, page, chosen, refresh, _REFRESHES)}</div>'
        scripts = '<script src="/vega.js"></script>' if specs else ""
        scripts += f'<script src="/page.js" data-refresh="{refresh}"></script>'
        return framed(board.name, _head(board), f"{head}{bar}{nav}{body}{specs}{scripts}")


def _only_filters(page: Page) -> Page:
    tiles = tuple(tile for tile in page.tiles if tile.widget.is_filter)
    return Page(page.name, page.title, tiles, page.grid, page.is_global)


def _head(board: Board | None) -> str:
    theme = f"<style>{theme_css(board.theme)}</style>" if board is not None else ""
    return f'<link rel="stylesheet" href="/page.css">{theme}'
