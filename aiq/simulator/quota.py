"""Rate limits of the simulated provider: a request bucket and a token bucket per (API key, model).

Each bucket holds a minute's quota and refills continuously, as OpenAI's do. Knows no wire format beyond
the headers; the clock is passed in.
"""

from __future__ import annotations

from collections.abc import Callable

from aiq.simulator.faults import retry_headers
from aiq.simulator.profile import Quota
from aiq.simulator.refusal import Refusal


class Bucket:
    """A bucket that holds `limit` units, is full at first, and refills `limit` units a minute."""

    __slots__ = ("_at_s", "_level", "limit")

    def __init__(self, limit: int, now_s: float) -> None:
        self.limit, self._level, self._at_s = limit, float(limit), now_s

    def level(self, now_s: float) -> float:
        """Units that could be taken at `now_s` (seconds)."""
        self._level = min(self.limit, self._level + (now_s - self._at_s) * self.limit / 60)
        self._at_s = now_s
        return self._level

    def take(self, units: float) -> None:
        """Take units that `level` has just reported as present."""
        self._level -= units

    def wait_s(self, units: float) -> float:
        """Seconds until `units` are present."""
        return max(0.0, (units - self._level) * 60 / self.limit)


class QuotaBook:
    """Every bucket of a running simulator. `clock` gives seconds and never goes back."""

    def __init__(self, quotas: tuple[Quota, ...], clock: Callable[[], float]) -> None:
        self._quotas, self._clock = quotas, clock
        self._buckets: dict[tuple[str, str], tuple[Bucket | None, Bucket | None]] = {}

    def reset(self) -> None:
        """Fill every bucket."""
        self._buckets.clear()

    def admit(self, key: str, model: str, tokens: int) -> bytes:
        """Take one request and `tokens` estimated tokens, or refuse and take nothing.

        Returns the rate-limit header lines of the answer, empty where no quota is set. Raises Refusal (429,
        `rate_limit_exceeded`) with the same headers, and with `retry-after` unless the request can never fit.
        """
        if not self._quotas:
            return b""
        now_s = self._clock()
        pair = self._buckets.get((key, model))
        if pair is None:
            quota = next((q for q in self._quotas if q.applies_to(model)), None)
            pair = (
                Bucket(quota.rpm, now_s) if quota and quota.rpm else None,
                Bucket(quota.tpm, now_s) if quota and quota.tpm else None,
            )
            self._buckets[key, model] = pair
        demands = [
            (name, bucket, units, bucket.level(now_s))
            for name, bucket, units in (("requests", pair[0], 1), ("tokens", pair[1], tokens))
            if bucket is not None
        ]
        # Refilling in floating point may leave a bucket a hair below the whole unit it owes.
        short = [demand for demand in demands if demand[3] < demand[2] - 1e-6]
        if not short:
            for _, bucket, units, _ in demands:
                bucket.take(units)
        headers = b"".join(_headers(name, bucket) for name, bucket, _, _ in demands)
        if not short:
            return headers
        name, bucket, units, level = max(short, key=lambda demand: demand[1].wait_s(demand[2]))
        raise _refused(name, bucket, units, level, model, headers)


def _refused(name: str, bucket: Bucket, units: int, level: float, model: str, headers: bytes) -> Refusal:
    unit = "RPM" if name == "requests" else "TPM"
    if units > bucket.limit:
        message = f"Request too large for {model} on {name} per min ({unit}): Limit {bucket.limit}, Requested {units}."
    else:
        wait_s = bucket.wait_s(units)
        used = bucket.limit - int(level)
        message = (
            f"Rate limit reached for {model} on {name} per min ({unit}): Limit {bucket.limit}, Used {used}, "
            f"Requested {units}. Please try again in {format_reset(wait_s)}."
        )
        headers += retry_headers(wait_s)
    return Refusal(429, message, kind=name, code="rate_limit_exceeded", headers=headers)


def _headers(name: str, bucket: Bucket) -> bytes:
    remaining = max(0, int(bucket.limit - bucket.wait_s(bucket.limit) * bucket.limit / 60 + 1e-6))
    reset = format_reset(bucket.wait_s(bucket.limit))
    return (
        f"x-ratelimit-limit-{name}: {bucket.limit}\r\nx-ratelimit-remaining-{name}: {remaining}\r\n"
        f"x-ratelimit-reset-{name}: {reset}\r\n"
    ).encode()


def format_reset(seconds: float) -> str:
    """A duration as OpenAI's headers write it: `120ms`, `1s`, `2.5s`, `6m0s`."""
    ms = -int(-seconds * 1000 // 1)
    if ms < 1000:
        return f"{ms}ms"
    whole_s, rest_ms = divmod(ms, 1000)
    minutes, whole_s = divmod(whole_s, 60)
    text = f"{whole_s}.{rest_ms:03d}".rstrip("0").rstrip(".") + "s"
    return f"{minutes}m{text}" if minutes else text
