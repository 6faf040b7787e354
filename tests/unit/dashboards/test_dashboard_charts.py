"""What charts draw: their marks beside numbers by hand, and what they say of what they leave out."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from aiq.dashboards.model import Dataset
from tests.unit.dashboards.boards import GREEN, RED, OpenBoard, board, marks_of, widget

NUMBER, TEXT, TIME = ({"scale": {"type": kind}} for kind in ("quantitative", "categorical", "temporal"))
SALES = """
SELECT * FROM VALUES ('a', 'x', 1, DATE'2026-01-01'), ('a', 'y', 2, DATE'2026-01-01'), ('b', 'x', 4, DATE'2026-02-01'),
  ('b', 'x', 8, DATE'2026-02-01'), ('c', 'y', -16, DATE'2026-04-01') AS t(k, s, n, day)"""
MANY = "SELECT id, id % 9000 AS k, CAST(id AS DOUBLE) AS v FROM range(18000)"
ODD = "SELECT * FROM VALUES (1, double('NaN')), (2, 1e308), (3, NULL), (4, -double('Infinity')), (NULL, 5D) AS t(x, y)"


def drawn(session: Any, sql: str, tile: Any) -> Any:
    return OpenBoard(session, board(sql, tile)).drawn()


def pairs(rows: list[dict[str, Any]], *keys: str) -> list[tuple[Any, ...]]:
    return [tuple(row[key] for key in keys) for row in rows]


def test_a_bar_stands_for_the_sum_of_its_group(session: Any) -> None:
    tile = widget("bar", {"k": "`k`", "n": "SUM(`n`)"}, {"x": {"fieldName": "k", **TEXT}, "y": {"fieldName": "n"}})
    assert sorted(pairs(marks_of(drawn(session, SALES, tile)), "x", "y")) == [("a", 3.0), ("b", 12.0), ("c", -16.0)]


def test_rows_of_one_bar_that_are_not_grouped_are_added(session: Any) -> None:
    fields = {"k": "`k`", "n": "`n`"}
    tile = widget("bar", fields, {"x": {"fieldName": "k", **TEXT}, "y": {"fieldName": "n"}}, disaggregated=True)
    assert sorted(pairs(marks_of(drawn(session, SALES, tile)), "x", "y")) == [("a", 3.0), ("b", 12.0), ("c", -16.0)]


def test_bars_of_months_are_piled_from_the_first_to_the_next(session: Any) -> None:
    fields = {"m": 'DATE_TRUNC("MONTH", `day`)', "s": "`s`", "n": "SUM(`n`)"}
    encodings = {
        "x": {"fieldName": "m", **TIME},
        "y": {"fieldName": "n", **NUMBER},
        "color": {"fieldName": "s", **TEXT},
    }
    rows = marks_of(drawn(session, SALES, widget("bar", fields, encodings)))
    day, january = 86_400_000, 1_767_225_600_000
    assert sorted(pairs(rows, "x", "x_end", "color", "y_low", "y_high")) == [
        (january, january + 31 * day, "x", 0, 1),
        (january, january + 31 * day, "y", 1, 3),
        (january + 31 * day, january + 59 * day, "x", 0, 12),
        (january + 90 * day, january + 120 * day, "y", 0, -16),
    ]


def test_shares_of_a_bar_add_up_to_one(session: Any) -> None:
    fields = {"m": "`day`", "s": "`s`", "n": "SUM(`n`)"}
    encodings = {
        "x": {"fieldName": "m", **TIME},
        "y": {"fieldName": "n", **NUMBER},
        "color": {"fieldName": "s", **TEXT},
    }
    rows = marks_of(drawn(session, SALES, widget("bar", fields, encodings, mark={"layout": "percent-stack"})))
    assert sorted(row["y_high"] for row in rows) == [-1.0, pytest.approx(1 / 3), 1.0, 1.0]


def test_several_measures_are_series_with_their_titles(session: Any) -> None:
    fields = {"k": "`k`", "low": "MIN(`n`)", "high": "MAX(`n`)"}
    several = [{"fieldName": "low", "displayName": "Lowest"}, {"fieldName": "high"}]
    tile = widget("line", fields, {"x": {"fieldName": "k", **TEXT}, "y": {"fields": several, **NUMBER}})
    found = drawn(session, SALES, tile)
    expected = [("a", "Lowest", 1), ("a", "high", 2), ("b", "Lowest", 4), ("b", "high", 8)]
    assert sorted(pairs(marks_of(found), "x", "color", "y"))[:4] == expected
    assert found.spec["layer"][0]["encoding"]["color"]["scale"]["domain"] == ["Lowest", "high"]


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        (None, ["a", "b", "c"]),
        ({"by": "y"}, ["c", "a", "b"]),
        ({"by": "y-reversed"}, ["b", "a", "c"]),
        ({"by": "alphabetical-reversed"}, ["c", "b", "a"]),
        ({"by": "custom-order", "orderedValues": ["b", "gone"]}, ["b", "a", "c"]),
    ],
)
def test_categories_stand_in_the_order_of_the_file(session: Any, sort: Any, order: list[str]) -> None:
    x = {"fieldName": "k", "scale": {"type": "categorical", **({"sort": sort} if sort else {})}}
    tile = widget("bar", {"k": "`k`", "n": "SUM(`n`)"}, {"x": x, "y": {"fieldName": "n", **NUMBER}})
    assert drawn(session, SALES, tile).spec["layer"][0]["encoding"]["x"]["sort"] == order


def test_numbers_that_are_categories_keep_their_digits(session: Any) -> None:
    sql = "SELECT * FROM VALUES (1.001D, 1), (1.002D, 2), (10D, 4), (9D, 8) AS t(k, n)"
    tile = widget("bar", {"k": "`k`", "n": "SUM(`n`)"}, {"x": {"fieldName": "k", **TEXT}, "y": {"fieldName": "n"}})
    found = drawn(session, sql, tile)
    assert found.spec["layer"][0]["encoding"]["x"]["sort"] == ["1.001", "1.002", "9", "10"]


def test_the_largest_categories_are_kept_and_it_is_said(session: Any) -> None:
    tile = widget("bar", {"k": "`k`", "v": "SUM(`v`)"}, {"x": {"fieldName": "k", **TEXT}, "y": {"fieldName": "v"}})
    found = drawn(session, MANY, tile)
    largest = {(str(k), float(k + k + 9000)) for k in range(8940, 9000)}
    assert set(pairs(marks_of(found), "x", "y")) == largest
    assert found.note == "The 60 largest of 9,000 categories."


def test_a_plane_of_many_points_is_sampled_and_it_is_said(session: Any) -> None:
    encodings = {"x": {"fieldName": "id", **NUMBER}, "y": {"fieldName": "v", **NUMBER}}
    found = drawn(session, MANY, widget("scatter", {"id": "`id`", "v": "`v`"}, encodings, disaggregated=True))
    assert len(marks_of(found)) == 4500 and found.note == "Every 4th of 18,000 rows."


def test_what_is_no_finite_number_is_not_drawn_and_it_is_said(session: Any) -> None:
    encodings = {"x": {"fieldName": "x", **NUMBER}, "y": {"fieldName": "y", **NUMBER}}
    found = drawn(session, ODD, widget("line", {"x": "`x`", "y": "`y`"}, encodings, disaggregated=True))
    assert sorted((row["x"] or 0, row["y"]) for row in marks_of(found) if row["y"]) == [(0, 5.0), (2, 1e308)]
    assert found.note == "2 values are not finite numbers and are not drawn. Not drawn, without x: 1."
    json.dumps(found.spec, allow_nan=False)


def test_colours_of_values_are_those_of_the_file(session: Any) -> None:
    second = {"themeColorType": "visualizationColors", "position": 2}
    mappings = [{"value": "y", "color": "#123456"}, {"value": "x", "color": second},
                {"value": "z", "color": "url(x)"}]  # fmt: skip
    shade = {"fieldName": "s", "scale": {"type": "categorical", "mappings": mappings}}
    encodings = {"x": {"fieldName": "k", **TEXT}, "y": {"fieldName": "n", **NUMBER}, "color": shade}
    found = drawn(session, SALES, widget("bar", {"k": "`k`", "s": "`s`", "n": "SUM(`n`)"}, encodings))
    assert found.spec["layer"][0]["encoding"]["color"]["scale"] == {"domain": ["x", "y"], "range": [GREEN, "#123456"]}


def test_a_pie_has_the_share_of_each_part(session: Any) -> None:
    encodings = {"angle": {"fieldName": "n", **NUMBER}, "color": {"fieldName": "k", **TEXT}}
    found = drawn(session, SALES, widget("pie", {"k": "`k`", "n": "SUM(`n`)"}, encodings))
    assert pairs(marks_of(found), "color", "y", "share_text") == [("b", 12.0, "80.0%"), ("a", 3.0, "20.0%")]
    assert found.note == "Not drawn, as they are negative: 1."


def test_a_histogram_counts_every_row_in_its_bin(session: Any) -> None:
    sql = "SELECT CAST(id AS DOUBLE) / 10 - 3 AS v FROM range(1000)"
    found = drawn(session, sql, widget("histogram", {"v": "`v`"}, {"x": {"fieldName": "v", **NUMBER}}))
    expected: dict[float, int] = {}
    for number in range(1000):
        low = (number / 10 - 3) // 5 * 5
        expected[low] = expected.get(low, 0) + 1
    assert dict(pairs(marks_of(found), "x", "y")) == expected
    assert {row["high"] - row["x"] for row in marks_of(found)} == {5.0}


def test_a_histogram_with_bins_of_its_own(session: Any) -> None:
    fields = {"bin(n, binWidth=4)": "BIN_FLOOR(`n`, 4)", "count(*)": "COUNT(`*`)"}
    encodings = {"x": {"fieldName": "bin(n, binWidth=4)", **NUMBER}, "y": {"fieldName": "count(*)", **NUMBER}}
    rows = marks_of(drawn(session, SALES, widget("histogram", fields, encodings)))
    assert sorted(pairs(rows, "x", "high", "y")) == [(-16, -12, 1), (0, 4, 2), (4, 8, 1), (8, 12, 1)]


def test_series_of_a_histogram_stand_on_each_other(session: Any) -> None:
    fields = {"bin": "BIN_FLOOR(`n`, 4)", "s": "`s`", "count(*)": "COUNT(`*`)"}
    encodings = {
        "x": {"fieldName": "bin", **NUMBER},
        "y": {"fieldName": "count(*)"},
        "color": {"fieldName": "s", **TEXT},
    }
    rows = marks_of(drawn(session, SALES, widget("histogram", fields, encodings)))
    assert sorted((row["x"], row["color"], abs(row["y_high"] - row["y_low"])) for row in rows) == [
        (-16, "y", 1), (0, "x", 1), (0, "y", 1), (4, "x", 1), (8, "x", 1),
    ]  # fmt: skip
    assert sorted(row["y_low"] for row in rows if row["x"] == 0) == [0, 1]


def test_a_chart_of_texts_alone_is_drawn(session: Any) -> None:
    encodings = {"x": {"fieldName": "k", **TEXT}, "y": {"fieldName": "s", **TEXT}}
    for kind in ("bar", "line", "area", "scatter"):
        assert drawn(session, SALES, widget(kind, {"k": "`k`", "s": "`s`"}, encodings)).problem == ""


def test_a_heatmap_has_a_cell_for_each_pair(session: Any) -> None:
    encodings = {
        "x": {"fieldName": "k", **TEXT},
        "y": {"fieldName": "s", **TEXT},
        "color": {"fieldName": "n", **NUMBER},
    }
    rows = marks_of(drawn(session, SALES, widget("heatmap", {"k": "`k`", "s": "`s`", "n": "SUM(`n`)"}, encodings)))
    assert sorted(pairs(rows, "x", "y", "color")) == [("a", "x", 1), ("a", "y", 2), ("b", "x", 12), ("c", "y", -16)]


def test_a_box_has_the_quartiles_of_all_rows(session: Any) -> None:
    encodings = {"x": {"fieldName": "k", **TEXT}, "y": {"fieldName": "v", **NUMBER}}
    sql = "SELECT CAST(id % 2 AS STRING) AS k, CAST(id AS DOUBLE) AS v FROM range(10)"
    rows = marks_of(drawn(session, sql, widget("box", {"k": "`k`", "v": "`v`"}, encodings)))
    assert sorted(pairs(rows, "x", "q0", "q1", "q2", "q3", "q4")) == [("0", 0, 2, 4, 6, 8), ("1", 1, 3, 5, 7, 9)]


def test_a_combo_has_bars_and_lines_with_an_axis_each(session: Any) -> None:
    fields = {"k": "`k`", "n": "SUM(`n`)", "c": "COUNT(`*`)"}
    y = {"primary": {"fields": [{"fieldName": "n"}]}, "secondary": {"fields": [{"fieldName": "c"}]}}
    found = drawn(session, SALES, widget("combo", fields, {"x": {"fieldName": "k", **TEXT}, "y": y}))
    assert [each["mark"]["type"] for each in found.spec["layer"]] == ["bar", "line"]
    assert sorted(pairs(marks_of(found, 1), "x", "y")) == [("a", 2), ("b", 2), ("c", 1)]
    assert found.spec["resolve"] == {"scale": {"y": "independent"}}


def test_a_line_across_stands_where_the_file_says(session: Any) -> None:
    across = [
        {"type": "horizontal-line", "encodings": {"y": {"dataValue": "10"}, "label": {"value": "limit"}}, "color": RED},
        {"type": "vertical-line", "encodings": {"x": {"dataValue": "nowhere"}}},
    ]
    encodings = {"x": {"fieldName": "k", **TEXT}, "y": {"fieldName": "n", **NUMBER}}
    found = drawn(session, SALES, widget("bar", {"k": "`k`", "n": "SUM(`n`)"}, encodings, annotations=across))
    assert [each["mark"]["type"] for each in found.spec["layer"]] == ["bar", "rule", "text"]
    assert marks_of(found, 1) == [{"y": 10.0, "label": "limit"}]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("sankey", "A sankey widget is not drawn here yet; it is on Databricks."),
        ("hologram", "A hologram widget (version 3) is not known here and not drawn."),
    ],
)
def test_a_kind_that_is_not_drawn_is_named(session: Any, kind: str, words: str) -> None:
    assert drawn(session, SALES, widget(kind, {"k": "`k`"}, {})).problem == words


@pytest.mark.parametrize(
    "kind",
    "bar line area scatter combo pie heatmap histogram box pivot counter".split(),  # noqa: SIM905
)
def test_a_widget_without_its_fields_says_so(session: Any, kind: str) -> None:
    found = drawn(session, SALES, widget(kind, {"k": "`k`"}, {"x": {"fieldName": "gone"}, "y": "rubbish"}))
    assert found.problem and found.spec is None


MARKS = """SELECT * FROM VALUES (DATE'2026-02-01', 'chat, version 2'), (DATE'2026-02-01', 'emb, version 3'),
  (DATE'2026-02-01', 'emb, version 3'), (DATE'2026-03-01', NULL), (DATE'2025-12-31', 'before'), (NULL, 'never'),
  (DATE'2026-04-02', 'after') AS t(mark_time, mark)"""


def marked(session: Any, marks: str, kind: str = "line", x: Any = TIME) -> Any:
    fields = {"m": "`day`", "n": "SUM(`n`)"}
    found = board(SALES, widget(kind, fields, {"x": {"fieldName": "m", **x}, "y": {"fieldName": "n", **NUMBER}}))
    added = {"aiq_marks": Dataset("aiq_marks", "Marks", marks)}
    return OpenBoard(session, replace(found, datasets={**found.datasets, **added})).drawn()


@pytest.mark.parametrize("kind", ["line", "area"])
def test_marks_stand_on_charts_that_go_over_time(session: Any, kind: str) -> None:
    found = marked(session, MARKS, kind)
    layer = found.spec["layer"][-1]
    assert (layer["name"], layer["mark"]["type"], found.note) == ("marks", "rule", "")
    rows = pairs(layer["data"]["values"], "x_text", "mark_text")
    assert rows[0][0] == "2026-03-01" and rows[0][1] == "null"
    assert (rows[1][0], set(rows[1][1].split("; "))) == ("2026-02-01", {"chat, version 2", "emb, version 3"})
    assert len(rows) == 2


def test_other_charts_have_no_marks(session: Any) -> None:
    for kind, x in (("scatter", TIME), ("bar", TEXT)):
        assert all(layer.get("name") != "marks" for layer in marked(session, MARKS, kind, x).spec["layer"])


def test_marks_that_are_many_or_fail_are_said(session: Any) -> None:
    many = "SELECT date_add(DATE'2026-01-01', CAST(id AS INT)) AS mark_time, 'm' AS mark FROM range(50)"
    found = marked(session, many)
    values = found.spec["layer"][-1]["data"]["values"]
    assert (len(values), values[0]["x_text"], found.note) == (20, "2026-02-19", "Marks: the 20 latest of 50.")
    failed = marked(session, "SELECT 1 AS mark_time")
    assert "The marks of aiq_marks are not drawn: " in failed.note and len(failed.spec["layer"]) == 1
