"""`external_model`: which provider serves a model, where, and with which credentials. One reader a provider.

Reads and checks; knows no wire format and opens no connection. Source of the fields: Databricks' external models. What
these have no words for stands in `aiq` of the served entity.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, cast

from aiq.config.connection_fields import HEADER_NAME, OWN_HEADERS
from aiq.config.connections import (
    CustomConfig,
    DatabricksConfig,
    EntraConfig,
    KeyConfig,
    ModelServerConfig,
    OpenAIConfig,
    ProviderConfig,
)
from aiq.config.document import Node
from aiq.config.endpoint import Provider
from aiq.config.external_clouds import (
    BEDROCK_OWN,
    OPENAI_OWN,
    VERTEX_OWN,
    read_azure_credentials,
    read_bedrock,
    read_vertex,
)
from aiq.config.external_fields import Members, read_api_base, read_key, read_url, url_name
from aiq.config.secrets import SecretStore, read_secret, unsafe_characters
from aiq.request import Task

_Reader = Callable[[Node, Members, SecretStore], ProviderConfig]

OWN_FIELDS = (
    *BEDROCK_OWN,
    "google_credentials_file",
    "authority",
    "azure_federated_token_file",
    "client_id",
    "client_secret",
    "client_secret_plaintext",
    "responses",
)
"""Fields of `aiq` in a served entity that belong to its provider."""

_CHAT, _COMPLETIONS, _EMBEDDINGS = "llm/v1/chat", "llm/v1/completions", "llm/v1/embeddings"
_TASKS = (_CHAT, _COMPLETIONS, _EMBEDDINGS)
_HOSTED_TASKS = ("custom", "agent/v1/responses", "agent/v2/chat")
KEYS = {
    "anthropic": "anthropic_api_key",
    "cohere": "cohere_api_key",
    "ai21labs": "ai21labs_api_key",
    "palm": "palm_api_key",
}
"""The field of the key, for providers that take one."""


class ExternalModel(NamedTuple):
    """A model at a provider."""

    provider: Provider
    name: str
    task: Task
    config: ProviderConfig


class _Shape(NamedTuple):
    """What one provider has in a file: its section, the tasks it serves, fields of `aiq`, and who reads them."""

    section: str
    tasks: tuple[str, ...]
    own: tuple[str, ...]
    read: _Reader


def section_of(provider: Provider) -> str:
    """The name of a provider's section: `openai_config` and so on."""
    return _SHAPES[provider].section


def read_external_model(node: Node, own: Members, store: SecretStore) -> ExternalModel:
    """`external_model` of a served entity; `own` are the `OWN_FIELDS` of its `aiq`."""
    fields = node.fields(("name", "provider", "task", *(shape.section for shape in _SHAPES.values())))
    provider = node.required(fields, "provider", f"one of {', '.join(_SHAPES)}").choice(_SHAPES)
    shape = _SHAPES[cast(Provider, provider)]
    model = node.required(fields, "name", "the model's name at the provider").text()
    task_node = node.required(fields, "task", f"one of {', '.join(_TASKS)}")
    task = task_node.choice(_TASKS)
    if task not in shape.tasks:
        task_node.refuse(f"provider {provider} has no {task}. It serves {', '.join(shape.tasks)}")
    for other, theirs in _SHAPES.items():
        if theirs.section in fields and other != provider:
            fields[theirs.section].fail(f"does not belong to provider {provider}, which takes {shape.section}")
    for name, field in own.items():
        if name not in shape.own:
            takes = f", which takes {', '.join(shape.own)}" if shape.own else ""
            field.fail(f"does not belong to provider {provider}{takes}")
    section = node.required(fields, shape.section, f"the settings of provider {provider}")
    return ExternalModel(cast(Provider, provider), model, cast(Task, task), shape.read(section, own, store))


def _read_openai(node: Node, own: Members, store: SecretStore) -> OpenAIConfig:
    known = (
        "openai_api_key",
        "openai_api_key_plaintext",
        "openai_api_type",
        "openai_api_base",
        "openai_api_version",
        "openai_deployment_name",
        "openai_organization",
        "microsoft_entra_tenant_id",
        "microsoft_entra_client_id",
        "microsoft_entra_client_secret",
        "microsoft_entra_client_secret_plaintext",
    )
    members = node.fields(known)
    kind = (
        members["openai_api_type"].choice(("openai", "azure", "azuread")) if "openai_api_type" in members else "openai"
    )
    if kind != "openai":
        for name in ("openai_api_base", "openai_api_version", "openai_deployment_name"):
            node.required(members, name, f"openai_api_type {kind} needs it")
    credentials = read_azure_credentials(members, own, kind)
    entra = None if credentials is not None else _read_entra(node, members, own, kind, store)
    key = read_secret(node, members, "openai_api_key", store)
    if key is None and entra is None and credentials is None:
        or_own = " or, with aiq.credentials of the served entity, none" if kind == "azuread" else ""
        node.missing("openai_api_key", f"give exactly one of openai_api_key and openai_api_key_plaintext{or_own}")
    if key is not None and credentials is not None:
        own["credentials"].fail("cannot stand next to openai_api_key; give one of both")
    if key is not None and entra is not None:
        members["microsoft_entra_client_id"].fail("cannot stand next to openai_api_key; give one of both")
    organization = members.get("openai_organization")
    if organization is not None and unsafe_characters(organization.text()):
        organization.fail(unsafe_characters(organization.text()))
    return OpenAIConfig(
        api_key=key,
        api_type=cast(Literal["openai", "azure", "azuread"], kind),
        api_base=read_url(members["openai_api_base"], query=False) if "openai_api_base" in members else None,
        api_version=url_name(members.get("openai_api_version")),
        deployment_name=url_name(members.get("openai_deployment_name")),
        organization=organization.text() if organization is not None else None,
        entra=entra,
        responses="responses" in own and own["responses"].boolean(),
        credentials=credentials,
    )


