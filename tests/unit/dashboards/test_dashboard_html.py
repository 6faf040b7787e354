"""Counters, tables, pivots, texts and the whole document: what stands in them, and that data stays data."""

from __future__ import annotations

import json
import re
from datetime import date, datetime
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import pytest

from aiq.dashboards.document import DrawnPage, document, safe_script
from aiq.dashboards.formats import by_moment, number, patterned, when
from aiq.dashboards.markdown import to_html
from aiq.dashboards.tiles import tile_html
from tests.unit.dashboards.boards import GREEN, NOW, RED, OpenBoard, board, widget

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\u202e\u05d0 & \"'`"
MONEY = {"type": "number-currency", "currencyCode": "USD", "decimalPlaces": {"type": "exact", "places": 2}}
HEAD = "<thead><tr><th>a</th><th>b</th></tr></thead>"
SAFE = 'rel="noopener noreferrer" target="_blank"'
COMPACT = {"type": "number-plain", "abbreviation": "compact", "decimalPlaces": {"type": "max", "places": 1}}


def html_of(session: Any, sql: str, tile: Any) -> str:
    found = OpenBoard(session, board(sql, tile)).drawn()
    assert not found.problem
    return found.html


def words(html: str) -> list[str]:
    """The texts of an HTML, without its elements."""
    found: list[str] = []
    parser = HTMLParser()
    parser.handle_data = lambda text: found.append(text) if text.strip() else None  # type: ignore[method-assign]
    parser.feed(html)
    return found


@pytest.mark.parametrize(
    ("value", "format", "text"),
    [
        (1234567, {}, "1,234,567"),
        (3649.9999999999877, {}, "3,650"),
        (0.00012345, {}, "0.00012"),
        (-0.0, {}, "0"),
        (Decimal("12345678901234567890.5"), {}, "12,345,678,901,234,567,890.5"),
        (2**63 - 1, {"hideGroupSeparator": True}, "9223372036854775807"),
        (1e308, MONEY, "1e+308"),
        (float("nan"), MONEY, "NaN"),
        (float("-inf"), COMPACT, "-∞"),
        (-1234.5, MONEY, "-$1,234.50"),
        (0.125, {"type": "number-percent", "decimalPlaces": {"type": "max", "places": 0}}, "13%"),
        (999_999, COMPACT, "1M"),
        (996_000, COMPACT, "996K"),
        (1_500_000_000, COMPACT, "1.5B"),
        (12, MONEY | {"currencyCode": "CHF"}, "CHF 12.00"),
    ],
)
def test_numbers_by_databricks_formats(value: Any, format: Any, text: str) -> None:
    assert number(value, format) == text


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("0", "1235"),
        ("0,", "1,235"),
        ("0.00", "1234.50"),
        ("$0,.00", "$1,234.50"),
        ("0.0%", "123450.0%"),
        ("x", "1,234.5"),
    ],
)
def test_numbers_by_patterns_of_older_tables(pattern: str, text: str) -> None:
    assert patterned(1234.5, pattern) == text


def test_times_are_in_utc() -> None:
    moment = datetime.fromisoformat("2026-03-01T01:02:03.456+02:00")
    assert (when(moment), when(date(2026, 3, 1))) == ("2026-02-28 23:02:03.456", "2026-03-01")
    assert by_moment(moment, "DD/MM/YYYY HH:mm:ss.SSS [at] MMM D") == "28/02/2026 23:02:03.456 at Feb 28"


def test_a_counter_shows_its_value_its_target_and_its_colour(session: Any) -> None:
    value = {"fieldName": "v", "format": MONEY, "style": {"rules": [{"condition": {"operator": ">="}, "color": GREEN}]}}
    target = {"fieldName": "t", "displayName": "Budget"}
    tile = widget("counter", {"v": "`v`", "t": "`t`"}, {"value": value, "target": target}, disaggregated=True)
    html = html_of(session, "SELECT 12.5D AS v, 10 AS t", tile)
    assert words(html) == ["$12.50", "Budget: 10"] and f"color:{GREEN}" in html


