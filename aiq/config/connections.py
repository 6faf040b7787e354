"""What a provider is called with: addresses, accounts, and secrets that are never shown. Plain immutable values.

Source of the names: Databricks' serving-endpoints REST API and Asset Bundles. Knows no file format and no endpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from aiq.config.cloud import AwsCredentials, AzureCredentials, GoogleCredentials
from aiq.errors import SecretError
from aiq.request import Task


class Secret:
    """A secret's value. Never shown: `str()` and `repr()` give asterisks, and it cannot be pickled or serialised."""

    __slots__ = ("_resolve", "hosts", "source")

    def __init__(
        self, resolve: object, source: str, hosts: Callable[[], tuple[str, ...] | None] = lambda: None
    ) -> None:
        """`resolve` is the plain text or a callable that finds it; `source` is safe to show (`secrets/scope/key`).

        `hosts()` is where it may be sent (`*.a.com` with all below), None for anywhere; it raises SecretError.
        """
        self._resolve = resolve
        self.source = source
        self.hosts = hosts

    def reveal(self) -> str:
        """The plain text. Raises SecretError, naming where it was looked for, when there is none."""
        value = self._resolve() if callable(self._resolve) else self._resolve
        assert isinstance(value, str)
        return value

    def __eq__(self, other: object) -> bool:
        """By value, which is looked up for it: one that cannot be found equals no other."""
        if self is other:
            return True
        if not isinstance(other, Secret) or self.source != other.source:
            return False
        try:
            return self.reveal() == other.reveal()
        except SecretError:
            return False

    def __hash__(self) -> int:
        return hash(self.source)

    def __repr__(self) -> str:
        return f"Secret({self.source!r})"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("a Secret cannot be pickled; send the endpoint's name and resolve it where it is used")


AZURE_AUTHORITY = "https://login.microsoftonline.com"


@dataclass(frozen=True, slots=True)
class OpenAIConfig:
    """`openai_config`. `api_type` is openai, azure (api-key header) or azuread (Entra token)."""

    api_key: Secret | None = None
    api_type: Literal["openai", "azure", "azuread"] = "openai"
    api_base: str | None = None
    api_version: str | None = None
    deployment_name: str | None = None
    organization: str | None = None
    entra: EntraConfig | None = None
    responses: bool = False
    """Whether chat goes over the Responses API."""
    credentials: AzureCredentials | None = None


@dataclass(frozen=True, slots=True)
class EntraConfig:
    """An application of Microsoft Entra, whose tokens Azure OpenAI takes. `authority` is where it gets them."""

    tenant_id: str
    client_id: str
    client_secret: Secret
    authority: str = AZURE_AUTHORITY


@dataclass(frozen=True, slots=True)
class KeyConfig:
    """A provider that takes one key: anthropic, cohere, ai21labs, and palm (the Gemini API, which took PaLM's keys).

    `api_base` None is the provider's own address.
    """

    api_key: Secret
    api_base: str | None = None


@dataclass(frozen=True, slots=True)
class VertexConfig:
    """`google_cloud_vertex_ai_config`. `private_key` is a service account's key file (JSON); else `credentials` say
    where access tokens come from.
    """

    project_id: str
    region: str
    private_key: Secret | None = None
    api_base: str | None = None
    credentials: GoogleCredentials | None = None


@dataclass(frozen=True, slots=True)
class BedrockConfig:
    """`amazon_bedrock_config`: a key pair that signs (SigV4), an API key that is sent, or `credentials` to look for.

    `session_token` belongs to a temporary key pair. `api_base` None is AWS's.
    """

    region: str
    vendor: str
    access_key_id: Secret | None = None
    secret_access_key: Secret | None = None
    api_key: Secret | None = None
    api_base: str | None = None
    session_token: Secret | None = None
    credentials: AwsCredentials | None = None


@dataclass(frozen=True, slots=True)
class DatabricksConfig:
    """`databricks_model_serving_config`: a token, or a service principal that gets its own (OAuth M2M)."""

    workspace_url: str
    api_token: Secret | None = None
    client_id: str | None = None
    client_secret: Secret | None = None


@dataclass(frozen=True, slots=True)
class CustomConfig:
    """`custom_provider_config`: any OpenAI-compatible server. At most one of `bearer` and `header` (name, value)."""

    url: str
    bearer: Secret | None = None
    header: tuple[str, Secret] | None = None


@dataclass(frozen=True, slots=True)
class ModelServerConfig:
    """Where a custom model (`entity_name`, no `external_model`) is scored: an MLflow-compatible server.

    Databricks hosts such a model itself; here `conf/aiq.yml` says where it runs.
    """

    url: str
    bearer: Secret | None = None
    task: Task = "custom"
    """`custom`, or that of an agent."""


ProviderConfig = (
    OpenAIConfig | CustomConfig | ModelServerConfig | KeyConfig | VertexConfig | BedrockConfig | DatabricksConfig
)
