"""Who may use an answer again, and how it is said: SET, a hint before a statement, and the endpoint's own `reuse`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

import aiq
from aiq.answers.store import AnswerStore
from aiq.config.reuse import Reuse
from aiq.errors import AiqError, ConfigError, StatementError
from aiq.simulator.process import SimulatorProcess

if TYPE_CHECKING:
    from tests.conftest import ConfFolder

ROWS = 5
CHAT = f"SELECT ai_query('chat', 'Row ' || i || '.') AS a FROM range({ROWS}) AS r(i)"
EMBEDDINGS = f"SELECT ai_query('emb', 'Row ' || i || '.') AS a FROM range({ROWS}) AS r(i)"
CUSTOM = f"SELECT ai_query('model', {{'x': i}}, returnType => 'DOUBLE') AS a FROM range({ROWS}) AS r(i)"
VOLATILE = f"SELECT ai_query('chat', 'Row ' || i || '.') AS a, random() FROM range({ROWS}) AS r(i)"

Connect = Callable[..., aiq.Session]
Asked = Callable[[aiq.Session, str], int]


@pytest.fixture
def connect(conf: ConfFolder, home: Path) -> Iterator[Connect]:
    """`connect(user=..., groups=...)`: one more session, of ann unless it is said."""
    with ExitStack() as stack:
        yield lambda user="ann", groups=(): stack.enter_context(
            aiq.connect(conf=conf.path, home=home, user=user, groups=groups)
        )


@pytest.fixture
def asked(simulator: SimulatorProcess) -> Asked:
    """`asked(session, text)`: how many requests a statement sends."""

    def run(session: aiq.Session, text: str) -> int:
        before = simulator.stats()["requests"]
        session.sql(text)
        return int(simulator.stats()["requests"] - before)

    return run


def model_settings(simulator: SimulatorProcess, **own: Any) -> dict[str, Any]:
    """`endpoints` of aiq.yml: what the conf folder's custom model needs, and `own` settings by endpoint."""
    return {"model": {"model_server": {"url": f"{simulator.url}/invocations"}}, **own}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SET aiq_reuse = 'session'", Reuse("session")),
        ('set AIQ_REUSE = "session"', Reuse("session")),
        ("SET SESSION aiq_reuse TO session;", Reuse("session")),
        ("  SET  LOCAL  aiq_reuse='off' ; ", Reuse("off")),
        ("SET GLOBAL aiq_reuse = 'statement'", Reuse("statement")),
        ("SET aiq_reuse = 'durable'", Reuse("durable", 30 * 86400.0)),
        ("SET aiq_reuse = 'Durable 7 days'", Reuse("durable", 7 * 86400.0)),
        ("SET aiq_reuse = 'durable 1.5h'", Reuse("durable", 5400.0)),
        ("-- why\n/* and\n-- how */ SET aiq_reuse = 'session' -- here", Reuse("session")),
        ("SET aiq_reuse = session; -- here\n/* and here */", Reuse("session")),
        ("SET aiq_reuse = session /* here */", Reuse("session")),
        ("SET aiq_reuse = DEFAULT", None),
        ("SET aiq_reuse = NULL", None),
        ("RESET aiq_reuse", None),
        ("reset session AIQ_REUSE;", None),
    ],
)
def test_set_and_reset_change_the_session(connect: Connect, text: str, expected: Reuse | None) -> None:
    session = connect()
    session.sql("SET aiq_reuse = 'durable 1s'")
    assert session.sql(text) is None
    assert session.settings.reuse == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("SET aiq_reuse = 'for ever'", "no kind of reuse"),
        ("SET aiq_reuse = 'durable 7'", "the unit is missing"),
        ("SET aiq_reuse = 'durable 7 moons'", "no unit of time"),
        ("SET aiq_reuse = 'durable 0 days'", "above zero"),
        ("SET aiq_reuse = 'session 7 days'", "only 'durable' takes a time"),
        ("SET aiq_reuse", "needs a value"),
        ("SET aiq_reuse =", "needs a value"),
        ("SET aiq_reus = 'session'", "There are: aiq_reuse"),
        ("RESET aiq_cost", "no setting aiq_cost"),
        ("RESET aiq_reuse = 5", "RESET aiq_reuse takes no value"),
        ("RESET aiq_reuse TO session", "RESET aiq_reuse takes no value"),
        ("RESET aiq_reuse session", "RESET aiq_reuse takes no value"),
        ("SET aiq_reuse 'durable'", "needs '=' or TO"),
        ("SET aiq_reuse = 'durable' 'off'", "takes one value"),
        ("SET aiq_quiet = perhaps", "true or false"),
        ("SET aiq_usage_context = 'project'", "is not understood"),
        ("SET aiq_usage_context = 'a=1, a=2'", "there twice"),
        ("SET aiq_usage_context = '{\"a\": 1}'", "needs a text"),
    ],
)
def test_a_wrong_setting_is_refused_and_changes_nothing(connect: Connect, text: str, words: str) -> None:
    session = connect()
    session.sql("SET aiq_reuse = 'session'")
    with pytest.raises(StatementError, match=words):
        session.sql(text)
    assert session.settings.reuse == Reuse("session")


