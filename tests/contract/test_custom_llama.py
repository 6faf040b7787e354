"""Provider `custom` before a server that others wrote and that runs a model: llama.cpp, with random weights."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import aiq
from aiq.batch.loop import submit
from aiq.request import Caller, Request
from tests.contract.tiny_model import WIDTH, write_tiny_model
from tests.processes import PATIENCE_S, line_with

HERE = Path(__file__).parent
ENDPOINT = """\
name: local
config:
  served_entities:
    - name: main
      external_model:
        name: tiny
        provider: custom
        task: {task}
        custom_provider_config:
          custom_provider_url: {url}/v1
ai_gateway:
  usage_tracking_config: {{enabled: true}}
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.gguf"
    write_tiny_model(path)
    return path


@contextmanager
def serving(model: Path, task: str) -> Iterator[str]:
    command = [sys.executable, str(HERE / "llama_server.py"), str(model), task]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        try:
            yield line_with(process, "http://")
        finally:
            process.stdin.close()
            process.wait(PATIENCE_S)


@pytest.fixture(scope="module")
def chat_url(model: Path) -> Iterator[str]:
    with serving(model, "chat") as url:
        yield url


@pytest.fixture
def connect(tmp_path: Path) -> Callable[[str, str], aiq.Session]:
    def connect(url: str, task: str) -> aiq.Session:
        folder = tmp_path / "conf" / "endpoints"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "local.yml").write_text(ENDPOINT.format(task=task, url=url))
        return aiq.connect(conf=tmp_path / "conf", home=tmp_path / "home")

    return connect


def test_rows_are_answered_and_counted_by_the_model_itself(chat_url: str, connect: Any) -> None:
    with connect(chat_url, "llm/v1/chat") as s:
        rows = s.sql(
            "SELECT ai_query('local', 'Word ' || i, modelParameters => named_struct('max_tokens', 8, 'seed', 7)) "
            "FROM range(20) t(i)"
        ).fetchall()
        assert len(rows) == 20 and all(isinstance(row[0], str) and row[0] for row in rows)
        calls = "SELECT count(*), min(input_tokens) > 15, max(output_tokens), bool_or(tokens_estimated)"
        # `user: Word 1\nassistant: ` has a token a byte.
        assert s.sql(f"{calls} FROM system.aiq.calls WHERE status = 'ok'").fetchall() == [(20, True, 8, False)]


def test_structured_output_fits_its_schema_though_the_model_knows_nothing(chat_url: str, connect: Any) -> None:
    with connect(chat_url, "llm/v1/chat") as s:
        rows = s.sql(
            "SELECT ai_query('local', 'Rate ' || i, responseFormat => "
            "'STRUCT<r: STRUCT<good: BOOLEAN, bad: BOOLEAN>>', modelParameters => named_struct('max_tokens', 200)) "
            "FROM range(5) t(i)"
        ).fetchall()
    for (text,) in rows:
        assert {name: type(value) for name, value in json.loads(text).items()} == {"good": bool, "bad": bool}


def test_a_stream_adds_up_to_the_whole_answer(chat_url: str, connect: Any) -> None:
    with connect(chat_url, "llm/v1/chat") as s:
        s.gateway.open_endpoint("local")
        body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 24, "temperature": 0}
        request = Request("local", "llm/v1/chat", body, Caller("ann"), "st")

        async def read() -> list[Any]:
            return [chunk async for chunk in s.gateway.stream(request)]

        async def whole() -> Any:
            return await s.gateway.answer(request)

        chunks = submit(read()).result(timeout=PATIENCE_S)
        answer = submit(whole()).result(timeout=PATIENCE_S)
    assert len(chunks) > 3
    assert "".join(chunk.text for chunk in chunks) == answer.value
    assert chunks[-1].usage is not None and chunks[-1].usage.output_tokens == answer.usage.output_tokens == 24


def test_embeddings_are_those_of_the_model(model: Path, connect: Any) -> None:
    with serving(model, "embeddings") as url, connect(url, "llm/v1/embeddings") as s:
        rows = s.sql("SELECT i, ai_query('local', 'text ' || (i % 2)) AS v FROM range(4) t(i) ORDER BY i").fetchall()
    vectors = [vector for _, vector in rows]
    assert all(len(vector) == WIDTH for vector in vectors)
    assert vectors[0] == vectors[2] != vectors[1] == vectors[3]


def test_an_error_of_the_server_is_a_row_error(chat_url: str, connect: Any) -> None:
    with connect(chat_url, "llm/v1/chat") as s:
        [(found,)] = s.sql("SELECT ai_query('local', repeat('long ', 5000), failOnError => false) AS r").fetchall()
    assert found["result"] is None
    assert "context" in found["errorMessage"]
