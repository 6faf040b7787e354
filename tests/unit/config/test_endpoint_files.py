"""Endpoint files: the shapes that load, and what is wrong with the others, to the line."""

from __future__ import annotations

import json

import pytest

from aiq.config.connections import CustomConfig, ModelServerConfig, OpenAIConfig
from aiq.config.endpoint import Permission
from aiq.errors import ConfigError, UnsupportedConfigError
from aiq.request import Caller

KEY = 'openai_api_key: "{{secrets/openai/api_key}}"'
CHAT = "endpoints/chat.yml"


def test_a_rest_create_body_loads(load, endpoint_yaml, conf):
    endpoint = load(CHAT, endpoint_yaml).endpoints["chat"]
    entity = endpoint.entities[0]
    assert (endpoint.task, entity.provider, entity.model) == ("llm/v1/chat", "openai", "gpt-4o-mini")
    assert (entity.name, entity.traffic_percentage) == ("a", 100)
    assert (endpoint.file, endpoint.line) == (str(conf / CHAT), 1)


def test_an_endpoint_without_policy_is_open_and_records_nothing(load, endpoint_yaml):
    endpoint = load(CHAT, endpoint_yaml).endpoints["chat"]
    assert (endpoint.rate_limits, endpoint.fallback, endpoint.track_usage) == ((), False, False)
    assert (endpoint.inference_table, endpoint.permissions, endpoint.tags) == (None, None, ())


def test_a_list_of_bodies_loads(load, endpoint_yaml):
    body = json.dumps([_json_body("one"), _json_body("two")])
    assert list(load("endpoints/two.json", body).endpoints) == ["one", "two"]


def test_several_yaml_documents_load(load, endpoint_yaml):
    text = endpoint_yaml + "---\n" + endpoint_yaml.replace("chat", "chat2", 1)
    assert list(load(CHAT, text).endpoints) == ["chat", "chat2"]


def test_json_with_tabs_and_escaped_emoji_loads(load):
    text = json.dumps({**_json_body("j"), "description": "hi 😀"}, indent="\t")
    assert load("endpoints/j.json", text).endpoints["j"].description == "hi 😀"


def test_an_error_in_json_names_its_line(load):
    text = json.dumps({**_json_body("j"), "descripton": "x"}, indent=1)
    with pytest.raises(ConfigError) as caught:
        load("endpoints/j.json", text)
    assert text.splitlines()[caught.value.line - 1].strip().startswith('"descripton"')


def test_anchors_and_merge_keys_load(load):
    text = """\
name: chat
config:
  served_entities:
    - name: a
      external_model: &model
        name: m1
        provider: custom
        task: llm/v1/chat
        custom_provider_config: {custom_provider_url: "http://127.0.0.1:1/v1"}
    - name: b
      external_model: {<<: *model, name: m2}
  traffic_config: {routes: [{served_model_name: b, traffic_percentage: 100}]}
"""
    entities = load(CHAT, text).endpoints["chat"].entities
    assert [(e.model, e.traffic_percentage) for e in entities] == [("m1", 0), ("m2", 100)]


def test_a_get_answer_loads(load):
    body = _json_body("answer")
    body |= {
        "id": "0af3",
        "creator": "ada@example.com",
        "creation_timestamp": 1,
        "last_updated_timestamp": 2,
        "state": {"ready": "READY", "config_update": "NOT_UPDATING"},
        "pending_config": {"anything": 1},
        "permission_level": "CAN_MANAGE",
        "task": "llm/v1/chat",
        "endpoint_type": "EXTERNAL_MODEL",
        "endpoint_url": "https://example.com",
        "creator_display_name": "Ada",
        "creator_kind": "User",
        "route_optimized": False,
        "budget_policy_id": None,
        "email_notifications": {"on_update_success": [], "on_update_failure": []},
        "telemetry_config": {},
    }
    body["config"]["config_version"] = 3
    body["config"]["served_models"] = [{"name": "a"}]
    body["config"]["served_entities"][0] |= {"creator": "ada@example.com", "state": {}, "workload_size": "Small"}
    body["config"]["traffic_config"] = {
        "routes": [{"served_model_name": "a", "served_entity_name": "a", "traffic_percentage": 100}]
    }
    assert load("endpoints/answer.json", json.dumps(body)).endpoints["answer"].entities[0].name == "a"


