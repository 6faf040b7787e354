"""The texts of the setting `reuse`."""

from __future__ import annotations

import pytest

from aiq.config.reuse import DEFAULT_TTL_S, Reuse, parse_reuse
from aiq.errors import StatementError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("statement", Reuse("statement")),
        (" Session ", Reuse("session")),
        ("OFF", Reuse("off")),
        ("durable", Reuse("durable", DEFAULT_TTL_S)),
        ("durable 7 days", Reuse("durable", 7 * 86400.0)),
        ("durable  1 day", Reuse("durable", 86400.0)),
        ("durable 12h", Reuse("durable", 43200.0)),
        ("durable 1.5 hours", Reuse("durable", 5400.0)),
        ("durable 90 min", Reuse("durable", 5400.0)),
        ("durable 30s", Reuse("durable", 30.0)),
        ("durable 2 Weeks", Reuse("durable", 14 * 86400.0)),
        ("durable\t2 weeks", Reuse("durable", 14 * 86400.0)),
    ],
)
def test_reuse_is_read(text: str, expected: Reuse) -> None:
    assert parse_reuse(text) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected 'statement'"),
        ("forever", "expected 'statement'"),
        ("durable7days", "expected 'statement'"),
        ("session 7 days", "only 'durable' takes a time"),
        ("durable 7", "unit is missing"),
        ("durable 7 months", "'months' is no unit"),
        ("durable 0 days", "above zero"),
        ("durable -1 days", "no time"),
        ("durable days", "no time"),
        ("durable 1 day 2 hours", "no time"),
        ("durable " + "9" * 400 + " days", "finite"),
    ],
)
def test_what_is_no_reuse_is_refused_with_what_to_write(text: str, says: str) -> None:
    with pytest.raises(StatementError, match=says):
        parse_reuse(text)
