"""What was charged for one request, until it is settled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiq.policy.limits.window import LimitState

Charge = tuple[LimitState, Any, int, int]
"""A bucket, what its `refund` takes, the amount, and its unit."""


class Grant:
    """A request that may go. It waited `waited_s` seconds for the rate limit `limit` (None where it did not wait)."""

    __slots__ = ("characters", "charges", "limit", "waited_s")

    def __init__(self, charges: Sequence[Charge], characters: int) -> None:
        self.charges, self.characters = charges, characters
        self.waited_s = 0.0
        self.limit: str | None = None
