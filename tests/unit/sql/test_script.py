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


BLOCK = """BEGIN
  DECLARE a INT DEFAULT CASE WHEN true THEN 2 ELSE 3 END;
  IF a > 1 THEN SELECT 'END; x'; ELSEIF a = 3 THEN SELECT 2; END IF;
  WHILE a < 3 DO SET a = a + 1; END WHILE;
  again: LOOP LEAVE again; END LOOP again;
  FOR r AS SELECT 1 AS y DO SELECT if(r.y = 1, 2, 3); END FOR;
  REPEAT SET a = a - 1; UNTIL a < 0 END REPEAT;
  CASE a WHEN 1 THEN SELECT 1; ELSE SELECT 2; END CASE;
  BEGIN SELECT repeat('x', 2); END;
END"""


def test_a_block_of_databricks_is_one_statement_and_a_transaction_is_none() -> None:
    script = f"SELECT 0; {BLOCK}; l: BEGIN SELECT 1; END l; BEGIN; SELECT 2; COMMIT; BEGIN TRANSACTION"
    assert split(script, "databricks") == [
        "SELECT 0", BLOCK, "l: BEGIN SELECT 1; END l", "BEGIN", "SELECT 2", "COMMIT", "BEGIN TRANSACTION"
    ]  # fmt: skip


def test_a_string_without_an_end_is_refused() -> None:
    with pytest.raises(StatementError, match="cannot be read"):
        split("SELECT 'abc")
