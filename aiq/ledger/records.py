"""What the ledger keeps of a call, and the schemas of the tables it becomes. Knows no provider and no engine.

An `Intent` is written before bytes leave for a provider, an `Outcome` when the attempt ended, whatever the end.
The last attempt of a request carries `final=True` and the payloads: it becomes the one row that Databricks writes
into the inference table and `system.serving.endpoint_usage`; every attempt becomes a row of `system.aiq.calls`.
Both travel as plain tuples, because a named tuple per row is what the CPU budget allows.
"""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa


class Intent(NamedTuple):
    """An attempt that is about to be made. `start_us`: UTC microseconds since 1970.

    What has a default is for the row of a call whose process died (`groups.orphan`); the fields are those of `Outcome`.
    """

    request_id: str
    attempt: int
    statement_id: str
    endpoint: str
    served_entity_id: str
    requester: str
    start_us: int
    served_entity_name: str | None = None
    provider: str | None = None
    model: str | None = None
    task: str = ""
    client_request_id: str | None = None
    usage_context: dict[str, str] | None = None
    function: str | None = None
    track_usage: bool = False


class Outcome(NamedTuple):
    """How an attempt ended.

    `status` is one of ok, error, cancelled, refused (by our policy, before any call), orphaned (the process died).
    `attempt` counts from 1 over all entities of the request; 0 for a request refused before any call.
    Durations in milliseconds, `start_us` in UTC microseconds, `cost_usd` in US dollars or None if unknown.
    """

    request_id: str
    attempt: int
    statement_id: str
    endpoint: str
    served_entity_id: str | None
    served_entity_name: str | None
    provider: str | None
    model: str | None
    task: str
    requester: str
    start_us: int
    status: str
    status_code: int | None
    error_class: str | None
    error_message: str | None
    latency_ms: float | None
    queue_ms: float
    limit_wait_ms: float
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    reasoning_tokens: int | None
    tokens_estimated: bool
    cost_usd: float | None
    price_version: str | None
    rows: int
    finish_reason: str | None
    cache_hit: bool
    fallback_from: str | None
    final: bool
    # the rest only where final, but for who asked
    track_usage: bool = False
    payload_table: str | None = None
    client_request_id: str | None = None
    usage_context: dict[str, str] | None = None
    streaming: bool = False
    request_characters: int = 0
    response_characters: int = 0
    request: str | None = None
    response: str | None = None
    # what policy decided, NULL where it decided nothing
    limited_by: str | None = None
    """The rate limit that the request waited for longest, or was refused by."""
    guards: str | None = None
    """The guardrails that acted, with a comma between them: `input:pii:EMAIL_ADDRESS`."""
    route: str | None = None
    """Why this entity was asked: traffic, sticky, fallback, hedge, probe, repair."""
    fallback_reason: str | None = None
    """The error class that moved the request on to this entity."""
    cache_write_tokens: int | None = None
    service_tier: str | None = None
    """Of the answer: `standard`, or what the provider calls another one."""
    time_to_first_token_ms: float | None = None
    """From the call's start to the first part of its answer, where the answer came as a stream."""
    unpriced: str | None = None
    """Why `cost_usd` is not known though the provider bills it."""
    statement_hash: str | None = None
    """Of the statement's text: the same for each run of it, without the text, which may hold data."""
    function: str | None = None
    """The SQL function that asked; None for a request over REST."""


class StatementRow(NamedTuple):
    """One SQL statement that has AI calls: written when it starts, and once more, with the rest, when it ends.

    `status` is None while it runs, then one of ok, error, cancelled, orphaned (the process died). `requests` are the
    distinct requests that it needed, `reused` those of them that had an answer already, `failed` those without one;
    `tokens` and `cost_usd` (US dollars) are of all its calls. They are None where they are not known.
    """

    statement_id: str
    text: str | None
    requester: str
    engine: str
    start_us: int
    end_us: int | None = None
    status: str | None = None
    error_message: str | None = None
    requests: int | None = None
    reused: int | None = None
    failed: int | None = None
    tokens: int | None = None
    cost_usd: float | None = None
    statement_hash: str | None = None
    usage_context: dict[str, str] | None = None


_TIMESTAMP = pa.timestamp("us", tz="UTC")

PAYLOAD_SCHEMA = pa.schema(
    [
        ("databricks_request_id", pa.string()),
        ("request_date", pa.date32()),
        ("client_request_id", pa.string()),
        ("request_time", _TIMESTAMP),
        ("status_code", pa.int32()),
        ("sampling_fraction", pa.float64()),
        ("execution_duration_ms", pa.int64()),
        ("request", pa.string()),
        ("response", pa.string()),
        ("logging_error_codes", pa.list_(pa.string())),
        ("served_entity_id", pa.string()),
        ("requester", pa.string()),
    ]
)
"""`<catalog>.<schema>.<prefix>_payload`. Source: Databricks AI Gateway-enabled inference tables."""

USAGE_SCHEMA = pa.schema(
    [
        ("account_id", pa.string()),
        ("workspace_id", pa.string()),
        ("client_request_id", pa.string()),
        ("databricks_request_id", pa.string()),
        ("requester", pa.string()),
        ("status_code", pa.int32()),
        ("request_time", _TIMESTAMP),
        ("input_token_count", pa.int64()),
        ("output_token_count", pa.int64()),
        ("input_character_count", pa.int64()),
        ("output_character_count", pa.int64()),
        ("usage_context", pa.map_(pa.string(), pa.string())),
        ("request_streaming", pa.bool_()),
        ("served_entity_id", pa.string()),
    ]
)
"""`system.serving.endpoint_usage`."""

