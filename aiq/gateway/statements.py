"""Counts what the requests of each SQL statement take, and tells the ledger of its start and its end.

Knows a statement by its id; what stands in it, and which engine runs it, is told.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import blake2b
from typing import NamedTuple, Protocol

from aiq.errors import RequestFailed, StatementCancelled
from aiq.ledger.ledger import Ledger
from aiq.ledger.records import Outcome, StatementRow
from aiq.request import Caller

MAX_ENDED = 1000
"""Statements that have ended and of which the hash is still known, for rows that come late."""
_STOPPED = (StatementCancelled, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError)


class Totals(NamedTuple):
    """What the requests of a statement took: see StatementRow."""

    requests: int | None = None
    reused: int | None = None
    failed: int | None = None
    tokens: int | None = None
    cost_usd: float | None = None


class Ended(NamedTuple):
    """A statement that has ended: its row, the endpoints that it asked, and the longest wait for a rate limit."""

    row: StatementRow
    endpoints: frozenset[str]
    waited_s: float = 0.0
    limit: str | None = None


class StatementObserver(Protocol):
    """Told of each statement, on the thread that runs it: quick, and without errors."""

    def began(self, row: StatementRow) -> object:
        """A statement has started."""

    def ended(self, row: StatementRow) -> object:
        """It is over: `row` has its status and its sums."""


class _Running:
    """A statement that has started, and what its requests took so far."""

    __slots__ = ("cost_usd", "endpoints", "failed", "limit", "requests", "reused", "row", "tokens", "waited_ms")

    def __init__(self, row: StatementRow) -> None:
        self.row = row
        self.endpoints: set[str] = set()
        self.waited_ms, self.limit = 0.0, ""
        self.requests = self.reused = self.failed = self.tokens = 0
        self.cost_usd: float | None = 0.0

    def totals(self) -> Totals:
        return Totals(self.requests, self.reused, self.failed, self.tokens, self.cost_usd)


class Statements:
    """The statements that use one gateway."""

    def __init__(self, ledger: Ledger, wall_us: Callable[[], int]) -> None:
        """`wall_us` is UTC microseconds since 1970."""
        self._ledger, self._wall_us = ledger, wall_us
        self._running: dict[str, _Running] = {}
        self._ended: OrderedDict[str, str | None] = OrderedDict()
        self._lock = threading.Lock()
        self.observers: list[StatementObserver] = []

    def begin(self, statement_id: str, text: str, caller: Caller, engine: str) -> None:
        """A statement starts: from here on its requests are counted. It is durable when this returns. Any thread."""
        row = StatementRow(
            statement_id,
            text,
            caller.user,
            engine,
            self._wall_us(),
            statement_hash=blake2b(text.strip().encode("utf-8", "replace"), digest_size=16).hexdigest(),
            usage_context=dict(caller.usage_context) if caller.usage_context else None,
        )
        with self._lock:
            self._running[statement_id] = _Running(row)
        self._ledger.note_statement(row)
        for observer in self.observers:
            observer.began(row)

    def end(self, statement_id: str, error: BaseException | None, totals: Totals | None = None) -> Ended | None:
        """A statement has ended, with `error` or, None, with its result. None for one that did not start.

        `totals` are given where other processes have sent its requests; else they are those that were counted here.
        """
        with self._lock:
            running = self._running.pop(statement_id, None)
            if running is None:
                return None
            self._ended[statement_id] = running.row.statement_hash
            if len(self._ended) > MAX_ENDED:
                self._ended.popitem(last=False)
        status = "ok" if error is None else "cancelled" if isinstance(error, _STOPPED) else "error"
        row = running.row._replace(
            end_us=self._wall_us(),
            status=status,
            error_message=_words(error),
            **(totals or running.totals())._asdict(),
        )
        self._ledger.note_statement(row)
        for observer in self.observers:
            observer.ended(row)
        return Ended(row, frozenset(running.endpoints), running.waited_ms / 1000, running.limit or None)

    def started(self, statement_id: str) -> datetime:
        """When a running statement has started. Raises KeyError for one that is not running."""
        return datetime.fromtimestamp(self._running[statement_id].row.start_us / 1_000_000, UTC)

    def hash_of(self, statement_id: str) -> str | None:
        """The hash of a statement's text; None where that is not known."""
        running = self._running.get(statement_id)
        return self._ended.get(statement_id) if running is None else running.row.statement_hash

    def count(self, outcome: Outcome, times: int = 1) -> None:
        """Adds an outcome to what its statement took, or several that are alike. Any thread."""
        running = self._running.get(outcome.statement_id)
        if running is None:
            return
        with self._lock:
            running.endpoints.add(outcome.endpoint)
            if outcome.limit_wait_ms > running.waited_ms:
                running.waited_ms, running.limit = outcome.limit_wait_ms, outcome.limited_by or ""
            if outcome.final:
                running.requests += outcome.rows * times
                if outcome.cache_hit:
                    running.reused += outcome.rows * times
                elif outcome.status in ("error", "refused"):
                    running.failed += outcome.rows
            if outcome.input_tokens is None:
                return
            running.tokens += outcome.input_tokens + (outcome.output_tokens or 0)
            if outcome.cost_usd is None:
                running.cost_usd = None
            elif running.cost_usd is not None:
                running.cost_usd += outcome.cost_usd


def _words(error: BaseException | None) -> str | None:
    """What the ledger keeps of an error: not the start of a row's request, which may hold data."""
    if isinstance(error, RequestFailed):
        return error.sql_message()
    return str(error) or None if error is not None else None
