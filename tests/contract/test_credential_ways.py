"""Every credential that docs/providers.md lists can be read and shown, and says what it needs before a call."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from aiq.cli.endpoints import validate
from aiq.config.cloud import missing_extra
from aiq.config.describe import describe_endpoint
from aiq.config.load import load_config
from aiq.transport.credentials import open_source
from tests.contract.credential_ways import SECTIONS, WAYS, Way


def folder_of(way: Way, path: Path) -> Path:
    section, settings = SECTIONS[way.provider]
    entity: dict[str, Any] = {
        "name": "main",
        "external_model": {
            "name": "m",
            "provider": way.provider,
            "task": "llm/v1/chat",
            section: {**settings, **way.section},
        },
        "aiq": way.own,
    }
    if not way.own:
        del entity["aiq"]
    (path / "endpoints").mkdir(parents=True)
    document = {"name": "cloud", "config": {"served_entities": [entity]}}
    (path / "endpoints" / "cloud.yml").write_text(yaml.safe_dump(document))
    return path


@pytest.mark.parametrize("way", WAYS, ids=[f"{way.provider}, {way.what}" for way in WAYS])
def test_a_credential_is_read_and_shown_as_it_was_written(way: Way, tmp_path: Path) -> None:
    endpoint = load_config(str(folder_of(way, tmp_path / "conf")), str(tmp_path / "home")).endpoints["cloud"]
    (shown,) = describe_endpoint(endpoint)["config"]["served_entities"]
    section, settings = SECTIONS[way.provider]
    assert shown["external_model"][section] == {**settings, **way.section}
    assert shown.get("aiq", {}) == way.own
    (entity,) = endpoint.entities
    assert (open_source(entity) is not None) == bool(way.extra)
    assert missing_extra(entity.config) is None


def test_a_path_starts_at_the_file_that_names_it_and_validate_says_that_nothing_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    way = Way("google-cloud-vertex-ai", "", {}, {"google_credentials_file": "key.json"}, "vertex")
    folder = folder_of(way, tmp_path / "conf")
    endpoint = load_config(str(folder), str(tmp_path / "home")).endpoints["cloud"]
    path = str(folder / "endpoints" / "key.json")
    assert getattr(endpoint.entities[0].config, "credentials").file == path  # noqa: B009
    validate(folder)
    assert f"takes its credentials from {path}, and there is no such file here" in capsys.readouterr().out
    Path(path).write_text("{}")
    validate(folder)
    assert "no such file" not in capsys.readouterr().out


WITHOUT = """
import sys
for name in ("botocore", "google.auth", "azure"):
    sys.modules[name] = None
from aiq.cli import main
sys.argv = ["aiq", "endpoints", "validate", sys.argv[1]]
main()
"""


@pytest.mark.parametrize(
    ("provider", "package", "extra"),
    [
        ("amazon-bedrock", "botocore", "bedrock"),
        ("google-cloud-vertex-ai", "google-auth", "vertex"),
        ("openai", "azure-identity", "azure"),
    ],
)
def test_validate_says_what_to_install(provider: str, package: str, extra: str, tmp_path: Path) -> None:
    way = next(way for way in WAYS if way.provider == provider and way.extra)
    folder = folder_of(way, tmp_path / "conf")
    ran = subprocess.run([sys.executable, "-c", WITHOUT, str(folder)], capture_output=True, text=True, cwd=tmp_path)
    wanted = (
        f"warning: served entity 'main' needs the package {package} for its credentials: pip install 'aiq[{extra}]'"
    )
    assert wanted in ran.stdout.replace("\n", " "), ran.stdout + ran.stderr
