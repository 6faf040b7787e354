"""Whole statements of Databricks on DuckDB: their rows are those that Spark's rules give."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import duckdb
import pytest

from aiq.engines.duckdb.spark_values import translated
from aiq.errors import StatementError


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(
            "CREATE TABLE t AS FROM (VALUES (1, 3, [10, 20], DATE '2024-01-31'), (2, 5, [], NULL)) v(id, x, a, d)"
        )
        connection.execute("CREATE TABLE s AS SELECT 1 AS id, 9 AS x UNION ALL SELECT 7, 8")
        yield connection


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("SELECT id, e FROM t LATERAL VIEW explode(a) AS e ORDER BY e", [(1, 10), (1, 20)]),
        ("SELECT id, e.v FROM t LATERAL VIEW OUTER explode(a) e AS v ORDER BY id, v", [(1, 10), (1, 20), (2, None)]),
        ("SELECT id, p, v FROM t LATERAL VIEW posexplode(a) AS p, v ORDER BY p", [(1, 0, 10), (1, 1, 20)]),
        (
            "SELECT id, w FROM s LATERAL VIEW explode(split('a,b' || id, ',')) v AS w ORDER BY id, w LIMIT 2",
            [(1, "a"), (1, "b1")],
        ),
        ("SELECT id, w FROM s, LATERAL explode(array(x, id)) AS v(w) ORDER BY id, w", [(1, 1), (1, 9), (7, 7), (7, 8)]),
        ("SELECT w FROM s, LATERAL (SELECT w FROM (SELECT 'n ' || x AS w)) AS v ORDER BY w", [("n 8",), ("n 9",)]),
        (
            "SELECT id, w FROM t LEFT JOIN LATERAL explode(a) AS v(w) ON TRUE ORDER BY id, w",
            [(1, 10), (1, 20), (2, None)],
        ),
        ("SELECT id, v.col FROM t JOIN LATERAL explode(a) v ORDER BY v.col", [(1, 10), (1, 20)]),
        ("SELECT s.x, e FROM t JOIN s ON t.id = s.id LATERAL VIEW explode(t.a) AS e ORDER BY e", [(9, 10), (9, 20)]),
        ("SELECT id, posexplode_outer(a) AS (p, e) FROM t ORDER BY id, p", [(1, 0, 10), (1, 1, 20), (2, None, None)]),
        ("SELECT id, explode_outer(a) AS e FROM t ORDER BY id, e", [(1, 10), (1, 20), (2, None)]),
        ("SELECT id, k, v FROM s LATERAL VIEW explode(map('a', x)) m AS k, v ORDER BY id", [(1, "a", 9), (7, "a", 8)]),
        ("SELECT col FROM explode(array(1, 2))", [(1,), (2,)]),
        ("SELECT pos, col FROM posexplode(array('a', 'b'))", [(0, "a"), (1, "b")]),
        ("SELECT col0, col1 FROM stack(2, 1, 'a', 2)", [(1, "a"), (2, None)]),
        ("SELECT n, c FROM stack(1, 1, 'a') AS v(n, c)", [(1, "a")]),
        ("SELECT f, g FROM inline(array(struct(1 AS f, 'x' AS g)))", [(1, "x")]),
        ("SELECT c0 FROM json_tuple('{\"a\": 5}', 'a')", [("5",)]),
        ("SELECT id FROM t ORDER BY d", [(2,), (1,)]),
        ("SELECT id FROM t ORDER BY d DESC", [(1,), (2,)]),
        ("SELECT 'n ' || count(*) AS c FROM t", [("n 2",)]),
        ("SELECT * FROM (SELECT id, x FROM t) PIVOT (sum(x) FOR id IN (1 AS one, 2 AS two))", [(3, 5)]),
        ("SELECT * FROM (SELECT id, x FROM t) PIVOT (avg(x) FOR id IN (1 AS one))", [(3.0,)]),
        ("SELECT `1_c`, `7_c` FROM s PIVOT (count(*) AS c, sum(x) AS m FOR id IN (1, 7))", [(1, 1)]),
        ("SELECT x, count(*) FROM s WHERE id > 9 GROUP BY ROLLUP (x)", []),
        ("SELECT x, count(*) FROM s WHERE id > 9 GROUP BY x WITH CUBE", []),
        ("SELECT count(*) FROM s GROUP BY GROUPING SETS ((x), ()) HAVING sum(x) > 8", [(1,), (2,)]),
        ("SELECT id, sum(x) FROM s GROUP BY id, x GROUPING SETS ((id), ()) ORDER BY id", [(None, 17), (1, 9), (7, 8)]),
        (
            "SELECT id, x, grouping_id(), grouping(x) FROM s WHERE id = 1 GROUP BY CUBE (id, x) ORDER BY 3",
            [(1, 9, 0, 0), (1, None, 1, 1), (None, 9, 2, 0), (None, None, 3, 1)],
        ),
        ("SELECT x + 1, count(*) FROM s GROUP BY ROLLUP (1) ORDER BY 1", [(None, 2), (9, 1), (10, 1)]),
        ("SELECT id, x, count(*) FROM s GROUP BY GROUPING SETS ((1, x), (2)) HAVING x = 9", [(1, 9, 1), (None, 9, 1)]),
        ("SELECT id, x IN (SELECT nullif(x, 5) FROM t) FROM t ORDER BY id", [(1, True), (2, False)]),
        ("SELECT id, NOT (x IN (SELECT nullif(x, 5) FROM t) OR id = 9) FROM t ORDER BY id", [(1, False), (2, False)]),
        ("SELECT count(*) NOT IN (SELECT nullif(x, 5) FROM t), max(x) IN (SELECT NULL) FROM t", [(False, False)]),
        ("SELECT id FROM t WHERE x NOT IN (SELECT nullif(x, 5) FROM t) OR id = 2", [(2,)]),
        ("SELECT coalesce(x IN (SELECT nullif(x, 5) FROM t), TRUE) FROM t ORDER BY id", [(True,), (False,)]),
        ("SELECT -x AS x FROM s ORDER BY x + 0", [(-9,), (-8,)]),
        ("SELECT DISTINCT -x AS x FROM s ORDER BY CASE WHEN x = -8 THEN 0 ELSE 1 END", [(-8,), (-9,)]),
        ("SELECT x > 8 AS b, -max(id) AS id FROM s GROUP BY b ORDER BY id * 1", [(False, -7), (True, -1)]),
        (
            "SELECT 'a' || x AS p, upper(p) AS q, length(q) AS n FROM s ORDER BY upper(p)",
            [("a8", "A8", 2), ("a9", "A9", 2)],
        ),
        ("SELECT upper('a' || x) AS x, length(x) AS n FROM s ORDER BY x", [("A8", 1), ("A9", 1)]),
        ("SELECT count(*) AS c, 'n ' || c AS d, upper(d) AS e FROM s GROUP BY x > 0", [(2, "n 2", "N 2")]),
        ("SELECT struct(x AS f) AS r, r.f, r.f + 1 AS g FROM s ORDER BY r.f DESC LIMIT 1", [({"f": 9}, 9, 10)]),
        ("SELECT 'a' || x AS p FROM s GROUP BY p HAVING length(p) > 1 AND p <> 'a8'", [("a9",)]),
        ("SELECT x AS v, transform(array(1), v -> v + 1) AS w FROM s ORDER BY 1", [(8, [2]), (9, [2])]),
        ("WITH q AS (SELECT x AS y FROM s) SELECT y + 1 AS z, z * 2 AS w FROM q ORDER BY z", [(9, 18), (10, 20)]),
        ("SELECT all, x FROM (SELECT id AS all, x FROM s) q ORDER BY x", [(7, 8), (1, 9)]),
        ("SELECT a.w FROM (SELECT id, x FROM s) PIVOT (max(x) FOR (id, x) IN ((1, 9) AS w)) AS a", [(9,)]),
        ("SELECT x, count(*) AS c FROM t GROUP BY x WITH ROLLUP ORDER BY x", [(None, 2), (3, 1), (5, 1)]),
        ("SELECT x, grouping(x) AS g FROM t GROUP BY CUBE(x) ORDER BY g, x", [(3, 0), (5, 0), (None, 1)]),
        ("SELECT id, sum(x) OVER w AS m FROM t WINDOW w AS (ORDER BY id) ORDER BY id", [(1, 3), (2, 8)]),
        ("SELECT id FROM t DISTRIBUTE BY x SORT BY id DESC", [(2,), (1,)]),
        ("SELECT CAST(avg(x) AS INT) AS m, CAST(avg(-x / 2) AS BIGINT) AS n FROM t", [(4, -2)]),
        ("SELECT CAST(count(*) AS DOUBLE) / 4 AS m FROM t", [(0.5,)]),
        ("SELECT count_if(x > 1) AS n FROM t WHERE id > 9", [(0,)]),
        ("SELECT id, row_number() OVER (ORDER BY d) AS n FROM t QUALIFY n = 1", [(2, 1)]),
        ("SELECT x > 3 AS g, count(*) FROM t GROUP BY ALL ORDER BY 1", [(False, 1), (True, 1)]),
        ("SELECT stack(2, 1, 'a', 2, 'b') AS (n, s)", [(1, "a"), (2, "b")]),
        ("SELECT a.id FROM t a LEFT ANTI JOIN s ON a.id = s.id", [(2,)]),
        ("SELECT id FROM t WHERE string(d) NOT LIKE '2025%'", [(1,)]),
        ("SELECT to_json(struct(*)) AS j FROM s ORDER BY id", [('{"id":1,"x":9}',), ('{"id":7,"x":8}',)]),
        ("SELECT to_json(struct(s.*, 1 AS `n n`)) AS j FROM s WHERE id = 1", [('{"id":1,"x":9,"n n":1}',)]),
        ("SELECT to_json(collect_list(struct(*))) AS j FROM s WHERE id = 7", [('[{"id":7,"x":8}]',)]),
        ("SELECT to_json(collect_list(struct(* EXCEPT (x)))) AS j FROM s WHERE id > 7", [("[]",)]),
        ("SELECT coalesce(x, id) AS v, count(*) AS c FROM t GROUP BY x, id ORDER BY 1", [(3, 1), (5, 1)]),
        ("SELECT id FROM t UNION ALL SELECT x + 0.5D FROM s ORDER BY 1", [(1.0,), (2.0,), (8.5,), (9.5,)]),
        ("SELECT d FROM t UNION SELECT NULL ORDER BY 1", [(None,), (date(2024, 1, 31),)]),
        ("SELECT a FROM t UNION ALL SELECT array(1L) ORDER BY 1 LIMIT 2", [([],), ([1],)]),
        ("VALUES (2, 'b'), (1, 'a') ORDER BY col1 LIMIT 1", [(1, "a")]),
        ("WITH c AS (VALUES (1), (2)) SELECT sum(col1) FROM c", [(3,)]),
        ("SELECT 1 AS n UNION ALL VALUES (2) ORDER BY n", [(1,), (2,)]),
        ("SELECT id, sum(x) AS x FROM t GROUP BY id HAVING x > 3", [(2, 5)]),
        ("SELECT id % 2 AS p, count(*) AS n FROM s GROUP BY ALL HAVING n > 1", [(1, 2)]),
        ("SELECT id, count(*) FROM s GROUP BY ROLLUP(id) ORDER BY 1", [(None, 2), (1, 1), (7, 1)]),
        ("SELECT id, 1 AS one FROM s GROUP BY ALL ORDER BY id", [(1, 1), (7, 1)]),
    ],
)
def test_a_statement_gives_sparks_rows(con: duckdb.DuckDBPyConnection, text: str, rows: list[Any]) -> None:
    assert con.execute(translated(con, text)).fetchall() == rows


@pytest.mark.parametrize(
    ("statement", "rows"),
    [
        ("DELETE FROM t WHERE id IN (SELECT id FROM (SELECT -id AS k, id FROM t ORDER BY k + 0 LIMIT 1) q)", [(1, 3)]),
        ("DELETE FROM t WHERE -id IN (SELECT -id AS id FROM t ORDER BY id * 1 LIMIT 1)", [(1, 3)]),
        (
            "MERGE INTO t USING (SELECT id AS k, 'v' || x AS v, length(v) AS n FROM s) q ON t.id = q.k "
            "WHEN MATCHED THEN UPDATE SET x = q.n",
            [(1, 2), (2, 5)],
        ),
        (
            "UPDATE t SET x = (SELECT CAST(n AS INT) FROM (SELECT '1' || id AS v, v || '0' AS n FROM s) q "
            "ORDER BY n LIMIT 1)",
            [(1, 110), (2, 110)],
        ),
    ],
)
def test_a_change_reads_values_by_their_names_too(
    con: duckdb.DuckDBPyConnection, statement: str, rows: list[Any]
) -> None:
    con.execute(translated(con, statement))
    assert con.execute("SELECT id, x FROM t ORDER BY id").fetchall() == rows


def test_a_value_that_is_another_one_each_time_is_not_read_twice(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(duckdb.BinderException):
        con.execute(translated(con, "SELECT uuid() AS u, upper(u) AS v FROM s"))


@pytest.mark.parametrize(
    "text",
    [
        "SELECT id AS v FROM t UNION ALL SELECT length('a') UNION ALL SELECT 'x'",
        "SELECT CAST(1 AS FLOAT) AS v UNION ALL SELECT 0.5",
        "SELECT '5' || id + 1 FROM t",
        "SELECT struct(t.*, s.*) FROM t JOIN s ON t.id = s.id",
        "SELECT id FROM t UNION ALL SELECT string(id) FROM t",
        "WITH c AS (SELECT id AS v FROM t EXCEPT SELECT float(x) FROM t) SELECT * FROM c",
        "SELECT count(*) FROM t UNION SELECT max(CAST(x AS DECIMAL(10,2))) FROM s",
        "SELECT id FROM t WHERE id IN (SELECT id FROM t INTERSECT SELECT 'n' || id FROM s)",
        "SELECT d FROM t UNION ALL SELECT id = 1 FROM s",
        "SELECT ai_query('m', 'p') AS v FROM t UNION ALL SELECT id FROM s",
        "SELECT string(id) FROM t UNION ALL SELECT ai_query('m', 'p', returnType => 'INT') FROM s",
        "SELECT named_struct('a', id) FROM t UNION ALL SELECT named_struct('b', id) FROM s",
        "INSERT INTO t (x) SELECT id FROM s UNION ALL SELECT string(x) FROM s",
        "MERGE INTO t USING (SELECT id FROM s UNION SELECT string(x) FROM s) q ON t.id = q.id WHEN MATCHED THEN DELETE",
        "CREATE VIEW v AS SELECT id FROM t UNION SELECT string(id) FROM t",
        "SELECT 4 AS v, 'a' AS w FROM s GROUP BY ALL",
        "SELECT 4 AS v, x FROM s GROUP BY CUBE (1, x)",
        "SELECT id + x, count(*) FROM s GROUP BY GROUPING SETS ((id + x), (x + id))",
        "WITH q AS (SELECT map('a', x) AS m FROM s) SELECT m, count(*) FROM q GROUP BY m",
        "SELECT (x IN (SELECT x FROM t)) = FALSE FROM t",
        "SELECT CAST(NULL AS INT) IN (SELECT x FROM t)",
        "SELECT * FROM s LEFT JOIN t ON (s.x IN (SELECT x FROM t)) IS NULL",
        "SELECT CASE x IN (SELECT x FROM t) WHEN TRUE THEN 1 ELSE 2 END FROM t",
        "SELECT count(*) AS v FROM s GROUP BY ROLLUP (1)",
        "SELECT id, grouping_id(id) FROM s GROUP BY ROLLUP (id, x)",
        "SELECT m, count(*) FROM (SELECT map('a', x) AS m FROM s) GROUP BY m",
        "SELECT m AS k, count(*) FROM (SELECT map('a', x) AS m FROM s) GROUP BY k",
        "WITH q AS (SELECT map('a', x) AS m FROM s) SELECT 1 FROM (SELECT m, count(*) FROM q GROUP BY ALL)",
        "SELECT all, x, count(*) FROM (SELECT id AS all, x FROM s) q GROUP BY ALL",
        "SELECT x FROM (SELECT id AS all, x FROM s) q ORDER BY ALL",
        "SELECT id AS a, 3 AS id FROM s GROUP BY id HAVING id > 4",
        "SELECT x AS v, id AS x FROM s GROUP BY ALL HAVING x > 4",
        "SELECT count(s.*) FROM s",
        "SELECT count(DISTINCT *) FROM s",
        "SELECT * FROM VALUES (1), ('a') AS v(a)",
        "SELECT * FROM s PIVOT (first(x) FOR id IN (1, 7))",
        "SELECT rank() OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM s",
        "SELECT lag(x) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM s",
        "CREATE TABLE g (id BIGINT GENERATED ALWAYS AS IDENTITY, x INT)",
        "CREATE TABLE g (id INT, x INT GENERATED ALWAYS AS (id + 1))",
        "CREATE TABLE g (id INT, x DATE DEFAULT current_date())",
        "ALTER TABLE t ADD COLUMNS (n STRING, m STRING)",
        "ALTER TABLE t ADD CONSTRAINT c CHECK (id > 0)",
        "SELECT * FROM s PIVOT (count(*) AS c, max(x) AS m FOR id IN (1, 7))",
        "SELECT * FROM s PIVOT (count(*), sum(x) FOR id IN (1, 7))",
        "SELECT * FROM VALUES (TRUE), (2) AS v(a)",
        "SELECT * FROM VALUES (1), (CAST(2 AS FLOAT)) AS v(a)",
    ],
)
def test_what_duckdb_would_read_otherwise_is_refused(con: duckdb.DuckDBPyConnection, text: str) -> None:
    with pytest.raises(StatementError, match="cannot be translated from Databricks SQL"):
        translated(con, text)


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO w (n) VALUES (6.7)",
        "INSERT INTO w (n, s) SELECT x / 2, 'a' FROM t",
        "INSERT INTO w VALUES (1, 2e9D, 3.5, array(1))",
        "INSERT INTO w BY NAME SELECT x * 0.5D AS p FROM t",
        "INSERT INTO w (s) SELECT 2.50",
        "INSERT INTO w (s) SELECT current_timestamp()",
        "INSERT INTO w (l) SELECT array(0.5, 2.5)",
        "INSERT OVERWRITE w (n) SELECT 2.5D",
        "INSERT OVERWRITE w SELECT 1, 'a', 2.5D, array(1)",
        "INSERT INTO w (n, s) REPLACE WHERE n > 1 SELECT 2.5D, 'a'",
        "WITH c AS (SELECT 2.5 AS v) INSERT INTO w (n) SELECT v FROM c",
        "UPDATE w SET s = 'a', n = n * 1.5 WHERE n > 2",
        "MERGE INTO w USING s ON w.n = s.id WHEN MATCHED THEN UPDATE SET w.s = 'a', w.n = s.x / 2",
        "MERGE INTO w USING s ON w.n = s.id WHEN NOT MATCHED THEN INSERT (s, n) VALUES (s.x / 2, s.id)",
    ],
)
def test_a_value_that_duckdb_would_store_as_another_one_is_refused(con: duckdb.DuckDBPyConnection, text: str) -> None:
    con.execute("CREATE TABLE w (n INTEGER, s VARCHAR, p DECIMAL(20, 9), l INTEGER[])")
    with pytest.raises(StatementError, match=r"is another value on DuckDB; write CAST\(\.\. AS "):
        translated(con, text)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("INSERT INTO w (n) VALUES (int(6.7)), (CAST(-2.5D AS INT))", [(6, None, None), (-2, None, None)]),
        ("INSERT INTO w (s, p) SELECT string(1e7D), CAST(8123456D AS DECIMAL(20, 9))", [(None, "1.0E7", 8123456)]),
        ("INSERT INTO w SELECT id, 'x' || id, 1.5 FROM s WHERE id = 7", [(7, "x7", 1.5)]),
        ("INSERT INTO w (n) SELECT '12'", [(12, None, None)]),
        ("WITH c AS (SELECT id FROM s WHERE id = 1) INSERT INTO w (n) SELECT id FROM c", [(1, None, None)]),
    ],
)
def test_a_value_of_its_columns_type_is_stored(con: duckdb.DuckDBPyConnection, text: str, rows: list[Any]) -> None:
    con.execute("CREATE TABLE w (n INTEGER, s VARCHAR, p DECIMAL(20, 9))")
    con.execute(translated(con, text))
    assert con.execute("SELECT n, s, p FROM w").fetchall() == rows


@pytest.mark.parametrize(
    ("item", "names"),
    [
        ("explode(a)", ["col"]),
        ("posexplode(a)", ["pos", "col"]),
        ("inline(array(struct(id AS f, x AS g)))", ["f", "g"]),
        ("stack(2, id, 1, x, 2)", ["col0", "col1"]),
        ("json_tuple('{}', 'a', 'b')", ["c0", "c1"]),
    ],
)
def test_a_generator_without_names_has_sparks(con: duckdb.DuckDBPyConnection, item: str, names: list[str]) -> None:
    made = con.execute(translated(con, f"SELECT id, {item} FROM t"))
    assert [column[0] for column in made.description or ()] == ["id", *names]


def test_a_table_keeps_not_null(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(translated(con, "CREATE TABLE n (a INT NOT NULL COMMENT 'key', b STRING) USING DELTA"))
    with pytest.raises(duckdb.ConstraintException):
        con.execute("INSERT INTO n VALUES (NULL, 'b')")


def test_keys_inform_and_checks_hold(con: duckdb.DuckDBPyConnection) -> None:
    text = (
        "CREATE TABLE k (a INT PRIMARY KEY RELY, b INT DEFAULT 5, c INT REFERENCES t(id), d INT, e INT NOT NULL, "
        "CONSTRAINT two PRIMARY KEY (b), FOREIGN KEY (c) REFERENCES t(id), CONSTRAINT more CHECK (d > 0))"
    )
    con.execute(translated(con, text))
    for _ in range(2):  # on Databricks a key is not enforced
        con.execute("INSERT INTO k (a, c, d, e) VALUES (1, 99, 1, 0)")
    assert con.execute("SELECT b FROM k").fetchall() == [(5,), (5,)]
    for row in (
        "(NULL, 1, 1, 1, 1)",
        "(1, NULL, 1, 1, 1)",
        "(1, 1, 1, 0, 1)",
        "(1, 1, 1, NULL, 1)",
        "(1, 1, 1, 1, NULL)",
    ):
        with pytest.raises(duckdb.ConstraintException):
            con.execute(f"INSERT INTO k VALUES {row}")


def test_a_column_is_added_and_renamed(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(translated(con, "ALTER TABLE s ADD COLUMNS (n STRING COMMENT 'a name')"))
    con.execute(translated(con, "ALTER TABLE s RENAME COLUMN n TO m"))
    assert con.execute("SELECT m FROM s WHERE id = 1").fetchall() == [(None,)]


def test_merge_may_name_the_columns_that_it_sets_with_their_table(con: duckdb.DuckDBPyConnection) -> None:
    text = (
        "MERGE INTO t USING s ON t.id = s.id WHEN MATCHED THEN UPDATE SET t.x = s.x "
        "WHEN NOT MATCHED THEN INSERT (id, x) VALUES (s.id, s.x)"
    )
    con.execute(translated(con, text))
    assert con.execute("SELECT id, x FROM t ORDER BY id").fetchall() == [(1, 9), (2, 5), (7, 8)]
