"""New answers of a statement on their way to where other statements find them. Used on the event loop only."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from aiq.batch.kept import KeptAnswers
from aiq.batch.slots import Slot


class NewAnswers:
    """Keeps the answers of one iteration of the loop together, once the ledger has them on its books."""

    def __init__(self, kept: KeptAnswers, statement_id: str) -> None:
        self._kept, self._statement_id = kept, statement_id
        self._waiting: dict[str, list[tuple[bytes, Any]]] = {}

    async def save(self, endpoint: str, slots: Sequence[Slot], values: Sequence[Any]) -> None:
        """Returns when the values of some requests are on the disk; until then they are in flight."""
        try:
            await asyncio.sleep(0)  # the ledger writes its group first: what is kept is on its books
        finally:
            self._add(endpoint, slots, values)
        await asyncio.sleep(0)  # then `flush` comes: what is used is on the disk

    def _add(self, endpoint: str, slots: Sequence[Slot], values: Sequence[Any]) -> None:
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self.flush)
        group = self._waiting.get(endpoint)
        if group is None:
            group = self._waiting[endpoint] = []
        for slot, value in zip(slots, values, strict=True):
            group.append((slot.key, value))

    def flush(self) -> None:
        """Writes what waits."""
        groups, self._waiting = self._waiting, {}
        for endpoint, answers in groups.items():
            self._kept.keep(self._statement_id, endpoint, answers)
