"""What happens after a failed attempt, as a table: kind, retries so far, another entity or not, hint."""

from __future__ import annotations

import random
from typing import Any

import pytest

from aiq.config.endpoint import Settings
from aiq.policy.retry import BACKOFF_CAP_S, RetryPolicy, RetryQuota

POLICY = RetryPolicy(Settings(retries=10, retries_before_fallback=2), random.Random(1))

# kind, retries so far, another entity can be asked, hint in seconds -> action
TABLE = [
    ("rate_limited", 0, False, None, "again"),
    ("rate_limited", 9, False, 1.0, "again"),
    ("rate_limited", 10, False, 1.0, "fail"),
    ("rate_limited", 1, True, 1.0, "again"),
    ("rate_limited", 2, True, None, "next"),
    ("rate_limited", 0, True, 5.1, "next"),
    ("rate_limited", 0, False, 3600.0, "again"),
    ("overloaded", 0, False, None, "again"),
    ("overloaded", 1, True, None, "again"),
    ("overloaded", 2, True, None, "next"),
    ("overloaded", 10, False, None, "fail"),
    ("network", 1, True, None, "again"),
    ("network", 2, True, None, "next"),
    ("network", 10, False, None, "fail"),
    ("bad_answer", 1, True, None, "again"),
    ("bad_answer", 2, True, None, "next"),
    ("bad_answer", 10, False, None, "fail"),
    ("timeout", 0, True, None, "next"),
    ("timeout", 0, False, None, "again"),
    ("timeout", 1, False, None, "fail"),
    ("quota_exhausted", 0, True, 1.0, "next"),
    ("quota_exhausted", 0, False, 1.0, "fail"),
    ("auth", 0, True, None, "next"),
    ("auth", 0, False, None, "fail"),
    ("not_found", 0, True, None, "next"),
    ("not_found", 0, False, None, "fail"),
    ("context_length", 0, True, None, "next"),
    ("context_length", 0, False, None, "fail"),
    ("content_filter", 0, True, None, "fail"),
    ("content_filter", 0, False, None, "fail"),
    ("bad_request", 0, True, None, "fail"),
    ("adapted", 0, False, None, "again"),
    ("adapted", 2, True, None, "again"),
    ("adapted", 3, False, None, "fail"),
    ("adapted", 3, True, None, "next"),
    ("bad_schema", 0, True, None, "fail"),
    ("bad_schema", 0, False, None, "fail"),
]


@pytest.mark.parametrize(("kind", "retries", "other", "hint", "action"), TABLE)
def test_the_table(make: Any, kind: str, retries: int, other: bool, hint: float | None, action: str) -> None:
    step = POLICY.decide(make.error(kind, retry_after_s=hint), retries, RetryQuota(), next_entity=other)
    assert step.action == action


def test_a_hint_is_waited_for_in_full_and_a_little_longer(make: Any) -> None:
    for hint in (0.1, 2.0, 60.0):
        delays = [
            POLICY.decide(make.error("rate_limited", retry_after_s=hint), 0, RetryQuota(), next_entity=False).delay_s
            for _ in range(50)
        ]
        assert min(delays) >= hint
        assert max(delays) <= hint + min(1.0, 0.1 * hint)
        assert len(set(delays)) > 1  # not everybody in the same instant


def test_the_backoff_doubles_with_jitter_up_to_a_cap(make: Any) -> None:
    for retries in range(10):
        delay = POLICY.decide(make.error("overloaded"), retries, RetryQuota(), next_entity=False).delay_s
        whole = min(BACKOFF_CAP_S, 0.25 * 2**retries)
        assert whole / 2 <= delay <= whole


def test_what_the_adapter_has_learnt_is_used_at_once(make: Any) -> None:
    assert POLICY.decide(make.error("adapted", 400), 0, RetryQuota(), next_entity=True).delay_s == 0.0


def test_a_spent_quota_ends_retries(make: Any) -> None:
    quota = RetryQuota(capacity=10, cost=5)
    actions = [POLICY.decide(make.error("overloaded"), 0, quota, next_entity=False).action for _ in range(3)]
    assert actions == ["again", "again", "fail"]


