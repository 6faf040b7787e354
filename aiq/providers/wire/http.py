"""What HTTP says besides a body: the meaning of a status, stated rate limits. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from aiq.errors import ErrorKind
from aiq.providers.base import HttpResponse, StatedLimit, StatedLimits

_PASSING = frozenset({408, 409, 423, 424, 425, 444, 460, 499})
"""Statuses, some of proxies, of a server that could not answer this time. 499: a caller cancelled, but not aiq."""
_NOT_HERE = frozenset({404, 405, 410, 421, 426, 451})
"""Statuses of an address that is wrong for any request: another entity may answer it."""
MAX_LIMIT = 1e12
MAX_RESET_S = 86_400.0

_DURATION = re.compile(
    r"(?:(\d{1,3})d)?(?:(\d{1,4})h)?(?:(\d{1,6})m(?!s))?(?:(\d{1,9}(?:\.\d*)?)s)?(?:(\d{1,9}(?:\.\d*)?)ms)?", re.ASCII
)
_SECONDS = (86_400.0, 3600.0, 60.0, 1.0, 0.001)


def kind_of_status(status: int) -> ErrorKind:
    """What an HTTP status means where the body says nothing more precise. Source: the retry table of the vendors."""
    if status == 429:
        return "rate_limited"
    if status == 402:
        return "quota_exhausted"
    if status in (401, 403):
        return "auth"
    if 200 <= status < 300:  # no answer, though nothing is wrong: accepted, no content
        return "bad_answer"
    if status in _NOT_HERE or 300 <= status < 400:
        return "not_found"
    if status in _PASSING or status >= 500:
        return "overloaded"
    return "bad_request"


def stated_limits(response: HttpResponse) -> StatedLimits | None:
    """The rate limits in a response's headers, None where there are none.

    Source: OpenAI's guide to rate limits, `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`, which others copy.
    """
    header = response.header
    requests, tokens = header("x-ratelimit-remaining-requests"), header("x-ratelimit-remaining-tokens")
    if requests is None and tokens is None:
        return None
    return StatedLimits(_stated_limit(header, "requests", requests), _stated_limit(header, "tokens", tokens))


def _stated_limit(header: Callable[[str], str | None], unit: str, remaining: str | None) -> StatedLimit | None:
    limit, left = _number(header(f"x-ratelimit-limit-{unit}")), _number(remaining)
    if not 1.0 <= limit <= MAX_LIMIT or math.isnan(left):
        return None
    return StatedLimit(limit, min(max(left, 0.0), limit), reset_s(header(f"x-ratelimit-reset-{unit}")))


def _number(text: str | None) -> float:
    try:
        return float(text) if text is not None else math.nan
    except ValueError:
        return math.nan


def reset_s(text: str | None) -> float | None:
    """Seconds of a duration like `120ms`, `1s`, `6m0s` or `2.5`. None for what is not above 0 and at most a day."""
    if not text:
        return None
    try:  # most are plain, and this is on the way of every answer
        seconds = float(text[:-2]) / 1000 if text[-2:] == "ms" else float(text[:-1] if text[-1] == "s" else text)
    except ValueError:
        found = _DURATION.fullmatch(text.strip())
        parts = zip(found.groups(), _SECONDS, strict=True) if found is not None else ()
        seconds = sum(float(part) * scale for part, scale in parts if part)
    return seconds if 0.0 < seconds <= MAX_RESET_S else None
