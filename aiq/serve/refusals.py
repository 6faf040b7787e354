"""Errors as REST callers see them: a status, a code of MLflow's list, a sentence, and when to come again.

MLflow's client takes the status from the code, and retries codes that it does not know; see "Errors" in docs/serve.md.
"""

from __future__ import annotations

import math
from typing import NoReturn

from aiq.errors import AiqError, ErrorKind, GuardrailBlocked, PolicyError, ProviderError, RequestFailed, StatementError

_PROVIDER: dict[ErrorKind, tuple[int, str]] = {
    "rate_limited": (429, "REQUEST_LIMIT_EXCEEDED"),
    "quota_exhausted": (500, "INVALID_STATE"),
    "overloaded": (503, "TEMPORARILY_UNAVAILABLE"),
    "network": (503, "TEMPORARILY_UNAVAILABLE"),
    "timeout": (504, "DEADLINE_EXCEEDED"),
    "bad_answer": (500, "INTERNAL_ERROR"),
    "bad_schema": (500, "INTERNAL_ERROR"),
    "too_large": (400, "BAD_REQUEST"),
    "context_length": (400, "BAD_REQUEST"),
    "content_filter": (400, "BAD_REQUEST"),
    "bad_request": (400, "BAD_REQUEST"),
    "auth": (500, "INVALID_STATE"),  # the caller's own token is good
    "not_found": (500, "INVALID_STATE"),
    "adapted": (500, "INTERNAL_ERROR"),
}
_WAIT_S = 1.0
"""After which a caller may come again where nobody knows better."""
_PATIENCE_S = 60.0
"""A client should not sleep longer than this before it tells its user."""


class Refusal(Exception):
    """What a request ends with instead of an answer. `retry_after_s` says when to ask again, None for never."""

    def __init__(self, status: int, code: str, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after_s = status, code, message, retry_after_s

    @property
    def body(self) -> dict[str, str]:
        """The body of the reply: Databricks' two members, and no other."""
        return {"error_code": self.code, "message": self.message}

    @property
    def event(self) -> dict[str, object]:
        """The last event of a stream that breaks: OpenAI's clients notice `error` only."""
        return {"error": {"message": self.message, "type": self.code.lower(), "code": self.code}, **self.body}

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """When to come again, in whole seconds and in milliseconds; not at all where that is far."""
        if self.retry_after_s is None:
            return [(b"www-authenticate", b'Bearer realm="aiq"')] if self.status == 401 else []
        seconds = max(0.0, self.retry_after_s)
        details = [
            (b"retry-after", str(math.ceil(seconds)).encode()),
            (b"retry-after-ms", str(math.ceil(seconds * 1000)).encode()),
        ]
        return [*details, (b"x-should-retry", b"false")] if seconds > _PATIENCE_S else details


def refuse(message: str) -> NoReturn:
    """Raises the refusal of a body: 400, with what is wrong in it."""
    raise Refusal(400, "INVALID_PARAMETER_VALUE", message)


def unknown_endpoint(name: str) -> Refusal:
    """What is said of an endpoint that is not there, or that the caller may not know of."""
    return Refusal(404, "RESOURCE_DOES_NOT_EXIST", f"Endpoint with name '{name[:100]}' does not exist.")


def refusal_of(error: Exception) -> Refusal:
    """What a caller is told of an error. One that is nobody's fault but ours says nothing of its insides."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, GuardrailBlocked):
        return Refusal(error.status, error.error_code, error.reason)
    if isinstance(error, PolicyError):
        wait_s = (error.retry_after_s or _WAIT_S) if error.status == 429 else None
        return Refusal(error.status, error.error_code, error.reason, retry_after_s=wait_s)
    if isinstance(error, ProviderError):
        status, code = _PROVIDER[error.kind]
        wait_s = error.retry_after_s if error.retry_after_s is not None else _WAIT_S
        return Refusal(
            status, code, f"{error.reason} ({error.place()})", retry_after_s=wait_s if status in (429, 503) else None
        )
    if isinstance(error, RequestFailed):
        return Refusal(500, "INTERNAL_ERROR", f"{error.reason} ({error.place()})")
    if isinstance(error, StatementError):
        return Refusal(400, "INVALID_PARAMETER_VALUE", str(error))
    if isinstance(error, AiqError):
        return Refusal(500, "INVALID_STATE", str(error))
    return Refusal(500, "INTERNAL_ERROR", "the server failed at this request; its log says more")
