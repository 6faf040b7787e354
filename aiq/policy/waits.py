"""What requests wait for, in words that a person reads while a statement runs."""

from __future__ import annotations

from typing import NamedTuple


class Wait(NamedTuple):
    """So many requests wait for something. `next_s` is when the next of them may go; None where that is not known."""

    requests: int
    what: str
    next_s: float | None = None

    def __str__(self) -> str:
        verb = "waits" if self.requests == 1 else "wait"
        when = "" if self.next_s is None else f", next in {max(0.0, self.next_s):.0f} s"
        return f"{self.requests:,} {verb} for {self.what}{when}"
