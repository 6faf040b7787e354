"""The receipt of a statement: what its requests took, on one line, by the figures of `system.aiq.statements`."""

from __future__ import annotations

from typing import NamedTuple

from aiq.amounts import dollars, seconds
from aiq.gateway.statements import Ended

WORTH_SAYING_S = 1.0
"""A wait for a rate limit that is shorter than this is not mentioned."""


class Receipt(NamedTuple):
    """What a statement took. `str()` gives the line.

    `requests` are the distinct requests that it needed, `reused` those of them that had an answer already, `failed`
    those without one; `tokens` and `cost_usd` (US dollars) are of all its calls. They are None where they are not
    known. `waited_s` is the longest that one request waited for a rate limit, `limit`. `is_kept` says whether running
    the same statement again asks only for what is missing.
    """

    statement_id: str
    status: str
    """ok, error or cancelled."""
    requests: int | None
    reused: int | None
    failed: int | None
    tokens: int | None
    cost_usd: float | None
    seconds: float
    waited_s: float = 0.0
    limit: str | None = None
    is_kept: bool = False

    def __str__(self) -> str:
        counted = "requests not counted"
        if self.requests is not None:
            requests = f"{self.requests:,} request{'' if self.requests == 1 else 's'}"
            counted = f"{requests} ({self.reused or 0:,} reused, {self.failed or 0:,} failed)"
        parts = [counted]
        if self.tokens is not None:
            parts.append(f"{self.tokens:,} tokens")
        if self.requests is not None:
            parts.append("cost not known" if self.cost_usd is None else dollars(self.cost_usd))
        parts.append(seconds(self.seconds))
        if self.waited_s >= WORTH_SAYING_S:
            parts.append(f"waited up to {seconds(self.waited_s)} for {self.limit or 'a rate limit'}")
        line = ", ".join(parts)
        if self.status == "cancelled":
            line = f"stopped: {line}"
        elif self.status == "error":
            line = f"failed: {line}"
        if self.status != "ok" and self.is_kept and self.requests:
            line += "; what was answered is kept, and running the same again pays only for the rest"
        return line


def receipt_of(ended: Ended, is_kept: bool) -> Receipt:
    """The receipt of a statement that has ended."""
    row = ended.row
    assert row.status is not None and row.end_us is not None  # it has ended
    return Receipt(
        row.statement_id,
        row.status,
        row.requests,
        row.reused,
        row.failed,
        row.tokens,
        row.cost_usd,
        max(0, row.end_us - row.start_us) / 1e6,
        ended.waited_s,
        ended.limit,
        is_kept,
    )
