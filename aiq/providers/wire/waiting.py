"""Whether waiting helps after a refusal, and how long: a hint in a header or in words, money that is spent. Pure.

Sources: RFC 9110 (Retry-After), the error references of OpenAI, Azure (`x-ms-retry-after-ms`), Groq, DeepSeek,
Moonshot, Zhipu, Qwen, xAI, OpenRouter, SiliconFlow.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime

from aiq.errors import ErrorKind, ProviderError
from aiq.providers.base import HttpResponse
from aiq.providers.wire.http import reset_s
from aiq.providers.wire.words import MAX_WORDS

MAX_RETRY_AFTER_S = 3600.0
"""Who says that it takes longer is not waited for: it is as if the quota were spent."""
_MOST_S = 366 * 86_400.0
_WAIT_HELPS: frozenset[ErrorKind] = frozenset({"rate_limited", "overloaded"})
_MAY_BE_SPENT: frozenset[ErrorKind] = frozenset({"rate_limited", "bad_request", "auth"})
_MAY_SAY_SPENT = frozenset({400, 401, 403, 429})

_NO_MONEY = re.compile(
    r"insufficient[ _](account[ _]?)?(balance|funds|credits?)"
    r"|(balance|credits?) (is |are )?(insufficient|too low|exhausted|depleted|used up|not enough)"
    r"|not enough (account )?(balance|credits?|funds)|(out of|no (more|remaining)) credits?|payment required"
    r"|(run|ran) out of (credits?|funds|money|balance)|(used all|spent all|exhausted)[^.]{0,40}(credits?|balance|funds)"
    r"|arrearage|in arrears|account[^.]{0,30}overdue|(recharge|top up)( your| the)? (account|balance)|余额不足|欠费",
    re.IGNORECASE,
)
_NO_QUOTA = re.compile(
    r"insufficient[ _](user[ _])?quota|not enough quota|exceeded (your|its|the) current quota|exceeded_current_quota"
    r"|(spend(ing)?|billing|credit|monthly|key)( usage)? (hard )?(limit|quota)[^.]{0,30}(exceeded|reached)"
    r"|(reached|exceeded|hit)[^.]{0,40}(spend(ing)?|billing|monthly|credit)( usage)? (hard )?(limit|quota)"
    r"|billing_hard_limit",
    re.IGNORECASE,
)
_TOO_LARGE = re.compile(
    r"(request|prompt|input)( is)? too large|requested tokens exceed"
    r"|(single|this) request[^.]{0,60}exceed(s|ed)?[^.]{0,30}limit"
    r"|request exceeds[^.]{0,40}(rate|tokens?)[^.]{0,20}limit",
    re.IGNORECASE,
)
_UNIT = r"(?:ms|millis(?:econds?)?|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)\b"
_DURATION = rf"\d{{1,9}}(?:\.\d{{1,9}})?\s?{_UNIT}(?:[ ,]{{0,2}}\d{{1,9}}(?:\.\d{{1,9}})?\s?{_UNIT}){{0,3}}"
_HINT = re.compile(
    rf"(?:try(?:ing)? again|retry|retrying|wait|available|resets?)\b[^.\d\n]{{0,40}}?((?:\d{{1,4}}[hm])?{_DURATION})",
    re.IGNORECASE,
)
_PART = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s?(ms|mil|s|m|h|d)", re.IGNORECASE)
_SECONDS = {"ms": 0.001, "mil": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def refusal(
    message: str,
    *,
    kind: ErrorKind,
    status: int,
    response: HttpResponse,
    body: str | None,
    words: str | None = None,
    hint_s: float | None = None,
) -> ProviderError:
    """The error of a refusal. `words` are all that the provider says, `message` what of it is shown.

    Where its words say that waiting does not help, `kind` is what that means, whatever the status says: money or a
    quota that is spent (which some say of a minute's, with a hint), a request that is larger than all of the quota, a
    hint of hours. `hint_s` is one of the adapter's own.
    """
    said = (message if words is None else words)[:MAX_WORDS]
    hint = hint_s or retry_after_s(response)
    if hint is None and kind in _WAIT_HELPS:
        hint = hint_in_words(said)
    if (
        kind in _MAY_BE_SPENT
        and status in _MAY_SAY_SPENT
        and (_NO_MONEY.search(said) or (hint is None and _NO_QUOTA.search(said)))
    ):
        kind = "quota_exhausted"
    elif kind == "rate_limited" and _TOO_LARGE.search(said):
        kind, hint = "too_large", None
    elif kind == "rate_limited" and hint is not None and hint > MAX_RETRY_AFTER_S:
        kind = "quota_exhausted"
    return ProviderError(message, kind=kind, status=status, retry_after_s=hint, body=body)


def retry_after_s(response: HttpResponse, wall: Callable[[], float] = time.time) -> float | None:
    """The hint of a response's headers, in seconds: milliseconds, seconds, a duration (`2s`, `1m30s`), or a date.

    A date is compared with the response's own, or with `wall` (Unix time) where it has none. A hint that is negative,
    past, or not a number is no hint (None).
    """
    header = response.header
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        text = header(name)
        if text is not None and (seconds := _number(text) / 1000) > 0:
            return _within(seconds)
    text = header("retry-after")
    if text is None:
        return None
    seconds = _number(text)
    if seconds != seconds:
        seconds = reset_s(text) or _seconds_until(text, header("date"), wall)
    return _within(seconds)


def hint_in_words(words: str) -> float | None:
    """Seconds that words ask to wait: `try again in 1.5s`, `retry after 26 seconds`, `wait 6m0s`. None without."""
    found = _HINT.search(words)
    if found is None:
        return None
    parts = _PART.findall(found[1])
    return _within(sum(float(number) * _SECONDS[unit.lower()] for number, unit in parts))


def _within(seconds: float) -> float | None:
    return seconds if 0 < seconds <= _MOST_S else None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _seconds_until(text: str, now: str | None, wall: Callable[[], float]) -> float:
    """Seconds until an HTTP date; NaN where it is malformed."""
    try:
        at = parsedate_to_datetime(text)
        try:
            return (at - parsedate_to_datetime(now or "")).total_seconds()
        except (ValueError, TypeError, IndexError):
            return at.timestamp() - wall()
    except (ValueError, TypeError, OverflowError, IndexError):
        return float("nan")