def test_settings_stand_before_a_statement(connect: Connect) -> None:
    session = connect()
    text = "-- first\nSET aiq_reuse = 'session'; RESET aiq_reuse; SET aiq_reuse = durable; -- now\nSELECT 'a;b' AS x;"
    found = session.sql(text)
    assert found is not None and found.fetchall() == [("a;b",)]
    assert session.settings.reuse == Reuse("durable", 30 * 86400.0)
    with pytest.raises(duckdb.Error, match=r"LINE 2: SELECT ai_query"):  # places are the text's
        session.sql("SET aiq_reuse = 'off';\nSELECT ai_query('chat', nope) FROM range(2)")
    assert session.settings.reuse == Reuse("off")
    rows = list(session.stream("SET aiq_reuse = session; SELECT 1 AS x"))
    assert [batch.to_pylist() for batch in rows] == [[{"x": 1}]] and session.settings.reuse == Reuse("session")


@pytest.mark.parametrize("tags", ["project=churn, end_user=u-17", "a=--b", '{"a": "x, y=z"}'])
def test_tags_of_a_setting_are_shown_as_they_can_be_set_again(connect: Connect, tags: str) -> None:
    session = connect()
    for _ in range(2):
        session.sql(f"SET aiq_usage_context = '{tags}'")
        found = session.sql("SHOW aiq_usage_context")
        assert found is not None and found.fetchall()[0][1] == tags


