"""`served_entities` and `traffic_config`: the models behind an endpoint, and their share of the requests.

Reads and checks; knows no wire format and opens no connection.
"""

from __future__ import annotations

import re
import uuid
from typing import NamedTuple

from aiq.config.connection_fields import CONNECTION_FIELDS, Headers, read_headers, read_tls
from aiq.config.connections import ModelServerConfig, ProviderConfig
from aiq.config.document import Node
from aiq.config.endpoint import Provider, ServedEntity
from aiq.config.external_models import OWN_FIELDS, read_external_model
from aiq.config.nearest import nearest
from aiq.config.secrets import SecretStore
from aiq.config.tls import TlsConfig
from aiq.request import Task

MAX_ENTITIES = 15
_MAX_CONTEXT_WINDOW = 10**9
_ID_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "aiq:serving-endpoints")
_ENTITY_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}")
_READ_ONLY = ("id", "state", "creator", "creation_timestamp")
_HOSTING = (
    "burst_scaling_enabled",
    "environment_vars",
    "instance_profile_arn",
    "max_provisioned_concurrency",
    "max_provisioned_throughput",
    "min_provisioned_concurrency",
    "min_provisioned_throughput",
    "provisioned_model_units",
    "scale_to_zero_enabled",
    "workload_size",
    "workload_type",
)
"""How Databricks hosts a custom model. Nothing is hosted here, so these change nothing."""


class _Draft(NamedTuple):
    """An entity before its share of the traffic is known."""

    node: Node
    name: str
    provider: Provider
    model: str
    task: Task
    config: ProviderConfig
    version: str | None
    context_window: int | None
    headers: Headers
    tls: TlsConfig | None


def stable_id(*names: str) -> str:
    """A UUID that is the same wherever and whenever the same names are read."""
    return str(uuid.uuid5(_ID_NAMESPACE, "/".join(names)))


def read_served_entities(
    config: Node,
    members: dict[str, Node],
    endpoint: str,
    store: SecretStore,
    model_server: ModelServerConfig | None,
) -> tuple[ServedEntity, ...]:
    """The entities of `config` (its `members` already read), in file order, with their traffic.

    `model_server` says where an entity without `external_model` is scored, from `conf/aiq.yml`.
    """
    node = config.required(members, "served_entities", "a list of the models behind the endpoint")
    items = node.items()
    if not 1 <= len(items) <= MAX_ENTITIES:
        node.fail(f"expected 1 to {MAX_ENTITIES} entities, not {len(items)}")
    drafts: dict[str, _Draft] = {}
    for item in items:
        draft = _read_entity(item, endpoint, store, model_server)
        first = next(iter(drafts.values()), draft)
        if draft.name in drafts:
            item.fail(
                f"a second entity is called {draft.name!r}, the first in line "
                f"{drafts[draft.name].node.line}; give each its own `name`"
            )
        if (draft.task == "custom") != (first.task == "custom"):
            item.fail("external models and custom models cannot stand behind one endpoint")
        if draft.task != first.task:
            item.fail(f"its task is {draft.task}, that of {first.name!r} is {first.task}; they must be the same")
        drafts[draft.name] = draft
    shares = _read_traffic(config, members.get("traffic_config"), list(drafts))
    return tuple(
        ServedEntity(
            id=stable_id(endpoint, d.name),
            name=d.name,
            provider=d.provider,
            model=d.model,
            task=d.task,
            config=d.config,
            traffic_percentage=shares[d.name],
            entity_version=d.version,
            context_window=d.context_window,
            headers=d.headers,
            tls=d.tls,
        )
        for d in drafts.values()
    )


