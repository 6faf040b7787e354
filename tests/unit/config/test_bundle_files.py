"""Asset Bundles: their endpoints, and the references that a file can answer itself."""

from __future__ import annotations

import pytest

from aiq.errors import ConfigError, UnsupportedConfigError

BUNDLE = """\
bundle: {name: shop}
include: [resources/*.yml]
variables:
  model: {description: which model, default: gpt-4o-mini}
  share: 100
  full_name: "${bundle.name}-${var.model}"
workspace: {host: https://example.cloud.databricks.com}
targets:
  dev: {mode: development, default: true}
resources:
  jobs:
    nightly: {name: nightly, tasks: []}
  schemas:
    logs: {catalog_name: main, name: logs}
  model_serving_endpoints:
    chat:
      name: ${bundle.name}-chat
      description: ${var.full_name}
      config:
        served_entities:
          - name: a
            external_model:
              name: ${var.model}
              provider: openai
              task: llm/v1/chat
              openai_config: {openai_api_key: "{{secrets/openai/api_key}}"}
        traffic_config:
          routes: [{served_entity_name: a, traffic_percentage: "${var.share}"}]
      ai_gateway:
        inference_table_config: {enabled: true, catalog_name: main, schema_name: "${resources.schemas.logs.name}"}
      lifecycle: {prevent_destroy: true}
"""


def test_a_whole_bundle_loads_and_its_other_sections_are_left_alone(load):
    assert list(load("endpoints/databricks.yml", BUNDLE).endpoints) == ["shop-chat"]


def test_bundle_variables_are_filled_in_with_their_defaults(load):
    endpoint = load("endpoints/databricks.yml", BUNDLE).endpoints["shop-chat"]
    assert endpoint.entities[0].model == "gpt-4o-mini"
    assert endpoint.description == "shop-gpt-4o-mini"
    assert endpoint.inference_table == "main.logs.shop-chat_payload"


def test_a_bundle_endpoint_says_the_line_of_its_key(load):
    assert load("endpoints/databricks.yml", BUNDLE).endpoints["shop-chat"].line == 16


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("${workspace.current_user.userName}", "${workspace.current_user.userName}"),
        ("${bundle.target}", "${bundle.target}"),
        ("${resources.schemas.logs.id}", "${resources.schemas.logs.id}"),
    ],
)
def test_a_reference_that_only_a_deployment_knows_is_refused_by_name(load, reference, words):
    with pytest.raises(UnsupportedConfigError) as caught:
        load("endpoints/d.yml", BUNDLE.replace("${var.full_name}", reference))
    assert words in str(caught.value)
    assert caught.value.field == "resources.model_serving_endpoints.chat.description"
    assert caught.value.line == 18


def test_an_unknown_variable_names_the_nearest_one(load):
    with pytest.raises(ConfigError, match="Did you mean 'model'"):
        load("endpoints/d.yml", BUNDLE.replace("name: ${var.model}", "name: ${var.modle}"))


def test_a_variable_that_refers_to_itself_is_an_error(load):
    with pytest.raises(ConfigError, match="refers to itself"):
        load("endpoints/d.yml", BUNDLE.replace("default: gpt-4o-mini", 'default: "${var.full_name}"'))


def test_a_variable_without_default_is_an_error(load):
    with pytest.raises(ConfigError, match="no default"):
        load("endpoints/d.yml", BUNDLE.replace(", default: gpt-4o-mini", ""))


def test_variables_that_multiply_are_stopped(load):
    steps = "".join(f"  v{i}: '{('${var.v' + str(i + 1) + '}') * 50}'\n" for i in range(8))
    text = BUNDLE.replace("  share: 100\n", f"  share: 100\n{steps}  v8: xxxxxxxxxx\n")
    with pytest.raises(ConfigError, match="64 KiB"):
        load("endpoints/d.yml", text.replace("description: ${var.full_name}", "description: ${var.v0}"))


def test_a_long_chain_of_variables_is_an_error(load):
    steps = "".join(f"  v{i}: '${{var.v{i + 1}}}'\n" for i in range(5000))
    text = BUNDLE.replace("  share: 100\n", f"  share: 100\n{steps}  v5000: x\n")
    with pytest.raises(ConfigError, match="more than 32 other references"):
        load("endpoints/d.yml", text.replace("description: ${var.full_name}", "description: ${var.v0}"))


def test_permissions_of_a_whole_bundle_are_refused(load):
    text = BUNDLE + "permissions: [{level: CAN_VIEW, group_name: all}]\n"
    with pytest.raises(UnsupportedConfigError, match="on each endpoint"):
        load("endpoints/d.yml", text)


def test_a_misspelt_resource_section_is_not_taken_for_another_resource(load):
    with pytest.raises(ConfigError, match="model_serving_endpoints"):
        load("endpoints/d.yml", BUNDLE.replace("model_serving_endpoints:", "model_serving_endpoint:"))