def test_calls_have_the_tags_of_setting_hint_and_environment(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIQ_USAGE_CONTEXT", "project=all,team=red")
    session = connect()
    session.sql("SET aiq_usage_context = 'project=churn'; SELECT ai_query('chat', 'one')")
    session.sql("/*+ aiq_usage_context(end_user=u-17, team=blue) */ SELECT ai_query('chat', 'two')")
    session.sql("RESET aiq_usage_context; SELECT ai_query('chat', 'three')")
    found = session.sql("SELECT text[-7:], usage_context FROM system.aiq.statements ORDER BY start_time")
    assert found is not None
    said = [(text.strip("')"), dict(tags)) for text, tags in found.fetchall()]
    assert [tags for _, tags in said] == [
        {"project": "churn", "team": "red"},
        {"project": "all", "team": "blue", "end_user": "u-17"},
        {"project": "all", "team": "red"},
    ]
    usage = session.sql("SELECT DISTINCT usage_context['team'] AS t FROM system.serving.endpoint_usage ORDER BY t")
    assert usage is not None and usage.fetchall() == [("blue",), ("red",)]


def test_settings_of_duckdb_go_to_duckdb(connect: Connect) -> None:
    session = connect()
    session.sql("SET threads = 3")
    found = session.sql("SELECT current_setting('threads')")
    assert found is not None and found.fetchall() == [(3,)]


def test_the_settings_are_shown(connect: Connect) -> None:
    session = connect()
    session.sql("SET aiq_reuse = 'durable 7 days'")
    session.sql("SET aiq_quiet = on")
    found = session.sql("SHOW aiq_settings;")
    assert found is not None
    assert [row[:2] for row in found.fetchall()] == [
        ("aiq_reuse", "durable 7 days"),
        ("aiq_max_cost_usd", None),
        ("aiq_usage_context", None),
        ("aiq_quiet", "true"),
    ]


@pytest.mark.parametrize("value", ["off", "session", "durable 36 hours", "durable 90 minutes", "durable 1.5 seconds"])
def test_what_is_shown_can_be_set_again(connect: Connect, value: str) -> None:
    session = connect()
    session.sql(f"SET aiq_reuse = '{value}'")
    found = session.sql("-- how?\nshow all AIQ_REUSE")
    assert found is not None and [row[:2] for row in found.fetchall()] == [("aiq_reuse", value)]


@pytest.mark.parametrize(
    "hint",
    [
        "/*+ aiq_reuse(session) */",
        "  /*+aiq_reuse('session')*/",
        "/*+ AIQ_REUSE(session) */",
        "-- why\n/* how */ /*+ aiq_reuse(session) */",
        "/*+ BROADCAST(t), aiq_reuse(session) */",
        '/*+ aiq_max_cost_usd(1)\n aiq_reuse("session") */',
    ],
)
def test_a_hint_holds_for_its_statement_alone(connect: Connect, asked: Asked, hint: str) -> None:
    session = connect()
    assert asked(session, f"{hint} {CHAT}") == ROWS
    assert asked(session, f"{hint} {CHAT}") == 0
    assert asked(session, CHAT) == ROWS


def test_show_of_a_table_is_duckdbs(connect: Connect) -> None:
    session = connect()
    session.sql("CREATE TABLE aiq_mine AS SELECT 1 AS a")
    found = session.sql("SHOW aiq_mine")
    assert found is not None and found.fetchall()[0][0] == "a"


AFTER_SELECT = CHAT.replace("SELECT", "SELECT /*+ aiq_reuse(session) */")


@pytest.mark.parametrize(
    "text",
    [
        AFTER_SELECT,
        CHAT.replace("SELECT", "SELECT/*+aiq_reuse(session)*/"),
        CHAT.replace("SELECT", "select /*+ BROADCAST(r), aiq_reuse('session') */"),
        f"WITH c AS (SELECT 'It''s /*' AS x) {AFTER_SELECT}",
        f"SELECT * FROM ({AFTER_SELECT}) AS s",
        f"/*+ aiq_reuse(session) */ {AFTER_SELECT}",
        f"/*+ aiq_max_cost_usd(1) */ {AFTER_SELECT}",
        f"CREATE OR REPLACE TABLE u AS {AFTER_SELECT}",
        f"{AFTER_SELECT} WHERE i < (SELECT 99)",
        AFTER_SELECT.replace(" AS r(i)", " AS `r`(i)"),
    ],
)
def test_a_hint_may_stand_after_select(connect: Connect, asked: Asked, text: str) -> None:
    session = connect()
    assert [asked(session, text) for _ in range(2)] == [ROWS, 0]


def test_a_hint_after_select_holds_for_a_stream(connect: Connect, simulator: SimulatorProcess) -> None:
    session = connect()
    for _ in range(2):
        assert sum(batch.num_rows for batch in session.stream(AFTER_SELECT)) == ROWS
    assert simulator.stats()["requests"] == ROWS


@pytest.mark.parametrize("text", ["'/*+ aiq_reuse(session) */'", '"/*+ aiq_reuse(session) */"', "$$/*+ aiq_off() */$$"])
def test_what_is_quoted_is_no_hint(connect: Connect, asked: Asked, text: str) -> None:
    quoted = CHAT.replace(" AS a", f" AS a, {text} AS b" if text[0] != '"' else f" AS {text}")
    session = connect()
    assert [asked(session, quoted) for _ in range(2)] == [ROWS, ROWS]


def test_two_hints_that_differ_are_refused(connect: Connect, asked: Asked) -> None:
    with pytest.raises(StatementError, match="two hints of one statement say aiq_reuse: 'off' and 'session'"):
        asked(connect(), f"/*+ aiq_reuse(off) */ {AFTER_SELECT}")


def test_a_hint_in_databricks_words_is_no_warning(
    connect: Connect, asked: Asked, caplog: pytest.LogCaptureFixture
) -> None:
    asked(connect(), AFTER_SELECT.replace(" AS r(i)", " AS `r`(i)"))
    assert "Hints" not in caplog.text


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        ("/*+ aiq_reuse(eternal) */", "no kind of reuse"),
        ("/*+ aiq_reuse */", "is not understood"),
        ("/*+ aiq_reuse(session */", "is not understood"),
        ("/*+ aiq_reuse() */", "no kind of reuse"),
        ("/*+ aiq_reused(session) */", "no setting aiq_reused"),
    ],
)
def test_a_wrong_hint_is_refused_before_any_call(connect: Connect, asked: Asked, hint: str, words: str) -> None:
    with pytest.raises(StatementError, match=words):
        asked(connect(), f"{hint} {CHAT}")


