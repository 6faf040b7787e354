"""Records to write down, with what a test cares about given by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aiq.ledger.ledger import Ledger
from aiq.ledger.records import Intent, Outcome

PAYLOADS = "main.ai.chat_payload"


@pytest.fixture
def ledger(tmp_path: Path, clock: Callable[[], float]) -> Iterator[Ledger]:
    ledger = Ledger.open(tmp_path / "home", account_id="acc", workspace_id="42", clock=clock)
    yield ledger
    ledger.close()


@pytest.fixture
def outcome() -> Callable[..., Outcome]:
    def make(request_id: str = "req-1", **given: Any) -> Outcome:
        values: dict[str, Any] = {
            "attempt": 1,
            "statement_id": "st-1",
            "endpoint": "chat",
            "served_entity_id": "ent-1",
            "served_entity_name": "gpt",
            "provider": "openai",
            "model": "gpt-4o",
            "task": "llm/v1/chat",
            "requester": "ann@example.com",
            "start_us": 1_700_000_000_000_000,
            "status": "ok",
            "status_code": 200,
            "error_class": None,
            "error_message": None,
            "latency_ms": 123.6,
            "queue_ms": 1.0,
            "limit_wait_ms": 0.0,
            "input_tokens": 10,
            "output_tokens": 20,
            "cached_tokens": 0,
            "reasoning_tokens": 0,
            "tokens_estimated": False,
            "cost_usd": 0.001,
            "price_version": "v1",
            "rows": 1,
            "finish_reason": "stop",
            "cache_hit": False,
            "fallback_from": None,
            "final": True,
            "track_usage": True,
            "payload_table": PAYLOADS,
            "request": '{"q":1}',
            "response": '{"a":1}',
        }
        return Outcome(request_id, **{**values, **given})

    return make


@pytest.fixture
def intent() -> Callable[..., Intent]:
    def make(request_id: str = "req-1", attempt: int = 1) -> Intent:
        return Intent(request_id, attempt, "st-1", "chat", "ent-1", "ann@example.com", 1_700_000_000_000_000)

    return make