def _json_body(name: str) -> dict:
    return {
        "name": name,
        "config": {
            "served_entities": [
                {
                    "name": "a",
                    "external_model": {
                        "name": "m",
                        "provider": "custom",
                        "task": "llm/v1/chat",
                        "custom_provider_config": {"custom_provider_url": "http://127.0.0.1:1/v1"},
                    },
                }
            ]
        },
    }


def test_an_entity_takes_its_name_from_the_model(load, endpoint_yaml):
    text = endpoint_yaml.replace("    - name: a\n      external", "    - external").replace("gpt-4o-mini", "gpt-4.1:x")
    assert load(CHAT, text).endpoints["chat"].entities[0].name == "gpt-4-1-x"


def test_azure_settings_load(load, endpoint_yaml):
    text = endpoint_yaml + (
        "          openai_api_type: azure\n"
        "          openai_api_base: https://x.openai.azure.com\n"
        "          openai_api_version: 2024-06-01\n"
        "          openai_deployment_name: mini\n"
    )
    config = load(CHAT, text).endpoints["chat"].entities[0].config
    assert isinstance(config, OpenAIConfig)
    assert (config.api_type, config.api_base) == ("azure", "https://x.openai.azure.com")
    assert (config.api_version, config.deployment_name) == ("2024-06-01", "mini")


CUSTOM = """\
name: local
config:
  served_entities:
    - name: a
      external_model:
        name: m
        provider: custom
        task: llm/v1/chat
        custom_provider_config:
          custom_provider_url: http://127.0.0.1:11434/v1
"""


def test_a_custom_server_may_ask_for_no_key(load):
    config = load("endpoints/local.yml", CUSTOM).endpoints["local"].entities[0].config
    assert config == CustomConfig("http://127.0.0.1:11434/v1")


def test_a_custom_server_may_take_its_key_in_a_header(load):
    text = CUSTOM + "          api_key_auth: {key: X-Key, value_plaintext: abc}\n"
    config = load("endpoints/local.yml", text).endpoints["local"].entities[0].config
    assert isinstance(config, CustomConfig) and config.header is not None
    assert (config.header[0], config.header[1].reveal(), config.bearer) == ("X-Key", "abc", None)


def test_a_custom_server_may_take_a_bearer_token(load):
    text = CUSTOM + "          bearer_token_auth: {token_plaintext: abc}\n"
    config = load("endpoints/local.yml", text).endpoints["local"].entities[0].config
    assert isinstance(config, CustomConfig) and config.bearer is not None
    assert config.bearer.reveal() == "abc"


FRAUD = """\
name: fraud
config:
  served_entities:
    - entity_name: ml.models.fraud
      entity_version: 3
      workload_size: Small
      scale_to_zero_enabled: true
"""


def test_a_custom_model_is_scored_where_the_settings_say(load):
    settings = "endpoints: {fraud: {model_server: {url: 'http://127.0.0.1:5001/invocations'}}}\n"
    endpoint = load("endpoints/fraud.yml", FRAUD, "aiq.yml", settings).endpoints["fraud"]
    entity = endpoint.entities[0]
    assert (endpoint.task, entity.provider, entity.model) == ("custom", "model-server", "ml.models.fraud")
    assert (entity.name, entity.entity_version) == ("ml-models-fraud-3", "3")
    assert entity.config == ModelServerConfig("http://127.0.0.1:5001/invocations")


def test_a_custom_model_without_a_server_says_which_setting_is_needed(load):
    with pytest.raises(UnsupportedConfigError, match=r"set endpoints\.fraud\.model_server to") as caught:
        load("endpoints/fraud.yml", FRAUD)
    assert (caught.value.line, caught.value.field) == (4, "config.served_entities[0].entity_name")


