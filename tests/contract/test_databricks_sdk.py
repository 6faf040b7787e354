"""Databricks' own SDK against the simulated workspace, and our adapter against the same."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.errors import PermissionDenied, TooManyRequests
from databricks.sdk.service.serving import ChatMessage, ChatMessageRole

import aiq
from aiq.config.connections import DatabricksConfig, Secret
from aiq.config.endpoint import ServedEntity
from aiq.errors import ProviderError
from aiq.gateway.access_token import AccessToken
from aiq.providers import adapter_for
from aiq.request import Caller, Request
from aiq.simulator.process import SimulatorProcess
from aiq.simulator.profile import Profile, Quota
from aiq.transport import open_transport

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    with SimulatorProcess.start(Profile(quotas=(Quota(rpm=2, models=("limited",)),))) as process:
        yield process


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Nothing of whoever runs the tests: the SDK reads a profile and the environment."""
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("DATABRICKS_CONFIG_PROFILE", "")


def workspace(simulator: SimulatorProcess, **credentials: Any) -> WorkspaceClient:
    given = credentials or {"token": "dapi-good"}
    return WorkspaceClient(config=Config(host=simulator.url, retry_timeout_seconds=1, **given))


HELLO = [ChatMessage(role=ChatMessageRole.USER, content="Say hello to the tests.")]


def test_the_sdk_asks_a_chat_endpoint(simulator: SimulatorProcess) -> None:
    answer = workspace(simulator).serving_endpoints.query("chat", messages=HELLO, max_tokens=50, temperature=0.0)
    assert answer.choices is not None and answer.choices[0].message is not None
    assert "[simulated]" in str(answer.choices[0].message.content)
    assert answer.served_model_name == "chat"


def test_the_sdk_asks_for_embeddings_and_predictions(simulator: SimulatorProcess) -> None:
    endpoints = workspace(simulator).serving_endpoints
    vectors = endpoints.query("gte", input=["a", "b"])
    assert vectors.data is not None and len(vectors.data) == 2
    scored = endpoints.query("spam", dataframe_records=[{"x": 1}])
    assert scored.predictions == [{"x": 1}]


def test_errors_are_the_sdks_own(simulator: SimulatorProcess) -> None:
    with pytest.raises(PermissionDenied):
        workspace(simulator, token="sk-invalid").serving_endpoints.query("chat", messages=HELLO)
    with pytest.raises((TooManyRequests, TimeoutError)):
        for number in range(4):
            said = [ChatMessage(role=ChatMessageRole.USER, content=f"Number {number}")]
            workspace(simulator).serving_endpoints.query("limited", messages=said)


def request(text: str = "Say hello to the tests.") -> Request:
    body = {"messages": [{"role": "user", "content": text}]}
    return Request("chat", "llm/v1/chat", body, Caller("ann"), "st")


def adapter_of(simulator: SimulatorProcess, *, client: str, secret: str = "simulated") -> Any:
    config = DatabricksConfig(simulator.url, client_id=client, client_secret=Secret(secret, "test"))
    entity = ServedEntity("id", "main", "databricks-model-serving", "chat", "llm/v1/chat", config)
    adapter = adapter_for(entity)
    adapter.prepare()
    return adapter


def test_a_service_principals_token_is_granted_and_taken(simulator: SimulatorProcess) -> None:
    adapter = adapter_of(simulator, client="app")

    async def work() -> tuple[Any, int]:
        transport = open_transport(aiq_settings())
        try:
            token = AccessToken(adapter, asyncio.get_running_loop().time)
            await token.renew(transport)
            response = await transport.send(adapter.encode(request()), 10)
            return adapter.decode(request(), response), response.status
        finally:
            await transport.close()

    answer, status = asyncio.run(work())
    assert status == 200 and "[simulated]" in answer.value


