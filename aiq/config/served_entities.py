"""`served_entities` and `traffic_config`: the models behind an endpoint, and their share of the requests.

Reads and checks; knows no wire format and opens no connection.
"""

from __future__ import annotations

import re
import uuid
from typing import Literal, NamedTuple, cast
from urllib.parse import urlsplit

from aiq.config.describe import nearest
from aiq.config.document import Node
from aiq.config.endpoint import (
    CustomConfig,
    ModelServerConfig,
    OpenAIConfig,
    ProviderConfig,
    ServedEntity,
)
from aiq.config.secrets import SecretStore, read_secret, unsafe_characters
from aiq.request import Task

MAX_ENTITIES = 15
_MAX_CONTEXT_WINDOW = 10**9
_ID_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "aiq:serving-endpoints")
_ENTITY_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}")
_URL_NAME = re.compile(r"[A-Za-z0-9._-]+")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OWN_HEADERS = {"host", "content-length", "content-type", "transfer-encoding", "connection"}
_EXTERNAL_TASKS = ("llm/v1/chat", "llm/v1/completions", "llm/v1/embeddings")
_PROVIDER_CONFIGS = {
    "openai": "openai_config",
    "custom": "custom_provider_config",
    "anthropic": "anthropic_config",
    "cohere": "cohere_config",
    "amazon-bedrock": "amazon_bedrock_config",
    "google-cloud-vertex-ai": "google_cloud_vertex_ai_config",
    "ai21labs": "ai21labs_config",
    "palm": "palm_config",
    "databricks-model-serving": "databricks_model_serving_config",
}
_ENTRA = (
    "microsoft_entra_tenant_id",
    "microsoft_entra_client_id",
    "microsoft_entra_client_secret",
    "microsoft_entra_client_secret_plaintext",
)
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
    provider: Literal["openai", "custom", "model-server"]
    model: str
    task: Task
    config: ProviderConfig
    version: str | None
    context_window: int | None


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
    return _Draft(node, name, "model-server", model, "custom", model_server, version, _context_window(members))


def _read_external_model(node: Node, external: Node, members: dict[str, Node], store: SecretStore) -> _Draft:
    fields = external.fields(("name", "provider", "task", *_PROVIDER_CONFIGS.values()))
    provider_node = external.required(fields, "provider", "openai or custom")
    provider = provider_node.choice(_PROVIDER_CONFIGS)
    if provider not in ("openai", "custom"):
        provider_node.refuse(
            f"provider {provider} is not supported yet. Supported: openai (with Azure OpenAI) and custom "
            "(any server with OpenAI's API)"
        )
    model = external.required(fields, "name", "the model's name at the provider").text()
    task = external.required(fields, "task", f"one of {', '.join(_EXTERNAL_TASKS)}").choice(_EXTERNAL_TASKS)
    for other, field in _PROVIDER_CONFIGS.items():
        if field in fields and other != provider:
            fields[field].fail(f"does not belong to provider {provider}, which takes {_PROVIDER_CONFIGS[provider]}")
    field = _PROVIDER_CONFIGS[provider]
    section = external.required(fields, field, f"the settings of provider {provider}")
    config: ProviderConfig
    config = _read_openai(section, store) if provider == "openai" else _read_custom(section, store)
    name = _entity_name(node, members, model)
    kind, window = cast(Literal["openai", "custom"], provider), _context_window(members)
    return _Draft(node, name, kind, model, cast(Task, task), config, None, window)


def _context_window(members: dict[str, Node]) -> int | None:
    """`aiq: {context_window: ...}` of an entity: what genai-prices does not know, or knows wrongly."""
    own = members["aiq"].fields(("context_window",)).get("context_window") if "aiq" in members else None
    return None if own is None else own.integer(1, _MAX_CONTEXT_WINDOW)


def _entity_name(node: Node, members: dict[str, Node], default: str) -> str:
    if "name" in members:
        name, place = members["name"].text(), members["name"]
    else:
        name, place = re.sub(r"[.:]", "-", default), node
    if not _ENTITY_NAME.fullmatch(name):
        given = "" if "name" in members else f"; {name!r} comes from the model, so give the entity a `name`"
        place.fail(f"an entity's name takes 1 to 63 letters, digits, - and _{given}")
    return name