def test_external_and_custom_models_do_not_mix(load, endpoint_yaml):
    text = endpoint_yaml + "    - entity_name: m\n"
    settings = "endpoints: {chat: {model_server: {url: 'http://127.0.0.1:1/invocations'}}}\n"
    with pytest.raises(ConfigError, match="cannot stand behind one endpoint"):
        load(CHAT, text, "aiq.yml", settings)


def two_entities(endpoint_yaml: str, traffic: str = "") -> str:
    entity = "".join(endpoint_yaml.splitlines(keepends=True)[3:]).replace("name: a", "name: b")
    return endpoint_yaml + entity + traffic


def routes(*pairs: tuple[str, object]) -> str:
    lines = "".join(f"      - {{served_entity_name: {n}, traffic_percentage: {p}}}\n" for n, p in pairs)
    return "  traffic_config:\n    routes:\n" + lines


def test_an_entity_without_route_gets_no_traffic(load, endpoint_yaml):
    endpoint = load(CHAT, two_entities(endpoint_yaml, routes(("b", 100)))).endpoints["chat"]
    assert [e.traffic_percentage for e in endpoint.entities] == [0, 100]


@pytest.mark.parametrize(
    ("traffic", "line", "field", "words"),
    [
        ("", 2, "config.traffic_config", "is required with 2 entities"),
        (routes(("a", 60), ("b", 30)), 19, "config.traffic_config.routes", "add up to 90"),
        (routes(("a", 60), ("a", 40)), 21, "config.traffic_config.routes[1].served_entity_name", "has a route"),
        (routes(("aa", 100)), 20, "config.traffic_config.routes[0].served_entity_name", "Did you mean 'a'"),
        (routes(("a", 101)), 20, "config.traffic_config.routes[0].traffic_percentage", "from 0 to 100"),
        (routes(("a", "true")), 20, "config.traffic_config.routes[0].traffic_percentage", "true or false"),
    ],
)
def test_wrong_traffic_names_line_and_field(load, endpoint_yaml, conf, traffic, line, field, words):
    with pytest.raises(ConfigError) as caught:
        load(CHAT, two_entities(endpoint_yaml, traffic))
    assert str(caught.value).startswith(f"{conf / CHAT}:{line}: {field}: ")
    assert words in str(caught.value)


