"""EXPLAIN AI for a person begins with a sentence."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from aiq.cli.explanation import explanation, is_explanation, sentence
from aiq.statements.explain import _SCHEMA

CALL: dict[str, Any] = {
    "call": "ai_query('chat', p)", "endpoint": "chat", "rows": 61, "requests": 1053, "answered_from_store": 0,
    "seconds": 61.0, "cost_low_usd": 0.5, "cost_likely_usd": 1.25, "cost_high_usd": 2.0, "exact": True, "note": "",
}  # fmt: skip
TOOK = {"actual_requests": 1000, "actual_reused": 53, "actual_cost_usd": 1.5, "actual_seconds": 12.34}


@pytest.mark.parametrize(
    ("calls", "changed", "words"),
    [
        (1, {}, "It would ask 1,053 requests of 1 call: about $1.25 ($0.5000 to $2.00), 1 min 1 s."),
        (
            2,
            {"exact": False, "answered_from_store": 50, "cost_likely_usd": None, "seconds": None},
            "It would ask about 1,053 requests of 2 calls: cost not known, time not known; 50 have an answer already.",
        ),
        (0, {"note": "no row reaches an AI call"}, "Nothing is asked: no row reaches an AI call."),
        (
            1,
            {**TOOK, "cost_low_usd": 1.25, "cost_high_usd": 1.25},
            "It asked 1,000 requests (53 reused): $1.50, 12.3 s. Expected were 1,053 requests: $1.25, 1 min 1 s.",
        ),
    ],
)
def test_it_says_what_would_be_asked(calls: int, changed: dict[str, Any], words: str) -> None:
    assert sentence([CALL] * calls, {**CALL, "call": "total", **changed}) == words


def test_an_explanation_is_known_by_its_columns() -> None:
    assert is_explanation(_SCHEMA.names) and not is_explanation(["call", "endpoint"])


def test_what_is_not_known_of_a_call_is_null() -> None:
    unknown = {**CALL, "cost_likely_usd": None, "seconds": None}
    rows = [tuple(row[name] for name in CALL) for row in (unknown, {**CALL, "call": "total"})]
    result = SimpleNamespace(columns=list(CALL), fetchall=lambda: rows)
    console = Console(file=io.StringIO(), width=120)
    console.print(explanation(cast(Any, result)))
    assert "NULL" in cast(io.StringIO, console.file).getvalue()
