"""When a conf folder counts as changed, and what becomes of one that cannot be read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aiq.config.reload import Reload


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "conf"
    (path / "endpoints").mkdir(parents=True)
    (path / "aiq.yml").write_text("concurrency: 1\n")
    return path


def rewrite(path: Path, text: str) -> None:
    """As editors do: a new file in the place of the old one, with a time of change of its own."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text)
    os.utime(fresh, ns=(0, path.stat().st_mtime_ns + 1 if path.exists() else 0))
    fresh.replace(path)


def test_a_folder_that_stays_as_it_is_is_not_read_again(folder: Path, tmp_path: Path) -> None:
    assert Reload(str(folder), tmp_path)() is None


def test_a_change_is_read_once(folder: Path, tmp_path: Path) -> None:
    reload = Reload(str(folder), tmp_path)
    rewrite(folder / "aiq.yml", "concurrency: 2\n")
    config = reload()
    assert config is not None and config.settings.concurrency == 2
    assert reload() is None


def test_a_new_file_is_a_change(folder: Path, tmp_path: Path) -> None:
    reload = Reload(str(folder), tmp_path)
    access = "openai_config: {openai_api_key_plaintext: sk-1}"
    model = f"{{name: gpt-4o-mini, provider: openai, task: llm/v1/chat, {access}}}"
    rewrite(
        folder / "endpoints" / "chat.yml",
        f"name: chat\nconfig: {{served_entities: [{{name: main, external_model: {model}}}]}}\n",
    )
    config = reload()
    assert config is not None and list(config.endpoints) == ["chat"]


def test_a_broken_file_is_said_once_and_changes_nothing(folder: Path, tmp_path: Path) -> None:
    reload = Reload(str(folder), tmp_path)
    rewrite(folder / "aiq.yml", "concurrency: many\n")
    with pytest.warns(UserWarning, match=r"aiq\.yml.*concurrency.*stays in force"):
        assert reload() is None
    assert reload() is None


def test_a_folder_that_is_gone_changes_nothing(folder: Path, tmp_path: Path) -> None:
    reload = Reload(str(folder), tmp_path)
    folder.rename(tmp_path / "elsewhere")
    with pytest.warns(UserWarning, match="does not exist.*stays in force"):
        assert reload() is None
