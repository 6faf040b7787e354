"""Endpoint files: Asset Bundles, REST create bodies and REST GET answers become `Endpoint` values.

Reads Databricks' own shapes unmodified and refuses by name what cannot be honoured. Knows no wire format.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any

from aiq.config.connections import ModelServerConfig, Secret
from aiq.config.document import Node, read_documents
from aiq.config.endpoint import Endpoint, Guardrails, ServedEntity
from aiq.config.gateway_policy import GatewayPolicy, read_gateway, read_permissions, read_rate_limits
from aiq.config.nearest import nearest
from aiq.config.secrets import SecretStore
from aiq.config.served_entities import read_served_entities, stable_id
from aiq.config.variables import Variables

_NAME = re.compile(r"(?=.{1,63}$)[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+){0,2}")
"""With dots as of a model service: `system.ai.claude-haiku`."""
_ENDPOINT = (
    "name",
    "config",
    "ai_gateway",
    "rate_limits",
    "permissions",
    "tags",
    "description",
    "budget_policy_id",
    "email_notifications",
    "route_optimized",
    "telemetry_config",
)
_ONLY_OFF = ("budget_policy_id", "email_notifications", "route_optimized", "telemetry_config")
_READ_ONLY = (
    "id",
    "creator",
    "creator_display_name",
    "creator_kind",
    "creation_timestamp",
    "data_plane_info",
    "endpoint_type",
    "endpoint_url",
    "last_updated_timestamp",
    "pending_config",
    "permission_level",
    "state",
    "task",
)
"""What a GET answer adds to the create body."""
_DEPLOYMENT_ONLY = ("lifecycle",)
_BUNDLE = (
    "artifacts",
    "bundle",
    "definitions",
    "environments",
    "experimental",
    "include",
    "permissions",
    "presets",
    "python",
    "resources",
    "run_as",
    "scripts",
    "sync",
    "targets",
    "variables",
    "workspace",
)
_SECTION = "model_serving_endpoints"


def read_endpoints(path: str, store: SecretStore, model_servers: Mapping[str, ModelServerConfig]) -> Iterator[Endpoint]:
    """The endpoints of one file, in order. `model_servers` is by endpoint name, from `conf/aiq.yml`."""
    roots = read_documents(path)
    variables = Variables(roots)
    for root in roots:
        for node in root.items() if isinstance(root.value, list) else [root]:
            for endpoint in _endpoint_nodes(node, variables):
                yield _read_endpoint(endpoint, store, model_servers)


def name_fault(name: str) -> str:
    """What is wrong with an endpoint's name, or ""."""
    if _NAME.fullmatch(name):
        return ""
    return f"{name!r} is no endpoint name: 1 to 63 letters, digits, -, _, and dots between them"


def _endpoint_nodes(root: Node, variables: Variables) -> Iterator[Node]:
    members = root.mapping()
    if any(name in members for name in ("name", "config", "ai_gateway")):
        yield root
        return
    for name, member in members.items():
        if name not in _BUNDLE:
            member.fail(
                "is neither a section of an Asset Bundle nor a field of an endpoint."
                f"{nearest(name, (*_BUNDLE, *_ENDPOINT))} Expected resources.{_SECTION} or name, config."
            )
    if "permissions" in members and not members["permissions"].is_off():
        members["permissions"].refuse("a bundle's own permissions are not supported; write them on each endpoint")
    resources = members.get("resources")
    if resources is None or resources.value is None:
        return
    for name, member in resources.mapping().items():
        if name == _SECTION and member.value is not None:
            for endpoint in member.mapping().values():
                yield variables.substitute(endpoint)
        elif name != _SECTION and difflib.SequenceMatcher(None, name, _SECTION).ratio() > 0.85:
            member.fail(f"is not a kind of resource. Did you mean {_SECTION!r}?")


