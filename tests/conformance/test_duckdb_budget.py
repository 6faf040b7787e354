"""`aiq_max_cost_usd`: a statement stops before it would spend more, and run again with more it pays only the rest."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pytest

import aiq
from aiq.engines.duckdb.frames import reads_pipe
from aiq.errors import AiqError, BudgetExceeded, StatementError
from aiq.simulator.process import SimulatorProcess
from aiq.simulator.profile import Latency, Profile, TokenPrice

if TYPE_CHECKING:
    from tests.conftest import ConfFolder

CALLS = "system.aiq.calls"
CHAT, EMBEDDING = "gpt-4o-mini", "text-embedding-3-small"
PRICES = {CHAT: TokenPrice(100.0, 1000.0), EMBEDDING: TokenPrice(100.0, 0.0)}
"""US dollars per million tokens, so high that a handful of calls is a bill."""
PARAMETERS = "modelParameters => {'max_tokens': 20}"

LedgerRows = Callable[..., list[dict[str, Any]]]


def statement(rows: int, endpoint: str = "chat") -> str:
    own = "" if endpoint == "emb" else f", {PARAMETERS}"
    call = f"ai_query('{endpoint}', 'Say something about the number ' || i || '.'{own})"
    return f"SELECT {call} AS a FROM range({rows}) AS r(i)"


@pytest.fixture(scope="module")
def billing_process() -> Iterator[SimulatorProcess]:
    profile = Profile(latency=Latency(fixed_ms=5), prices=tuple(PRICES.items()))
    with SimulatorProcess.start(profile) as process:
        yield process


@pytest.fixture
def bill(billing_process: SimulatorProcess) -> Callable[[], float]:
    """What the provider has billed, in US dollars."""
    billing_process.reset()
    return lambda: float(billing_process.stats()["cost_usd"])


def configure(conf: ConfFolder, url: str, known: Mapping[str, TokenPrice] = PRICES, **settings: Any) -> None:
    """`chat` and `emb` before the simulator at `url`, at its prices; `unpriced` has none."""
    prices = {m: {"input_per_mtok": p.input_per_mtok, "output_per_mtok": p.output_per_mtok} for m, p in known.items()}
    conf.settings(
        prices=prices, endpoints={"model": {"model_server": {"url": f"{url}/invocations"}}}, retries=0, **settings
    )
    task = "llm/v1/embeddings"
    conf.endpoint("chat", conf.entity("main", CHAT, url=f"{url}/v1"))
    conf.endpoint("emb", conf.entity("main", EMBEDDING, task=task, url=f"{url}/v1"), task=task)
    conf.endpoint("unpriced", conf.entity("main", "sim-nameless", url=f"{url}/v1"))


@pytest.fixture
def session(
    conf: ConfFolder, home: Path, billing_process: SimulatorProcess, bill: Callable[[], float]
) -> Iterator[aiq.Session]:
    configure(conf, billing_process.url, concurrency=32, embedding_batch_rows=4)
    with aiq.connect(conf=conf.path, home=home, user="ann") as session:
        yield session


def ledger_cost(session: aiq.Session) -> float:
    found = session.sql("SELECT coalesce(sum(cost_usd), 0) FROM system.aiq.calls")
    assert found is not None
    return float(found.fetchall()[0][0])


@pytest.mark.parametrize("run", ["EXPLAIN ANALYZE {}", "EXECUTE asks"])
def test_a_statement_that_duckdb_runs_as_it_is_has_the_same_budget(
    session: aiq.Session, bill: Callable[[], float], run: str
) -> None:
    session.sql(f"PREPARE asks AS {statement(200)}")
    session.sql("SET aiq_max_cost_usd = 0.5")
    with pytest.raises(BudgetExceeded):
        session.sql(run.format(statement(200)))
    assert bill() <= 0.5
    session.sql("RESET aiq_max_cost_usd")
    paid = bill()
    session.sql(run.format(statement(200)))  # what was answered is kept
    assert ledger_cost(session) == pytest.approx(bill())
    assert paid < bill()


def test_a_budget_is_not_overshot_with_1024_in_flight(conf: ConfFolder, home: Path) -> None:
    limit = 6.0  # 1,190 calls, for each answer is as long as it may be; a second round would cost twice as much
    prices = {CHAT: TokenPrice(1.0, 1000.0)}
    profile = Profile(latency=Latency(fixed_ms=2000), prices=tuple(prices.items()))
    with SimulatorProcess.start(profile) as slow:
        configure(conf, slow.url, prices, concurrency=1024)
        with aiq.connect(conf=conf.path, home=home, user="ann") as session:
            session.sql(f"SET aiq_max_cost_usd = {limit}")
            with pytest.raises(BudgetExceeded):
                session.sql(statement(2500).replace("20}", "5}"))
            stats = slow.stats()
            assert stats["max_in_flight"] > 512
            assert limit * 0.9 < stats["cost_usd"] <= limit
            assert ledger_cost(session) == pytest.approx(stats["cost_usd"])


def test_a_statement_within_its_budget_is_not_disturbed(session: aiq.Session, bill: Callable[[], float]) -> None:
    session.sql("SET aiq_max_cost_usd = 100")
    result = session.sql(statement(50))
    assert result is not None and len(result) == 50
    assert 0 < bill() <= 100


def test_a_budget_that_is_smaller_than_all_reservations_together_is_used(
    session: aiq.Session, bill: Callable[[], float]
) -> None:
    session.sql(statement(60))
    needed = bill()
    session.sql(f"SET aiq_max_cost_usd = {needed + 0.04}")  # 60 reservations would be $2
    session.sql(statement(60))
    assert bill() == pytest.approx(2 * needed)


@pytest.mark.parametrize("extra", ["", ", random() AS b"], ids=["lifted", "not lifted"])
def test_the_ledger_and_the_provider_agree_on_what_a_stopped_statement_cost(
    session: aiq.Session, bill: Callable[[], float], extra: str
) -> None:
    session.sql("SET aiq_max_cost_usd = 0.5")
    with pytest.raises(BudgetExceeded, match=r"aiq_max_cost_usd = 0\.5"):
        session.sql(statement(300).replace(" AS a", " AS a" + extra))
    assert 0.4 < bill() <= 0.5
    assert ledger_cost(session) == pytest.approx(bill())


def test_run_again_with_more_it_pays_only_the_rest(
    session: aiq.Session, bill: Callable[[], float], billing_process: SimulatorProcess
) -> None:
    session.sql("SET aiq_max_cost_usd = 0.5")
    with pytest.raises(BudgetExceeded):
        session.sql(statement(100))
    assert 0 < billing_process.stats()["requests"] < 100
    session.sql("SET aiq_max_cost_usd = 50")
    session.sql(statement(100))
    assert billing_process.stats()["requests"] == 100


def test_run_again_and_again_with_little_it_ends(session: aiq.Session, billing_process: SimulatorProcess) -> None:
    session.sql("SET aiq_max_cost_usd = 1.2")  # all of it costs twice as much
    for _ in range(10):
        try:
            session.sql(statement(100))
            break
        except BudgetExceeded:
            pass
    assert billing_process.stats()["requests"] == 100


def test_kept_answers_cost_nothing(session: aiq.Session, bill: Callable[[], float]) -> None:
    session.sql(f"/*+ aiq_reuse(durable) */ {statement(30)}")
    paid = bill()
    session.sql(f"/*+ aiq_reuse(durable), aiq_max_cost_usd(0.000001) */ {statement(30)}")
    assert bill() == paid


def test_where_not_even_one_call_can_be_reserved_nothing_is_asked(
    session: aiq.Session, billing_process: SimulatorProcess
) -> None:
    session.sql("SET aiq_max_cost_usd = 0.02")  # above the low estimate, below one reservation
    with pytest.raises(BudgetExceeded, match="run the statement again, or lower max_tokens"):
        session.sql(statement(10))
    assert billing_process.stats()["requests"] == 0


@pytest.mark.parametrize("rows", [1, 100])
def test_an_unknown_price_is_refused_before_any_call(
    session: aiq.Session, billing_process: SimulatorProcess, rows: int
) -> None:
    session.sql("SET aiq_max_cost_usd = 5")
    with pytest.raises(BudgetExceeded, match="price of model 'sim-nameless' of endpoint 'unpriced' is not known"):
        session.sql(statement(rows, "unpriced"))
    assert billing_process.stats()["requests"] == 0


def test_an_unknown_price_beside_a_known_one_is_refused_before_any_call(
    session: aiq.Session, billing_process: SimulatorProcess
) -> None:
    session.sql("SET aiq_max_cost_usd = 5")
    with pytest.raises(BudgetExceeded, match="sim-nameless"):
        session.sql(
            f"SELECT ai_query('unpriced', ai_query('chat', 'Row ' || i || '.', {PARAMETERS}), {PARAMETERS}) AS a "
            "FROM range(20) AS r(i)"
        )
    assert billing_process.stats()["requests"] == 0


def test_without_a_budget_an_unknown_price_is_no_matter(session: aiq.Session) -> None:
    assert session.sql(statement(3, "unpriced")) is not None


def test_a_model_server_of_ones_own_costs_nothing(session: aiq.Session) -> None:
    session.sql("SET aiq_max_cost_usd = 0.000001")
    text = "SELECT ai_query('model', {'x': i}, returnType => 'DOUBLE') AS a FROM range(5) AS r(i)"
    result = session.sql(text)
    assert result is not None and len(result) == 5


@pytest.mark.parametrize("value", ["0", "-1", "'much'", "nan", "inf", "'1 dollar'", "1e999", "''", "1, 2"])
def test_a_budget_must_be_a_positive_amount(session: aiq.Session, value: str) -> None:
    session.sql("SET aiq_max_cost_usd = 7")
    with pytest.raises(StatementError, match="positive number of US dollars"):
        session.sql(f"SET aiq_max_cost_usd = {value}")
    assert session.settings.max_cost_usd == 7.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SET aiq_max_cost_usd = 5", 5.0),
        ("set AIQ_MAX_COST_USD to '0.25';", 0.25),
        ("SET aiq_max_cost_usd = 1e-3", 0.001),
        ("RESET aiq_max_cost_usd", None),
        ("SET aiq_max_cost_usd = DEFAULT", None),
    ],
)
def test_a_budget_is_set_and_taken_back(session: aiq.Session, text: str, expected: float | None) -> None:
    session.sql("SET aiq_max_cost_usd = 7")
    session.sql(text)
    assert session.settings.max_cost_usd == expected


def test_a_hint_is_the_budget_of_its_statement_alone(session: aiq.Session, bill: Callable[[], float]) -> None:
    with pytest.raises(BudgetExceeded):
        session.sql(f"/*+ aiq_max_cost_usd(0.3) */ {statement(100)}")
    assert bill() <= 0.3
    session.sql(statement(100))
    assert bill() > 0.3


def test_each_statement_has_the_whole_budget(session: aiq.Session, bill: Callable[[], float]) -> None:
    session.sql("SET aiq_max_cost_usd = 0.6")
    for name in ("One", "Two"):
        session.sql(statement(20).replace("Say", name))
    assert bill() > 0


def test_embeddings_have_a_budget(session: aiq.Session, bill: Callable[[], float]) -> None:
    session.sql("SET aiq_max_cost_usd = 0.3")
    with pytest.raises(BudgetExceeded):
        session.sql(statement(400, "emb"))
    assert 0.2 < bill() <= 0.3
    assert ledger_cost(session) == pytest.approx(bill())


def test_all_calls_of_a_statement_share_its_budget(session: aiq.Session, bill: Callable[[], float]) -> None:
    session.sql("SET aiq_max_cost_usd = 0.5")
    with pytest.raises(BudgetExceeded):
        session.sql(
            f"SELECT ai_query('chat', 'One ' || i || '.', {PARAMETERS}) AS a, "
            f"ai_query('chat', 'Two ' || i || '.', {PARAMETERS}) AS b FROM range(60) AS r(i)"
        )
    assert bill() <= 0.5


def test_a_refusal_that_was_billed_counts(session: aiq.Session, bill: Callable[[], float]) -> None:
    session.sql("SET aiq_max_cost_usd = 0.3")
    text = statement(300).replace("Say", "[[fault:refusal]] Say").replace("20})", "20}, failOnError => false)")
    with pytest.raises(BudgetExceeded):
        session.sql(text)
    assert bill() <= 0.3


def test_rows_that_fail_without_a_bill_leave_the_budget_to_the_others(
    session: aiq.Session, bill: Callable[[], float]
) -> None:
    session.sql("SET aiq_max_cost_usd = 0.17")  # a few reservations at a time
    text = statement(100).replace("Say", "[[fault:400]] Say").replace("20})", "20}, failOnError => false)")
    session.sql(text)
    assert bill() == 0


def test_a_refused_statement_asks_nothing_and_says_what_to_do(
    session: aiq.Session, billing_process: SimulatorProcess
) -> None:
    session.sql("SET aiq_max_cost_usd = 0.1")
    words = r"at least \$0\.1.*likely \$2\..*up to \$2\..*aiq_max_cost_usd = 0\.1; nothing was asked\. Raise the limit"
    with pytest.raises(BudgetExceeded, match=words):
        session.sql(statement(100))
    assert billing_process.stats()["requests"] == 0


@pytest.mark.parametrize(
    "text",
    [
        f"CREATE TABLE u AS {statement(100)}",
        f"INSERT INTO t {statement(100)}",
        f"UPDATE t SET a = ai_query('chat', 'Row ' || i, {PARAMETERS}) FROM range(100) AS r(i)",
        f"SELECT * FROM range(100) AS r(i) WHERE ai_query('chat', 'Row ' || i, {PARAMETERS}) = 'x'",
        statement(100).replace("SELECT", "SELECT /*+ aiq_max_cost_usd(0.01) */"),
        f"EXPLAIN AI ANALYZE {statement(100)}",
        "SELECT * FROM v",
    ],
    ids=["create", "insert", "update", "where", "hint", "analyze", "view"],
)
def test_a_statement_of_any_kind_is_refused_before_the_first_call(
    session: aiq.Session, billing_process: SimulatorProcess, text: str
) -> None:
    session.con.execute("CREATE TABLE t AS SELECT 'x' AS a")
    session.sql("CREATE VIEW v AS SELECT ai_query('chat', 'Row ' || i) AS a FROM range(100) AS r(i)")
    session.sql("SET aiq_max_cost_usd = 0.01")
    with pytest.raises(BudgetExceeded, match="nothing was asked"):
        session.sql(text)
    assert billing_process.stats()["requests"] == 0
    assert session.con.execute("SELECT table_name FROM duckdb_tables()").fetchall() == [("t",)]
    assert session.con.execute("FROM t").fetchall() == [("x",)]


def test_a_stream_is_refused_before_the_first_call(session: aiq.Session, billing_process: SimulatorProcess) -> None:
    session.sql("SET aiq_max_cost_usd = 0.1")
    with pytest.raises(BudgetExceeded, match="nothing was asked"):
        next(session.stream(statement(100)))
    assert billing_process.stats()["requests"] == 0


def test_a_stream_within_its_budget_is_not_disturbed(session: aiq.Session) -> None:
    session.sql("SET aiq_max_cost_usd = 100")
    assert sum(batch.num_rows for batch in session.stream(statement(50))) == 50


def test_rows_whose_answers_decide_what_more_is_asked_do_not_count_as_certain(
    session: aiq.Session, billing_process: SimulatorProcess
) -> None:
    session.sql("SET aiq_max_cost_usd = 0.3")
    text = (
        f"SELECT ai_query('chat', 'Tell ' || i, {PARAMETERS}) AS a FROM range(500) AS r(i) WHERE i < 8 AND "
        f"ai_query('chat', 'Row ' || i, {PARAMETERS}) = 'x'"
    )
    result = session.sql(text)
    assert result is not None and len(result) == 0
    assert billing_process.stats()["requests"] == 8


def test_explaining_is_never_refused(session: aiq.Session) -> None:
    session.sql("SET aiq_max_cost_usd = 0.000001")
    result = session.sql(f"EXPLAIN AI {statement(100)}")
    assert result is not None and len(result) == 2


def one_shot(rows: int = 20) -> pa.RecordBatchReader:
    return pa.table({"p": [f"Row {i}" for i in range(rows)]}).to_reader()


def test_under_a_budget_a_stream_of_rows_is_still_read_once(session: aiq.Session) -> None:
    session.sql("SET aiq_max_cost_usd = 100")
    stream = one_shot()
    result = session.sql(f"SELECT ai_query('chat', p, {PARAMETERS}) AS a FROM stream")
    assert stream is not None and result is not None and len(result) == 20


@pytest.mark.parametrize("how", ["relation", "registered"])
def test_under_a_budget_a_hidden_stream_gives_its_rows_or_says_what_to_do(session: aiq.Session, how: str) -> None:
    session.sql("SET aiq_max_cost_usd = 100")
    relation = session.con.from_arrow(one_shot()) if how == "relation" else None
    session.con.register("registered", one_shot())
    try:
        result = session.sql(f"SELECT ai_query('chat', p, {PARAMETERS}) AS a FROM {how}")
        assert result is not None and len(result) == 20
    except (StatementError, duckdb.Error) as error:
        assert "only once" in str(error)
    assert how == "registered" or relation is not None


def test_a_statement_over_a_pipe_is_not_evaluated_for_its_estimate(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rows.csv")
    assert reads_pipe(f"SELECT * FROM read_csv('{tmp_path}/rows.csv')")
    assert not reads_pipe(f"SELECT * FROM read_csv('{tmp_path}/other.csv')")


def test_an_open_transaction_survives_an_estimate_that_fails(session: aiq.Session) -> None:
    session.con.execute("CREATE TABLE t (a VARCHAR NOT NULL)")
    session.sql("SET aiq_max_cost_usd = 100")
    session.con.begin()
    session.con.execute("INSERT INTO t VALUES ('x')")
    session.sql(f"UPDATE t SET a = coalesce(ai_query('chat', 'Row', {PARAMETERS}), error('no answer'))")
    session.con.commit()
    assert session.con.execute("SELECT count(*) FROM t WHERE a <> 'x'").fetchall() == [(1,)]


def test_where_nothing_can_be_estimated_the_statement_runs(session: aiq.Session) -> None:
    session.sql("SET aiq_max_cost_usd = 100")
    text = f"SELECT coalesce(ai_query('chat', 'Row ' || i, {PARAMETERS}), error('no answer')) FROM range(3) AS r(i)"
    result = session.sql(text)
    assert result is not None and len(result) == 3


def test_without_a_budget_a_statement_is_not_evaluated_in_advance(session: aiq.Session) -> None:
    evaluated: list[int] = []

    def seen(i: int) -> int:
        evaluated.append(i)
        return i

    session.con.create_function("seen", seen, ["BIGINT"], "BIGINT")
    text = f"SELECT ai_query('chat', 'Row ' || seen(i), {PARAMETERS}) AS a FROM range(3) AS r(i)"
    session.sql(text)
    without = len(evaluated)
    session.sql(f"/*+ aiq_max_cost_usd(100) */ {text}")
    assert len(evaluated) - without == without + 3


def test_a_statement_without_an_ai_call_has_no_budget(session: aiq.Session) -> None:
    session.sql("SET aiq_max_cost_usd = 0.000001")
    session.sql("CREATE TABLE t AS SELECT 1 AS a")
    result = session.sql("SELECT * FROM t")
    assert result is not None and result.fetchall() == [(1,)]


@pytest.mark.parametrize(
    ("text", "error"),
    [("SELEC 1", duckdb.ParserException), (statement(3).replace("|| i", "|| nothing"), duckdb.BinderException)],
)
def test_under_a_budget_a_wrong_statement_has_its_own_error(
    session: aiq.Session, text: str, error: type[Exception]
) -> None:
    session.sql("SET aiq_max_cost_usd = 100")
    with pytest.raises(error):
        session.sql(text)


def test_a_budget_error_is_one_of_ours(session: aiq.Session) -> None:
    with pytest.raises(AiqError) as caught:
        session.sql(f"/*+ aiq_max_cost_usd(0.001) */ {statement(5)}")
    assert isinstance(caught.value, StatementError)
