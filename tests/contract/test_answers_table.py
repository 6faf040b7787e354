"""What providers answer, well and badly, byte for byte over real sockets: the table `answers.yml`, whole and streamed.

A case says how a vendor's usual answer is changed (`tests/contract/raw_server.py`) and what becomes of it: its value or
the class of its error, its tokens, what it costs. `docs/providers.md` counts the table.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import aiq
from aiq.batch.loop import submit
from aiq.errors import RequestFailed
from aiq.ledger.tables import Tables
from aiq.request import Caller, Request
from tests.contract.providers import external
from tests.contract.raw_server import TEXT, Case, Raw, RawServer, sse, streamed, whole

TABLE: list[Case] = yaml.safe_load((Path(__file__).parent / "answers.yml").read_text())
PRICES = {
    "m": {
        "input_per_mtok": 1, "output_per_mtok": 10, "cached_input_per_mtok": 0.1, "cache_write_per_mtok": 1.25,
        "cache_write_1h_per_mtok": 2, "audio_input_per_mtok": 32, "audio_output_per_mtok": 64,
        "service_tiers": {"flex": 0.5, "priority": 2},
    }
}  # fmt: skip
COLUMNS = {
    "cached": "cached_tokens", "reasoning": "reasoning_tokens", "written": "cache_write_tokens",
    "estimated": "tokens_estimated", "tier": "service_tier",
}  # fmt: skip


def _forms() -> list[tuple[str, str, Case]]:
    """Every response of the table: the case's mark, the way it is asked, and the case for one adapter."""
    forms = []
    for number, case in enumerate(TABLE):
        adapters = case["adapter"] if isinstance(case["adapter"], list) else [case["adapter"]]
        for place, adapter in enumerate(adapters):
            ways = ["streamed"] if "events" in case else ["whole"] if _is_raw(case) else ["whole", "streamed"]
            for way in case.get("ways", ways):
                mark = f"case-{number * 10 + place:04d}"
                forms.append((mark, way, {**case, "adapter": adapter}))
    return forms


def _is_raw(case: Case) -> bool:
    return "raw" in case or "body" in case or case.get("status", 200) != 200


FORMS = _forms()
BY_MARK = {(mark, way): case for mark, way, case in FORMS}


def _answer(mark: str, body: bytes, path: str) -> Raw:
    way = "streamed" if b'"stream":true' in body or "stream" in path else "whole"
    case = BY_MARK[mark, way]
    headers = tuple(case.get("headers", {}).items())
    if "events" in case:
        return sse(case["events"])
    if "raw" in case or "body" in case:
        content = case["raw"].encode("utf-8") if "raw" in case else json.dumps(case["body"]).encode()
        return Raw(content, case.get("status", 200), headers or (("content-type", "application/json"),))
    said = copy.deepcopy(whole(case["adapter"], copy.deepcopy(case)))
    return streamed(case["adapter"], said) if way == "streamed" else Raw(json.dumps(said).encode())


def _entities(url: str) -> dict[str, dict[str, Any]]:
    openai = {"openai_api_base": f"{url}/v1", "openai_api_key_plaintext": "sk-test-1234"}
    bedrock = {"aws_region": "us-east-1", "bedrock_provider": "amazon", "aws_access_key_id_plaintext": "AKIDGOOD",
               "aws_secret_access_key_plaintext": "simulated"}  # fmt: skip
    databricks = {"databricks_workspace_url": url, "databricks_api_token_plaintext": "dapi-test-1234"}
    custom = {"custom_provider_url": f"{url}/v1", "bearer_token_auth": {"token_plaintext": "EMPTY"}}
    base = {"api_base": url}
    return {
        "custom": external("custom", "m", custom),
        "openai": external("openai", "m", openai),
        "responses": external("openai", "m", openai, own={"responses": True}),
        "anthropic": external("anthropic", "m", {"anthropic_api_key_plaintext": "sk-ant-test"}, own=base),
        "palm": external("palm", "m", {"palm_api_key_plaintext": "AIza-test"}, own=base),
        "amazon-bedrock": external("amazon-bedrock", "m", bedrock, own=base),
        "cohere": external("cohere", "m", {"cohere_api_key_plaintext": "co-test", "cohere_api_base": url}),
        "ai21labs": external("ai21labs", "m", {"ai21labs_api_key_plaintext": "ai-test-1234"}, own=base),
        "databricks-model-serving": external("databricks-model-serving", "m", databricks),
    }


