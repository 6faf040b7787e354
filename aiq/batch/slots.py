"""What a statement keeps track of: places of answers, who waits for them, passes over them, counters for progress.

Plain values without behaviour of their own; they know neither loop nor gateway.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


class Slot:
    """The place of one distinct request's answer. `value` is the answer's value, or the error it failed with."""

    __slots__ = ("done", "key", "value", "waves")

    def __init__(self, key: bytes, waves: tuple[Wave, ...] = ()) -> None:
        self.key = key
        self.done = False
        self.value: Any = None
        self.waves = waves  # most slots of a pass share one


class Ask(NamedTuple):
    """One distinct request of a call site: its 16-byte key, its body in OpenAI's shape, the SQL function that asks."""

    key: bytes
    body: dict[str, Any]
    function: str | None = None


class Wave:
    """Some slots that one engine thread waits for."""

    __slots__ = ("event", "remaining")

    def __init__(self) -> None:
        self.remaining = 0
        self.event = threading.Event()


class _Unknown:
    """Stands for an answer that nobody has yet."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = _Unknown()
MAX_WAITING = 100_000
"""Requests that may wait to be sent before the engine is held up."""


Collect = Callable[[object, int, Sequence[bytes], Sequence[int]], None]
"""Takes a call site, its rows that are not NULL, and the keys and characters of their requests, some of them twice."""


class Pass:
    """One run of a statement in which answers are looked up, and what has none yet is noted and asked.

    Call sites of the stages after `frozen` and up to `stage` ask, at most `most` requests in all. `unknown` counts, by
    stage, the look-ups that found nothing and asked nothing. With `collect` nothing is looked up or asked: call sites
    hand their requests to it, and every answer is NULL.
    """

    __slots__ = ("asked", "collect", "frozen", "looked_up", "most", "stage", "unknown", "wave")

    def __init__(
        self, stage: int, *, frozen: int = -1, most: float = float("inf"), collect: Collect | None = None
    ) -> None:
        self.stage, self.frozen, self.most, self.collect = stage, frozen, most, collect
        self.asked = 0
        self.unknown: Counter[int] = Counter()
        self.looked_up = 0
        self.wave = Wave()

    @property
    def complete(self) -> bool:
        """True when every answer was there that a stage that may still ask needed."""
        return not self.asked and not any(stage > self.frozen for stage in self.unknown)


class Progress:
    """Counters of a running statement, read by the progress display without a lock."""

    __slots__ = (
        "answered",
        "asked",
        "by_request",
        "calls",
        "cost_usd",
        "failed",
        "reused",
        "rows",
        "started",
        "tokens",
    )

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.rows = self.reused = self.asked = self.answered = self.failed = self.calls = self.tokens = 0
        self.cost_usd: float | None = 0.0
        self.by_request = False
        """Whether requests are counted, not rows: while answers are looked up, a row is seen several times."""