def test_a_counter_with_a_period_shows_the_latest_and_a_line(session: Any) -> None:
    encodings = {"value": {"fieldName": "n"}, "period": {"fieldName": "day"}}
    tile = widget("counter", {"day": "`day`", "n": "SUM(`n`)"}, encodings)
    sql = "SELECT * FROM VALUES (DATE'2026-01-09', 3), (DATE'2026-01-10', 7), (DATE'2026-01-08', 5) AS t(day, n)"
    html = html_of(session, sql, tile)
    assert words(html) == ["7", "2026-01-10"]
    assert re.findall(r'd="([^"]*)"', html) == ["M0.0 20.0L120.0 38.0L240.0 2.0"]


def test_a_table_shows_texts_links_and_colours_as_the_file_says(session: Any) -> None:
    rule = {"if": {"column": "b", "fn": ">", "literal": "1"}, "value": {"foregroundColor": RED}}
    columns = [
        {"fieldName": "a", "displayAs": "link", "linkUrlTemplate": "https://x.example/{{ b }}", "title": "A"},
        {"fieldName": "b", "numberFormat": "$0.00", "displayAs": "number",
         "cellFormat": {"rules": [rule]}},
        {"fieldName": "u", "displayAs": "link"},
        {"fieldName": "hidden", "visible": False},
        {"fieldName": "gone"},
    ]  # fmt: skip
    fields = {each: f"`{each}`" for each in ("a", "b", "u", "hidden")}
    tile = widget("table", fields, {"columns": columns}, disaggregated=True)
    sql = (
        "SELECT * FROM VALUES ('one', 2, 'javascript:alert(1)', 'h'), (NULL, 1, 'http://y.example', 'h')"
        " AS t(a, b, u, hidden)"
    )
    drawn = OpenBoard(session, board(sql, tile)).drawn()
    assert words(drawn.html) == [
        "A",
        "b",
        "u",
        "one",
        "$2.00",
        "javascript:alert(1)",
        "null",
        "$1.00",
        "http://y.example",
    ]
    assert re.findall(r'href="([^"]*)"', drawn.html) == ["https://x.example/2", "http://y.example"]
    assert drawn.html.count(f"color:{RED}") == 1
    assert drawn.note == "The query has no field gone."


def test_a_pivot_has_the_mean_of_all_rows_as_its_total(session: Any) -> None:
    sql = "SELECT * FROM VALUES ('a', 'x', 1), ('a', 'x', 2), ('a', 'y', 6), ('b', 'x', 10) AS t(k, s, n)"
    total = {"total": {"show": True}}
    encodings = {
        "rows": [{"fieldName": "k", **total}],
        "columns": [{"fieldName": "s", **total}],
        "cell": {"type": "multi-cell", "fields": [{"fieldName": "n"}]},
    }
    tile = widget("pivot", {"k": "`k`", "s": "`s`", "n": "AVG(`n`)"}, encodings, disaggregated=True)
    cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", html_of(session, sql, tile))
    assert [re.sub("<[^>]*>", "", cell) for cell in cells] == [
        "k", "x", "y", "Total",
        "a", "1.5", "6", "3",
        "b", "10", "", "10",
        "Total", "4.33", "6", "4.75",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("# A **b**", "<h2>A <strong>b</strong></h2>"),
        ("a _b_ `c*d*`\ne", "<p>a <em>b</em> <code>c*d*</code><br>e</p>"),
        ("* a\n  * b\n* c", "<ul><li>a<ul><li>b</li></ul></li><li>c</li></ul>"),
        ("2. a\n3. b", '<ol start="2"><li>a</li><li>b</li></ol>'),
        ("[x](javascript:alert(1))", "<p>x</p>"),
        ("[x](java\tscript:alert(1))", "<p>[x](java\tscript:alert(1))</p>"),
        ("![x](http://a.example/x)", f'<p><a href="http://a.example/x" {SAFE}>x</a></p>'),
        ("<b onclick=x>&amp;", "<p>&lt;b onclick=x&gt;&amp;amp;</p>"),
        ("```\n<x>\n", "<pre><code>&lt;x&gt;\n</code></pre>"),
        ("a|b\n--|--\n<i>|2", f"<table>{HEAD}<tbody><tr><td>&lt;i&gt;</td><td>2</td></tr></tbody></table>"),
    ],
)  # fmt: skip
def test_markdown_becomes_html_that_can_do_nothing(text: str, html: str) -> None:
    assert to_html(text) == html


