"""Provider `custom` before LiteLLM's proxy: its own mock answers, and through it to a simulated provider.

The proxy is installed by `make test` into an environment of its own, `.venv-litellm`.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

import pytest

import aiq
from aiq.batch.loop import submit
from aiq.request import Caller, Request
from aiq.simulator.process import SimulatorProcess
from tests.processes import PATIENCE_S, free_port

ROOT = Path(__file__).parents[2]
PROXY = Path(os.environ.get("AIQ_TEST_LITELLM", ROOT / ".venv-litellm" / "bin" / "litellm"))
CONFIG = """\
model_list:
  - model_name: mocked
    litellm_params: {{model: openai/gpt-4o-mini, api_key: none, mock_response: "Hello from the proxy."}}
  - model_name: limited
    litellm_params: {{model: openai/gpt-4o-mini, api_key: none, mock_response: "litellm.RateLimitError"}}
  - model_name: simulated
    litellm_params: {{model: openai/gpt-4o-mini, api_key: sk-behind, api_base: "{url}/v1"}}
  - model_name: vectors
    litellm_params: {{model: openai/text-embedding-3-small, api_key: sk-behind, api_base: "{url}/v1"}}
general_settings: {{master_key: sk-master}}
litellm_settings: {{num_retries: 0, telemetry: false}}
router_settings: {{num_retries: 0}}
"""
ENDPOINT = """\
name: proxy
config:
  served_entities:
    - name: main
      external_model:
        name: {model}
        provider: custom
        task: {task}
        custom_provider_config:
          custom_provider_url: {url}/v1
          bearer_token_auth: {{token_plaintext: {key}}}
"""


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    with SimulatorProcess.start() as process:
        yield process


@pytest.fixture(scope="module")
def proxy(simulator: SimulatorProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    assert PROXY.exists(), f"{PROXY} is missing; `make test` installs it"
    folder = tmp_path_factory.mktemp("litellm")
    (folder / "config.yaml").write_text(CONFIG.format(url=simulator.url))
    port = free_port()
    command = [str(PROXY), "--config", str(folder / "config.yaml"), "--host", "127.0.0.1", "--port", str(port)]
    # Its list of prices comes from the package: it would be fetched otherwise.
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONPATH": ""}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=folder)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{url}/health/liveliness", process, folder / "log")
        yield url
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    opener, deadline = build_opener(ProxyHandler({})), time.monotonic() + PATIENCE_S
    while True:
        try:
            opener.open(url, timeout=2).close()
            return
        except (URLError, OSError):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.2)


@pytest.fixture
def connect(proxy: str, tmp_path: Path) -> Callable[..., aiq.Session]:
    def connect(model: str, task: str = "llm/v1/chat", key: str = "sk-master") -> aiq.Session:
        folder = tmp_path / "conf" / "endpoints"
        folder.mkdir(parents=True, exist_ok=True)
        (tmp_path / "conf" / "aiq.yml").write_text("retries: 1\n")
        (folder / "proxy.yml").write_text(ENDPOINT.format(model=model, task=task, url=proxy, key=key))
        return aiq.connect(conf=tmp_path / "conf", home=tmp_path / "home")

    return connect


def test_the_proxys_own_answer_comes_back(connect: Any) -> None:
    with connect("mocked") as s:
        assert s.sql("SELECT ai_query('proxy', 'Hi')").fetchall() == [("Hello from the proxy.",)]
        assert s.sql("SELECT status, input_tokens > 0 FROM system.aiq.calls").fetchall() == [("ok", True)]


def test_a_chain_of_two_gateways_bills_what_the_provider_counted(connect: Any, simulator: SimulatorProcess) -> None:
    simulator.reset()
    with connect("simulated") as s:
        rows = s.sql("SELECT ai_query('proxy', 'Number ' || i) FROM range(30) t(i)").fetchall()
        counted = s.sql("SELECT count(*), sum(input_tokens), sum(output_tokens) FROM system.aiq.calls").fetchall()
    assert all("[simulated]" in row[0] for row in rows)
    stats = simulator.stats()
    assert counted == [(30, stats["prompt_tokens"], stats["completion_tokens"])]


def test_structured_output_passes_through_both(connect: Any) -> None:
    with connect("simulated") as s:
        [(text,)] = s.sql(
            "SELECT ai_query('proxy', 'Rate', responseFormat => 'STRUCT<r: STRUCT<good: BOOLEAN>>')"
        ).fetchall()
    assert text in ('{"good":true}', '{"good":false}')


def test_a_stream_adds_up_to_the_whole_answer(connect: Any) -> None:
    with connect("simulated") as s:
        s.gateway.open_endpoint("proxy")
        body = {"messages": [{"role": "user", "content": "Tell a tale of two gateways."}]}
        request = Request("proxy", "llm/v1/chat", body, Caller("ann"), "st")

        async def read() -> list[Any]:
            return [chunk async for chunk in s.gateway.stream(request)]

        async def whole() -> Any:
            return await s.gateway.answer(request)

        chunks, answer = submit(read()).result(timeout=PATIENCE_S), submit(whole()).result(timeout=PATIENCE_S)
    assert "".join(chunk.text for chunk in chunks) == answer.value
    assert chunks[-1].usage is not None and chunks[-1].usage.output_tokens == answer.usage.output_tokens


def test_embeddings_pass_through_both(connect: Any) -> None:
    with connect("vectors", "llm/v1/embeddings") as s:
        assert s.sql("SELECT len(ai_query('proxy', 'text'))").fetchall() == [(64,)]


@pytest.mark.parametrize(
    ("model", "key", "status", "error_class"),
    [("limited", "sk-master", 429, "rate_limited"), ("nowhere", "sk-master", 400, "bad_request")],
)
def test_its_errors_have_their_class(connect: Any, model: str, key: str, status: int, error_class: str) -> None:
    with connect(model, key=key) as s:
        hint = "/*+ aiq_reuse('off') */ "
        [(found,)] = s.sql(f"{hint}SELECT ai_query('proxy', 'Hi', failOnError => false)").fetchall()
        assert found["result"] is None
        last = "SELECT status_code, error_class FROM system.aiq.calls WHERE final"
        assert s.sql(last).fetchall() == [(status, error_class)]
