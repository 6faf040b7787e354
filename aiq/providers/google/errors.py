"""What Google's errors mean: class, hint, words. Must never know an address or an answer.

Source: google.rpc.Status and its details; the Gemini API's troubleshooting guide; the retry table of the vendors.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import orjson

from aiq.errors import ErrorKind, ProviderError
from aiq.providers.base import HttpResponse
from aiq.providers.wire.errors import error_from_body, shorten
from aiq.providers.wire.http import kind_of_status, reset_s
from aiq.providers.wire.waiting import MAX_RETRY_AFTER_S, retry_after_s
from aiq.providers.wire.words import is_too_long

_STATUS_OF_NAME = {
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "UNAUTHENTICATED": 401,
    "RESOURCE_EXHAUSTED": 429,
    "ABORTED": 409,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
}
MAX_WORDS = 2000
"""So many characters of a message are read for its meaning."""
_TOO_LONG = re.compile(r"input token count|maximum number of tokens|tokens? .*exceeds? the", re.IGNORECASE)
_EXHAUSTED = re.compile(r"credits? (?:are |is |have been )?depleted|spend(?:ing)? cap|prepa(?:id|y)", re.IGNORECASE)
_NOT_THIS_ACCOUNT = re.compile(r"user location|enable billing|billing account", re.IGNORECASE)


def error_of(response: HttpResponse, redact: Callable[[str], str]) -> ProviderError:
    """What a response, or an event of a stream, that is an error means. `redact` takes secrets out of words."""
    body = redact(str(response.body, "utf-8", "replace"))
    error = _error(response.body)
    status = response.status
    if status == 200:  # an error in a 200 is as bad as the status it should have had
        code = error.get("code")
        named = _STATUS_OF_NAME.get(str(error.get("status")))
        status = code if type(code) is int and 400 <= code < 600 else named or 502
    words = redact(str(error.get("message") or ""))
    beginning = words[:MAX_WORDS]
    details = [detail for detail in _list(error.get("details")) if isinstance(detail, dict)]
    if 300 <= status < 400:
        message = f"HTTP {status}: the provider redirects, and a redirect is never followed with a credential"
    else:
        message = shorten(words) or error_from_body(status, body)
    return ProviderError(
        message,
        kind=_kind(status, beginning, details),
        status=status,
        retry_after_s=_hint_s(details) or retry_after_s(response),
        body=body,
    )


def is_googles(body: bytes) -> bool:
    """Whether an error has Google's form: it stands before the models of other makers, too."""
    error = _error(body)
    return type(error.get("code")) is int and isinstance(error.get("status"), str)


def _error(body: bytes) -> dict[str, Any]:
    """The object `error`; a list of one is how some of Google's servers wrap it."""
    try:
        data = orjson.loads(body)
    except ValueError:
        return {}
    if isinstance(data, list) and data:
        data = data[0]
    error = data.get("error", data) if isinstance(data, dict) else {}
    if isinstance(error, str):
        error = {"message": error}
    return error if isinstance(error, dict) else {}


def _kind(status: int, words: str, details: list[dict[str, Any]]) -> ErrorKind:
    kind = kind_of_status(status)
    if status == 499:
        return "overloaded"
    if status == 429:
        return "quota_exhausted" if _is_spent(words, details) else kind
    if status != 400:
        return kind
    if any(str(detail.get("reason", "")).startswith("API_KEY_") for detail in details):
        return "auth"  # Google calls a wrong key an invalid argument
    if _TOO_LONG.search(words) or is_too_long(words):
        return "context_length"
    return "auth" if _NOT_THIS_ACCOUNT.search(words) else kind


def _is_spent(words: str, details: list[dict[str, Any]]) -> bool:
    """Whether no wait of reasonable length helps: the money, the day's quota, or a quota of nothing."""
    for detail in details:
        if (_delay_s(detail) or 0.0) > MAX_RETRY_AFTER_S:
            return True
        for violation in _list(detail.get("violations")):
            if isinstance(violation, dict) and (
                "PerDay" in str(violation.get("quotaId")) or str(violation.get("quotaValue")) == "0"
            ):
                return True
    return _EXHAUSTED.search(words) is not None


def _hint_s(details: list[dict[str, Any]]) -> float | None:
    delays = (_delay_s(detail) for detail in details)
    return next((delay for delay in delays if delay is not None and delay <= MAX_RETRY_AFTER_S), None)


def _delay_s(detail: dict[str, Any]) -> float | None:
    """The delay of a google.rpc.RetryInfo (`34.5s`), None in any other detail."""
    delay = detail.get("retryDelay")
    return reset_s(delay) if isinstance(delay, str) else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
