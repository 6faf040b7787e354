"""TPC-H's 22 queries: without a call they are the engine's own affair; with one, rows and requests are exact."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conformance.conftest import Beside

QUERIES = {file.stem: file.read_text() for file in sorted((Path(__file__).parent / "queries").glob("*.sql"))}
TONE = "chr(10) || 'Answer with exactly one of: complaint, request'"
AI_ORDER = f"ai_query('chat', o_comment || {TONE})"


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_without_a_call_gives_plain_duckdbs_rows(tpch: Beside, name: str) -> None:
    tpch.check(QUERIES[name], 0)


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_without_a_call_makes_no_table(tpch: Beside, name: str) -> None:
    tables = "SELECT count(*) AS n FROM information_schema.tables"
    before = tpch.engine.sql(tables)
    tpch.engine.sql(QUERIES[name])
    assert tpch.engine.sql(tables) == before


def injected(name: str, *changes: tuple[str, str]) -> str:
    """A query after some replacements, each of which must apply exactly once."""
    text = QUERIES[name]
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


INJECTED = [
    pytest.param(
        injected("q03", ("AS revenue,", "AS revenue, ai_query('chat', 'Order ' || l_orderkey) AS gist,")),
        f"SELECT count(*) FROM ({QUERIES['q03']})",
        id="q03-selected-beside-a-limit",
    ),
    pytest.param(
        injected("q04", ("AND EXISTS", f"AND {AI_ORDER} = 'request' AND EXISTS")),
        f"SELECT sum(order_count) FROM ({QUERIES['q04']})",
        id="q04-filter-beside-exists",
    ),
    pytest.param(
        injected(
            "q09",
            (
                "p_name LIKE '%green%'",
                "ai_query('chat', p_name || chr(10) || 'Answer with exactly one of: green, red') = 'green'",
            ),
        ),
        "SELECT count(DISTINCT p_name) FROM part, lineitem, partsupp WHERE ps_suppkey = l_suppkey AND ps_partkey "
        "= l_partkey "
        "AND p_partkey = l_partkey",
        id="q09-filter-in-a-join-of-six",
    ),
    pytest.param(
        injected(
            "q10",
            ("c_phone, c_comment\nFROM", "c_phone, ai_query('chat', c_comment) AS gist\nFROM"),
            ("LIMIT 20", "LIMIT 5"),
        ),
        "SELECT 5",
        id="q10-of-a-group-key-with-a-limit",
    ),
    pytest.param(
        injected(
            "q13",
            ("o_comment NOT LIKE '%special%requests%'", f"o_orderdate < DATE '1993-01-01' AND {AI_ORDER} <> 'request'"),
        ),
        "SELECT count(DISTINCT o_comment) FROM orders WHERE o_orderdate < DATE '1993-01-01'",
        id="q13-condition-of-an-outer-join",
    ),
    pytest.param(
        injected(
            "q16", ("s_comment LIKE '%Customer%Complaints%'", f"ai_query('chat', s_comment || {TONE}) = 'complaint'")
        ),
        "SELECT count(DISTINCT s_comment) FROM supplier",
        id="q16-in-a-subquery",
    ),
    pytest.param(
        injected("q18", ("SELECT c_name,", "SELECT ai_query('chat', c_name) AS gist, c_name,")),
        f"SELECT count(DISTINCT c_name) FROM ({QUERIES['q18']})",
        id="q18-selected-after-in",
    ),
    pytest.param(
        injected("q21", ("AND o_orderstatus = 'F'", f"AND o_orderstatus = 'F' AND {AI_ORDER} = 'request'")),
        "SELECT count(DISTINCT o_comment) FROM supplier, lineitem l1, orders, nation WHERE s_suppkey = l1.l_suppkey "
        "AND o_orderkey = l1.l_orderkey AND o_orderstatus = 'F' AND l1.l_receiptdate > l1.l_commitdate "
        "AND EXISTS (SELECT * FROM lineitem l2 WHERE l2.l_orderkey = l1.l_orderkey AND l2.l_suppkey <> l1.l_suppkey) "
        "AND NOT EXISTS (SELECT * FROM lineitem l3 WHERE l3.l_orderkey = l1.l_orderkey AND l3.l_suppkey <> "
        "l1.l_suppkey "
        "AND l3.l_receiptdate > l3.l_commitdate) AND s_nationkey = n_nationkey "
        "AND n_name IN ('SAUDI ARABIA', 'CHINA', 'FRANCE')",
        id="q21-filter-beside-two-subqueries",
    ),
]


@pytest.mark.parametrize(("sql", "needed"), INJECTED)
def test_an_injected_call_is_asked_for_the_rows_that_reach_it(tpch: Beside, sql: str, needed: str) -> None:
    ((count,),) = tpch.plain.execute(needed).fetchall()
    assert count > 0
    tpch.check(sql, int(count))
