"""What a refusal says of waiting: how long, and whether it helps at all, in the words of many providers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aiq.config.connections import OpenAIConfig, Secret
from aiq.config.endpoint import ServedEntity
from aiq.errors import ProviderError
from aiq.providers import adapter_for
from aiq.providers.base import HttpResponse
from aiq.providers.wire.waiting import hint_in_words, retry_after_s
from aiq.request import Caller, Request

DATE, LATER = "Mon, 30 Nov 2026 12:00:00 GMT", "Mon, 30 Nov 2026 12:00:30 GMT"
NOON_S = 1_796_040_000.0


def response(headers: dict[str, str], status: int = 429, body: bytes = b"") -> HttpResponse:
    return HttpResponse(status, headers.get, body)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "2s"}, 2.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "1m30s"}, 90.0),
        ({"retry-after": "500ms"}, 0.5),
        ({"retry-after": "7200"}, 7200.0),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"x-ms-retry-after-ms": "1500"}, 1.5),
        ({"x-ms-retry-after-ms": "soon", "retry-after": "3"}, 3.0),
        ({"retry-after": LATER, "date": DATE}, 30.0),
        ({"retry-after": LATER}, 20.0),
        ({"retry-after": LATER, "date": "today"}, 20.0),
        ({"retry-after": DATE}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e30"}, None),
        ({"retry-after": "later"}, None),
        ({"retry-after": ""}, None),
        ({}, None),
    ],
)
def test_every_form_of_the_header_is_read(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(response(headers), lambda: NOON_S + 10) == seconds


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("Rate limit reached for gpt-4o in organization org-1. Please try again in 1.5s. Visit the page.", 1.5),
        ("Please try again in 120ms.", 0.12),
        ("Please try again in 7m12.5s. Need more tokens?", 432.5),
        ("Please retry after 26 seconds. To raise the limit, ask.", 26.0),
        ("Too many requests, please wait 1 minute and 5 seconds", 60.0),
        ("Please retry in 34.074824224s.", 34.074824224),
        ("Quota resets in 2 hours", 7200.0),
        ("Retry after 2 hours 30 minutes", 9000.0),
        ("Limit 10000, used 9000, requested 2000", None),
        ("Please try again later", None),
        ("Please try again in 5 business reviews", None),
    ],
)
def test_a_hint_in_words_is_read(words: str, seconds: float | None) -> None:
    assert hint_in_words(words) == (None if seconds is None else pytest.approx(seconds))


def error(status: int, message: str, headers: dict[str, str], **members: Any) -> ProviderError:
    config = OpenAIConfig(api_key=Secret("sk-test", "test"), api_base="http://127.0.0.1:9/v1")
    adapter = adapter_for(ServedEntity("id", "main", "openai", "gpt", "llm/v1/chat", config, 100))
    request = Request("chat", "llm/v1/chat", {"messages": [{"role": "user", "content": "Hi"}]}, Caller("ann"), "st")
    body = json.dumps({"error": {"message": message, **members}}).encode()
    with pytest.raises(ProviderError) as caught:
        adapter.decode(request, response(headers, status, body))
    return caught.value


@pytest.mark.parametrize(
    ("status", "message", "headers", "kind"),
    [
        (429, "Insufficient Balance", {}, "quota_exhausted"),
        (429, "insufficient balance", {"retry-after": "1"}, "quota_exhausted"),
        (429, "Your account balance is not enough, please recharge your account", {}, "quota_exhausted"),
        (429, "You exceeded your current quota, please check your plan and billing details.", {}, "quota_exhausted"),
        (429, "You exceeded your current quota.", {"retry-after": "21"}, "rate_limited"),
        (403, "Your team has run out of credits", {}, "quota_exhausted"),
        (400, "Access denied: Arrearage", {}, "quota_exhausted"),
        (429, "余额不足或无可用资源包,请充值。", {}, "quota_exhausted"),
        (429, "Monthly spending limit reached", {}, "quota_exhausted"),
        (429, "Slow down", {"retry-after": "7200"}, "quota_exhausted"),
        (429, "Daily limit. Please try again in 5h20m.", {}, "quota_exhausted"),
        (429, "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 40000.", {}, "too_large"),
        (429, "Rate limit reached on tokens per min. Please try again in 6.2s.", {}, "rate_limited"),
        (429, "Rate limit reached. Add a payment method under /account/billing to raise it.", {}, "rate_limited"),
        (429, "Too many requests", {}, "rate_limited"),
        (503, "The engine is overloaded, please try again later", {}, "overloaded"),
        (500, "insufficient memory", {}, "overloaded"),
        (400, "Unknown parameter: balance", {}, "bad_request"),
    ],
)
def test_words_tell_what_waiting_helps_against(status: int, message: str, headers: dict[str, str], kind: str) -> None:
    assert error(status, message, headers).kind == kind


def test_a_hint_in_the_words_of_an_error_is_its_hint() -> None:
    assert error(429, "Rate limit reached. Please try again in 1.5s.", {}).retry_after_s == 1.5
    assert error(400, "Please try again in 1.5s.", {}).retry_after_s is None
