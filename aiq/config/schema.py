"""What may stand in an endpoint file and in `aiq.yml`, as JSON Schema: an editor completes it and marks what is wrong.

The readers decide: they also check what a schema cannot say (shares that add up to 100, names given twice, secrets that
are there). A test holds each name, choice and range here to what the readers take. Draft 7, which editors know best.
"""

from __future__ import annotations

from typing import Any

from aiq.config.endpoint import Price, Settings
from aiq.config.external_clouds import AWS_SOURCES, AZURE_SOURCES, BEDROCK_MAKERS, GOOGLE_SOURCES
from aiq.config.gateway_policy import MAX_RATE_LIMITS, PERIODS_S
from aiq.config.guardrails import ENTITIES
from aiq.config.reuse import MODES as REUSE_MODES
from aiq.config.served_entities import MAX_ENTITIES
from aiq.config.settings import MAX_CONCURRENCY, MAX_EMBEDDING_BATCH_ROWS

Json = dict[str, Any]

_DRAFT = "http://json-schema.org/draft-07/schema#"
_VARIABLE = r"^\$\{[^}]+\}$"
_REFERENCE: Json = {"type": "string", "pattern": _VARIABLE}
"""A variable of an Asset Bundle in the place of a value, which may be a mapping or a list."""
_ANY: Json = {}
_TEXT: Json = {"type": ["string", "number"], "minLength": 1}
_OFF: Json = {"$ref": "#/definitions/off"}
_OFF_DEFINITION: Json = {
    "description": "what switches nothing on",
    "enum": [None, False, "", [], {}],
}
_REUSE = f"^({'|'.join(''.join(f'[{c}{c.upper()}]' for c in mode) for mode in REUSE_MODES)})( .*)?$"
"""In any case."""
_TASKS = ("llm/v1/chat", "llm/v1/completions", "llm/v1/embeddings")
_READ_ONLY = (
    "id", "creator", "creator_display_name", "creator_kind", "creation_timestamp", "data_plane_info", "endpoint_type",
    "endpoint_url", "last_updated_timestamp", "lifecycle", "pending_config", "permission_level", "state", "task",
)  # fmt: skip
"""What a GET answer and a deployment add to an endpoint, and that changes nothing."""
_HOSTING = (
    "id", "state", "creator", "creation_timestamp", "burst_scaling_enabled", "environment_vars",
    "instance_profile_arn", "max_provisioned_concurrency", "max_provisioned_throughput", "min_provisioned_concurrency",
    "min_provisioned_throughput", "provisioned_model_units", "scale_to_zero_enabled", "workload_size", "workload_type",
)  # fmt: skip
"""The same of a served entity."""
_BUNDLE = (
    "artifacts", "bundle", "definitions", "environments", "experimental", "include", "permissions", "presets",
    "python", "resources", "run_as", "scripts", "sync", "targets", "variables", "workspace",
)  # fmt: skip


def endpoint_schema() -> Json:
    """Of a document of `endpoints/*`: an endpoint, a list of them, or an Asset Bundle."""
    document = {
        "if": {"anyOf": [{"required": [name]} for name in ("name", "config", "ai_gateway")]},
        "then": {"$ref": "#/definitions/endpoint"},
        "else": {"$ref": "#/definitions/bundle"},
    }
    return {
        "$schema": _DRAFT,
        "title": "Serving endpoints of aiq",
        "definitions": {
            "off": _OFF_DEFINITION,
            "document": {"type": "object", **document},
            "endpoint": _endpoint(),
            "bundle": _bundle(),
        },
        "anyOf": [{"$ref": "#/definitions/document"}, {"type": "array", "items": {"$ref": "#/definitions/document"}}],
    }


