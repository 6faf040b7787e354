"""A statement when its provider misbehaves: what is asked again, what falls back, and what the ledger says of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import aiq
from aiq.errors import PolicyError, ProviderError, RequestFailed
from aiq.simulator.process import SimulatorProcess

if TYPE_CHECKING:
    from tests.conftest import ConfFolder

Ledger = Callable[..., list[dict[str, Any]]]
FALLBACK = {"fallback_config": {"enabled": True}}


@pytest.fixture
def ask(conf: ConfFolder, home: Path) -> Callable[..., Any]:
    """`ask(prompt, endpoint)`: the answer to one prompt, in a session that reads the conf folder as it is now."""

    def run(prompt: str, endpoint: str = "chat", **identity: Any) -> Any:
        with aiq.connect(conf=conf.path, home=home, **identity) as session:
            result = session.sql("SELECT ai_query($e, $p) AS r", {"e": endpoint, "p": prompt})
            assert result is not None
            return result.fetchall()[0][0]

    return run


def attempts(ledger_rows: Ledger) -> list[tuple[Any, ...]]:
    rows = sorted(ledger_rows("system.aiq.calls"), key=lambda row: row["attempt"])
    return [(row["served_entity_name"], row["status_code"], row["error_class"]) for row in rows]


@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [
        ("429", 429, "rate_limited"),
        ("429-retry-after", 429, "rate_limited"),
        ("500-once", 500, "overloaded"),
        ("503-once", 503, "overloaded"),
        ("529-once", 529, "overloaded"),
        ("408-once", 408, "overloaded"),
        ("html-502-once", 502, "overloaded"),
        ("reset-once", 503, "network"),
        ("cut-once", 502, "network"),
        ("malformed-once", 200, "bad_answer"),
        ("html-once", 200, "bad_answer"),
        ("truncated-once", 200, "bad_answer"),
        ("empty-once", 200, "bad_answer"),
    ],
)
def test_a_passing_fault_is_asked_again(
    ask: Callable[..., Any], ledger_rows: Ledger, fault: str, status: int, kind: str
) -> None:
    assert ask(f"Once more. [[fault:{fault}]]").endswith("Once more.")
    assert attempts(ledger_rows) == [("main", status, kind), ("main", 200, None)]


@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [
        ("400", 400, "bad_request"),
        ("context-length", 400, "context_length"),
        ("content-filter", 400, "content_filter"),
        ("refusal", 400, "content_filter"),
        ("401", 401, "auth"),
        ("403", 403, "auth"),
        ("404", 404, "not_found"),
        ("402", 402, "quota_exhausted"),
        ("quota-exhausted", 429, "quota_exhausted"),
        ("redirect", 302, "not_found"),
    ],
)
def test_a_lasting_fault_is_asked_once(
    ask: Callable[..., Any], ledger_rows: Ledger, fault: str, status: int, kind: str
) -> None:
    with pytest.raises(ProviderError) as caught:
        ask(f"Never. [[fault:{fault}]]")
    assert (caught.value.kind, caught.value.attempts) == (kind, 1)
    assert [kind for _, _, kind in attempts(ledger_rows)] == [kind]


@pytest.mark.parametrize("fault", ["gzip", "no-usage", "absurd-usage"])
def test_an_odd_answer_that_can_be_used_is_used(ask: Callable[..., Any], fault: str) -> None:
    assert ask(f"Odd. [[fault:{fault}]]").startswith("[simulated]")


def test_retries_end_and_the_message_says_how_often_it_was_tried(
    conf: ConfFolder, ask: Callable[..., Any], ledger_rows: Ledger
) -> None:
    conf.settings(retries=2, endpoints={"model": {"model_server": {"url": "http://127.0.0.1:9/invocations"}}})
    with pytest.raises(ProviderError, match="after retrying 2 times; the last failed HTTP error code was 503"):
        ask("Down. [[fault:503]]")
    rows = sorted(ledger_rows("system.aiq.calls"), key=lambda row: row["attempt"])
    assert [(row["attempt"], row["final"]) for row in rows] == [(1, False), (2, False), (3, True)]


def test_silence_is_given_up_after_the_timeout_and_asked_once_more(
    conf: ConfFolder, ask: Callable[..., Any], ledger_rows: Ledger, simulator: SimulatorProcess
) -> None:
    conf.settings(endpoints={"model": {"model_server": {"url": simulator.url}}, "chat": {"timeout_s": 4.0}})
    assert ask("Silent. [[fault:timeout-once]]").endswith("Silent.")
    assert attempts(ledger_rows) == [("main", 504, "timeout"), ("main", 200, None)]


def test_a_provider_that_is_not_there_is_told_by_its_host(
    conf: ConfFolder, ask: Callable[..., Any], ledger_rows: Ledger
) -> None:
    conf.settings(retries=1, endpoints={"model": {"model_server": {"url": "http://127.0.0.1:9/invocations"}}})
    conf.endpoint("gone", conf.entity("main", "gpt-4o", url="http://127.0.0.1:9/v1"))
    with pytest.raises(ProviderError, match=r"cannot reach 127\.0\.0\.1:9") as caught:
        ask("Hello?", "gone")
    assert caught.value.kind == "network"
    assert attempts(ledger_rows) == [("main", 503, "network")] * 2


def test_a_page_instead_of_an_answer_is_told_without_its_html(conf: ConfFolder, ask: Callable[..., Any]) -> None:
    conf.settings(retries=0, endpoints={"model": {"model_server": {"url": "http://127.0.0.1:9/invocations"}}})
    with pytest.raises(ProviderError, match="HTML page instead of JSON; check the endpoint's URL") as caught:
        ask("Page. [[fault:html]]")
    assert "<" not in caught.value.reason


def test_a_fallback_takes_over_in_the_order_of_the_file(
    conf: ConfFolder, ask: Callable[..., Any], ledger_rows: Ledger
) -> None:
    conf.settings(retries_before_fallback=0, endpoints={"model": {"model_server": {"url": "http://127.0.0.1:9"}}})
    entities = [
        conf.entity(name, model) for name, model in (("a", "sim-503"), ("b", "sim-429-forever"), ("c", "gpt-4o"))
    ]
    conf.endpoint("three", *entities, traffic={"a": 100}, gateway=FALLBACK)
    assert ask("Help.", "three").endswith("Help.")
    rows = sorted(ledger_rows("system.aiq.calls"), key=lambda row: row["attempt"])
    assert [(r["served_entity_name"], r["fallback_from"]) for r in rows] == [("a", None), ("b", "a"), ("c", "b")]


def test_there_are_at_most_two_fallbacks_and_they_cycle_to_the_top(
    conf: ConfFolder, ask: Callable[..., Any], ledger_rows: Ledger
) -> None:
    conf.settings(
        retries_before_fallback=0, retries=0, endpoints={"model": {"model_server": {"url": "http://127.0.0.1:9"}}}
    )
    entities = [conf.entity(name, "sim-503") for name in "abcd"]
    conf.endpoint("four", *entities, traffic={"c": 100}, gateway=FALLBACK)
    with pytest.raises(ProviderError):
        ask("Help.", "four")
    assert [name for name, _, _ in attempts(ledger_rows)] == ["c", "d", "a"]


@pytest.mark.parametrize("fault", ["sim-400", "sim-context-length", "sim-content-filter"])
def test_what_the_caller_did_wrong_does_not_fall_back(
    conf: ConfFolder, ask: Callable[..., Any], ledger_rows: Ledger, fault: str
) -> None:
    conf.endpoint("pair", conf.entity("a", fault), conf.entity("b", "gpt-4o"), traffic={"a": 100}, gateway=FALLBACK)
    with pytest.raises(ProviderError):
        ask("Wrong.", "pair")
    assert [name for name, _, _ in attempts(ledger_rows)] == ["a"]


@pytest.mark.parametrize("fault", ["sim-401", "sim-404", "sim-quota-exhausted"])
def test_what_another_entity_can_do_falls_back_at_once(
    conf: ConfFolder, ask: Callable[..., Any], ledger_rows: Ledger, fault: str
) -> None:
    conf.endpoint("pair", conf.entity("a", fault), conf.entity("b", "gpt-4o"), traffic={"a": 100}, gateway=FALLBACK)
    assert ask("Other.", "pair").endswith("Other.")
    assert [name for name, _, _ in attempts(ledger_rows)] == ["a", "b"]


def test_without_fallback_the_others_are_not_asked(
    conf: ConfFolder, ask: Callable[..., Any], ledger_rows: Ledger
) -> None:
    conf.settings(retries=0, endpoints={"model": {"model_server": {"url": "http://127.0.0.1:9"}}})
    conf.endpoint("pair", conf.entity("a", "sim-503"), conf.entity("b", "gpt-4o"), traffic={"a": 100, "b": 0})
    with pytest.raises(ProviderError):
        ask("Alone.", "pair")
    assert [name for name, _, _ in attempts(ledger_rows)] == ["a"]


def test_an_entity_without_traffic_is_asked_only_as_a_fallback(
    conf: ConfFolder, home: Path, ledger_rows: Ledger
) -> None:
    conf.endpoint(
        "pair",
        conf.entity("a", "gpt-4o"),
        conf.entity("b", "gpt-4o-mini"),
        traffic={"a": 100, "b": 0},
        gateway=FALLBACK,
    )
    with aiq.connect(conf=conf.path, home=home) as session:
        session.sql("SELECT ai_query('pair', 'Row ' || i) AS r FROM range(50) AS r(i)")
    assert {row["served_entity_name"] for row in ledger_rows("system.aiq.calls")} == {"a"}


def test_traffic_is_split_by_percentage(conf: ConfFolder, home: Path, ledger_rows: Ledger) -> None:
    conf.endpoint("pair", conf.entity("a", "gpt-4o"), conf.entity("b", "gpt-4o-mini"), traffic={"a": 75, "b": 25})
    with aiq.connect(conf=conf.path, home=home) as session:
        session.sql("SELECT ai_query('pair', 'Row ' || i) AS r FROM range(400) AS r(i)")
    shares = Counter(row["served_entity_name"] for row in ledger_rows("system.aiq.calls"))
    assert shares.total() == 400 and 240 < shares["a"] < 360  # seven standard deviations to either side


def test_who_may_not_query_is_refused_without_a_call(
    conf: ConfFolder, ask: Callable[..., Any], simulator: SimulatorProcess
) -> None:
    conf.endpoint(
        "chat",
        permissions=[{"level": "CAN_QUERY", "group_name": "analysts"}, {"level": "CAN_VIEW", "user_name": "bob"}],
    )
    assert ask("Let me.", user="ann", groups=["analysts"])
    for user, groups in (("bob", []), ("carl", ["others"])):
        with pytest.raises(PolicyError, match="does not have CAN_QUERY") as caught:
            ask("Let me.", user=user, groups=groups)
        assert (caught.value.status, caught.value.error_code) == (403, "PERMISSION_DENIED")
    assert simulator.stats()["requests"] == 1


@pytest.mark.parametrize(
    "limit",
    [{"calls": 0, "key": "endpoint"}, {"calls": 0, "key": "user"}, {"calls": 0, "key": "user", "principal": "ann"}],
)
def test_a_limit_of_no_calls_blocks_with_403(
    conf: ConfFolder, ask: Callable[..., Any], simulator: SimulatorProcess, limit: dict[str, Any]
) -> None:
    conf.endpoint("chat", gateway={"rate_limits": [{**limit, "renewal_period": "minute"}]})
    with pytest.raises(PolicyError) as caught:
        ask("Let me.", user="ann")
    assert caught.value.status == 403 and simulator.stats()["requests"] == 0


def test_a_blocked_row_is_a_message_under_fail_on_error_false(conf: ConfFolder, home: Path) -> None:
    conf.endpoint("chat", gateway={"rate_limits": [{"calls": 0, "renewal_period": "minute"}]})
    with aiq.connect(conf=conf.path, home=home) as session:
        result = session.sql("SELECT ai_query('chat', 'Let me.', failOnError => false) AS r")
        assert result is not None
        ((r,),) = result.fetchall()
    assert r["result"] is None and "code 403" in r["errorMessage"]


def test_within_its_limit_a_batch_does_not_wait(conf: ConfFolder, home: Path, ledger_rows: Ledger) -> None:
    conf.endpoint("chat", gateway={"rate_limits": [{"calls": 100, "renewal_period": "minute"}]})
    with aiq.connect(conf=conf.path, home=home) as session:
        session.sql("SELECT ai_query('chat', 'Row ' || i) AS r FROM range(100) AS r(i)")
    # A moment to ask the store that processes share is no wait for the minute to pass.
    assert max(row["limit_wait_ms"] for row in ledger_rows("system.aiq.calls")) < 1000.0


def test_a_quota_of_the_provider_is_waited_for(conf: ConfFolder, home: Path, simulator: SimulatorProcess) -> None:
    with aiq.connect(conf=conf.path, home=home) as session:
        result = session.sql(
            "SELECT ai_query('chat', 'Row ' || i || ' [[fault:429-retry-after]]') AS r FROM range(60) AS r(i)"
        )
        assert result is not None and len(result) == 60
    assert simulator.stats()["by_status"] == {"200": 60, "429": 60}


def test_the_first_failing_row_stops_the_rest(conf: ConfFolder, home: Path, simulator: SimulatorProcess) -> None:
    conf.settings(concurrency=2, endpoints={"model": {"model_server": {"url": "http://127.0.0.1:9"}}})
    with aiq.connect(conf=conf.path, home=home) as session:
        prompt = "CASE WHEN i = 10 THEN '[[fault:400]]' ELSE 'Row ' || i END"
        text = f"SELECT ai_query('chat', {prompt}) AS r FROM range(2000) AS r(i)"
        with pytest.raises(RequestFailed, match="code 400"):
            session.sql(text)
    assert simulator.stats()["requests"] < 500
