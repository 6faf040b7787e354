"""`external_model` of every provider: Databricks' own fields, what `aiq` adds to them, and what is wrong."""

from __future__ import annotations

import json

import pytest

from aiq.config.connections import BedrockConfig, DatabricksConfig, EntraConfig, KeyConfig, OpenAIConfig, VertexConfig
from aiq.config.describe import describe_endpoint
from aiq.errors import ConfigError, SecretError, UnsupportedConfigError

FILE = "endpoints/chat.yml"
SECRET = "{{secrets/s/k}}"


def text(provider, section, settings, *, own="", task="llm/v1/chat"):
    lines = "".join(f"          {name}: {value!r}\n" for name, value in settings.items())
    extra = f"      aiq: {own}\n" if own else ""
    return (
        "name: chat\nconfig:\n  served_entities:\n    - name: main\n      external_model:\n        name: m\n"
        f"        provider: {provider}\n        task: {task}\n        {section}:\n{lines}{extra}"
    )


SECTIONS = {
    "anthropic": ("anthropic_config", {"anthropic_api_key": SECRET}),
    "cohere": ("cohere_config", {"cohere_api_key": SECRET}),
    "ai21labs": ("ai21labs_config", {"ai21labs_api_key": SECRET}),
    "palm": ("palm_config", {"palm_api_key": SECRET}),
    "amazon-bedrock": (
        "amazon_bedrock_config",
        {
            "aws_region": "us-east-1",
            "bedrock_provider": "anthropic",
            "aws_access_key_id": SECRET,
            "aws_secret_access_key": SECRET,
        },
    ),
    "google-cloud-vertex-ai": (
        "google_cloud_vertex_ai_config",
        {"project_id": "p", "region": "us-central1", "private_key": SECRET},
    ),
    "databricks-model-serving": (
        "databricks_model_serving_config",
        {"databricks_workspace_url": "https://w.test", "databricks_api_token": SECRET},
    ),
}


def config_of(load, provider, *, own="", **changes):
    section, settings = SECTIONS[provider]
    kept = {name: value for name, value in {**settings, **changes}.items() if value is not None}
    return load(FILE, text(provider, section, kept, own=own)).endpoints["chat"].entities[0].config


@pytest.mark.parametrize("provider", SECTIONS)
def test_a_providers_section_is_read_and_shown_again(load, provider):
    section, settings = SECTIONS[provider]
    endpoint = load(FILE, text(provider, section, settings)).endpoints["chat"]
    assert endpoint.entities[0].provider == provider
    shown = describe_endpoint(endpoint)["config"]["served_entities"][0]
    assert shown["external_model"][section] == settings


@pytest.mark.parametrize("provider", SECTIONS)
def test_a_plain_key_is_never_shown(load, provider):
    section, settings = SECTIONS[provider]
    plain = {
        (f"{name}_plaintext" if value == SECRET else name): ("sk-hidden" if value == SECRET else value)
        for name, value in settings.items()
    }
    endpoint = load(FILE, text(provider, section, plain)).endpoints["chat"]
    assert "sk-hidden" not in repr(endpoint) + str(describe_endpoint(endpoint))


@pytest.mark.parametrize("provider", SECTIONS)
def test_every_required_field_is_asked_for_by_name(load, provider):
    section, settings = SECTIONS[provider]
    for name in settings:
        rest = {other: value for other, value in settings.items() if other != name} or {"x": 1}
        with pytest.raises(ConfigError, match=name):
            load(FILE, text(provider, section, rest))


def test_a_task_that_a_provider_does_not_serve_is_refused(load):
    with pytest.raises(UnsupportedConfigError, match=r"provider anthropic has no llm/v1/embeddings"):
        load(FILE, text("anthropic", *SECTIONS["anthropic"], task="llm/v1/embeddings"))


def test_an_address_of_ones_own_stands_in_aiq(load):
    config = config_of(load, "anthropic", own="{api_base: 'http://127.0.0.1:9/'}")
    assert isinstance(config, KeyConfig) and config.api_base == "http://127.0.0.1:9"
    with pytest.raises(ConfigError, match="does not belong to provider cohere"):
        config_of(load, "cohere", own="{api_base: 'http://127.0.0.1:9'}")


def test_bedrock_takes_a_key_pair_or_an_api_key(load):
    pair = config_of(load, "amazon-bedrock")
    assert isinstance(pair, BedrockConfig) and pair.access_key_id is not None and pair.api_key is None
    own = f"{{api_key: '{SECRET}'}}"
    alone = {"aws_access_key_id": None, "aws_secret_access_key": None}
    key = config_of(load, "amazon-bedrock", own=own, **alone)
    assert isinstance(key, BedrockConfig) and key.api_key is not None and key.access_key_id is None
    with pytest.raises(ConfigError, match="only one of aws_access_key_id and api_key"):
        config_of(load, "amazon-bedrock", own=own)
    with pytest.raises(UnsupportedConfigError, match="works on Databricks only"):
        config_of(load, "amazon-bedrock", uc_service_credential_name="c")