@pytest.fixture(scope="module")
def server() -> Iterator[RawServer]:
    with RawServer(_answer) as server:
        yield server


@pytest.fixture(scope="module")
def session(server: RawServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[aiq.Session]:
    folder = tmp_path_factory.mktemp("answers")
    (folder / "conf" / "endpoints").mkdir(parents=True)
    for adapter, entity in _entities(server.url).items():
        for way in ("whole", "streamed"):
            name = f"{adapter}-{way}"
            body: dict[str, Any] = {"name": name, "config": {"served_entities": [entity]}}
            if way == "streamed":
                body["ai_gateway"] = {"aiq": {"first_token_timeout_s": 60, "idle_timeout_s": 60}}
            (folder / "conf" / "endpoints" / f"{name}.yml").write_text(yaml.safe_dump(body))
    (folder / "conf" / "aiq.yml").write_text(yaml.safe_dump({"retries": 0, "prices": PRICES}))
    with aiq.connect(conf=folder / "conf", home=folder / "home", user="ann") as session:
        yield session


@pytest.fixture(scope="module")
def outcomes(session: aiq.Session) -> dict[tuple[str, str], tuple[Any, dict[str, Any]]]:
    """What became of every form: its value or its error, and its row in `system.aiq.calls`."""
    asked, found = {}, {}
    for mark, way, case in FORMS:
        endpoint = f"{case['adapter']}-{way}"
        session.gateway.open_endpoint(endpoint)
        body = {"messages": [{"role": "user", "content": f"Say it: {mark}"}], **case.get("ask", {})}
        request = Request(endpoint, "llm/v1/chat", body, Caller("ann"), f"{mark}-{way}")
        asked[mark, way] = submit(session.gateway.answer(request))
    for key, future in asked.items():
        try:
            found[key] = future.result(timeout=60).value
        except RequestFailed as error:
            found[key] = error
    session.gateway.ledger.commit()
    rows = Tables(session.gateway.ledger.home).to_arrow("system.aiq.calls").to_pylist()
    by_statement: dict[str, dict[str, Any]] = {row["statement_id"]: row for row in rows if row["final"]}
    return {(mark, way): (found[mark, way], by_statement[f"{mark}-{way}"]) for mark, way in found}


IDS = [f"{case['adapter']}-{way}-{case['name']}" for _, way, case in FORMS]


@pytest.mark.parametrize(("mark", "way", "case"), FORMS, ids=IDS)
def test_an_answer_is_whole_or_an_error(
    outcomes: dict[tuple[str, str], tuple[Any, dict[str, Any]]], mark: str, way: str, case: Case
) -> None:
    value, row = outcomes[mark, way]
    if "error" in case:
        assert isinstance(value, RequestFailed), f"became the answer {value!r}"
        assert re.fullmatch(case["error"].strip("/"), row["error_class"]), value.reason
        assert re.search(case.get("says", ""), value.reason, re.I), value.reason
    else:
        assert value == case.get("value", TEXT)
    if "tokens" in case:
        assert [row["input_tokens"], row["output_tokens"]] == case["tokens"]
    for name, column in COLUMNS.items():
        if name in case:
            assert row[column] == case[name], column
    if "usd" in case:
        assert row["cost_usd"] == (None if case["usd"] is None else pytest.approx(case["usd"], rel=1e-9))
    if "unpriced" in case:
        assert re.search(case["unpriced"], row["unpriced"] or ""), row["unpriced"]
    elif row["cost_usd"] is not None:
        assert row["unpriced"] is None
