"""What the simulator saw: counters and a bounded log of attempts. Must never hold an API key or a prompt."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from aiq.simulator.exchange import Counts
from aiq.simulator.invoice import Invoice
from aiq.simulator.profile import TokenPrice

ATTEMPTS_KEPT = 100_000
NOTHING = Counts(0, 0)


class ReceivedRequest:
    """One request as it came in and how it ended.

    `status` 0: no status line was sent; 499: the client left.
    """

    __slots__ = (
        "at_ms",
        "body_bytes",
        "body_hash",
        "counts",
        "embedding_inputs",
        "ended_ms",
        "epoch",
        "fault",
        "idempotency_key",
        "key",
        "key_hash",
        "model",
        "ok",
        "path",
        "status",
        "vendor",
    )

    def __init__(self, at_ms: int, path: str, body_hash: str, body_bytes: int, epoch: int) -> None:
        self.epoch = epoch
        self.at_ms, self.path, self.key, self.key_hash = at_ms, path, "", ""
        self.body_hash, self.body_bytes = body_hash, body_bytes
        self.vendor = self.model = self.fault = self.idempotency_key = ""
        self.status: int | None = None
        self.ended_ms: int | None = None
        self.ok = False
        self.counts = NOTHING
        self.embedding_inputs = 0

    def set_key(self, key: str) -> None:
        """The key it was counted by: its last four characters are kept, and a hash that tells keys apart."""
        self.key, self.key_hash = _shown(key)

    def as_dict(self) -> dict[str, Any]:
        """The JSON of `GET /__attempts`; `status` null: not answered yet."""
        return {
            "at_ms": self.at_ms,
            "ended_ms": self.ended_ms,
            "vendor": self.vendor,
            "path": self.path,
            "model": self.model,
            "key": self.key,
            "body_hash": self.body_hash,
            "body_bytes": self.body_bytes,
            "idempotency_key": self.idempotency_key,
            "status": self.status,
            "ok": self.ok,
            "fault": self.fault,
            "prompt_tokens": self.counts.input,
            "completion_tokens": self.counts.output,
            "cached_tokens": self.counts.cached,
            "cache_write_tokens": self.counts.written,
            "reasoning_tokens": self.counts.reasoning,
        }


@lru_cache(maxsize=1024)
def _shown(key: str) -> tuple[str, str]:
    digest = blake2b(key.encode("utf-8", "replace"), digest_size=6).hexdigest() if key else ""
    return key[-4:] if len(key) > 4 else "", digest


class Records:
    """Counters and attempts of a running simulator. `clock` gives seconds since 1970."""

    def __init__(self, prices: Mapping[str, TokenPrice], clock: Callable[[], float]) -> None:
        self._prices, self._clock = prices, clock
        self.in_flight = 0
        self._epoch = 0
        self.reset()

    def reset(self) -> None:
        """Forget everything. Requests in flight stay in `in_flight` and are counted nowhere else."""
        self._epoch += 1
        self._attempts: deque[ReceivedRequest] = deque(maxlen=ATTEMPTS_KEPT)
        self.invoice = Invoice(self._prices)
        self._by_model: dict[str, list[int]] = {}
        self._by_status: dict[int, int] = {}
        self._bodies: set[str] = set()
        self.requests = self.ok = self.over_quota = self.embedding_inputs = 0
        self.max_in_flight = self.in_flight

    def begin(self, path: str, body_hash: str, body_bytes: int) -> ReceivedRequest:
        """Log a request that has just arrived."""
        attempt = ReceivedRequest(int(self._clock() * 1000), path, body_hash, body_bytes, self._epoch)
        self._attempts.append(attempt)
        self.requests += 1
        self._bodies.add(body_hash)
        self.in_flight += 1
        if self.in_flight > self.max_in_flight:
            self.max_in_flight = self.in_flight
        return attempt

    def end(self, attempt: ReceivedRequest, status: int) -> None:
        """Log how a request ended. Only an answer that was `ok` and sent whole is billed."""
        self.in_flight -= 1
        if attempt.epoch != self._epoch:
            return
        attempt.status, attempt.ended_ms = status, int(self._clock() * 1000)
        self._by_status[status] = self._by_status.get(status, 0) + 1
        ok = attempt.ok = attempt.ok and status == 200
        if not ok:
            attempt.counts = NOTHING
        if attempt.model:
            counts = self._by_model.get(attempt.model)
            if counts is None:
                counts = self._by_model[attempt.model] = [0, 0, 0, 0]
            counts[0] += 1
            if ok:
                counts[1] += 1
                counts[2] += attempt.counts.input
                counts[3] += attempt.counts.output
                self.invoice.add(attempt.vendor, attempt.key, attempt.key_hash, attempt.model, attempt.counts)
        if ok:
            self.ok += 1
            self.embedding_inputs += attempt.embedding_inputs

    def stats(self) -> dict[str, Any]:
        """The JSON of `GET /__stats`. `cost_usd` is there when the profile has prices."""
        ended = sum(self._by_status.values())
        by_model = {
            model: {
                "requests": requests,
                "ok": ok,
                "errors": requests - ok,
                "prompt_tokens": prompt,
                "completion_tokens": completion,
            }
            for model, (requests, ok, prompt, completion) in self._by_model.items()
        }
        stats: dict[str, Any] = {
            "requests": self.requests,
            "ok": self.ok,
            "errors": ended - self.ok,
            "by_model": by_model,
            "by_status": {str(status): count for status, count in sorted(self._by_status.items())},
            "distinct_bodies": len(self._bodies),
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "over_quota": self.over_quota,
            "prompt_tokens": sum(m["prompt_tokens"] for m in by_model.values()),
            "completion_tokens": sum(m["completion_tokens"] for m in by_model.values()),
            "embedding_inputs": self.embedding_inputs,
        }
        if self._prices:
            stats["cost_usd"] = self.invoice.cost_usd()
        return stats

    def attempts(self) -> list[dict[str, Any]]:
        """The JSON of `GET /__attempts`, oldest first, at most the last 100,000."""
        return [attempt.as_dict() for attempt in self._attempts]
