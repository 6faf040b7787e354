"""The JSON Schema of the configuration: the samples are valid, and what is wrong to the readers is wrong to it.

That it names what the readers name, and takes what they take, is seen to in every test of this folder (`schema_held`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from aiq.config.document import read_documents
from aiq.config.endpoints import read_endpoints
from aiq.config.secrets import SecretStore
from aiq.config.settings import read_settings
from aiq.errors import ConfigError
from tests.unit.config.schema_held import ENDPOINTS, SETTINGS, plain

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("path", sorted((ROOT / "conf" / "endpoints").iterdir()), ids=lambda path: path.name)
def test_the_sample_endpoints_are_valid(path: Path) -> None:
    for document in read_documents(str(path)):
        ENDPOINTS.validate(plain(document))


def test_the_sample_settings_are_valid() -> None:
    for document in read_documents(str(ROOT / "conf" / "aiq.yml")):
        SETTINGS.validate(plain(document))


MODEL = {
    "name": "m",
    "provider": "openai",
    "task": "llm/v1/chat",
    "openai_config": {"openai_api_key": "{{secrets/a/b}}"},
}


def endpoint(**changes: Any) -> dict[str, Any]:
    return {"name": "chat", "config": {"served_entities": [{"external_model": MODEL}]}, **changes}


def model(**changes: Any) -> dict[str, Any]:
    return endpoint(config={"served_entities": [{"external_model": {**MODEL, **changes}}]})


def gateway(**changes: Any) -> dict[str, Any]:
    return endpoint(ai_gateway=changes)


WRONG = {
    "a field that is unknown": endpoint(nmae="chat"),
    "an endpoint without models": {"name": "chat"},
    "no model": endpoint(config={"served_entities": []}),
    "an entity of nothing": endpoint(config={"served_entities": [{"name": "a"}]}),
    "a name with a space": endpoint(name="my chat"),
    "a bundle with a field of an endpoint": {"resources": {}, "tags": []},
    "a bundle's endpoint": {"resources": {"model_serving_endpoints": {"chat": {"name": "chat", "config": 1}}}},
    "a provider that is unknown": model(provider="opanai"),
    "a task that is unknown": model(task="chat"),
    "a task that the provider has not": model(
        provider="anthropic", task="llm/v1/embeddings", openai_config=None, anthropic_config={"anthropic_api_key": "k"}
    ),
    "the section of another provider": model(anthropic_config={"anthropic_api_key": "k"}),
    "no section": model(openai_config=None),
    "a field of another section": model(openai_config={"anthropic_api_key": "k"}),
    "a share above 100": endpoint(
        config={
            "served_entities": [{"external_model": MODEL}],
            "traffic_config": {"routes": [{"served_entity_name": "m", "traffic_percentage": 101}]},
        }
    ),
    "a limit of an hour in Databricks' place": gateway(rate_limits=[{"calls": 1, "renewal_period": "hour"}]),
    "a limit without a period": gateway(aiq={"rate_limits": [{"calls": 1}]}),
    "a limit below zero": gateway(aiq={"rate_limits": [{"cost_usd": -1, "renewal_period": "day"}]}),
    "text for true or false": gateway(fallback_config={"enabled": "yes, please"}),
    "a behavior that is unknown": gateway(guardrails={"input": {"pii": {"behavior": "HIDE"}}}),
    "an entity of personal data that is unknown": gateway(aiq={"guardrails": {"entities": ["EMAIL"]}}),
    "a score above 1": gateway(aiq={"guardrails": {"score_threshold": 2}}),
    "a level that is unknown": endpoint(permissions=[{"level": "CAN_ASK"}]),
    "what only Databricks can": endpoint(route_optimized=True),
}


def read_endpoint(folder: Path, value: Any) -> None:
    path = folder / "chat.yml"
    path.write_text(yaml.safe_dump(value), encoding="utf-8")
    list(read_endpoints(str(path), SecretStore(folder), {}))


def test_the_endpoint_that_wrong_ones_are_made_of_is_right(tmp_path: Path) -> None:
    read_endpoint(tmp_path, endpoint())
    ENDPOINTS.validate(endpoint())


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_wrong_to_both(tmp_path: Path, what: str) -> None:
    with pytest.raises(ConfigError):
        read_endpoint(tmp_path, WRONG[what])
    assert not ENDPOINTS.is_valid(WRONG[what])


@pytest.mark.parametrize(
    "value",
    [
        {"concurency": 1}, {"concurrency": 0}, {"concurrency": "many"}, {"transport": "curl"}, {"timeout_s": 0},
        {"progress": "no"}, {"prices": {"m": {"input_per_mtok": 1}}}, {"endpoints": {"chat": {"reuse": "always"}}},
        {"prices": {"m": {"input_per_mtok": 1, "output_per_mtok": 1, "above_input_tokens": 5}}},
        {"endpoints": {"chat": {"model_server": {"task": "custom"}}}}, {"volumes": {"Volumes": "x"}},
    ],
    ids=str,
)  # fmt: skip
def test_settings_that_are_wrong_are_wrong_to_both(tmp_path: Path, value: dict[str, Any]) -> None:
    path = tmp_path / "aiq.yml"
    path.write_text(yaml.safe_dump(value), encoding="utf-8")
    with pytest.raises(ConfigError):
        read_settings(str(path), SecretStore(tmp_path))
    assert not SETTINGS.is_valid(value)