MODEL = "config.served_entities[0].external_model"
WRONG = [
    # what is replaced, by what, line, field, words of the message
    ("name: chat", "name: my chat", 1, "name", "letters, digits, -, _"),
    ("name: chat", f"name: {'x' * 64}", 1, "name", "1 to 63"),
    ("name: chat", "description: chat", 1, "name", "is required"),
    ("name: chat", "name: chat\nconfigg: {}", 2, "configg", "Did you mean 'config'"),
    ("name: chat", "name: chat\nname: b", 2, "name", "given twice, first in line 1"),
    ("name: chat", "name: chat\ntags: [{value: x}]", 2, "tags[0].key", "is required"),
    ("name: chat", "name: chat\ntags: {a: b}", 2, "tags", "expected a list"),
    ("name: chat", "name: chat\ntags: [{key: a, value: yes}]", 2, "tags[0].value", "in quotes"),
    ("name: chat", "name: !!python/name:os.system chat", 1, "name", "YAML tags"),
    ("    - name: a", "    - name: a b", 4, "config.served_entities[0].name", "letters, digits"),
    ("    - name: a", "    - nmae: a", 4, "config.served_entities[0].nmae", "Did you mean 'name'"),
    (
        "      external_model:",
        "      entity_name: m\n      external_model:",
        5,
        "config.served_entities[0].entity_name",
        "next to",
    ),
    ("provider: openai", "provider: opneai", 7, f"{MODEL}.provider", "Did you mean 'openai'"),
    ("        task: llm/v1/chat\n", "", 5, f"{MODEL}.task", "is required"),
    ("llm/v1/chat", "llm/v1/chats", 8, f"{MODEL}.task", "Did you mean 'llm/v1/chat'"),
    ("openai_config:", "cohere_config:", 9, f"{MODEL}.cohere_config", "does not belong to provider openai"),
    (KEY, "openai_organization: x", 9, f"{MODEL}.openai_config.openai_api_key", "exactly one"),
    (
        KEY,
        f"{KEY}\n          openai_api_key_plaintext: x",
        11,
        f"{MODEL}.openai_config.openai_api_key_plaintext",
        "exactly one",
    ),
    (
        KEY,
        f"{KEY}\n          openai_api_base: file:///etc",
        11,
        f"{MODEL}.openai_config.openai_api_base",
        "expected a URL",
    ),
    (
        KEY,
        f"{KEY}\n          openai_api_base: https://u:p@h/",
        11,
        f"{MODEL}.openai_config.openai_api_base",
        "user or a password",
    ),
    (KEY, f"{KEY}\n          openai_api_type: azure", 9, f"{MODEL}.openai_config.openai_api_base", "azure needs it"),
    (
        KEY,
        f"{KEY}\n          openai_deployment_name: a/b",
        11,
        f"{MODEL}.openai_config.openai_deployment_name",
        "letters",
    ),
    (KEY, 'openai_api_key: "{{secrets/k}}"', 10, f"{MODEL}.openai_config.openai_api_key", "{{secrets/<scope>/<key>}}"),
    (KEY, 'openai_api_key: "{{secrets/../k}}"', 10, f"{MODEL}.openai_config.openai_api_key", "start with a dot"),
    (KEY, "openai_api_key: sk-1", 10, f"{MODEL}.openai_config.openai_api_key", "openai_api_key_plaintext"),
]
REFUSED = [
    ("  served_entities:", "  served_models:", 3, "config.served_models", "use served_entities"),
    (
        "config:\n",
        "config:\n  auto_capture_config: {enabled: true}\n",
        3,
        "config.auto_capture_config",
        "inference_table_config",
    ),
    ("name: chat", "name: chat\nbudget_policy_id: b", 2, "budget_policy_id", "not supported"),
    ("name: chat", "name: chat\nroute_optimized: true", 2, "route_optimized", "not supported"),
    (
        "name: chat",
        "name: chat\nemail_notifications: {on_update_success: [a@b.c]}",
        2,
        "email_notifications",
        "not supported",
    ),
    ("name: chat", "name: chat\ntelemetry_config: {telemetry_profile_id: x}", 2, "telemetry_config", "not supported"),
    (
        "      external_model:",
        "      foundation_model: {name: x}\n      external_model:",
        5,
        "config.served_entities[0].foundation_model",
        "Databricks only",
    ),
]


def check(load, endpoint_yaml, conf, kind, old, new, line, field, words):
    assert old in endpoint_yaml
    with pytest.raises(ConfigError) as caught:
        load(CHAT, endpoint_yaml.replace(old, new, 1))
    assert type(caught.value) is kind
    assert str(caught.value).startswith(f"{conf / CHAT}:{line}: {field}: ")
    assert words in caught.value.reason


@pytest.mark.parametrize(("old", "new", "line", "field", "words"), WRONG)
def test_a_wrong_file_names_line_and_field(load, endpoint_yaml, conf, old, new, line, field, words):
    check(load, endpoint_yaml, conf, ConfigError, old, new, line, field, words)


@pytest.mark.parametrize(("old", "new", "line", "field", "words"), REFUSED)
def test_a_field_that_cannot_be_honoured_is_refused(load, endpoint_yaml, conf, old, new, line, field, words):
    check(load, endpoint_yaml, conf, UnsupportedConfigError, old, new, line, field, words)


def test_tasks_of_one_endpoint_are_the_same(load, endpoint_yaml):
    text = two_entities(endpoint_yaml, routes(("a", 100)))
    with pytest.raises(ConfigError, match="they must be the same"):
        load(CHAT, text[::-1].replace("llm/v1/chat"[::-1], "llm/v1/embeddings"[::-1], 1)[::-1])


def test_entities_of_one_endpoint_have_different_names(load, endpoint_yaml):
    text = two_entities(endpoint_yaml).replace("name: b", "name: a")
    with pytest.raises(ConfigError, match="first in line 4"):
        load(CHAT, text)