def test_a_wrong_secret_gets_no_token_and_is_not_shown(simulator: SimulatorProcess) -> None:
    adapter = adapter_of(simulator, client="app", secret="dose-wrong")

    async def work() -> None:
        transport = open_transport(aiq_settings())
        try:
            await AccessToken(adapter, asyncio.get_running_loop().time).renew(transport)
        finally:
            await transport.close()

    with pytest.raises(ProviderError, match="Client authentication failed") as caught:
        asyncio.run(work())
    assert caught.value.kind == "auth" and "dose-wrong" not in str(caught.value)


def aiq_settings() -> Any:
    from aiq.config.endpoint import Settings

    return Settings()


CONF = """\
name: chat
config:
  served_entities:
    - name: main
      external_model:
        name: {model}
        provider: databricks-model-serving
        task: {task}
        databricks_model_serving_config:
          databricks_workspace_url: {url}
      aiq: {{client_id: {client}, client_secret_plaintext: simulated}}
"""


def session(tmp_path: Any, simulator: SimulatorProcess, **values: str) -> Any:
    folder = tmp_path / "conf" / "endpoints"
    folder.mkdir(parents=True)
    given = {"model": "chat", "task": "llm/v1/chat", "url": simulator.url, "client": "app", **values}
    (folder / "chat.yml").write_text(CONF.format(**given))
    return aiq.connect(conf=tmp_path / "conf", home=tmp_path / "home")


def test_a_statement_asks_for_one_token_and_is_billed_as_the_workspace_says(
    tmp_path: Any, simulator: SimulatorProcess
) -> None:
    simulator.reset()
    with session(tmp_path, simulator) as s:
        rows = s.sql("SELECT ai_query('chat', 'Number ' || i) AS a FROM range(200) t(i)").fetchall()
        assert len({row[0] for row in rows}) > 100
        counted = s.sql("SELECT count(*), sum(input_tokens), sum(output_tokens) FROM system.aiq.calls").fetchall()
    stats = simulator.stats()
    assert counted == [(200, stats["prompt_tokens"], stats["completion_tokens"])]
    assert [a["path"] for a in simulator.attempts()].count("/oidc/v1/token") == 1


def test_a_token_that_runs_out_in_the_middle_is_renewed(tmp_path: Any, simulator: SimulatorProcess) -> None:
    simulator.reset()
    with session(tmp_path, simulator, client="app-1s") as s:
        for number in range(3):
            rows = s.sql(f"SELECT ai_query('chat', 'Round {number} of ' || i) FROM range(300) t(i)").fetchall()
            assert len(rows) == 300
        failed = s.sql("SELECT count(*) FROM system.aiq.calls WHERE final AND status <> 'ok'").fetchall()
    assert failed == [(0,)]
    assert [a["path"] for a in simulator.attempts()].count("/oidc/v1/token") >= 1


def test_embeddings_of_another_workspace(tmp_path: Any, simulator: SimulatorProcess) -> None:
    with session(tmp_path, simulator, model="gte", task="llm/v1/embeddings") as s:
        rows = s.sql("SELECT len(ai_query('chat', 'text ' || i)) FROM range(5) t(i)").fetchall()
    assert rows == [(64,)] * 5


THINKS = """SELECT ai_query('chat', 'Say hello.', modelParameters => named_struct('max_tokens', {most},
    'thinking', named_struct('type', 'enabled', 'budget_tokens', 1024))) AS a"""


def test_thinking_reaches_the_model_and_its_thoughts_are_no_answer(tmp_path: Any, simulator: SimulatorProcess) -> None:
    with session(tmp_path, simulator) as s:
        ((answer,),) = s.sql(THINKS.format(most=1025), dialect="databricks").fetchall()
        with pytest.raises(ProviderError, match=r"greater than `thinking\.budget_tokens`"):
            s.sql(THINKS.format(most=1000), dialect="databricks").fetchall()
    assert answer.startswith("[simulated]") and "thoughts" not in answer
