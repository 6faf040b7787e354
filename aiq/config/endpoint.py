"""What a serving endpoint is, once read and validated. Plain immutable values; knows no file format.

Source of the names: Databricks' serving-endpoints REST API and Asset Bundles.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from aiq.config.reuse import Reuse
from aiq.request import Caller, Task


class Secret:
    """A secret's value. Never shown: `str()` and `repr()` give asterisks, and it cannot be pickled or serialised."""

    __slots__ = ("_resolve", "source")

    def __init__(self, resolve: object, source: str) -> None:
        """`resolve` is the plain text or a callable that finds it; `source` is safe to show (`secrets/scope/key`)."""
        self._resolve = resolve
        self.source = source

    def reveal(self) -> str:
        """The plain text. Raises SecretError, naming where it was looked for, when there is none."""
        value = self._resolve() if callable(self._resolve) else self._resolve
        assert isinstance(value, str)
        return value

    def __repr__(self) -> str:
        return f"Secret({self.source!r})"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("a Secret cannot be pickled; send the endpoint's name and resolve it where it is used")


@dataclass(frozen=True, slots=True)
class OpenAIConfig:
    """`openai_config`. `api_type` is openai, azure (api-key header) or azuread (Entra token)."""

    api_key: Secret | None = None
    api_type: Literal["openai", "azure", "azuread"] = "openai"
    api_base: str | None = None
    api_version: str | None = None
    deployment_name: str | None = None
    organization: str | None = None


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


ProviderConfig = OpenAIConfig | CustomConfig | ModelServerConfig


@dataclass(frozen=True, slots=True)
class ServedEntity:
    """One model behind an endpoint. `traffic_percentage` 0 means: only as a fallback."""

    id: str
    name: str
    provider: Literal["openai", "custom", "model-server"]
    model: str
    task: Task
    config: ProviderConfig
    traffic_percentage: int = 100
    entity_version: str | None = None


@dataclass(frozen=True, slots=True)
class RateLimit:
    """One `rate_limits` entry: `calls` per minute for the endpoint, each user (principal None) or one user."""

    calls: int
    key: Literal["endpoint", "user"] = "endpoint"
    principal: str | None = None


@dataclass(frozen=True, slots=True)
class Permission:
    """One `permissions` entry of a bundle. Exactly one of the names is set."""

    level: Literal["CAN_VIEW", "CAN_QUERY", "CAN_MANAGE"]
    user_name: str | None = None
    group_name: str | None = None
    service_principal_name: str | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A serving endpoint.

    `id` is stable for a name; `fingerprint` changes with every change of what is called (never with a secret's
    value). `inference_table` is `<catalog>.<schema>.<prefix>_payload` or None when payloads are not logged.
    `permissions` None means that everybody may query. Files: `file` and `line` say where it was read.
    """

    name: str
    id: str
    task: Task
    entities: tuple[ServedEntity, ...]
    fingerprint: str
    rate_limits: tuple[RateLimit, ...] = ()
    fallback: bool = False
    track_usage: bool = False
    inference_table: str | None = None
    permissions: tuple[Permission, ...] | None = None
    tags: tuple[tuple[str, str], ...] = ()
    description: str = ""
    file: str = ""
    line: int = 0

    def may_query(self, caller: Caller) -> bool:
        """True when the caller, or one of its groups, has CAN_QUERY or CAN_MANAGE."""
        if self.permissions is None:
            return True
        return any(
            p.level != "CAN_VIEW"
            and (caller.user in (p.user_name, p.service_principal_name) or p.group_name in caller.groups)
            for p in self.permissions
        )


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """`endpoints.<name>` of `conf/aiq.yml`: what Databricks has no field for. None means: the global setting."""

    concurrency: int | None = None
    timeout_s: float | None = None
    embedding_batch_rows: int | None = None
    reuse: Reuse | None = None
    """Answers of this endpoint; `off` also overrules what a session says."""


@dataclass(frozen=True, slots=True)
class Price:
    """An own price of a model, in US dollars per million tokens."""

    input_per_mtok: float
    output_per_mtok: float
    cached_input_per_mtok: float | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """`conf/aiq.yml`, with its defaults. Times in seconds, sizes in bytes."""

    concurrency: int = 64
    transport: Literal["pyreqwest", "httpx"] = "pyreqwest"
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 120.0
    timeout_s: float = 300.0
    max_response_bytes: int = 64 * 1024 * 1024
    proxy: str | None = None
    ca_file: str | None = None
    retries: int = 10
    """Retries of a row when no other entity can be asked (Databricks: 10)."""
    retries_before_fallback: int = 2
    """Retries of an entity while another one can be asked instead."""
    embedding_batch_rows: int = 128
    account_id: str | None = None
    workspace_id: str | None = None
    user: str | None = None
    groups: tuple[str, ...] = ()
    error_field: Literal["result", "response"] = "result"
    """Name of the first field of the failOnError => false struct."""
    progress: bool = True
    prices: dict[str, Price] = field(default_factory=dict)
    """By model name."""
    endpoints: dict[str, EndpointSettings] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Config:
    """All of a `conf` folder."""

    folder: str
    settings: Settings
    endpoints: dict[str, Endpoint]
