"""What is billed, to whom, and what it comes to; each bill is computed again from the answers."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from aiq.simulator.exchange import VendorCall
from aiq.simulator.profile import Profile, TokenPrice
from aiq.simulator.provider import Provider
from aiq.simulator.reply import Reply

PRICE = TokenPrice(2.0, 8.0, cached_input_per_mtok=0.5)


def _provider(price: TokenPrice = PRICE) -> Provider:
    return Provider(Profile(prices=(("gpt-4o", price), ("o1", price))), clock=lambda: 1_700_000_000.0)


def _send(provider: Provider, prompt: str, model: str = "gpt-4o", key: str = "sk-first-1111", **headers: str) -> Reply:
    body = orjson.dumps({"model": model, "messages": [{"role": "user", "content": prompt}]})
    sent = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    call = VendorCall(b"POST", b"/v1/chat/completions", {b"authorization": f"Bearer {key}".encode(), **sent}, body)
    reply = provider.handle(call)
    provider.finish(reply, reply.status)
    return reply


def _usage(reply: Reply) -> Any:
    return orjson.loads(reply.body)["usage"]


def test_the_invoice_adds_up_what_the_answers_said() -> None:
    provider = _provider()
    usages = [_usage(_send(provider, "x" * length, "o1")) for length in (10, 5000, 5000)]
    (line,) = provider.records.invoice.lines()
    cached = [usage["prompt_tokens_details"]["cached_tokens"] for usage in usages]
    assert cached == [0, 0, 1152]
    assert line["requests"] == 3
    assert line["input_tokens"] == sum(usage["prompt_tokens"] for usage in usages)
    assert line["cached_tokens"] == sum(cached)
    assert line["output_tokens"] == sum(usage["completion_tokens"] for usage in usages)
    assert line["reasoning_tokens"] == 3 * 128
    fresh = line["input_tokens"] - line["cached_tokens"]
    dollars = (fresh * 2.0 + line["cached_tokens"] * 0.5 + line["output_tokens"] * 8.0) / 1e6
    assert line["cost_usd"] == pytest.approx(dollars, abs=1e-12)
    assert provider.records.stats()["cost_usd"] == line["cost_usd"]


def test_each_key_and_each_model_has_a_line_of_its_own() -> None:
    provider = _provider()
    for key, model in (("sk-first-1111", "gpt-4o"), ("sk-other-1111", "gpt-4o"), ("sk-first-1111", "unpriced")):
        _send(provider, "Hi", model, key)
    lines = provider.records.invoice.lines()
    assert [(line["vendor"], line["key"], line["requests"]) for line in lines] == [("openai", "1111", 1)] * 3
    assert len({(line["key_hash"], line["model"]) for line in lines}) == 3
    assert [line["cost_usd"] for line in lines if line["model"] == "unpriced"] == [None]
    assert "sk-" not in str(lines)


def test_a_request_that_failed_is_on_nobodys_bill() -> None:
    provider = _provider()
    _send(provider, "Hi [[fault:503]]")
    _send(provider, "Hi [[fault:cut]]")
    assert provider.records.invoice.lines() == []


def test_a_long_prompt_is_billed_at_its_own_price() -> None:
    tiered = TokenPrice(1.0, 2.0, 0.5, tiers=(TokenPrice(3.0, 4.0, 1.5, above_input_tokens=1000),))
    provider = _provider(tiered)
    short, long, again = (_usage(_send(provider, "x" * length)) for length in (3000, 5000, 5000))
    expected = short["prompt_tokens"] * 1.0 + short["completion_tokens"] * 2.0
    for usage in (long, again):
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        expected += (usage["prompt_tokens"] - cached) * 3.0 + cached * 1.5 + usage["completion_tokens"] * 4.0
    assert provider.records.invoice.cost_usd() == pytest.approx(expected / 1e6, abs=1e-12)


def test_the_invoice_is_served() -> None:
    provider = _provider()
    _send(provider, "Hi")
    reply = provider.handle(VendorCall(b"GET", b"/__invoice", {}, b""))
    assert orjson.loads(reply.body)["lines"][0]["model"] == "gpt-4o"


def test_a_reset_begins_a_new_invoice() -> None:
    provider = _provider()
    _send(provider, "Hi")
    provider.reset()
    assert provider.records.invoice.lines() == []


def test_the_attempt_log_has_the_idempotency_key_and_the_end() -> None:
    provider = _provider()
    _send(provider, "Hi", idempotency_key="abc-1")
    (entry,) = provider.records.attempts()
    assert (entry["idempotency_key"], entry["ended_ms"], entry["vendor"]) == ("abc-1", 1_700_000_000_000, "openai")