_CAPACITY = pa.struct([("min_concurrency", pa.int32()), ("max_concurrency", pa.int32()), ("compute_type", pa.string())])
SERVED_ENTITIES_SCHEMA = pa.schema(
    [
        ("served_entity_id", pa.string()),
        ("account_id", pa.string()),
        ("workspace_id", pa.string()),
        ("created_by", pa.string()),
        ("endpoint_name", pa.string()),
        ("endpoint_id", pa.string()),
        ("served_entity_name", pa.string()),
        ("entity_type", pa.string()),
        ("entity_name", pa.string()),
        ("entity_version", pa.string()),
        ("endpoint_config_version", pa.int32()),
        ("task", pa.string()),
        ("external_model_config", pa.struct([("provider", pa.string())])),
        (
            "foundation_model_config",
            pa.struct([("min_provisioned_throughput", pa.int32()), ("max_provisioned_throughput", pa.int32())]),
        ),
        ("custom_model_config", _CAPACITY),
        ("feature_spec_config", _CAPACITY),
        ("change_time", _TIMESTAMP),
        ("endpoint_delete_time", _TIMESTAMP),
    ]
)
"""`system.serving.served_entities`: one row per entity and configuration change."""

CALLS_SCHEMA = pa.schema(
    [
        ("request_id", pa.string()),
        ("attempt", pa.int32()),
        ("statement_id", pa.string()),
        ("endpoint_name", pa.string()),
        ("served_entity_id", pa.string()),
        ("served_entity_name", pa.string()),
        ("provider", pa.string()),
        ("model", pa.string()),
        ("task", pa.string()),
        ("requester", pa.string()),
        ("start_time", _TIMESTAMP),
        ("status", pa.string()),
        ("status_code", pa.int32()),
        ("error_class", pa.string()),
        ("error_message", pa.string()),
        ("latency_ms", pa.float64()),
        ("queue_ms", pa.float64()),
        ("limit_wait_ms", pa.float64()),
        ("input_tokens", pa.int64()),
        ("output_tokens", pa.int64()),
        ("cached_tokens", pa.int64()),
        ("reasoning_tokens", pa.int64()),
        ("tokens_estimated", pa.bool_()),
        ("cost_usd", pa.float64()),
        ("price_version", pa.string()),
        ("rows", pa.int32()),
        ("finish_reason", pa.string()),
        ("cache_hit", pa.bool_()),
        ("fallback_from", pa.string()),
        ("final", pa.bool_()),
        ("limited_by", pa.string()),
        ("guards", pa.string()),
        ("route", pa.string()),
        ("fallback_reason", pa.string()),
        ("cache_write_tokens", pa.int64()),
        ("service_tier", pa.string()),
        ("time_to_first_token_ms", pa.float64()),
        ("unpriced", pa.string()),
        ("client_request_id", pa.string()),
        ("usage_context", pa.map_(pa.string(), pa.string())),
        ("statement_hash", pa.string()),
        ("function", pa.string()),
    ]
)
"""`system.aiq.calls`: one row per provider attempt; `rows` is how many SQL rows the request answers.

A table that an earlier version made gets the columns it lacks with the next commit. What the columns say: see Outcome.
"""

STATEMENTS_SCHEMA = pa.schema(
    [
        ("statement_id", pa.string()),
        ("text", pa.string()),
        ("requester", pa.string()),
        ("start_time", _TIMESTAMP),
        ("end_time", _TIMESTAMP),
        ("status", pa.string()),
        ("error_message", pa.string()),
        ("requests", pa.int64()),
        ("reused", pa.int64()),
        ("failed", pa.int64()),
        ("tokens", pa.int64()),
        ("cost_usd", pa.float64()),
        ("engine", pa.string()),
        ("statement_hash", pa.string()),
        ("usage_context", pa.map_(pa.string(), pa.string())),
    ]
)
"""`system.aiq.statements`: one row per SQL statement with AI calls. What the columns say: see StatementRow."""

ALERTS_SCHEMA = pa.schema(
    [
        ("alert_id", pa.string()),
        ("alert_name", pa.string()),
        ("sequence", pa.int64()),
        ("event", pa.string()),
        ("event_time", _TIMESTAMP),
        ("state", pa.string()),
        ("previous_state", pa.string()),
        ("value", pa.string()),
        ("condition", pa.string()),
        ("error_message", pa.string()),
        ("reason", pa.string()),
        ("delivery", pa.string()),
        ("destinations", pa.string()),
        ("undelivered", pa.string()),
        ("triggered_time", _TIMESTAMP),
        ("notified_time", _TIMESTAMP),
        ("latency_ms", pa.float64()),
        ("requester", pa.string()),
        ("file", pa.string()),
    ]
)
"""`system.aiq.alerts`: one row per evaluation of an alert, and one per notification. What they say: AlertRow."""

CALLS_TABLE = "system.aiq.calls"
ALERTS_TABLE = "system.aiq.alerts"
STATEMENTS_TABLE = "system.aiq.statements"
USAGE_TABLE = "system.serving.endpoint_usage"
SERVED_ENTITIES_TABLE = "system.serving.served_entities"
SYSTEM_TABLES = {
    CALLS_TABLE: CALLS_SCHEMA,
    STATEMENTS_TABLE: STATEMENTS_SCHEMA,
    USAGE_TABLE: USAGE_SCHEMA,
    SERVED_ENTITIES_TABLE: SERVED_ENTITIES_SCHEMA,
    ALERTS_TABLE: ALERTS_SCHEMA,
}
MAX_PAYLOAD_BYTES = 1024 * 1024
"""A request or response longer than this is stored NULL with its code (Databricks v1: 1 MiB)."""
