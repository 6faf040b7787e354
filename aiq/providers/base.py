"""The seam between the gateway and the wire formats: pure adapters, no I/O, no clock.

An adapter turns a `Request` into an `HttpRequest` and an `HttpResponse` into an `Answer` or a `ProviderError`; a
stream's bytes, in whatever pieces they arrive, into `Chunk`s and an `Answer` at its end.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, Protocol

import orjson

from aiq.errors import ErrorKind, ProviderError
from aiq.request import CHAT_TASKS, Answer, Request, Task, Usage

MAX_MESSAGE_CHARACTERS = 500
MAX_RETRY_AFTER_S = 3600.0
MAX_LIMIT = 1e12
MAX_RESET_S = 86_400.0

_DURATION = re.compile(
    r"(?:(\d{1,3})d)?(?:(\d{1,4})h)?(?:(\d{1,6})m(?!s))?(?:(\d{1,9}(?:\.\d*)?)s)?(?:(\d{1,9}(?:\.\d*)?)ms)?", re.ASCII
)
_SECONDS = (86_400.0, 3600.0, 60.0, 1.0, 0.001)


class HttpRequest(NamedTuple):
    """A POST that is ready to send."""

    url: str
    headers: list[tuple[str, str]]
    body: bytes


class HttpResponse(NamedTuple):
    """A whole response. `header` looks a header up by its name, in any case; None if absent."""

    status: int
    header: Callable[[str], str | None]
    body: bytes


class StatedLimit(NamedTuple):
    """A rate limit as a provider states it: `remaining` of `limit`, and seconds until all of it remains again.

    `limit` is at least 1 and `remaining` between 0 and it, whatever was sent; `reset_s` is None where it is no time.
    """

    limit: float
    remaining: float
    reset_s: float | None


class StatedLimits(NamedTuple):
    """What a response states of requests and tokens; None where it does not.

    `tokens` are counted by a request's prompt and the longest answer it allows, or whatever the provider makes of it;
    `input_tokens` and `output_tokens` are those that a provider counts apart.
    """

    requests: StatedLimit | None
    tokens: StatedLimit | None
    input_tokens: StatedLimit | None = None
    output_tokens: StatedLimit | None = None


class Chunk(NamedTuple):
    """A piece of a streamed answer. `data` is the provider's event (OpenAI's chunk), `text` its content's new part.

    `token` is true where it carries a part of the answer; a role or a keep-alive is none. `usage` is set in the last.
    """

    data: dict[str, Any]
    text: str
    token: bool
    usage: Usage | None = None

    @classmethod
    def whole(cls, answer: Answer, task: Task) -> Chunk:
        """An answer that came in one piece, with all its choices and tool calls."""
        choices = []
        for choice in orjson.loads(answer.raw).get("choices") or [{}]:
            part: dict[str, Any] = {"text": choice.get("text", answer.value)}
            if task in CHAT_TASKS:
                message = {"role": "assistant", "content": answer.value, **(choice.get("message") or {})}
                calls = message.get("tool_calls")
                if calls:
                    message["tool_calls"] = [{"index": index, **call} for index, call in enumerate(calls)]
                part = {"delta": {name: value for name, value in message.items() if value is not None}}
            index, reason = choice.get("index", 0), choice.get("finish_reason") or answer.finish_reason
            choices.append({"index": index, **part, "finish_reason": reason})
        return cls({**_envelope(answer, task), "choices": choices}, answer.value or "", True)

    @classmethod
    def last(cls, answer: Answer, task: Task) -> Chunk:
        """The usage of an answer that has left."""
        tokens_in, tokens_out = answer.usage.input_tokens, answer.usage.output_tokens
        cached = {"cached_tokens": answer.usage.cached_tokens}
        if answer.usage.cache_write_tokens:
            cached["cache_write_tokens"] = answer.usage.cache_write_tokens
        usage = {
            "prompt_tokens": tokens_in,
            "completion_tokens": tokens_out,
            "total_tokens": tokens_in + tokens_out,
            "prompt_tokens_details": cached,
            "completion_tokens_details": {"reasoning_tokens": answer.usage.reasoning_tokens},
        }
        return cls({**_envelope(answer, task), "choices": [], "usage": usage}, "", False, answer.usage)


class StreamDecoder(Protocol):
    """Reads one streamed answer."""

    @property
    def ended(self) -> bool:
        """The provider has said that nothing follows."""
        ...

    @property
    def complete(self) -> bool:
        """The answer is whole, though its usage may still follow."""
        ...

    def feed(self, piece: bytes) -> list[Chunk]:
        """The chunks that a piece of the body completes. Raises ProviderError for an error in the stream."""
        ...

    def end(self) -> Answer:
        """The whole answer, when the body is over. Raises ProviderError where it broke off or is unusable."""
        ...

    def partial(self) -> Usage | None:
        """What a provider is likely to bill if it is left now, estimated; None before the first token."""
        ...


class Adapter(Protocol):
    """One served entity, spoken to in its own wire format."""

    @property
    def address(self) -> str:
        """The URL that requests begin with, for people and for checks: no key is ever in it."""
        ...

    def prepare(self) -> None:
        """Looks the entity's credential up, which may take seconds. Raises SecretError where there is none."""
        ...

    def streams(self, request: Request) -> bool:
        """Whether the answer to this request can be had as a stream."""
        ...

    def encode(self, request: Request, *, stream: bool = False) -> HttpRequest:
        """The request as it goes over the wire; `prepare` came before. `stream` asks for the answer in chunks."""
        ...

    def decoder(self, request: Request, response: HttpResponse) -> StreamDecoder:
        """For the body of a streamed answer; of `response` only status and headers are there."""
        ...

    def decode(self, request: Request, response: HttpResponse) -> Answer:
        """Raises ProviderError for everything that is not a usable answer."""
        ...

    def stated_limits(self, response: HttpResponse) -> StatedLimits | None:
        """The rate limits that a response states in its headers, None where there are none."""
        ...

    def token_request(self) -> HttpRequest | None:
        """Asks for an access token; None where the entity's credential is used as it is. `prepare` came before."""
        ...

    def take_token(self, response: HttpResponse) -> float:
        """Keeps the token that a response grants; the seconds it is valid. Raises ProviderError where it grants none.

        `encode` uses the last one.
        """
        ...


