"""Which folder is read, and which of its files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from aiq.config.load import load_config
from aiq.errors import ConfigError

CHAT = "endpoints/chat.yml"


def test_files_load_in_the_order_of_their_names(load, endpoint_yaml):
    files = [
        part
        for n, suffix in (("b", "yaml"), ("a", "yml"))
        for part in (f"endpoints/{n}.{suffix}", endpoint_yaml.replace("chat", n, 1))
    ]
    assert list(
        load(*files, "endpoints/c.json", json.dumps(yaml.safe_load(endpoint_yaml) | {"name": "c"})).endpoints
    ) == ["a", "b", "c"]


def test_hidden_files_and_other_suffixes_are_not_read(load, endpoint_yaml):
    config = load(CHAT, endpoint_yaml, "endpoints/.#chat.yml", "{", "endpoints/README.md", "{")
    assert list(config.endpoints) == ["chat"]


def test_an_endpoint_defined_twice_names_both_places(load, endpoint_yaml, conf):
    with pytest.raises(ConfigError) as caught:
        load(CHAT, endpoint_yaml, "endpoints/z.yml", "# second\n" + endpoint_yaml)
    assert str(caught.value).startswith(f"{conf / 'endpoints/z.yml'}:2: ")
    assert f"{conf / CHAT}:1" in str(caught.value)


def test_a_missing_default_folder_gives_the_defaults(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AIQ_CONF", raising=False)
    assert load_config(None, tmp_path).endpoints == {}


def test_a_missing_folder_that_was_asked_for_is_an_error(tmp_path: Path, monkeypatch):
    with pytest.raises(ConfigError, match="mkdir -p"):
        load_config(tmp_path / "none", tmp_path)
    monkeypatch.setenv("AIQ_CONF", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="AIQ_CONF"):
        load_config(None, tmp_path)


def test_an_empty_variable_names_no_folder(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIQ_CONF", "")
    assert load_config(None, tmp_path).endpoints == {}


def test_the_environment_names_the_folder(load, endpoint_yaml, conf, tmp_path, monkeypatch):
    load(CHAT, endpoint_yaml)
    monkeypatch.setenv("AIQ_CONF", str(conf))
    assert list(load_config(None, tmp_path).endpoints) == ["chat"]
