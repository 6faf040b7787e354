"""Rate limits of the simulated providers: one set of limits per (vendor, API key, model), and what they are made of.

How requests are counted and refused is the vendor's: see `limits.py`. Knows no wire format; the clocks are passed in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from aiq.simulator.exchange import Counts, VendorRequest
from aiq.simulator.profile import Quota


class Limits(Protocol):
    """The limits of one key on one model."""

    def __init__(self, quota: Quota, now_s: float) -> None: ...

    def admit(self, asked: VendorRequest, now_s: float, epoch_s: float) -> bytes:
        """Take what the request needs, or refuse and take nothing.

        `now_s` never goes back; `epoch_s` is in seconds since 1970, for headers. Returns the header lines of the
        answer. Raises OverQuota with its own.
        """
        ...

    def settle(self, asked: VendorRequest, counts: Counts | None, now_s: float) -> None:
        """Correct what was taken, when the answer is over; `counts` None: it was none, and is not billed."""
        ...


class RefillingBucket:
    """A bucket that holds `limit` units, is full at first, and refills `limit` units every `period_s` seconds.

    Its level may be negative: a debt, which the refilling pays first.
    """

    __slots__ = ("_at_s", "_level", "limit", "period_s")

    def __init__(self, limit: int, now_s: float, period_s: float = 60.0) -> None:
        self.limit, self._level, self._at_s, self.period_s = limit, float(limit), now_s, period_s

    def level(self, now_s: float) -> float:
        """Units that could be taken at `now_s` (seconds)."""
        self._level = min(self.limit, self._level + (now_s - self._at_s) * self.limit / self.period_s)
        self._at_s = now_s
        return self._level

    def has(self, units: float) -> bool:
        """Whether `units` were there when `level` was asked last."""
        # Refilling in floating point may leave a bucket a hair below the whole unit it owes.
        return self._level >= units - 1e-6

    def take(self, units: float) -> None:
        """Take units; negative ones are given back."""
        self._level = min(self.limit, self._level - units)

    def wait_s(self, units: float) -> float:
        """Seconds until `units` are present, counted from when `level` was asked last."""
        return max(0.0, (units - self._level) * self.period_s / self.limit)

    @property
    def remaining(self) -> int:
        """Whole units that were there when `level` was asked last, less what was taken since."""
        return max(0, int(self._level + 1e-6))


class QuotaBook:
    """All limits of a running simulator. `clock` gives seconds and never goes back; `epoch` seconds since 1970."""

    def __init__(self, quotas: tuple[Quota, ...], clock: Callable[[], float], epoch: Callable[[], float]) -> None:
        self._quotas, self._clock, self._epoch = quotas, clock, epoch
        self._limits: dict[tuple[type[Limits], str, str], Limits | None] = {}

    def reset(self) -> None:
        """Forget what was used."""
        self._limits.clear()

    def of(self, kind: type[Limits], key: str, model: str) -> Limits | None:
        """The limits of a key on a model, counted in the vendor's way (`kind`); None where no quota applies."""
        if not self._quotas:
            return None
        entry = (kind, key, model)
        if entry not in self._limits:
            quota = next((q for q in self._quotas if q.applies_to(model)), None)
            self._limits[entry] = None if quota is None else kind(quota, self._clock())
        return self._limits[entry]

    def admit(self, limits: Limits | None, asked: VendorRequest) -> bytes:
        """`Limits.admit`, now."""
        return b"" if limits is None else limits.admit(asked, self._clock(), self._epoch())

    def settle(self, limits: Limits, asked: VendorRequest, counts: Counts | None) -> None:
        """`Limits.settle`, now."""
        limits.settle(asked, counts, self._clock())


def format_reset(seconds: float) -> str:
    """A duration as OpenAI's headers write it: `120ms`, `1s`, `2.5s`, `6m0s`."""
    ms = -int(-seconds * 1000 // 1)
    if ms < 1000:
        return f"{ms}ms"
    full_s, rest_ms = divmod(ms, 1000)
    minutes, full_s = divmod(full_s, 60)
    text = f"{full_s}.{rest_ms:03d}".rstrip("0").rstrip(".") + "s"
    return f"{minutes}m{text}" if minutes else text
