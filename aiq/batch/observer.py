"""What a statement tells of its calls while it runs, for `EXPLAIN AI ANALYZE`; no other statement pays for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from aiq.request import Answer


class Observer(Protocol):
    """Is told about one statement. `site` is a call site; DuckDB's threads tell, and the event loop."""

    def numbered(self, site: object) -> None:
        """A call of the statement has become a call site."""

    def evaluated(self, site: object, rows: int, run: object) -> None:
        """Rows with a request came to a call site; `run` tells one evaluation of the same rows from another."""

    def found(self, site: object, keys: Sequence[bytes]) -> None:
        """These requests of a call site have an answer."""

    def timed(self, answer: Callable[..., Awaitable[Answer]]) -> Callable[..., Awaitable[Answer]]:
        """The gateway's `answer`, noting what each request takes."""