def test_a_spent_quota_falls_back_where_it_can(make: Any) -> None:
    quota = RetryQuota(capacity=0)
    assert POLICY.decide(make.error("network"), 0, quota, next_entity=True).action == "next"


def test_a_rate_limit_costs_no_quota(make: Any) -> None:
    quota = RetryQuota(capacity=0)
    assert POLICY.decide(make.error("rate_limited"), 0, quota, next_entity=False).action == "again"


def test_an_error_that_is_not_retried_costs_no_quota(make: Any) -> None:
    quota = RetryQuota(capacity=10)
    POLICY.decide(make.error("auth"), 0, quota, next_entity=False)
    POLICY.decide(make.error("overloaded"), 10, quota, next_entity=False)
    assert quota.available == 10


def test_successes_refill_the_quota_up_to_its_capacity() -> None:
    quota = RetryQuota(capacity=6, cost=5, refund=1)
    assert quota.spend() and not quota.spend()
    for _ in range(20):
        quota.succeeded()
    assert quota.available == 6


@pytest.mark.parametrize(
    ("kind", "retries", "hint", "action"),
    [
        ("rate_limited", 0, 5.1, "fail"),
        ("rate_limited", 0, 2.0, "again"),
        ("overloaded", 1, None, "again"),
        ("overloaded", 2, None, "fail"),
        ("timeout", 0, None, "fail"),
    ],
)
def test_somebody_who_waits_in_person_is_told_soon(
    make: Any, kind: str, retries: int, hint: float | None, action: str
) -> None:
    error = make.error(kind, retry_after_s=hint)
    assert POLICY.decide(error, retries, RetryQuota(), next_entity=False, hurry=True).action == action


@pytest.mark.parametrize("other", [True, False])
def test_an_answer_of_the_wrong_form_is_put_right_by_who_gave_it(make: Any, other: bool) -> None:
    step = POLICY.decide(make.error("bad_schema", 200), 9, RetryQuota(0), next_entity=other, repair=True)
    assert (step.action, step.delay_s) == ("again", 0.0)


def test_a_batch_that_can_ask_no_other_entity_draws_on_no_quota(make: Any) -> None:
    quota = RetryQuota(capacity=0)
    assert POLICY.decide(make.error("overloaded"), 9, quota, next_entity=False, patient=True).action == "again"
    assert POLICY.decide(make.error("overloaded"), 9, quota, next_entity=False).spent


@pytest.mark.parametrize(
    ("chance", "retries", "action"),
    [
        (0.01, 9, "again"),
        (0.01, 10, "fail"),  # what fails so often at a healthy entity is the row's own fault
        (0.4, 16, "again"),
        (0.4, 17, "fail"),
        (0.6, 29, "again"),
        (0.6, 30, "fail"),
        (0.99, 30, "fail"),
    ],
)
def test_a_row_is_asked_until_its_failures_are_no_chance(make: Any, chance: float, retries: int, action: str) -> None:
    step = POLICY.decide(
        make.error("overloaded"), retries, RetryQuota(), next_entity=False, patient=True, answers_others=True,
        chance=chance,
    )  # fmt: skip
    assert step.action == action
    assert step.delay_s <= 1.0
    alone = POLICY.decide(make.error("overloaded"), retries, RetryQuota(), next_entity=False, patient=True)
    assert alone.action == ("again" if retries < 10 else "fail")


@pytest.mark.parametrize(("offer_s", "action"), [(0.0, "next"), (19.0, "next"), (21.0, "again")])
def test_a_hint_is_waited_for_where_the_next_entity_lets_a_row_wait_longer(
    make: Any, offer_s: float, action: str
) -> None:
    error = make.error("rate_limited", retry_after_s=20.0)
    assert POLICY.decide(error, 0, RetryQuota(), next_entity=True, offer_s=offer_s).action == action
    assert POLICY.decide(error, 0, RetryQuota(), next_entity=True, hurry=True, offer_s=offer_s).action == "next"
