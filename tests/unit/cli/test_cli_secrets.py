"""What `aiq endpoints validate` and `aiq doctor` say of secrets and homes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aiq.cli.app import app
from aiq.doctor import examine

ENDPOINT = """
resources:
  model_serving_endpoints:
    chat:
      name: chat
      config:
        served_entities:
          - name: main
            external_model:
              name: gpt-4o-mini
              provider: openai
              task: llm/v1/chat
              openai_config: {openai_api_base: "URL", openai_api_key: "{{secrets/openai/api_key}}"}
"""


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("AIQ_SECRET_OPENAI_API_KEY", "sk-1234")
    (tmp_path / "conf" / "endpoints").mkdir(parents=True)
    yield tmp_path / "conf"


def validate(conf: Path, url: str) -> tuple[int, str]:
    (conf / "endpoints" / "chat.yml").write_text(ENDPOINT.replace("URL", url))
    done = CliRunner().invoke(app, ["endpoints", "validate", str(conf), "--home", str(conf.parent / "home")])
    assert "sk-1234" not in done.output
    return done.exit_code, done.output


def test_an_official_key_at_another_host_is_warned_of(conf: Path) -> None:
    code, said = validate(conf, "https://evil.test/v1")
    assert code == 0 and "warning: secrets/openai/api_key is sent to evil.test" in said


def test_a_key_over_plain_http_is_an_error(conf: Path) -> None:
    code, said = validate(conf, "http://evil.test/v1")
    assert code == 1 and "over plain http" in said and "plain_http_hosts: [evil.test]" in said


def test_a_key_at_its_own_provider_or_on_this_machine_is_fine(conf: Path) -> None:
    for url in ("https://api.openai.com/v1", "http://127.0.0.1:9/v1"):
        code, said = validate(conf, url)
        assert code == 0 and "warning" not in said


def test_the_doctor_says_that_a_home_is_open(tmp_path: Path, conf: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    home.chmod(0o755)
    found = [check for check in examine(conf, home) if check.subject == "home folder" and check.result == "warn"]
    assert len(found) == 1 and "chmod 700" in found[0].advice
    home.chmod(0o700)
    assert not [check for check in examine(conf, home) if check.subject == "home folder" and check.result == "warn"]
