"""`ai_gateway`, `rate_limits` and `permissions` of an endpoint: what its policy is.

A field that Databricks enforces and this version cannot is refused, never ignored: a limit or a guardrail
that only seems to hold is worse than none.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, cast

from aiq.config.document import Node
from aiq.config.endpoint import FailoverConfig, Guardrails, LimitKey, LimitUnit, Permission, RateLimit
from aiq.config.guardrails import read_guardrails

MAX_RATE_LIMITS = 20
MAX_GROUP_LIMITS = 5
PERIODS_S = {"minute": 60, "hour": 3600, "day": 86400}
_TABLE_PART = re.compile(r"[A-Za-z0-9_-]{1,255}")
_MAX_AMOUNT = 2**31 - 1
_MAX_USD = 1e6
_DATABRICKS_UNITS: tuple[LimitUnit, ...] = ("calls", "tokens")
_UNITS: tuple[LimitUnit, ...] = (*_DATABRICKS_UNITS, "input_tokens", "output_tokens", "concurrency", "cost_usd")
_DATABRICKS_KEYS: tuple[LimitKey, ...] = ("endpoint", "user", "user_group", "service_principal")
_LEVELS = ("CAN_VIEW", "CAN_QUERY", "CAN_MANAGE")
_STICKY = ("user", "client_request_id", "none")
_FAILOVER = tuple(FailoverConfig.__dataclass_fields__)
_PRINCIPALS = ("user_name", "group_name", "service_principal_name")


class GatewayPolicy(NamedTuple):
    """What `ai_gateway` says. `inference_table` is the payload table's full name."""

    rate_limits: tuple[RateLimit, ...] = ()
    aiq_rate_limits: tuple[RateLimit, ...] = ()
    fallback: bool = False
    track_usage: bool = False
    inference_table: str | None = None
    guardrails: Guardrails | None = None
    failover: FailoverConfig = FailoverConfig()


def read_gateway(node: Node, endpoint: str) -> GatewayPolicy:
    """The `ai_gateway` section of `endpoint`."""
    members = node.fields(
        ("aiq", "fallback_config", "guardrails", "inference_table_config", "rate_limits", "usage_tracking_config")
    )
    guardrails = read_guardrails(members.get("guardrails"), members.get("aiq"))
    table = members.get("inference_table_config")
    limits = members.get("rate_limits")
    extra = members["aiq"].fields(("guardrails", "rate_limits", *_FAILOVER)) if "aiq" in members else {}
    own = extra.get("rate_limits")
    return GatewayPolicy(
        rate_limits=read_rate_limits(limits) if limits is not None else (),
        aiq_rate_limits=read_rate_limits(own, own=True) if own is not None else (),
        fallback=_enabled(members.get("fallback_config")),
        track_usage=_enabled(members.get("usage_tracking_config")),
        inference_table=_inference_table(table, endpoint) if table is not None else None,
        guardrails=guardrails,
        failover=_read_failover(extra),
    )


def _enabled(node: Node | None) -> bool:
    if node is None:
        return False
    enabled = node.fields(("enabled",)).get("enabled")
    return enabled is not None and enabled.boolean()


def _read_failover(members: dict[str, Node]) -> FailoverConfig:
    first, idle = members.get("first_token_timeout_s"), members.get("idle_timeout_s")
    return FailoverConfig(
        sticky=cast(
            Literal["user", "client_request_id", "none"],
            members["sticky"].choice(_STICKY) if "sticky" in members else "none",
        ),
        hedging=members["hedging"].boolean() if "hedging" in members else False,
        first_token_timeout_s=first.number("a number of seconds") if first is not None else None,
        idle_timeout_s=idle.number("a number of seconds") if idle is not None else None,
    )


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


def read_rate_limits(node: Node, *, own: bool = False) -> tuple[RateLimit, ...]:
    """`rate_limits`, of `ai_gateway` or the older one of the endpoint itself; `own` are those of `ai_gateway.aiq`."""
    items = node.items()
    if len(items) > MAX_RATE_LIMITS and not own:
        node.fail(f"an endpoint takes at most {MAX_RATE_LIMITS} rate limits, not {len(items)}")
    seen: dict[object, int] = {}
    limits = []
    for item in items:
        limit = _read_own_limit(item) if own else _read_rate_limit(item)
        scope = (limit.key, limit.principal, limit.unit, limit.period_s, limit.tag)
        if limit.key == "service_principal":  # a caller looks like a user of the same name
            scope = ("user", *scope[1:])
        if scope in seen:
            whom = " ".join(word for word in (limit.key, limit.tag, limit.principal) if word)
            item.fail(f"a second limit of {limit.unit} for {whom}, the first in line {seen[scope]}; keep one")
        seen[scope] = item.line
        limits.append(limit)
    groups = sum(limit.key == "user_group" for limit in limits)
    if groups > MAX_GROUP_LIMITS and not own:
        node.fail(f"an endpoint takes at most {MAX_GROUP_LIMITS} limits of groups, not {groups}")
    return tuple(limits)


