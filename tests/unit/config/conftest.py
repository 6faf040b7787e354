"""A conf folder that a test writes file by file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from aiq.config.endpoint import Config
from aiq.config.load import load_config
from tests.unit.config.schema_held import held

Load = Callable[..., Config]

ENDPOINT = """\
name: chat
config:
  served_entities:
    - name: a
      external_model:
        name: gpt-4o-mini
        provider: openai
        task: llm/v1/chat
        openai_config:
          openai_api_key: "{{secrets/openai/api_key}}"
"""


@pytest.fixture(autouse=True)
def held_to_the_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that says otherwise than the JSON Schema fails its test."""
    held(monkeypatch)


@pytest.fixture
def endpoint_yaml() -> str:
    """A REST create body of ten lines, to be changed by the test."""
    return ENDPOINT


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """`load("endpoints/chat.yml", text, ...)` writes the pairs into a conf folder and loads it."""

    def write_and_load(*pairs: str) -> Config:
        folder = tmp_path / "conf"
        (folder / "endpoints").mkdir(parents=True, exist_ok=True)
        for name, text in zip(pairs[::2], pairs[1::2], strict=True):
            (folder / name).write_text(text, encoding="utf-8")
        return load_config(folder, tmp_path / "home")

    return write_and_load


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """The folder that `load` writes to."""
    return tmp_path / "conf"
