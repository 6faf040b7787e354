"""`system.aiq.statements` has one row a statement, which says what its calls in `system.aiq.calls` add up to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from aiq.ledger.records import CALLS_TABLE, STATEMENTS_TABLE
from aiq.simulator.profile import FaultRate

if TYPE_CHECKING:
    from aiq.simulator.process import SimulatorProcess
    from tests.conformance.conftest import Engine

ENGINES = ("duckdb", "spark")
COLUMNS = "statement_id, text, requester, status, requests, reused, failed, tokens, cost_usd, engine, error_message"
SUMS = (
    "SELECT sum(rows) FILTER (WHERE final), sum(rows) FILTER (WHERE cache_hit), "
    f"sum(input_tokens + output_tokens), sum(cost_usd) FROM {CALLS_TABLE} WHERE statement_id = "
)


def statements(engine: Engine) -> list[dict[str, Any]]:
    names = COLUMNS.split(", ")
    rows = engine.sql(f"SELECT {COLUMNS} FROM {STATEMENTS_TABLE} ORDER BY start_time")
    return [dict(zip(names, row, strict=True)) for row in rows]


def test_a_statement_is_one_row_with_the_sums_of_its_calls(engine: Engine) -> None:
    engine.load("t", p=["a", "b", "a", None, "c"])
    engine.session.sql("SET aiq_reuse = 'durable'")
    text = "SELECT ai_query('chat', p) FROM t"
    engine.sql(text)
    engine.sql(f"{text} WHERE id < 2")
    first, second = statements(engine)
    for row, requests, reused in ((first, 3, 0), (second, 2, 2)):
        sums = engine.sql(f"{SUMS} '{row['statement_id']}'")[0]
        assert (row["requests"], row["reused"], row["tokens"]) == (requests, reused, sums[2])
        assert sums[:2] == (requests, reused or None)
        functions = engine.sql(
            f"SELECT DISTINCT function FROM {CALLS_TABLE} WHERE statement_id = '{row['statement_id']}'"
        )
        assert functions == [("ai_query",)]
        assert row["cost_usd"] == pytest.approx(sums[3])
        assert (row["status"], row["failed"], row["error_message"]) == ("ok", 0, None)
        assert row["requester"] == "ann@example.com"
        assert row["engine"] == type(engine).__name__.removesuffix("Engine").lower()
    result = engine.session.sql(f"{text} WHERE id < 2")
    assert result.receipt == engine.session.last and result.receipt.requests == 2
    last = engine.session.last
    second = statements(engine)[-1]
    assert last is not None and last.statement_id == second["statement_id"]
    assert (last.requests, last.reused, last.tokens, last.cost_usd) == (2, 2, second["tokens"], second["cost_usd"])
    assert (first["text"], second["text"]) == (text, f"{text} WHERE id < 2")
    assert first["cost_usd"] > 0 == second["cost_usd"]


def test_a_statement_that_fails_says_of_what(engine: Engine, simulator: SimulatorProcess) -> None:
    simulator.set_faults(FaultRate("content-filter", 1.0))
    engine.load("t", p=["a", "b"])
    with pytest.raises(Exception, match="content"):
        engine.sql("SELECT ai_query('chat', p) FROM t")
    engine.sql("SELECT ai_query('chat', p, failOnError => false) FROM t")
    stopped, whole = statements(engine)
    assert (stopped["status"], whole["status"], whole["failed"]) == ("error", "ok", 2)
    assert stopped["failed"] >= 1
    assert "content" in stopped["error_message"]


def test_a_statement_without_a_call_is_no_row(engine: Engine) -> None:
    engine.load("t", p=["a"])
    engine.sql("SELECT p FROM t")
    engine.sql("SELECT ai_query('chat', p) FROM t")
    engine.sql("SELECT ai_query('chat', p) FROM t WHERE false")
    assert [row["requests"] for row in statements(engine)] == [1, 0]


@pytest.mark.engines("duckdb")
@pytest.mark.parametrize("run", ["EXPLAIN ANALYZE {}", "EXPLAIN (ANALYZE, FORMAT JSON) {}", "EXECUTE asks"])
def test_a_statement_that_duckdb_runs_as_it_is_has_a_row_and_a_receipt(engine: Engine, run: str) -> None:
    engine.load("t", p=["a", "b", "a"])
    query = "SELECT ai_query('chat', p) FROM t"
    engine.sql(f"PREPARE asks AS {query}")
    engine.sql("PREPARE plain AS SELECT 1")
    engine.session.last = None
    assert engine.sql("EXECUTE plain") == [(1,)]
    engine.sql(f"EXPLAIN {query}")
    assert engine.session.last is None
    engine.sql(run.format(query))
    (row,) = (row for row in statements(engine) if row["text"] == run.format(query))
    sums = engine.sql(f"{SUMS} '{row['statement_id']}'")[0]
    assert (row["status"], row["requests"], row["tokens"]) == ("ok", 2, sums[2])
    receipts = []
    engine.session.say = receipts.append
    engine.session.settings = engine.session.settings._replace(quiet=False)
    engine.sql(run.format(query).replace("ai_query('chat', p)", "ai_query('chat', 'once more ' || p)"))
    assert len(receipts) == 1 and receipts[0].startswith("2 requests (0 reused, 0 failed), ")


@pytest.mark.engines("duckdb")
def test_a_stream_that_is_left_is_a_cancelled_statement(engine: Engine) -> None:
    engine.load("t", p=[f"Row {i}." for i in range(200)])
    batches = engine.session.stream("SELECT ai_query('chat', p) FROM t", batch_rows=10)
    next(batches)
    batches.close()
    (row,) = statements(engine)
    sums = engine.sql(f"{SUMS} '{row['statement_id']}'")[0]
    assert row["status"] == "cancelled"
    assert (row["requests"], row["tokens"]) == (sums[0], sums[2])


def test_a_statement_and_its_calls_have_the_tags_of_its_settings(engine: Engine) -> None:
    engine.load("t", p=["a"])
    engine.session.sql("SET aiq_usage_context = 'project=churn'; SET aiq_quiet = true")
    engine.sql("SELECT ai_query('chat', p) FROM t")
    engine.sql("SET aiq_usage_context = 'end_user=u-17'; SELECT ai_query('chat', p || 'b') FROM t")
    for table, order in ((STATEMENTS_TABLE, "start_time"), (CALLS_TABLE, "start_time")):
        rows = engine.sql(f"SELECT usage_context FROM {table} ORDER BY {order}")
        assert [dict(tags) for (tags,) in rows] == [{"project": "churn"}, {"end_user": "u-17"}]
