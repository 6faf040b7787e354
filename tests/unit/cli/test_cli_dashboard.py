"""`aiq dashboard`: a board is made, listed, checked and drawn, and what is missing is said."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from aiq import runtime
from aiq.cli.app import app
from aiq.dashboards import bundle, pictures, render
from aiq.errors import AiqError, ConfigError
from tests.made_ledger import made_ledger

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("dashboard")
    (folder / "conf").mkdir()
    made_ledger(folder / "home", datetime.now(UTC))
    yield folder
    for gateway in [each for each in runtime._gateways.values() if each.ledger.home == folder / "home"]:
        gateway.ledger.close()


@pytest.fixture
def run(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIQ_CONF", str(home / "conf"))
    monkeypatch.setenv("AIQ_HOME", str(home / "home"))
    monkeypatch.setattr(render, "bundle", lambda: "/* vega */")
    return lambda *words: CliRunner().invoke(app, ["dashboard", *words])


def test_a_new_board_is_listed_checked_and_drawn(run: Run, tmp_path: Path) -> None:
    assert "team.lvdash.json: draw it with" in run("new", "team").stdout
    assert "5 widgets on Overview" in run("list", str(tmp_path)).stdout
    assert run("validate", "team.lvdash.json").stdout == "team: 5 of 5 widgets drawn\n"
    done = run("render", "team.lvdash.json", "--out", "team.html")
    assert (done.exit_code, done.stdout) == (0, "team.html: 5 of 5 widgets drawn\n")
    text = (tmp_path / "team.html").read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>") and "<h2>Spend by day</h2>" in text
    assert sorted(each.name for each in tmp_path.iterdir()) == ["team.html", "team.lvdash.json"]


def test_a_file_that_is_there_is_not_written_over(run: Run, tmp_path: Path) -> None:
    (tmp_path / "team.lvdash.json").write_text("mine")
    assert run("new", "team.lvdash.json").exit_code == 2
    assert (tmp_path / "team.lvdash.json").read_text() == "mine"


def test_a_widget_that_cannot_be_drawn_is_named_and_fails_the_check(run: Run, tmp_path: Path) -> None:
    run("new", "team")
    file = tmp_path / "team.lvdash.json"
    file.write_text(file.read_text().replace("SUM(`cost_usd`)", "SUM(`costs`)"))
    done = run("validate", str(file))
    assert done.exit_code == 1 and "team: 2 of 5 widgets drawn" in done.stdout and "  Spend by day: " in done.stdout


def test_boards_that_ship_are_found_by_their_names(run: Run) -> None:
    assert [line.split()[0] for line in run("list").stdout.splitlines()] == ["gateway", "providers", "statements"]
    found = run("validate", "gatewy").exception
    assert isinstance(found, AiqError)
    assert str(found) == (
        "there is no file and no board gatewy. Did you mean 'gateway'? Boards that ship: gateway, providers, statements"
    )


def test_a_damaged_file_of_a_folder_is_listed_with_its_words(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.lvdash.json").write_text("{")
    (tmp_path / "good.lvdash.json").write_text(json.dumps({"pages": [{"displayName": "P", "layout": []}]}))
    lines = run("list", str(tmp_path)).stdout.splitlines()
    assert "bad is not JSON" in lines[0] and lines[1].split() == ["good", "0", "widgets", "on", "P"]


@pytest.mark.parametrize("out", ["x.svg", "nowhere/x.html", "."])
def test_a_place_that_cannot_be_written_is_said_before_the_work(run: Run, out: str) -> None:
    assert run("render", "gateway", "--out", out).exit_code == 2


def test_a_missing_browser_is_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures.shutil, "which", lambda name: None)
    found = run("render", "gateway", "--out", "x.png").exception
    assert isinstance(found, ConfigError) and "PNG and PDF need Chromium" in str(found)


def test_a_missing_extra_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "bundle", bundle.bundle)
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    found = run("render", "gateway", "--out", "x.html").exception
    assert isinstance(found, ConfigError) and 'pip install "aiq[dashboards]"' in str(found)


def test_a_folder_without_boards_is_not_served(run: Run, tmp_path: Path) -> None:
    found = run("serve", str(tmp_path), "--port", "0").exception
    assert isinstance(found, AiqError) and "there is no board in" in str(found)


def reading(folder: Path, sql: str) -> str:
    """A board whose only table shows a query."""
    query = {"datasetName": "d", "fields": [{"name": "value", "expression": "`value`"}], "disaggregated": True}
    widget = {"name": "w", "queries": [{"name": "main_query", "query": query}], "spec": {"widgetType": "table"}}
    layout = [{"widget": widget, "position": {"x": 0, "y": 0, "width": 6, "height": 6}}]
    board = {"datasets": [{"name": "d", "queryLines": [sql]}], "pages": [{"name": "p", "layout": layout}]}
    file = folder / "reads.lvdash.json"
    file.write_text(json.dumps(board))
    return str(file)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT value FROM text.`{}`",
        "SELECT value FROM read_files('{}', format => 'text')",
        "SELECT content AS value FROM read_files('{}', format => 'binaryFile')",
        "SELECT (SELECT MAX(value) FROM text.`{}`) AS value",
    ],
)
def test_a_board_reads_files_of_allowed_folders_alone(run: Run, tmp_path: Path, sql: str) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "private.csv").write_text("the-secret\n")
    file = reading(tmp_path, sql.format(tmp_path / "own" / "private.csv"))
    done = run("render", file, "--out", "x.html")
    assert "x.html: 0 of 1 widgets drawn" in done.stdout and "folders where --allow-folder names them" in done.stdout
    assert "the-secret" not in (tmp_path / "x.html").read_text()
    assert run("validate", file, "--allow-folder", str(tmp_path / "own")).stdout == "reads: 1 of 1 widgets drawn\n"


def test_a_board_reads_the_volumes_of_the_configuration(
    run: Run, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.txt").write_text("x")
    (tmp_path / "conf" / "aiq.yml").write_text(f"volumes: {{/Volumes/main/a/b: {tmp_path / 'files'}}}\n")
    monkeypatch.setenv("AIQ_CONF", str(tmp_path / "conf"))
    file = reading(tmp_path, "SELECT value FROM read_files('/Volumes/main/a/b/a.txt', format => 'text')")
    assert run("validate", file).stdout == "reads: 1 of 1 widgets drawn\n"


def test_a_board_reads_the_tables_of_a_home_that_is_a_link(
    run: Run, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "it's a link").symlink_to(home / "home")
    monkeypatch.setenv("AIQ_HOME", "it's a link")
    file = reading(tmp_path, "SELECT COUNT(*) AS value FROM system.aiq.calls")
    assert run("validate", file).stdout == "reads: 1 of 1 widgets drawn\n"
