"""The arithmetic of an estimate: tokens, dollars, seconds, and what is said where something had to be assumed."""

from __future__ import annotations

from typing import Any

import pytest

from aiq.ledger.prices import PriceTag
from aiq.statements.estimate import Counted, Estimate, History, Terms, estimate, total

TAG = PriceTag(0.000001, 0.000004, 0.0000005, "conf/aiq.yml")
HISTORY = History(200, output_low=5.0, output_mean=20.0, output_high=80.0, latency_s=0.5, characters_per_token=5.0)


def counted(requests: int = 1000, **values: Any) -> Counted:
    given = {"least": requests, "most": requests, "characters": 20.0 * requests, **values}
    return Counted("ai_query('chat', x)", "chat", given.pop("stage", 1), requests, requests, **given)


def terms(**values: Any) -> Terms:
    return Terms(**{"task": "llm/v1/chat", "concurrency": 10, "prices": [(1.0, TAG)], "history": HISTORY, **values})


def test_input_tokens_follow_the_characters_per_token_of_the_history() -> None:
    assert estimate(counted(), terms()).input_tokens == 1000 * 20 / 5


def test_without_history_a_token_has_four_characters_and_the_note_says_so() -> None:
    found = estimate(counted(), terms(history=History()))
    assert found.input_tokens == 5000
    assert "4 characters a token assumed" in found.note


def test_without_history_the_output_is_assumed_and_the_note_says_so() -> None:
    found = estimate(counted(), terms(history=History()))
    assert found.output_tokens_likely == 100_000
    assert "100 output tokens a request, 1,000 at most, 1 s a call" in found.note


def test_with_history_nothing_is_assumed() -> None:
    assert estimate(counted(), terms()).note == ""


def test_the_cost_lies_between_the_low_and_the_high_of_the_history() -> None:
    found = estimate(counted(), terms())
    inputs = 4000 * TAG.per_input
    assert found.cost_low_usd == pytest.approx(inputs * 5 / 8 + 5_000 * TAG.per_output)
    assert found.cost_likely_usd == pytest.approx(inputs + 20_000 * TAG.per_output)
    assert found.cost_high_usd == pytest.approx(inputs + 80_000 * TAG.per_output)


def test_the_low_cost_supposes_long_tokens_where_nothing_is_known() -> None:
    found = estimate(counted(), terms(history=History()))
    assert found.cost_low_usd == pytest.approx(20_000 / 8 * TAG.per_input + 1_000 * TAG.per_output)


@pytest.mark.parametrize(("characters", "price"), [(5_000, TAG.per_input), (6_000, TAG.per_cached_input)])
def test_the_low_cost_supposes_that_what_may_be_cached_is_cached(characters: int, price: float) -> None:
    found = estimate(counted(10, characters=10.0 * characters), terms())
    assert found.cost_low_usd == pytest.approx(10 * characters / 8 * price + 50 * TAG.per_output)


def test_max_tokens_bounds_the_high_and_the_likely_output() -> None:
    found = estimate(counted(max_output_tokens=10), terms())
    assert found.output_tokens_likely == 10_000
    assert found.cost_high_usd == pytest.approx(4000 * TAG.per_input + 10_000 * TAG.per_output)


def test_answers_in_the_store_cost_nothing() -> None:
    found = estimate(counted(answered=1000), terms())
    assert (found.answered_from_store, found.input_tokens, found.cost_high_usd, found.seconds) == (1000, 0, 0.0, 0.0)


def test_an_unknown_price_is_null_and_never_zero() -> None:
    found = estimate(counted(), terms(prices=[(0.5, TAG), (0.5, None)]))
    assert (found.cost_low_usd, found.cost_likely_usd, found.cost_high_usd) == (None, None, None)
    assert "no price known" in found.note


def test_no_request_costs_nothing_even_without_a_price() -> None:
    assert estimate(counted(0), terms(prices=[(1.0, None)])).cost_high_usd == 0.0


def test_two_entities_cost_by_their_share() -> None:
    dear = PriceTag(0.00001, 0.0, 0.0, "conf/aiq.yml")
    found = estimate(counted(), terms(prices=[(0.75, TAG), (0.25, dear)], task="llm/v1/embeddings"))
    assert found.cost_likely_usd == pytest.approx(4000 * (0.75 * TAG.per_input + 0.25 * dear.per_input))


def test_the_concurrency_decides_how_long_it_takes() -> None:
    assert estimate(counted(), terms()).seconds == 1000 / 10 * 0.5


def test_few_requests_take_one_latency() -> None:
    assert estimate(counted(3), terms()).seconds == 0.5


@pytest.mark.parametrize(("requests", "seconds"), [(100, 5.0), (101, 60.0), (1000, 540.0)])
def test_a_rate_limit_lets_its_calls_go_minute_by_minute(requests: int, seconds: float) -> None:
    assert estimate(counted(requests), terms(calls_per_minute=100)).seconds == seconds


def test_a_limit_of_zero_calls_never_ends() -> None:
    found = estimate(counted(), terms(calls_per_minute=0))
    assert found.seconds is None and "blocked" in found.note


def test_texts_of_embeddings_travel_together() -> None:
    found = estimate(counted(), terms(task="llm/v1/embeddings", texts_per_call=100, concurrency=5))
    assert (found.seconds, found.output_tokens_likely) == (10 / 5 * 0.5, 0)


def test_an_inexact_count_widens_low_and_high() -> None:
    found = estimate(counted(100, least=0, most=500, characters=10_000.0, exact=False), terms())
    assert (found.exact, found.cost_low_usd, found.input_tokens) == (False, 0.0, 400)
    assert found.cost_high_usd == pytest.approx(2000 * TAG.per_input + 500 * 80 * TAG.per_output)


def whole(*counts: Counted, **by_endpoint: Terms) -> Estimate:
    return total(counts, [estimate(count, by_endpoint[count.endpoint]) for count in counts], by_endpoint)


def test_stages_take_their_time_one_after_another() -> None:
    assert whole(counted(stage=1), counted(stage=2), chat=terms()).seconds == 100.0


def test_endpoints_of_one_stage_work_at_the_same_time() -> None:
    other = counted(500)._replace(endpoint="other")
    assert whole(counted(), other, chat=terms(), other=terms()).seconds == 50.0


def test_calls_of_one_endpoint_share_its_slots() -> None:
    assert whole(counted(), counted(), chat=terms()).seconds == 100.0


def test_a_rate_limit_holds_over_all_stages() -> None:
    found = whole(counted(100, stage=1), counted(100, stage=2), chat=terms(calls_per_minute=100))
    assert found.seconds == 60.0


def test_the_total_costs_nothing_known_where_a_part_has_no_price() -> None:
    other = counted()._replace(endpoint="other")
    found = whole(counted(), other, chat=terms(), other=terms(prices=[(1.0, None)]))
    assert found.cost_likely_usd is None and found.requests == 2000


def test_a_statement_without_calls_is_all_zeros() -> None:
    found = total([], [], {}, "no AI call")
    assert (found.requests, found.cost_high_usd, found.seconds, found.note) == (0, 0.0, 0.0, "no AI call")
