"""What a serving endpoint is, once read and validated. Plain immutable values; knows no file format.

Source of the names: Databricks' serving-endpoints REST API and Asset Bundles.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from aiq.config.connections import ProviderConfig, Secret
from aiq.config.destinations import Destination
from aiq.config.reuse import Reuse
from aiq.config.tls import TlsConfig
from aiq.request import Caller, Task

Provider = Literal[
    "openai",
    "custom",
    "anthropic",
    "cohere",
    "ai21labs",
    "palm",
    "amazon-bedrock",
    "google-cloud-vertex-ai",
    "databricks-model-serving",
    "model-server",
]
"""Databricks' names; `model-server` is where a custom model is scored."""


@dataclass(frozen=True, slots=True)
class ServedEntity:
    """One model behind an endpoint. `traffic_percentage` 0 means: only as a fallback."""

    id: str
    name: str
    provider: Provider
    model: str
    task: Task
    config: ProviderConfig
    traffic_percentage: int = 100
    entity_version: str | None = None
    context_window: int | None = None
    """Tokens of prompt and answer together, where the file says it."""
    headers: tuple[tuple[str, Secret], ...] = ()
    """What goes with each request beside the provider's own headers; names in lower case."""
    tls: TlsConfig | None = None


LimitUnit = Literal["calls", "tokens", "input_tokens", "output_tokens", "concurrency", "cost_usd"]
LimitKey = Literal["endpoint", "user", "user_group", "service_principal", "usage_context"]


@dataclass(frozen=True, slots=True)
class RateLimit:
    """One entry of `rate_limits`, or of our own `aiq.rate_limits`: at most `amount` of `unit` in any `period_s`.

    `principal` None with key user is the default of every user. `tag` names the tag of key usage_context, each value
    of which has the full amount. `cost_usd` is in US dollars. `concurrency` is in flight at once; its period is 0.
    """

    amount: float
    key: LimitKey = "endpoint"
    principal: str | None = None
    unit: LimitUnit = "calls"
    period_s: int = 60
    tag: str | None = None


@dataclass(frozen=True, slots=True)
class Permission:
    """One `permissions` entry of a bundle. Exactly one of the names is set."""

    level: Literal["CAN_VIEW", "CAN_QUERY", "CAN_MANAGE"]
    user_name: str | None = None
    group_name: str | None = None
    service_principal_name: str | None = None


@dataclass(frozen=True, slots=True)
class SideGuardrails:
    """`guardrails.input` or `guardrails.output`: what is checked there. Keywords and topics as written."""

    safety: bool = False
    pii: Literal["NONE", "BLOCK", "MASK"] = "NONE"
    invalid_keywords: tuple[str, ...] = ()
    valid_topics: tuple[str, ...] = ()
    custom: tuple[str, ...] = ()
    """Endpoints of custom guardrails, in order."""

    @property
    def active(self) -> bool:
        """True where anything is checked."""
        return bool(self.safety or self.pii != "NONE" or self.invalid_keywords or self.valid_topics or self.custom)


PII_ENTITIES = (
    "CREDIT_CARD", "EMAIL_ADDRESS", "IBAN_CODE", "IP_ADDRESS", "PHONE_NUMBER", "US_BANK_NUMBER", "US_SSN",
)  # fmt: skip
"""The kinds of personal data looked for where a configuration names none, in presidio's words."""


@dataclass(frozen=True, slots=True)
class Guardrails:
    """`ai_gateway.guardrails`, with what Databricks has no words for from `ai_gateway.aiq.guardrails`.

    `entities` and `languages` are presidio's; `ner_model` is an installed spaCy package, None without names.
    `on_error` is what happens to a request whose guard fails or takes longer than `timeout_s`. `safety_categories`
    None blocks every category; the format says how the endpoint answers.
    """

    input: SideGuardrails = SideGuardrails()
    output: SideGuardrails = SideGuardrails()
    entities: tuple[str, ...] = PII_ENTITIES
    languages: tuple[str, ...] = ("en",)
    ner_model: str | None = None
    score_threshold: float = 0.0
    timeout_s: float = 10.0
    on_error: Literal["block", "allow"] = "block"
    log_blocked: bool = False
    """Whether the payload table shows what was blocked."""
    safety_endpoint: str | None = None
    safety_format: Literal["llama-guard", "moderation"] = "llama-guard"
    safety_categories: tuple[str, ...] | None = None
    topics_endpoint: str | None = None

    def endpoints(self) -> tuple[str, ...]:
        """The endpoints that are asked, each once."""
        sides = (self.input, self.output)
        asked = [name for side in sides for name in side.custom]
        if any(side.safety for side in sides) and self.safety_endpoint is not None:
            asked.append(self.safety_endpoint)
        if any(side.valid_topics for side in sides) and self.topics_endpoint is not None:
            asked.append(self.topics_endpoint)
        return tuple(dict.fromkeys(asked))


