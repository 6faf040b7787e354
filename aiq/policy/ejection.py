"""Whether a served entity is worth asking: it is ejected for a while after failures, and one request probes it then.

Knows failures by their class and a clock; must never know who else could be asked.
"""

from __future__ import annotations

from collections.abc import Callable

from aiq.errors import ErrorKind

FAILURES_IN_A_ROW = 5
"""After so many an entity is ejected. Envoy's default for outlier detection."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 25.0
"""Doubled with each failed probe. An entity that is well again has traffic half a minute later at the latest."""
FIRST_REFUSED_PAUSE_S, LONGEST_REFUSED_PAUSE_S = 30.0, 300.0
"""After a refusal that does not pass by itself: a person must pay, or correct a key or a name."""

_OUTAGE: frozenset[ErrorKind] = frozenset({"overloaded", "network", "timeout", "bad_answer"})
_REFUSED: frozenset[ErrorKind] = frozenset({"quota_exhausted", "auth", "not_found", "certificate"})


class Health:
    """The state of one served entity: asked as usual, ejected, or probed. Used on the event loop only."""

    __slots__ = ("_clock", "_failures", "_pause_s", "_probing", "_until", "ejected")

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` is monotonic, in seconds."""
        self._clock = clock
        self._failures = 0
        self._pause_s = self._until = 0.0
        self._probing = False
        self.ejected = False

    def available(self) -> bool:
        """Whether it may be asked now: it is not ejected, or it is time for a probe and none is under way."""
        return not self.ejected or (not self._probing and self._clock() >= self._until)

    @property
    def state(self) -> int:
        """0 asked as usual, 1 a probe is due or under way, 2 ejected."""
        return 0 if not self.ejected else 1 if self._probing or self._clock() >= self._until else 2

    def ask(self) -> bool:
        """Says that it is asked now. True where that is a probe, whose end one of the other methods must report."""
        if not self.ejected or self._probing or self._clock() < self._until:
            return False
        self._probing = True
        return True

    def answered(self) -> None:
        """It works: it answered, or refused a request for what the request is."""
        if self._failures or self.ejected:
            self._failures, self._pause_s = 0, 0.0
            self.ejected = self._probing = False

    def failed(self, kind: ErrorKind, *, probe: bool, retry_after_s: float | None = None) -> None:
        """It failed. `probe` is what `ask` said; a rate limit is no failure, and a hint may make the pause longer."""
        if probe:
            self._probing = False
        if kind in _REFUSED:
            first, longest = FIRST_REFUSED_PAUSE_S, LONGEST_REFUSED_PAUSE_S
        elif kind in _OUTAGE:
            self._failures += 1
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
            self._probing = False