@pytest.mark.parametrize(
    "comment",
    ["/*+ BROADCAST(t) */", "/* aiq_reuse(session) */", "-- aiq_reuse(session)\n"],
)
def test_other_comments_are_no_hints(connect: Connect, asked: Asked, comment: str) -> None:
    session = connect()
    assert [asked(session, f"{comment} {CHAT}") for _ in range(2)] == [ROWS, ROWS]


def test_a_hint_goes_before_the_sessions_setting(connect: Connect, asked: Asked) -> None:
    session = connect()
    session.sql("SET aiq_reuse = 'session'")
    assert asked(session, CHAT) == ROWS
    assert asked(session, f"/*+ aiq_reuse(statement) */ {CHAT}") == ROWS
    assert asked(session, CHAT) == 0


def test_a_statement_keeps_nothing_for_the_next_one_unless_it_is_told_to(connect: Connect, asked: Asked) -> None:
    session = connect()
    assert [asked(session, CHAT) for _ in range(2)] == [ROWS, ROWS]


@pytest.mark.parametrize(("text", "requests"), [(CHAT, ROWS), (VOLATILE, ROWS), (EMBEDDINGS, 1), (CUSTOM, ROWS)])
@pytest.mark.parametrize("reuse", ["session", "durable"])
def test_answers_of_every_kind_are_kept(connect: Connect, asked: Asked, reuse: str, text: str, requests: int) -> None:
    session = connect()
    session.sql(f"SET aiq_reuse = '{reuse}'")
    first = session.sql(text)
    again = session.sql(text)
    assert first is not None and again is not None
    assert [row[0] for row in again.fetchall()] == [row[0] for row in first.fetchall()]
    assert asked(session, text) == 0


def test_a_session_answer_stays_in_its_session(connect: Connect, asked: Asked) -> None:
    one, other = connect(), connect()
    for session in (one, other):
        session.sql("SET aiq_reuse = 'session'")
        assert asked(session, CHAT) == ROWS


def test_a_durable_answer_is_there_for_the_next_session(connect: Connect, asked: Asked) -> None:
    for expected in (ROWS, 0):
        session = connect()
        session.sql("SET aiq_reuse = 'durable'")
        assert asked(session, CHAT) == expected


@pytest.mark.parametrize(("ttl", "expected"), [("30 minutes", ROWS), ("2 hours", 0)])
def test_a_durable_answer_lives_as_long_as_it_was_told(
    connect: Connect, asked: Asked, home: Path, ttl: str, expected: int
) -> None:
    session = connect()
    session.sql(f"SET aiq_reuse = 'durable {ttl}'")
    usual = session.gateway.answers
    session.gateway.answers = AnswerStore.open(home, clock=lambda: time.time() - 3600.0)
    try:
        assert asked(session, CHAT) == ROWS  # stored an hour ago
    finally:
        session.gateway.answers.close()
        session.gateway.answers = usual
    assert asked(session, CHAT) == expected