def test_more_than_fifteen_entities_are_too_many(load):
    body = _json_body("many")
    entity = body["config"]["served_entities"][0]
    body["config"]["served_entities"] = [{**entity, "name": f"e{i}"} for i in range(16)]
    with pytest.raises(ConfigError, match="1 to 15"):
        load("endpoints/many.json", json.dumps(body))


def test_a_file_of_another_kind_is_told_from_an_endpoint(load):
    with pytest.raises(ConfigError, match="Expected resources"):
        load(CHAT, "served_entities: []\n")


PERMISSIONS = (
    "permissions:\n  - {level: CAN_QUERY, group_name: analysts}\n  - {level: CAN_VIEW, user_name: eve@x.org}\n"
)


def test_permissions_say_who_may_query(load, endpoint_yaml):
    endpoint = load(CHAT, endpoint_yaml + PERMISSIONS).endpoints["chat"]
    assert endpoint.permissions == (
        Permission("CAN_QUERY", group_name="analysts"),
        Permission("CAN_VIEW", user_name="eve@x.org"),
    )
    assert endpoint.may_query(Caller("ada@x.org", ("analysts",)))
    assert not endpoint.may_query(Caller("eve@x.org"))


def test_an_empty_list_of_permissions_lets_nobody_query(load, endpoint_yaml):
    endpoint = load(CHAT, endpoint_yaml + "permissions: []\n").endpoints["chat"]
    assert not endpoint.may_query(Caller("ada@x.org"))


@pytest.mark.parametrize("entry", ["{level: CAN_QUERY}", "{level: CAN_QUERY, user_name: a, group_name: b}"])
def test_a_permission_is_for_exactly_one_principal(load, endpoint_yaml, entry):
    with pytest.raises(ConfigError, match="exactly one") as caught:
        load(CHAT, endpoint_yaml + f"permissions: [{entry}]\n")
    assert (caught.value.line, caught.value.field) == (11, "permissions[0]")


def test_an_unknown_level_names_the_nearest(load, endpoint_yaml):
    with pytest.raises(ConfigError, match="Did you mean 'CAN_QUERY'"):
        load(CHAT, endpoint_yaml + "permissions: [{level: CAN_QERY, user_name: a}]\n")


def test_ids_are_stable_for_a_name(load, endpoint_yaml):
    first = load(CHAT, endpoint_yaml).endpoints["chat"]
    second = load(CHAT, "description: other\n" + endpoint_yaml).endpoints["chat"]
    assert (first.id, first.entities[0].id) == (second.id, second.entities[0].id)


def test_the_fingerprint_does_not_change_with_order_traffic_limits_or_a_plain_secret(load, endpoint_yaml):
    plain = endpoint_yaml.replace(KEY, "openai_api_key_plaintext: one")
    first = load(CHAT, two_entities(plain, routes(("a", 100)))).endpoints["chat"]
    other = plain.replace("one", "two")
    body = other.replace("name: a", "name: b").splitlines(keepends=True)[3:]
    head = other.splitlines(keepends=True)
    moved = "".join([*head[:3], *body, *head[3:], routes(("b", 100))])
    limited = moved + "ai_gateway: {rate_limits: [{calls: 1, renewal_period: minute}]}\n"
    assert load(CHAT, limited).endpoints["chat"].fingerprint == first.fingerprint


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("gpt-4o-mini", "gpt-4o"),
        ("openai/api_key", "openai/other"),
        ("llm/v1/chat", "llm/v1/completions"),
        (KEY, f"{KEY}\n          openai_api_base: http://127.0.0.1:1/v1"),
    ],
)
def test_the_fingerprint_changes_with_what_is_called(load, endpoint_yaml, old, new):
    first = load(CHAT, endpoint_yaml).endpoints["chat"].fingerprint
    second = load(CHAT, endpoint_yaml.replace(old, new, 1)).endpoints["chat"].fingerprint
    assert len(first) == 32
    assert first != second
