"""What one of several processes has of the limits that they cannot share."""

from __future__ import annotations

from aiq.config.endpoint import Config, Endpoint, RateLimit, Settings
from aiq.config.share import has_limits, part_of_limits


def config(*limits: RateLimit) -> Config:
    endpoint = Endpoint("chat", "e", "llm/v1/chat", (), "f", rate_limits=limits, aiq_rate_limits=limits)
    return Config("conf", Settings(), {"chat": endpoint})


def test_every_limit_is_divided() -> None:
    parts = part_of_limits(config(RateLimit(100), RateLimit(3.0, unit="cost_usd")), 8).endpoints["chat"]
    assert [limit.amount for limit in parts.rate_limits] == [limit.amount for limit in parts.aiq_rate_limits]
    assert [limit.amount for limit in parts.rate_limits] == [12, 0.375]


def test_a_process_has_at_least_one_call() -> None:
    assert part_of_limits(config(RateLimit(2)), 8).endpoints["chat"].rate_limits[0].amount == 1


def test_one_process_has_all() -> None:
    whole = config(RateLimit(2))
    assert part_of_limits(whole, 1) is whole and has_limits(whole) and not has_limits(config())
