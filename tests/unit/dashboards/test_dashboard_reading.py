"""Databricks' dashboard files as plain values, whole and damaged."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aiq.dashboards.default_names import with_full_names
from aiq.dashboards.model import Dataset, Selection
from aiq.dashboards.read import read_board
from aiq.errors import AiqError
from tests.unit.dashboards.boards import OpenBoard, board, widget


def read(value: Any) -> Any:
    return read_board(json.dumps(value), "b")


def test_lines_of_a_query_are_joined_with_nothing() -> None:
    lines = ["SELECT 1 AS a, ", "2 AS b\n", "FROM t"]
    found = read({"datasets": [{"name": "d", "queryLines": lines}, {"name": "e", "query": "SELECT 3"}]})
    assert [each.text for each in found.datasets.values()] == ["SELECT 1 AS a, 2 AS b\nFROM t", "SELECT 3"]


def test_a_table_of_the_catalog_is_a_dataset() -> None:
    assert read({"datasets": [{"name": "d", "asset_name": "a.b.c"}]}).datasets["d"].text == "SELECT * FROM `a`.`b`.`c`"


@pytest.mark.parametrize(("version", "grid"), [(None, 6), ("GRID_V1", 12)])
def test_a_page_has_six_columns_or_twelve(version: str | None, grid: int) -> None:
    page = {"name": "p", "layout": [], **({"layoutVersion": version} if version else {})}
    assert read({"pages": [page]}).pages[0].grid == grid


def test_a_tile_stays_within_the_grid() -> None:
    positions = [{"x": 5, "y": 1, "width": 9, "height": 2}, {"x": -1, "y": -7}, {"x": "left", "width": 1e999}, None]
    tiles = [{"widget": {"textbox_spec": "t"}, "position": each} for each in positions]
    text = json.dumps({"pages": [{"layout": tiles}]})
    found = read_board(text, "b").pages[0].tiles
    assert [(t.x, t.y, t.width, t.height) for t in found] == [(5, 1, 1, 2), (0, 0, 6, 3), (0, 0, 6, 3), (0, 0, 6, 3)]


def test_texts_of_both_forms() -> None:
    tiles = [{"widget": {"textbox_spec": "# A"}}, {"widget": {"multilineTextboxSpec": {"lines": ["# B\n", "c"]}}}]
    found = read({"pages": [{"layout": tiles}]}).pages[0].tiles
    assert [(each.widget.kind, each.widget.text) for each in found] == [("text", "# A"), ("text", "# B\nc")]


@pytest.mark.parametrize(
    ("widget", "words"),
    [
        ({"spec": {"version": 0, "viz_spec": {"viz_type": "COUNTER"}}}, "It is a counter of an older version;"),
        ({"spec": {"version": 3}}, "The file does not say what kind of widget it is."),
        ({}, "The file says nothing of what it shows."),
    ],
)
def test_a_widget_that_no_version_explains_is_named(widget: Any, words: str) -> None:
    tile = read({"pages": [{"layout": [{"widget": widget}]}]}).pages[0].tiles[0]
    assert tile.widget.problem.startswith(words)


def test_defaults_of_parameters() -> None:
    parameters = [
        {"keyword": "a", "dataType": "STRING", "defaultSelection": {"values": {"values": [{"value": "x"}]}}},
        {"keyword": "b", "dataType": "DATE", "complexType": "RANGE",
         "defaultSelection": {"range": {"dataType": "DATE", "min": {"value": "now-7d/d"}, "max": {"value": "now/d"}}}},
        {"keyword": "c", "complexType": "MULTI"},
    ]  # fmt: skip
    found = read({"datasets": [{"name": "d", "query": "SELECT 1", "parameters": parameters}]}).datasets["d"].parameters
    assert [each.default for each in found] == [Selection(("x",)), Selection((), "now-7d/d", "now/d", "DATE"), None]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("../real.lvdash.json", "b is not JSON: Expecting value in line 1, column 1"),
        ("[]", "its JSON is not an object"),
        ('{"a": 1}', "neither datasets nor pages"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_dashboard_is_said(text: str, words: str) -> None:
    with pytest.raises(AiqError, match=words.replace("(", r"\(")):
        read_board(text, "b")


def test_an_empty_file_of_databricks_is_a_board() -> None:
    assert read({}).pages == ()


@pytest.mark.parametrize("rubbish", [None, 1, "x", [], [None], [[]], {"a": 1}, True])
def test_rubbish_in_any_place_loses_no_board(rubbish: Any) -> None:
    """Every value of a file in turn is replaced by something else; the text tile stands all the same."""
    spec = {"widgetType": "bar", "version": 3, "frame": {"title": "T", "showTitle": True}, "encodings": {"x": {}}}
    query = {
        "datasetName": "d",
        "fields": [{"name": "a", "expression": "a"}],
        "orders": [{"expression": "a"}],
        "filters": [{"expression": "a"}],
        "parameters": [{"name": "p"}],
        "parameterValues": [{"keyword": "p"}],
    }
    tile = {"widget": {"name": "w", "queries": [{"name": "q", "query": query}], "spec": spec}, "position": {"x": 1}}

    def replaced(value: Any) -> Any:
        yield rubbish
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from (value | {key: each} for each in replaced(inner))
        elif isinstance(value, list):
            yield from ([each] for each in replaced(value[0]))

    text = {"widget": {"textbox_spec": "stands"}}
    for damaged in replaced(tile):
        found = read({"pages": [{"layout": [damaged, text]}], "datasets": [damaged]})
        assert found.pages[0].tiles[-1].widget.text == "stands"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT a FROM t", "SELECT a FROM `c`.`s`.t"),
        ("SELECT t.a FROM `my t` AS t, x.y", "SELECT t.a FROM `c`.`s`.`my t` AS t, `c`.x.y"),
        ("SELECT 'é', a FROM é JOIN b.c.d", "SELECT 'é', a FROM `c`.`s`.é JOIN b.c.d"),
        ("WITH t AS (SELECT * FROM t2) SELECT * FROM t", "WITH t AS (SELECT * FROM `c`.`s`.t2) SELECT * FROM t"),
        ("SELECT EXTRACT(HOUR FROM h) FROM range(3)", "SELECT EXTRACT(HOUR FROM h) FROM range(3)"),
        ("SELECT (SELECT 1 FROM x) FROM t", "SELECT (SELECT 1 FROM `c`.`s`.x) FROM `c`.`s`.t"),
        ("SELECT * FROM text.`/a/b`", "SELECT * FROM text.`/a/b`"),
        ("SELECT * FROM t WHERE a >= :p.min -- FROM u", "SELECT * FROM `c`.`s`.t WHERE a >= :p.min -- FROM u"),
        ("SELECT 1 FROM t UNION ALL SELECT 2 FROM t", "SELECT 1 FROM `c`.`s`.t UNION ALL SELECT 2 FROM `c`.`s`.t"),
    ],
)  # fmt: skip
def test_tables_lie_in_the_catalog_and_schema_of_their_dataset(text: str, expected: str) -> None:
    assert with_full_names(text, Dataset("d", "D", text, catalog="c", schema="s")) == expected
    assert with_full_names(text, Dataset("d", "D", text)) == text


def test_the_catalog_and_schema_of_a_dataset_are_read(session: Any) -> None:
    table = widget("table", {"n": "COUNT(`*`)"}, {})
    found = board("SELECT * FROM calls", table, catalog="system", schema="aiq")
    assert OpenBoard(session, found).figures().rows == [(0,)]
    elsewhere = board("SELECT * FROM calls", table, catalog="sales", schema="aiq")
    assert "there is no catalog 'sales' here" in OpenBoard(session, elsewhere).drawn().problem
