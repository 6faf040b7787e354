"""Boards in a real browser: every chart has as many marks as there are rows; also narrow, dark and printed."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import uvicorn

from aiq.dashboards.app import BoardApp
from aiq.dashboards.bundle import bundle
from aiq.dashboards.document import document
from aiq.dashboards.files import find, load
from aiq.dashboards.model import Board
from aiq.dashboards.pictures import picture
from aiq.dashboards.render import drawn_pages
from aiq.engines.connect import connect
from aiq.serve.server import listening
from tests.made_ledger import made_ledger
from tests.unit.dashboards.boards import board, connection, widget

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="boards are drawn by Chromium (Debian: apt-get install chromium)"
)
EVIL = "</script><script>document.title='owned'</script><img src=x onerror=document.title='owned'>"
MEASURE = """
<script>{
  const open = () => {
    document.querySelectorAll(".numbers summary").forEach((each) => each.click());
    setTimeout(measure, 200);
  };
  const wait = () => document.documentElement.dataset.ready ? setTimeout(open, 200) : setTimeout(wait, 50);
  const measure = () => {
    const charts = {};
    for (const tile of document.querySelectorAll(".tile:has(.chart)")) {
      const count = (kind) => tile.querySelectorAll(`.mark-${kind}.role-mark path`).length;
      const words = [...tile.querySelectorAll("svg text")].map((each) => each.textContent);
      const chart = tile.querySelector(".chart");
      const wide = tile.querySelector("svg").getBoundingClientRect().width <= innerWidth;
      const texts = (row) => [...row.cells].map((each) => each.textContent);
      const table = [...tile.querySelectorAll(".numbers tr")].map(texts);
      charts[tile.querySelector("h2").textContent] = {
        drawn: chart.dataset.drawn, bars: count("rect"), arcs: count("arc"), lines: count("line"), areas: count("area"),
        points: count("symbol"), words, wide, table,
      };
    }
    const made = document.createElement("pre");
    made.id = "measured";
    made.textContent = JSON.stringify({
      charts, title: document.title, width: document.documentElement.scrollWidth, inner: innerWidth,
      back: getComputedStyle(document.documentElement).backgroundColor, images: document.images.length,
      focusable: document.querySelectorAll("a[href], button, summary, [tabindex='0']").length,
    });
    document.body.append(made);
  };
  wait();
}</script>"""


class Made(NamedTuple):
    session: Any
    folder: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("chromium")
    (folder / "conf").mkdir()
    made_ledger(folder / "home", datetime.now(UTC))
    with connection() as con, connect(con, conf=folder / "conf", home=folder / "home") as session:
        yield Made(session, folder)


def drawn(made: Made, found: Board) -> str:
    pages = drawn_pages(made.session, found, {})
    return document(found.name, found.theme, pages, bundle(), made=datetime.now(UTC))


def opened(made: Made, text: str, *options: str, width: int = 1280) -> dict[str, Any]:
    """What a browser measures of a document once its charts are drawn."""
    assert CHROMIUM is not None
    file = made.folder / "measured.html"
    file.write_text(text.removesuffix("</body></html>") + MEASURE + "</body></html>")
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    command = [
        CHROMIUM, *root, "--headless", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        f"--user-data-dir={made.folder / 'profile'}", f"--window-size={width},900", "--virtual-time-budget=20000",
        *options, "--dump-dom", file.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    measured = re.search(r'<pre id="measured">(.*?)</pre>', done.stdout, re.DOTALL)
    assert measured is not None, done.stderr[-2000:]
    return dict(json.loads(html.unescape(measured[1])))


def test_every_chart_has_a_mark_for_each_row(made: Made) -> None:
    number, text, time = ({"scale": {"type": kind}} for kind in ("quantitative", "categorical", "temporal"))
    k, n = {"fieldName": "k", **text}, {"fieldName": "n", **number}
    fields = {"k": "`k`", "n": "SUM(`n`)"}
    day = {"day": "`day`", "k": "`k`", "n": "SUM(`n`)"}
    frame = lambda title: {"frame": {"title": title, "showTitle": True}}  # noqa: E731
    tiles = [
        widget("bar", fields, {"x": k, "y": n}, **frame("bars")),
        widget("bar", day, {"x": {"fieldName": "day", **time}, "y": n, "color": k}, **frame("days")),
        widget("line", {"day": "`day`", "n": "SUM(`n`)"}, {"x": {"fieldName": "day", **time}, "y": n}, **frame("line")),
        widget("area", day, {"x": {"fieldName": "day", **time}, "y": n, "color": k}, **frame("area")),
        widget("scatter", {"k": "`i`", "n": "`n`"}, {"x": {"fieldName": "k", **number}, "y": n}, disaggregated=True,
               **frame("points")),
        widget("pie", fields, {"angle": n, "color": k}, **frame("pie")),
        widget("heatmap", day, {"x": k, "y": {"fieldName": "day", **text}, "color": n}, **frame("heat")),
        widget("histogram", {"n": "`n`"}, {"x": n}, **frame("histogram")),
    ]  # fmt: skip
    for place, tile in enumerate(tiles):
        tile["position"] |= {"y": 6 * place}
    literal = EVIL.replace("'", "\\'")
    sql = f"""SELECT id AS i, CASE id % 3 WHEN 0 THEN 'a' WHEN 1 THEN 'b' ELSE '{literal}' END AS k, id AS n,
      date_add(DATE'2026-01-01', CAST(id % 4 AS INT)) AS day FROM range(24)"""
    found = opened(made, drawn(made, board(sql, *tiles)))
    charts = found["charts"]
    assert {title: chart["drawn"] for title, chart in charts.items()} == dict.fromkeys(charts, "yes")
    counts = {title: (c["bars"], c["arcs"], c["lines"], c["areas"], c["points"]) for title, c in charts.items()}
    assert counts == {
        "bars": (3, 0, 0, 0, 0),
        "days": (12, 0, 0, 0, 0),
        "line": (0, 0, 1, 0, 4),
        "area": (0, 0, 0, 3, 0),
        "points": (0, 0, 0, 0, 24),
        "pie": (0, 3, 0, 0, 0),
        "heat": (12, 0, 0, 0, 0),
        "histogram": (24, 0, 0, 0, 0),
    }
    tables = {title: chart["table"] for title, chart in charts.items()}
    assert {title: len(rows) - 1 for title, rows in tables.items()} == {
        "bars": 3, "days": 12, "line": 4, "area": 12, "points": 24, "pie": 3, "heat": 12, "histogram": 24,
    }  # fmt: skip
    assert tables["bars"] == [["k", "n"], [EVIL, "100"], ["a", "84"], ["b", "92"]]
    assert tables["line"][:2] == [["day", "n"], ["2026-01-01", "60"]]
    assert found["title"] == "test" and found["images"] == 0
    assert any(word.startswith("</script><script>") for word in charts["bars"]["words"])


def test_the_gateway_board_fits_a_telephone_and_is_dark_where_that_is_wished(made: Made) -> None:
    text = drawn(made, load(find("gateway")))
    wide = opened(made, text)
    narrow = opened(made, text, "--blink-settings=preferredColorScheme=0", width=400)
    for found in (wide, narrow):
        assert {title: c["drawn"] for title, c in found["charts"].items()} == dict.fromkeys(found["charts"], "yes")
        assert found["width"] <= found["inner"] and all(chart["wide"] for chart in found["charts"].values())
        assert found["charts"]["Spend by model"]["bars"] > 50 and found["focusable"] > 5
    light, dark = (sum(map(int, re.findall(r"\d+", found["back"]))) for found in (wide, narrow))
    assert light > 600 > 200 > dark


def test_a_board_is_drawn_as_png_and_pdf(made: Made) -> None:
    found = load(find("statements"))
    text = drawn(made, found)
    png, pdf = picture(text, "png", found), picture(text, "pdf", found)
    assert png.startswith(b"\x89PNG") and int.from_bytes(png[16:20], "big") == 1280
    assert pdf.startswith(b"%PDF") and b"/Font" in pdf


def test_a_served_board_is_drawn_under_its_own_policy(made: Made) -> None:
    """Scripts come from the server alone, and none is evaluated from a text."""
    with listening("127.0.0.1", 0) as bound:
        app = BoardApp(made.session, [find("providers")], "127.0.0.1")
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            url = f"http://127.0.0.1:{bound.getsockname()[1]}/board/providers?f.endpoint=chat"
            root = ["--no-sandbox"] if os.geteuid() == 0 else []
            done = subprocess.run(
                [str(CHROMIUM), *root, "--headless", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                 f"--user-data-dir={made.folder / 'served'}", "--virtual-time-budget=20000", "--dump-dom", url],
                capture_output=True, text=True, timeout=120, check=True,
            )  # fmt: skip
        finally:
            server.should_exit = True
            thread.join(30)
    assert not thread.is_alive()
    assert done.stdout.count('data-drawn="yes"') == done.stdout.count('class="chart') == 5
    assert '<option value="chat" selected="">' in done.stdout and "Refused to" not in done.stderr
