"""`ai_gateway`, `rate_limits` and `permissions` of an endpoint: what its policy is.

A field that Databricks enforces and this version cannot is refused, never ignored: a limit or a guardrail
that only seems to hold is worse than none.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, cast

from aiq.config.document import Node
from aiq.config.endpoint import Permission, RateLimit

MAX_RATE_LIMITS = 20
_TABLE_PART = re.compile(r"[A-Za-z0-9_-]{1,255}")
_MAX_CALLS = 2**31 - 1
_LEVELS = ("CAN_VIEW", "CAN_QUERY", "CAN_MANAGE")
_PRINCIPALS = ("user_name", "group_name", "service_principal_name")


class GatewayPolicy(NamedTuple):
    """What `ai_gateway` says. `inference_table` is the payload table's full name."""

    rate_limits: tuple[RateLimit, ...] = ()
    fallback: bool = False
    track_usage: bool = False
    inference_table: str | None = None


def read_gateway(node: Node, endpoint: str) -> GatewayPolicy:
    """The `ai_gateway` section of `endpoint`."""
    members = node.fields(
        ("fallback_config", "guardrails", "inference_table_config", "rate_limits", "usage_tracking_config")
    )
    if "guardrails" in members:
        _refuse_guardrails(members["guardrails"])
    table = members.get("inference_table_config")
    limits = members.get("rate_limits")
    return GatewayPolicy(
        rate_limits=read_rate_limits(limits) if limits is not None else (),
        fallback=_enabled(members.get("fallback_config")),
        track_usage=_enabled(members.get("usage_tracking_config")),
        inference_table=_inference_table(table, endpoint) if table is not None else None,
    )


def _enabled(node: Node | None) -> bool:
    if node is None:
        return False
    enabled = node.fields(("enabled",)).get("enabled")
    return enabled is not None and enabled.boolean()


def _inference_table(node: Node, endpoint: str) -> str | None:
    members = node.fields(("enabled", "catalog_name", "schema_name", "table_name_prefix"))
    if "enabled" not in members or not members["enabled"].boolean():
        return None
    parts = [
        _table_part(node.required(members, "catalog_name", "the catalog of the payload table")),
        _table_part(node.required(members, "schema_name", "the schema of the payload table")),
        _table_part(members["table_name_prefix"]) if "table_name_prefix" in members else endpoint,
    ]
    return ".".join(parts) + "_payload"


def _table_part(node: Node) -> str:
    name = node.text()
    if not _TABLE_PART.fullmatch(name):
        node.fail(f"{name!r} takes letters, digits, _ and - only")
    return name


def read_rate_limits(node: Node) -> tuple[RateLimit, ...]:
    """`rate_limits`, of `ai_gateway` or the older one of the endpoint itself."""
    items = node.items()
    if len(items) > MAX_RATE_LIMITS:
        node.fail(f"an endpoint takes at most {MAX_RATE_LIMITS} rate limits, not {len(items)}")
    limits: dict[tuple[str, str | None], RateLimit] = {}
    lines: dict[tuple[str, str | None], int] = {}
    for item in items:
        limit = _read_rate_limit(item)
        scope = (limit.key, limit.principal)
        if scope in limits:
            whom = f"{limit.key} {limit.principal}" if limit.principal else limit.key
            item.fail(f"a second limit for {whom}, the first in line {lines[scope]}; keep one")
        limits[scope], lines[scope] = limit, item.line
    return tuple(limits.values())


def _read_rate_limit(item: Node) -> RateLimit:
    members = item.fields(("calls", "tokens", "key", "principal", "renewal_period"))
    if "calls" in members and "tokens" in members:
        members["tokens"].fail("give exactly one of calls and tokens; two limits are two entries")
    if "tokens" in members:
        members["tokens"].refuse("limits on tokens are not supported yet; limit calls")
    key = "endpoint"
    if "key" in members:
        key = members["key"].choice(("endpoint", "user", "user_group", "service_principal"))
        if key in ("user_group", "service_principal"):
            members["key"].refuse(f"limits with key {key} are not supported yet; use endpoint or user")
    period = item.required(members, "renewal_period", '"minute"')
    if period.text() != "minute":
        period.fail('expected "minute", the only period there is')
    calls = item.required(members, "calls", "the number of calls a minute").integer(0, _MAX_CALLS)
    principal = members.get("principal")
    if principal is not None and key == "endpoint":
        principal.fail("belongs to key user; a limit of the endpoint counts everybody's calls")
    return RateLimit(calls, cast(Literal["endpoint", "user"], key), principal.text() if principal is not None else None)


def _refuse_guardrails(node: Node) -> None:
    for side in node.fields(("input", "output")).values():
        filters = side.fields(("safety", "pii", "invalid_keywords", "valid_topics"))
        pii = filters.pop("pii", None)
        if pii is not None:
            behavior = pii.fields(("behavior",)).get("behavior")
            if behavior is not None and behavior.choice(("NONE", "BLOCK", "MASK")) != "NONE":
                behavior.refuse("guardrails are not supported yet; only NONE is accepted")
        if "safety" in filters and filters["safety"].boolean():
            filters["safety"].refuse("guardrails are not supported yet; only false is accepted")
        for name in ("invalid_keywords", "valid_topics"):
            if name in filters and filters[name].items():
                filters[name].refuse("guardrails are not supported yet; only an empty list is accepted")


def read_permissions(node: Node) -> tuple[Permission, ...]:
    """`permissions` of a bundle. An empty list lets nobody query."""
    permissions = []
    for item in node.items():
        members = item.fields(("level", *_PRINCIPALS))
        level = item.required(members, "level", f"one of {', '.join(_LEVELS)}").choice(_LEVELS)
        names = {name: members[name].text() for name in _PRINCIPALS if name in members}
        if len(names) != 1:
            item.fail(f"give exactly one of {', '.join(_PRINCIPALS)}")
        permissions.append(Permission(cast(Literal["CAN_VIEW", "CAN_QUERY", "CAN_MANAGE"], level), **names))
    return tuple(permissions)
