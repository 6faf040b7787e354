"""A UNION ALL in two: its rows, and over them what is made of each part's answers, as split_union.sql shows it."""

from __future__ import annotations

import pytest

from aiq.engines.duckdb.rewrite.split import Split
from aiq.engines.duckdb.rewrite.split_union import split_union
from tests.unit.engines.duckdb.rewrite.cases import VOLATILE, database, params, printed, query, shown


def made(text: str, seed: int = 1) -> Split | None:
    db = database(seed)
    return split_union(query(text), db.columns(text), db.describe, VOLATILE)


@pytest.mark.parametrize(("before", "after"), params("split_union.sql"))
def test_a_union_is_taken_in_two(before: str, after: str | None) -> None:
    found = made(before)
    together = None if found is None else found.together()
    assert (together and shown(together)) == (after and shown(printed(after)))


@pytest.mark.parametrize(("before", "after"), params("split_union.sql"))
def test_both_parts_give_the_rows_of_the_union_in_their_order(before: str, after: str | None) -> None:
    for seed in range(4):
        db, found = database(seed), made(before, seed)
        if found is not None:
            once, over, together = found.once(), found.over("made"), found.together()
            assert once is not None and over is not None and together is not None
            assert db.rows_in_two(once, over) == db.rows(together) == db.rows(before)
            assert db.columns(together) == db.columns(before)


def test_no_part_is_asked_for_rows_of_another() -> None:
    text = "SELECT id, ai1(body) AS a FROM t UNION ALL SELECT id, ai2(name) FROM u ORDER BY id LIMIT 7"
    db, found = database(), made(text)
    together = None if found is None else found.together()
    assert together is not None
    shown_rows = "SELECT 1 AS n, id, body FROM t UNION ALL SELECT 2, id, name FROM u ORDER BY id LIMIT 7"
    wanted = {(site, request) for site, _, request in db.rows(shown_rows) if request is not None}
    assert db.asks(together) == wanted


def test_a_union_that_is_taken_in_two_stays_as_it_was() -> None:
    text = "SELECT id, ai1(body) AS a FROM t UNION ALL SELECT id, name FROM u"
    db, found = database(), query(text)
    assert split_union(found, db.columns(text), db.describe, VOLATILE) is not None
    assert found.text() == printed(text)
