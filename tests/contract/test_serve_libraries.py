"""MLflow, LangChain and OpenAI's agents as processes of their own, before a running `aiq serve`; an agent behind it.

They are installed by `make test` into an environment of their own, `.venv-clients`; see library_clients.py. The agent
is the sample, notebooks/tool_agent.py, in MLflow's own server; its model is an endpoint of the same `aiq serve`.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import openai
import orjson
import pytest

from aiq.simulator.process import SimulatorProcess
from tests.conftest import ConfFolder
from tests.contract.test_serve_clients import Served, serving
from tests.processes import CLIENTS, PATIENCE_S, clients_python, free_port

PROGRAM = Path(__file__).with_name("library_clients.py")
AGENT = Path(__file__).parents[2] / "notebooks" / "tool_agent.py"
LIBRARIES = ("mlflow", "langchain", "agents")

pytestmark = pytest.mark.skipif(
    not CLIENTS.exists(), reason=f"{CLIENTS.parent.parent} is missing; `make test` makes it"
)


class Running(NamedTuple):
    """What runs: the server, the agent behind it, and the clients by name."""

    served: Served
    agent: subprocess.Popen[str]
    agent_url: str
    clients: dict[str, subprocess.Popen[str]]


@pytest.fixture(scope="module")
def running(
    make_conf: Callable[[Path, str], ConfFolder], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """All of them at once: most of their time they import."""
    folder, port = tmp_path_factory.mktemp("libraries"), free_port()
    agent_url = f"http://127.0.0.1:{port}"
    with SimulatorProcess.start() as simulator:
        conf = make_conf(folder / "conf", simulator.url)
        model = {"model_server": {"url": f"{simulator.url}/invocations"}}
        agent = {"model_server": {"url": f"{agent_url}/invocations", "task": "agent/v1/responses"}}
        chat_agent = {"model_server": {"url": f"{simulator.url}/agents/helper/invocations", "task": "agent/v2/chat"}}
        conf.settings(retries=0, endpoints={"model": model, "agent": agent, "chatagent": chat_agent})
        conf.endpoint("chat")
        conf.endpoint("emb", task="llm/v1/embeddings", model="text-embedding-3-small")
        conf.endpoint("complete", task="llm/v1/completions", model="gpt-3.5-turbo-instruct")
        conf.endpoint("model", {"name": "spam", "entity_name": "spam", "entity_version": "1"})
        conf.endpoint("agent", {"name": "main", "entity_name": "main.agents.tools", "entity_version": "1"})
        conf.endpoint("chatagent", {"name": "main", "entity_name": "main.agents.chat", "entity_version": "1"})
        conf.endpoint("locked", permissions=[{"user_name": "someone@example.com", "level": "CAN_QUERY"}])
        with serving(conf.path, folder / "home") as served:
            token = served.tokens.create("admin@example.com", ["admins"])
            own = {"DATABRICKS_HOST": served.url, "DATABRICKS_TOKEN": token, "AIQ_SIMULATOR": simulator.url}
            clients = {name: clients_python(str(PROGRAM), name, folder=folder, own=own) for name in LIBRARIES}
            asks = {"OPENAI_BASE_URL": f"{served.url}/v1", "OPENAI_API_KEY": served.token}
            words = ("-m", "uvicorn", f"{AGENT.stem}:app", "--app-dir", str(AGENT.parent), "--port", str(port))
            agent_process = clients_python(*words, folder=folder, own=asks)
            try:
                yield Running(served, agent_process, agent_url, clients)
            finally:
                for process in (agent_process, *clients.values()):
                    process.kill()
                    process.wait(PATIENCE_S)


@pytest.fixture
def served(running: Running) -> Served:
    """The server, once the agent behind it answers."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            httpx.get(f"{running.agent_url}/health", trust_env=False)
            return running.served
        except httpx.TransportError:
            assert running.agent.poll() is None, running.agent.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_library_finds_what_it_expects(running: Running, name: str) -> None:
    said, _ = running.clients[name].communicate(timeout=PATIENCE_S)
    assert running.clients[name].returncode == 0, said[-4000:]


ASKED: list[Any] = [{"role": "user", "content": "what is the weather, and add these"}]
OPTIONS = {"custom_inputs": {"session": "s-1"}, "databricks_options": {"return_trace": True}}
KINDS = ["function_call", "function_call_output", "function_call", "function_call_output", "message"]
CUSTOM_OUTPUTS = {"session": "s-1", "tools": ["weather", "add"]}
STEPS = ["model", "weather", "add", "model"]


def _steps(trace: Any) -> list[str]:
    return [span["name"] for span in trace["trace"]["data"]["spans"]]


def test_an_agent_answers_the_client_of_the_sdk(served: Served) -> None:
    client = served.databricks().serving_endpoints.get_open_ai_client()
    answer = client.responses.create(model="agent", input=ASKED, extra_body=OPTIONS)
    assert [item.type for item in answer.output] == KINDS
    assert answer.output_text.startswith("[simulated] The tool says:")
    assert answer.model_extra is not None and answer.model_extra["custom_outputs"] == CUSTOM_OUTPUTS
    assert _steps(answer.model_extra["databricks_output"]) == STEPS

    text, last = "", None
    for event in client.responses.create(model="agent", input=ASKED, stream=True, extra_body=OPTIONS):
        text += event.delta if event.type == "response.output_text.delta" else ""
        last = event
    assert last is not None and last.type == "response.completed" and text == answer.output_text
    assert [item.type for item in last.response.output] == KINDS
    assert last.response.model_extra["custom_outputs"] == CUSTOM_OUTPUTS
    assert _steps(last.response.model_extra["databricks_output"]) == STEPS

    with served.openai().responses.stream(model="agent", input=ASKED) as events:
        for _ in events:
            pass
        assert events.get_final_response().output_text == text
    chunks = list(served.openai().chat.completions.create(model="agent", messages=ASKED, stream=True))
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == text
    assert not any(choice.delta.tool_calls for chunk in chunks for choice in chunk.choices)


def test_an_agent_answers_at_its_invocations(served: Served) -> None:
    body = {"input": ASKED, **OPTIONS}
    with served.http() as http:
        whole = http.post("/serving-endpoints/agent/invocations", json=body).json()
        streamed = http.post("/serving-endpoints/agent/invocations", json={**body, "stream": True}).text
        plain = http.post("/serving-endpoints/agent/invocations", json={"input": ASKED}).json()
    assert [item["type"] for item in whole["output"]] == KINDS
    assert whole["custom_outputs"] == CUSTOM_OUTPUTS and _steps(whole["databricks_output"]) == STEPS
    assert "databricks_output" not in plain and plain["custom_outputs"] == {"tools": ["weather", "add"]}
    events = [orjson.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: {")]
    assert events[-1]["type"] == "response.completed"
    assert _steps(events[-1]["response"]["databricks_output"]) == STEPS


@pytest.mark.parametrize("stream", [False, True])
def test_what_fails_in_an_agent_is_an_error_with_its_words(served: Served, stream: bool) -> None:
    asked: list[Any] = [{"role": "user", "content": "[[fault:400]] what is the weather"}]
    with pytest.raises(openai.APIError, match="Error code: 400") as failed:
        for _ in served.openai(max_retries=0).responses.create(model="agent", input=asked, stream=stream):
            pass
    assert "Traceback" not in str(failed.value)
