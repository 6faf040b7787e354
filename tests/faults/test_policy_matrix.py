"""Every fault of the simulator beside every policy, from SQL: no hang, no wrong answer, nothing leaked, nothing lost.

Each row plants an e-mail address and carries a fault of its own; healthy rows stand between them. With
`AIQ_FULL_MATRIX=1` each fault is also that of a served entity, for all rows; otherwise one fault is.
"""

from __future__ import annotations

import json
import os
import sqlite3
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import duckdb
import pytest

import aiq
from aiq.batch.loop import submit
from aiq.errors import RequestFailed
from aiq.ledger.tables import Tables
from aiq.request import Caller, Request
from aiq.runtime import open_gateway
from aiq.simulator import faults
from aiq.simulator.process import SimulatorProcess
from aiq.simulator.profile import Profile
from tests.processes import PATIENCE_S

if TYPE_CHECKING:
    from tests.conftest import ConfFolder

FAULTS = sorted(faults.NAMES)
PASSING = ["503-once", "timeout-once", "reset-once", "truncated-once", "cut-once", "html-once", "flaky-50"]
KEY = "sk-planted-7f3a9c"
OWN_ANSWER = {"huge"}
"""Faults whose answer is whole and does not repeat the prompt."""
HEALTHY = 24
QUERY = "SELECT ai_query('chat', p, modelParameters => named_struct('max_tokens', 60), failOnError => false)"
MASK = {"pii": {"behavior": "MASK"}}
TABLE = {"enabled": True, "catalog_name": "main", "schema_name": "ai", "table_name_prefix": "chat"}
LIMITS = {
    "rate_limits": [
        {"calls": 100_000, "renewal_period": "minute"},
        {"tokens": 5_000_000, "key": "user", "renewal_period": "minute"},
    ],
    "aiq": {"rate_limits": [{"concurrency": 5}, {"cost_usd": 50, "renewal_period": "day"}]},
}
SILENCE = {"first_token_timeout_s": 0.6, "idle_timeout_s": 0.6}


class Policy(NamedTuple):
    """`gateway` is the endpoint's `ai_gateway`. `masks`: the provider never sees an address; `shown`: SQL does."""

    gateway: dict[str, Any]
    fallback: bool = False
    masks: bool = False
    shown: bool = True


POLICIES = {
    "none": Policy({}),
    "limits": Policy(LIMITS),
    "guardrails": Policy({"guardrails": {"input": MASK, "output": MASK}}, masks=True, shown=False),
    "fallback": Policy({"fallback_config": {"enabled": True}}, fallback=True),
    "streamed": Policy({"aiq": SILENCE}),
    "hedging": Policy({"aiq": {"hedging": True}, "fallback_config": {"enabled": True}}, fallback=True),
    "all": Policy(
        {
            **LIMITS,
            "guardrails": {"input": MASK, "output": MASK},
            "fallback_config": {"enabled": True},
            "aiq": {**LIMITS["aiq"], **SILENCE, "hedging": True},  # type: ignore[dict-item]
        },
        fallback=True,
        masks=True,
        shown=False,
    ),
}


@pytest.fixture(scope="module")
def faulty() -> Iterator[SimulatorProcess]:
    """A simulator whose largest answer is not that large."""
    with SimulatorProcess.start(Profile(huge_bytes=256 * 1024, retry_after_ms=30)) as process:
        yield process


@pytest.fixture
def before(faulty: SimulatorProcess, tmp_path: Path, make_conf: Callable[[Path, str], ConfFolder]) -> ConfFolder:
    """A conf folder before that simulator."""
    faulty.reset()
    folder = make_conf(tmp_path / "conf", faulty.url)
    price = {"input_per_mtok": 0.15, "output_per_mtok": 0.6}
    prices = {f"sim-{fault}": price for fault in FAULTS + PASSING}
    folder.settings(timeout_s=1.0, retries=1, retries_before_fallback=1, concurrency=16, prices=prices)
    return folder


def serve(conf: ConfFolder, policy: Policy, first: str = "gpt-4o-mini") -> None:
    """The endpoint `chat`; with fallbacks `first` takes the traffic and another model follows it."""
    entities = [conf.entity("a", first)] + ([conf.entity("b", "gpt-4o")] if policy.fallback else [])
    for each in entities:
        each["external_model"]["openai_config"]["openai_api_key_plaintext"] = KEY
    gateway = {"inference_table_config": TABLE, **policy.gateway}
    conf.endpoint("chat", *entities, traffic={"a": 100}, gateway=gateway)


