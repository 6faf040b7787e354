"""What `describe_endpoint` and `nearest` show."""

from __future__ import annotations

import json

from aiq.config.describe import describe_endpoint
from aiq.config.nearest import nearest

BODY = {
    "name": "chat",
    "description": "d",
    "config": {
        "served_entities": [
            {
                "name": "a",
                "external_model": {
                    "name": "m",
                    "provider": "openai",
                    "task": "llm/v1/chat",
                    "openai_config": {"openai_api_key": "{{secrets/s/k}}", "openai_api_type": "openai"},
                },
            },
            {
                "name": "b",
                "aiq": {"context_window": 128000},
                "external_model": {
                    "name": "m",
                    "provider": "custom",
                    "task": "llm/v1/chat",
                    "custom_provider_config": {
                        "custom_provider_url": "http://127.0.0.1:1/v1",
                        "api_key_auth": {"key": "X-Key", "value": "{{secrets/s/v}}"},
                    },
                },
            },
        ],
        "traffic_config": {
            "routes": [
                {"served_entity_name": "a", "traffic_percentage": 100},
                {"served_entity_name": "b", "traffic_percentage": 0},
            ]
        },
    },
    "ai_gateway": {
        "fallback_config": {"enabled": True},
        "usage_tracking_config": {"enabled": True},
        "inference_table_config": {
            "enabled": True,
            "catalog_name": "main",
            "schema_name": "aiq",
            "table_name_prefix": "chat",
        },
        "rate_limits": [{"calls": 5, "key": "user", "principal": "a", "renewal_period": "minute"}],
        "guardrails": {"input": {"pii": {"behavior": "MASK"}, "safety": True, "invalid_keywords": ["x"]}},
        "aiq": {
            "sticky": "user",
            "idle_timeout_s": 5.0,
            "rate_limits": [{"cost_usd": 2.5, "key": "endpoint", "renewal_period": "day"}],
            "guardrails": {
                "entities": ["EMAIL_ADDRESS"],
                "on_error": "allow",
                "safety": {"endpoint": "judge", "format": "moderation", "categories": ["hate"]},
            },
        },
    },
    "tags": [{"key": "team", "value": "x"}],
    "permissions": [{"level": "CAN_QUERY", "user_name": "a"}],
}
JUDGE = {"name": "judge", "config": {"served_entities": [BODY["config"]["served_entities"][0]]}}


def test_a_description_says_what_the_file_said(load):
    shape = describe_endpoint(load("endpoints/chat.json", json.dumps([BODY, JUDGE])).endpoints["chat"])
    assert shape.pop("id") and shape.pop("state") and shape.pop("task") == "llm/v1/chat"
    for entity in shape["config"]["served_entities"]:
        assert entity.pop("id")
    assert shape == BODY


def test_a_description_loads_as_the_same_endpoint(load):
    endpoint = load("endpoints/chat.json", json.dumps([BODY, JUDGE])).endpoints["chat"]
    again = load("endpoints/chat.json", json.dumps([describe_endpoint(endpoint), JUDGE])).endpoints["chat"]
    assert describe_endpoint(again) == describe_endpoint(endpoint)
    assert again.fingerprint == endpoint.fingerprint


def test_a_plain_secret_is_left_out(load):
    text = json.dumps([BODY, JUDGE]).replace('"value": "{{secrets/s/v}}"', '"value_plaintext": "hunter2"')
    shape = describe_endpoint(load("endpoints/chat.json", text).endpoints["chat"])
    assert shape["config"]["served_entities"][1]["external_model"]["custom_provider_config"]["api_key_auth"] == {
        "key": "X-Key"
    }


def test_the_query_of_a_url_is_left_out(load):
    text = json.dumps([BODY, JUDGE]).replace("127.0.0.1:1/v1", "127.0.0.1:1/v1?key=hunter2")
    assert "hunter2" not in json.dumps(describe_endpoint(load("endpoints/c.json", text).endpoints["chat"]))


def test_a_custom_model_is_described_with_its_server(load):
    body = {"name": "fraud", "config": {"served_entities": [{"entity_name": "fraud", "entity_version": "3"}]}}
    server = {"url": "http://127.0.0.1:1/invocations", "token": "{{secrets/s/t}}"}
    settings = json.dumps({"endpoints": {"fraud": {"model_server": server}}})
    config = load("endpoints/fraud.json", json.dumps(body), "aiq.yml", settings)
    entity = describe_endpoint(config.endpoints["fraud"])["config"]["served_entities"][0]
    assert (entity["entity_name"], entity["entity_version"], entity["model_server"]) == ("fraud", "3", server)


def test_the_nearest_name_is_suggested():
    assert nearest("chta", ["chat", "embeddings"]) == " Did you mean 'chat'?"
    assert nearest("CHAT", ["chat"]) == " Did you mean 'chat'?"
    assert nearest("zzz", ["chat"]) == ""