@pytest.mark.parametrize("maker", ["grok", "meta", "mistral", "deepseek", "qwen"])
def test_bedrocks_makers_are_those_of_databricks_and_others(load, maker):
    assert config_of(load, "amazon-bedrock", bedrock_provider=maker).vendor == maker
    with pytest.raises(ConfigError, match="mistral"):
        config_of(load, "amazon-bedrock", bedrock_provider="mistrall")


def test_what_stands_in_aiq_for_bedrock_is_shown_again(load):
    own = "{credentials: instance, aws_role_arn: 'arn:aws:iam::123456789012:role/r', aws_external_id: e}"
    settings = {"aws_region": "us-east-1", "bedrock_provider": "meta"}
    endpoint = load(FILE, text("amazon-bedrock", "amazon_bedrock_config", settings, own=own)).endpoints["chat"]
    shown = describe_endpoint(endpoint)["config"]["served_entities"][0]
    assert shown["aiq"] == {
        "credentials": "instance", "aws_role_arn": "arn:aws:iam::123456789012:role/r", "aws_external_id": "e"
    }  # fmt: skip


def test_databricks_takes_a_token_or_a_service_principal(load):
    own = f"{{client_id: app, client_secret: '{SECRET}'}}"
    config = config_of(load, "databricks-model-serving", own=own, databricks_api_token=None)
    assert isinstance(config, DatabricksConfig) and config.client_id == "app" and config.api_token is None
    with pytest.raises(ConfigError, match="give one of both"):
        config_of(load, "databricks-model-serving", own=own)
    with pytest.raises(ConfigError, match="needs client_secret"):
        config_of(load, "databricks-model-serving", own="{client_id: app}", databricks_api_token=None)


AZURE = {
    "openai_api_type": "azuread",
    "openai_api_base": "https://r.openai.azure.com",
    "openai_api_version": "2024-10-21",
    "openai_deployment_name": "d",
    "microsoft_entra_tenant_id": "t",
    "microsoft_entra_client_id": "c",
    "microsoft_entra_client_secret": SECRET,
}


def test_azure_takes_the_tokens_of_an_entra_application(load):
    config = load(FILE, text("openai", "openai_config", AZURE)).endpoints["chat"].entities[0].config
    assert isinstance(config, OpenAIConfig) and isinstance(config.entra, EntraConfig)
    assert (config.entra.tenant_id, config.entra.client_id) == ("t", "c")
    assert config.entra.authority == "https://login.microsoftonline.com"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"openai_api_type": "azure"}, "belongs to openai_api_type azuread"),
        ({"openai_api_key": SECRET}, "give one of both"),
        ({"microsoft_entra_client_secret": None}, "microsoft_entra_client_secret"),
        ({"microsoft_entra_tenant_id": None}, "microsoft_entra_tenant_id"),
        ({"microsoft_entra_tenant_id": "a/../b"}, "takes letters"),
    ],
)
def test_half_an_entra_application_is_an_error(load, changes, words):
    settings = {name: value for name, value in {**AZURE, **changes}.items() if value is not None}
    with pytest.raises(ConfigError, match=words):
        load(FILE, text("openai", "openai_config", settings))


def test_a_region_cannot_write_into_a_host_name(load):
    for region in ("us-east-1.evil.test/", "US", "a@b"):
        with pytest.raises(ConfigError, match="lower-case letters"):
            config_of(load, "google-cloud-vertex-ai", region=region)


def test_a_service_accounts_key_may_have_several_lines(load, monkeypatch):
    key = '{\n  "type": "service_account"\n}'
    monkeypatch.setenv("AIQ_SECRET_S_K", key)
    assert config_of(load, "google-cloud-vertex-ai").private_key.reveal() == key
    section, settings = SECTIONS["google-cloud-vertex-ai"]
    plain = {**settings, "private_key_plaintext": "KEY"}
    del plain["private_key"]
    endpoint = load(FILE, text("google-cloud-vertex-ai", section, plain).replace("'KEY'", json.dumps(key)))
    assert endpoint.endpoints["chat"].entities[0].config.private_key.reveal() == key
    with pytest.raises(SecretError, match="line end"):
        config_of(load, "palm").api_key.reveal()
    monkeypatch.setenv("AIQ_SECRET_S_K", " \n")
    with pytest.raises(SecretError, match="is empty"):
        config_of(load, "google-cloud-vertex-ai").private_key.reveal()


def test_vertex_is_read(load):
    config = config_of(load, "google-cloud-vertex-ai")
    assert isinstance(config, VertexConfig) and (config.project_id, config.region) == ("p", "us-central1")