def _read_endpoint(node: Node, store: SecretStore, model_servers: Mapping[str, ModelServerConfig]) -> Endpoint:
    members = node.fields(_ENDPOINT, (*_READ_ONLY, *_DEPLOYMENT_ONLY))
    name_node = node.required(members, "name", "the endpoint's name")
    name = name_node.text()
    if fault := name_fault(name):
        name_node.fail(fault)
    for field in _ONLY_OFF:
        if field in members and not members[field].is_off():
            members[field].refuse("is not supported; leave it out")
    config = node.required(members, "config", "served_entities, and traffic_config with several of them")
    is_answer = any(field in node.mapping() for field in ("state", "creator"))
    entities = read_served_entities(config, _config_members(config, is_answer), name, store, model_servers.get(name))
    policy = read_gateway(members["ai_gateway"], name) if "ai_gateway" in members else GatewayPolicy()
    limits = policy.rate_limits
    if "rate_limits" in members:
        older = read_rate_limits(members["rate_limits"])
        if older and limits:
            members["rate_limits"].fail("give rate limits once: here (older) or in ai_gateway.rate_limits")
        limits = older or limits
    return Endpoint(
        name=name,
        id=stable_id(name),
        task=entities[0].task,
        entities=entities,
        fingerprint=_fingerprint(entities, policy.guardrails),
        rate_limits=limits,
        aiq_rate_limits=policy.aiq_rate_limits,
        fallback=policy.fallback,
        failover=policy.failover,
        guardrails=policy.guardrails,
        track_usage=policy.track_usage,
        inference_table=policy.inference_table,
        permissions=read_permissions(members["permissions"]) if "permissions" in members else None,
        tags=_read_tags(members["tags"]) if "tags" in members else (),
        description=_description(members.get("description")),
        file=node.file,
        line=node.line,
        config_version=_version(config),
    )


def _version(config: Node) -> int:
    node = config.mapping().get("config_version")
    return 1 if node is None or node.value is None else node.integer(1, 2**31)


def _config_members(config: Node, is_answer: bool) -> dict[str, Node]:
    members = config.fields(
        ("served_entities", "traffic_config", "served_models", "auto_capture_config"), ("config_version",)
    )
    older = members.pop("served_models", None)
    # A GET answer repeats its served_entities as served_models.
    if older is not None and not (is_answer and "served_entities" in members):
        older.refuse("is the older form and not supported; use served_entities")
    capture = members.pop("auto_capture_config", None)
    if capture is not None:
        enabled = capture.mapping().get("enabled")
        if not capture.is_off() and (enabled is None or not enabled.is_off()):
            capture.refuse("is the older form and not supported; use ai_gateway.inference_table_config")
    return members


def _description(node: Node | None) -> str:
    return "" if node is None or node.value == "" else node.text()


def _read_tags(node: Node) -> tuple[tuple[str, str], ...]:
    tags: dict[str, str] = {}
    for item in node.items():
        members = item.fields(("key", "value"))
        key_node = item.required(members, "key", "the tag's name")
        key, value = key_node.text(), members.get("value")
        if key in tags:
            key_node.fail(f"the tag {key!r} is given twice")
        tags[key] = "" if value is None or value.value == "" else value.text()
    return tuple(tags.items())


def _fingerprint(entities: tuple[ServedEntity, ...], guardrails: Guardrails | None) -> str:
    """32 hex digits over what is called and seen of it: no traffic, no limits, no secret's value, no order."""
    called: list[Any] = [
        {
            "name": e.name,
            "provider": e.provider,
            "model": e.model,
            "version": e.entity_version,
            "task": e.task,
            "config": _canonical(e.config),
        }
        for e in sorted(entities, key=lambda e: e.name)
    ]
    if guardrails is not None:  # an answer that was kept before a guard was set must not be found after it
        called.append(asdict(guardrails))
    text = json.dumps(called, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _canonical(value: object) -> Any:
    if isinstance(value, Secret):
        return value.source
    if is_dataclass(value):
        return {field.name: _canonical(getattr(value, field.name)) for field in fields(value)}
    return [_canonical(part) for part in value] if isinstance(value, tuple) else value
