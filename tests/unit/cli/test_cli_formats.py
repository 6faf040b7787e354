"""Rows as text: for people shortened and whole where it matters, for programs and documents as they are."""

from __future__ import annotations

import io
import json
from decimal import Decimal
from typing import Any

import duckdb
import pytest
import typer

from aiq.cli.formats import Format, write_text
from aiq.cli.show import console, table
from aiq.cli.values import for_each, typed

ROWS = "SELECT 1 AS id, 'a|b' || chr(10) || 'c\\' AS t, NULL AS n UNION ALL SELECT 22, 'x', 'y' ORDER BY 1"


def as_text(query: str, kind: Format) -> str:
    file = io.StringIO()
    write_text(duckdb.connect().sql(query), kind, file)
    return file.getvalue()


def as_table(monkeypatch: pytest.MonkeyPatch, query: str, width: int = 100) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    file = io.StringIO()
    console(file).print(table(duckdb.connect().sql(query)))
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Format.jsonl, '{"id": 1, "t": "a|b\\nc\\\\", "n": null}\n{"id": 22, "t": "x", "n": "y"}\n'),
        (Format.markdown, "| id | t | n |\n| ---: | --- | --- |\n| 1 | a\\|b<br>c\\\\ |  |\n| 22 | x | y |\n"),
        (Format.line, "id = 1\n t = a|b\n     c\\\n n = NULL\n\nid = 22\n t = x\n n = y\n"),
    ],
)
def test_formats_of_text(kind: Format, text: str) -> None:
    assert as_text(ROWS, kind) == text


def test_jsonl_reads_back_row_by_row() -> None:
    rows = [json.loads(line) for line in as_text(ROWS, Format.jsonl).splitlines()]
    assert rows == json.loads(as_text(ROWS, Format.json))


def test_a_box_has_every_row_and_every_value_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = as_text("SELECT i, range(40) AS v FROM range(150) AS r(i)", Format.box)
    assert text.count("39]") == 150


def test_a_vector_is_shown_by_its_beginning_and_its_length(monkeypatch: pytest.MonkeyPatch) -> None:
    text = as_table(
        monkeypatch,
        "SELECT [0.03114, -0.0372, 1, 2, 3, 4, 5]::FLOAT[] AS a, range(384) AS b, [0.5, 0.25]::FLOAT[] AS c, "
        "[NULL, 1, 2, 3, 4, 5, 6]::DOUBLE[] AS d, ['a', 'b', 'c', 'd', 'e', 'f', 'g'] AS e, NULL::FLOAT[] AS f",
        160,
    )
    assert "[0.0311, -0.0372, ... 7 floats]" in text and "[0, 1, ... 384 numbers]" in text and "[0.5, 0.25]" in text
    assert "[NULL, 1.0, 2.0" in text and "[a, b, c, d, e, f, g]" in text


def test_dollars_are_shown_as_dollars_and_only_numbers_are(monkeypatch: pytest.MonkeyPatch) -> None:
    text = as_table(monkeypatch, "SELECT 7.26e-05 AS cost_usd, 1234.5 AS usd, 'usd' AS by_usd, 'NaN'::FLOAT AS max_usd")
    assert "$0.000073" in text and "$1,234.50" in text and "│ usd " in text and "nan" in text


def test_an_id_is_never_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    long = "0b5f2c1e-1111-2222-3333-444455556666"
    query = f"SELECT '{long}' AS request_id, repeat('word ', 60) AS answer, repeat('more ', 60) AS other"
    for width in (60, 80, 120):
        lines = as_table(monkeypatch, query, width).splitlines()
        assert any(long in line for line in lines) and max(map(len, lines)) <= width


def test_the_footer_says_how_many_rows_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for rows, words in ((0, "0 rows"), (1, "1 row"), (100, "100 rows"), (101, "the first 100 rows; the others")):
        last = as_table(monkeypatch, f"SELECT i FROM range({rows}) AS r(i)").splitlines()[-1].rstrip()
        assert last.startswith(words)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("-7", -7),
        ("0", 0),
        ("1.50", Decimal("1.50")),
        ("true", True),
        *((text, text) for text in ("007", "-0", "-0.0", "1e5", "+1", ".5", "True", "", "12345678901234567890")),
    ],
)
def test_a_parameter_says_in_a_text_what_was_typed(text: str, value: Any) -> None:
    found = typed(text)
    assert (type(found), found) == (type(value), value)
    assert duckdb.connect().execute("SELECT 'v' || $v", {"v": found}).fetchall() == [(f"v{text}",)]


def test_each_statement_gets_the_parameters_that_it_names() -> None:
    params = {"x": 1, "y": 2}
    texts = ["SELECT $x", "SELECT '$y', $$y$$ -- $y", "SELECT $y + $x"]
    assert for_each(texts, params, databricks=False) == [{"x": 1}, None, params]
    assert for_each(["SELECT :x, a::y", "SELECT `a:b`, :y"], params, databricks=True) == [{"x": 1}, {"y": 2}]
    with pytest.raises(typer.BadParameter, match=r"no statement has \$y"):
        for_each(texts[:2], params, databricks=False)
