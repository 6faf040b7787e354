"""Where the parts of statements stand, as `parts` finds them in texts that DuckDB takes."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest

from aiq.engines.duckdb.rewrite import tree
from aiq.engines.duckdb.rewrite.parts import Parts, Span, parts
from aiq.sql import calls

_CON = duckdb.connect()


def said(text: str) -> dict[str, Any]:
    """The parts of a statement as their texts; what it does not have is left out."""
    found = parts(text)
    assert found is not None, text

    def of(value: Any) -> Any:
        if isinstance(value, Span):
            return value.of(text)
        return list(map(of, value)) if isinstance(value, tuple) and isinstance(value[0], Span) else value

    whens = [(when.rows, of(when.condition), list(map(of, when.values))) for when in found.whens]
    made = {name: of(value) for name, value in found._asdict().items() if value and name != "whens"}
    return {**made, "whens": whens} if whens else made


def wrapped(text: str) -> str:
    """A statement with every expression in parentheses of its own."""
    found = parts(text)
    assert found is not None
    conditions = [when.condition for when in found.whens]
    values = [value for when in found.whens for value in when.values]
    spans = [span for span in (found.where, *found.values, *conditions, *values) if span is not None]
    return calls.replace(text, [(span.start, span.end, f"({span.of(text)})") for span in spans])


def taken_by_duckdb(text: str) -> bool:
    """Whether a text is one statement for DuckDB."""
    try:
        return len(_CON.extract_statements(text)) == 1
    except duckdb.Error:
        return False


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1",
        "  -- a note\n select 1;",
        "WITH c AS (SELECT 1) SELECT * FROM c",
        "WITH RECURSIVE c(i) USING KEY (i) AS (SELECT 1 UNION SELECT 2) FROM c",
        "WITH a AS MATERIALIZED (SELECT 1), b(x) AS NOT MATERIALIZED (FROM a) (SELECT * FROM b)",
        "FROM t",
        "VALUES (1), (2)",
        "TABLE t",
        "(SELECT 1) UNION ALL (SELECT 2)",
        "PIVOT t ON a USING count(*)",
        "UNPIVOT t ON a, b",
        "SELECT count(*) update, max(a) delete FROM t",
    ],
)
def test_a_query_is_all_of_its_text(text: str) -> None:
    assert said(text) == {"kind": "select", "query": text}


@pytest.mark.parametrize(
    ("opening", "table"),
    [
        ("CREATE TABLE r AS", ("r",)),
        ("create table R as", ("R",)),
        ("CREATE TEMP TABLE r AS", ("r",)),
        ("CREATE TEMPORARY TABLE IF NOT EXISTS r AS", ("r",)),
        ("CREATE TABLE IF NOT EXISTS s.r AS", ("s", "r")),
        ('CREATE TABLE d."s.s"."say ""r""" AS', ("d", "s.s", 'say "r"')),
        ("CREATE TABLE d . s . r (a, b) AS", ("d", "s", "r")),
        ('CREATE TABLE "as" ("select") AS', ("as",)),
        ("CREATE TABLE größe$1 /* AS */ AS -- the rows\n", ("größe$1",)),
        ("CREATE OR REPLACE TABLE r AS", ("r",)),
        ("CREATE OR REPLACE TEMP TABLE d.r (a) AS", ("d", "r")),
    ],
)
@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1",
        "(SELECT 1)",
        "FROM t ORDER BY a",
        "VALUES (1, 'a AS b'), (2, $$as; b$$)",
        "WITH c AS (SELECT 1) SELECT * FROM c",
        "(SELECT 1) UNION (SELECT 2) LIMIT 1",
        "TABLE t",
    ],
)
def test_the_query_and_the_table_of_a_create_table(opening: str, table: tuple[str, ...], query: str) -> None:
    text = f"{opening} {query}"
    assert taken_by_duckdb(text)
    expected = {"kind": "create", "query": query, "replaced" if "REPLACE" in opening else "made": table}
    assert said(text) == said(f"{text};") == expected


def test_with_data_is_no_part_of_a_query() -> None:
    text = "CREATE TABLE r AS SELECT 1 AS data WITH DATA"
    assert said(text) == {"kind": "create", "query": "SELECT 1 AS data", "made": ("r",)}


