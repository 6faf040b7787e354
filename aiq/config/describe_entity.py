"""A served entity in the words of Databricks' REST API, for people to read. Never shows a secret's value."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit, urlunsplit

from aiq.config.cloud import AwsCredentials
from aiq.config.connections import (
    AZURE_AUTHORITY,
    BedrockConfig,
    CustomConfig,
    DatabricksConfig,
    KeyConfig,
    ModelServerConfig,
    OpenAIConfig,
    ProviderConfig,
    Secret,
    VertexConfig,
)
from aiq.config.endpoint import ServedEntity
from aiq.config.external_models import KEYS, section_of


def describe_entity(entity: ServedEntity) -> dict[str, Any]:
    """A served entity as `describe_endpoint` shows it."""
    shape: dict[str, Any] = {"id": entity.id, "name": entity.name}
    config = entity.config
    own = given(context_window=entity.context_window, **_describe_own(config), **_describe_connection(entity))
    if own:
        shape["aiq"] = own
    if isinstance(config, ModelServerConfig):
        task = None if config.task == "custom" else config.task
        server = given(url=_without_query(config.url), token=_reference(config.bearer), task=task)
        version = given(entity_version=entity.entity_version)
        return {**shape, "entity_name": entity.model, **version, "model_server": server}
    name = {"name": entity.model, "provider": entity.provider, "task": entity.task}
    return {
        **shape,
        "external_model": {**name, section_of(entity.provider): _describe_provider(entity.provider, config)},
    }


def _describe_provider(provider: str, config: ProviderConfig) -> dict[str, Any]:
    """The provider's section, with references to its secrets."""
    match config:
        case OpenAIConfig():
            entra = config.entra
            identity = entra or config.credentials
            return given(
                openai_api_key=_reference(config.api_key),
                openai_api_type=config.api_type,
                openai_api_base=_without_query(config.api_base),
                openai_api_version=config.api_version,
                openai_deployment_name=config.deployment_name,
                openai_organization=config.organization,
                microsoft_entra_tenant_id=identity and identity.tenant_id,
                microsoft_entra_client_id=identity and identity.client_id,
                microsoft_entra_client_secret=_reference(None if entra is None else entra.client_secret),
            )
        case CustomConfig():
            settings: dict[str, Any] = {"custom_provider_url": _without_query(config.url)}
            if config.bearer is not None:
                settings["bearer_token_auth"] = given(token=_reference(config.bearer))
            if config.header is not None:
                settings["api_key_auth"] = given(key=config.header[0], value=_reference(config.header[1]))
            return settings
        case VertexConfig():
            key = _reference(config.private_key)
            return given(project_id=config.project_id, region=config.region, private_key=key)
        case BedrockConfig():
            return given(
                aws_region=config.region,
                bedrock_provider=config.vendor,
                aws_access_key_id=_reference(config.access_key_id),
                aws_secret_access_key=_reference(config.secret_access_key),
                instance_profile_arn=config.credentials and config.credentials.instance_profile_arn,
            )
        case DatabricksConfig():
            url, token = _without_query(config.workspace_url), _reference(config.api_token)
            return given(databricks_workspace_url=url, databricks_api_token=token)
        case KeyConfig():
            base = _without_query(config.api_base) if provider == "cohere" else None
            return given(**{KEYS[provider]: _reference(config.api_key)}, cohere_api_base=base)
        case ModelServerConfig():
            raise AssertionError("a model server is no external model")


def _describe_own(config: ProviderConfig) -> dict[str, Any]:
    """What the provider's section has no words for."""
    match config:
        case OpenAIConfig():
            identity, found = config.entra or config.credentials, config.credentials
            authority = identity and identity.authority
            own = authority if authority != AZURE_AUTHORITY else None
            source, file = found and found.source, found and found.token_file
            return given(
                responses=config.responses or None, authority=own, credentials=source, azure_federated_token_file=file
            )
        case BedrockConfig():
            keys = {"api_key": _reference(config.api_key), "aws_session_token": _reference(config.session_token)}
            return given(api_base=_without_query(config.api_base), **keys, **_describe_aws(config.credentials))
        case VertexConfig():
            google = config.credentials
            kind = None if google is None or google.source == "file" else google.source
            path = google and google.file
            return given(api_base=_without_query(config.api_base), credentials=kind, google_credentials_file=path)
        case DatabricksConfig():
            return given(client_id=config.client_id, client_secret=_reference(config.client_secret))
    return {}


def _describe_connection(entity: ServedEntity) -> dict[str, Any]:
    """Headers by name, with references to secrets, and the files of TLS."""
    headers = {name: _reference(secret) or "..." for name, secret in entity.headers} or None
    tls = entity.tls
    files = tls and given(client_certificate=tls.client_certificate, client_key=tls.client_key, ca_file=tls.ca_file)
    return {"headers": headers, "tls": files}


def _describe_aws(credentials: AwsCredentials | None) -> dict[str, Any]:
    """The fields of `aiq` that say where AWS credentials come from."""
    if credentials is None:
        return {}
    named = credentials.source in ("default", "environment", "container") or (
        credentials.source == "instance" and credentials.instance_profile_arn is None
    )
    return {
        "credentials": credentials.source if named else None,
        "aws_profile": credentials.profile,
        "aws_role_arn": credentials.role_arn,
        "aws_role_session_name": None if credentials.role_session_name == "aiq" else credentials.role_session_name,
        "aws_external_id": credentials.external_id,
        "aws_web_identity_token_file": credentials.web_identity_token_file,
    }


def given(**members: Any) -> dict[str, Any]:
    """The members that are there."""
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
