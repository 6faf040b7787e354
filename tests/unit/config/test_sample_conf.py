"""The `conf` folder that newcomers read."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from aiq.config.connections import CustomConfig
from aiq.config.endpoint import RateLimit, Settings
from aiq.config.load import load_config

CONF = Path(__file__).parents[3] / "conf"


@pytest.fixture
def sample(tmp_path):
    return load_config(CONF, tmp_path)


def test_the_sample_settings_are_the_defaults(sample):
    assert sample.settings == Settings()


def test_the_sample_settings_name_every_setting():
    text = (CONF / "aiq.yml").read_text()
    assert [f.name for f in fields(Settings) if not re.search(rf"^(# )?{f.name}:", text, re.M)] == []


def test_the_commented_settings_load_when_they_are_switched_on(tmp_path):
    text = re.sub(r"^# ?(?=[ a-z_-]+: ?)", "", (CONF / "aiq.yml").read_text(), flags=re.M)
    lines = [line for line in text.splitlines() if not line.startswith(("ca_file", "#"))]
    (tmp_path / "endpoints").mkdir()
    (tmp_path / "aiq.yml").write_text("\n".join(lines))
    for path in (CONF / "endpoints").iterdir():
        (tmp_path / "endpoints" / path.name).write_text(path.read_text())
    (tmp_path / "endpoints" / "fraud.yml").write_text("name: fraud\nconfig: {served_entities: [{entity_name: f}]}\n")
    config = load_config(tmp_path, tmp_path)
    assert config.endpoints["fraud"].task == "custom"
    assert config.settings.endpoints["chat"].concurrency == 200
    assert config.settings.prices["my-model"].input_per_mtok == 0.15


def test_the_sample_chat_endpoint_falls_back_limits_and_records(sample):
    chat = sample.endpoints["chat"]
    assert [(e.model, e.traffic_percentage) for e in chat.entities] == [("gpt-4o-mini", 100), ("gpt-4.1-mini", 0)]
    assert (chat.fallback, chat.track_usage, chat.inference_table) == (True, True, "main.aiq.chat_payload")
    assert chat.rate_limits == (RateLimit(3000), RateLimit(600, "user"))


def test_the_sample_embeddings_endpoint_makes_embeddings(sample):
    assert sample.endpoints["embeddings"].task == "llm/v1/embeddings"


def test_the_sample_local_endpoint_needs_no_key(sample):
    assert sample.endpoints["local"].entities[0].config == CustomConfig("http://127.0.0.1:11434/v1")


def test_the_sample_gemini_endpoint_has_two_ways_to_a_model(sample):
    assert [(e.provider, e.traffic_percentage) for e in sample.endpoints["gemini"].entities] == [
        ("palm", 100),
        ("google-cloud-vertex-ai", 0),
    ]


def test_the_sample_claude_endpoint_asks_anthropic(sample):
    entity = sample.endpoints["claude"].entities[0]
    assert (entity.provider, entity.config.api_base) == ("anthropic", None)


def test_the_sample_azure_endpoint_asks_a_deployment(sample):
    config = sample.endpoints["azure"].entities[0].config
    assert (config.api_type, config.deployment_name, config.entra) == ("azure", "my-deployment", None)


def test_reading_a_configuration_imports_no_heavy_library(tmp_path):
    program = (
        "import sys; from aiq.config.load import load_config; load_config(sys.argv[1], sys.argv[2]); "
        "print([m for m in ('pydantic', 'keyring', 'duckdb', 'pyarrow', 'httpx') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(CONF), str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=CONF.parent,
        check=True,
    )
    assert done.stdout.strip() == "[]"