def test_a_query_whose_rows_are_not_wanted_is_not_evaluated_apart() -> None:
    assert said("CREATE TABLE r AS SELECT 1 WITH NO DATA") == {"kind": "create", "made": ("r",)}


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("INSERT INTO r SELECT a FROM t", "SELECT a FROM t"),
        ('INSERT INTO d.s."r r" (a, "select") SELECT a, b FROM t', "SELECT a, b FROM t"),
        ("INSERT INTO r VALUES (1, 'a'), (2, DEFAULT)", "VALUES (1, 'a'), (2, DEFAULT)"),
        ("INSERT INTO r BY NAME SELECT a FROM t", "SELECT a FROM t"),
        ("INSERT INTO r BY POSITION FROM t", "FROM t"),
        ("INSERT OR REPLACE INTO r SELECT a FROM t", "SELECT a FROM t"),
        ("INSERT OR IGNORE INTO r (a) (SELECT a FROM t)", "(SELECT a FROM t)"),
        ("INSERT INTO r AS x (a) (SELECT a FROM t) UNION ALL SELECT 1", "(SELECT a FROM t) UNION ALL SELECT 1"),
        ("INSERT INTO r WITH c AS (SELECT 1) SELECT * FROM c", "WITH c AS (SELECT 1) SELECT * FROM c"),
        ("INSERT INTO r SELECT a FROM t ON CONFLICT DO NOTHING", "SELECT a FROM t"),
        (
            "INSERT INTO r SELECT t.a FROM t JOIN u ON t.a = u.a ON CONFLICT (a) DO UPDATE SET b = excluded.b",
            "SELECT t.a FROM t JOIN u ON t.a = u.a",
        ),
        ('INSERT INTO r SELECT a AS "returning" FROM t -- \' \n ;', 'SELECT a AS "returning" FROM t'),
    ],
)
def test_the_query_of_an_insert(text: str, query: str) -> None:
    assert taken_by_duckdb(text)
    assert said(text) == {"kind": "insert", "query": query}
    with_rows = text.removesuffix(";").rstrip() + "\nRETURNING a, 'b' AS c"
    assert taken_by_duckdb(with_rows) and said(with_rows) == {"kind": "insert", "query": query, "returning": True}


def test_an_insert_of_defaults_has_no_query() -> None:
    assert said("INSERT INTO r DEFAULT VALUES RETURNING a") == {"kind": "insert", "returning": True}


@pytest.mark.parametrize("query", ["SELECT a FROM t", "WITH c AS (SELECT 1) FROM c", " FROM t -- all of them\n"])
def test_the_query_of_a_copy(query: str) -> None:
    text = f"COPY ({query}) TO 'r.csv' (FORMAT csv, HEADER)"
    assert taken_by_duckdb(text) and said(text) == {"kind": "copy", "query": query}


@pytest.mark.parametrize("text", ["COPY t TO 'r.csv'", "COPY t (a, b) FROM 'r.csv'"])
def test_a_copy_of_a_table_has_no_query(text: str) -> None:
    assert taken_by_duckdb(text) and parts(text) is None


UPDATES = [
    ("UPDATE t SET a = 1", {"target": "t", "values": ["1"]}),
    (
        "UPDATE d.s.t AS x SET a = x.b || 'WHERE', \"b\" = CASE WHEN a = 1 THEN 2 END, WHERE c IS DISTINCT FROM 3",
        {
            "target": "d.s.t AS x",
            "values": ["x.b || 'WHERE'", "CASE WHEN a = 1 THEN 2 END"],
            "where": "c IS DISTINCT FROM 3",
        },
    ),
    (
        "UPDATE t SET a = u.a IS NOT DISTINCT FROM t.a, c = x = y FROM u, (SELECT 1 FROM v WHERE k) w WHERE u.k = t.k",
        {
            "target": "t",
            "values": ["u.a IS NOT DISTINCT FROM t.a", "x = y"],
            "source": "u, (SELECT 1 FROM v WHERE k) w",
            "where": "u.k = t.k",
        },
    ),
    (
        "UPDATE t SET (a, b) = (f(1, 2), 'x'), c = {'p': 1, 'q': [2, 3]} RETURNING a, b",
        {"target": "t", "values": ["f(1, 2)", "'x'", "{'p': 1, 'q': [2, 3]}"], "returning": True},
    ),
    ("UPDATE t SET a = DEFAULT, (b, c) = (DEFAULT, 2)", {"target": "t", "values": ["2"]}),
    (
        "UPDATE t SET a = s.case WHERE s.end = 1 AND CASE s.end WHEN 1 THEN true END",
        {"target": "t", "values": ["s.case"], "where": "s.end = 1 AND CASE s.end WHEN 1 THEN true END"},
    ),
    (
        "UPDATE t SET a = $$x WHERE y$$, b = e'it\\'s WHERE z', größe = ? /* WHERE */ WHERE -- why\n b = ';';",
        {"target": "t", "values": ["$$x WHERE y$$", "e'it\\'s WHERE z'", "?"], "where": "b = ';'"},
    ),
    ("UPDATE t SET a = extract(year FROM b) WHERE trim(BOTH FROM c) = ''", None),
]