def _read_entra(node: Node, members: Members, own: Members, kind: str, store: SecretStore) -> EntraConfig | None:
    given = [name for name in members if name.startswith("microsoft_entra_")]
    if not given:
        if "authority" in own:
            own["authority"].fail("belongs to microsoft_entra_client_id, which is not given")
        return None
    if kind != "azuread":
        members[given[0]].fail("belongs to openai_api_type azuread")
    secret = read_secret(node, members, "microsoft_entra_client_secret", store)
    if secret is None:
        node.missing("microsoft_entra_client_secret", "is required with microsoft_entra_client_id")
    tenant = url_name(node.required(members, "microsoft_entra_tenant_id", "the id of the tenant"))
    client = url_name(node.required(members, "microsoft_entra_client_id", "the id of the application"))
    assert tenant is not None and client is not None
    config = EntraConfig(tenant, client, secret)
    if "authority" not in own:
        return config
    return EntraConfig(tenant, client, secret, read_url(own["authority"], query=False).rstrip("/"))


def _read_custom(node: Node, own: Members, store: SecretStore) -> CustomConfig:
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
        if not HEADER_NAME.fullmatch(header) or header.lower() in OWN_HEADERS:
            header_node.fail("is not the name of an HTTP header that can be set")
        value = read_secret(by_header, fields, "value", store)
        if value is None:
            by_header.missing("value", "give exactly one of value and value_plaintext")
        return CustomConfig(url, header=(header, value))
    # Databricks asks for one of both; a local server often has neither.
    return CustomConfig(url)


def _key_reader(key: str) -> _Reader:
    """Reads the section of a provider that takes one key, and the address of a proxy or simulator from `aiq`."""

    def read(node: Node, own: Members, store: SecretStore) -> KeyConfig:
        members = node.fields((key, f"{key}_plaintext"))
        return KeyConfig(read_key(node, members, key, store), read_api_base(own))

    return read


def _read_cohere(node: Node, own: Members, store: SecretStore) -> KeyConfig:
    members = node.fields(("cohere_api_key", "cohere_api_key_plaintext", "cohere_api_base"))
    key = read_key(node, members, "cohere_api_key", store)
    base = members.get("cohere_api_base")
    return KeyConfig(key, None if base is None else read_url(base, query=False).rstrip("/"))


def _read_databricks(node: Node, own: Members, store: SecretStore) -> DatabricksConfig:
    members = node.fields(("databricks_workspace_url", "databricks_api_token", "databricks_api_token_plaintext"))
    url = read_url(
        node.required(
            members, "databricks_workspace_url", "the workspace, such as https://adb-1.2.azuredatabricks.net"
        ),
        query=False,
    ).rstrip("/")
    token = read_secret(node, members, "databricks_api_token", store)
    if "client_id" not in own:
        for name in ("client_secret", "client_secret_plaintext"):
            if name in own:
                own[name].fail("belongs to client_id, which is not given")
        if token is None:
            node.missing(
                "databricks_api_token",
                "give exactly one of databricks_api_token and databricks_api_token_plaintext, or aiq.client_id and "
                "aiq.client_secret of a service principal in the served entity",
            )
        return DatabricksConfig(url, token)
    client = own["client_id"]
    if token is not None:
        client.fail("cannot stand next to databricks_api_token; give one of both")
    secret = read_secret(client, own, "client_secret", store)
    if secret is None:
        client.fail("needs client_secret, or client_secret_plaintext, next to it")
    return DatabricksConfig(url, None, url_name(client), secret)


def read_model_server(node: Node, store: SecretStore) -> ModelServerConfig:
    """`endpoints.<name>.model_server` of `conf/aiq.yml`."""
    members = node.fields(("url", "token", "token_plaintext", "task"))
    url = read_url(node.required(members, "url", "the URL that scores the model, such as http://host:5001/invocations"))
    task = members["task"].choice(_HOSTED_TASKS) if "task" in members else "custom"
    return ModelServerConfig(url, read_secret(node, members, "token", store), cast(Task, task))


_SHAPES: dict[Provider, _Shape] = {
    "openai": _Shape("openai_config", _TASKS, OPENAI_OWN, _read_openai),
    "custom": _Shape("custom_provider_config", _TASKS, (), _read_custom),
    "anthropic": _Shape("anthropic_config", (_CHAT,), ("api_base",), _key_reader(KEYS["anthropic"])),
    "cohere": _Shape("cohere_config", (_CHAT, _EMBEDDINGS), (), _read_cohere),
    "amazon-bedrock": _Shape("amazon_bedrock_config", (_CHAT, _EMBEDDINGS), BEDROCK_OWN, read_bedrock),
    "google-cloud-vertex-ai": _Shape("google_cloud_vertex_ai_config", (_CHAT, _EMBEDDINGS), VERTEX_OWN, read_vertex),
    "ai21labs": _Shape("ai21labs_config", (_CHAT,), ("api_base",), _key_reader(KEYS["ai21labs"])),
    "palm": _Shape("palm_config", (_CHAT, _EMBEDDINGS), ("api_base",), _key_reader(KEYS["palm"])),
    "databricks-model-serving": _Shape(
        "databricks_model_serving_config",
        _TASKS,
        ("client_id", "client_secret", "client_secret_plaintext"),
        _read_databricks,
    ),
}
