"""The control plane's writes: endpoints made, changed and deleted as the SDK, MLflow and Terraform do it.

A change is a change of a file of the conf folder, and holds from the next request on. Who may: the server's owner and
the group `admins` everything; others what CAN_MANAGE on an endpoint allows, without the secrets of the server.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from aiq.config.edit import Busy, Change, change, create
from aiq.config.endpoint import Endpoint
from aiq.errors import ConfigError
from aiq.gateway import Gateway
from aiq.request import Caller
from aiq.serve.refusals import Refusal, refuse

ADMINS = "admins"
"""The group whose members may manage every endpoint, as in a Databricks workspace."""
_MADE = ("name", "config", "ai_gateway", "rate_limits", "tags", "description")
_GATEWAY = ("fallback_config", "guardrails", "inference_table_config", "rate_limits", "usage_tracking_config")
_PRINCIPALS = ("user_name", "group_name", "service_principal_name")


def is_admin(caller: Caller, owner: str) -> bool:
    """Whether a caller may manage every endpoint."""
    return caller.user == owner or ADMINS in caller.groups


class Changes:
    """Changes of the endpoints of one gateway. Each method raises Refusal: 400, 403, 404 or 409."""

    def __init__(self, gateway: Gateway, owner: str) -> None:
        self._gateway, self._owner = gateway, owner

    async def create(self, body: dict[str, Any], caller: Caller) -> Endpoint:
        """Makes an endpoint of the body of a create request."""
        name = body.get("name")
        if not isinstance(name, str) or not name:
            refuse("name must be the new endpoint's name")
        if not is_admin(caller, self._owner):
            raise Refusal(
                403,
                "PERMISSION_DENIED",
                f"only {self._owner} and the group {ADMINS} make endpoints here: an endpoint says where data is sent",
            )
        if name in self._gateway.config.endpoints:
            raise Refusal(409, "RESOURCE_ALREADY_EXISTS", f"Serving endpoint with name {name[:100]} already exists")
        made = {field: body[field] for field in _MADE if body.get(field) is not None}
        for field, value in body.items():
            if field not in _MADE and value not in (None, False, "", {}, []) and not _is_off(value):
                refuse(f"{field[:60]} is not supported; leave it out")
        if not isinstance(made.get("config"), dict):
            refuse("config must have served_entities")
        made["config"] = {**_config(made["config"]), "config_version": 1}
        made |= {"creator": caller.user, "creation_timestamp": int(time.time() * 1000)}
        folder, home = self._gateway.config.folder, self._gateway.ledger.home
        await self._written(name, lambda: create(folder, home, name, made))
        return self._gateway.config.endpoints[name]

    async def config(self, endpoint: Endpoint, body: dict[str, Any], caller: Caller) -> Endpoint:
        """Replaces what is served."""
        wanted = _config(body)
        if not is_admin(caller, self._owner):
            wanted["served_entities"] = [*_entities(wanted)]

        def replace(node: dict[str, Any]) -> None:
            before = node.get("config") or {}
            if not is_admin(caller, self._owner):
                _check_entities(_entities(wanted), _entities(before))
            for name in [name for name in before if name not in wanted and name != "config_version"]:
                del before[name]
            before.update(wanted, config_version=_version(before) + 1)
            node["config"] = before

        return await self._changed(endpoint, replace)

    async def gateway(self, endpoint: Endpoint, body: dict[str, Any]) -> Endpoint:
        """Replaces the gateway's configuration: what is not given is gone. What only aiq knows (`aiq`) stays."""
        wanted = {name: value for name, value in body.items() if name in (*_GATEWAY, "aiq") and value is not None}
        if unknown := sorted(body.keys() - {*_GATEWAY, "aiq", "name"}):
            refuse(f"{unknown[0][:60]} is no part of an AI Gateway; known: {', '.join(_GATEWAY)}")

        def replace(node: dict[str, Any]) -> None:
            own = (node.get("ai_gateway") or {}).get("aiq")
            made = {"aiq": own, **wanted} if own is not None else wanted
            if made:
                node["ai_gateway"] = made
            else:
                node.pop("ai_gateway", None)
            node.pop("rate_limits", None)  # the older place of the same

        return await self._changed(endpoint, replace)

    async def rate_limits(self, endpoint: Endpoint, limits: Any) -> Endpoint:
        """Replaces the rate limits."""

        def replace(node: dict[str, Any]) -> None:
            node.pop("rate_limits", None)
            node.setdefault("ai_gateway", {})["rate_limits"] = limits or []

        return await self._changed(endpoint, replace)

    async def tags(self, endpoint: Endpoint, body: dict[str, Any]) -> Endpoint:
        """Adds tags, or gives them other values, and takes tags away."""
        added, gone = body.get("add_tags") or [], body.get("delete_tags") or []
        if not isinstance(added, list) or not all(isinstance(each, dict) and "key" in each for each in added):
            refuse("add_tags must be a list of {key, value}")
        if not isinstance(gone, list):
            refuse("delete_tags must be a list of keys")
        tags = {key: value for key, value in endpoint.tags if key not in gone}
        tags |= {each["key"]: each.get("value") or "" for each in added}

        def replace(node: dict[str, Any]) -> None:
            node["tags"] = [{"key": key, "value": value} for key, value in tags.items()]

        return await self._changed(endpoint, replace)

    async def permissions(self, endpoint: Endpoint, body: dict[str, Any], *, add: bool) -> Endpoint:
        """Replaces who may do what, or adds to it."""
        wanted = body.get("access_control_list") or []
        if not isinstance(wanted, list) or not all(map(_is_permission, wanted)):
            refuse(f"access_control_list must be a list of {{permission_level, one of {', '.join(_PRINCIPALS)}}}")
        levels = {_principal(each): each["permission_level"] for each in wanted}
        if add:
            levels = {
                **{_principal(_shown(each)): each.level for each in endpoint.permissions or ()},
                **levels,
            }

        def replace(node: dict[str, Any]) -> None:
            node["permissions"] = [{"level": level, kind: name} for (kind, name), level in levels.items()]

        return await self._changed(endpoint, replace)

    async def delete(self, endpoint: Endpoint) -> None:
        """Takes an endpoint out of its file, and the secrets that were kept for it."""
        folder, home = self._gateway.config.folder, self._gateway.ledger.home
        await self._written(endpoint.name, lambda: change(folder, home, endpoint, None))

    async def _changed(self, endpoint: Endpoint, changed: Change) -> Endpoint:
        folder, home = self._gateway.config.folder, self._gateway.ledger.home
        await self._written(endpoint.name, lambda: change(folder, home, endpoint, changed))
        return self._gateway.config.endpoints[endpoint.name]

    async def _written(self, name: str, write: Callable[[], None]) -> None:
        try:
            await asyncio.to_thread(write)
            await asyncio.to_thread(self._gateway.refresh)
        except Busy as error:
            raise Refusal(409, "RESOURCE_CONFLICT", str(error)) from None
        except ConfigError as error:
            place = f"{error.field}: " if error.field else ""
            raise Refusal(400, "INVALID_PARAMETER_VALUE", f"{place}{error.reason}") from None