def _read_openai(node: Node, store: SecretStore) -> OpenAIConfig:
    known = (
        "openai_api_key",
        "openai_api_key_plaintext",
        "openai_api_type",
        "openai_api_base",
        "openai_api_version",
        "openai_deployment_name",
        "openai_organization",
        *_ENTRA,
    )
    members = node.fields(known)
    for name in _ENTRA:
        if name in members:
            members[name].refuse(
                "Entra client credentials are not supported yet; use openai_api_type azuread with a token as "
                "openai_api_key"
            )
    kind = (
        members["openai_api_type"].choice(("openai", "azure", "azuread")) if "openai_api_type" in members else "openai"
    )
    if kind != "openai":
        for name in ("openai_api_base", "openai_api_version", "openai_deployment_name"):
            node.required(members, name, f"openai_api_type {kind} needs it")
    key = read_secret(node, members, "openai_api_key", store)
    if key is None:
        node.missing("openai_api_key", "give exactly one of openai_api_key and openai_api_key_plaintext")
    organization = members.get("openai_organization")
    if organization is not None and unsafe_characters(organization.text()):
        organization.fail(unsafe_characters(organization.text()))
    return OpenAIConfig(
        api_key=key,
        api_type=cast(Literal["openai", "azure", "azuread"], kind),
        api_base=read_url(members["openai_api_base"], query=False) if "openai_api_base" in members else None,
        api_version=_url_name(members.get("openai_api_version")),
        deployment_name=_url_name(members.get("openai_deployment_name")),
        organization=organization.text() if organization is not None else None,
    )


def _read_custom(node: Node, store: SecretStore) -> CustomConfig:
    members = node.fields(("custom_provider_url", "api_key_auth", "bearer_token_auth"))
    url = read_url(node.required(members, "custom_provider_url", "the URL of a server with OpenAI's API"))
    by_header, by_bearer = members.get("api_key_auth"), members.get("bearer_token_auth")
    if by_header is not None and by_bearer is not None:
        by_bearer.fail("give only one of api_key_auth and bearer_token_auth")
    if by_bearer is not None:
        token = read_secret(by_bearer, by_bearer.fields(("token", "token_plaintext")), "token", store)
        if token is None:
            by_bearer.missing("token", "give exactly one of token and token_plaintext")
        return CustomConfig(url, bearer=token)
    if by_header is not None:
        fields = by_header.fields(("key", "value", "value_plaintext"))
        header_node = by_header.required(fields, "key", "the name of the header that carries the key")
        header = header_node.text()
        if not _HEADER_NAME.fullmatch(header) or header.lower() in _OWN_HEADERS:
            header_node.fail("is not the name of an HTTP header that can be set")
        value = read_secret(by_header, fields, "value", store)
        if value is None:
            by_header.missing("value", "give exactly one of value and value_plaintext")
        return CustomConfig(url, header=(header, value))
    # Databricks asks for one of both; a local server often has neither.
    return CustomConfig(url)


def read_model_server(node: Node, store: SecretStore) -> ModelServerConfig:
    """`endpoints.<name>.model_server` of `conf/aiq.yml`."""
    members = node.fields(("url", "token", "token_plaintext"))
    url = read_url(node.required(members, "url", "the URL that scores the model, such as http://host:5001/invocations"))
    return ModelServerConfig(url, read_secret(node, members, "token", store))


def read_url(node: Node, *, query: bool = True) -> str:
    """An http or https URL, where `query` is true with a query. Never shown in an error: it may carry a password."""
    url = node.text()
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        valid = False
    if not valid or not url.isprintable() or " " in url or parts.fragment:
        node.fail("expected a URL such as https://host/v1")
    if parts.query and not query:
        node.fail("must not have a query (?...), because a path is added to it")
    if "@" in parts.netloc:
        node.fail("must not carry a user or a password; use the fields for keys and tokens")
    return url


def _url_name(node: Node | None) -> str | None:
    """A name that becomes a part of a URL."""
    if node is None:
        return None
    name = node.text()
    if not _URL_NAME.fullmatch(name):
        node.fail("takes letters, digits, ., - and _")
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
