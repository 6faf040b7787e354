"""What the calls of a statement will take: tokens, US dollars, seconds. Pure arithmetic.

Takes counts of requests, what an endpoint's history shows, prices and limits; knows neither where they come from nor
an engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from aiq.ledger.prices import PriceTag
from aiq.request import Task

CHARACTERS_PER_TOKEN = 4.0
MOST_CHARACTERS_PER_TOKEN = 8.0
"""For the low cost: no prose has more, whatever the endpoint was asked before."""
CACHEABLE_TOKENS = 1024
"""From so long a prompt on, providers may bill the part that came before at a lower price."""
OUTPUT_TOKENS = (1.0, 100.0, 1000.0)
"""Low, likely and high, where an endpoint has no history."""
LATENCY_S = 1.0
WINDOW_S = 60.0


class History(NamedTuple):
    """What the ledger shows of an endpoint's last calls. Tokens are of one request, `calls` is how many there were."""

    calls: int = 0
    output_low: float = 0.0
    output_mean: float = 0.0
    output_high: float = 0.0
    latency_s: float = 0.0
    characters_per_token: float | None = None


class Terms(NamedTuple):
    """Under which conditions an endpoint answers.

    `prices` are the served entities that take traffic, by share (0 to 1); `texts_per_call` is above 1 for embeddings.
    """

    task: Task
    concurrency: int
    prices: Sequence[tuple[float, PriceTag | None]] = ()
    calls_per_minute: int | None = None
    texts_per_call: int = 1
    history: History = History()


class Counted(NamedTuple):
    """The requests of one call site, before any is made.

    `requests` are distinct, and so many as are likely; `least` and `most` bound them. `exact` says that this many will
    be made. `characters` are those of all `most` requests. `stage` counts from 1. `site` is the call site's
    number, 0 for one in a view or macro.
    """

    call: str
    endpoint: str
    stage: int
    rows: int
    requests: int
    least: int
    most: int
    characters: float
    exact: bool = True
    answered: int = 0
    max_output_tokens: int | None = None
    lifted: bool = True
    notes: tuple[str, ...] = ()
    site: int = 0


class Estimate(NamedTuple):
    """One row of an explanation, in its columns' order; costs are None where a price is not known."""

    call: str
    endpoint: str | None
    stage: int | None
    rows: int
    requests: int
    answered_from_store: int
    input_tokens: int
    output_tokens_likely: int
    cost_low_usd: float | None
    cost_likely_usd: float | None
    cost_high_usd: float | None
    seconds: float | None
    exact: bool
    lifted: bool
    note: str


def estimate(counted: Counted, terms: Terms) -> Estimate:
    """What one call site will take, each request being made once and none retried."""
    notes = list(counted.notes)
    history = terms.history
    per_token = history.characters_per_token or CHARACTERS_PER_TOKEN
    low, likely, high = _output_tokens(counted.max_output_tokens, terms)
    ask_least, ask, ask_most = (max(0, n - counted.answered) for n in (counted.least, counted.requests, counted.most))
    each = counted.characters / counted.most / per_token if counted.most else 0.0
    if ask_most and not history.calls:
        notes.append(f"no history of this endpoint, so assumed: {_assumed(likely, high)}, {LATENCY_S:g} s a call")
    if ask_most and history.characters_per_token is None:
        notes.append(f"{CHARACTERS_PER_TOKEN:g} characters a token assumed")
    at_least = each * per_token / max(MOST_CHARACTERS_PER_TOKEN, per_token)
    cost_low = _cost(ask_least, at_least, low, terms.prices, cached=each >= CACHEABLE_TOKENS)
    cost_likely, cost_high = (_cost(n, each, out, terms.prices) for n, out in ((ask, likely), (ask_most, high)))
    if ask_most and cost_high is None:
        notes.append("no price known")
    seconds = _seconds([(counted.stage, ask)], terms)
    if seconds is None:
        notes.append("blocked: a rate limit of 0 calls is set")
    return Estimate(
        counted.call,
        counted.endpoint,
        counted.stage,
        counted.rows,
        counted.requests,
        min(counted.answered, counted.requests),
        round(ask * each),
        round(ask * likely),
        cost_low,
        cost_likely,
        cost_high,
        seconds,
        counted.exact,
        counted.lifted,
        "; ".join(notes),
    )


