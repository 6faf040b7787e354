"""The control plane: endpoints and permissions as the SDK, MLflow and Terraform read and write them.

Endpoints are files; of a server that is read only, whoever wants to change one is told which file that is.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from typing import Any

from aiq.config.describe import describe_endpoint
from aiq.config.edit import SCOPE
from aiq.config.endpoint import Endpoint, Permission
from aiq.gateway import Gateway
from aiq.request import CHAT_TASKS, Caller
from aiq.serve.changes import Changes, is_admin
from aiq.serve.http import Exchange
from aiq.serve.refusals import Refusal, unknown_endpoint

ENDPOINTS = "/api/2.0/serving-endpoints"
PERMISSIONS = "/api/2.0/permissions/serving-endpoints"
_LEVELS = {"CAN_VIEW": "Can view", "CAN_QUERY": "Can query", "CAN_MANAGE": "Can manage"}
_JSON = "application/json"


async def control(exchange: Exchange, gateway: Gateway, caller: Caller, owner: str, *, read_only: bool = False) -> None:
    """Answers a path below ENDPOINTS or PERMISSIONS. `owner` is whose the endpoints are. Raises Refusal."""
    base = PERMISSIONS if exchange.path.startswith(PERMISSIONS) else ENDPOINTS
    name, _, rest = exchange.path[len(base) :].strip("/").partition("/")
    if exchange.method != "GET":
        await asyncio.to_thread(gateway.refresh)  # a change is one of what holds now
    endpoints = gateway.config.endpoints
    if not name:
        if exchange.method == "POST" and base == ENDPOINTS:
            if read_only:
                raise _read_only(f"write a file into {gateway.config.folder}/endpoints")
            made = await Changes(gateway, owner).create(await exchange.json(), caller)
            await exchange.reply_json(200, _shown(exchange, made, caller, owner))
            return
        exchange.only("GET")
        seen = [each for each in endpoints.values() if level_of(each, caller, owner) is not None]
        shown = [_shown(exchange, each, caller, owner) for each in sorted(seen, key=lambda each: each.name)]
        await exchange.reply_json(200, {"endpoints": shown})
        return
    endpoint = endpoints.get(name) or next((each for each in endpoints.values() if each.id == name), None)
    if endpoint is None or level_of(endpoint, caller, owner) is None:
        raise unknown_endpoint(name)
    if exchange.method != "GET":
        if level_of(endpoint, caller, owner) != "CAN_MANAGE":
            raise Refusal(403, "PERMISSION_DENIED", f"User '{caller.user}' does not have CAN_MANAGE on '{name}'.")
        if read_only:
            raise _read_only(f"edit {endpoint.file}; it holds at once")
        body = {} if exchange.method == "DELETE" else await exchange.json()
        change = _change(exchange, Changes(gateway, owner), base, rest, endpoint, body, caller)
        await exchange.reply_json(200, await change(lambda changed: _shown(exchange, changed, caller, owner)))
    elif base == PERMISSIONS:
        await exchange.reply_json(200, _levels() if rest == "permissionLevels" else _permissions(endpoint))
    elif not rest:
        await exchange.reply_json(200, _shown(exchange, endpoint, caller, owner))
    elif rest == "openapi":
        await exchange.reply_json(200, _openapi(exchange, endpoint))
    elif rest.startswith("served-models/") and rest.endswith(("/logs", "/build-logs")):
        await exchange.reply_json(200, {"logs": ""})
    else:
        raise _no_path(exchange)


def _change(
    exchange: Exchange,
    changes: Changes,
    base: str,
    rest: str,
    endpoint: Endpoint,
    body: dict[str, Any],
    caller: Caller,
) -> Callable[[Callable[[Endpoint], dict[str, Any]]], Awaitable[dict[str, Any]]]:
    """What a method and a path change; it is given how an endpoint is shown, and answers what the client reads."""
    asked = (exchange.method, rest)

    async def run(shown: Callable[[Endpoint], dict[str, Any]]) -> dict[str, Any]:
        if base == PERMISSIONS:
            if rest or exchange.method not in ("PUT", "PATCH"):
                raise _no_path(exchange)
            return _permissions(await changes.permissions(endpoint, body, add=exchange.method == "PATCH"))
        if asked == ("DELETE", ""):
            await changes.delete(endpoint)
            return {}
        if asked == ("PUT", "config"):
            return shown(await changes.config(endpoint, body, caller))
        if asked == ("PUT", "ai-gateway"):
            found: dict[str, Any] = shown(await changes.gateway(endpoint, body))["ai_gateway"]
            return found
        if asked == ("PUT", "rate-limits"):
            changed = await changes.rate_limits(endpoint, body.get("rate_limits"))
            return {"rate_limits": shown(changed)["ai_gateway"].get("rate_limits", [])}
        if asked == ("PATCH", "tags"):
            return {"tags": shown(await changes.tags(endpoint, body))["tags"]}
        if exchange.method == "PATCH" and rest in ("notifications", "telemetry-config"):
            if any(value for part in body.values() for value in (part.values() if isinstance(part, dict) else [part])):
                raise Refusal(400, "INVALID_PARAMETER_VALUE", f"{rest} is not supported; leave it out")
            return {}
        raise _no_path(exchange)

    return run


def _read_only(what_to_do: str) -> Refusal:
    return Refusal(403, "PERMISSION_DENIED", f"this server is read only: {what_to_do}")


def _no_path(exchange: Exchange) -> Refusal:
    return Refusal(404, "ENDPOINT_NOT_FOUND", f"there is no {exchange.path[:200]} here; see docs/serve.md")


def level_of(endpoint: Endpoint, caller: Caller, owner: str) -> str | None:
    """The highest permission of a caller on an endpoint; None where it has none. CAN_QUERY where nobody is named."""
    if is_admin(caller, owner):
        return "CAN_MANAGE"
    if endpoint.permissions is None:
        return "CAN_QUERY"
    own = [each.level for each in endpoint.permissions if _is_of(each, caller)]
    return max(own, key=list(_LEVELS).index) if own else None


def _is_of(permission: Permission, caller: Caller) -> bool:
    named = caller.user in (permission.user_name, permission.service_principal_name)
    return named or permission.group_name in caller.groups


def _shown(exchange: Exchange, endpoint: Endpoint, caller: Caller, owner: str) -> dict[str, Any]:
    """An endpoint as GET shows it: nothing secret is in it."""
    shape = describe_endpoint(endpoint)
    shape.pop("permissions", None)
    changed_ms = 0
    with contextlib.suppress(OSError):
        changed_ms = int(os.stat(endpoint.file).st_mtime * 1000)
    for entity in shape["config"]["served_entities"]:
        _hide_kept(entity)
        entity["state"] = {"deployment": "DEPLOYMENT_READY", "deployment_state_message": ""}
    shape["config"]["config_version"] = endpoint.config_version
    return {
        **shape,
        "creator": owner,
        "creation_timestamp": changed_ms,
        "last_updated_timestamp": changed_ms,
        "permission_level": level_of(endpoint, caller, owner),
        "route_optimized": False,
        "endpoint_url": f"{exchange.base}/serving-endpoints/{endpoint.name}/invocations",
        "endpoint_type": "CUSTOM_MODEL" if endpoint.task == "custom" else "EXTERNAL_MODEL",
    }


def _hide_kept(node: Any) -> None:
    """Takes out the secrets that came in as plain text: those never come back, not even as references."""
    if isinstance(node, dict):
        for name in [name for name, value in node.items() if f"secrets/{SCOPE}/" in str(value)]:
            if isinstance(node[name], str):
                del node[name]
            else:
                _hide_kept(node[name])


def _permissions(endpoint: Endpoint) -> dict[str, Any]:
    listed = []
    for each in endpoint.permissions or ():
        name = ("user_name", each.user_name)
        if each.group_name is not None:
            name = ("group_name", each.group_name)
        elif each.service_principal_name is not None:
            name = ("service_principal_name", each.service_principal_name)
        levels = [{"permission_level": each.level, "inherited": False}]
        listed.append({name[0]: name[1], "all_permissions": levels})
    if endpoint.permissions is None:
        listed.append(
            {"group_name": "users", "all_permissions": [{"permission_level": "CAN_QUERY", "inherited": True}]}
        )
    return {
        "object_id": f"/serving-endpoints/{endpoint.id}",
        "object_type": "serving-endpoint",
        "access_control_list": listed,
    }


def _levels() -> dict[str, Any]:
    return {
        "permission_levels": [{"permission_level": level, "description": words} for level, words in _LEVELS.items()]
    }


def _openapi(exchange: Exchange, endpoint: Endpoint) -> dict[str, Any]:
    """What an endpoint takes, in short."""
    content = "messages" if endpoint.task in CHAT_TASKS else {"llm/v1/embeddings": "input"}.get(endpoint.task, "prompt")
    required = [] if endpoint.task == "custom" else [content]
    schema = {"type": "object", "required": required, "additionalProperties": True}
    operation = {
        "summary": endpoint.description or f"Ask {endpoint.name} ({endpoint.task})",
        "requestBody": {"required": True, "content": {_JSON: {"schema": schema}}},
        "responses": {"200": {"description": "the answer", "content": {_JSON: {"schema": {"type": "object"}}}}},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": endpoint.name, "version": "1"},
        "servers": [{"url": exchange.base}],
        "paths": {f"/serving-endpoints/{endpoint.name}/invocations": {"post": operation}},
    }