class WholeBody:
    """Reads a response that is not a stream, though one was asked for: an error, or a server that cannot stream."""

    ended = complete = False

    def __init__(self, adapter: Adapter, request: Request, response: HttpResponse) -> None:
        self._adapter, self._request, self._response = adapter, request, response
        self._pieces: list[bytes] = []

    def feed(self, piece: bytes) -> list[Chunk]:
        self._pieces.append(piece)
        return []

    def end(self) -> Answer:
        return self._adapter.decode(self._request, self._response._replace(body=b"".join(self._pieces)))

    def partial(self) -> Usage | None:
        return None


def is_stream(response: HttpResponse) -> bool:
    """Whether a response holds server-sent events, as far as its status and headers say."""
    kind = (response.header("content-type") or "").lower()
    return response.status == 200 and not ("json" in kind or "html" in kind)


def _envelope(answer: Answer, task: Task) -> dict[str, Any]:
    kind = "chat.completion.chunk" if task in CHAT_TASKS else "text_completion"
    return {"object": kind, "model": answer.model}


def estimate_tokens(characters: int) -> int:
    """Tokens of a text of which the provider sent no count. Source: Databricks usage tracking, (length + 1) / 4."""
    return (characters + 1) // 4


def estimate_usage(request: Request, answer_characters: int) -> Usage:
    """A stand-in for the usage that a provider did not send, or sent absurdly."""
    characters = text_characters(request.body)
    return Usage(estimate_tokens(characters), estimate_tokens(answer_characters), estimated=True)


def text_characters(body: dict[str, Any]) -> int:
    """Characters of text a request carries: message contents, prompt or inputs; images do not count."""
    total = 0
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, str):
            total += len(content)
        elif isinstance(content, list):
            texts = (part.get("text") for part in content if isinstance(part, dict))
            total += sum(len(text) for text in texts if isinstance(text, str))
    for key in ("prompt", "input"):
        value = body.get(key)
        if isinstance(value, str):
            total += len(value)
        elif isinstance(value, list):
            total += sum(len(text) for text in value if isinstance(text, str))
    return total


def kind_of_status(status: int) -> ErrorKind:
    """What an HTTP status means where the body says nothing more precise. Source: the retry table of the vendors."""
    if status == 429:
        return "rate_limited"
    if status == 402:
        return "quota_exhausted"
    if status in (401, 403):
        return "auth"
    if status == 404:
        return "not_found"
    if status in (408, 409, 424, 425) or status >= 500:
        return "overloaded"
    return "bad_request"


def retry_after_s(response: HttpResponse) -> float | None:
    """The provider's hint, in seconds: `retry-after-ms`, or `retry-after` as seconds or date.

    A hint that is negative, past, not a number or beyond an hour is no hint (None).
    """
    header = response.header
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = header(name)
        if text is None:
            continue
        try:
            seconds = float(text) * scale
        except ValueError:
            seconds = _seconds_until(text, header("date"))
        if 0 < seconds <= MAX_RETRY_AFTER_S:
            return seconds
    return None


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


def _seconds_until(text: str, now: str | None) -> float:
    """Seconds from the response's own Date header to an HTTP date; NaN where either is missing or malformed."""
    try:
        return (parsedate_to_datetime(text) - parsedate_to_datetime(now or "")).total_seconds()
    except (ValueError, TypeError, OverflowError, IndexError):
        return float("nan")


def shorten(text: str) -> str:
    """A provider's words, on one line and short enough for an error message."""
    text = " ".join(text.split())
    return text if len(text) <= MAX_MESSAGE_CHARACTERS else text[: MAX_MESSAGE_CHARACTERS - 1] + "…"


def redacted(text: str, *secrets: str) -> str:
    """A provider's words without the credentials it was sent. Before they are cut: half a secret is one too."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return text


def error_from_body(status: int, body: str) -> str:
    """The words of an error body that no adapter understood: never empty, never HTML."""
    text = body[:2000].strip()
    if text[:1] == "<":
        return f"HTTP {status} with an HTML page instead of JSON; check the endpoint's URL and any proxy before it"
    return shorten(text) or f"HTTP {status} with an empty body"


def unusable(message: str, response: HttpResponse, *, body: str | None = None) -> ProviderError:
    """A 200 that carries no usable answer."""
    return ProviderError(message, kind="bad_answer", status=response.status, body=body)