def total(
    counts: Sequence[Counted], estimates: Sequence[Estimate], terms: dict[str, Terms], note: str = ""
) -> Estimate:
    """The whole statement. Calls of one stage run together, stages one after another; `terms` are by endpoint."""
    return Estimate(
        "total",
        None,
        None,
        sum(e.rows for e in estimates),
        sum(e.requests for e in estimates),
        sum(e.answered_from_store for e in estimates),
        sum(e.input_tokens for e in estimates),
        sum(e.output_tokens_likely for e in estimates),
        _sum([e.cost_low_usd for e in estimates]),
        _sum([e.cost_likely_usd for e in estimates]),
        _sum([e.cost_high_usd for e in estimates]),
        _total_seconds(counts, terms),
        all(e.exact for e in estimates),
        all(e.lifted for e in estimates),
        note,
    )


def _total_seconds(counts: Sequence[Counted], terms: dict[str, Terms]) -> float | None:
    """The stages one after another, or the slowest rate limit over the whole statement."""
    work: dict[int, dict[str, float]] = {}
    limited = [0.0]
    for endpoint, own in terms.items():
        asked = [(c.stage, max(0, c.requests - c.answered)) for c in counts if c.endpoint == endpoint]
        seconds = _limited_seconds(sum(_calls(n, own) for _, n in asked), own.calls_per_minute)
        if seconds is None:
            return None
        limited.append(seconds)
        for stage in {stage for stage, _ in asked}:
            at_work = sum(_calls(n, own) for s, n in asked if s == stage)
            work.setdefault(stage, {})[endpoint] = _work_seconds(at_work, own)
    return max(sum(max(stage.values()) for stage in work.values()), *limited)


def _seconds(asked: Sequence[tuple[int, int]], terms: Terms) -> float | None:
    calls = sum(_calls(requests, terms) for _, requests in asked)
    limited = _limited_seconds(calls, terms.calls_per_minute)
    return None if limited is None else max(_work_seconds(calls, terms), limited)


def _calls(requests: int, terms: Terms) -> int:
    return -(-requests // terms.texts_per_call)


def _work_seconds(calls: int, terms: Terms) -> float:
    latency = terms.history.latency_s if terms.history.calls else LATENCY_S
    return max(calls / terms.concurrency, 1.0) * latency if calls else 0.0


def _limited_seconds(calls: int, calls_per_minute: int | None) -> float | None:
    """Seconds until the last of some calls may start; None where they never may."""
    if not calls or calls_per_minute is None:
        return 0.0
    return (calls - 1) // calls_per_minute * WINDOW_S if calls_per_minute else None


def _assumed(likely: float, high: float) -> str:
    return f"{likely:,.0f} output tokens a request, {high:,.0f} at most" if high else "no output tokens"


def _output_tokens(limit: int | None, terms: Terms) -> tuple[float, float, float]:
    """Low, likely and high output tokens of one request."""
    if terms.task == "llm/v1/embeddings":
        return 0.0, 0.0, 0.0
    history = terms.history
    if history.calls:
        low, likely, high = history.output_low, history.output_mean, history.output_high
    elif terms.task == "custom":
        return 0.0, 0.0, 0.0
    else:
        low, likely, high = OUTPUT_TOKENS
    if limit is not None:
        low, likely, high = min(low, limit), min(likely, limit), float(limit)
    return low, likely, max(likely, high)


def _cost(
    requests: float,
    input_tokens: float,
    output_tokens: float,
    prices: Sequence[tuple[float, PriceTag | None]],
    *,
    cached: bool = False,
) -> float | None:
    """US dollars of some requests of so many tokens each; `cached` takes the tokens in at the price of cached ones."""
    if not requests:
        return 0.0
    cost = 0.0
    for share, tag in prices:
        if tag is None:
            return None
        per_input = min(tag.per_input, tag.per_cached_input) if cached else tag.per_input
        cost += share * requests * (input_tokens * per_input + output_tokens * tag.per_output)
    return cost if prices else None


def _sum(costs: Sequence[float | None]) -> float | None:
    known = [cost for cost in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None
