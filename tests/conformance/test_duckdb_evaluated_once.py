"""DuckDB's own ways of writing a statement: each asks what its result needs, once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pytest

if TYPE_CHECKING:
    from tests.conformance.conftest import Beside

YES, GOOD = "ai_query('chat', ask)", "ai_query('chat', check_it)"
ALL = f"SELECT id, {YES} AS r FROM items"


FORMS = [
    pytest.param(
        f"WITH c AS MATERIALIZED ({ALL}) SELECT x.id FROM c x JOIN c y USING (id) WHERE x.r = y.r",
        24,
        id="materialized",
    ),
    pytest.param(
        f"WITH c AS NOT MATERIALIZED ({ALL}) SELECT x.id FROM c x JOIN c y USING (id) WHERE x.r = y.r",
        24,
        id="not-materialized",
    ),
    pytest.param(
        "WITH RECURSIVE c(n, s) AS (SELECT 0, 'start' UNION ALL SELECT n + 1, ai_query('chat', s || n) FROM c "
        "WHERE n < 3) "
        "SELECT * FROM c",
        3,
        id="recursive",
    ),
    pytest.param(f"FROM items SELECT {YES} WHERE id < 5", 5, id="from-first"),
    pytest.param(f"SELECT * REPLACE ({YES} AS ask) FROM items WHERE id < 5", 5, id="replace"),
    pytest.param(f"SELECT * EXCLUDE (check_it), {YES} AS r FROM items WHERE id < 5", 5, id="exclude"),
    pytest.param(f"SELECT DISTINCT ON (grp) id, {YES} AS r FROM items ORDER BY grp, id", 4, id="distinct-on"),
    pytest.param(f"SELECT {YES} AS r, count(*) AS n FROM items GROUP BY ALL ORDER BY ALL", 24, id="group-by-all"),
    pytest.param(f"SELECT id, {YES} AS r FROM items WHERE r = 'yes' AND id < 10", 10, id="alias-in-where"),
    pytest.param(f"SELECT {YES} AS r, count(*) AS n FROM items GROUP BY r HAVING n > 0", 24, id="alias-in-having"),
    pytest.param(f"SELECT id, {YES} AS r, r || '!' AS s FROM items WHERE id < 5", 5, id="alias-in-select"),
    pytest.param(
        f"SELECT id, {YES} AS r FROM items QUALIFY row_number() OVER (PARTITION BY grp ORDER BY id) = 1",
        4,
        id="qualify",
    ),
    pytest.param(
        f"SELECT id FROM items QUALIFY row_number() OVER (PARTITION BY {YES} ORDER BY id) = 1", 24, id="qualify-by"
    ),
    pytest.param(
        f"SELECT id FROM items QUALIFY {YES} = 'yes' AND row_number() OVER (PARTITION BY grp ORDER BY id) = 1",
        4,
        id="qualify-and",
    ),
    pytest.param(
        f"SELECT id, {GOOD} AS g FROM items QUALIFY row_number() OVER (PARTITION BY {YES} ORDER BY id) = 1",
        26,
        id="qualify-before-select",
    ),
    pytest.param(f"SELECT 'yes' = ANY (SELECT {YES} FROM items WHERE id < 5) AS r", 5, id="any"),
    pytest.param(f"SELECT 'yes' <> ALL (SELECT {YES} FROM items WHERE id IN (1, 2)) AS r", 2, id="all"),
    pytest.param(f"SELECT ARRAY(SELECT {YES} FROM items WHERE id < 5 ORDER BY id) AS r", 5, id="array"),
    pytest.param(f"SELECT list({YES} ORDER BY id) AS r FROM items WHERE id < 5", 5, id="list"),
    pytest.param(
        f"SELECT i.id, l.r FROM items i, LATERAL (SELECT {YES.replace('ask', 'i.ask')} AS r) l WHERE i.id < 5",
        5,
        id="lateral",
    ),
    pytest.param("SELECT ai_query('chat', x) AS r FROM (SELECT unnest(['a', 'b', 'a', NULL]) AS x)", 2, id="unnest"),
    pytest.param("SELECT unnest([ai_query('chat', 'a'), ai_query('chat', 'b')]) AS r", 2, id="unnest-of-answers"),
    pytest.param(f"SELECT {{'a': {YES}, 'b': [{GOOD}]}} AS r FROM items WHERE id < 3", 6, id="struct"),
    pytest.param("SELECT * FROM (VALUES (ai_query('chat', 'a')), ('b')) v(r)", 1, id="values"),
    pytest.param(f"(SELECT id, {YES} AS r FROM items) ORDER BY id LIMIT 3", 3, id="parenthesised"),
    pytest.param(
        f"PIVOT (SELECT grp, {YES} AS r FROM items) ON r IN ('yes', 'no') USING count(*) GROUP BY grp", 24, id="pivot"
    ),
    pytest.param(
        f"SELECT x.id, y.g FROM items x JOIN (SELECT id, {GOOD} AS g FROM items) y USING (id) "
        f"WHERE {YES.replace('ask', 'x.ask')} = 'yes'",
        32,
        id="answers-beside-a-filter-of-a-join",
    ),
    pytest.param(
        f"WITH y AS (SELECT id, {GOOD} AS g FROM items) SELECT x.id, g FROM items x LEFT JOIN y ON x.id = y.id "
        f"WHERE {YES.replace('ask', 'x.ask')} = 'yes'",
        32,
        id="answers-of-a-cte-beside-a-filter-of-a-join",
    ),
    pytest.param(
        f"SELECT x.id, y.g FROM ({ALL}) x, (SELECT id, {GOOD} AS g FROM items) y WHERE x.id = y.id AND x.r = 'yes'",
        32,
        id="answers-of-two-derived-tables-of-which-one-decides",
    ),
    pytest.param(
        f"SELECT r FROM (SELECT {YES.replace('ask', 'i.ask')} AS r FROM items i JOIN range(5) n(k) ON n.k = i.id) s "
        "WHERE ai_query('chat', r) <> 'none'",
        7,
        id="answers-of-a-join-inside-that-decide",
    ),
    pytest.param(f"SELECT id FROM items ANTI JOIN ({ALL}) a ON a.id = items.id AND a.r = 'yes'", 24, id="anti-join"),
    pytest.param(
        f"SELECT id FROM items SEMI JOIN ({ALL}) a ON a.id = items.id AND a.r = 'yes' WHERE id < 6", 24, id="semi-join"
    ),
    pytest.param(
        f"SELECT i.id, p.r FROM items i POSITIONAL JOIN (SELECT {YES} AS r FROM items) p", 24, id="positional-join"
    ),
    pytest.param(
        f"SELECT id, {YES} AS r FROM items ORDER BY id LIMIT (SELECT count(*) FROM items WHERE {GOOD} = 'good')",
        36,
        id="limit-by-answers",
    ),
    pytest.param(
        f"SELECT id, now() = now() AS n, {YES} AS r FROM items WHERE id < 5 AND now() > '2000-01-01'",
        5,
        id="stable-time",
    ),
]

WRITES = [
    pytest.param(f"CREATE TABLE o AS {ALL} WHERE id < 5; SELECT * FROM o", 5, id="create-table-as"),
    pytest.param(f"CREATE TABLE o AS ({ALL} WHERE id < 5); SELECT * FROM o", 5, id="create-table-as-parenthesised"),
    pytest.param(f"CREATE TABLE o AS FROM ({ALL}) WHERE id < 5; SELECT * FROM o", 5, id="create-table-as-from"),
    pytest.param(f"CREATE TEMP TABLE o AS {ALL} WHERE r = 'yes'; SELECT * FROM o", 24, id="create-temp-table-as"),
    pytest.param(
        f"CREATE TABLE o (id INT, r VARCHAR); INSERT INTO o {ALL} WHERE id < 5; SELECT * FROM o", 5, id="insert"
    ),
    pytest.param(
        f"CREATE TABLE o (id INT, r VARCHAR); INSERT INTO o ({ALL} WHERE id < 5); SELECT * FROM o",
        5,
        id="insert-parenthesised",
    ),
    pytest.param(
        f"CREATE TABLE o (r VARCHAR, id INT); INSERT INTO o BY NAME {ALL} WHERE id < 5; SELECT * FROM o",
        5,
        id="insert-by-name",
    ),
    pytest.param(
        "CREATE TABLE o (r VARCHAR); INSERT INTO o VALUES (ai_query('chat', 'a')), (ai_query('chat', 'b')); "
        "SELECT * FROM o",
        2,
        id="insert-values",
    ),
    pytest.param(
        f"CREATE TABLE o (id INT PRIMARY KEY, r VARCHAR); INSERT INTO o VALUES (3, 'old'); INSERT INTO o {ALL} "
        "WHERE id < 5 "
        "ON CONFLICT DO UPDATE SET r = excluded.r; SELECT * FROM o",
        5,
        id="upsert",
    ),
    pytest.param(f"UPDATE items SET name = {YES} WHERE id < 5; SELECT * FROM items", 5, id="update"),
    pytest.param(
        f"UPDATE items SET name = s.r FROM ({ALL}) s WHERE s.id = items.id AND s.id < 5; SELECT * FROM items",
        5,
        id="update-from",
    ),
    pytest.param(f"DELETE FROM items WHERE {YES} = 'yes' AND id < 10; SELECT * FROM items", 10, id="delete"),
    pytest.param(
        f"DELETE FROM items WHERE id IN (SELECT id FROM items WHERE {YES} = 'yes'); SELECT * FROM items",
        24,
        id="delete-in",
    ),
    pytest.param(
        f"CREATE TABLE o (id INT, r VARCHAR); INSERT INTO o VALUES (3, 'old'); MERGE INTO o USING ({ALL} WHERE "
        "id < 5) s "
        "ON o.id = s.id WHEN MATCHED THEN UPDATE SET r = s.r WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.r); "
        "SELECT * FROM o",
        5,
        id="merge",
    ),
    pytest.param(
        f"CREATE TABLE o AS SELECT id, name FROM items WHERE id < 6; MERGE INTO o USING items s ON o.id = s.id AND "
        f"{YES.replace('ask', 's.ask')} = 'yes' WHEN MATCHED THEN DELETE; SELECT * FROM o",
        6,
        id="merge-on",
    ),
    pytest.param(
        "CREATE TABLE o AS SELECT id, name FROM items WHERE id < 6; MERGE INTO o USING (FROM items WHERE id < 9) s "
        f"ON o.id = s.id WHEN MATCHED AND {YES} = 'yes' THEN UPDATE SET name = {GOOD} "
        f"WHEN NOT MATCHED THEN INSERT VALUES (s.id, {GOOD}); SELECT * FROM o",
        6 + 2 + 3,
        id="merge-conditions",
    ),
    pytest.param(
        f"UPDATE items SET name = {GOOD} WHERE {YES} = 'yes' AND id < 12; SELECT * FROM items",
        12 + 4,
        id="update-where",
    ),
    pytest.param(f"DELETE FROM items WHERE id < 20 OR {YES} = 'yes'; SELECT * FROM items", 4, id="delete-or"),
    pytest.param(f"CREATE VIEW v AS {ALL}; SELECT * FROM v WHERE id < 5", 5, id="view"),
    pytest.param(
        f"CREATE VIEW v AS {ALL}; SELECT count(*) AS n FROM v WHERE r = 'yes'", 24, id="view-filtered-by-the-answer"
    ),
    pytest.param(f"CREATE VIEW v AS {ALL}; SELECT id FROM v ORDER BY id", 0, id="view-column-unused"),
    pytest.param(
        f"CREATE VIEW v AS {ALL}; CREATE VIEW w AS SELECT * FROM v WHERE id < 5; SELECT * FROM w WHERE r = 'yes'",
        5,
        id="view-of-a-view",
    ),
    pytest.param(
        f"CREATE VIEW v AS {ALL}; SELECT a.id FROM v a JOIN v b USING (id) WHERE a.r = b.r AND id < 5",
        5,
        id="view-twice",
    ),
    pytest.param(
        f"CREATE VIEW v AS {ALL}; SELECT i.id, {GOOD} AS g FROM v JOIN items i USING (id) WHERE v.r = 'yes'",
        32,
        id="view-then-a-call",
    ),
    pytest.param(
        "CREATE MACRO y(x) AS ai_query('chat', x); SELECT id, y(ask) AS r FROM items WHERE id < 5", 5, id="macro"
    ),
    pytest.param(
        "CREATE MACRO y(x) AS ai_query('chat', x); SELECT id FROM items WHERE y(ask) = 'yes' AND id < 5",
        5,
        id="macro-in-where",
    ),
    pytest.param(
        "CREATE MACRO y(x) AS CASE WHEN x LIKE 'Item 1%' THEN ai_query('chat', x) END; SELECT id, y(ask) AS r "
        "FROM items",
        11,
        id="macro-guard",
    ),
    pytest.param(f"CREATE MACRO q(n) AS TABLE {ALL} WHERE id < n; SELECT * FROM q(5)", 5, id="table-macro"),
    pytest.param(
        f"SELECT i.id, {YES} AS r FROM items i JOIN (SELECT id, name FROM items) j ON j.id = i.id ORDER BY i.name, "
        "i.id LIMIT 3",
        3,
        id="first-few-of-a-join",
    ),
    pytest.param(
        f"SELECT i.id, {YES} AS r FROM items i, (SELECT id AS other, grp AS g FROM items) j WHERE other = i.id AND "
        "i.id = (SELECT min(id) FROM items k WHERE k.name = i.name) ORDER BY j.g, i.name LIMIT 3",
        3,
        id="first-few-of-a-join-beside-a-correlated-subquery",
    ),
    pytest.param(
        f"SELECT id, {YES} AS r FROM items i WHERE id = (SELECT min(id) FROM items k WHERE k.name = i.name) ORDER BY "
        "name LIMIT 3",
        3,
        id="first-few-beside-a-correlated-subquery",
    ),
]


MERGE = "MERGE INTO items USING (SELECT id FROM items WHERE id < 20) s ON items.id = s.id"
MERGES = [
    pytest.param(
        f"{MERGE} WHEN NOT MATCHED BY SOURCE THEN UPDATE SET note = {YES}; SELECT * FROM items",
        4,
        id="merge-by-source",
    ),
    pytest.param(
        f"{MERGE} WHEN NOT MATCHED BY SOURCE AND "
        f"items.grp = 1 THEN UPDATE SET note = {YES} WHEN NOT MATCHED BY SOURCE THEN DELETE; SELECT * FROM items",
        1,
        id="merge-by-source-and",
    ),
    pytest.param(
        f"{MERGE} WHEN MATCHED AND items.id < 2 THEN "
        f"UPDATE SET note = {GOOD} WHEN NOT MATCHED BY SOURCE THEN UPDATE SET note = {YES}; SELECT * FROM items",
        6,
        id="merge-matched-and-by-source",
    ),
]
"""Merges of rows that the source does not have."""


@pytest.mark.parametrize(("sql", "needed"), MERGES)
def test_a_merge_asks_only_for_the_rows_that_the_source_does_not_have(items: Beside, sql: str, needed: int) -> None:
    items.check(sql, needed)


@pytest.mark.engines("duckdb", "registered")
@pytest.mark.parametrize(("sql", "needed"), FORMS)
def test_a_form_of_duckdb_asks_what_its_result_needs(items: Beside, sql: str, needed: int) -> None:
    items.check(sql, needed)


@pytest.mark.engines("duckdb", "registered")
@pytest.mark.parametrize(("sql", "needed"), WRITES)
def test_what_is_written_is_asked_once(items: Beside, sql: str, needed: int) -> None:
    items.check(sql, needed)


def test_what_an_update_returns_is_asked_after_what_it_sets(items: Beside) -> None:
    rows = items.engine.sql(f"UPDATE items SET name = {GOOD} WHERE id < 4 RETURNING id, ai_query('chat', name) AS r")
    assert [row[0] for row in sorted(rows)] == [0, 1, 2, 3]
    assert items.engine.requests() == 4 + 2


def test_a_unique_column_is_not_violated_by_missing_answers(items: Beside) -> None:
    items.check(
        "CREATE TABLE o (r VARCHAR NOT NULL UNIQUE); INSERT INTO o VALUES ('a'); "
        f"UPDATE o SET r = (SELECT max({YES}) FROM items WHERE id < 3); SELECT * FROM o",
        3,
    )


def test_an_update_that_fails_changes_nothing(items: Beside) -> None:
    items.engine.sql("CREATE TABLE o (id INT, r VARCHAR CHECK (r <> 'no'))")
    items.engine.sql("INSERT INTO o SELECT id, 'old' FROM items WHERE id < 5")
    with pytest.raises(duckdb.ConstraintException):
        items.engine.sql(f"UPDATE o SET r = {YES} FROM items WHERE items.id = o.id")
    assert items.engine.sql("SELECT DISTINCT r FROM o") == [("old",)]


def test_in_somebodys_own_transaction_an_update_asks_once_and_can_be_rolled_back(items: Beside) -> None:
    items.engine.sql("BEGIN")
    items.engine.sql(f"UPDATE items SET name = {YES} WHERE id < 5")
    assert items.engine.requests() == 5
    assert items.engine.sql("SELECT count(*) FROM items WHERE name IN ('yes', 'no')") == [(5,)]
    items.engine.sql("ROLLBACK")
    assert items.engine.sql("SELECT count(*) FROM items WHERE name IN ('yes', 'no')") == [(0,)]


def test_an_order_that_is_not_the_default_is_kept_under_other_settings(items: Beside) -> None:
    for con in (items.engine.session.con, items.plain):
        con.execute("SET default_null_order = 'nulls_first'")
        con.execute("UPDATE items SET name = NULL WHERE id > 20")
    items.check(
        f"SELECT id + 0 AS n, {YES} AS r FROM items ORDER BY name || '' DESC NULLS LAST, id LIMIT 3", most=24, least=3
    )


def test_a_table_made_of_answers_has_the_names_of_the_query(items: Beside) -> None:
    items.engine.sql(f"CREATE TABLE o AS SELECT upper({YES}), {YES} FROM items WHERE id < 3")
    columns = [row[0] for row in items.engine.sql("DESCRIBE o")]
    assert columns == ["upper(ai_query('chat', ask))", YES]


@pytest.mark.parametrize("sql", [each.values[0] for each in FORMS], ids=[each.id for each in FORMS])
def test_what_the_session_has_answered_is_looked_up_with_the_same_result(items: Beside, sql: str) -> None:
    items.engine.sql("SET aiq_reuse = 'session'")
    for statement in sql.split(";")[:-1]:
        items.engine.sql(statement)
    last = sql.split(";")[-1]
    first = items.engine.sql(last)
    items.engine.requests()
    assert sorted(items.engine.sql(last), key=repr) == sorted(first, key=repr)
    assert items.engine.requests() == 0


@pytest.mark.engines("duckdb", "registered")
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_copy_asks_once(items: Beside, tmp_path: Path, form: str) -> None:
    file = tmp_path / f"out.{form}"
    items.check(f"COPY ({ALL} WHERE r = 'yes' AND id < 10) TO '{file}' (FORMAT {form}); SELECT * FROM '{file}'", 10)


def test_explain_asks_nothing(items: Beside) -> None:
    items.engine.sql(f"EXPLAIN {ALL}")
    items.engine.sql("EXPLAIN SELECT ai_query('chat', 'k')")
    assert items.engine.requests() == 0


def test_insert_returning_asks_once(items: Beside) -> None:
    items.engine.sql("CREATE TABLE o (id INT, r VARCHAR)")
    rows = items.engine.sql(f"INSERT INTO o {ALL} WHERE id < 5 RETURNING id, r")
    assert sorted(rows) == sorted(items.plain.sql(f"{ALL} WHERE id < 5").fetchall())
    assert items.engine.requests() == 5


def test_a_large_chunked_insert_writes_every_row_once(items: Beside) -> None:
    items.check(
        "CREATE TABLE o AS SELECT i, ai_query('chat', 'Row ' || (i % 7)) AS r FROM range(5000) t(i); SELECT * FROM o", 7
    )


ERRORS = [
    pytest.param(
        f"SELECT id, CASE WHEN {YES} IN ('yes', 'no') THEN 'ok' ELSE error('not an answer') END AS r FROM items",
        24,
        id="error-call",
    ),
    pytest.param(
        f"SELECT id, CAST(replace(replace(coalesce({YES}, 'none'), 'yes', '1'), 'no', '0') AS INT) AS r FROM items",
        24,
        id="cast",
    ),
    pytest.param(
        f"SELECT (SELECT id FROM items WHERE id < 4 AND coalesce({YES}, 'yes') = 'yes' AND id > 0) AS r",
        3,
        id="more-than-one-row",
    ),
    pytest.param(
        f"SELECT id, CAST(CASE {YES} WHEN 'yes' THEN '1' WHEN 'no' THEN '0' ELSE 'x' END AS INT) AS r FROM items",
        24,
        id="cast-of-case",
    ),
]


@pytest.mark.parametrize(("sql", "needed"), ERRORS)
def test_an_error_is_raised_by_answers_only(items: Beside, sql: str, needed: int) -> None:
    """No row may look like one that fails while its answer is still on its way."""
    items.check(sql, needed)


def test_rows_keep_the_order_of_a_sorted_limit_without_insertion_order(items: Beside) -> None:
    for con in (items.engine.session.con, items.plain):
        con.execute("SET preserve_insertion_order = false")
    items.check(f"SELECT id, {YES} AS r FROM items ORDER BY -id LIMIT 20", 20)