def settings_schema() -> Json:
    """Of `aiq.yml`."""
    seconds, price = _number(above=True), _price()
    own = _object(
        concurrency=_integer(1, MAX_CONCURRENCY),
        timeout_s=seconds,
        embedding_batch_rows=_integer(1, MAX_EMBEDDING_BATCH_ROWS),
        reuse={"type": ["string", "boolean"], "pattern": _REUSE},
        return_type=_TEXT,
        model_server=_object(
            ("url",), url=_TEXT, **_secret("token"), task=_choice("custom", "agent/v1/responses", "agent/v2/chat")
        ),
    )
    described: Json = {
        "concurrency": _integer(1, MAX_CONCURRENCY),
        "transport": _choice("pyreqwest", "httpx"),
        "connect_timeout_s": seconds,
        "read_timeout_s": seconds,
        "timeout_s": seconds,
        "max_response_bytes": _integer(1024, 2**31 - 1),
        "plain_http_hosts": _list(_TEXT),
        "credential_hosts": _list(_TEXT),
        "fetch_images": _boolean(),
        "retries": _integer(0, 1000),
        "retries_before_fallback": _integer(0, 1000),
        "embedding_batch_rows": _integer(1, MAX_EMBEDDING_BATCH_ROWS),
        "groups": _list(_TEXT),
        "error_field": _choice("result", "response"),
        "progress": _boolean(),
        "limits_store": _choice("file", "memory", "redis"),
        "storage_options": _map(_ANY),
        "prices": _map(price),
        "endpoints": _map(_nullable(own)),
        "alert_destinations": _map(_destination(seconds)),
        "webhook_hosts": _list(_TEXT),
        "catalogs": _map(_nullable(_TEXT)),
        "volumes": {**_map(_TEXT), "propertyNames": {"pattern": "^/"}},
    }
    return {
        "$schema": _DRAFT,
        "title": "Settings of aiq",
        **_object(**{name: described.get(name, _TEXT) for name in Settings.__dataclass_fields__}),
    }


def _destination(seconds: Json) -> Json:
    """Where an alert is sent: one of four kinds."""
    address = {"type": "string", "pattern": "@"}
    return _object(
        webhook=_object(("url",), url=_TEXT, headers=_map(_TEXT), body=_ANY),
        command=_object(("run",), run=_list(_TEXT), timeout_s=seconds),
        smtp=_object(
            ("host", "from"),
            host=_TEXT,
            **{"from": address},
            to={"anyOf": [address, _list(address)]},
            port=_integer(1, 65535),
            security=_choice("starttls", "tls", "none"),
            user=_TEXT,
            password=_TEXT,
        ),
        file=_object(("path",), path=_TEXT),
        destination_id=_TEXT,
    )


def _endpoint() -> Json:
    return _object(
        ("name", "config"),
        name={**_TEXT, "pattern": r"^(?=.{1,63}$)[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){0,2}$|\$\{"},
        description={"type": ["string", "number"]},
        config=_object(
            ("served_entities",),
            served_entities={**_list(_entity()), "minItems": 1, "maxItems": MAX_ENTITIES},
            traffic_config=_object(("routes",), routes=_list(_route())),
            served_models=_ANY,
            auto_capture_config=_ANY,
            config_version=_integer(1, 2**31),
        ),
        ai_gateway=_gateway(),
        rate_limits=_rate_limits(),
        permissions=_list(
            _object(
                ("level",),
                level=_choice("CAN_VIEW", "CAN_QUERY", "CAN_MANAGE"),
                user_name=_TEXT,
                group_name=_TEXT,
                service_principal_name=_TEXT,
            )
        ),
        tags=_list(_object(("key",), key=_TEXT, value={"type": ["string", "number"]})),
        budget_policy_id=_OFF,
        email_notifications=_ANY,
        route_optimized=_OFF,
        telemetry_config=_ANY,
        **dict.fromkeys(_READ_ONLY, _ANY),
    )


def _route() -> Json:
    share = _integer(0, 100)
    return _object(("traffic_percentage",), served_entity_name=_TEXT, served_model_name=_TEXT, traffic_percentage=share)


def _entity() -> Json:
    own = _object(
        context_window=_integer(1, 10**9),
        headers=_map(_TEXT),
        tls=_object(client_certificate=_TEXT, client_key=_TEXT, ca_file=_TEXT),
        api_base=_TEXT,
        **_secret("api_key"),
        credentials={"anyOf": [_choice(*sources) for sources in (AWS_SOURCES, GOOGLE_SOURCES, AZURE_SOURCES)]},
        **_secret("aws_session_token"),
        aws_profile=_TEXT,
        aws_role_arn=_TEXT,
        aws_role_session_name=_TEXT,
        aws_external_id=_TEXT,
        aws_web_identity_token_file=_TEXT,
        google_credentials_file=_TEXT,
        azure_federated_token_file=_TEXT,
        authority=_TEXT,
        client_id=_TEXT,
        **_secret("client_secret"),
        responses=_boolean(),
    )
    return {
        **_object(
            name={**_TEXT, "pattern": r"^[A-Za-z0-9_-]{1,63}$|\$\{"},
            external_model=_external_model(),
            entity_name=_TEXT,
            entity_version=_TEXT,
            foundation_model={"type": "null"},
            aiq=own,
            **dict.fromkeys(_HOSTING, _ANY),
        ),
        "anyOf": [{"required": ["external_model"]}, {"required": ["entity_name"]}],
    }


