"""Policy with input that makes no sense: a clear error or an answer, and limits, budgets and ledger stay right."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import aiq
from aiq.batch.loop import submit
from aiq.config.endpoint import Endpoint, RateLimit
from aiq.config.load import load_config
from aiq.config.reload import Reload
from aiq.errors import ConfigError, PolicyError
from aiq.ledger.tables import Tables
from aiq.policy.limits import RateLimiter
from aiq.policy.limits.estimate import Estimator
from aiq.request import Caller, Request, Usage
from aiq.runtime import open_gateway
from aiq.simulator.process import SimulatorProcess
from tests.processes import PATIENCE_S, RedisServer

if TYPE_CHECKING:
    from tests.conftest import ConfFolder

Rows = Callable[..., list[dict[str, Any]]]
MASK = {"pii": {"behavior": "MASK"}}
TABLE = {"enabled": True, "catalog_name": "main", "schema_name": "ai", "table_name_prefix": "chat"}


class Provider:
    """Answers on 127.0.0.1 with what a test says: status, header lines and JSON, in turn; the last for ever."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.replies: list[tuple[int, list[str], Any]] = []
        self.requests = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as lines:
            while lines.readline():
                length = 0
                while (header := lines.readline()) not in (b"\r\n", b""):
                    if header.lower().startswith(b"content-length:"):
                        length = int(header.split(b":")[1])
                lines.read(length)
                with self._lock:
                    self.requests += 1
                    status, headers, body = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
                content = json.dumps(body).encode()
                headers = ["content-type: application/json", f"content-length: {len(content)}", *headers]
                head = "\r\n".join([f"HTTP/1.1 {status} Said", *headers])
                connection.sendall(head.encode() + b"\r\n\r\n" + content)


@pytest.fixture
def conf(tmp_path: Path, simulator: SimulatorProcess, make_conf: Callable[[Path, str], ConfFolder]) -> ConfFolder:
    """A conf folder with the endpoint `chat` alone."""
    folder = make_conf(tmp_path / "conf", simulator.url)
    folder.endpoint("chat")
    return folder


@pytest.fixture
def provider() -> Iterator[Provider]:
    server = Provider()
    yield server
    server.close()


