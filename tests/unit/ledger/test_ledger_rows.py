"""Which outcome becomes a row of which table, and of what values."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest

from aiq.ledger import groups
from aiq.ledger.records import (
    CALLS_SCHEMA,
    CALLS_TABLE,
    MAX_PAYLOAD_BYTES,
    PAYLOAD_SCHEMA,
    USAGE_SCHEMA,
    USAGE_TABLE,
    Outcome,
)
from aiq.ledger.rows import delta_rows

Make = Callable[..., Outcome]
PAYLOADS = "main.ai.chat_payload"


def rows(*outcomes: Outcome) -> dict[str, list[dict[str, Any]]]:
    decoded = groups.decode([(7, groups.encode([], outcomes))], groups.default_fields(), {})
    tables = delta_rows(decoded, account_id="acc", workspace_id="42")
    return {name: table.drop_columns(["_seq"]).to_pylist() for name, table in tables.items()}


def test_every_outcome_is_a_call(outcome: Make) -> None:
    calls = rows(outcome("a", final=False), outcome("a", attempt=2))[CALLS_TABLE]
    assert [(c["request_id"], c["attempt"], c["final"]) for c in calls] == [("a", 1, False), ("a", 2, True)]


def test_a_call_names_its_endpoint_and_start(outcome: Make) -> None:
    (call,) = rows(outcome())[CALLS_TABLE]
    assert (call["endpoint_name"], call["start_time"]) == ("chat", datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC))


def test_only_a_final_outcome_is_used_and_logged(outcome: Make) -> None:
    assert set(rows(outcome(final=False))) == {CALLS_TABLE}


def test_usage_is_only_written_where_it_is_tracked(outcome: Make) -> None:
    usage = rows(outcome("a", track_usage=False), outcome("b"))[USAGE_TABLE]
    assert [row["databricks_request_id"] for row in usage] == ["b"]


def test_a_usage_row_has_the_counts_and_the_context(outcome: Make) -> None:
    (row,) = rows(
        outcome(
            client_request_id="mine",
            usage_context={"team": "x", "app": "y"},
            request_characters=300,
            response_characters=600,
            streaming=True,
        )
    )[USAGE_TABLE]
    assert row == {
        "account_id": "acc",
        "workspace_id": "42",
        "client_request_id": "mine",
        "databricks_request_id": "req-1",
        "requester": "ann@example.com",
        "status_code": 200,
        "request_time": datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC),
        "input_token_count": 10,
        "output_token_count": 20,
        "input_character_count": 300,
        "output_character_count": 600,
        "usage_context": [("team", "x"), ("app", "y")],
        "request_streaming": True,
        "served_entity_id": "ent-1",
    }


def test_payloads_go_to_the_table_of_their_endpoint(outcome: Make) -> None:
    tables = rows(outcome("a"), outcome("b", payload_table="x.y.z_payload"), outcome("c", payload_table=None))
    assert [row["databricks_request_id"] for row in tables[PAYLOADS]] == ["a"]
    assert [row["databricks_request_id"] for row in tables["x.y.z_payload"]] == ["b"]


def test_a_payload_row_is_what_databricks_writes(outcome: Make) -> None:
    (row,) = rows(outcome(client_request_id="mine"))[PAYLOADS]
    assert row == {
        "databricks_request_id": "req-1",
        "request_date": date(2023, 11, 14),
        "client_request_id": "mine",
        "request_time": datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC),
        "status_code": 200,
        "sampling_fraction": 1.0,
        "execution_duration_ms": 124,
        "request": '{"q":1}',
        "response": '{"a":1}',
        "logging_error_codes": [],
        "served_entity_id": "ent-1",
        "requester": "ann@example.com",
    }


def test_a_refused_request_has_no_duration(outcome: Make) -> None:
    (row,) = rows(outcome(attempt=0, status="refused", latency_ms=None, status_code=429))[PAYLOADS]
    assert (row["status_code"], row["execution_duration_ms"]) == (429, None)


@pytest.mark.parametrize(
    ("field", "code"),
    [("request", "MAX_REQUEST_SIZE_EXCEEDED"), ("response", "MAX_RESPONSE_SIZE_EXCEEDED")],
)
def test_a_payload_over_the_limit_is_null_with_its_code(outcome: Make, field: str, code: str) -> None:
    (row,) = rows(outcome(**{field: "x" * (MAX_PAYLOAD_BYTES + 1)}))[PAYLOADS]
    assert (row[field], row["logging_error_codes"]) == (None, [code])


def test_a_value_that_does_not_fit_its_column_is_null_and_holds_up_nothing(outcome: Make) -> None:
    calls = rows(outcome("a", input_tokens="many"), outcome("b"))[CALLS_TABLE]
    assert [call["input_tokens"] for call in calls] == [None, 10]


def test_columns_are_in_the_order_of_the_schemas(outcome: Make) -> None:
    decoded = groups.decode([(7, groups.encode([], [outcome()]))], groups.default_fields(), {})
    tables = delta_rows(decoded, account_id=None, workspace_id=None)
    schemas = {CALLS_TABLE: CALLS_SCHEMA, USAGE_TABLE: USAGE_SCHEMA, PAYLOADS: PAYLOAD_SCHEMA}
    assert {name: table.schema.remove(0) for name, table in tables.items()} == schemas
