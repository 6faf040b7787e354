"""What a call is billed by, as OpenAI and all who speak its form state it, and what stands in for what they do not.

Pure. Sources: the API references of OpenAI, xAI, DeepSeek, Databricks, Moonshot, Groq, Mistral, OpenRouter and
Perplexity; LiteLLM's proxy. A count that is negative, astronomic or no whole number is not known: it is no count.
"""

from __future__ import annotations

import math
from typing import Any

from aiq.providers.wire.estimates import estimate_usage
from aiq.providers.wire.openai_form import MAX_TOKENS, count
from aiq.request import Request, Usage

MAX_STATED_USD = 1e5
"""A price beyond this, of one call, is no price."""
_TICKS_PER_USD = 1e10
_STANDARD = frozenset({"default", "standard", "auto", "on_demand", "standard_only", ""})
_CACHED = ("prompt_cache_hit_tokens", "cache_read_input_tokens", "cached_tokens", "num_cached_tokens")
_PLAIN = frozenset(
    {"prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details"}
)
_MAY_BE_APART = ("cache_read_input_tokens", "cache_creation_input_tokens")
"""Anthropic's names. Some providers count these in addition to the prompt's tokens, as Anthropic does, some within."""
_WRITTEN = ("cache_creation_input_tokens", "cache_write_tokens")
_APART_TOKENS = {
    "num_search_queries": "search queries",
    "num_sources_used": "sources of live search",
    "prompt_audio_seconds": "seconds of audio",
    "citation_tokens": "citation tokens",
    "web_search_requests": "web searches",
    "web_search_calls": "web searches",
    "x_search_calls": "searches of X",
    "code_interpreter_calls": "code executions",
}
"""Members of `usage`, or of the tools' part of it, that have a price of their own."""


def stated_usage(body: Any) -> Usage | None:
    """The usage that an answer in OpenAI's form states, of chat completions or of responses; None where it has none.

    `body` is the whole answer, because the service tier stands next to its usage.
    """
    usage = body.get("usage") if isinstance(body, dict) else None
    if not isinstance(usage, dict):
        return None
    tier = body.get("service_tier")
    plain = _plain(usage)
    if plain is not None:
        return plain if tier is None else plain._replace(service_tier=tier_of(tier))
    tokens_in = _first(usage, ("prompt_tokens", "input_tokens"))
    tokens_out = _first(usage, ("completion_tokens", "output_tokens"))
    total = count(usage.get("total_tokens"))
    if tokens_in is None:
        return None
    asked = _details(usage, "prompt_tokens_details", "input_tokens_details")
    made = _details(usage, "completion_tokens_details", "output_tokens_details")
    cached, written = _cached(usage, asked), _written(usage, asked)
    reasoning = count(made.get("reasoning_tokens")) or count(usage.get("reasoning_tokens")) or 0
    if tokens_out is None and "completion_tokens" not in usage and "output_tokens" not in usage:
        tokens_out = 0 if total is None else max(0, total - tokens_in)  # embeddings have no such member
    if tokens_out is None:
        return None
    more = 0 if total is None else total - tokens_in - tokens_out
    reported_apart = sum(count(usage.get(name)) or 0 for name in _MAY_BE_APART)
    if reported_apart and (
        more == reported_apart or more == reported_apart + reasoning or (total is None and reported_apart > tokens_in)
    ):
        tokens_in, more = (
            tokens_in + reported_apart,
            more - reported_apart,
        )  # the prompt's count is of what no cache had
    if more > 0:
        tokens_out += more  # reasoning that is counted in addition to the answer, and billed like it
    elif total is None and reasoning > tokens_out:
        tokens_out += reasoning
    cached = cached if cached <= tokens_in else 0
    written = written if written <= tokens_in - cached else 0
    audio_in = min(count(asked.get("audio_tokens")) or 0, tokens_in - written)
    read_audio = count(_details(asked, "cached_tokens_details").get("audio_tokens")) or 0
    return Usage(
        tokens_in,
        tokens_out,
        cached,
        reasoning if reasoning <= tokens_out else 0,
        cache_write_tokens=written,
        cache_write_1h_tokens=min(_written_1h(usage, asked), written),
        audio_input_tokens=audio_in,
        cached_audio_tokens=min(read_audio, cached, audio_in),
        audio_output_tokens=min(count(made.get("audio_tokens")) or 0, tokens_out),
        image_output_tokens=min(count(made.get("image_tokens")) or 0, tokens_out),
        service_tier=tier_of(tier or usage.get("service_tier")),
        stated_usd=stated_usd(usage),
        surcharge=_surcharge(usage),
    )


