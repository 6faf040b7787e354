"""What a person reads at the end of a statement."""

from __future__ import annotations

from typing import Any

import pytest

from aiq.amounts import dollars, seconds
from aiq.statements.receipt import Receipt


def receipt(**changed: Any) -> Receipt:
    return Receipt("s", "ok", 8, 1, 0, 1494, 0.00048, 2.31)._replace(**changed)


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({}, "8 requests (1 reused, 0 failed), 1,494 tokens, $0.0005, 2.3 s"),
        ({"requests": 1, "reused": 0, "cost_usd": 0.0}, "1 request (0 reused, 0 failed), 1,494 tokens, $0, 2.3 s"),
        ({"cost_usd": None}, "8 requests (1 reused, 0 failed), 1,494 tokens, cost not known, 2.3 s"),
        (
            {"waited_s": 61.0, "limit": "Requests-per-minute (RPM) rate limit for user"},
            "8 requests (1 reused, 0 failed), 1,494 tokens, $0.0005, 2.3 s, waited up to 1 min 1 s for "
            "Requests-per-minute (RPM) rate limit for user",
        ),
        ({"waited_s": 0.2}, "8 requests (1 reused, 0 failed), 1,494 tokens, $0.0005, 2.3 s"),
        ({"status": "cancelled"}, "stopped: 8 requests (1 reused, 0 failed), 1,494 tokens, $0.0005, 2.3 s"),
        (
            {"status": "error", "failed": 1, "is_kept": True},
            "failed: 8 requests (1 reused, 1 failed), 1,494 tokens, $0.0005, 2.3 s; what was answered is kept, and "
            "running the same again pays only for the rest",
        ),
        (
            {"requests": None, "reused": None, "failed": None, "tokens": None, "cost_usd": None},
            "requests not counted, 2.3 s",
        ),
    ],
)
def test_the_line_says_what_it_took(changed: dict[str, Any], line: str) -> None:
    assert str(receipt(**changed)) == line


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        (0.0, "$0"), (1234.5, "$1,234.50"), (1.0, "$1.00"), (0.0312, "$0.0312"), (0.0001, "$0.0001"),
        (0.0000726, "$0.000073"), (3e-9, "$0.000000003"),
    ],
)  # fmt: skip
def test_dollars_have_the_digits_that_say_something(amount: float, words: str) -> None:
    assert dollars(amount) == words


@pytest.mark.parametrize(
    ("amount", "words"), [(0.04, "0.0 s"), (59.9, "59.9 s"), (125.0, "2 min 5 s"), (3780.0, "1 h 3 min")]
)
def test_durations_are_in_words(amount: float, words: str) -> None:
    assert seconds(amount) == words
