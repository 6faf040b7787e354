"""Where the statements of a script end."""

from __future__ import annotations

import pytest

from aiq.errors import StatementError
from aiq.sql.script import split


@pytest.mark.parametrize(
    ("script", "statements"),
    [
        ("", []),
        ("-- nothing; here", []),
        ("SELECT 1", ["SELECT 1"]),
        ("SELECT ';'; SELECT \";\" ;", ["SELECT ';'", 'SELECT ";"']),
        ("SELECT $$a;b$$; /* ; */ SELECT 2", ["SELECT $$a;b$$", "/* ; */ SELECT 2"]),
        (";;SELECT 1;;", ["SELECT 1"]),
        ("SELECT 1 AS `a;b`; SELECT 2", ["SELECT 1 AS `a;b`", "SELECT 2"]),
        ("EXECUTE q('a;b'); SHOW TABLES", ["EXECUTE q('a;b')", "SHOW TABLES"]),
        ("SELECT 1;\r\nSELECT 2;\r\n-- end", ["SELECT 1", "SELECT 2"]),
    ],
)
def test_a_script_is_split_at_semicolons_that_end_a_statement(script: str, statements: list[str]) -> None:
    assert split(script) == statements


def test_a_databricks_script_may_escape_a_quote() -> None:
    assert split(r"SELECT 'it\'s; so'; SELECT `a;b`", "databricks") == [r"SELECT 'it\'s; so'", "SELECT `a;b`"]


def test_a_string_without_an_end_is_refused() -> None:
    with pytest.raises(StatementError, match="cannot be read"):
        split("SELECT 'abc")