def test_off_reads_nothing_and_keeps_nothing(connect: Connect, asked: Asked) -> None:
    session = connect()
    session.sql("SET aiq_reuse = 'durable'")
    assert asked(session, CHAT) == ROWS
    session.sql("SET aiq_reuse = 'off'")
    assert asked(session, CHAT) == ROWS
    other = CHAT.replace("Row", "Line")
    assert asked(session, other) == ROWS
    session.sql("SET aiq_reuse = 'durable'")
    assert asked(session, other) == ROWS


def test_off_still_asks_once_in_a_statement(connect: Connect, asked: Asked) -> None:
    text = "SELECT ai_query('chat', 'One.') AS a FROM range(10)"
    assert asked(connect(), f"/*+ aiq_reuse(off) */ {text}") == 1


def test_off_does_not_resume(connect: Connect, asked: Asked) -> None:
    session = connect()
    with pytest.raises(AiqError):
        session.sql("/*+ aiq_reuse(off) */ SELECT ai_query('chat', unnest(['Fine.', '[[fault:400]] Bad.']))")
    assert asked(session, "SELECT ai_query('chat', 'Fine.') AS a") == 1


def test_the_endpoints_own_reuse_holds_where_the_session_says_nothing(
    connect: Connect, asked: Asked, conf: ConfFolder, simulator: SimulatorProcess
) -> None:
    conf.settings(endpoints=model_settings(simulator, chat={"reuse": "durable 1 day"}))
    assert asked(connect(), CHAT) == ROWS
    session = connect()
    assert asked(session, CHAT) == 0
    assert asked(session, EMBEDDINGS) == asked(session, EMBEDDINGS) == 1
    session.sql("SET aiq_reuse = 'statement'")
    assert asked(session, CHAT) == ROWS


@pytest.mark.parametrize("off", ["off", "'off'", "OFF", "false"])
def test_an_endpoints_off_overrules_the_session(
    connect: Connect, asked: Asked, conf: ConfFolder, simulator: SimulatorProcess, off: str
) -> None:
    conf.settings(endpoints=model_settings(simulator, chat={"reuse": "OFF_HERE"}))
    path = conf.path / "aiq.yml"
    path.write_text(path.read_text().replace("OFF_HERE", off))
    session = connect()
    session.sql("SET aiq_reuse = 'durable'")
    assert [asked(session, CHAT) for _ in range(2)] == [ROWS, ROWS]
    assert [asked(session, EMBEDDINGS) for _ in range(2)] == [1, 0]


@pytest.mark.parametrize("value", ["for ever", "durable 7", True, 7])
def test_an_endpoints_wrong_reuse_is_refused_with_its_line(
    connect: Connect, conf: ConfFolder, simulator: SimulatorProcess, value: object
) -> None:
    conf.settings(endpoints=model_settings(simulator, chat={"reuse": value}))
    with pytest.raises(ConfigError, match=r"aiq\.yml:[0-9]+: .*reuse"):
        connect()


@pytest.mark.parametrize(("user", "groups"), [("bob", ()), ("ann", ("analysts",)), ("analysts", ()), ("", ("ann",))])
def test_answers_are_not_shared_between_users_or_groups(
    connect: Connect, asked: Asked, user: str, groups: tuple[str, ...]
) -> None:
    mine, other = connect("ann"), connect(user or "x", groups)
    assert asked(mine, f"/*+ aiq_reuse(durable) */ {CHAT}") == ROWS
    assert asked(other, f"/*+ aiq_reuse(durable) */ {CHAT}") == ROWS


def test_the_order_of_groups_does_not_matter(connect: Connect, asked: Asked) -> None:
    one, other = connect("ann", ("a", "b")), connect("ann", ("b", "a"))
    assert [asked(session, f"/*+ aiq_reuse(durable) */ {CHAT}") for session in (one, other)] == [ROWS, 0]


