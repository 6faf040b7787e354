"""What a text is without the marks of notebooks and the characters that nobody sees."""

from __future__ import annotations

import pytest

from aiq.errors import StatementError
from aiq.sql.notebook.variables import with_variables
from aiq.sql.script import split
from aiq.sql.text import clean
from aiq.sql.words import words

CLEANED = {
    "\ufeffSELECT\u00a01": "SELECT 1",
    "SEL\u200bECT '\u200b\u00a0' -- \u00a0x": "SELECT '\u200b\u00a0' --  x",
    "SELECT \"\u00a0\", `\u00a0`, r'\u00a0\\', 'it\\'s\u00a0',\u00a0 1": None,
    "SELECT 1 -- one\rFROM t": "SELECT 1 -- one\nFROM t",
    "SELECT 1\r\n": "SELECT 1\r\n",
    "%sql SELECT 1": " SELECT 1",
    "SELECT 7 %sql": "SELECT 7 %sql",
    "-- MAGIC %sql\n-- MAGIC SELECT '-- MAGIC x'": "\nSELECT '-- MAGIC x'",
    "%md\n# not SQL; at all": "",
}


@pytest.mark.parametrize(("text", "cleaned"), CLEANED.items())
def test_a_text_is_cleaned_outside_of_its_quotes(text: str, cleaned: str | None) -> None:
    expected = text.replace(",\u00a0 1", ",  1") if cleaned is None else cleaned
    assert clean(text, databricks=True) == expected


@pytest.mark.parametrize("tag", ["", "a1", "_", "\u00e9", "\U0001f986", "\u3000"])
def test_a_text_between_dollars_stays_whatever_its_tag(tag: str) -> None:
    quoted = f"${tag}$it's \u3000 -- \r here${tag}$"
    assert clean(f"SELECT {quoted},\u00a01", databricks=False) == f"SELECT {quoted}, 1"
    assert [word.kind for word in words(f"SELECT {quoted}, 1", "duckdb")] == ["word", "text", "sign", "number"]


def test_a_return_ends_a_comment() -> None:
    assert clean("SELECT 1 -- it's\r, '\u3000'", databricks=False) == "SELECT 1 -- it's\n, '\u3000'"


def test_each_cell_of_a_notebook_is_a_statement_with_or_without_a_semicolon() -> None:
    cells = ["-- Databricks notebook source\nSELECT 1\n", "-- MAGIC %md a; b\n", "SELECT ';';"]
    text = "-- COMMAND ----------\n".join(cells)
    assert split(text, "databricks") == ["SELECT 1", "SELECT ';'"]


@pytest.mark.parametrize(
    "text", ["%python\nx", "# Databricks notebook source\nimport os", "-- MAGIC %scala\n-- MAGIC 1"]
)
def test_cells_of_other_languages_are_refused(text: str) -> None:
    with pytest.raises(StatementError, match="cell of"):
        clean(text, databricks=True)


def test_a_value_in_quotes_cannot_end_them() -> None:
    values = {"v": 'it\'s \\ "x"', "t": "a`b"}
    text = "SELECT '${v}', \"{{v}}\", `${t}`, {{v}} FROM {{t}} -- ${v}"
    made = with_variables(text, values.__getitem__, databricks=True)
    assert made == ('SELECT \'it\\\'s \\\\ "x"\', "it\'s \\\\ \\"x\\"", `a``b`, \'it\\\'s \\\\ "x"\' FROM a`b -- ${v}')
    assert with_variables("SELECT '${v}'", values.__getitem__, databricks=False) == "SELECT 'it''s \\ \"x\"'"


def test_duckdb_keeps_a_template_in_quotes_that_has_no_value() -> None:
    text = "SELECT replace(a, '${name}', b), $${x}$$"
    assert with_variables(text, {}.__getitem__, databricks=False) == text