class Elements(HTMLParser):
    """Keeps the elements of a document, and the texts of its scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self.links += [value for key, value in attrs if key in ("href", "src")]
        assert not [key for key, _ in attrs if key.startswith("on")]
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] == "script":
            self.scripts[-1] += data


def test_data_never_becomes_markup_or_script(session: Any) -> None:
    """Every text of board and rows is hostile: the document has the elements of an innocent one."""

    def made(text: str) -> tuple[Elements, str]:
        frame = {"title": text, "showTitle": True, "description": text, "showDescription": True}
        fields = {text: "`t`", "n": "SUM(`n`)"}
        x, y = (
            {"fieldName": text, "displayName": text, "axis": {"title": text}},
            {"fieldName": "n", "displayName": text},
        )
        tiles = [
            widget("bar", fields, {"x": x, "y": y, "color": {"fieldName": text}}, frame=frame),
            widget("pie", fields, {"angle": y, "color": x}, frame=frame),
            widget("table", fields, {"columns": [x, y | {"description": text}]}, frame=frame),
            widget("pivot", fields, {"rows": [x], "columns": [x], "cell": {"fields": [y]}}, frame=frame),
            widget("counter", fields, {"value": x, "target": x | {"displayName": text}}, frame=frame),
            widget(text, fields, {}, frame=frame),
            {"widget": {"textbox_spec": text}},
        ]
        literal = text.replace("\\", "\\\\").replace("'", "\\'")
        opened = OpenBoard(session, board(f"SELECT '{literal}' AS t, 1 AS n", *tiles))
        drawn = [opened.drawn(place) for place in range(len(tiles))]
        assert [bool(each.problem) for each in drawn] == [False] * 5 + [True, False]
        page = DrawnPage("p", text, 12, drawn, [])
        html = document(text, {"canvasBackgroundColor": {"light": text}}, [page], "/* vega */", made=NOW)
        found = Elements()
        found.feed(html)
        return found, html

    innocent, _ = made("word")
    hostile, html = made(EVIL)
    assert hostile.tags == innocent.tags and hostile.links == innocent.links == []
    specs = [json.loads(text) for text in hostile.scripts[:2]]
    assert specs[0]["data"]["values"][0]["x"] == EVIL
    assert "http" not in html.replace("http-equiv", "")


def test_a_script_cannot_end_itself() -> None:
    assert safe_script("a</script><!--") == "a<\\/script><\\!--"


def test_an_error_stands_on_its_own_tile(session: Any) -> None:
    bad = widget("bar", {"x": "`nosuch`"}, {"x": {"fieldName": "x"}, "y": {"fieldName": "x"}})
    good = widget("counter", {"n": "SUM(`n`)"}, {"value": {"fieldName": "n"}})
    opened = OpenBoard(session, board("SELECT 1 AS n", bad, good))
    assert "nosuch" in words(tile_html(opened.drawn(0), 1))[1]
    assert words(tile_html(opened.drawn(1), 2)) == ["1"]


def test_a_table_of_two_hundred_columns_is_drawn(session: Any) -> None:
    columns = ", ".join(f"{number} AS c{number}" for number in range(200))
    fields = {f"c{number}": f"`c{number}`" for number in range(200)}
    html = html_of(session, f"SELECT {columns}", widget("table", fields, {}, disaggregated=True))
    assert html.count("<td") == html.count("<th ") == 200
