"""The numbers of widgets, beside queries that are written by hand."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from aiq.dashboards.expressions import is_aggregate, same_in_duckdb, to_sql
from aiq.dashboards.model import Selection
from aiq.errors import AiqError
from tests.unit.dashboards.boards import OpenBoard, board, widget

SALES = """
SELECT * FROM VALUES ('north', 'tea', 3, 1.5, TIMESTAMP'2026-11-01 10:00:00'), ('north', 'tea', NULL, 2.5,
  TIMESTAMP'2026-11-01 23:59:59.9999'), ('south', 'coffee', 7, 0.25, TIMESTAMP'2026-11-02 00:00:00'),
  (NULL, 'tea', 1, 10, TIMESTAMP'2026-11-03 12:00:00') AS t(region, product, n, price, at)"""


@pytest.mark.parametrize(
    ("expression", "sql"),
    [
        ("COUNT(`*`)", "COUNT(*)"),
        ("BIN_FLOOR(`x y`, 5)", "(FLOOR((`x y`) / (5)) * (5))"),
        ("bin(`x`, binWidth=0.5)", "(FLOOR((`x`) / (0.5)) * (0.5))"),
        ("MEASURE(`rate`)", "(SUM(a) / (COUNT(*)))"),
        ("`rate` * 100", "(SUM(a) / (COUNT(*))) * 100"),
        ("'rate' || t.`rate` || rate(1)", "'rate' || t.`rate` || rate(1)"),
    ],
)
def test_what_only_dashboards_know_becomes_sql(expression: str, sql: str) -> None:
    assert to_sql(expression, {"rate": "SUM(a) / `all`", "all": "COUNT(`*`)"}) == sql


@pytest.mark.parametrize(
    ("expression", "sql"),
    [
        ("`n`", '"n"'),
        ("SUM(`N`)", 'SUM("N")'),
        ("count( * )", "COUNT(*)"),
        ('MAX(`a``"b`)', 'MAX("a`""b")'),
        ("SUM(`text`)", None),
        ("SUM(`flag`)", None),
        ("MIN(`gone`)", None),
        ("AVG(`n`)", None),
        ("SUM(`n`", None),
        ("`n`) --", None),
    ],
)
def test_an_expression_that_means_the_same_needs_no_translation(expression: str, sql: str | None) -> None:
    kinds = {"n": "BIGINT", "text": "VARCHAR", "flag": "BOOLEAN", 'a`"b': "DATE"}
    assert same_in_duckdb(expression, kinds) == sql


def test_orders_put_null_where_databricks_does(session: Any) -> None:
    for descends, place in (("ASC", 0), ("DESC", 2)):
        more = {"orders": [{"expression": "`region`", "direction": descends}]}
        tile = widget("table", {"region": "`region`"}, {}, query=more)
        rows = OpenBoard(session, board(SALES, tile)).figures().rows
        assert len(rows) == 3 and rows[place] == (None,)


@pytest.mark.parametrize("columns", [{"a": "b + 1", "b": "a"}, {"a": "`a`"}])
def test_columns_that_define_each_other_are_said(columns: dict[str, str]) -> None:
    with pytest.raises(AiqError, match="defined by each other"):
        to_sql("`a`", columns)


@pytest.mark.parametrize(
    ("sql", "aggregate"),
    [
        ("SUM(a)", True),
        ("1 + count_if(a > 0)", True),
        ("SUM(a) OVER (PARTITION BY b)", False),
        ("SUM(SUM(a)) OVER ()", True),
        ("`sum`", False),
        ("'SUM(a)'", False),
        ("date_trunc('DAY', a)", False),
        ("PERCENTILE(a, 0.5)", True),
    ],
)
def test_aggregates_are_told_from_what_is_grouped_by(sql: str, aggregate: bool) -> None:
    assert is_aggregate(sql) is aggregate


@pytest.mark.parametrize(
    ("fields", "by_hand"),
    [
        ({"n": "SUM(`n`)"}, "SELECT SUM(n) FROM t"),
        ({"region": "`region`", "n": "COUNT(`*`)"}, "SELECT region, COUNT(*) FROM t GROUP BY region"),
        ({"p": "`product`"}, "SELECT DISTINCT product FROM t"),
        (
            {"day": 'DATE_TRUNC("DAY", `at`)', "x": "SUM(`price`)"},
            "SELECT date_trunc('day', \"at\"), SUM(price) FROM t GROUP BY 1",
        ),
        ({"b": "BIN_FLOOR(`price`, 2)", "n": "COUNT(`*`)"}, "SELECT floor(price / 2) * 2, COUNT(*) FROM t GROUP BY 1"),
        (
            {"m": "MEDIAN(DOUBLE(`price`))", "q": "PERCENTILE(DOUBLE(`price`), 0.25)", "r": "`region`"},
            "SELECT median(price), quantile_cont(price, 0.25), region FROM t GROUP BY region",
        ),
        ({"share": "MEASURE(`share`)", "p": "`product`"}, "SELECT SUM(n) / COUNT(*), product FROM t GROUP BY product"),
    ],
)
def test_a_widget_has_the_rows_of_the_query_by_hand(session: Any, fields: dict[str, str], by_hand: str) -> None:
    session.con.execute(
        "CREATE OR REPLACE TABLE t AS SELECT * FROM (VALUES"
        " ('north', 'tea', 3, 1.5, TIMESTAMPTZ'2026-11-01 10:00:00Z'),"
        "('north', 'tea', NULL, 2.5, TIMESTAMPTZ'2026-11-01 23:59:59.9999Z'),"
        "('south', 'coffee', 7, 0.25, TIMESTAMPTZ'2026-11-02 00:00:00Z'),"
        "(NULL, 'tea', 1, 10, TIMESTAMPTZ'2026-11-03 12:00:00Z')) "
        'AS t(region, product, n, price, "at")'
    )
    columns = [{"displayName": "share", "expression": "SUM(`n`) / COUNT(`*`)"}]
    found = OpenBoard(session, board(SALES, widget("table", fields, {}), columns=columns)).figures()
    assert found.names == tuple(fields)

    def comparable(rows: Any) -> list[str]:
        return sorted(str([float(v) if hasattr(v, "as_integer_ratio") else v for v in row]) for row in rows)

    assert comparable(found.rows) == comparable(session.con.execute(by_hand).fetchall())


def test_rows_that_are_not_grouped_stay_in_the_datasets_order(session: Any) -> None:
    sql = "SELECT id FROM range(20000) ORDER BY id % 7 DESC, id"
    found = OpenBoard(session, board(sql, widget("table", {"id": "`id`"}, {}, disaggregated=True))).figures()
    assert found.rows == session.sql(sql, dialect="databricks").fetchall()


def test_a_query_has_its_own_conditions_and_order(session: Any) -> None:
    more = {"filters": [{"expression": "`n` > 1"}], "orders": [{"expression": "SUM(`n`)", "direction": "DESC"}]}
    tile = widget("table", {"region": "`region`", "n": "SUM(`n`)"}, {}, query=more)
    assert OpenBoard(session, board(SALES, tile)).figures().rows == [("south", 7), ("north", 3)]


class Counting:
    """A session that keeps the texts that it ran."""

    def __init__(self, session: Any) -> None:
        self.con, self._sql, self.texts = session.con, session.sql, []

    def sql(self, text: str, *arguments: Any, **options: Any) -> Any:
        self.texts.append(text)
        return self._sql(text, *arguments, **options)


def test_a_dataset_is_run_once_for_all_its_widgets(session: Any) -> None:
    tile = widget("table", {"r": "MAX(`id`)"}, {})
    counting = Counting(session)
    opened = OpenBoard(counting, board("SELECT id FROM range(10)", tile, tile))
    with opened.numbers:
        assert opened.figures(0).rows == opened.figures(1).rows == [(9,)]
    assert sum("range(10)" in text for text in counting.texts) == 1


def test_parameters_are_values_and_no_sql(session: Any) -> None:
    text = "SELECT :name AS name, array_contains(:many, 'b') AS b, :days.min AS low, :days.max AS high"
    parameters = [
        {"keyword": "name", "dataType": "STRING", "defaultSelection": {"values": {"values": [{"value": "' OR 1=1"}]}}},
        {"keyword": "many", "complexType": "MULTI"},
        {"keyword": "days", "dataType": "DATE", "complexType": "RANGE",
         "defaultSelection": {"range": {"min": {"value": "now/M"}, "max": {"value": "now/d"}}}},
    ]  # fmt: skip
    fields = {each: f"`{each}`" for each in ("name", "b", "low", "high")}
    found = board(text, widget("table", fields, {}, disaggregated=True), parameters=parameters)
    row = OpenBoard(session, found).figures().rows[0]
    assert row == ("' OR 1=1", False, datetime(2026, 11, 1).date(), datetime(2026, 11, 30).date())


def test_many_rows_are_cut_or_sampled_and_it_is_said(session: Any) -> None:
    tile = widget("table", {"id": "`id`"}, {}, disaggregated=True)
    opened = OpenBoard(session, board("SELECT id FROM range(100003)", tile))
    first, sampled = opened.figures(limit=1000), opened.figures(limit=1000, sampled=True)
    assert (first.rows[-1], len(first.rows), first.total) == ((999,), 1000, 100003)
    assert first.note == "The first 1,000 of 100,003 rows."
    assert [row[0] for row in sampled.rows] == list(range(0, 100003, 101))
    assert sampled.note == "Every 101st of 100,003 rows."


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT nosuch FROM VALUES (1) AS t(a)", "nosuch"),
        ("SELEC 1", "is no query; a board runs SELECT alone, not SELEC"),
        ("", "the dataset Data has no query"),
        ("DROP TABLE t", "not DROP"),
        ("WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x", "is no query"),
        ("SELECT 1; DROP TABLE t", "one statement"),
        ("SET aiq_reuse = 'off'; SELECT 1", "not SET"),
        ("SELECT ai_query('chat', 'x') AS a", "asks a model, which would be paid each time the board opens"),
        ("SELECT :p AS a", "names the parameter :p, which the file does not define"),
    ],
)
def test_a_dataset_that_fails_is_said_on_the_tile(session: Any, sql: str, words: str) -> None:
    drawn = OpenBoard(session, board(sql, widget("counter", {"a": "`a`"}, {"value": {"fieldName": "a"}}))).drawn()
    assert words in drawn.problem


def test_a_widget_without_its_dataset_is_said(session: Any) -> None:
    tile = widget("counter", {"a": "`a`"}, {"value": {"fieldName": "a"}}, dataset="gone")
    assert OpenBoard(session, board("SELECT 1 AS a", tile)).drawn().problem == "the file has no dataset 'gone'"


def filtered(kind: str, name: str, more: Any = None) -> dict[str, Any]:
    tile = widget(
        kind,
        {name: f"`{name}`"},
        {"fields": [{"fieldName": name, "queryName": "main_query"}]},
        **(more or {}),
    )
    tile["widget"]["name"] = "choice"
    return tile


@pytest.mark.parametrize(
    ("kind", "name", "selection", "more", "left"),
    [
        ("filter-multi-select", "region", Selection(("north", "it's")), {}, 2),
        ("filter-multi-select", "region", Selection(("north",)), {"exclude": True}, 2),
        ("filter-single-select", "n", Selection(("7",)), {}, 1),
        ("filter-single-select", "price", Selection(("0.25",)), {}, 1),
        ("filter-single-select", "at", Selection(("2026-11-02 00:00:00",)), {}, 1),
        ("filter-date-range-picker", "at", Selection((), "2026-11-01", "2026-11-01", "DATE"), {}, 2),
        ("filter-date-range-picker", "at", Selection((), "2026-11-02", None, "DATE"), {}, 2),
        ("filter-date-picker", "at", Selection(("2026-11-01",), data_type="DATE"), {}, 2),
        ("range-slider", "n", Selection((), "2", "7"), {}, 2),
        ("filter-text-entry", "product", Selection(("COFF",)), {}, 1),
        ("filter-text-entry", "product", Selection(("tea",)), {"matchMode": "exact-match"}, 3),
        ("filter-text-entry", "product", Selection(("ea",)), {"matchMode": "starts-with"}, 0),
        ("filter-text-entry", "product", Selection(("T",)), {"isCaseSensitive": True}, 0),
        ("filter-single-select", "region", Selection(), {}, 4),
        ("filter-single-select", "n", Selection(("",)), {}, 4),
        ("filter-single-select", "region", Selection(("",)), {}, 0),
    ],
)
def test_a_filter_leaves_the_rows_that_it_chooses(
    session: Any, kind: str, name: str, selection: Selection, more: Any, left: int
) -> None:
    count = widget("counter", {"n": "COUNT(`*`)"}, {"value": {"fieldName": "n"}})
    found = board(SALES, count, filtered(kind, name, more))
    assert OpenBoard(session, found, {"choice": selection}).figures().rows == [(left,)]


def test_a_filter_offers_the_values_of_its_field(session: Any) -> None:
    opened = OpenBoard(session, board(SALES, filtered("filter-single-select", "price")))
    assert opened.numbers.options(opened.widget().queries[0], "price", opened.scope) == [
        "0.25",
        "1.50",
        "2.50",
        "10.00",
    ]