def _read_rate_limit(item: Node) -> RateLimit:
    """An entry as Databricks has it: calls or tokens a minute."""
    members = item.fields((*_DATABRICKS_UNITS, "key", "principal", "renewal_period"))
    unit, amount = _amount(item, members, _DATABRICKS_UNITS)
    period = item.required(members, "renewal_period", '"minute"')
    if period.text() != "minute":
        period.fail('expected "minute", the only period there is; hours and days go into ai_gateway.aiq.rate_limits')
    key, principal = _scope(item, members, _DATABRICKS_KEYS)
    return RateLimit(amount, key, principal, unit)


def _read_own_limit(item: Node) -> RateLimit:
    members = item.fields((*_UNITS, "key", "principal", "tag", "renewal_period"))
    unit, amount = _amount(item, members, _UNITS)
    period_s, period = 0, members.get("renewal_period")
    if unit != "concurrency":
        expected = f"one of {', '.join(PERIODS_S)}"
        period_s = PERIODS_S[item.required(members, "renewal_period", expected).choice(PERIODS_S)]
    elif period is not None:
        period.fail("does not belong to concurrency, which counts what is in flight at once; leave it out")
    key, principal = _scope(item, members, (*_DATABRICKS_KEYS, "usage_context"))
    tag = members.get("tag")
    if key == "usage_context":
        tag = item.required(members, "tag", "the name of a tag of usage_context, each value of which has the limit")
    elif tag is not None:
        tag.fail("belongs to key usage_context")
    return RateLimit(amount, key, principal, unit, period_s, tag.text() if tag is not None else None)


def _amount(item: Node, members: dict[str, Node], units: tuple[LimitUnit, ...]) -> tuple[LimitUnit, float]:
    given = [unit for unit in units if unit in members]
    if len(given) > 1:
        members[given[1]].fail(f"give exactly one of {' and '.join(given)}; two limits are two entries")
    if not given:
        item.missing(units[0], f"is required: the number of calls (or one of {', '.join(units[1:])})")
    unit, node = given[0], members[given[0]]
    if unit != "cost_usd":
        return unit, node.integer(1 if unit == "concurrency" else 0, _MAX_AMOUNT)
    amount = node.number("an amount of US dollars", zero=True)
    if amount > _MAX_USD:
        node.fail(f"expected at most {_MAX_USD:.0f} US dollars, not {amount:g}")
    return unit, amount


def _scope(item: Node, members: dict[str, Node], keys: tuple[LimitKey, ...]) -> tuple[LimitKey, str | None]:
    """For which callers an entry is: its key and its principal."""
    key = cast(LimitKey, members["key"].choice(keys)) if "key" in members else "endpoint"
    principal = members.get("principal")
    if key in ("user_group", "service_principal"):
        whose = "a group's name" if key == "user_group" else "a service principal's application id"
        return key, item.required(members, "principal", whose).text()
    if principal is not None and key != "user":
        principal.fail(f"belongs to key user, user_group or service_principal, not to {key}")
    return key, principal.text() if principal is not None else None


def read_permissions(node: Node) -> tuple[Permission, ...]:
    """`permissions` of a bundle. With an empty list no caller may query."""
    permissions = []
    for item in node.items():
        members = item.fields(("level", *_PRINCIPALS))
        level = item.required(members, "level", f"one of {', '.join(_LEVELS)}").choice(_LEVELS)
        names = {name: members[name].text() for name in _PRINCIPALS if name in members}
        if len(names) != 1:
            item.fail(f"give exactly one of {', '.join(_PRINCIPALS)}")
        permissions.append(Permission(cast(Literal["CAN_VIEW", "CAN_QUERY", "CAN_MANAGE"], level), **names))
    return tuple(permissions)