@pytest.mark.parametrize(("text", "expected"), UPDATES)
def test_the_parts_of_an_update(text: str, expected: dict[str, Any] | None) -> None:
    if expected is None:
        expected = {"target": "t", "values": ["extract(year FROM b)"], "where": "trim(BOTH FROM c) = ''"}
    assert taken_by_duckdb(text) and taken_by_duckdb(wrapped(text))
    assert said(text) == {"kind": "update", **expected}


@pytest.mark.parametrize(
    "text",
    [
        "UPDATE t SET (a, b) = row(1, 2)",
        "UPDATE t SET (a, b) = (SELECT 1, 2)",
        "UPDATE t SET (a, b) = ((1, 2))",
        "UPDATE t SET (a) = (SELECT b FROM u)",
    ],
)
def test_values_that_are_not_written_one_by_one_are_not_known(text: str) -> None:
    assert said(text) == {"kind": "update"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("DELETE FROM t", {"target": "t"}),
        ("DELETE FROM d.s.t AS x WHERE a IN (SELECT 1)", {"target": "d.s.t AS x", "where": "a IN (SELECT 1)"}),
        (
            "DELETE FROM t x USING u JOIN v USING (k), (SELECT 1) AS w WHERE x.k = u.k RETURNING x.*",
            {
                "target": "t x",
                "source": "u JOIN v USING (k), (SELECT 1) AS w",
                "where": "x.k = u.k",
                "returning": True,
            },
        ),
        ("DELETE FROM \"where\" WHERE a = ' WHERE '", {"target": '"where"', "where": "a = ' WHERE '"}),
    ],
)
def test_the_parts_of_a_delete(text: str, expected: dict[str, Any]) -> None:
    assert taken_by_duckdb(text) and taken_by_duckdb(wrapped(text))
    assert said(text) == {"kind": "delete", **expected}


MERGE = "MERGE INTO d.t AS x USING (SELECT 1 AS id) AS s ON x.id = s.id"


@pytest.mark.parametrize(
    ("whens", "expected"),
    [
        ("WHEN MATCHED THEN DELETE", [("matched", None, [])]),
        ("WHEN MATCHED AND x.a = 1 THEN DO NOTHING", [("matched", "x.a = 1", [])]),
        ("WHEN MATCHED THEN UPDATE SET a = f(1, 2), b = 3", [("matched", None, ["f(1, 2)", "3"])]),
        ("WHEN MATCHED THEN UPDATE SET (a, b) = (1, 2), c = DEFAULT", [("matched", None, ["1", "2"])]),
        ("WHEN MATCHED THEN UPDATE SET *", [("matched", None, [])]),
        ("WHEN MATCHED THEN UPDATE", [("matched", None, [])]),
        ("WHEN MATCHED THEN UPDATE BY NAME", [("matched", None, [])]),
        ("WHEN NOT MATCHED THEN INSERT *", [("source", None, [])]),
        ("WHEN NOT MATCHED THEN INSERT", [("source", None, [])]),
        ("WHEN NOT MATCHED THEN INSERT BY NAME", [("source", None, [])]),
        ("WHEN NOT MATCHED THEN INSERT DEFAULT VALUES", [("source", None, [])]),
        (
            "WHEN NOT MATCHED BY TARGET AND s.id > 1 THEN INSERT (a, b) VALUES (s.id, CASE WHEN true THEN 1, END)",
            None,
        ),
        (
            "WHEN NOT MATCHED BY TARGET AND s.id > 1 THEN INSERT (a, b) VALUES (s.id, CASE WHEN s.a THEN 1 END)",
            [("source", "s.id > 1", ["s.id", "CASE WHEN s.a THEN 1 END"])],
        ),
        ("WHEN NOT MATCHED THEN INSERT VALUES (DEFAULT, [1, 2], DEFAULT)", [("source", None, ["[1, 2]"])]),
        (
            "WHEN NOT MATCHED BY SOURCE AND x.a > 1 THEN UPDATE SET a = 'THEN WHEN'",
            [("target", "x.a > 1", ["'THEN WHEN'"])],
        ),
        ("WHEN MATCHED THEN ERROR 'no'", [("matched", None, [])]),
        (
            "WHEN MATCHED AND CASE WHEN x.a = 1 THEN true END AND s.b THEN DELETE "
            "WHEN NOT MATCHED BY SOURCE THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (1)",
            [("matched", "CASE WHEN x.a = 1 THEN true END AND s.b", []), ("target", None, []), ("source", None, ["1"])],
        ),
    ],
)
def test_the_parts_of_a_merge(whens: str, expected: list[Any] | None) -> None:
    text = f"{MERGE} {whens}"
    if expected is None:
        assert not taken_by_duckdb(text)
        return
    assert taken_by_duckdb(text) and taken_by_duckdb(wrapped(text))
    known = {"target": "d.t AS x", "source": "(SELECT 1 AS id) AS s", "where": "x.id = s.id", "whens": expected}
    assert said(text) == {"kind": "merge", **known}
    assert said(f"{text} RETURNING merge_action, *;") == {"kind": "merge", **known, "returning": True}


