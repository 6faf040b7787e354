"""A call of a kept function as text, and where a name means one."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiq.errors import StatementError
from aiq.sql.words import DATABRICKS
from aiq.statements.definitions.create import read
from aiq.statements.definitions.expand import Expansion, Surroundings
from aiq.statements.definitions.parsed import Create
from aiq.statements.definitions.store import Definition, Definitions


def _expansion(tmp_path: Path, *texts: str) -> Expansion:
    definitions = Definitions(tmp_path)
    for text in texts:
        created = read(text, DATABRICKS)
        assert isinstance(created, Create)
        made = Definition(created.kind, "", "", created.name[-1], text, DATABRICKS, True, "ann", 0.0, temporary=True)
        definitions.add(made, replace=True)
    around = Surroundings(lambda: ("", ""), lambda _: False, lambda _: False, lambda _: False, str, str)
    return Expansion(definitions, around)


def _spelled(tmp_path: Path, query: str, *texts: str) -> str:
    return " ".join(_expansion(tmp_path, *texts).expanded(query, DATABRICKS).split())


F = "CREATE FUNCTION f(a INT, s STRING DEFAULT 'd') RETURNS STRING RETURN concat(s, a)"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT f(1)", "SELECT CAST(concat((CAST('d' AS STRING)), (CAST(1 AS INT))) AS STRING) AS `f(1)`"),
        ("SELECT g.f(1), 'f(1)', f FROM t", "SELECT g.f(1), 'f(1)', f FROM t"),
        ("SELECT `f`(a) x FROM t", "SELECT CAST(concat((CAST('d' AS STRING)), (CAST(a AS INT))) AS STRING) x FROM t"),
        ("INSERT INTO f (a) VALUES (1)", "INSERT INTO f (a) VALUES (1)"),
        ("SELECT * FROM v", "SELECT * FROM (SELECT 1 AS one ) AS `v`"),
        ("FROM x, v JOIN v w ON true", "FROM x, (SELECT 1 AS one ) AS `v` JOIN (SELECT 1 AS one ) w ON true"),
        ("SELECT extract(YEAR FROM v), v FROM t", "SELECT extract(YEAR FROM v), v FROM t"),
        ("SELECT a IS DISTINCT FROM v FROM t", "SELECT a IS DISTINCT FROM v FROM t"),
        ("WITH v AS (SELECT 2) SELECT * FROM v", "WITH v AS (SELECT 2) SELECT * FROM v"),
        ("DELETE FROM v WHERE true", "DELETE FROM v WHERE true"),
        ("SELECT (SELECT 1 FROM (v)) FROM t", "SELECT (SELECT 1 FROM ((SELECT 1 AS one ) AS `v`)) FROM t"),
        ("SELECT * FROM a.b.v", "SELECT * FROM a.b.v"),
    ],
)  # fmt: skip
def test_names_are_found_where_they_mean_a_definition(tmp_path: Path, query: str, expected: str) -> None:
    assert _spelled(tmp_path, query, F, "CREATE TEMPORARY VIEW v AS SELECT 1 AS one") == expected


def test_a_name_of_a_lambda_takes_no_argument_for_its_own(tmp_path: Path) -> None:
    made = _spelled(tmp_path, "SELECT g(x) FROM t", "CREATE FUNCTION g(y INT) RETURN transform(array(1), x -> x + y)")
    assert "x -> x + y" in made and "SELECT (CAST(x AS INT))" in made


def test_a_statement_that_grows_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiq.statements.definitions.expand.MAX_SPELLED", 50)
    texts = ["CREATE FUNCTION g0(x STRING) RETURN concat(x, x, x, x, x, x, x, x)"]
    texts += [f"CREATE FUNCTION g{i}(x STRING) RETURN concat({', '.join([f'g{i - 1}(x)'] * 8)})" for i in range(1, 9)]
    with pytest.raises(StatementError, match="50 times"):
        _spelled(tmp_path, "SELECT g8('a')", *texts)
