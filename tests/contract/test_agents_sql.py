"""Agents behind a URL, asked from SQL: rows, whole conversations, and the same policy as for every other endpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import aiq
from aiq.errors import FunctionError
from aiq.simulator.process import SimulatorProcess

TASKS = ("agent/v1/responses", "agent/v2/chat")


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    with SimulatorProcess.start() as process:
        yield process


@pytest.fixture(params=TASKS)
def connect(request: Any, simulator: SimulatorProcess, tmp_path: Path) -> Callable[..., aiq.Session]:
    def connect(**gateway: Any) -> aiq.Session:
        folder = tmp_path / "conf"
        (folder / "endpoints").mkdir(parents=True)
        entity = {"name": "main", "entity_name": "main.agents.helper", "entity_version": "3"}
        body = {"name": "helper", "config": {"served_entities": [entity]}, "ai_gateway": gateway}
        (folder / "endpoints" / "helper.yml").write_text(yaml.safe_dump(body))
        url = f"{simulator.url}/agents/helper/invocations"
        server = {"url": url, "token_plaintext": "dapi-good", "task": request.param}
        (folder / "aiq.yml").write_text(yaml.safe_dump({"endpoints": {"helper": {"model_server": server}}}))
        simulator.reset()
        return aiq.connect(conf=folder, home=tmp_path / "home")

    return connect


def test_rows_are_prose_and_their_tokens_are_counted(connect: Any, simulator: SimulatorProcess) -> None:
    with connect() as s:
        rows = s.sql("SELECT ai_query('helper', 'Number ' || i) FROM range(20) t(i)").fetchall()
        counted = s.sql("SELECT count(*), sum(input_tokens), sum(output_tokens) FROM system.aiq.calls").fetchall()
        [(task,)] = s.sql("SELECT DISTINCT task FROM system.serving.served_entities").fetchall()
    assert all("[simulated]" in row[0] for row in rows)
    stats = simulator.stats()
    assert counted == [(20, stats["prompt_tokens"], stats["completion_tokens"])]
    assert task in TASKS


def test_a_conversation_is_a_struct_of_messages(connect: Any) -> None:
    with connect() as s:
        [(text,)] = s.sql(
            "SELECT ai_query('helper', named_struct('messages', array(named_struct('role', 'user', 'content', "
            "'Is yes a word? Answer with exactly one of: yes, no'))))"
        ).fetchall()
    assert text in ("yes", "no")


@pytest.mark.parametrize(
    "argument", ['responseFormat => \'{"type":"json_object"}\'', "modelParameters => named_struct('temperature', 0)"]
)
def test_what_agents_do_not_take_is_refused_before_a_call(
    connect: Any, simulator: SimulatorProcess, argument: str
) -> None:
    with connect() as s, pytest.raises(FunctionError):
        s.sql(f"SELECT ai_query('helper', 'Hi', {argument})")
    assert simulator.stats()["requests"] == 0


def test_guardrails_hold_on_both_sides_of_an_agent(connect: Any, simulator: SimulatorProcess) -> None:
    with connect(
        guardrails={"input": {"pii": {"behavior": "MASK"}}, "output": {"invalid_keywords": ["forbidden"]}}
    ) as s:
        [(text,)] = s.sql("SELECT ai_query('helper', 'Write to ann@example.com about it')").fetchall()
        [(blocked,)] = s.sql("SELECT ai_query('helper', 'Say forbidden things', failOnError => false)").fetchall()
    assert "<EMAIL_ADDRESS>" in text and "ann@example.com" not in text
    assert blocked["result"] is None and "keyword" in blocked["errorMessage"]