def completion(text: str = "fine", **changes: Any) -> tuple[int, list[str], Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    return 200, [], {"model": "gpt-4o-mini", "choices": [choice], "usage": usage, **changes}


def serve(conf: ConfFolder, provider: Provider, gateway: dict[str, Any] | None = None, **settings: Any) -> None:
    conf.settings(**settings)
    conf.endpoint("chat", conf.entity("main", "gpt-4o-mini", url=f"{provider.url}/v1"), gateway=gateway)


def ask(session: aiq.Session, prompt: str = "x" * 39) -> Any:
    result = session.sql("SELECT ai_query('chat', $p, failOnError => false)", {"p": prompt})
    assert result is not None
    return result.fetchall()[0][0]


# Files


LIMIT = {"calls": 5, "renewal_period": "minute"}


@pytest.mark.parametrize(
    ("gateway", "words"),
    [
        ({"rate_limits": [LIMIT, {**LIMIT, "calls": 6}]}, "a second limit of calls"),
        ({"rate_limits": [LIMIT], "aiq": {"rate_limits": [{"calls": -1, "renewal_period": "day"}]}}, "whole number"),
        ({"aiq": {"rate_limits": [{"cost_usd": float("nan"), "renewal_period": "day"}]}}, "US dollars"),
        ({"aiq": {"rate_limits": [{"cost_usd": float("inf"), "renewal_period": "day"}]}}, "US dollars"),
        ({"aiq": {"rate_limits": [{"concurrency": 0}]}}, "from 1"),
        ({"rate_limits": [{**LIMIT, "key": "user_group", "principal": ""}]}, "empty"),
        (
            {"rate_limits": [{**LIMIT, "key": "user", "principal": "a"}, {**LIMIT, "key": "user", "principal": "a"}]},
            "a",
        ),
    ],
)
def test_limits_that_make_no_sense_are_refused_and_the_earlier_ones_hold(
    conf: ConfFolder, home: Path, simulator: SimulatorProcess, gateway: dict[str, Any], words: str
) -> None:
    conf.endpoint("chat", gateway={"rate_limits": [{**LIMIT, "calls": 0}]})
    with aiq.connect(conf=conf.path, home=home) as session:
        conf.endpoint("chat", gateway=gateway)
        with pytest.warns(UserWarning, match=rf"chat\.yml:\d+: .*{words}.*stays in force"):
            answer = ask(session)
    assert "blocked" in answer["errorMessage"] and simulator.stats()["requests"] == 0
    with pytest.raises(ConfigError, match=words):
        aiq.connect(conf=conf.path, home=home.with_name("other"))


@pytest.mark.parametrize("traffic", [{"a": 50, "b": 49}, {"a": 100, "b": 1}, {"a": 0, "b": 0}, {"a": 60}])
def test_percentages_that_do_not_add_up_say_so(conf: ConfFolder, home: Path, traffic: dict[str, int]) -> None:
    conf.endpoint("chat", conf.entity("a", "gpt-4o"), conf.entity("b", "gpt-4o-mini"), traffic=traffic)
    with pytest.raises(ConfigError, match=rf"chat\.yml:\d+: .*add up to {sum(traffic.values())}, not to 100"):
        aiq.connect(conf=conf.path, home=home)


def test_principals_that_nobody_knows_hold_for_nobody_and_grant_nothing(conf: ConfFolder, home: Path) -> None:
    nobody = [
        {"calls": 0, "key": "user", "principal": "nobody@example.com", "renewal_period": "minute"},
        {"calls": 0, "key": "user_group", "principal": "no|such%group", "renewal_period": "minute"},
        {"calls": 0, "key": "service_principal", "principal": "0000", "renewal_period": "minute"},
    ]
    conf.endpoint("chat", gateway={"rate_limits": nobody})
    with aiq.connect(conf=conf.path, home=home, user="ann", groups=["", "no", "such%group"]) as session:
        assert ask(session)["errorMessage"] is None
    conf.endpoint("chat", permissions=[{"level": "CAN_QUERY", "group_name": "ghosts"}])
    with aiq.connect(conf=conf.path, home=home, user="ghosts") as session:
        assert "CAN_QUERY" in ask(session)["errorMessage"]


def test_a_circle_of_guards_that_a_reload_brings_keeps_the_guards_there_were(
    conf: ConfFolder, home: Path, simulator: SimulatorProcess
) -> None:
    conf.endpoint("judge")
    conf.endpoint("chat", gateway={"guardrails": {"input": {"pii": {"behavior": "BLOCK"}}}})
    with aiq.connect(conf=conf.path, home=home) as session:
        conf.endpoint("judge", gateway={"aiq": {"guardrails": {"custom": [{"endpoint": "chat"}]}}})
        conf.endpoint("chat", gateway={"aiq": {"guardrails": {"custom": [{"endpoint": "judge"}]}}})
        with pytest.warns(UserWarning, match=r"chat -> judge -> chat.*stays in force"):
            answer = ask(session, "Write to jane@corp.com")
        assert "EMAIL_ADDRESS" in answer["errorMessage"] and simulator.stats()["requests"] == 0


def test_a_guard_of_a_guard_is_asked(conf: ConfFolder, home: Path, ledger_rows: Rows) -> None:
    decides = {"timeout_s": 5, "on_error": "allow"}
    conf.endpoint("second")
    conf.endpoint("first", gateway={"aiq": {"guardrails": {"custom": [{"endpoint": "second"}], **decides}}})
    custom = [{"endpoint": "first", "side": "input"}]
    conf.endpoint("chat", gateway={"aiq": {"guardrails": {"custom": custom, **decides}}})
    with aiq.connect(conf=conf.path, home=home) as session:
        ask(session)
    assert {row["endpoint_name"] for row in ledger_rows("system.aiq.calls")} == {"chat", "first", "second"}


def test_an_empty_file_does_not_take_its_endpoint_away(conf: ConfFolder, home: Path) -> None:
    with aiq.connect(conf=conf.path, home=home) as session:
        (conf.path / "endpoints" / "chat.yml").write_text("")
        with pytest.warns(UserWarning, match=r"chat\.yml: is empty.*stays in force"):
            assert ask(session)["errorMessage"] is None


def test_a_file_that_changes_while_it_is_read_is_read_again(
    conf: ConfFolder, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reload, read = Reload(str(conf.path), home), load_config

    def read_half(*places: Any) -> Any:
        config = read(*places)
        conf.endpoint("chat", permissions=[])
        return config

    conf.endpoint("chat", model="gpt-4o")
    monkeypatch.setattr("aiq.config.reload.load_config", read_half)
    assert reload() is None
    monkeypatch.setattr("aiq.config.reload.load_config", read)
    config = reload()
    assert config is not None and config.endpoints["chat"].permissions == ()


# Usage


ABSURD: list[Any] = [
    None,
    "many",
    [],
    {"prompt_tokens": -10, "completion_tokens": -5},
    {"prompt_tokens": "10", "completion_tokens": 5},
    {"prompt_tokens": 10.5, "completion_tokens": 5},
    {"prompt_tokens": True, "completion_tokens": 5},
    {"prompt_tokens": None, "completion_tokens": 5},
    {"prompt_tokens": 10, "completion_tokens": 10**30},
    {"prompt_tokens": 1e308, "completion_tokens": 5},
]


@pytest.mark.parametrize("usage", ABSURD, ids=str)
def test_absurd_usage_is_estimated_in_ledger_limits_and_budget(
    conf: ConfFolder, home: Path, provider: Provider, ledger_rows: Rows, usage: Any
) -> None:
    limits = [{"tokens": 20_000, "renewal_period": "minute"}]
    own = {"rate_limits": [{"cost_usd": 0.05, "renewal_period": "day"}]}
    serve(conf, provider, {"rate_limits": limits, "aiq": own})
    provider.replies = [completion(usage=usage)]
    with aiq.connect(conf=conf.path, home=home) as session:
        session.sql("SET aiq_max_cost_usd = 0.05")
        for number in range(3):
            assert ask(session, f"{number}" + "x" * 38)["result"] == "fine"
    rows = ledger_rows("system.aiq.calls")
    assert [(r["input_tokens"], r["output_tokens"], r["tokens_estimated"]) for r in rows] == [(10, 1, True)] * 3
    assert all(0 < row["cost_usd"] < 1e-5 for row in rows)


def test_more_cached_tokens_than_there_were_are_none(
    conf: ConfFolder, home: Path, provider: Provider, ledger_rows: Rows
) -> None:
    serve(conf, provider)
    details = {"prompt_tokens_details": {"cached_tokens": 11}, "completion_tokens_details": {"reasoning_tokens": 6}}
    provider.replies = [completion(usage={"prompt_tokens": 10, "completion_tokens": 5, **details})]
    with aiq.connect(conf=conf.path, home=home) as session:
        ask(session)
    row = ledger_rows("system.aiq.calls")[0]
    assert (row["input_tokens"], row["cached_tokens"]) == (10, 0)
    assert (row["output_tokens"], row["reasoning_tokens"]) == (11, 6)  # more than the answer: counted beside it
    assert row["cost_usd"] == pytest.approx((10 * 0.15 + 11 * 0.6) / 1e6)


def test_an_unusable_answer_with_usage_is_on_the_bill(
    conf: ConfFolder, home: Path, provider: Provider, ledger_rows: Rows
) -> None:
    serve(conf, provider, retries=0)
    provider.replies = [completion(choices=[])]
    with aiq.connect(conf=conf.path, home=home) as session:
        assert ask(session)["errorMessage"] is not None
    row = ledger_rows("system.aiq.calls")[0]
    assert (row["error_class"], row["input_tokens"], row["output_tokens"]) == ("bad_answer", 10, 5)


def endpoint(**limit: Any) -> Endpoint:
    return Endpoint("chat", "e", "llm/v1/chat", (), "f", rate_limits=(RateLimit(**limit),))


def chat(text: str = "Hi", **body: Any) -> Request:
    return Request(
        "chat", "llm/v1/chat", {"messages": [{"role": "user", "content": text}], **body}, Caller("ann"), "st"
    )


@pytest.mark.parametrize("tokens_in", [9, 10_000, 900_000_000])
def test_short_prompts_that_count_much_refuse_no_long_one(tokens_in: int) -> None:
    limiter = RateLimiter(endpoint(amount=10_000, unit="tokens"), lambda: now)
    now = 0.0
    for _ in range(30):
        grant = limiter.try_acquire(chat("Hi"))
        assert grant is not None
        limiter.settle(grant, Usage(tokens_in, 5), None)
        now += 61
    now += 61
    assert limiter.try_acquire(chat("word " * 1500)) is not None


def test_what_is_learnt_of_a_character_is_at_most_a_token() -> None:
    estimator = Estimator()
    estimator.learn(10, Usage(900_000_000, 5))
    assert estimator.input_tokens(99) <= 100


@pytest.mark.parametrize("body", [{"max_tokens": -1_000_000}, {"max_completion_tokens": -1}, {"max_tokens": 0}])
def test_an_answer_of_less_than_nothing_gives_back_no_tokens_of_others(body: dict[str, Any]) -> None:
    limiter = RateLimiter(endpoint(amount=1000, unit="tokens"), lambda: 0.0)
    grant = limiter.try_acquire(chat(**body))
    assert grant is not None and all(charge[2] > 0 for charge in grant.charges)
    assert limiter.try_acquire(chat(max_tokens=500)) is None


# Hints


HINTS = [
    ["retry-after: 0"],
    ["retry-after: -3"],
    ["retry-after: nan"],
    ["retry-after: inf"],
    ["retry-after: 1e308"],
    ["retry-after:"],
    ["retry-after: soon"],
    ["retry-after: 0.01"],
    ["retry-after: Wed, 21 Oct 2015 07:28:00 GMT"],
    ["retry-after: Wed, 21 Oct 2015 07:28:00 GMT", "date: Wed, 21 Oct 2026 07:28:00 GMT"],
    ["retry-after: 0.01", "retry-after: 9000"],
    ["retry-after: -1", "retry-after: 0.01"],
    ["retry-after-ms: 1e400", "retry-after: 0.01"],
    ["retry-after-ms: -5"],
]


@pytest.mark.parametrize("transport", ["pyreqwest", "httpx"])
def test_a_hint_in_any_form_is_no_hang_and_no_error(
    conf: ConfFolder, home: Path, provider: Provider, transport: str
) -> None:
    serve(conf, provider, transport=transport, timeout_s=5)
    error = {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}
    with aiq.connect(conf=conf.path, home=home) as session:
        for number, hint in enumerate(HINTS):
            provider.replies = [(429, hint, error), completion()]
            assert ask(session, f"{number} in {transport}")["result"] == "fine", hint
    assert provider.requests == 2 * len(HINTS)


# Answers that are errors


def test_words_of_an_answer_that_was_not_checked_are_shown_nowhere(
    conf: ConfFolder, home: Path, provider: Provider
) -> None:
    serve(conf, provider, {"guardrails": {"output": MASK}, "inference_table_config": TABLE}, retries=0)
    refusal = {"index": 0, "message": {"content": None, "refusal": "Not to jane@corp.com"}, "finish_reason": "stop"}
    with aiq.connect(conf=conf.path, home=home) as session:
        provider.replies = [completion("Write to jane@corp.com", choices=[{"text": "jane@corp.com"}])]
        unusable = ask(session, "one")["errorMessage"]
        provider.replies = [completion(choices=[refusal])]
        refused = ask(session, "two")["errorMessage"]
    tables = Tables(home)
    logged = json.dumps([tables.to_arrow(name).to_pylist() for name in tables.names()], default=str)
    assert "jane@" not in unusable + refused + logged
    assert "cannot be used" in unusable and "the model refused" in refused and "log_blocked" in unusable


def nested(depth: int, inner: str) -> str:
    return "[" * depth + json.dumps(inner) + "]" * depth


@pytest.mark.parametrize("side", ["input", "output"])
@pytest.mark.parametrize("depth", [300, 900])
def test_what_is_nested_too_deeply_is_masked_or_blocked_and_ends_no_statement(
    conf: ConfFolder, home: Path, provider: Provider, ledger_rows: Rows, depth: int, side: str
) -> None:
    serve(conf, provider, {"guardrails": {side: MASK}, "inference_table_config": TABLE})
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": nested(depth, "jane@corp.com")}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    provider.replies = [completion(choices=[{"index": 0, "message": message, "finish_reason": "tool_calls"}])]
    request = chat("Hi") if side == "output" else chat("Hi", messages=[message])
    with aiq.connect(conf=conf.path, home=home) as session:
        session.gateway.open_endpoint("chat")
        with contextlib.suppress(PolicyError):
            submit(session.gateway.answer(request)).result(PATIENCE_S)
        session.gateway.ledger.commit()
    (row,) = ledger_rows("system.aiq.calls")
    assert row["final"] and row["guards"] is not None
    (logged,) = ledger_rows("main.ai.chat_payload")
    assert "jane@" not in str(logged["request"] if side == "input" else logged["response"])


# Stores


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Callable[..., RedisServer]]:
    started: list[RedisServer] = []

    def start(*options: str) -> RedisServer:
        started.append(RedisServer(tmp_path, *options))
        return started[-1]

    yield start
    for server in started:
        server.stop()


def limited_by_redis(conf: ConfFolder, server: RedisServer) -> None:
    conf.settings(limits_store="redis", limits_redis_url=server.url)
    conf.endpoint("chat", gateway={"rate_limits": [{"calls": 1000, "renewal_period": "minute"}]})


@pytest.mark.filterwarnings("ignore:requests to 'chat' wait:UserWarning")
def test_a_statement_waits_for_a_redis_that_is_away_and_goes_on_when_it_is_back(
    conf: ConfFolder, home: Path, redis: Callable[..., RedisServer], ledger_rows: Rows
) -> None:
    server = redis()
    limited_by_redis(conf, server)
    answers: list[Any] = []
    with aiq.connect(conf=conf.path, home=home) as session:
        assert ask(session, "before")["errorMessage"] is None
        server.stop()
        gateway = session.gateway
        request = chat("in person")._replace(interactive=True)
        with pytest.raises(PolicyError) as refused:
            submit(gateway.answer(request)).result(PATIENCE_S)
        assert refused.value.status == 503 and "Redis" in refused.value.reason
        running = threading.Thread(target=lambda: answers.append(ask(session, "meanwhile")))
        running.start()
        while not gateway.waiting_for_limits:
            time.sleep(0.01)
        server.start()
        running.join(PATIENCE_S)
        assert answers and answers[0]["errorMessage"] is None
    assert len(ledger_rows("system.aiq.calls", status="ok")) == 2


def test_a_redis_that_refuses_the_password_is_said_at_once(
    conf: ConfFolder, home: Path, redis: Callable[..., RedisServer], simulator: SimulatorProcess
) -> None:
    limited_by_redis(conf, redis("--requirepass", "planted-password"))
    with aiq.connect(conf=conf.path, home=home) as session:
        answer = ask(session)
    assert "limits_redis_password" in answer["errorMessage"] and "planted" not in answer["errorMessage"]
    assert simulator.stats()["requests"] == 0


# Two configurations on one home


def limits(conf: ConfFolder, calls: int) -> None:
    conf.endpoint("chat", gateway={"rate_limits": [{"calls": calls, "renewal_period": "minute"}]})


def refused_in_person(conf: Path, home: Path, text: str) -> bool:
    gateway = open_gateway(conf, home)
    gateway.open_endpoint("chat")
    try:
        submit(gateway.answer(chat(text)._replace(interactive=True))).result(PATIENCE_S)
    except PolicyError as error:
        assert error.status == 429
        return True
    return False


def test_two_configurations_of_one_home_count_together_and_each_keeps_its_limit(
    conf: ConfFolder, home: Path, tmp_path: Path, make_conf: Callable[[Path, str], ConfFolder]
) -> None:
    other = make_conf(tmp_path / "other", conf.url)
    limits(conf, 3)
    limits(other, 5)
    taken = [refused_in_person(conf.path, home, f"a{n}") for n in range(2)]
    taken += [refused_in_person(other.path, home, f"b{n}") for n in range(2)]
    assert not any(taken)
    assert refused_in_person(conf.path, home, "over three")
    assert not refused_in_person(other.path, home, "the fifth") and refused_in_person(other.path, home, "over five")


def test_two_processes_with_other_limits_for_one_endpoint_count_together(
    conf: ConfFolder, home: Path, tmp_path: Path, make_conf: Callable[[Path, str], ConfFolder]
) -> None:
    other = make_conf(tmp_path / "other", conf.url)
    limits(conf, 3)
    limits(other, 5)
    words = "import aiq, sys; s = aiq.connect(conf=sys.argv[1], home=sys.argv[2])\n"
    words += "s.sql(\"SELECT ai_query('chat', 'other ' || i) FROM range(4) t(i)\"); s.close()"
    subprocess.run([sys.executable, "-c", words, str(other.path), str(home)], check=True, timeout=PATIENCE_S)
    assert refused_in_person(conf.path, home, "one of three, after four")


# Clocks


@pytest.mark.parametrize("jump_s", [-86_400, 86_400])
def test_a_wall_clock_that_jumps_moves_no_limit_and_no_latency(
    conf: ConfFolder, home: Path, ledger_rows: Rows, monkeypatch: pytest.MonkeyPatch, jump_s: int
) -> None:
    limits(conf, 2)
    wall, wall_ns = time.time, time.time_ns
    with aiq.connect(conf=conf.path, home=home) as session:
        ask(session, "before")
        monkeypatch.setattr(time, "time", lambda: wall() + jump_s)
        monkeypatch.setattr(time, "time_ns", lambda: wall_ns() + jump_s * 10**9)
        assert ask(session, "after")["errorMessage"] is None
        assert refused_in_person(conf.path, home, "the third")
    rows = ledger_rows("system.aiq.calls", status="ok")
    assert len(rows) == 2 and all(0 <= row["latency_ms"] < 10_000 for row in rows)