def _external_model() -> Json:
    """The provider decides which section there is, and which tasks."""
    one_key = {"anthropic": "anthropic_config", "ai21labs": "ai21labs_config", "palm": "palm_config"}
    region = {"type": "string", "pattern": r"^[a-z0-9-]{2,32}$|\$\{"}
    sections: Json = {
        "openai_config": _object(
            **_secret("openai_api_key"),
            openai_api_type=_choice("openai", "azure", "azuread"),
            openai_api_base=_TEXT,
            openai_api_version=_TEXT,
            openai_deployment_name=_TEXT,
            openai_organization=_TEXT,
            microsoft_entra_tenant_id=_TEXT,
            microsoft_entra_client_id=_TEXT,
            **_secret("microsoft_entra_client_secret"),
        ),
        "custom_provider_config": _object(
            ("custom_provider_url",),
            custom_provider_url=_TEXT,
            api_key_auth=_object(("key",), key=_TEXT, **_secret("value")),
            bearer_token_auth=_object(**_secret("token")),
        ),
        "cohere_config": _object(**_secret("cohere_api_key"), cohere_api_base=_TEXT),
        "amazon_bedrock_config": _object(
            ("aws_region", "bedrock_provider"),
            aws_region=region,
            bedrock_provider=_choice(*BEDROCK_MAKERS),
            **_secret("aws_access_key_id"),
            **_secret("aws_secret_access_key"),
            instance_profile_arn=_TEXT,
            uc_service_credential_name={"type": "null"},
        ),
        "google_cloud_vertex_ai_config": _object(
            ("project_id", "region"), project_id=_TEXT, region=region, **_secret("private_key")
        ),
        "databricks_model_serving_config": _object(
            ("databricks_workspace_url",), databricks_workspace_url=_TEXT, **_secret("databricks_api_token")
        ),
        **{section: _object(**_secret(f"{provider}_api_key")) for provider, section in one_key.items()},
    }
    of_provider = {
        "openai": "openai_config",
        "custom": "custom_provider_config",
        "cohere": "cohere_config",
        "amazon-bedrock": "amazon_bedrock_config",
        "google-cloud-vertex-ai": "google_cloud_vertex_ai_config",
        "databricks-model-serving": "databricks_model_serving_config",
        **one_key,
    }
    chat_only = ("anthropic", "ai21labs")
    all_tasks = ("openai", "custom", "databricks-model-serving")
    rules = []
    for provider, section in of_provider.items():
        tasks = _TASKS if provider in all_tasks else _TASKS[:1] if provider in chat_only else (_TASKS[0], _TASKS[2])
        others = {other: {"type": "null"} for other in sections if other != section}
        there = {section: {"not": {"type": "null"}}}
        then: Json = {"required": [section], "properties": {"task": _choice(*tasks), **there, **others}}
        is_one = {"properties": {"provider": {"const": provider}}, "required": ["provider"]}
        rules.append({"if": is_one, "then": then})
    names = _object(("name", "provider", "task"), name=_TEXT, provider=_choice(*of_provider), task=_choice(*_TASKS))
    names["properties"].update({section: _nullable(shape) for section, shape in sections.items()})
    return {**names, "allOf": rules}


