"""A configuration as one of several processes has it that cannot share their limits: each gets its part of them.

What one process leaves unused no other one uses, so limits hold but may not be used up. Knows no store and no engine.
"""

from __future__ import annotations

import math
from dataclasses import replace

from aiq.config.endpoint import Config, RateLimit


def part_of_limits(config: Config, parts: int) -> Config:
    """The configuration with every rate limit divided by `parts`; whole units, and at least one."""
    if parts <= 1:
        return config
    endpoints = {
        name: replace(
            endpoint,
            rate_limits=tuple(_part(limit, parts) for limit in endpoint.rate_limits),
            aiq_rate_limits=tuple(_part(limit, parts) for limit in endpoint.aiq_rate_limits),
        )
        for name, endpoint in config.endpoints.items()
    }
    return replace(config, endpoints=endpoints)


def has_limits(config: Config) -> bool:
    """Whether any endpoint has a rate limit."""
    return any(endpoint.rate_limits or endpoint.aiq_rate_limits for endpoint in config.endpoints.values())


def _part(limit: RateLimit, parts: int) -> RateLimit:
    amount = limit.amount / parts
    return replace(limit, amount=amount if limit.unit == "cost_usd" else max(1, math.floor(amount)))