def text(row: int, *, masked: bool = False) -> str:
    return f"Row {row} writes to {'<EMAIL_ADDRESS>' if masked else f'planted.{row}@corp.com'} about boats"


def check_rows(rows: list[tuple[int, str | None, Any]], policy: Policy) -> None:
    """Each row has its own answer or an error; a row without a fault its answer."""
    for row, fault, answer in rows:
        kind = (fault or "").removesuffix("-once")
        if answer["errorMessage"] is not None:
            assert answer["result"] is None and fault is not None, (row, fault, answer)
        elif kind not in OWN_ANSWER:
            assert answer["result"].endswith(text(row, masked=not policy.shown)), (row, fault, answer)


def check_ledger(tables: Tables, simulator: SimulatorProcess, requests: int) -> None:
    """What the provider saw is what the ledger says, and each request ended once."""
    calls = tables.to_arrow("system.aiq.calls").to_pylist()
    assert len([call for call in calls if call["attempt"]]) == len(simulator.attempts())
    finals = Counter(call["request_id"] for call in calls if call["final"])
    assert set(finals.values()) == {1} and set(finals) == {call["request_id"] for call in calls}
    assert len(finals) == requests
    assert tables.to_arrow("system.serving.endpoint_usage").num_rows == requests
    assert tables.to_arrow("main.ai.chat_payload").num_rows == requests


def check_balance(home: Path, tables: Tables, requests: int) -> None:
    """Places in flight are free, calls are counted once, and of tokens and dollars no more is held than was used."""
    with sqlite3.connect(home / "limits.sqlite") as db:
        used = {name.split("|")[1]: amount for name, amount in db.execute("SELECT name, amount FROM used").fetchall()}
    calls = tables.to_arrow("system.aiq.calls").to_pylist()
    assert used["concurrency"] == 0
    assert used["calls"] == requests
    billed = sum((call["input_tokens"] or 0) + (call["output_tokens"] or 0) for call in calls)
    unknown = len({call["request_id"] for call in calls if call["error_class"] in ("timeout", "bad_answer")})
    unknown += len([call for call in calls if call["status"] == "cancelled"])
    assert billed - 1 <= used["tokens"] <= billed + 100 * unknown, (used, billed, unknown)


def check_secrets(home: Path, tables: Tables, policy: Policy, said: str) -> None:
    """Nothing that was written or said holds the key, nor, where it is masked, an address."""
    planted = [KEY, *(["planted."] if not policy.shown else [])]
    kept = {str(path): path.read_bytes() for path in home.rglob("*") if path.is_file()}
    kept |= {name: json.dumps(tables.to_arrow(name).to_pylist(), default=str).encode() for name in tables.names()}
    kept["what was said"] = said.encode()
    assert not [(place, secret) for place, content in kept.items() for secret in planted if secret.encode() in content]


def run(
    conf: ConfFolder, home: Path, simulator: SimulatorProcess, policy: Policy, rows: list[tuple[int, str | None]]
) -> str:
    """Asks for the rows, checks everything, and then that a following batch is not held up. What was said."""
    prompts = [text(row) + (f" [[fault:{fault}]]" if fault else "") for row, fault in rows]
    healthy = [text(1000 + row) for row in range(HEALTHY)]
    with warnings.catch_warnings(record=True) as said, aiq.connect(conf=conf.path, home=home, user="ann") as session:
        session.con.execute("CREATE TABLE t AS SELECT unnest(?) AS p, unnest(?) AS id", [prompts, [r for r, _ in rows]])
        answers = [row[0] for row in session.sql(f"{QUERY} FROM t ORDER BY id").fetchall()]  # type: ignore[union-attr]
        check_rows([(row, fault, answer) for (row, fault), answer in zip(rows, answers, strict=True)], policy)
        session.con.execute("CREATE TABLE more AS SELECT unnest(?) AS p, unnest(range(?)) AS id", [healthy, HEALTHY])
        more = [row[0] for row in session.sql(f"{QUERY} FROM more ORDER BY id").fetchall()]  # type: ignore[union-attr]
        assert session.gateway.waiting_for_limits == 0
    check_rows([(1000 + row, None, answer) for row, answer in enumerate(more)], policy)
    tables, requests = Tables(home), len(rows) + HEALTHY
    check_ledger(tables, simulator, requests)
    words = json.dumps(answers) + "".join(str(each.message) for each in said)
    check_secrets(home, tables, policy, words)
    return words


