"""What Bedrock's errors mean: by the name of the exception, which a status and a stream carry alike, and by its words.

Source: the Amazon Bedrock API reference ("Common errors", the errors of Converse and InvokeModel, ConverseStream's
exceptions) and AWS's troubleshooting guide. Must never know a request.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from aiq.errors import ErrorKind
from aiq.providers.wire.http import kind_of_status
from aiq.providers.wire.words import is_too_long

_STATUS = {
    "AccessDeniedException": 403,
    "ThrottlingException": 429,
    "ModelNotReadyException": 429,
    "ServiceQuotaExceededException": 400,
    "ResourceNotFoundException": 404,
    "ModelTimeoutException": 408,
    "ValidationException": 400,
    "ModelErrorException": 424,
    "ModelStreamErrorException": 424,
    "InternalServerException": 500,
    "ServiceUnavailableException": 503,
}
_BY_LOWER_CASE = {name.lower(): name for name in _STATUS}
_KINDS: dict[str, ErrorKind] = {
    "ModelNotReadyException": "overloaded",  # it is being loaded: neither our rate nor our quota
    "ServiceQuotaExceededException": "quota_exhausted",
}
_STALE = frozenset({"ExpiredTokenException", "ExpiredToken", "UnrecognizedClientException", "InvalidClientTokenId"})
_TOO_LONG = re.compile(
    r"(input|prompt|conversation|context)[^.]{0,40} (is )?too (long|large)|too many input tokens|expected maxLength"
    r"|(maximum|max) (context|input|sequence) (length|tokens)|exceeds? (the )?(context|maximum (context|input))"
    r"|context (window|limit)|input token count",
    re.IGNORECASE,
)
_NO_SUCH_MODEL = re.compile(
    r"model identifier is invalid|on-demand throughput|model .{0,100}not (found|exist)", re.IGNORECASE
)
_FILTERED = re.compile(r"content filter|blocked by|content policy|safety (filter|system)", re.IGNORECASE)
Refused = Literal["text_format", "tool_choice", "tools"]
"""What a model does not take: structured output, to be made to call a tool, or tools at all."""
_REFUSED: tuple[tuple[Refused, re.Pattern[str]], ...] = (
    ("text_format", re.compile(r"output_?config|text_?format|structured output|json_?schema|response_?format", re.I)),
    ("tool_choice", re.compile(r"tool_?choice", re.I)),
    ("tools", re.compile(r"tool_?config|tool use|tools", re.I)),
)
_UNSUPPORTED = re.compile(
    r"n[o']t (currently )?support|unsupported|not permitted|unknown|extraneous|unrecognized", re.IGNORECASE
)
_TOKEN_LIMIT = re.compile(r"(?:model limit of|maximum (?:value )?(?:of|is)) (\d{2,6})", re.IGNORECASE)


class Failure(NamedTuple):
    """What an exception means."""

    status: int
    kind: ErrorKind
    refused: Refused | None = None
    token_limit: int | None = None
    """The model does not answer so long: it takes at most this as `maxTokens`."""
    clock: bool = False
    """The signature is refused for its time."""
    stale: bool = False
    """The key pair is over, or not known any more."""


def exception_name(text: str) -> str:
    """The plain name of `x-amzn-errortype`, `__type` or `:exception-type`: without namespace and URI, as documented."""
    name = text.split("#")[-1].split(":")[0].strip()
    return _BY_LOWER_CASE.get(name.lower(), name)


def failure(name: str, words: str, status: int) -> Failure:
    """What an exception means. `status` is that of the response, 200 within a stream."""
    if status == 200:
        status = _STATUS.get(name, 502)
    if name in _KINDS:
        return Failure(status, _KINDS[name])
    if name == "ThrottlingException" and "per day" in words:
        return Failure(status, "quota_exhausted")  # a day is not waited for
    if status == 400 and name not in _STALE:
        return _invalid(words)
    clock = name == "InvalidSignatureException" and ("expired" in words or "not yet current" in words)
    stale = name in _STALE
    return Failure(status, "auth" if stale else kind_of_status(status), clock=clock, stale=stale)


def _invalid(words: str) -> Failure:
    """A ValidationException, which says only in words what it is about."""
    if _TOO_LONG.search(words) or is_too_long(words):
        return Failure(400, "context_length")
    if _NO_SUCH_MODEL.search(words):
        return Failure(400, "not_found")
    if _FILTERED.search(words):
        return Failure(400, "content_filter")
    if _UNSUPPORTED.search(words):
        refused = next((what for what, pattern in _REFUSED if pattern.search(words)), None)
        return Failure(400, "bad_request", refused=refused)
    limit = _TOKEN_LIMIT.search(words) if "token" in words.lower() else None
    return Failure(400, "bad_request", token_limit=int(limit[1]) if limit is not None else None)
