"""The command line as people run it: a process, in a folder of its own, beside a simulated provider."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

import aiq
from aiq.simulator.process import SimulatorProcess
from tests.prepared import prepared
from tests.processes import PATIENCE_S

SECRET = "sk-not-to-be-seen-4711"

ENDPOINTS = """\
resources:
  model_serving_endpoints:
    chat:
      name: chat
      config:
        served_entities:
          - external_model:
              name: gpt-4o-mini
              provider: openai
              task: llm/v1/chat
              openai_config:
                openai_api_base: {url}/v1
                openai_api_key: "{{{{secrets/sim/key}}}}"
      ai_gateway:
        usage_tracking_config: {{enabled: true}}
        inference_table_config: {{enabled: true, catalog_name: main, schema_name: aiq}}
    embeddings:
      name: embeddings
      config:
        served_entities:
          - external_model:
              name: text-embedding-3-small
              provider: openai
              task: llm/v1/embeddings
              openai_config:
                openai_api_base: {url}/v1
                openai_api_key_plaintext: {secret}
"""

Run = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="session")
def simulator() -> Iterator[SimulatorProcess]:
    with SimulatorProcess.start() as process:
        yield process


@pytest.fixture
def environment() -> dict[str, str]:
    """No proxy, key, or setting of the machine that runs the tests."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "SYSTEMROOT", "TMPDIR") if name in os.environ}
    root = str(Path(aiq.__file__).resolve().parent.parent)
    return {**kept, "PYTHONPATH": root, "AIQ_SECRET_SIM_KEY": SECRET, "PYTHONUTF8": "1", "AIQ_USER": "ann@example.com"}


@pytest.fixture
def folder(tmp_path: Path, simulator: SimulatorProcess) -> Path:
    """A working folder whose ./conf has the endpoints `chat` and `embeddings`."""
    endpoints = tmp_path / "conf" / "endpoints"
    endpoints.mkdir(parents=True)
    (endpoints / "sim.yml").write_text(ENDPOINTS.format(url=simulator.url, secret=SECRET))
    return tmp_path


@pytest.fixture
def run(folder: Path, environment: dict[str, str]) -> Run:
    """`aiq <arguments>` in the working folder."""

    def run(*arguments: str, stdin: str = "", **more: str) -> CompletedProcess[str]:
        words = ["-m", "aiq.cli", *arguments]
        return prepared().run(*words, stdin=stdin, cwd=folder, env={**environment, **more}, timeout=PATIENCE_S)

    return run