def _plain(usage: dict[str, Any]) -> Usage | None:
    """The usage where there is nothing special in it, as in most answers: this is on the way of every row."""
    if not usage.keys() <= _PLAIN:
        return None
    tokens_in, tokens_out, total = usage.get("prompt_tokens"), usage.get("completion_tokens"), usage.get("total_tokens")
    if type(tokens_in) is not int or type(tokens_out) is not int or type(total) is not int:
        return None
    if tokens_in + tokens_out != total or tokens_in < 0 or tokens_out < 0 or total > MAX_TOKENS:
        return None
    cached = reasoning = 0
    for name in ("prompt_tokens_details", "completion_tokens_details"):
        details = usage.get(name)
        if not details:
            continue
        if type(details) is not dict:
            return None
        for part, value in details.items():
            if not value:
                continue
            if part == "cached_tokens" and type(value) is int and 0 < value <= tokens_in:
                cached = value
            elif part == "reasoning_tokens" and type(value) is int and 0 < value <= tokens_out:
                reasoning = value
            else:
                return None
    return Usage(tokens_in, tokens_out, cached, reasoning)


def known_or_estimated(stated: Usage | None, request: Request, characters: int) -> Usage:
    """The stated usage; what it does not count, though it was sent or answered, is estimated.

    `characters` are those of the answer: texts, thoughts, arguments of tools.
    """
    if stated is None:
        return estimate_usage(request, characters)
    if stated.input_tokens and (stated.output_tokens or not characters):
        return stated
    guess = estimate_usage(request, characters)
    tokens_in, tokens_out = stated.input_tokens or guess.input_tokens, stated.output_tokens or guess.output_tokens
    if (tokens_in, tokens_out) == stated[:2]:
        return stated
    return stated._replace(input_tokens=tokens_in, output_tokens=tokens_out, estimated=True)


def tier_of(word: Any) -> str | None:
    """A service tier as the ledger names it: `standard` for the usual one, whatever the provider calls that."""
    if not isinstance(word, str):
        return None
    word = word.strip().lower()[:40]
    return "standard" if word in _STANDARD else word


def stated_usd(usage: dict[str, Any]) -> float | None:
    """US dollars that a router, or xAI, says a call costs; None where it does not say it, or says nonsense."""
    cost = usage.get("cost")
    if isinstance(cost, dict):  # Perplexity's
        cost = cost.get("total_cost")
    dollars = _dollars(cost)
    if dollars is not None and usage.get("is_byok") is True:  # what the router takes; its provider bills the rest
        upstream = _dollars(_details(usage, "cost_details").get("upstream_inference_cost"))
        return None if upstream is None else dollars + upstream
    if dollars is None:
        ticks = count(usage.get("cost_in_usd_ticks"), int(MAX_STATED_USD * _TICKS_PER_USD))
        dollars = None if ticks is None else ticks / _TICKS_PER_USD
    return dollars


def _dollars(value: Any) -> float | None:
    if type(value) not in (int, float) or not math.isfinite(value) or not 0 <= value <= MAX_STATED_USD:
        return None
    return float(value)


def _first(usage: dict[str, Any], names: tuple[str, ...]) -> int | None:
    """The first of these members that is there, None where it is no count."""
    return next((count(usage[name]) for name in names if name in usage), None)


def _details(usage: dict[str, Any], *names: str) -> dict[str, Any]:
    return next((usage[name] for name in names if isinstance(usage.get(name), dict)), {})


def _cached(usage: dict[str, Any], details: dict[str, Any]) -> int:
    stated = [count(details.get("cached_tokens")), *(count(usage.get(name)) for name in _CACHED)]
    return max((each for each in stated if each), default=0)


def _written(usage: dict[str, Any], details: dict[str, Any]) -> int:
    names = ("cache_write_tokens", "cache_creation_tokens")
    stated = [*(count(details.get(name)) for name in names), *(count(usage.get(name)) for name in _WRITTEN)]
    return max((each for each in stated if each), default=0)


def _written_1h(usage: dict[str, Any], details: dict[str, Any]) -> int:
    by_life = _details(usage, "cache_creation") or _details(details, "cache_creation_token_details")
    return count(by_life.get("ephemeral_1h_input_tokens")) or 0


def _surcharge(usage: dict[str, Any]) -> str | None:
    notes = []
    for place in (usage, _details(usage, "server_tool_use", "server_side_tool_usage_details")):
        for name, words in _APART_TOKENS.items():
            number = place.get(name)
            if isinstance(number, int | float) and number > 0 and not isinstance(number, bool):
                notes.append(f"{number:g} {words}")
    return ", ".join(notes) or None
