"""A provider's words in an error: short, on one line, without secrets. Pure."""

from __future__ import annotations

from aiq.errors import ProviderError
from aiq.providers.base import HttpResponse

MAX_MESSAGE_CHARACTERS = 500
MIN_SECRET_CHARACTERS = 6
"""A shorter key is no secret but a stand-in (`1`, `EMPTY`), for which words would be spoilt."""
MIN_LONG_SECRET_CHARACTERS = 16
"""No word is as long; only such a key is looked for in answers."""


def shorten(text: str) -> str:
    """A provider's words, on one line and short enough for an error message."""
    text = " ".join(text.split())
    return text if len(text) <= MAX_MESSAGE_CHARACTERS else text[: MAX_MESSAGE_CHARACTERS - 1] + "…"


def redacted(text: str, *secrets: str) -> str:
    """A provider's words without the credentials it was sent. Before they are cut: half a secret is one too."""
    for secret in secrets:
        if len(secret) >= MIN_SECRET_CHARACTERS:
            text = text.replace(secret, "***")
    return text


def without_secrets(answer: str, *secrets: str) -> str:
    """The text of an answer without credentials of real length. What is answered is a model's, and stays as it is."""
    for secret in secrets:
        if len(secret) >= MIN_LONG_SECRET_CHARACTERS:
            answer = answer.replace(secret, "***")
    return answer


def error_from_body(status: int, body: str) -> str:
    """The words of an error body that no adapter understood: never empty, never HTML."""
    text = body[:2000].strip()
    if text[:1] == "<":
        return f"HTTP {status} with an HTML page instead of JSON; check the endpoint's URL and any proxy before it"
    return shorten(text) or f"HTTP {status} with an empty body"


def unusable(message: str, response: HttpResponse, *, body: str | None = None, once: bool = False) -> ProviderError:
    """A 200 that carries no usable answer; `once` where all of it has arrived."""
    return ProviderError(message, kind="bad_answer", status=response.status, body=body, once=once)