@dataclass(frozen=True, slots=True)
class FailoverConfig:
    """`ai_gateway.aiq`: what Databricks has no words for in choosing and leaving a served entity.

    `sticky` keeps a user, or a client_request_id, with one entity. `hedging` asks a second time when an answer takes
    longer than nearly all before it. The timeouts, None for none, are for the first token and between two.
    """

    sticky: Literal["user", "client_request_id", "none"] = "none"
    hedging: bool = False
    first_token_timeout_s: float | None = None
    idle_timeout_s: float | None = None


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
    aiq_rate_limits: tuple[RateLimit, ...] = ()
    """Those that Databricks has no words for."""
    fallback: bool = False
    failover: FailoverConfig = FailoverConfig()
    track_usage: bool = False
    inference_table: str | None = None
    guardrails: Guardrails | None = None
    permissions: tuple[Permission, ...] | None = None
    tags: tuple[tuple[str, str], ...] = ()
    description: str = ""
    file: str = ""
    line: int = 0
    config_version: int = 1
    """How often the control plane has changed what is served, from 1 on."""

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
    return_type: str | None = None
    """What a custom model answers, as DDL: the returnType of calls that have none."""


@dataclass(frozen=True, slots=True)
class Price:
    """An own price of a model, in US dollars per million tokens.

    Cached tokens and cache writes cost what input does where they are None; hours in the cache, audio and images then
    have no known price. `tiers` are those of longer prompts, shortest first; in one, `above_input_tokens` is what a
    prompt must exceed. `service_tiers` are what all of it is multiplied by for an answer of such a tier (`flex`: 0.5).
    """

    input_per_mtok: float
    output_per_mtok: float
    cached_input_per_mtok: float | None = None
    cache_write_per_mtok: float | None = None
    above_input_tokens: int = 0
    tiers: tuple[Price, ...] = ()
    cache_write_1h_per_mtok: float | None = None
    audio_input_per_mtok: float | None = None
    cached_audio_per_mtok: float | None = None
    audio_output_per_mtok: float | None = None
    image_output_per_mtok: float | None = None
    service_tiers: tuple[tuple[str, float], ...] = ()


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
    plain_http_hosts: tuple[str, ...] = ()
    credential_hosts: tuple[str, ...] = ()
    """Where a machine's own cloud credentials may go beside that cloud: a company's gateway."""
    """Hosts to which a secret may be sent without encryption."""
    fetch_images: bool = False
    """Whether images that a request links are got from the public web, for providers that take bytes."""
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
    limits_store: Literal["file", "memory", "redis"] = "file"
    """Who shares rate limits: all processes on one home, this process alone, or all that use one Redis."""
    limits_redis_url: str | None = None
    limits_redis_password: Secret | None = None
    tables: str | None = None
    """Where the Delta tables are: a folder or an object store's URI; None: in the home."""
    storage_options: dict[str, str | Secret] = field(default_factory=dict)
    """Options of the object store's client, by deltalake's names."""
    prices: dict[str, Price] = field(default_factory=dict)
    """By model name."""
    endpoints: dict[str, EndpointSettings] = field(default_factory=dict)
    catalogs: dict[str, str | None] = field(default_factory=dict)
    """Catalogs of Databricks texts by name: a database of the engine; None: the current one."""
    volumes: dict[str, str] = field(default_factory=dict)
    """Folders by the prefix of a volume, such as /Volumes/main/docs/raw."""
    alert_destinations: dict[str, Destination] = field(default_factory=dict)
    """Where alerts are sent, by name."""
    webhook_hosts: tuple[str, ...] = ()
    """Hosts inside, or over plain http, that an alert's webhook may go to."""


@dataclass(frozen=True, slots=True)
class Config:
    """All of a `conf` folder."""

    folder: str
    settings: Settings
    endpoints: dict[str, Endpoint]
