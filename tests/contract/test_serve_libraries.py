"""MLflow, LangChain and OpenAI's agents as processes of their own, before a running `aiq serve`.

They are installed by `make test` into an environment of their own, `.venv-clients`; see library_clients.py.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aiq.simulator.process import SimulatorProcess
from tests.conftest import ConfFolder
from tests.contract.test_serve_clients import Served, serving
from tests.processes import CLIENTS, PATIENCE_S, clients_python

PROGRAM = Path(__file__).with_name("library_clients.py")
LIBRARIES = ("mlflow", "langchain", "agents")

pytestmark = pytest.mark.skipif(
    not CLIENTS.exists(), reason=f"{CLIENTS.parent.parent} is missing; `make test` makes it"
)


@pytest.fixture(scope="module")
def clients(
    make_conf: Callable[[Path, str], ConfFolder], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """All of them at once: most of their time they import."""
    folder = tmp_path_factory.mktemp("libraries")
    with SimulatorProcess.start() as simulator:
        conf = make_conf(folder / "conf", simulator.url)
        conf.settings(endpoints={"model": {"model_server": {"url": f"{simulator.url}/invocations"}}})
        conf.endpoint("chat")
        conf.endpoint("emb", task="llm/v1/embeddings", model="text-embedding-3-small")
        conf.endpoint("complete", task="llm/v1/completions", model="gpt-3.5-turbo-instruct")
        conf.endpoint("model", {"name": "spam", "entity_name": "spam", "entity_version": "1"})
        conf.endpoint("locked", permissions=[{"user_name": "someone@example.com", "level": "CAN_QUERY"}])
        with serving(conf.path, folder / "home") as served:
            started = {name: _started(name, served, simulator, folder) for name in LIBRARIES}
            yield started
            for process in started.values():
                process.kill()
                process.wait(PATIENCE_S)


def _started(name: str, served: Served, simulator: SimulatorProcess, folder: Path) -> subprocess.Popen[str]:
    token = served.tokens.create("admin@example.com", ["admins"])
    own = {"DATABRICKS_HOST": served.url, "DATABRICKS_TOKEN": token, "AIQ_SIMULATOR": simulator.url}
    return clients_python(PROGRAM, name, folder=folder, own=own)


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_library_finds_what_it_expects(clients: dict[str, subprocess.Popen[str]], name: str) -> None:
    said, _ = clients[name].communicate(timeout=PATIENCE_S)
    assert clients[name].returncode == 0, said[-4000:]