def close(home: Path) -> None:
    """Gives back what the gateway of this home has leased."""
    from aiq import runtime

    for gateway in [gateway for gateway in runtime._gateways.values() if gateway.ledger.home == home]:
        submit(gateway.close()).result(PATIENCE_S)


def mixed() -> list[tuple[int, str | None]]:
    """Healthy rows first, so that hedging has learnt; then every fault, a healthy row after each third."""
    rows: list[str | None] = [None] * HEALTHY
    for number, fault in enumerate(FAULTS + PASSING):
        rows += [fault] + ([None] if number % 3 == 0 else [])
    return list(enumerate(rows))


@pytest.mark.parametrize("name", POLICIES)
def test_rows_with_every_fault_end_well_under_each_policy(
    before: ConfFolder, home: Path, faulty: SimulatorProcess, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    policy, rows = POLICIES[name], mixed()
    serve(before, policy)
    words = run(before, home, faulty, policy, rows)
    close(home)
    if "rate_limits" in policy.gateway:
        check_balance(home, Tables(home), len(rows) + HEALTHY)
    assert KEY not in words + caplog.text


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("fault", FAULTS + PASSING if os.environ.get("AIQ_FULL_MATRIX") else ["flaky-50"])
def test_rows_of_a_faulty_entity_end_well_under_each_policy(
    before: ConfFolder, home: Path, faulty: SimulatorProcess, name: str, fault: str
) -> None:
    policy = POLICIES[name]
    serve(before, policy, first=f"sim-{fault}")
    with aiq.connect(conf=before.path, home=home, user="ann") as session:
        prompts = [text(row) for row in range(HEALTHY)]
        session.con.execute("CREATE TABLE t AS SELECT unnest(?) AS p, unnest(range(?)) AS id", [prompts, HEALTHY])
        answers = [row[0] for row in session.sql(f"{QUERY} FROM t ORDER BY id").fetchall()]  # type: ignore[union-attr]
    check_rows([(row, fault, answer) for row, answer in enumerate(answers)], policy)
    tables = Tables(home)
    check_ledger(tables, faulty, HEALTHY)
    check_secrets(home, tables, policy, json.dumps(answers))


class Place(NamedTuple):
    """Where a request comes from: a conf folder, a home, and ann."""

    conf: Path
    home: Path

    def session(self) -> aiq.Session:
        return aiq.connect(conf=self.conf, home=self.home, user="ann")

    def answers(self, query: str, prompt: str) -> str:
        with self.session() as session:
            return said(session.sql(query, {"p": prompt}).fetchall()[0][0])  # type: ignore[union-attr]

    def lifted(self, prompt: str) -> str:
        return self.answers("SELECT ai_query('chat', $p, failOnError => false)", prompt)

    def not_lifted(self, prompt: str) -> str:
        once = "CASE WHEN random() < 2 THEN $p END"
        return self.answers(f"SELECT ai_query('chat', {once}, failOnError => false)", prompt)

    def written(self, prompt: str) -> str:
        with self.session() as session:
            session.sql("CREATE TABLE t AS SELECT ai_query('chat', $p, failOnError => false) AS r", {"p": prompt})
            return said(session.con.execute("SELECT r FROM t").fetchall()[0][0])

    def session_stream(self, prompt: str) -> str:
        with self.session() as session:
            batches = session.stream("SELECT ai_query('chat', $p, failOnError => false) AS r", {"p": prompt})
            (answer,) = [answer for batch in batches for answer in batch.column(0).to_pylist()]
            return said(answer)

    def registered(self, prompt: str) -> str:
        with duckdb.connect() as con:
            aiq.register(con, conf=self.conf, home=self.home, user="ann")
            try:
                return str(con.execute("SELECT ai_query('chat', $p)", {"p": prompt}).fetchall()[0][0])
            except duckdb.Error as error:
                return f"refused: {error}"

    def request(self, prompt: str) -> Request:
        body = {"messages": [{"role": "user", "content": prompt}]}
        return Request("chat", "llm/v1/chat", body, Caller("ann"), "st")

    def gateway_answer(self, prompt: str) -> str:
        gateway = open_gateway(self.conf, self.home)
        gateway.open_endpoint("chat")
        try:
            return str(submit(gateway.answer(self.request(prompt))).result(PATIENCE_S).value)
        except RequestFailed as error:
            return f"refused: {error}"

    def gateway_stream(self, prompt: str) -> str:
        gateway = open_gateway(self.conf, self.home)
        gateway.open_endpoint("chat")

        async def read() -> str:
            return "".join([chunk.text async for chunk in gateway.stream(self.request(prompt))])

        try:
            return submit(read()).result(PATIENCE_S)
        except RequestFailed as error:
            return f"refused: {error}"


def said(answer: dict[str, Any]) -> str:
    return f"refused: {answer['errorMessage']}" if answer["errorMessage"] is not None else str(answer["result"])


ROUTES = ["lifted", "not_lifted", "written", "session_stream", "registered", "gateway_answer", "gateway_stream"]


class Rule(NamedTuple):
    """A policy and what one request under it must come to. `words` are in its answer or its refusal."""

    gateway: dict[str, Any]
    words: str
    asked: int
    row: dict[str, Any]
    permissions: list[dict[str, str]] | None = None


BLOCK = {"pii": {"behavior": "BLOCK"}}
MASKED, BLOCKED = "pii:EMAIL_ADDRESS", "blocked by a guardrail"
RULES = {
    "counted": Rule({"rate_limits": [{"calls": 9, "renewal_period": "minute"}]}, "planted.0@", 1, {"status": "ok"}),
    "limit": Rule(
        {"rate_limits": [{"calls": 0, "key": "user", "renewal_period": "minute"}]},
        "are blocked for user",
        0,
        {"status": "refused", "status_code": 403, "limited_by": "Requests-per-minute (RPM) rate limit for user"},
    ),
    "dollars": Rule(
        {"aiq": {"rate_limits": [{"cost_usd": 0.00001, "renewal_period": "day"}]}},
        "may cost up to",
        0,
        {"status": "refused", "status_code": 429, "limited_by": "US-dollars-per-day rate limit"},
    ),
    "permission": Rule(
        {}, "CAN_QUERY", 0, {"status": "refused", "status_code": 403}, [{"level": "CAN_QUERY", "user_name": "bob"}]
    ),
    "input mask": Rule(
        {"guardrails": {"input": MASK}}, "<EMAIL_ADDRESS>", 1, {"status": "ok", "guards": f"input:{MASKED}"}
    ),
    "input block": Rule(
        {"guardrails": {"input": BLOCK}}, BLOCKED, 0, {"status": "refused", "guards": f"input:{MASKED}"}
    ),
    "output mask": Rule(
        {"guardrails": {"output": MASK}}, "<EMAIL_ADDRESS>", 1, {"status": "ok", "guards": f"output:{MASKED}"}
    ),
    "output block": Rule(
        {"guardrails": {"output": BLOCK}}, BLOCKED, 1, {"status": "refused", "guards": f"output:{MASKED}"}
    ),
}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", RULES)
def test_a_policy_holds_on_every_route(
    before: ConfFolder, home: Path, faulty: SimulatorProcess, name: str, route: str
) -> None:
    rule = RULES[name]
    before.settings()
    gateway = {"inference_table_config": TABLE, **rule.gateway}
    before.endpoint("chat", gateway=gateway, permissions=rule.permissions)
    answer = getattr(Place(before.path, home), route)(text(0))
    assert rule.words in answer and answer.startswith("refused: ") == (rule.row["status"] == "refused")
    assert faulty.stats()["requests"] == rule.asked
    open_gateway(before.path, home).ledger.commit()
    rows = Tables(home).to_arrow("system.aiq.calls").to_pylist()
    assert [{column: row[column] for column in rule.row} for row in rows] == [rule.row]
    assert (rows[0]["requester"], rows[0]["final"]) == ("ann", True)
    assert Tables(home).to_arrow("main.ai.chat_payload").num_rows == 1
    if name == "counted":
        close(home)
        with sqlite3.connect(home / "limits.sqlite") as db:
            assert db.execute("SELECT sum(amount) FROM used").fetchall() == [(1,)]
    if "mask" in name or "block" in name:
        assert "planted." not in answer
