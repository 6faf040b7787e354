"""The thoughts of servers that speak OpenAI's form: in the inference table by any name, never in the value."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

import aiq
from aiq.config.connections import CustomConfig
from aiq.config.endpoint import ServedEntity
from aiq.providers import adapter_for
from aiq.providers.base import HttpResponse
from aiq.request import Caller, Request
from tests.contract.cloud_server import cloud_server

TABLE = {"enabled": True, "catalog_name": "main", "schema_name": "ai", "table_name_prefix": "own"}
DETAILS = [{"type": "reasoning.text", "text": "Six by seven."}]
FORMS: dict[str, dict[str, Any]] = {
    "DeepSeek, vLLM, SGLang": {"content": "42", "reasoning_content": "Six by seven."},
    "OpenRouter, Groq, newer vLLM": {"content": "42", "reasoning": "Six by seven."},
    "OpenRouter's details": {"content": "42", "reasoning_details": DETAILS},
    "a block at the beginning": {"content": "<think>Six by seven.</think>42"},
    "parts": {
        "content": [
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Six by seven."}]},
            {"type": "text", "text": "42"},
        ]
    },
}


def answer(message: dict[str, Any]) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
    return {
        "model": "m",
        "choices": [choice],
        "usage": {"prompt_tokens": 1, "completion_tokens": 9, "total_tokens": 10},
    }


@pytest.mark.parametrize("form", FORMS)
def test_thoughts_are_in_the_log_and_not_in_the_value(
    form: str, make_conf: Any, tmp_path: Path, home: Path, ledger_rows: Callable[..., list[dict[str, Any]]]
) -> None:
    conf = make_conf(tmp_path / "conf", "unused")
    with cloud_server() as server:
        server.json("/v1/chat/completions", lambda asked: answer(FORMS[form]))
        section = {"custom_provider_url": f"{server.url}/v1"}
        external = {"name": "m", "provider": "custom", "task": "llm/v1/chat", "custom_provider_config": section}
        conf.endpoint("own", {"name": "main", "external_model": external}, gateway={"inference_table_config": TABLE})
        with aiq.connect(conf=str(conf.path), home=str(home)) as session:
            assert session.sql("SELECT ai_query('own', '6 * 7?')").fetchall() == [("42",)]
    (row,) = ledger_rows("main.ai.own_payload")
    assert "Six by seven." in row["response"]
    assert "Six by seven." not in (orjson.loads(row["response"])["choices"][0]["message"]["content"] or "")


@pytest.mark.parametrize(
    "deltas",
    [
        [{"reasoning_content": "Six "}, {"reasoning_content": "by seven."}, {"content": "42"}],
        [{"reasoning": "Six "}, {"reasoning": "by seven."}, {"content": "42"}],
        [{"reasoning_details": [{"text": "Six "}]}, {"reasoning_details": [{"text": "by seven."}]}, {"content": "42"}],
        [{"content": "<think>Six "}, {"content": "by seven.</think>"}, {"content": "42"}],
    ],
)
def test_thoughts_of_a_stream_are_kept_to_the_last(deltas: list[dict[str, Any]]) -> None:
    adapter = adapter_for(ServedEntity("1", "main", "custom", "m", "llm/v1/chat", CustomConfig("http://h/v1")))
    adapter.prepare()
    request = Request("own", "llm/v1/chat", {"messages": [{"role": "user", "content": "6 * 7?"}]}, Caller("ann"), "s")
    head = HttpResponse(200, {"content-type": "text/event-stream"}.get, b"")
    decoder = adapter.decoder(request, head)
    for delta in deltas:
        decoder.feed(b"data: " + orjson.dumps({"choices": [{"index": 0, "delta": delta}]}) + b"\n\n")
    decoder.feed(b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n')
    answer = decoder.end()
    assert answer.value == "42"
    raw = answer.raw.replace('"},{"text":"', "")
    assert "Six by seven." in raw
