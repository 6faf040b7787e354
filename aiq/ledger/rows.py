"""Outcomes as rows of the Delta tables: which outcome becomes a row of which table, and of what values.

Pure Arrow, whole columns at a time; knows no file and no Delta.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from aiq.ledger.groups import Outcomes
from aiq.ledger.records import (
    CALLS_SCHEMA,
    CALLS_TABLE,
    PAYLOAD_SCHEMA,
    STATEMENTS_SCHEMA,
    STATEMENTS_TABLE,
    USAGE_SCHEMA,
    USAGE_TABLE,
    StatementRow,
)

SEQ = "_seq"
"""A column of int64 ahead of the table's own: the spool's number of the group a row came in. Never stored."""

_CALLS_NAMES = {"endpoint_name": "endpoint", "start_time": "start_us"}
"""Columns of `system.aiq.calls` that are not named as in Outcome."""


def delta_rows(outcomes: Outcomes, *, account_id: str | None, workspace_id: str | None) -> dict[str, Any]:
    """Arrow tables by the name of the Delta table they belong to, each with the column `_seq` in front.

    Every outcome is a row of `system.aiq.calls`; a final one also of the usage and the payload table it asks for. Every
    statement that ended is a row of `system.aiq.statements`.
    """
    tables = {STATEMENTS_TABLE: _statements(outcomes.statements)} if outcomes.statements else {}
    count = len(outcomes.seq)
    if not count:
        return tables
    values = outcomes.columns
    seq = pa.array(outcomes.seq, pa.int64())
    start = pa.array(values["start_us"], pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    context = _contexts(values["usage_context"])
    columns = {"start_us": start, "usage_context": context}

    def column(name: str, kind: pa.DataType) -> pa.Array:
        if name not in columns:
            columns[name] = _array(values[name], kind)
        return columns[name]

    calls = [column(_CALLS_NAMES.get(field.name, field.name), field.type) for field in CALLS_SCHEMA]
    tables[CALLS_TABLE] = _table([seq, *calls], CALLS_SCHEMA)
    final = column("final", pa.bool_())
    usage_rows = pc.and_(final, column("track_usage", pa.bool_()))
    if pc.any(usage_rows).as_py():
        usage = {
            "account_id": pa.repeat(pa.scalar(account_id, pa.string()), count),
            "workspace_id": pa.repeat(pa.scalar(workspace_id, pa.string()), count),
            "databricks_request_id": columns["request_id"],
            "request_time": start,
            "input_token_count": columns["input_tokens"],
            "output_token_count": columns["output_tokens"],
            "input_character_count": column("request_characters", pa.int64()),
            "output_character_count": column("response_characters", pa.int64()),
            "request_streaming": column("streaming", pa.bool_()),
        }
        arrays = [seq, *(usage.get(field.name) or column(field.name, field.type) for field in USAGE_SCHEMA)]
        tables[USAGE_TABLE] = _only(_table(arrays, USAGE_SCHEMA), usage_rows)
    names = {name for name, is_final in zip(values["payload_table"], values["final"], strict=True) if is_final}
    names.discard(None)
    if names:
        payload = _payload(seq, columns, outcomes)
        target = pc.if_else(final, column("payload_table", pa.string()), None)
        for name in sorted(names):
            tables[name] = _only(payload, pc.equal(target, name))
    return tables


def _statements(ended: Sequence[tuple[int, StatementRow]]) -> pa.Table:
    values = dict(zip(StatementRow._fields, zip(*(row for _, row in ended), strict=True), strict=True))
    columns = {
        "start_time": pa.array(values["start_us"], pa.int64()).cast(pa.timestamp("us", tz="UTC")),
        "end_time": pa.array(values["end_us"], pa.int64()).cast(pa.timestamp("us", tz="UTC")),
        "usage_context": _contexts(values["usage_context"]),
    }
    arrays = [
        columns[field.name] if field.name in columns else _array(list(values[field.name]), field.type)
        for field in STATEMENTS_SCHEMA
    ]
    return _table([pa.array([seq for seq, _ in ended], pa.int64()), *arrays], STATEMENTS_SCHEMA)


def _contexts(values: Sequence[dict[str, str] | None]) -> pa.Array:
    contexts = [None if context is None else list(context.items()) for context in values]
    return _array(contexts, USAGE_SCHEMA.field("usage_context").type)


def _only(table: pa.Table, wanted: pa.Array) -> pa.Table:
    """The rows for which `wanted` is true: as a rule all of them, which need no copy."""
    return table if wanted.true_count == len(table) else table.filter(wanted)


def _payload(seq: pa.Array, columns: dict[str, pa.Array], outcomes: Outcomes) -> pa.Table:
    values = outcomes.columns
    requests, responses = values["request"], values["response"]
    codes: list[Sequence[str]] = [()] * len(outcomes.seq)
    for texts, code in ((requests, "MAX_REQUEST_SIZE_EXCEEDED"), (responses, "MAX_RESPONSE_SIZE_EXCEEDED")):
        for row, text in enumerate(texts):
            if type(text) is int:
                texts[row] = None
                codes[row] = (*codes[row], code)
    start = columns["start_us"]
    payload = {
        "databricks_request_id": columns["request_id"],
        "request_date": start.cast(pa.timestamp("us")).cast(pa.date32(), safe=False),
        "client_request_id": _array(values["client_request_id"], pa.string()),
        "request_time": start,
        "sampling_fraction": pa.repeat(1.0, len(start)),
        "execution_duration_ms": pc.round(columns["latency_ms"]).cast(pa.int64(), safe=False),
        "request": _array(requests, pa.string()),
        "response": _array(responses, pa.string()),
        "logging_error_codes": pa.array(codes, pa.list_(pa.string())),
    }
    return _table([seq, *(payload.get(name, columns.get(name)) for name in PAYLOAD_SCHEMA.names)], PAYLOAD_SCHEMA)


def _table(arrays: list[pa.Array], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_arrays(arrays, schema=schema.insert(0, pa.field(SEQ, pa.int64())))


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    """A column. A value that does not fit its type becomes NULL: one odd number must not hold up all other rows."""
    try:
        return pa.array(values, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([value if _fits(value, kind) else None for value in values], kind)


def _fits(value: Any, kind: pa.DataType) -> bool:
    try:
        pa.array([value], kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return False
    return True
