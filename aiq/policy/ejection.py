"""Whether a served entity is worth asking: it is ejected for a while after failures, and one request probes it then.

Knows failures by their class and a clock; must never know who else could be asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiq.errors import ErrorKind, ProviderError

FAILURES_IN_A_ROW = 5
"""After so many an entity is ejected. Envoy's default for outlier detection."""
HELD_AFTER = 20
"""Failures in a row after which a batch that has no other entity waits for a probe. Where six of ten requests fail by
chance, that many in a row come once in 27,000."""
_SILENCE = 4
"""A timeout counts as so many failures: it took as long as many requests, and is hardly chance."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 25.0
"""Doubled with each failed probe. An entity that is well again has traffic half a minute later at the latest."""
FIRST_REFUSED_PAUSE_S, LONGEST_REFUSED_PAUSE_S = 30.0, 300.0
"""After a refusal that does not pass by itself: a person must pay, or correct a key or a name."""

_OUTAGE: frozenset[ErrorKind] = frozenset({"overloaded", "network", "timeout", "bad_answer"})
_REFUSED: frozenset[ErrorKind] = frozenset({"quota_exhausted", "auth", "not_found", "certificate"})


class Health:
    """The state of one served entity: asked as usual, ejected, or probed. Used on the event loop only."""

    __slots__ = (
        "_clock",
        "_failed_before",
        "_failures",
        "_pause_s",
        "_probing",
        "_until",
        "_waiting",
        "_weight",
        "announced",
        "answers",
        "ejected",
        "failed_probes",
        "last_error",
    )

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` is monotonic, in seconds."""
        self._clock = clock
        self._failures = self._weight = 0
        self._failed_before: dict[str, int] = {}
        self._pause_s = self._until = 0.0
        self._probing = False
        self._waiting: list[asyncio.Future[None]] = []
        self.ejected = self.announced = False
        self.answers = self.failed_probes = 0  # the latter since the last answer
        self.last_error: ProviderError | None = None

    @property
    def held(self) -> bool:
        """Whether it answers nobody: a batch that can ask nobody else waits until a probe is answered.

        What a person must put right (a key, a name, a bill) is not waited for.
        """
        passes = self.last_error is not None and self.last_error.kind in _OUTAGE
        return self.ejected and self._weight >= HELD_AFTER and passes

    def probes_failed(self, statement_id: str) -> int:
        """How many probes have failed since a statement first asked this, or since the last answer."""
        return self.failed_probes - self._failed_before.setdefault(statement_id, self.failed_probes)

    @property
    def is_probed(self) -> bool:
        """Whether a probe is under way."""
        return self._probing

    @property
    def probe_in_s(self) -> float:
        """Seconds until the next probe may be made."""
        return max(0.0, self._until - self._clock())

    async def probe_ended(self) -> None:
        """Returns when the probe that is under way has ended."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        await waiter

    def available(self) -> bool:
        """Whether it may be asked now: it is not ejected, or it is time for a probe and none is under way."""
        return not self.ejected or (not self._probing and self._clock() >= self._until)

    def ask(self) -> bool:
        """Says that it is asked now. True where that is a probe, whose end one of the other methods must report."""
        if not self.ejected or self._probing or self._clock() < self._until:
            return False
        self._probing = True
        return True

    def answered(self) -> None:
        """It works: it answered, or refused a request for what the request is."""
        self.answers += 1
        if self._failures or self.ejected:
            self._failures, self._weight, self._pause_s, self.failed_probes = 0, 0, 0.0, 0
            self._failed_before.clear()
            self.ejected = self.announced = False
            self._end_probe()

    def failed(self, kind: ErrorKind, *, probe: bool, retry_after_s: float | None = None) -> None:
        """It failed. `probe` is what `ask` said; a rate limit is no failure, and a hint may make the pause longer."""
        if probe:
            self._end_probe()
            self.failed_probes += kind in _OUTAGE
        if kind in _REFUSED:
            first, longest = FIRST_REFUSED_PAUSE_S, LONGEST_REFUSED_PAUSE_S
        elif kind in _OUTAGE:
            self._failures += 1
            self._weight += _SILENCE if kind == "timeout" else 1
            if not probe and self._failures < FAILURES_IN_A_ROW:
                return
            first, longest = FIRST_PAUSE_S, LONGEST_PAUSE_S
        elif kind == "rate_limited":
            if probe:
                self._until = self._clock() + max(self._pause_s, retry_after_s or 0.0)
            return
        else:
            return self.answered()
        if self.ejected and not probe:
            return  # it was sent before the others had failed, and tells nothing new
        self._pause_s = min(longest, max(first, 2 * self._pause_s))
        self._until = self._clock() + max(self._pause_s, retry_after_s or 0.0)
        self.ejected = True

    def left(self, *, probe: bool) -> None:
        """Its answer was not waited for."""
        if probe:
            self._end_probe()

    def _end_probe(self) -> None:
        self._probing = False
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)
