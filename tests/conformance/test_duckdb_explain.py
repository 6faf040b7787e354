"""`EXPLAIN AI`: what a statement would ask is told before, nothing is asked for it, and nothing changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pytest

import aiq
from aiq.errors import FunctionError, StatementError
from aiq.ledger.tables import Tables
from aiq.simulator.process import SimulatorProcess
from aiq.statements.history import history_of

if TYPE_CHECKING:
    from tests.conftest import ConfFolder

Rows = list[dict[str, Any]]
ROWS = 40
A, B = "ai_query('chat', a)", "ai_query('chat', b)"


class Explained:
    """A session with the table `t(id, grp, a, b)`: 40 distinct prompts in each of `a` and `b`, 10 groups."""

    def __init__(self, session: aiq.Session, simulator: SimulatorProcess) -> None:
        self.session, self.con, self._simulator = session, session.con, simulator
        self.con.execute(
            "CREATE TABLE t AS SELECT i AS id, i % 10 AS grp, "
            "'Item ' || i || '.\nAnswer with exactly one of: yes, no' AS a, "
            f"'Thing ' || i AS b FROM range({ROWS}) r(i)"
        )

    def sql(self, text: str, params: Any = None) -> Rows:
        relation = self.session.sql(text, params)
        assert relation is not None
        return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]

    def calls(self, text: str, params: Any = None) -> Rows:
        """The rows of `EXPLAIN AI <text>` without the total."""
        return self.sql(f"EXPLAIN AI {text}", params)[:-1]

    def total(self, text: str) -> dict[str, Any]:
        return self.sql(f"EXPLAIN AI {text}")[-1]

    def asked(self) -> int:
        return int(self._simulator.stats()["requests"])


@pytest.fixture
def t(conf: ConfFolder, home: Path, simulator: SimulatorProcess) -> Iterator[Explained]:
    conf.endpoint("limited", gateway={"rate_limits": [{"calls": 10, "key": "endpoint", "renewal_period": "minute"}]})
    conf.endpoint("dearer", model="gpt-4o")
    with aiq.connect(conf=conf.path, home=home, user="ann@example.com") as session:
        yield Explained(session, simulator)


def test_every_distinct_request_is_counted(t: Explained) -> None:
    (call,) = t.calls("SELECT ai_query('chat', 'Group ' || grp) AS r FROM t")
    assert (call["rows"], call["requests"], call["exact"], call["lifted"]) == (ROWS, 10, True, True)


def test_a_call_is_named_as_written(t: Explained) -> None:
    (call,) = t.calls("SELECT ai_query('chat',  upper( a )) AS r FROM t")
    assert (call["call"], call["endpoint"], call["stage"]) == ("ai_query('chat', upper( a ))", "chat", 1)


def test_a_long_call_is_shortened(t: Explained) -> None:
    (call,) = t.calls(f"SELECT ai_query('chat', '{'x' * 200}' || a) AS r FROM t")
    assert len(call["call"]) == 80 and call["call"].endswith("...")


STATEMENTS = [
    f"SELECT {A} AS r FROM t",
    "SELECT ai_query('chat', 'a constant') AS r",
    "SELECT ai_query('chat', 'a constant') AS r FROM t",
    f"SELECT id FROM t WHERE {A} = 'yes'",
    f"SELECT id FROM t WHERE {A} = 'yes' LIMIT 3",
    f"SELECT {B} AS r FROM t WHERE {A} = 'yes'",
    f"SELECT CASE WHEN {A} = 'yes' THEN {B} END AS r FROM t",
    f"SELECT ai_query('chat', {A}) AS r FROM t",
    "SELECT ai_query('chat', a || random()) AS r FROM t",
    "SELECT ai_query('chat', a || nextval('s')) AS r FROM t",
    "SELECT ai_query('chat', a) AS r FROM t USING SAMPLE 5 ROWS",
    "SELECT ai_query('emb', a) AS r FROM t",
    "SELECT ai_query('model', {'x': id}, returnType => 'STRING') AS r FROM t",
    "SELECT * FROM v",
    "SELECT r FROM v WHERE r = 'yes'",
    f"CREATE TABLE u AS SELECT {A} AS r FROM t",
    f"INSERT INTO t SELECT id, grp, {A}, b FROM t",
    f"UPDATE t SET a = {B} WHERE {A} = 'yes'",
    f"DELETE FROM t WHERE {A} = 'yes'",
    "MERGE INTO t USING t AS s ON t.id = s.id WHEN MATCHED THEN UPDATE SET a = ai_query('chat', s.b)",
    f"COPY (SELECT {A} AS r FROM t) TO '{{tmp}}/out.csv'",
    f"SELECT {A} AS r, (b || '!')::INTEGER AS n FROM t",
]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_explaining_makes_no_call_and_changes_nothing(t: Explained, tmp_path: Path, statement: str) -> None:
    t.con.execute("CREATE SEQUENCE s")
    t.session.sql(f"CREATE VIEW v AS SELECT id, {A} AS r FROM t")
    state = "SELECT table_name, estimated_size, temporary FROM duckdb_tables() ORDER BY ALL"
    before = t.con.execute(state).fetchall(), t.con.execute("FROM t ORDER BY id").fetchall()
    t.sql(f"EXPLAIN AI {statement.format(tmp=tmp_path) if '{tmp}' in statement else statement}")
    assert t.asked() == 0
    assert (t.con.execute(state).fetchall(), t.con.execute("FROM t ORDER BY id").fetchall()) == before
    assert not (tmp_path / "out.csv").exists()
    assert t.con.execute("SELECT nextval('s')").fetchall() == [(1,)]


@pytest.mark.parametrize(
    "statement",
    [
        f"SELECT {A} AS r FROM t",
        f"SELECT id FROM t WHERE id < 7 AND {A} = 'yes'",
        f"SELECT id FROM t WHERE {A} = 'yes' OR id < 7",
        f"SELECT {A} AS x, {B} AS y FROM t",
        f"SELECT {A} AS x FROM t UNION ALL SELECT {A} FROM t",
        "SELECT max(ai_query('chat', 'Group ' || grp)) AS r FROM t GROUP BY grp",
        f"SELECT CASE WHEN id < 5 THEN {A} ELSE 'none' END AS r FROM t",
        "SELECT * FROM t AS l JOIN t AS r ON l.id = r.id AND ai_query('chat', l.a) = 'yes'",
        f"CREATE TABLE u AS SELECT {A} AS r FROM t WHERE id < 9",
        f"UPDATE t SET a = {B} WHERE id < 9",
    ],
)
def test_an_exact_count_is_what_running_it_asks(t: Explained, statement: str) -> None:
    total = t.total(statement)
    t.session.sql(statement)
    assert total["exact"] and total["requests"] == t.asked()


@pytest.mark.parametrize(
    "statement",
    [
        f"SELECT {B} AS r FROM t WHERE {A} = 'yes'",
        f"SELECT CASE WHEN {A} = 'yes' THEN {B} ELSE ai_query('chat', 'no: ' || b) END AS r FROM t",
        f"SELECT ai_query('chat', 'Again: ' || {A}) AS r FROM t",
        f"SELECT y FROM (SELECT {A} AS x, {B} AS y FROM t) AS s WHERE x = 'yes'",
        f"SELECT grp, ai_query('chat', string_agg(b)) AS r FROM t GROUP BY grp HAVING max({A}) = 'yes'",
        f"SELECT ai_query('chat', string_agg(b)) AS r FROM t GROUP BY {A}",
        f"WITH c AS (SELECT id, {A} AS x FROM t) SELECT {B} AS r FROM t JOIN c USING (id) WHERE x = 'yes'",
        "SELECT ai_query('chat', r) AS q FROM v WHERE r = 'yes'",
    ],
)
def test_a_count_that_depends_on_answers_is_a_bound_and_says_so(t: Explained, statement: str) -> None:
    t.session.sql(f"CREATE VIEW v AS SELECT id, {A} AS r FROM t")
    total = t.total(statement)
    t.session.sql(statement)
    assert not total["exact"] and total["requests"] >= t.asked()


def test_calls_come_in_the_order_in_which_they_are_asked(t: Explained) -> None:
    calls = t.calls(f"SELECT {B} AS r FROM t WHERE {A} = 'yes'")
    assert [(call["call"], call["stage"], call["exact"]) for call in calls] == [(A, 1, True), (B, 2, False)]


def test_of_two_conditions_the_cheaper_is_asked_first(t: Explained) -> None:
    calls = t.calls(f"SELECT id FROM t WHERE ai_query('dearer', a) = 'yes' AND {B} = 'x'")
    assert [call["endpoint"] for call in calls] == ["chat", "dearer"]


def test_a_request_that_two_calls_share_is_counted_once(t: Explained) -> None:
    calls = t.calls(f"SELECT {A} AS x, ai_query('chat', a || '') AS y FROM t")
    assert [call["requests"] for call in calls] == [ROWS, 0]


def test_a_filter_with_a_limit_is_estimated_by_its_first_wave(t: Explained) -> None:
    (call,) = t.calls(f"SELECT id FROM t WHERE {A} = 'yes' LIMIT 3")
    assert (call["requests"], call["exact"]) == (16, False)
    assert "40 at most" in call["note"]


def test_random_prompts_are_counted_and_not_exact(t: Explained) -> None:
    (call,) = t.calls("SELECT ai_query('chat', a || random()) AS r FROM t")
    assert (call["requests"], call["exact"], call["lifted"]) == (ROWS, False, True)
    assert "another run may ask others" in call["note"]


def test_what_must_not_be_evaluated_is_estimated_by_the_engine(t: Explained) -> None:
    t.con.execute("CREATE SEQUENCE s")
    (call,) = t.calls("SELECT ai_query('chat', a || nextval('s')) AS r FROM t")
    assert (call["requests"], call["exact"]) == (ROWS, False)
    assert "rows as DuckDB expects them" in call["note"]


def test_a_call_in_a_view_is_counted(t: Explained) -> None:
    t.session.sql(f"CREATE VIEW v AS SELECT {A} AS r FROM t")
    (call,) = t.calls("SELECT * FROM v")
    assert (call["endpoint"], call["requests"], call["exact"]) == ("chat", ROWS, True)


def test_max_tokens_bounds_the_high_cost(t: Explained) -> None:
    plain = t.total(f"SELECT {A} AS r FROM t")
    bounded = t.total("SELECT ai_query('chat', a, modelParameters => named_struct('max_tokens', 5)) AS r FROM t")
    assert bounded["cost_low_usd"] == plain["cost_low_usd"]
    assert bounded["cost_high_usd"] < plain["cost_high_usd"] / 20


def test_a_model_without_a_price_has_no_cost(t: Explained, conf: ConfFolder) -> None:
    (call,) = t.calls("SELECT ai_query('model', {'x': id}, returnType => 'STRING') AS r FROM t")
    assert (call["requests"], call["cost_low_usd"], call["cost_high_usd"]) == (ROWS, None, None)


def test_a_rate_limit_shows_in_the_seconds(t: Explained) -> None:
    assert t.total("SELECT ai_query('limited', a) AS r FROM t")["seconds"] == 180.0


def test_history_takes_the_place_of_assumptions(t: Explained) -> None:
    statement = f"SELECT {A} AS r FROM t"
    assert "assumed" in t.calls(statement)[0]["note"]
    t.session.sql(statement)
    (call,) = t.calls(statement)
    assert call["note"] == "" and call["output_tokens_likely"] < 100 * ROWS


def test_after_a_run_the_estimate_is_near_the_bill(t: Explained) -> None:
    statement = f"SELECT {A} AS r FROM t"
    t.session.sql(statement)
    total = t.total(statement)
    (bill,) = t.sql("SELECT sum(input_tokens) AS i, sum(output_tokens) AS o, sum(cost_usd) AS c FROM system.aiq.calls")
    assert total["input_tokens"] == pytest.approx(bill["i"], rel=0.05)
    assert total["output_tokens_likely"] == pytest.approx(bill["o"], rel=0.05)
    assert total["cost_likely_usd"] == pytest.approx(bill["c"], rel=0.05)


def test_answers_that_may_be_reused_are_not_counted_as_cost(t: Explained) -> None:
    t.session.sql("SET aiq_reuse = 'session'")
    t.session.sql(f"SELECT {A} AS r FROM t WHERE id < 10")
    total = t.total(f"SELECT {A} AS r FROM t")
    assert (total["requests"], total["answered_from_store"]) == (ROWS, 10)


def test_a_hint_holds_for_its_explanation(t: Explained) -> None:
    t.session.sql(f"/*+ aiq_reuse(session) */ SELECT {A} AS r FROM t")
    assert t.total(f"SELECT {A} AS r FROM t")["answered_from_store"] == 0
    assert t.total(f"/*+ aiq_reuse(session) */ SELECT {A} AS r FROM t")["answered_from_store"] == ROWS


def test_explaining_does_not_use_up_answers_to_resume(t: Explained) -> None:
    statement = f"SELECT {A} AS r FROM t"
    with pytest.raises(duckdb.Error):
        t.session.sql(f"SELECT {A} AS r, (b || '!')::INTEGER AS n FROM t")
    paid = t.asked()
    assert t.total(statement)["answered_from_store"] == paid == ROWS
    t.session.sql(statement)
    assert t.asked() == paid


def test_analyze_shows_what_was_taken_beside_the_estimate(t: Explained) -> None:
    call, total = t.sql(f"EXPLAIN AI ANALYZE SELECT {A} AS r FROM t")
    for row in (call, total):
        assert row["actual_requests"] == row["actual_calls"] == row["requests"] == t.asked() == ROWS
        assert (row["actual_rows"], row["actual_reused"]) == (ROWS, 0)
    (bill,) = t.sql("SELECT sum(input_tokens) AS i, sum(output_tokens) AS o, sum(cost_usd) AS c FROM system.aiq.calls")
    for row in (call, total):
        assert (row["actual_input_tokens"], row["actual_output_tokens"]) == (bill["i"], bill["o"])
        assert row["actual_cost_usd"] == pytest.approx(bill["c"])
    assert total["actual_seconds"] >= call["actual_seconds"] > 0


def test_analyze_drops_a_result_and_keeps_what_was_written(t: Explained) -> None:
    t.sql(f"EXPLAIN AI ANALYZE SELECT {A} AS r FROM t")
    t.sql(f"EXPLAIN AI ANALYZE CREATE TABLE u AS SELECT {A} AS r FROM t")
    assert t.con.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall() == [("t",), ("u",)]
    assert t.con.execute("SELECT count(*) FROM u").fetchall() == [(ROWS,)]


ACTUAL = ("actual_rows", "actual_requests", "actual_reused", "actual_calls")


def counts(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ACTUAL)


def test_two_calls_of_one_endpoint_show_what_each_took(t: Explained) -> None:
    one, other, total = t.sql(f"EXPLAIN AI ANALYZE SELECT {A} AS x, ai_query('chat', 'Group ' || grp) AS y FROM t")
    assert (counts(one), counts(other)) == ((ROWS, ROWS, 0, ROWS), (ROWS, 10, 0, 10))
    assert counts(total) == (2 * ROWS, ROWS + 10, 0, ROWS + 10)
    for name in ("actual_input_tokens", "actual_output_tokens", "actual_cost_usd"):
        assert one[name] > 0 < other[name]
        assert one[name] + other[name] == pytest.approx(total[name])


@pytest.mark.parametrize(
    "statement",
    [
        f"SELECT {B} AS r FROM t WHERE {A} = 'yes'",
        f"SELECT CASE WHEN {A} = 'yes' THEN {B} ELSE ai_query('chat', 'no: ' || b) END AS r FROM t",
        f"SELECT ai_query('chat', 'Again: ' || {A}) AS r FROM t",
        f"SELECT {A} AS r, random() AS q FROM t",
        f"CREATE TABLE u AS SELECT {A} AS x, {B} AS y FROM t",
        f"UPDATE t SET a = {B} WHERE {A} = 'yes'",
        f"SELECT id FROM t WHERE {A} = 'yes' LIMIT 3",
        "SELECT ai_query('emb', a) AS x, ai_query('emb', b) AS y FROM t",
    ],
)
def test_what_each_call_took_is_in_sum_what_the_statement_took(t: Explained, statement: str) -> None:
    *calls, total = t.sql(f"EXPLAIN AI ANALYZE {statement}")
    assert total["actual_calls"] == t.asked() > 0
    for name in ("actual_requests", "actual_reused", "actual_calls", "actual_input_tokens", "actual_cost_usd"):
        assert sum(call[name] for call in calls) == pytest.approx(total[name])


def test_a_call_after_an_ai_filter_shows_the_rows_that_came_to_it(t: Explained) -> None:
    first, second, _ = t.sql(f"EXPLAIN AI ANALYZE SELECT {B} AS r FROM t WHERE {A} = 'yes'")
    passed = len(t.sql(f"/*+ aiq_reuse(off) */ SELECT id FROM t WHERE {A} = 'yes'"))
    assert counts(first) == (ROWS, ROWS, 0, ROWS)
    assert counts(second) == (passed, passed, 0, passed)


def test_kept_answers_are_shown_as_reused(t: Explained) -> None:
    t.session.sql("SET aiq_reuse = 'session'")
    t.session.sql(f"SELECT {A} AS r FROM t WHERE id < 30")
    call, total = t.sql(f"EXPLAIN AI ANALYZE SELECT {A} AS r FROM t")
    assert counts(call) == counts(total) == (ROWS, ROWS, 30, ROWS - 30)


def test_a_request_of_two_calls_was_taken_by_the_first(t: Explained) -> None:
    one, other, _ = t.sql(f"EXPLAIN AI ANALYZE SELECT {A} AS x, ai_query('chat', a || '') AS y FROM t")
    assert (counts(one), counts(other)) == ((ROWS, ROWS, 0, ROWS), (ROWS, 0, 0, 0))


def test_failing_rows_are_calls_too(t: Explained) -> None:
    call, _ = t.sql(
        "EXPLAIN AI ANALYZE SELECT ai_query('chat', '[[fault:400]] ' || a, failOnError => false) AS r FROM t"
    )
    assert counts(call) == (ROWS, ROWS, 0, ROWS)
    assert (call["actual_output_tokens"], call["actual_cost_usd"]) == (0, 0.0)


def test_a_call_in_a_view_is_known_as_one_in_the_statement(t: Explained) -> None:
    t.session.sql(f"CREATE VIEW v AS SELECT {A} AS r FROM t")
    call, total = t.sql("EXPLAIN AI ANALYZE SELECT * FROM v")
    assert counts(call) == counts(total) == (ROWS, ROWS, 0, ROWS)


def test_the_order_of_conditions_is_in_the_stages(t: Explained) -> None:
    calls = t.calls(
        f"SELECT {A} AS r FROM t WHERE ai_query('dearer', a) = 'yes' AND ai_query('chat', b) = 'x' AND id < 30"
    )
    assert [(call["stage"], call["call"]) for call in calls] == [
        (1, "ai_query('chat', b)"),
        (2, "ai_query('dearer', a)"),
        (3, A),
    ]
    assert calls[0]["rows"] == 30


@pytest.mark.parametrize("statement", ["SET aiq_reuse = 'session'", "RESET aiq_reuse"])
@pytest.mark.parametrize("words", ["EXPLAIN AI", "EXPLAIN AI ANALYZE"])
def test_a_setting_is_not_explained(t: Explained, words: str, statement: str) -> None:
    with pytest.raises(StatementError, match="run SET and RESET alone"):
        t.sql(f"{words} {statement}")
    assert t.session.settings.reuse is None


def test_the_low_cost_is_that_of_the_shortest_answer_so_far(t: Explained) -> None:
    for length in (2, 50):
        t.session.sql(
            f"SELECT ai_query('chat', 'Length {length}. ' || b, modelParameters => {{'max_tokens': {length}}}) FROM t"
        )
    gateway = t.session.gateway
    history = history_of(Tables(gateway.ledger.home), gateway.endpoint("chat"))
    assert history.output_low == 2.0 < history.output_mean


def test_a_statement_without_an_ai_call_is_a_row_of_zeros(t: Explained) -> None:
    (total,) = t.sql("EXPLAIN AI SELECT * FROM t")
    assert (total["call"], total["requests"], total["cost_high_usd"], total["note"]) == ("total", 0, 0.0, "no AI call")


def test_a_table_without_rows_asks_nothing(t: Explained) -> None:
    total = t.total(f"SELECT {A} AS r FROM t WHERE false")
    assert (total["requests"], total["cost_high_usd"], total["exact"]) == (0, 0.0, True)


def test_explain_without_ai_is_duckdbs_own(t: Explained) -> None:
    (row,) = t.sql("EXPLAIN SELECT * FROM t")
    assert row["explain_key"] == "physical_plan"


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("SELEC 1", duckdb.ParserException),
        ("SELECT nothing FROM t", duckdb.BinderException),
        ("SELECT ai_query('chat', nothing) AS r FROM t", duckdb.BinderException),
        ("CREATE TABLE u AS SELECT ai_query('chat', nothing) AS r FROM t", duckdb.BinderException),
        ("SELECT ai_query('chatt', a) AS r FROM t", StatementError),
        ("SELECT ai_query('chat') AS r FROM t", FunctionError),
        ("SELECT ai_query('chat', [id]) AS r FROM t", FunctionError),
        ("", StatementError),
        ("SELECT 1; SELECT 2", StatementError),
    ],
)
def test_a_wrong_statement_is_refused_as_if_it_ran(t: Explained, statement: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        t.sql(f"EXPLAIN AI {statement}")
    assert t.asked() == 0


def test_a_call_in_the_place_of_a_constant_is_not_asked(t: Explained) -> None:
    t.calls("SELECT ai_query('chat', a, returnType => ai_query('chat', 'x')) AS r FROM t")
    assert t.asked() == 0


def test_an_open_transaction_stays_open(t: Explained) -> None:
    t.con.begin()
    t.con.execute("INSERT INTO t VALUES (99, 9, 'new', 'new')")
    assert t.total(f"SELECT {A} AS r FROM t")["requests"] == ROWS + 1
    assert t.total(f"SELECT {B} AS r FROM t WHERE {A} = 'yes'")["exact"] is False
    t.con.rollback()
    assert t.total(f"SELECT {A} AS r FROM t")["requests"] == ROWS


def test_parameters_and_data_frames_are_counted(t: Explained) -> None:
    mine = pa.table({"x": [f"Mine {i}" for i in range(7)]})
    assert len(mine) == 7
    (call,) = t.calls("SELECT ai_query('chat', ? || x) AS r FROM mine WHERE x <> ?", ["A ", "Mine 3"])
    assert call["requests"] == 6


def test_a_stream_that_can_be_read_once_is_left_unread(t: Explained) -> None:
    stream = pa.table({"x": ["a", "b"]}).to_reader()
    (call,) = t.calls("SELECT ai_query('chat', x) AS r FROM stream")
    assert not call["exact"] and len(stream.read_all()) == 2


def test_comments_and_case_do_not_hide_the_words(t: Explained) -> None:
    rows = t.sql(f"-- what would it cost?\n/* say */ explain\nAI SELECT {A} AS r FROM t")
    assert rows[-1]["requests"] == ROWS


def test_databricks_text_is_explained(t: Explained) -> None:
    relation = t.session.explain("SELECT ai_query('chat', `a`) AS r FROM t", dialect="databricks")
    assert relation.fetchall()[-1][relation.columns.index("requests")] == ROWS


def test_explain_is_a_method_too(t: Explained) -> None:
    relation = t.session.explain(f"SELECT {A} AS r FROM t WHERE id < ?", [4])
    assert relation.fetchall()[0][relation.columns.index("requests")] == 4


def test_a_user_who_may_not_ask_is_told(
    conf: ConfFolder, home: Path, ledger_rows: Callable[..., Rows], simulator: SimulatorProcess
) -> None:
    conf.endpoint("closed", permissions=[{"level": "CAN_QUERY", "user_name": "bob@example.com"}])
    with aiq.connect(conf=conf.path, home=home, user="ann@example.com") as session:
        rows = session.explain("SELECT ai_query('closed', 'x') AS r").fetchall()
    assert "ann@example.com does not have CAN_QUERY" in rows[0][-1]