def _read_entity(node: Node, endpoint: str, store: SecretStore, model_server: ModelServerConfig | None) -> _Draft:
    known = ("name", "external_model", "entity_name", "entity_version", "foundation_model", "aiq")
    members = node.fields(known, (*_READ_ONLY, *_HOSTING))
    if "foundation_model" in members:
        members["foundation_model"].refuse(
            "foundation models run on Databricks only; use an external_model with provider custom and the "
            "endpoint's URL"
        )
    external = members.get("external_model")
    if external is not None:
        for name in ("entity_name", "entity_version"):
            if name in members:
                members[name].fail("cannot stand next to external_model")
        return _read_external_model(node, external, members, store)
    model = node.required(members, "entity_name", "external_model, or entity_name for a custom model").text()
    if model_server is None:
        members["entity_name"].refuse(
            f"a custom model needs a server that scores it: set endpoints.{endpoint}.model_server to "
            '{url: ..., token: "{{secrets/<scope>/<key>}}"} in aiq.yml'
        )
    version = members["entity_version"].text() if "entity_version" in members else None
    name = _entity_name(node, members, f"{model}-{version}" if version else model)
    own = members["aiq"].fields(("context_window", *CONNECTION_FIELDS)) if "aiq" in members else {}
    window, headers = _context_window(own), read_headers(own, model_server, store)
    config, task = model_server, model_server.task
    return _Draft(node, name, "model-server", model, task, config, version, window, headers, read_tls(own))


def _read_external_model(node: Node, external: Node, members: dict[str, Node], store: SecretStore) -> _Draft:
    own = members["aiq"].fields(("context_window", *CONNECTION_FIELDS, *OWN_FIELDS)) if "aiq" in members else {}
    model = read_external_model(external, {name: own[name] for name in own if name in OWN_FIELDS}, store)
    name = _entity_name(node, members, model.name)
    window, headers = _context_window(own), read_headers(own, model.config, store)
    return _Draft(
        node, name, model.provider, model.name, model.task, model.config, None, window, headers, read_tls(own)
    )


def _context_window(own: dict[str, Node]) -> int | None:
    """`aiq: {context_window: ...}` of an entity: what genai-prices does not know, or knows wrongly."""
    return own["context_window"].integer(1, _MAX_CONTEXT_WINDOW) if "context_window" in own else None


def _entity_name(node: Node, members: dict[str, Node], default: str) -> str:
    if "name" in members:
        name, place = members["name"].text(), members["name"]
    else:
        name, place = re.sub(r"[.:]", "-", default), node
    if not _ENTITY_NAME.fullmatch(name):
        given = "" if "name" in members else f"; {name!r} comes from the model, so give the entity a `name`"
        place.fail(f"an entity's name takes 1 to 63 letters, digits, - and _{given}")
    return name


def _read_traffic(config: Node, node: Node | None, names: list[str]) -> dict[str, int]:
    if node is None:
        if len(names) > 1:
            config.missing(
                "traffic_config",
                f"is required with {len(names)} entities: routes, a list of {{served_entity_name, traffic_percentage}}",
            )
        return {names[0]: 100}
    members = node.fields(("routes",))
    routes = node.required(members, "routes", "a list of {served_entity_name, traffic_percentage}")
    shares: dict[str, int] = {}
    for route in routes.items():
        fields = route.fields(("served_entity_name", "served_model_name", "traffic_percentage"))
        if "served_entity_name" in fields and "served_model_name" in fields:
            # A GET answer carries both, with the same name.
            if fields["served_entity_name"].text() != fields["served_model_name"].text():
                fields["served_model_name"].fail("contradicts served_entity_name; give one of both")
            del fields["served_model_name"]
        name_node = fields.get("served_entity_name") or fields.get("served_model_name")
        if name_node is None:
            route.missing("served_entity_name", "is required: the name of a served entity")
        name = name_node.text()
        if name not in names:
            name_node.fail(f"no entity is called {name!r}.{nearest(name, names)} Entities: {', '.join(names)}.")
        if name in shares:
            name_node.fail(f"entity {name!r} has a route already")
        share = route.required(fields, "traffic_percentage", "a whole number from 0 to 100")
        shares[name] = share.integer(0, 100)
    if sum(shares.values()) != 100:
        routes.fail(f"the traffic percentages add up to {sum(shares.values())}, not to 100")
    return {name: shares.get(name, 0) for name in names}
