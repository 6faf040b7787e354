"""Anthropic's Messages API, from and to OpenAI's form. Must never know sockets or policy.

Source: the Claude API reference: "Create a Message", "Errors", "Rate limits". The version is 2023-06-01, in which those
models that still take a temperature may be given one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from aiq.config.connections import KeyConfig
from aiq.config.endpoint import ServedEntity
from aiq.errors import ErrorKind, ProviderError
from aiq.providers.abilities import Abilities
from aiq.providers.anthropic.request import OWN, PARAMETERS, Format, Impossible, output_format, wire_body
from aiq.providers.anthropic.schema import native_schema
from aiq.providers.anthropic.stream import AnthropicStream
from aiq.providers.base import HttpRequest, HttpResponse, StatedLimit, StatedLimits, StreamDecoder
from aiq.providers.wire.errors import error_from_body, shorten, unusable
from aiq.providers.wire.external import ExternalAdapter
from aiq.providers.wire.http import MAX_LIMIT, MAX_RESET_S, kind_of_status
from aiq.providers.wire.openai_form import completion, count, tool_call
from aiq.providers.wire.streams import WholeBody, is_events, is_stream, read_events
from aiq.providers.wire.usage import known_or_estimated, tier_of
from aiq.providers.wire.waiting import refusal
from aiq.providers.wire.wholeness import OPENAI_REASON, check_end, check_said, end_of
from aiq.providers.wire.words import is_too_long
from aiq.request import Answer, Request, Usage

API_BASE = "https://api.anthropic.com"
VERSION = "2023-06-01"

_STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_SPENT = frozenset(
    {"enforced_spend_limit_reached", "contract_spend_limit_reached", "linked_organization_spend_limit_reached",
     "linked_organization_billing_unavailable"}
)  # fmt: skip
"""`details.error_code` of a 429 that no waiting helps."""
_WORDS: tuple[tuple[str, ErrorKind], ...] = (
    ("prompt is too long", "context_length"),
    ("exceed context limit", "context_length"),
    ("exceeds the maximum context", "context_length"),
    ("content filtering policy", "content_filter"),
    ("api usage limits", "quota_exhausted"),
    ("credit balance is too low", "quota_exhausted"),
)
"""Of an invalid_request_error, which has no code for them."""


class AnthropicAdapter(ExternalAdapter):
    """Speaks to one served entity."""

    abilities = Abilities({"llm/v1/chat": PARAMETERS}, OWN)

    def __init__(self, entity: ServedEntity, clock: Callable[[], float]) -> None:
        super().__init__(entity, clock)
        self.address = self._address()
        self._headers: list[tuple[str, str]] = []
        # Set when the model itself says so: those before Claude 4.5 conform to no schema.
        self._no_formats = False
        self._format: tuple[object, Format] = (None, (None, None))
        self._date: tuple[str, float] = ("", 0.0)

    def _address(self) -> str:
        config = self._entity.config
        assert isinstance(config, KeyConfig)
        base = (config.api_base or API_BASE).rstrip("/")
        return base + ("/messages" if base.endswith("/v1") else "/v1/messages")

    def prepare(self) -> None:
        config = self._entity.config
        if not self._headers and isinstance(config, KeyConfig):
            key = config.api_key.reveal()
            self._secrets = (key,)
            self._headers = [
                ("content-type", "application/json"), ("x-api-key", key), ("anthropic-version", VERSION)
            ]  # fmt: skip

    def encode(self, request: Request, *, stream: bool = False) -> HttpRequest:
        body = request.body
        try:
            asked = body.get("response_format")
            body = wire_body(self._entity.model, body, self._format_of(asked) if asked else (None, None), stream=stream)
        except Impossible as reason:
            self._refuse(str(reason))
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            self._refuse(
                f"cannot be sent this request, which is not of OpenAI's form ({type(error).__name__}: {error})"
            )
        return self._sent(body, stream)

    def _sent(self, body: dict[str, Any], stream: bool) -> HttpRequest:
        return HttpRequest(self.address, self._headers, orjson.dumps(body))

    def _format_of(self, asked: Any) -> Format:
        """The same object, row after row, is translated once."""
        if asked is not self._format[0]:
            self._format = (asked, output_format(asked, _no_schema if self._no_formats else native_schema))
        return self._format[1]

    def decoder(self, request: Request, response: HttpResponse) -> StreamDecoder:
        return self._stream(request, response) if is_stream(response) else WholeBody(self, request, response)

    def _stream(self, request: Request, response: HttpResponse) -> StreamDecoder:
        return AnthropicStream(self, request, response, int(self._clock()))

    def decode(self, request: Request, response: HttpResponse) -> Answer:
        if response.status != 200:
            raise self.error(response)
        if is_events(response.body):
            return read_events(self._stream(request, response), response)
        data = self._json(response)
        if isinstance(data, dict) and (data.get("type") == "error" or data.get("error")):
            raise self.error(response)
        return self.answer(request, data, response)

    def answer(self, request: Request, data: Any, response: HttpResponse) -> Answer:
        """The answer that a parsed message holds. Raises ProviderError where it is not usable."""
        try:
            return self._answer(request, data)
        except (KeyError, TypeError, AttributeError, ValueError):
            body = self._body(response)
            words = shorten(body[:300])
            error = unusable(f"the answer is JSON, but no message: {words}", response, body=body, once=True)
            error.usage = usage_of(data.get("usage")) if isinstance(data, dict) else None  # it is billed all the same
            raise error from None

    def _answer(self, request: Request, data: dict[str, Any]) -> Answer:
        texts: list[str] = []
        thoughts: list[str] = []
        calls: list[dict[str, Any]] = []
        reason = data["stop_reason"]
        for block in data["content"]:
            kind = block["type"]
            if kind == "text":
                texts.append(block["text"])
            elif kind == "tool_use":
                arguments = block["input"]
                if isinstance(arguments, str) and reason == "tool_use":
                    orjson.loads(arguments)  # out of a stream, and to be JSON unless it was cut off
                calls.append(tool_call(block["id"], block["name"], arguments))
            elif kind == "thinking":
                thoughts.append(block["thinking"])
        text = "".join(texts) if texts else None
        model = str(data.get("model") or self._entity.model)
        characters = sum(map(len, (*texts, *thoughts))) + sum(len(call["function"]["arguments"]) for call in calls)
        usage = known_or_estimated(usage_of(data.get("usage")), request, characters)
        end = end_of("anthropic", reason)
        finish_reason = OPENAI_REASON.get(end)
        raw = orjson.dumps(
            completion(
                id=data.get("id"),
                created=int(self._clock()),
                model=model,
                content=text,
                finish_reason=finish_reason,
                usage=usage,
                tool_calls=calls,
                reasoning="".join(thoughts),
            )
        ).decode()
        if reason == "refusal":
            raise ProviderError(
                self._refusal(data.get("stop_details")), kind="content_filter", status=400, body=raw, usage=usage
            )
        check_end(end, reason, raw=raw, usage=usage)
        if not calls:
            check_said(text, end, request.body, reasoned=bool(thoughts), raw=raw, usage=usage)
        return Answer(text, usage, model, finish_reason, raw)

    def _refusal(self, details: Any) -> str:
        told = details if isinstance(details, dict) else {}
        category = f" ({told['category']})" if told.get("category") else ""
        explanation = shorten(self._redact(str(told.get("explanation") or "")))
        return f"the model refused{category}: {explanation}" if explanation else f"the model refused{category}"

    def error(self, response: HttpResponse) -> ProviderError:
        """What a response, or an event of a stream, that is an error means."""
        status, body = response.status, self._body(response)
        try:
            data = orjson.loads(response.body)
        except ValueError:
            data = None
        error = data.get("error") if isinstance(data, dict) else None
        if not isinstance(error, dict):
            error = {"message": error} if isinstance(error, str) else {}
        told = error.get("type")
        if status == 200:  # as bad as the status it should have had
            status = _STATUS_OF_TYPE.get(told, 502) if isinstance(told, str) else 502
        kind = kind_of_status(status)
        message = str(error.get("message") or "")
        details = error.get("details")
        code = details.get("error_code") if isinstance(details, dict) else None
        if isinstance(code, str) and code in _SPENT:
            kind = "quota_exhausted"
        elif kind == "bad_request":
            lower = message.lower()
            kind = next((meant for words, meant in _WORDS if words in lower), kind)
            if kind == "bad_request" and is_too_long(message):
                kind = "context_length"
            if "does not support output format" in lower or "output_config.format: extra inputs" in lower:
                # Also where it was learnt a moment ago: many requests were in flight when the first one taught it.
                self._no_formats, self._format, kind = True, (None, (None, None)), "adapted"
        if 300 <= status < 400:
            message = f"HTTP {status}: the provider redirects, and a redirect is never followed with a credential"
        words = shorten(self._redact(message)) or error_from_body(status, body)
        return refusal(words, kind=kind, status=status, response=response, body=body)

    def stated_limits(self, response: HttpResponse) -> StatedLimits | None:
        """Requests, and input and output tokens apart; the headers of both together only where there are no others."""
        header = response.header
        requests = header("anthropic-ratelimit-requests-remaining")
        tokens_in = header("anthropic-ratelimit-input-tokens-remaining")
        tokens_out = header("anthropic-ratelimit-output-tokens-remaining")
        tokens = None
        if tokens_in is None and tokens_out is None:
            tokens = header("anthropic-ratelimit-tokens-remaining")
            if tokens is None and requests is None:
                return None
        now = self._now(header("date"))
        return StatedLimits(
            _stated_limit(header, "requests", requests, now),
            _stated_limit(header, "tokens", tokens, now),
            _stated_limit(header, "input-tokens", tokens_in, now),
            _stated_limit(header, "output-tokens", tokens_out, now),
        )

    def _now(self, date: str | None) -> float:
        """When a response was made, by the provider's own clock where it says so: ours may be wrong."""
        if date is None:
            return self._clock()
        if date != self._date[0]:  # many come in one second, and the format is slow to read
            try:
                self._date = (date, parsedate_to_datetime(date).timestamp())
            except (ValueError, TypeError, IndexError, OverflowError):
                self._date = (date, self._clock())
        return self._date[1]


