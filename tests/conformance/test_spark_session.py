"""`aiq.connect(spark)`: what a session on Spark promises beside its SQL, which is in the suite of all engines."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from pyspark.errors import AnalysisException
from pyspark.sql import functions as F

from aiq.errors import BudgetExceeded, FunctionError, ProviderError

if TYPE_CHECKING:
    from aiq.simulator.process import SimulatorProcess
    from tests.conformance.conftest import Engine
    from tests.conftest import ConfFolder

ENGINES = ("spark",)


@pytest.fixture
def t(engine: Engine) -> Engine:
    """The engine with a table `t` of 12 rows, 12 distinct prompts `p` and 3 distinct words `w`."""
    engine.load("t", p=[f"Row {i}." for i in range(12)], w=[f"word {i % 3}" for i in range(12)])
    return engine


def test_reading_a_result_again_asks_nothing(t: Engine) -> None:
    frame = t.session.sql("SELECT id, ai_query('chat', p) AS r FROM t")
    assert t.requests() == 12
    assert frame.orderBy("r").collect() == frame.orderBy("r").collect()
    assert frame.join(frame.withColumnRenamed("r", "s"), "id").count() == 12 and frame.limit(3).count() == 3
    assert t.requests() == 0


def test_a_result_is_a_frame_of_the_callers_own_session(t: Engine) -> None:
    t.session.sql("SELECT id, ai_query('chat', w) AS r FROM t").createOrReplaceTempView("answered")
    assert t.sql("SELECT count(DISTINCT r) AS n FROM answered") == [(3,)]
    assert t.requests() == 3


def test_settings_of_the_spark_session_stay_as_they_were(t: Engine) -> None:
    spark = t.session.spark
    before = dict(spark.conf.getAll)
    t.sql("SELECT ai_query('chat', w) AS r FROM t")
    assert dict(spark.conf.getAll) == before
    with pytest.raises(AnalysisException):
        spark.sql("SELECT __aiq_1(1, 'x') AS r").collect()


@pytest.mark.parametrize(
    ("request_sql", "rows"), [("p || rand()", "t"), ("p || uuid()", "t"), ("p", "(SELECT * FROM t LIMIT 5) AS s")]
)
def test_rows_of_chance_are_evaluated_once(t: Engine, request_sql: str, rows: str) -> None:
    found = t.sql(f"SELECT q, ai_query('chat', q) AS r FROM (SELECT {request_sql} AS q FROM {rows}) AS d")
    assert all(answer.endswith(question) for question, answer in found)
    assert t.requests() == len(found)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT id, {} AS r FROM t WHERE id > 8",
        "SELECT id FROM t WHERE {} <> '' AND id > 8",
        "SELECT r FROM (SELECT CASE WHEN id > 8 THEN {} END AS r FROM t) AS d WHERE r IS NOT NULL",
    ],
)
def test_a_request_of_chance_is_evaluated_once(t: Engine, query: str) -> None:
    assert len(t.sql(query.format("ai_query('chat', p || uuid())"))) == t.requests() == 3


def test_a_call_in_a_temporary_view_is_lifted_too(t: Engine) -> None:
    seeded = "ai_query('chat', p, modelParameters => named_struct('seed', 7))"
    t.sql(f"CREATE TEMPORARY VIEW v AS SELECT id, {seeded} AS r FROM t")
    assert t.requests() == 0
    assert len(t.sql("SELECT a.r FROM v AS a JOIN v AS b ON a.id = b.id WHERE a.id < 4 ORDER BY a.r")) == 4
    assert t.requests() == 4


def test_functions_of_somebody_else_stay_in_the_plan(t: Engine) -> None:
    t.session.spark.udf.register("shout", F.udf(lambda text: text.upper(), "string"))
    rows = t.sql("SELECT shout(ai_query('chat', shout(w))) AS r FROM t WHERE id < 6")
    assert len(rows) == 6 and all(r.endswith(("WORD 0", "WORD 1", "WORD 2")) for (r,) in rows)
    assert t.requests() == 3


def test_a_failing_row_ends_the_statement_with_our_error(t: Engine) -> None:
    with pytest.raises(ProviderError, match="400") as failed:
        t.sql("SELECT ai_query('chat', p || ' [[fault:400]]') AS r FROM t WHERE id = 1")
    assert (failed.value.endpoint, failed.value.status, failed.value.kind) == ("chat", 400, "bad_request")


def test_a_statement_that_failed_asks_only_for_the_rest_when_it_runs_again(
    t: Engine, conf: ConfFolder, simulator: SimulatorProcess
) -> None:
    conf.settings(concurrency=1, endpoints={"model": {"model_server": {"url": f"{simulator.url}/invocations"}}})
    bad = "CASE WHEN id = 11 THEN p || ' [[fault:400-once]]' ELSE p END"
    statement = f"SELECT ai_query('chat', {bad}) AS r FROM t"
    with pytest.raises(ProviderError):
        t.sql(statement)
    first = t.requests()
    assert len(t.sql(statement)) == 12
    assert first + t.requests() <= 12 + 2  # the failed one again, and what was in flight in another task


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        ("ai_query('chat', nope)", AnalysisException, "nope"),
        ("ai_query('chat', id)", FunctionError, "request must be a STRING"),
        ("ai_query('chat', p, files => w)", FunctionError, "files must be BINARY"),
        ("ai_query(w, p)", FunctionError, "must be a constant"),
        ("ai_query('nobody', p)", Exception, "nobody"),
    ],
)
def test_a_wrong_call_is_refused_before_any_is_made(t: Engine, call: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as refused:
        t.sql(f"SELECT {call} AS r FROM t")
    assert "__aiq" not in str(refused.value)
    assert t.requests() == 0


def test_explain_counts_what_the_statement_then_asks(t: Engine) -> None:
    statement = "SELECT id, ai_query('chat', w) AS r FROM t WHERE id < 7 AND w <> 'word 0'"
    *calls, whole = (row.asDict() for row in t.session.explain(statement).collect())
    assert t.requests() == 0
    assert [(call["call"], call["rows"], call["requests"], call["exact"]) for call in calls] == [
        ("ai_query('chat', w)", 4, 2, True)
    ]
    assert whole["call"] == "total" and 0 < whole["cost_low_usd"] <= whole["cost_likely_usd"] <= whole["cost_high_usd"]
    t.sql(statement)
    assert t.requests() == 2


def test_explain_takes_every_answer_to_pass(t: Engine) -> None:
    rows = t.session.sql(
        "EXPLAIN AI SELECT ai_query('chat', ai_query('chat', p)) AS r FROM t WHERE ai_query('chat', w) = 'x'"
    ).collect()
    assert [(row["stage"], row["requests"], row["exact"]) for row in rows[:-1]] == [
        (1, 3, True),
        (2, 12, False),
        (3, 0, False),  # the inner request stands for its answer, and those of `p` are counted already
    ]
    assert t.requests() == 0


def test_explain_analyze_puts_what_it_took_beside(t: Engine) -> None:
    *_, whole = t.session.sql("EXPLAIN AI ANALYZE SELECT ai_query('chat', w) AS r FROM t").collect()
    assert t.requests() == 3
    assert (whole["requests"], whole["actual_requests"], whole["actual_calls"]) == (3, 3, 3)


def test_a_statement_above_its_budget_is_refused_before_the_first_call(t: Engine) -> None:
    t.session.sql("SET aiq_max_cost_usd = 0.0000001")
    with pytest.raises(BudgetExceeded, match="nothing was asked"):
        t.sql("SELECT ai_query('chat', p) AS r FROM t")
    t.session.sql("RESET aiq_max_cost_usd")
    with pytest.raises(BudgetExceeded):
        t.sql("SELECT /*+ aiq_max_cost_usd(0.0000001) */ ai_query('chat', p) AS r FROM t")
    assert t.requests() == 0


def test_answers_of_the_session_are_reused_where_it_says_so(t: Engine) -> None:
    t.session.sql("SET aiq_reuse = 'session'")
    for _ in range(2):
        t.sql("SELECT ai_query('chat', w) AS r FROM t")
    assert t.requests() == 3
    assert [row["value"] for row in t.session.sql("SHOW aiq_reuse").collect()] == ["session"]
    assert t.session.last is not None
    assert (t.session.last.requests, t.session.last.reused, t.session.last.cost_usd) == (3, 3, 0.0)
    hits = "SELECT count(*) AS n FROM system.aiq.calls WHERE cache_hit AND statement_id = '{}'"
    assert t.sql(hits.format(t.session.last.statement_id)) == [(3,)]


def test_the_driver_says_that_a_statement_runs(
    t: Engine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiq.statements.progress.LINE_INTERVAL_S", 0.01)
    t.session.sql("SET aiq_quiet = false")
    t.sql("SELECT ai_query('chat', w) AS r FROM t")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Spark computes the requests" and lines[-1].startswith("3 requests")


def test_what_failed_in_a_session_is_asked_again(t: Engine) -> None:
    t.session.sql("SET aiq_reuse = 'session'")
    request = "CASE WHEN id = 11 THEN p || ' [[fault:400-once]]' ELSE p END"
    statement = f"SELECT count(ai_query('chat', {request}, failOnError => false).errorMessage) AS n FROM t"
    assert (t.sql(statement), t.requests()) == ([(1,)], 12)
    assert (t.sql(statement), t.requests()) == ([(0,)], 1)


def test_a_query_streams_as_arrow_batches(t: Engine) -> None:
    batches = list(t.session.stream("SELECT id, ai_query('chat', p) AS r FROM t ORDER BY id", batch_rows=5))
    assert [batch.num_rows for batch in batches] == [5, 5, 2]
    assert pa.Table.from_batches(batches).column("id").to_pylist() == list(range(12))


EVERY_TYPE = """
SELECT 1 AS a, 2 AS a, TIMESTAMP '2026-07-01 12:00:00' AS at, TIMESTAMP_NTZ '2026-07-01 12:00:00' AS local_at,
  map('k', 1) AS m, map('l', NULL) AS o, named_struct('x', 1, 'y', DATE '2026-01-01') AS s,
  array(named_struct('d', 1.50BD)) AS l, X'00FF' AS b, INTERVAL '1' DAY AS i,
  CAST(NULL AS STRING) AS n, ai_query('chat', 'Hi') AS r"""


def test_streamed_values_are_those_of_the_result(t: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two columns of one name, times where the machine's time zone is not the session's, and nested values."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        (batch,) = t.session.stream(EVERY_TYPE)
        whole = t.session.sql(EVERY_TYPE).toArrow()
    finally:
        monkeypatch.undo()
        time.tzset()
    for streamed, column in zip(batch.columns, whole.columns, strict=True):
        assert (streamed.type, streamed.to_pylist()) == (column.type, column.to_pylist())


def test_parameters_are_given_by_name(t: Engine) -> None:
    rows = t.sql("SELECT ai_query('chat', p || :more) AS r FROM t WHERE id < :most", {"more": " Go.", "most": 2})
    assert sorted(r[-10:] for (r,) in rows) == ["ow 0. Go.".rjust(10, "R"), "ow 1. Go.".rjust(10, "R")]


def test_delta_tables_are_written_and_changed(t: Engine) -> None:
    t.sql("CREATE TABLE d USING delta AS SELECT id, ai_query('chat', p) AS r FROM t WHERE id < 4")
    t.sql("WITH c AS (SELECT * FROM t WHERE id = 4) INSERT INTO d SELECT id, ai_query('chat', p) FROM c")
    assert t.requests() == 5
    t.sql(
        "MERGE INTO d USING (SELECT id, ai_query('chat', w) AS n FROM t WHERE id IN (3, 7)) AS s ON s.id = d.id "
        "WHEN MATCHED THEN UPDATE SET r = s.n WHEN NOT MATCHED THEN INSERT (id, r) VALUES (s.id, s.n)"
    )
    assert t.requests() == 2
    rows = dict(t.sql("SELECT id, r FROM d"))
    assert sorted(rows) == [0, 1, 2, 3, 4, 7] and rows[3].endswith("word 0") and rows[7].endswith("word 1")


def test_spark_takes_no_call_in_values(t: Engine) -> None:
    with pytest.raises(AnalysisException, match="INVALID_INLINE_TABLE"):
        t.sql("INSERT INTO t VALUES (9, ai_query('chat', 'Yellow lemon.'), 'x')")
    assert t.requests() == 0


def test_a_random_part_of_an_answer_is_the_same_wherever_it_is_read(t: Engine) -> None:
    rows = t.sql("SELECT r, r AS s FROM (SELECT ai_query('chat', w) || rand() AS r FROM t) AS d")
    assert len(rows) == 12 and all(r == s for r, s in rows)
    assert t.requests() == 3


def test_the_ledger_has_each_request_once(t: Engine, ledger_rows: Callable[..., list[dict[str, Any]]]) -> None:
    t.sql("SELECT ai_query('chat', p) AS r FROM t ORDER BY r")
    t.session.close()
    calls = ledger_rows("system.aiq.calls", status="ok")
    assert len(calls) == t.requests() == 12 and len({call["statement_id"] for call in calls}) == 1


def test_closing_deletes_the_sessions_files(t: Engine, home: Path) -> None:
    t.sql("SELECT ai_query('chat', w) AS r FROM t")
    assert list((home / "spark").iterdir())
    t.session.close()
    assert not list((home / "spark").iterdir())


def test_calls_of_views_whose_options_print_alike_are_two(t: Engine) -> None:
    calls = ", ".join(
        f"ai_query('chat', w, modelParameters => named_struct('stop', {stop})) AS {name}"
        for name, stop in (("a", "'[1]'"), ("b", "array('1')"))
    )
    t.sql(f"CREATE TEMPORARY VIEW v AS SELECT {calls} FROM t")
    t.sql("SELECT a, b FROM v")
    assert t.requests() == 6


def test_an_option_of_a_view_is_checked_beside_one_that_prints_alike(t: Engine) -> None:
    calls = ", ".join(
        f"ai_query('chat', w, failOnError => {value}) AS c{i}" for i, value in enumerate(("true", "'true'"))
    )
    with pytest.raises(FunctionError, match="failOnError must be a BOOLEAN, not 'true'"):
        t.sql(f"CREATE TEMPORARY VIEW v AS SELECT {calls} FROM t")
    assert t.requests() == 0


def test_two_prompts_that_only_a_collation_takes_for_equal_are_two(t: Engine) -> None:
    rows = t.sql(
        "SELECT q, ai_query('chat', q) AS r FROM (SELECT q COLLATE UTF8_LCASE AS q FROM "
        "(VALUES ('Yes.'), ('YES.')) AS v(q))"
    )
    assert all(answer.endswith(question) for question, answer in rows) and t.requests() == 2


def test_one_prompt_as_varchar_and_as_string_is_one(t: Engine) -> None:
    t.sql("SELECT ai_query('chat', w) AS a, ai_query('chat', CAST(w AS VARCHAR(20))) AS b FROM t")
    assert t.requests() == 3


def test_the_counting_tells_texts_from_structs(t: Engine) -> None:
    struct = "named_struct('messages', array(named_struct('role', 'user', 'content', p)))"
    *_, total = t.session.explain(f"SELECT ai_query('chat', p) AS a, ai_query('chat', {struct}) AS b FROM t").collect()
    t.sql(f"SELECT ai_query('chat', p) AS a, ai_query('chat', {struct}) AS b FROM t")
    assert t.requests() == total.requests == 24


def test_a_call_in_a_view_has_the_type_of_its_arguments(t: Engine) -> None:
    t.sql(
        "CREATE TEMPORARY VIEW e AS "
        "SELECT ai_query('emb', w) AS r, ai_query('chat', w, failOnError => false) AS s FROM t"
    )
    assert all(size == 64 and text for size, text in t.sql("SELECT size(r), s.result FROM e"))
    assert t.requests() == 4  # one for all that is embedded


@pytest.mark.parametrize(("rows", "tasks"), [(300, 2), (4, 1)])
def test_short_requests_are_asked_by_as_many_tasks_as_run_at_once(
    engine: Engine, home: Path, rows: int, tasks: int
) -> None:
    engine.load("t", p=[f"Row {i}." for i in range(rows)])
    engine.sql("SELECT ai_query('chat', p) AS r FROM t")
    written = [len(list(folder.glob("part-*"))) for folder in (home / "spark").glob("*/*")]
    assert written == [tasks]


@pytest.mark.parametrize(
    "items",
    [
        "ai_query('chat', p)",
        "id, upper(ai_query('chat', p || '!', failOnError => false).result)",
        "ai_query('chat', w) AS a",
    ],
)
def test_columns_have_the_names_that_spark_gives_them(t: Engine, items: str) -> None:
    plain = t.session.spark.sql(f"SELECT {items} FROM t").columns
    assert t.session.sql(f"SELECT {items} FROM t WHERE id < 2").columns == plain
    assert not any("__aiq" in name for name in plain)


def test_a_session_says_whose_it_is(engine: Engine) -> None:
    assert "ann@example.com on Spark" in repr(engine.session)
