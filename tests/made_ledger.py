"""A ledger of made-up calls for tests of analyses: what a week of several endpoints, users and failures leaves."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from aiq.ledger import delta
from aiq.ledger.records import (
    CALLS_SCHEMA,
    CALLS_TABLE,
    SERVED_ENTITIES_SCHEMA,
    SERVED_ENTITIES_TABLE,
    STATEMENTS_SCHEMA,
    STATEMENTS_TABLE,
    USAGE_SCHEMA,
    USAGE_TABLE,
)

Rows = list[dict[str, Any]]
_ENTITIES = {
    "chat": [("weak", "openai", "sim-503"), ("strong", "openai", "gpt-4o-mini")],
    "o'brien": [("own", "custom", None)],
}
_TAGS: list[dict[str, str] | None] = [None, {}, {"project": "churn"}, {"project": "it's", "team": "x"}, {"team": "x"}]


def made_ledger(
    home: Path, now: datetime, requests: int = 300, spread: timedelta = timedelta(days=7)
) -> dict[str, Rows]:
    """Writes the tables of a home, and returns their rows by the table's name. The same ones for the same `now`.

    Its requests began within `spread` before that.
    """
    chance = random.Random(20261130)
    calls: Rows = []
    for number in range(requests):
        calls += _request(chance, number, now - chance.uniform(0, 1) * spread)
    rows = {
        CALLS_TABLE: calls,
        STATEMENTS_TABLE: [_statement(chance, number, calls, now) for number in range(25)],
        USAGE_TABLE: [_usage(call) for call in calls if call["final"]],
        SERVED_ENTITIES_TABLE: _entities(now),
    }
    schemas = {
        CALLS_TABLE: CALLS_SCHEMA,
        STATEMENTS_TABLE: STATEMENTS_SCHEMA,
        USAGE_TABLE: USAGE_SCHEMA,
        SERVED_ENTITIES_TABLE: SERVED_ENTITIES_SCHEMA,
    }
    for name, schema in schemas.items():
        table = pa.Table.from_pylist([{field: row.get(field) for field in schema.names} for row in rows[name]], schema)
        delta.append(delta.located(home / "tables", name), name, schema, {}, lambda _, table=table: table)
    return rows


def _request(chance: random.Random, number: int, start: datetime) -> Rows:
    """The attempts of one request: refused or reused without one, or up to three."""
    endpoint = chance.choice(["chat", "chat", "o'brien"])
    common = {
        "request_id": f"r{number:04}",
        "statement_id": chance.choice([None, *(f"s{n:02}" for n in range(30))]),
        "endpoint_name": endpoint,
        "task": "llm/v1/chat",
        "requester": chance.choice(["ann@example.com", "bob@example.com", "o'hara"]),
        "usage_context": chance.choice(_TAGS),
        "queue_ms": chance.uniform(0, 50),
        "limit_wait_ms": chance.choice([0.0, chance.uniform(0, 9000)]),
        "limited_by": chance.choice([None, None, "user: 10 calls a minute"]),
        "guards": chance.choice([None, None, None, "input:pii:EMAIL_ADDRESS"]),
        "tokens_estimated": False,
        "rows": chance.randint(1, 4),
        "cache_hit": False,
    }
    common["statement_hash"] = common["statement_id"] and f"h{common['statement_id']}"
    kind = chance.random()
    if kind < 0.15:
        return [common | {"attempt": 0, "start_time": start, "status": "refused", "status_code": 403, "final": True}]
    if kind < 0.3:
        return [
            common
            | {"attempt": 0, "start_time": start, "status": "ok", "status_code": 200, "final": True}
            | {"cache_hit": True, "cost_usd": 0.0, "latency_ms": 0.0}
        ]
    attempts = chance.randint(1, 3)
    found: Rows = []
    for attempt in range(1, attempts + 1):
        entity, provider, model = chance.choice(_ENTITIES[endpoint])
        before = found[-1] if found else None
        moved = before is not None and before["served_entity_name"] != entity
        row = common | {
            "attempt": attempt,
            "start_time": start + timedelta(seconds=attempt),
            "served_entity_id": f"id-{entity}",
            "served_entity_name": entity,
            "provider": provider,
            "final": attempt == attempts,
            "route": "fallback" if moved else "traffic",
            "fallback_from": before["served_entity_name"] if moved and before else None,
        }
        if attempt < attempts or chance.random() < 0.1:
            error, code = chance.choice([("rate_limited", 429), ("overloaded", 503), ("timeout", None)])
            row |= {"status": "error", "error_class": error, "status_code": code, "latency_ms": chance.uniform(1, 9000)}
        elif chance.random() < 0.05:
            row |= {"status": "orphaned", "unpriced": "the end is not known", "rows": 0}
        else:
            row |= {
                "status": "ok",
                "status_code": 200,
                "latency_ms": chance.uniform(1, 9000),
                "model": model or "own-1",
            }
            row |= {"input_tokens": chance.randint(1, 900), "output_tokens": chance.randint(0, 300)}
            row |= {"cost_usd": chance.uniform(0, 0.01)} if model else {"unpriced": "own-1 has no price"}
            row |= {"time_to_first_token_ms": chance.choice([None, chance.uniform(1, 500)])}
        found.append(row)
    return found


def _statement(chance: random.Random, number: int, calls: Rows, now: datetime) -> dict[str, Any]:
    own = [call for call in calls if call["statement_id"] == f"s{number:02}"]
    start = min((call["start_time"] for call in own), default=now)
    ended = number % 9 != 8
    return {
        "statement_id": f"s{number:02}",
        "statement_hash": f"hs{number:02}",
        "text": f"SELECT ai_query('chat', '{number}')",
        "requester": "ann@example.com",
        "engine": "duckdb",
        "start_time": start,
        "end_time": start + timedelta(seconds=chance.uniform(0, 200000)) if ended else None,
        "status": "ok" if ended else "orphaned",
        "requests": len({call["request_id"] for call in own}) if ended else None,
        "cost_usd": sum(call.get("cost_usd") or 0 for call in own) if ended else None,
    }


def _usage(call: dict[str, Any]) -> dict[str, Any]:
    return {
        "databricks_request_id": call["request_id"],
        "requester": call["requester"],
        "status_code": call.get("status_code"),
        "request_time": call["start_time"],
        "input_token_count": call.get("input_tokens"),
        "output_token_count": call.get("output_tokens"),
        "usage_context": call["usage_context"],
        "served_entity_id": call.get("served_entity_id"),
    }


def _entities(now: datetime) -> Rows:
    return [
        {
            "served_entity_id": f"id-{entity}",
            "endpoint_name": endpoint,
            "served_entity_name": entity,
            "entity_name": model,
            "endpoint_config_version": version,
            "change_time": (now - timedelta(days=9 - version)).astimezone(UTC),
        }
        for endpoint, served in _ENTITIES.items()
        for entity, _, model in served
        for version in (1, 2)
    ]
