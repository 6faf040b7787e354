"""Boards over HTTP: what a URL chooses, who is answered, and which headers every answer carries."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlencode

import pytest

from aiq.dashboards import app as application
from aiq.dashboards.app import BoardApp
from aiq.dashboards.controls import chosen_of, query_of
from aiq.dashboards.model import Selection
from tests.unit.dashboards.boards import board, widget

SQL = "SELECT * FROM VALUES ('a', 1, DATE'2026-01-01'), ('b\"<i>', 2, DATE'2026-01-02') AS t(k, n, day)"


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    text: str


def choice(kind: str, name: str, **more: Any) -> dict[str, Any]:
    found = widget(kind, {name: f"`{name}`"}, {"fields": [{"fieldName": name, "queryName": "main_query"}]}, **more)
    found["widget"]["name"] = name
    return found


FILE = {
    "datasets": [{"name": "data", "queryLines": [SQL]}],
    "pages": [
        {"name": "one", "displayName": "One", "layout": [
            widget("counter", {"n": "SUM(`n`)"}, {"value": {"fieldName": "n"}}),
            choice("filter-multi-select", "k"), choice("filter-date-range-picker", "day"),
        ]},
        {"name": "two", "displayName": "Two", "layout": [widget("table", {"k": "`k`"}, {})]},
    ],
}  # fmt: skip


@pytest.fixture
def served(session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BoardApp:
    monkeypatch.setattr(application, "bundle", lambda: "/* vega */")
    file = tmp_path / "sales.lvdash.json"
    file.write_text(json.dumps(FILE))
    return BoardApp(session, [file], "127.0.0.1", ["boards.example"])


def get(app: BoardApp, path: str, query: str = "", host: str = "127.0.0.1:8088", method: str = "GET") -> Reply:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", host.encode())] if host else []
    scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": headers}
    asyncio.run(app(scope, None, send))
    found = {key.decode(): value.decode() for key, value in sent[0]["headers"]}
    return Reply(sent[0]["status"], found, sent[1]["body"].decode())


def number(reply: Reply) -> str:
    return reply.text.partition('<p class="number')[2].partition(">")[2].partition("<")[0]


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, "3"),
        ({"f.k": ["", "a"]}, "1"),
        ({"f.k": ['b"<i>']}, "2"),
        ({"f.k": [""]}, "3"),
        ({"f.day.from": "2026-01-02", "f.day.to": ""}, "2"),
        ({"f.day.from": "", "f.day.to": "2026-01-01"}, "1"),
        ({"f.k": ["a"], "f.day.from": "2026-01-02"}, "null"),
        ({"f.k": ["a') OR 1=1 --"]}, "null"),
    ],
)
def test_the_url_chooses(served: BoardApp, chosen: Any, expected: str) -> None:
    reply = get(served, "/board/sales", urlencode({"page": "one", **chosen}, doseq=True))
    assert (reply.status, number(reply)) == (200, expected)


def test_links_between_pages_keep_what_is_chosen(served: BoardApp) -> None:
    reply = get(served, "/board/sales", urlencode({"f.k": "a", "refresh": "60"}))
    link = reply.text.partition('<nav class="pages"')[2].split('href="?')[2].partition('"')[0].replace("&amp;", "&")
    assert parse_qs(link) == {"page": ["two"], "refresh": ["60"], "f.k": ["a"]}
    assert "<bdi" in get(served, "/board/sales", link).text


def test_controls_offer_the_values_and_show_what_is_chosen(served: BoardApp) -> None:
    text = get(served, "/board/sales", urlencode({"f.k": 'b"<i>'})).text
    assert '<option value="b&quot;&lt;i&gt;" selected>' in text and '<option value="a">' in text
    text = get(served, "/board/sales", urlencode({"f.day.from": '"><script>'})).text
    assert 'value="&quot;&gt;&lt;script&gt;"' in text and "<script>" not in text


def test_what_cannot_be_read_of_a_filter_is_said_on_the_tile(served: BoardApp) -> None:
    reply = get(served, "/board/sales", urlencode({"f.day.from": "soon"}))
    assert reply.status == 200 and "&#x27;soon&#x27; is no DATE" in reply.text


def test_state_goes_into_the_url_and_comes_back() -> None:
    found = board(SQL, choice("filter-multi-select", "k"), choice("filter-date-range-picker", "day"))
    page = found.pages[0]
    for chosen in (
        {},
        {"k": Selection(("a&b=c", "ü"))},
        {"k": Selection()},
        {"day": Selection((), "now-7d/d", None, "DATE")},
    ):
        assert chosen_of(query_of(chosen, found, page, ""), found) == chosen


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8088", "[::1]:8088", "LOCALHOST:1", "boards.example"])
def test_own_names_are_answered(served: BoardApp, host: str) -> None:
    assert get(served, "/", host=host).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:8088", "", "10.0.0.7", "localhost@evil.example"]
)
def test_other_names_are_not(served: BoardApp, host: str) -> None:
    reply = get(served, "/board/sales", host=host)
    assert reply.status == 421 and "number" not in reply.text


def test_a_server_of_any_address_answers_to_addresses(session: Any, served: BoardApp, tmp_path: Path) -> None:
    wide = BoardApp(session, [tmp_path / "sales.lvdash.json"], "0.0.0.0")
    assert get(wide, "/", host="10.0.0.7:8088").status == 200
    assert get(wide, "/", host="evil.example").status == 421


def test_every_answer_keeps_other_sites_out(served: BoardApp) -> None:
    for path in ("/", "/board/sales", "/vega.js", "/page.css", "/page.js", "/nothing"):
        reply = get(served, path)
        assert "access-control-allow-origin" not in reply.headers
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe-eval" not in policy
        assert reply.headers["x-content-type-options"] == "nosniff"
    assert get(served, "/board/../../etc/passwd").status == 404
    assert get(served, "/board/sales", method="POST").status == 405
    assert get(served, "/board/sales", "f.k=a&" * 2000).status == 400


def test_a_page_is_computed_again_when_its_file_changes(served: BoardApp, tmp_path: Path) -> None:
    assert number(get(served, "/board/sales")) == "3"
    changed = json.loads(json.dumps(FILE).replace("SUM(`n`)", "MAX(`n`)"))
    (tmp_path / "sales.lvdash.json").write_text(json.dumps(changed, indent=1))
    assert number(get(served, "/board/sales")) == "2"
    (tmp_path / "sales.lvdash.json").write_text("{")
    assert get(served, "/board/sales").status == 500
