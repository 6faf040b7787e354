"""`ai_gateway.aiq` of an endpoint file: how an entity is chosen and left; and an entity's own context window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from aiq.config.endpoint import Endpoint, FailoverConfig
from aiq.config.load import load_config
from aiq.errors import ConfigError


def read(tmp_path: Path, own: Any = None, entity: Any = None) -> Endpoint:
    model = {"name": "gpt-4o", "provider": "openai", "task": "llm/v1/chat"}
    model["openai_config"] = {"openai_api_key_plaintext": "sk-test"}
    served = {"name": "main", "external_model": model, **(entity or {})}
    body: dict[str, Any] = {"name": "chat", "config": {"served_entities": [served]}}
    if own is not None:
        body["ai_gateway"] = {"aiq": own}
    (tmp_path / "endpoints").mkdir(exist_ok=True)
    (tmp_path / "endpoints" / "chat.yml").write_text(yaml.safe_dump(body))
    return load_config(tmp_path, home=tmp_path / "home").endpoints["chat"]


def test_without_options_there_are_none(tmp_path: Path) -> None:
    assert read(tmp_path).failover == FailoverConfig("none", False, None, None)


def test_all_options_are_read(tmp_path: Path) -> None:
    own = {"sticky": "user", "hedging": True, "first_token_timeout_s": 10, "idle_timeout_s": 2.5}
    assert read(tmp_path, own).failover == FailoverConfig("user", True, 10.0, 2.5)


@pytest.mark.parametrize(
    ("own", "field"),
    [
        ({"sticky": "group"}, "sticky"),
        ({"hedging": "often"}, "hedging"),
        ({"first_token_timeout_s": 0}, "first_token_timeout_s"),
        ({"first_token_timeout_s": "soon"}, "first_token_timeout_s"),
        ({"idle_timeout_s": -1}, "idle_timeout_s"),
        ({"idle_timeout_s": float("nan")}, "idle_timeout_s"),
        ({"hedge": True}, "hedge"),
    ],
)
def test_a_wrong_option_names_its_field(tmp_path: Path, own: Any, field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, own)
    assert caught.value.field is not None and caught.value.field.endswith(f"aiq.{field}")


def test_an_entity_says_its_context_window(tmp_path: Path) -> None:
    assert read(tmp_path, entity={"aiq": {"context_window": 32_768}}).entities[0].context_window == 32_768


@pytest.mark.parametrize("window", [0, "large", 1.5])
def test_a_wrong_context_window_is_refused(tmp_path: Path, window: Any) -> None:
    with pytest.raises(ConfigError, match="context_window"):
        read(tmp_path, entity={"aiq": {"context_window": window}})


def test_what_is_called_does_not_change_with_how_it_is_chosen(tmp_path: Path) -> None:
    assert read(tmp_path).fingerprint == read(tmp_path, {"hedging": True, "sticky": "user"}).fingerprint
