"""`system.ai_gateway.usage`, the usage table of Databricks' newer gateway, as a query over `system.aiq.calls`."""

from __future__ import annotations

from aiq.ledger.records import CALLS_TABLE

GATEWAY_USAGE_VIEW = "system.ai_gateway.usage"

_COLUMNS = {
    "account_id": None,
    "workspace_id": None,
    "request_id": "request_id",
    "schema_version": None,
    "endpoint_id": None,
    "endpoint_name": "endpoint_name",
    "endpoint_tags": None,
    "endpoint_metadata": None,
    "event_time": "start_time",
    "latency_ms": "latency_ms",
    "time_to_first_byte_ms": "time_to_first_token_ms",
    "destination_type": None,
    "destination_name": "served_entity_name",
    "destination_id": "served_entity_id",
    "destination_model": "model",
    "requester": "requester",
    "requester_type": None,
    "ip_address": None,
    "url": None,
    "user_agent": None,
    "api_type": "CASE WHEN task = 'llm/v1/chat' THEN 'mlflow/v1/chat/completions' END",
    "request_tags": "usage_context",
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "total_tokens": "input_tokens + output_tokens",
    "token_details": None,
    "response_content_type": None,
    "status_code": "status_code",
    "routing_information": None,
    "invocation_id": None,
    "invocation_metadata": None,
    "service_type": None,
    "service_id": None,
    "service_name": None,
    "service_tags": None,
    "mcp_metadata": None,
}
"""Its 36 columns in Databricks' order, and what each is of a request's last attempt; None: not known."""


def gateway_usage_query(calls: str = CALLS_TABLE) -> str:
    """The SQL of the view, in the words of both engines. `calls` is how the engine names `system.aiq.calls`."""
    columns = ", ".join(
        f"{'CAST(NULL AS STRING)' if value is None else value} AS {name}" for name, value in _COLUMNS.items()
    )
    return f"SELECT {columns} FROM {calls} WHERE final"
