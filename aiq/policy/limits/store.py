"""Opens what the settings say limits are counted in. Knows no limits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiq.config.endpoint import Settings
from aiq.policy.limits.book import Book, MemoryBook
from aiq.policy.limits.file_store import FileStore
from aiq.policy.limits.leases import LeasedBook


def open_book(
    settings: Settings,
    home: Path,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> Book:
    """The buckets of a gateway with this home. Connects to nothing yet.

    Raises ConfigError where the settings want Redis and its client is not installed.
    """
    if settings.limits_store == "memory":
        return MemoryBook()
    if settings.limits_store == "file":
        return LeasedBook(FileStore(home, clock=clock), clock, sleep)
    from aiq.policy.limits.redis_store import RedisStore

    assert settings.limits_redis_url is not None, "the settings file is checked for it"
    return LeasedBook(RedisStore(settings.limits_redis_url, settings.limits_redis_password), clock, sleep)
