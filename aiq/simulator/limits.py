"""How vendors count requests and tokens against a quota, and what they tell of it. A vendor chooses one class.

Knows no route and no error body: a refusal carries what is needed for one. Sources are named with each class.
"""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime, timedelta

from aiq.simulator.exchange import Counts, VendorRequest
from aiq.simulator.profile import Quota
from aiq.simulator.quota import RefillingBucket, format_reset
from aiq.simulator.refusal import OverQuota, retry_headers

_SHORT_NAMES = {"requests": "RPM", "tokens": "TPM", "input": "ITPM", "output": "OTPM"}


class TokenBuckets:
    """A request bucket and a token bucket; tokens are the estimate at arrival, and stay taken.

    Source: OpenAI's guide to rate limits, and its error messages.
    """

    def __init__(self, quota: Quota, now_s: float) -> None:
        self._requests = RefillingBucket(quota.rpm, now_s) if quota.rpm else None
        self._tokens = RefillingBucket(quota.tpm, now_s) if quota.tpm else None

    def admit(self, asked: VendorRequest, now_s: float, epoch_s: float) -> bytes:
        """Headers `x-ratelimit-*`; a refusal has `retry-after` too, unless the request can never fit."""
        demands = [
            (name, bucket, units, bucket.level(now_s))
            for name, bucket, units in (("requests", self._requests, 1), ("tokens", self._tokens, asked.reserve))
            if bucket is not None
        ]
        short = [demand for demand in demands if not demand[1].has(demand[2])]
        if not short:
            for _, bucket, units, _ in demands:
                bucket.take(units)
        headers = b"".join(_x_ratelimit(name, bucket) for name, bucket, _, _ in demands)
        if not short:
            return headers
        name, bucket, units, level = max(short, key=lambda demand: demand[1].wait_s(demand[2]))
        unit, used, wait_s = _SHORT_NAMES[name], bucket.limit - int(level), None
        if units > bucket.limit:
            words = f"Request too large for {asked.model} on {name} per min ({unit}): Limit {bucket.limit}, "
            words += f"Requested {units}."
        else:
            wait_s = bucket.wait_s(units)
            words = f"Rate limit reached for {asked.model} on {name} per min ({unit}): Limit {bucket.limit}, "
            words += f"Used {used}, Requested {units}. Please try again in {format_reset(wait_s)}."
            headers += retry_headers(wait_s)
        raise _over(words, name, bucket.limit, used, units, wait_s, headers)

    def settle(self, asked: VendorRequest, counts: Counts | None, now_s: float) -> None:
        """Nothing is given back."""


def _over(
    words: str, unit: str, limit: int, used: float, asked: float, wait_s: float | None, headers: bytes = b""
) -> OverQuota:
    details = {"unit": unit, "limit": limit, "used": int(used), "asked": int(asked)}
    return OverQuota(
        429, words, kind=unit, code="rate_limit_exceeded", headers=headers, retry_s=wait_s, details=details
    )


def _x_ratelimit(name: str, bucket: RefillingBucket) -> bytes:
    reset = format_reset(bucket.wait_s(bucket.limit))
    return (
        f"x-ratelimit-limit-{name}: {bucket.limit}\r\nx-ratelimit-remaining-{name}: {bucket.remaining}\r\n"
        f"x-ratelimit-reset-{name}: {reset}\r\n"
    ).encode()


