"""An endpoint in the words of Databricks' REST API, for people to read. Never shows a secret's value."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from aiq.config.describe_entity import describe_entity, given
from aiq.config.endpoint import Endpoint, FailoverConfig, Guardrails, RateLimit, SideGuardrails


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
            "served_entities": [describe_entity(entity) for entity in endpoint.entities],
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
            given(
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
    failover = {
        name: value for name, value in asdict(endpoint.failover).items() if value != getattr(FailoverConfig(), name)
    }
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
        shape["safety"] = given(
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
    return {**amount, **given(key=limit.key, principal=limit.principal, tag=limit.tag, renewal_period=period)}
