"""A query in two: the rows that need no answer and what is made of the answers, as split.sql shows it."""

from __future__ import annotations

import pytest

from aiq.engines.duckdb.rewrite.split import Split, renamed, split
from aiq.engines.duckdb.rewrite.tree import expression_text
from tests.unit.engines.duckdb.rewrite.cases import VOLATILE, database, numbered, params, printed, query, shown

SEEDS = range(4)


def made(text: str, seed: int = 1) -> Split | None:
    db = database(seed)
    return split(query(text), db.columns(text), db.describe, VOLATILE)


@pytest.mark.parametrize(("before", "after"), params("split.sql"))
def test_a_query_is_taken_in_two(before: str, after: str | None) -> None:
    found = made(before)
    together = None if found is None else found.together()
    assert (together and shown(together)) == (after and shown(printed(after)))


@pytest.mark.parametrize(("before", "after"), params("split.sql"))
def test_both_parts_give_the_rows_of_the_query_in_their_order(before: str, after: str | None) -> None:
    for seed in SEEDS:
        db, found = database(seed), made(before, seed)
        expected = db.rows(before)
        if found is not None:
            once, over, together = found.once(), found.over("made"), found.together()
            assert once is not None and over is not None and together is not None
            assert db.rows_in_two(once, over) == db.rows(together) == expected
            assert db.columns(together) == db.columns(before)


@pytest.mark.parametrize(("before", "after"), params("split.sql"))
def test_the_rows_need_only_answers_that_decide_on_them(before: str, after: str | None) -> None:
    found = made(before)
    if found is not None and "max(ai1" not in before:
        once = found.once()
        decide = {2} if "WHERE ai2" in before or "ORDER BY ai2" in (after or "") else set()
        assert once is not None and {site for site, _ in database().asks(once)} == decide


@pytest.mark.parametrize("column", ["random()", "'q ' || random()", "uuid()::VARCHAR"])
def test_what_is_another_value_each_time_is_one_of_the_rows(column: str) -> None:
    found = made(f"SELECT id, {column} AS v, ai1({column}::VARCHAR || body) AS a FROM t ORDER BY id LIMIT 3")
    over = None if found is None else found.over("made")
    assert over is not None and not any(name in over for name in VOLATILE)


def test_a_branch_that_is_another_value_each_time_is_not_taken_apart() -> None:
    assert made("SELECT CASE WHEN ok THEN ai1(body) ELSE random()::VARCHAR END AS a FROM t") is None


def test_a_macro_may_be_an_aggregate() -> None:
    db = database()
    db.con.execute("CREATE OR REPLACE MACRO whatever(x) AS max(x)")
    assert made("SELECT whatever(ai1(body)) AS a FROM t") is None


def test_the_query_that_is_taken_in_two_stays_as_it_was() -> None:
    text = "SELECT id, ai1(body) AS r, upper(r) AS b FROM t ORDER BY id LIMIT 5"
    found = query(text)
    db = database()
    assert split(found, db.columns(text), db.describe, VOLATILE) is not None
    assert found.text() == printed(text)


def test_a_set_operation_is_not_for_it() -> None:
    assert made("SELECT ai1(body) AS a FROM t UNION ALL SELECT kind FROM u") is None


def test_columns_of_the_rows_are_told_from_those_that_are_made_of_answers() -> None:
    found = made("SELECT id, ai1(body) AS r, id AS i, upper(r) AS b FROM t ORDER BY id LIMIT 3")
    assert found is not None
    assert [found.is_made(at) for at in range(4)] == [False, True, False, True]


def test_an_item_is_read_over_a_table_by_the_names_that_its_columns_have_there() -> None:
    found = made("SELECT id, ai1(body || kind) AS a FROM t ORDER BY id LIMIT 3")
    assert found is not None
    item = renamed(found.items[1], lambda name: ["q", name.upper()])
    assert expression_text(item) == numbered("ai1((q.__AIQ_C3 || q.__AIQ_C4))")
    assert expression_text(found.items[1]) == numbered("ai1((__aiq_c3 || __aiq_c4))")


def test_a_column_of_nulls_keeps_its_place() -> None:
    found = made("SELECT NULL AS n, ai1(body) AS a, id FROM t ORDER BY id LIMIT 3")
    assert found is not None and found.width == 4
    assert found.over("made") == printed(
        f"SELECT __aiq_c1 AS n, {numbered('ai1(__aiq_c4)')} AS a, __aiq_c3 AS id FROM temp.made"
    )