def usage_of(usage: Any) -> Usage | None:
    """The provider's own count, None where it is missing or absurd. `input_tokens` excludes what the cache had."""
    if not isinstance(usage, dict):
        return None
    fresh, tokens_out = count(usage.get("input_tokens")), count(usage.get("output_tokens"))
    read, written = (count(usage.get(name) or 0) for name in ("cache_read_input_tokens", "cache_creation_input_tokens"))
    if fresh is None or tokens_out is None or read is None or written is None:
        return None
    by_life = usage.get("cache_creation")
    lives = by_life if isinstance(by_life, dict) else {}
    hour, minutes = (count(lives.get(f"ephemeral_{life}_input_tokens")) or 0 for life in ("1h", "5m"))
    written = max(written, hour + minutes)
    details = usage.get("output_tokens_details")
    thoughts = count(details.get("thinking_tokens"), tokens_out) if isinstance(details, dict) else 0
    return Usage(
        fresh + read + written,
        tokens_out,
        read,
        thoughts or 0,
        cache_write_tokens=written,
        cache_write_1h_tokens=hour,
        service_tier=tier_of(usage.get("service_tier")),
        surcharge=_surcharge(usage),
    )


def _surcharge(usage: dict[str, Any]) -> str | None:
    """What is billed besides tokens, or by another price list: searches, the fast mode, one country alone."""
    told = []
    tools = usage.get("server_tool_use")
    searches = count(tools.get("web_search_requests")) if isinstance(tools, dict) else None
    if searches:
        told.append(f"{searches} web searches")
    if usage.get("speed") not in (None, "standard"):
        told.append(f"speed {str(usage['speed'])[:40]}")
    if usage.get("inference_geo") not in (None, "global", "not_available"):
        told.append(f"inference in {str(usage['inference_geo'])[:40]}")
    return ", ".join(told) or None


def _no_schema(schema: dict[str, Any]) -> None:
    return None


def _stated_limit(
    header: Callable[[str], str | None], unit: str, remaining: str | None, now: float
) -> StatedLimit | None:
    if remaining is None:
        return None
    try:
        limit, left = float(header(f"anthropic-ratelimit-{unit}-limit") or ""), float(remaining)
    except ValueError:
        return None
    if not 1.0 <= limit <= MAX_LIMIT or math.isnan(left):
        return None
    reset = header(f"anthropic-ratelimit-{unit}-reset")
    return StatedLimit(limit, min(max(left, 0.0), limit), _seconds_until(reset, now))


def _seconds_until(moment: str | None, now: float) -> float | None:
    """Seconds until a moment in RFC 3339. None for what is none, is over, or is further away than a day."""
    if moment is None:
        return None
    try:
        at = datetime.fromisoformat(moment)
        seconds = (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp() - now
    except (ValueError, OverflowError):
        return None
    return seconds if 0.0 < seconds <= MAX_RESET_S else None