def _gateway() -> Json:
    enabled = _object(enabled=_boolean())
    side = _object(
        safety=_boolean(),
        pii=_object(behavior=_choice("NONE", "BLOCK", "MASK")),
        invalid_keywords=_list(_TEXT),
        valid_topics=_list(_TEXT),
    )
    own_guardrails = _object(
        custom=_list(_object(("endpoint",), endpoint=_TEXT, side=_choice("input", "output", "both"))),
        entities={**_list(_choice(*ENTITIES)), "minItems": 1},
        languages={**_list({"type": "string", "pattern": r"^[a-z]{2}$|\$\{"}), "minItems": 1},
        log_blocked=_boolean(),
        ner_model=_TEXT,
        on_error=_choice("block", "allow"),
        safety=_object(categories=_list(_TEXT), endpoint=_TEXT, format=_choice("llama-guard", "moderation")),
        score_threshold=_number(most=1),
        timeout_s=_number(above=True),
        topics=_object(endpoint=_TEXT),
    )
    return _object(
        aiq=_object(
            guardrails=own_guardrails,
            rate_limits=_rate_limits(own=True),
            sticky=_choice("user", "client_request_id", "none"),
            hedging=_boolean(),
            first_token_timeout_s=_number(above=True),
            idle_timeout_s=_number(above=True),
        ),
        fallback_config=enabled,
        guardrails=_object(input=side, output=side),
        inference_table_config=_object(
            enabled=_boolean(), catalog_name=_TEXT, schema_name=_TEXT, table_name_prefix=_TEXT
        ),
        rate_limits=_rate_limits(),
        usage_tracking_config=enabled,
    )


def _rate_limits(*, own: bool = False) -> Json:
    """`own`: those that Databricks has no words for."""
    most = 2**31 - 1
    keys = ("endpoint", "user", "user_group", "service_principal")
    if not own:
        minute = _object(
            ("renewal_period",),
            calls=_integer(0, most),
            tokens=_integer(0, most),
            key=_choice(*keys),
            principal=_TEXT,
            renewal_period=_choice("minute"),
        )
        return {**_list(minute), "maxItems": MAX_RATE_LIMITS}
    limit = _object(
        calls=_integer(0, most),
        tokens=_integer(0, most),
        input_tokens=_integer(0, most),
        output_tokens=_integer(0, most),
        concurrency=_integer(1, most),
        cost_usd=_number(most=1e6),
        key=_choice(*keys, "usage_context"),
        principal=_TEXT,
        tag=_TEXT,
        renewal_period=_choice(*PERIODS_S),
    )
    return _list({**limit, "anyOf": [{"required": ["renewal_period"]}, {"required": ["concurrency"]}]})


def _price() -> Json:
    """The fields of `Price`, but for those that only a tier has or that a tier has not."""
    apart = ("above_input_tokens", "tiers", "service_tiers")
    dollars = {name: _number() for name in Price.__dataclass_fields__ if name not in apart}
    base = ("input_per_mtok", "output_per_mtok")
    tier = _object((*base, "above_input_tokens"), above_input_tokens=_integer(1, 10**9), **dollars)
    return _object(base, tiers=_list(tier), service_tiers=_map(_number()), **dollars)


def _bundle() -> Json:
    endpoints = _map(_nullable({"$ref": "#/definitions/endpoint"}))
    resources = {"type": "object", "properties": {"model_serving_endpoints": _nullable(endpoints)}}
    return _object(**{**dict.fromkeys(_BUNDLE, _ANY), "resources": resources})


def _object(required: tuple[str, ...] = (), /, **fields: Json) -> Json:
    """A mapping of these fields and no others; one without a value is as good as absent, unless it is required."""
    return {
        "type": ["object", "string"],
        "pattern": _VARIABLE,
        "properties": {name: shape if name in required else _nullable(shape) for name, shape in fields.items()},
        "required": list(required),
        "additionalProperties": False,
    }


def _nullable(shape: Json) -> Json:
    return {"anyOf": [shape, {"type": "null"}]} if shape else shape


def _map(shape: Json) -> Json:
    return {"type": "object", "additionalProperties": shape}


def _list(shape: Json) -> Json:
    return {"type": ["array", "string"], "pattern": _VARIABLE, "items": shape}


def _choice(*options: str) -> Json:
    return {"anyOf": [{"enum": list(options)}, _REFERENCE]}


def _boolean() -> Json:
    return {"anyOf": [{"type": "boolean"}, _REFERENCE]}


def _integer(low: int, high: int) -> Json:
    return {"anyOf": [{"type": "integer", "minimum": low, "maximum": high}, _REFERENCE]}


def _number(*, above: bool = False, most: float | None = None) -> Json:
    """From zero, or above it."""
    bounds: Json = {"exclusiveMinimum": 0} if above else {"minimum": 0}
    if most is not None:
        bounds["maximum"] = most
    return {"anyOf": [{"type": "number", **bounds}, _REFERENCE]}


def _secret(name: str) -> Json:
    """A reference to a secret, or its text: one of the two."""
    return {name: _TEXT, f"{name}_plaintext": _TEXT}