class Slices:
    """Requests in slices of 10 seconds, or of one where the quota is at least one a second; tokens by the minute.

    Tokens are prompt and the longest answer, estimated at arrival, and never corrected. The headers tell of the minute,
    so a client that sends its minute's quota in a burst is refused in spite of them. Source: Microsoft's "Manage Azure
    OpenAI in Foundry Models quota" ("evaluates the rate over a small period of time, typically 1 or 10 seconds").
    """

    def __init__(self, quota: Quota, now_s: float) -> None:
        self._rpm, self._tpm = quota.rpm, quota.tpm
        self._slice_s = 1.0 if quota.rpm and quota.rpm >= 60 else 10.0
        self._slice_limit = max(1, -(-(quota.rpm or 0) * int(self._slice_s) // 60))
        self._slice_at_s = self._minute_at_s = now_s
        self._in_slice = self._in_minute = self._tokens = 0

    def admit(self, asked: VendorRequest, now_s: float, epoch_s: float) -> bytes:
        """Headers `x-ratelimit-{limit,remaining}-*`."""
        if now_s - self._slice_at_s >= self._slice_s - 1e-9:
            self._slice_at_s, self._in_slice = now_s, 0
        if now_s - self._minute_at_s >= 60.0 - 1e-9:
            self._minute_at_s, self._in_minute, self._tokens = now_s, 0, 0
        if self._rpm is not None and self._in_slice >= self._slice_limit:
            left_s = self._slice_s - (now_s - self._slice_at_s)
            raise self._refuse("requests", self._rpm, self._in_minute, 1, left_s)
        if self._tpm is not None and self._tokens + asked.reserve > self._tpm:
            wait_s = None if asked.reserve > self._tpm else 60.0 - (now_s - self._minute_at_s)
            raise self._refuse("tokens", self._tpm, self._tokens, asked.reserve, wait_s)
        self._in_slice += 1
        self._in_minute += 1
        self._tokens += asked.reserve
        return self._headers()

    def _headers(self) -> bytes:
        lines = ""
        for name, limit, used in (("requests", self._rpm, self._in_minute), ("tokens", self._tpm, self._tokens)):
            if limit is not None:
                lines += (
                    f"x-ratelimit-limit-{name}: {limit}\r\nx-ratelimit-remaining-{name}: {max(0, limit - used)}\r\n"
                )
        return lines.encode()

    def _refuse(self, unit: str, limit: int, used: int, asked: int, wait_s: float | None) -> OverQuota:
        words = f"Requests have exceeded the {'call' if unit == 'requests' else 'token'} rate limit of your current "
        words += "OpenAI S0 pricing tier."
        headers = self._headers()
        if wait_s is not None:
            words += f" Please retry after {-(-wait_s // 1):.0f} seconds."
            headers += retry_headers(wait_s)
        return _over(words, unit, limit, used, asked, wait_s, headers)

    def settle(self, asked: VendorRequest, counts: Counts | None, now_s: float) -> None:
        """Nothing is given back."""


class ThreeBuckets:
    """Requests, input tokens and output tokens, each a bucket; input read from the cache is free.

    Output is taken when it is known, so its bucket may owe; `max_tokens` plays no part. Source: Anthropic's "Rate
    limits". A quota's `tpm` counts as its input limit where `itpm` is not given.
    """

    def __init__(self, quota: Quota, now_s: float) -> None:
        limits = {"requests": quota.rpm, "input": quota.itpm or quota.tpm, "output": quota.otpm}
        self._buckets = {name: RefillingBucket(limit, now_s) for name, limit in limits.items() if limit}

    def admit(self, asked: VendorRequest, now_s: float, epoch_s: float) -> bytes:
        """Headers `anthropic-ratelimit-*` with RFC 3339 resets, and `retry-after` in whole seconds on a refusal."""
        needs = {"requests": 1, "input": asked.prompt_tokens - asked.cached_tokens, "output": 1}
        for bucket in self._buckets.values():
            bucket.level(now_s)
        short = [name for name, bucket in self._buckets.items() if not bucket.has(needs[name])]
        if not short:
            for name in self._buckets:
                if name != "output":
                    self._buckets[name].take(needs[name])
            return self._headers(epoch_s)
        name = max(short, key=lambda name: self._buckets[name].wait_s(needs[name]))
        bucket, unit = self._buckets[name], "requests" if name == "requests" else f"{name} tokens"
        wait_s = None if needs[name] > bucket.limit else bucket.wait_s(needs[name])
        words = f"This request would exceed the rate limit for your organization of {bucket.limit:,} {unit} per minute."
        headers = self._headers(epoch_s)
        if wait_s is not None:
            headers += b"retry-after: %d\r\n" % -(-wait_s // 1)
        raise _over(words, name, bucket.limit, bucket.limit - bucket.remaining, needs[name], wait_s, headers)

    def _headers(self, epoch_s: float) -> bytes:
        shown = [(name if name == "requests" else f"{name}-tokens", bucket) for name, bucket in self._buckets.items()]
        tokens = [bucket for name, bucket in shown if name != "requests"]
        if tokens:
            # "The most restrictive limit currently in effect."
            shown.append(("tokens", min(tokens, key=lambda bucket: bucket.remaining / bucket.limit)))
        lines = ""
        for name, bucket in shown:
            full = datetime.fromtimestamp(epoch_s, UTC) + timedelta(seconds=bucket.wait_s(bucket.limit))
            # "Rounded to the nearest thousand."
            remaining = bucket.remaining if name == "requests" else (bucket.remaining + 500) // 1000 * 1000
            lines += f"anthropic-ratelimit-{name}-limit: {bucket.limit}\r\n"
            lines += f"anthropic-ratelimit-{name}-remaining: {remaining}\r\n"
            lines += f"anthropic-ratelimit-{name}-reset: {full:%Y-%m-%dT%H:%M:%SZ}\r\n"
        return lines.encode()

    def settle(self, asked: VendorRequest, counts: Counts | None, now_s: float) -> None:
        """The output is taken."""
        if counts is not None and (bucket := self._buckets.get("output")):
            bucket.level(now_s)
            bucket.take(counts.output)


class Reserving:
    """A request bucket and a token bucket; what is reserved (prompt and the longest answer) is corrected at the end.

    An output token of the models of `burndown` costs five in the end; input read from the cache is given back. There
    are no headers. Source: Amazon Bedrock's "How tokens are counted in Amazon Bedrock".
    """

    def __init__(self, quota: Quota, now_s: float) -> None:
        self._requests = RefillingBucket(quota.rpm, now_s) if quota.rpm else None
        self._tokens = RefillingBucket(quota.tpm, now_s) if quota.tpm else None

    def admit(self, asked: VendorRequest, now_s: float, epoch_s: float) -> bytes:
        """No headers."""
        demands = (("requests", self._requests, 1), ("tokens", self._tokens, asked.reserve))
        for unit, bucket, units in demands:
            if bucket is None:
                continue
            bucket.level(now_s)
            if not bucket.has(units):
                wait_s = None if units > bucket.limit else bucket.wait_s(units)
                words = f"Too many {unit}, please wait before trying again."
                raise _over(words, unit, bucket.limit, bucket.limit - bucket.remaining, units, wait_s)
        for _, bucket, units in demands:
            if bucket is not None:
                bucket.take(units)
        return b""

    def settle(self, asked: VendorRequest, counts: Counts | None, now_s: float) -> None:
        """Reserved tokens that were not used are given back; all of them when there was no answer."""
        if self._tokens is not None:
            self._tokens.level(now_s)
            used = 0 if counts is None else counts.input - counts.cached + counts.output * burndown(asked.model)
            self._tokens.take(used - asked.reserve)


def burndown(model: str) -> int:
    """How many tokens of a Bedrock quota an output token costs: 5 for Claude 3.7 and later, else 1."""
    old = any(f"claude-{name}" in model for name in ("3-haiku", "3-sonnet", "3-opus", "3-5", "instant", "v2"))
    return 5 if "anthropic.claude" in model and not old else 1


class MinuteAndDay:
    """Requests and input tokens a minute, requests a day; no headers: when to come back is in the error's details.

    Source: the Gemini API's "Rate limits" (RPM, TPM of input tokens, RPD) and "API errors".
    """

    def __init__(self, quota: Quota, now_s: float) -> None:
        self._buckets = [
            (unit, RefillingBucket(limit, now_s, period_s))
            for unit, limit, period_s in (
                ("requests", quota.rpm, 60.0),
                ("input", quota.itpm or quota.tpm, 60.0),
                ("day", quota.rpd, 86_400.0),
            )
            if limit
        ]

    def admit(self, asked: VendorRequest, now_s: float, epoch_s: float) -> bytes:
        """No headers."""
        for unit, bucket in self._buckets:
            units = asked.prompt_tokens if unit == "input" else 1
            bucket.level(now_s)
            if not bucket.has(units):
                wait_s = None if units > bucket.limit else bucket.wait_s(units)
                words = "You exceeded your current quota, please check your plan and billing details."
                words += f" Quota exceeded, limit: {bucket.limit}."
                if wait_s is not None:
                    words += f" Please retry in {wait_s:.3f}s."
                raise _over(words, unit, bucket.limit, bucket.limit - bucket.remaining, units, wait_s)
        for unit, bucket in self._buckets:
            bucket.take(asked.prompt_tokens if unit == "input" else 1)
        return b""

    def settle(self, asked: VendorRequest, counts: Counts | None, now_s: float) -> None:
        """Nothing is given back."""


class RollingMinute:
    """What came in the last 60 seconds: requests, tokens, or input and output apart; and requests in the last hour.

    Input is counted at arrival; the longest answer is reserved, and what is not used is given back. No headers. Source:
    Databricks' "Foundation Model APIs limits and quotas" and the AI Gateway's rate limits, observed to roll.
    """

    def __init__(self, quota: Quota, now_s: float) -> None:
        self._limits = {
            "requests": quota.rpm,
            "tokens": quota.tpm,
            "input": quota.itpm,
            "output": quota.otpm,
            "hour": quota.qph,
        }
        self._minute: deque[_Entry] = deque()
        self._hour: deque[float] = deque()
        self._open: dict[int, _Entry] = {}
        self._used = {"requests": 0, "tokens": 0, "input": 0, "output": 0}

    def admit(self, asked: VendorRequest, now_s: float, epoch_s: float) -> bytes:
        """No headers."""
        while self._minute and now_s - self._minute[0].at_s >= 60.0 - 1e-9:
            self._add(self._minute.popleft(), -1)
        while self._hour and now_s - self._hour[0] >= 3600.0 - 1e-9:
            self._hour.popleft()
        output = max(0, asked.reserve - asked.prompt_tokens)
        entry = _Entry(now_s, asked.prompt_tokens, output)
        used, units = {**self._used, "hour": len(self._hour)}, {**entry.units, "hour": 1}
        for unit, limit in self._limits.items():
            if limit is not None and used[unit] + units[unit] > limit:
                wait_s = None if units[unit] > limit else self._wait_s(unit, used[unit] + units[unit] - limit, now_s)
                name = _SHORT_NAMES.get(unit, "QPH")
                words = f"Rate limit exceeded: {name} limit of {limit:,} reached"
                raise _over(words, unit, limit, used[unit], units[unit], wait_s)
        self._minute.append(entry)
        self._open[id(asked)] = entry
        self._hour.append(now_s)
        self._add(entry, 1)
        return b""

    def _wait_s(self, unit: str, excess: int, now_s: float) -> float:
        """Seconds until so many units have left the window."""
        if unit == "hour":
            return self._hour[excess - 1] + 3600.0 - now_s
        for entry in self._minute:
            excess -= entry.units[unit]
            if excess <= 0:
                return entry.at_s + 60.0 - now_s
        return 60.0

    def _add(self, entry: _Entry, sign: int) -> None:
        for unit, count in entry.units.items():
            self._used[unit] += sign * count

    def settle(self, asked: VendorRequest, counts: Counts | None, now_s: float) -> None:
        """The reserved output becomes what was used, as long as the request is in the window."""
        entry = self._open.pop(id(asked), None)
        if entry is not None and self._minute and entry.at_s >= self._minute[0].at_s:
            self._add(entry, -1)
            entry.output = 0 if counts is None else counts.output
            self._add(entry, 1)


class _Entry:
    """A request in a rolling window."""

    __slots__ = ("at_s", "input", "output")

    def __init__(self, at_s: float, input_tokens: int, output_tokens: int) -> None:
        self.at_s, self.input, self.output = at_s, input_tokens, output_tokens

    @property
    def units(self) -> dict[str, int]:
        return {"requests": 1, "tokens": self.input + self.output, "input": self.input, "output": self.output}