def test_a_source_of_that_name_is_no_by_source() -> None:
    text = "MERGE INTO target USING s AS source ON target.id = source.id WHEN NOT MATCHED AND source.a THEN INSERT *"
    assert said(text)["whens"] == [("source", "source.a", [])]


def test_a_merge_is_joined_by_the_last_on() -> None:
    text = "MERGE INTO t USING s JOIN u ON s.k = u.k LEFT JOIN v ON true ON t.id = s.id WHEN MATCHED THEN DELETE"
    assert taken_by_duckdb(text)
    assert (said(text)["source"], said(text)["where"]) == ("s JOIN u ON s.k = u.k LEFT JOIN v ON true", "t.id = s.id")


def test_a_merge_that_is_joined_by_names_is_not_taken_apart() -> None:
    assert said("MERGE INTO t USING s USING (id) WHEN MATCHED THEN DELETE") == {"kind": "merge"}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("WITH c AS (SELECT 1) INSERT INTO t SELECT * FROM c", "insert"),
        ("WITH c(x) AS MATERIALIZED (SELECT 1), d AS (FROM c) UPDATE t SET a = 1 FROM c", "update"),
        ("WITH RECURSIVE c AS (SELECT 1) DELETE FROM t WHERE a IN (FROM c)", "delete"),
        ("WITH c AS (SELECT 1) MERGE INTO t USING c ON true WHEN MATCHED THEN DELETE", "merge"),
    ],
)
def test_a_statement_behind_its_ctes_is_not_taken_apart(text: str, kind: str) -> None:
    assert taken_by_duckdb(text)
    assert parts(text) == Parts(kind)
    assert parts(f"{text} RETURNING *") == Parts(kind, returning=True)


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO u VALUES (1) RETURNING a",
        "INSERT OR IGNORE INTO u VALUES (1)",
        "delete from u",
        "UPDATE d.s.u AS x SET a = 1 RETURNING a",
        "WITH n AS (SELECT 1) DELETE FROM u",
        "TRUNCATE u",
    ],
)
@pytest.mark.parametrize("behind", ["SELECT * FROM m", "FROM m", "(SELECT 1)", "VALUES (1)"])
def test_a_query_whose_ctes_change_rows_is_not_evaluated_apart(change: str, behind: str) -> None:
    query = f"WITH l AS (SELECT 1), m AS MATERIALIZED ({change}) {behind}"
    assert taken_by_duckdb(query)
    assert parts(query) == Parts("select")
    assert parts(f"CREATE TABLE r AS {query}") == Parts("create", made=("r",))
    assert parts(f"COPY ({query}) TO 'r.csv'") == Parts("copy")


@pytest.mark.parametrize(
    "text",
    [
        "",
        ";",
        "-- a note",
        "SET x = 1",
        "CREATE TABLE t (a INTEGER, b AS (a + 1))",
        "CREATE VIEW v AS SELECT 1",
        "CREATE VIEW v AS TABLE t",
        "CREATE MACRO m() AS TABLE SELECT 1",
        "CREATE TABLE r AS EXECUTE p",
        "CREATE TABLE r AS SUMMARIZE t",
        "ALTER TABLE t ADD COLUMN a INTEGER",
        "EXPLAIN SELECT 1",
        "TRUNCATE t",
        "CALL f(1)",
    ],
)
def test_other_statements_have_no_parts(text: str) -> None:
    assert parts(text) is None


@pytest.mark.parametrize(
    "text", ["UPDATE t", "UPDATE t SET", "UPDATE t SET a", "DELETE FROM", "MERGE INTO t", "MERGE INTO t USING s ON"]
)
def test_a_statement_that_is_not_understood_has_only_its_kind(text: str) -> None:
    assert said(text) == {"kind": text.split()[0].lower()}


@pytest.mark.parametrize("text", ["SELECT f(1", "UPDATE t SET a = (1", "DELETE FROM t WHERE )", "CREATE TABLE r AS (1"])
def test_an_open_parenthesis_does_no_harm(text: str) -> None:
    found = parts(text)
    assert found is None or found.where is None or tree.read(f"SELECT {found.where.of(text)}") is None
