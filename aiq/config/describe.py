"""An endpoint in the words of Databricks' REST API, for people to read. Never shows a secret's value."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from aiq.config.endpoint import (
    CustomConfig,
    Endpoint,
    Failover,
    Guardrails,
    OpenAIConfig,
    RateLimit,
    Secret,
    ServedEntity,
    SideGuardrails,
)


def nearest(name: str, names: Collection[str]) -> str:
    """` Did you mean 'chat'?`, or "" when nothing is close. Starts with a space, to follow a full stop."""
    folded = {known.casefold(): known for known in names}
    close = difflib.get_close_matches(name.casefold(), folded, n=1)
    return f" Did you mean {folded[close[0]]!r}?" if close else ""


def describe_endpoint(endpoint: Endpoint) -> dict[str, Any]:
    """The endpoint as `GET /api/2.0/serving-endpoints/{name}` shows it.

    Secrets given as references are shown as `{{secrets/scope/key}}`, those given as plain text are left out.
    `permissions` is shown as a bundle writes it, which the REST API keeps elsewhere.
    """
    gateway: dict[str, Any] = {}
    if endpoint.fallback:
        gateway["fallback_config"] = {"enabled": True}
    if endpoint.track_usage:
        gateway["usage_tracking_config"] = {"enabled": True}
    if endpoint.inference_table is not None:
        catalog, schema, table = endpoint.inference_table.split(".")
        gateway["inference_table_config"] = {
            "enabled": True,
            "catalog_name": catalog,
            "schema_name": schema,
            "table_name_prefix": table.removesuffix("_payload"),
        }
    if endpoint.rate_limits:
        gateway["rate_limits"] = [_describe_limit(limit) for limit in endpoint.rate_limits]
    if endpoint.guardrails is not None:
        gateway["guardrails"] = {
            name: _describe_side(side)
            for name, side in (("input", endpoint.guardrails.input), ("output", endpoint.guardrails.output))
            if side.active
        }
    if own := _describe_own(endpoint):
        gateway["aiq"] = own
    shape: dict[str, Any] = {
        "name": endpoint.name,
        "id": endpoint.id,
        "task": endpoint.task,
        "description": endpoint.description,
        "state": {"ready": "READY", "config_update": "NOT_UPDATING"},
        "config": {
            "served_entities": [_describe_entity(entity) for entity in endpoint.entities],
            "traffic_config": {
                "routes": [
                    {"served_entity_name": e.name, "traffic_percentage": e.traffic_percentage}
                    for e in endpoint.entities
                ]
            },
        },
        "ai_gateway": gateway,
        "tags": [{"key": key, "value": value} for key, value in endpoint.tags],
    }
    if endpoint.permissions is not None:
        shape["permissions"] = [
            _given(
                level=p.level,
                user_name=p.user_name,
                group_name=p.group_name,
                service_principal_name=p.service_principal_name,
            )
            for p in endpoint.permissions
        ]
    return shape


def _describe_side(side: SideGuardrails) -> dict[str, Any]:
    shape: dict[str, Any] = {"pii": {"behavior": side.pii}, "safety": side.safety}
    if side.invalid_keywords:
        shape["invalid_keywords"] = list(side.invalid_keywords)
    if side.valid_topics:
        shape["valid_topics"] = list(side.valid_topics)
    return shape


def _describe_own(endpoint: Endpoint) -> dict[str, Any]:
    """`ai_gateway.aiq`: what differs from the defaults."""
    failover = {name: value for name, value in asdict(endpoint.failover).items() if value != getattr(Failover(), name)}
    shape: dict[str, Any] = dict(failover)
    if endpoint.aiq_rate_limits:
        shape["rate_limits"] = [_describe_limit(limit) for limit in endpoint.aiq_rate_limits]
    if endpoint.guardrails is not None and (guards := _describe_guards(endpoint.guardrails)):
        shape["guardrails"] = guards
    return shape


def _describe_guards(guardrails: Guardrails) -> dict[str, Any]:
    default = Guardrails()
    names = ("entities", "languages", "ner_model", "score_threshold", "timeout_s", "on_error", "log_blocked")
    shape: dict[str, Any] = {}
    for name in names:
        value = getattr(guardrails, name)
        if value != getattr(default, name):
            shape[name] = list(value) if isinstance(value, tuple) else value
    if guardrails.safety_endpoint is not None:
        categories = guardrails.safety_categories
        shape["safety"] = _given(
            endpoint=guardrails.safety_endpoint,
            format=guardrails.safety_format,
            categories=None if categories is None else list(categories),
        )
    if guardrails.topics_endpoint is not None:
        shape["topics"] = {"endpoint": guardrails.topics_endpoint}
    sides = {"input": guardrails.input.custom, "output": guardrails.output.custom}
    asked = [(name, side) for side, names in sides.items() for name in names]
    if asked:
        shape["custom"] = [{"endpoint": name, "side": side} for name, side in asked]
    return shape


def _describe_limit(limit: RateLimit) -> dict[str, Any]:
    period = {60: "minute", 3600: "hour", 86400: "day"}.get(limit.period_s)
    amount: dict[str, Any] = {limit.unit: limit.amount}
    return {**amount, **_given(key=limit.key, principal=limit.principal, tag=limit.tag, renewal_period=period)}


def _describe_entity(entity: ServedEntity) -> dict[str, Any]:
    shape: dict[str, Any] = {"id": entity.id, "name": entity.name}
    if entity.context_window is not None:
        shape["aiq"] = {"context_window": entity.context_window}
    config = entity.config
    if isinstance(config, OpenAIConfig):
        settings = _given(
            openai_api_key=_reference(config.api_key),
            openai_api_type=config.api_type,
            openai_api_base=_without_query(config.api_base),
            openai_api_version=config.api_version,
            openai_deployment_name=config.deployment_name,
            openai_organization=config.organization,
        )
        external: dict[str, Any] = {"openai_config": settings}
    elif isinstance(config, CustomConfig):
        settings = {"custom_provider_url": _without_query(config.url)}
        if config.bearer is not None:
            settings["bearer_token_auth"] = _given(token=_reference(config.bearer))
        if config.header is not None:
            settings["api_key_auth"] = _given(key=config.header[0], value=_reference(config.header[1]))
        external = {"custom_provider_config": settings}
    else:
        server = _given(url=_without_query(config.url), token=_reference(config.bearer))
        version = _given(entity_version=entity.entity_version)
        return {**shape, "entity_name": entity.model, **version, "model_server": server}
    name = {"name": entity.model, "provider": entity.provider, "task": entity.task}
    return {**shape, "external_model": {**name, **external}}


def _given(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _reference(secret: Secret | None) -> str | None:
    if secret is None or not secret.source.startswith("secrets/"):
        return None
    return "{{" + secret.source + "}}"


def _without_query(url: str | None) -> str | None:
    """Some gateways take their key in the query."""
    if url is None:
        return None
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, "..." if parts.query else "", ""))