def _config(body: dict[str, Any]) -> dict[str, Any]:
    """What is served, as a file has it: clients repeat the endpoint's name there."""
    return {name: value for name, value in body.items() if name not in ("name", "config_version") and value is not None}


def _entities(config: dict[str, Any]) -> list[Any]:
    entities = config.get("served_entities")
    return entities if isinstance(entities, list) else []


def _check_entities(wanted: list[Any], before: list[Any]) -> None:
    """Raises Refusal 403 where an entity is new and would use what belongs to the server: its secrets, its cloud."""
    for entity in wanted:
        text = str(entity)
        if entity not in before and ("{{" in text or "_plaintext" not in text):
            raise Refusal(
                403,
                "PERMISSION_DENIED",
                "a served entity that is changed or new needs its own key (..._plaintext): secrets of this server are "
                f"given by {ADMINS} only",
            )


def _version(config: dict[str, Any]) -> int:
    version = config.get("config_version")
    return version if isinstance(version, int) else 1


def _is_permission(each: Any) -> bool:
    return (
        isinstance(each, dict)
        and isinstance(each.get("permission_level"), str)
        and sum(isinstance(each.get(kind), str) for kind in _PRINCIPALS) == 1
    )


def _principal(each: dict[str, Any]) -> tuple[str, str]:
    return next((kind, each[kind]) for kind in _PRINCIPALS if each.get(kind) is not None)


def _shown(permission: Any) -> dict[str, Any]:
    return {kind: getattr(permission, kind) for kind in _PRINCIPALS}


def _is_off(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_is_off(each) for each in value.values())
    return value in (None, False, "") or (isinstance(value, list) and all(_is_off(each) for each in value))
