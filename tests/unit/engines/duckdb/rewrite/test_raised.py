"""Calls that move out of derived tables and CTEs to where their columns are read, as raised.sql shows it, and those of
subqueries that pick rows, as picked_inside.sql does.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from aiq.engines.duckdb.rewrite.lift import Lifted, LiftOptions, lift
from aiq.engines.duckdb.rewrite.raised import picked_inside, picks_rows, raised
from aiq.engines.duckdb.rewrite.tree import Query
from tests.unit.engines.duckdb.rewrite.cases import VOLATILE, cases, database, numbered, printed, query, shown

Q = "(SELECT id, k, ai1(body) AS a FROM t) AS q"


MOVED = {"raised.sql": raised, "picked_inside.sql": picked_inside}
CASES = [
    pytest.param(file, before, after, id=f"{file}: {title}") for file in MOVED for title, before, after in cases(file)
]


def moved(file: str, text: str, seed: int = 1) -> str:
    made = MOVED[file](query(text), database(seed).describe, VOLATILE).text()
    assert made is not None
    return made


@pytest.mark.parametrize(("file", "before", "after"), CASES)
def test_calls_move_to_the_rows_that_are_picked(file: str, before: str, after: str | None) -> None:
    assert shown(moved(file, before)) == shown(printed(before if after is None else after))


@pytest.mark.parametrize(("file", "before", "after"), CASES)
def test_the_rows_and_their_order_stay(file: str, before: str, after: str | None) -> None:
    for seed in range(4):
        db, made = database(seed), moved(file, before, seed)
        assert db.rows(made) == db.rows(before)
        assert db.columns(made) == db.columns(before)


@pytest.mark.parametrize(("file", "before", "after"), CASES)
def test_nothing_is_asked_that_was_not_asked_before(file: str, before: str, after: str | None) -> None:
    assert database().asks(moved(file, before)) <= database().asks(before)


@pytest.mark.parametrize(
    "text",
    [
        f"SELECT 100 - id AS id, a FROM {Q} ORDER BY id + 0 LIMIT 5",
        f"SELECT -id AS id, a FROM {Q} ORDER BY -id, 2 LIMIT 5",
        f"SELECT -id AS id, a FROM {Q} ORDER BY id IS NULL, id LIMIT 5",
        f"SELECT DISTINCT ON (k + 0) id AS k, a FROM {Q} ORDER BY q.k + 0, q.id",
        f"SELECT DISTINCT ON (k) id AS k, a FROM {Q} ORDER BY q.k, q.id",
        f"SELECT id AS k, a FROM {Q} QUALIFY row_number() OVER (PARTITION BY k ORDER BY q.id) = 1 ORDER BY q.id",
        f"SELECT upper(a) AS a, count(*) AS n FROM {Q} GROUP BY a ORDER BY n, a LIMIT 5",
        f"SELECT id, upper(a) AS a FROM {Q} WHERE a = 'yes' ORDER BY id LIMIT 5",
        f"SELECT id, upper(a) AS a FROM {Q} WHERE EXISTS (FROM (SELECT kind FROM u) v WHERE v.kind = a) ORDER BY id",
        f"SELECT id, 'yes' AS a, (SELECT count(*) FROM (SELECT kind FROM u) v WHERE v.kind = a) AS n FROM {Q} "
        "ORDER BY id LIMIT 5",
        f"SELECT id, upper(a) AS a, list_transform([1], lambda z: a) AS l FROM {Q} ORDER BY id LIMIT 5",
        f"SELECT id, a FROM (SELECT -id AS id, a FROM {Q} ORDER BY id + 0 LIMIT 6) AS w ORDER BY w.id LIMIT 4",
        "WITH w AS (SELECT id, ai1(body) AS a FROM t), t AS (SELECT 100 AS id, 'zz' AS body) "
        "SELECT id, a FROM w ORDER BY id LIMIT 4",
        "WITH w AS (SELECT id, ai1(body) AS a FROM t) "
        "SELECT id, a FROM (WITH t AS (SELECT 100 AS id) SELECT w.id, w.a FROM w, t) x ORDER BY id LIMIT 4",
        f"SELECT NULL AS a, q.* FROM {Q} ORDER BY a DESC, q.id LIMIT 5",
        f"SELECT q FROM {Q} ORDER BY q.id LIMIT 3",
        f"SELECT id, l.b FROM {Q}, LATERAL (SELECT q.a || 'x' AS b) AS l ORDER BY id LIMIT 3",
        f"SELECT id, b FROM {Q} CROSS JOIN unnest([q.a, 'z']) AS n(b) ORDER BY id, b LIMIT 3",
        f"SELECT a || 'x', length(a) FROM {Q} ORDER BY id LIMIT 3",
    ],
)
def test_a_name_means_what_it_meant(text: str) -> None:
    """By the whole plan, which leaves a query alone where DuckDB does not take what it became."""
    for seed in range(4):
        db = database(seed)
        found = lift(numbered(text), LiftOptions(float, db.describe, lambda: "made", VOLATILE))
        assert isinstance(found, Lifted)
        assert db.rows(found.single) == db.rows(text)


@pytest.mark.parametrize(
    ("text", "picks"),
    [
        ("SELECT 1 FROM t", False),
        ("SELECT 1 FROM t WHERE id > 5", False),
        ("SELECT 1 FROM t LIMIT 5", True),
        ("SELECT DISTINCT id FROM t", True),
        ("SELECT 1 FROM t WHERE id IN (SELECT id FROM u)", True),
        ("SELECT 1 FROM t UNION ALL SELECT 2 FROM u LIMIT 5", False),
    ],
)
def test_what_picks_rows_after_columns_are_computed_is_known(text: str, picks: bool) -> None:
    assert picks_rows(query(text).node) is picks


@pytest.mark.parametrize("move", MOVED.values())
def test_the_query_that_calls_move_in_stays_as_it_was(move: Callable[..., Query]) -> None:
    text = f"SELECT * FROM (SELECT * FROM {Q} ORDER BY id LIMIT 6) AS r ORDER BY id LIMIT 5"
    found = query(text)
    move(found, database().describe, VOLATILE)
    assert found.text() == printed(text)