def test_nobody_resumes_what_another_user_paid(connect: Connect, asked: Asked) -> None:
    with pytest.raises(AiqError):
        connect("ann").sql("SELECT ai_query('chat', unnest(['Fine.', '[[fault:400]] Bad.']))")
    assert asked(connect("bob"), "SELECT ai_query('chat', 'Fine.') AS a") == 1


def test_a_changed_endpoint_is_asked_again(connect: Connect, asked: Asked, conf: ConfFolder) -> None:
    text = f"/*+ aiq_reuse(durable) */ {CHAT}"
    assert asked(connect(), text) == ROWS
    conf.endpoint("chat", model="gpt-4o")
    assert asked(connect(), text) == ROWS


@pytest.mark.parametrize(
    "argument",
    [
        "modelParameters => {'temperature': 0.5}",
        "modelParameters => {'max_tokens': 7}",
        "responseFormat => 'STRUCT<answer: STRUCT<a: STRING>>'",
    ],
)
def test_other_parameters_are_another_request(connect: Connect, asked: Asked, argument: str) -> None:
    session = connect()
    session.sql("SET aiq_reuse = 'durable'")
    assert asked(session, CHAT) == ROWS
    assert asked(session, CHAT.replace("'.')", f"'.', {argument})")) == ROWS


def test_a_cache_hit_is_a_row_of_the_ledger_that_cost_nothing(
    connect: Connect, ledger_rows: Callable[..., list[dict[str, Any]]]
) -> None:
    session = connect()
    session.sql("SET aiq_reuse = 'session'")
    session.sql(CHAT)
    session.sql(CHAT)
    session.sql("SELECT * FROM system.aiq.calls")
    hits = ledger_rows("system.aiq.calls", cache_hit=True)
    paid = ledger_rows("system.aiq.calls", cache_hit=False)
    assert len(hits) == len(paid) == ROWS
    assert {(row["cost_usd"], row["status"], row["endpoint_name"], row["requester"]) for row in hits} == {
        (0.0, "ok", "chat", "ann")
    }
    assert {row["statement_id"] for row in hits}.isdisjoint(row["statement_id"] for row in paid)
    assert all(row["cost_usd"] > 0 for row in paid)


@pytest.mark.parametrize("reuse", ["session", "durable"])
def test_a_failed_row_is_not_kept(connect: Connect, asked: Asked, reuse: str) -> None:
    session = connect()
    session.sql(f"SET aiq_reuse = '{reuse}'")
    text = "SELECT ai_query('chat', unnest(['Fine.', '[[fault:400]] Bad.']), failOnError => false) AS a"
    assert [asked(session, text) for _ in range(3)] == [2, 1, 1]


def test_an_answer_that_did_not_fit_its_type_is_kept_as_text(connect: Connect, asked: Asked) -> None:
    session = connect()
    session.sql("SET aiq_reuse = 'session'")
    text = "SELECT ai_query('chat', 'Hello.', returnType => 'INT', failOnError => false) AS a"
    assert [asked(session, text) for _ in range(2)] == [1, 0]


def test_an_answer_without_content_is_kept(connect: Connect, asked: Asked) -> None:
    session = connect()
    session.sql("SET aiq_reuse = 'durable'")
    text = "SELECT ai_query('chat', '[[fault:null]] Silent.', failOnError => false) AS a"
    first = session.sql(text)
    assert first is not None
    value = first.fetchall()[0][0]
    if value["errorMessage"] is not None:
        assert asked(session, text) > 0
    else:
        again = session.sql(text)
        assert again is not None and again.fetchall() == [(value,)]
        assert asked(session, text) == 0


def test_a_new_row_is_asked_beside_kept_ones(connect: Connect, asked: Asked) -> None:
    session = connect()
    session.sql("SET aiq_reuse = 'session'")
    assert asked(session, CHAT) == ROWS
    assert asked(session, CHAT.replace(f"range({ROWS})", f"range({ROWS + 2})")) == 2
