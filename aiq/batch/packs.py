"""Requests on their way to the gateway, and how several embeddings share one. Knows no loop and no gateway."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from aiq.batch.slots import Ask, Slot
from aiq.config.endpoint import Endpoint, Settings
from aiq.providers import characters_per_call, inputs_per_call
from aiq.request import Caller, Request

MAX_PACK_CHARACTERS = 400_000
"""Text in one embeddings call: well below the 300,000 tokens that OpenAI takes."""


class Work(NamedTuple):
    """A request, and the slots its answer fills. With `fail_fast` its failure ends the statement."""

    request: Request
    slots: Sequence[Slot]
    fail_fast: bool


class Works(NamedTuple):
    """So many pieces of work, each made when its turn comes: until then 100,000 rows may wait."""

    each: Iterator[Work]
    total: int


class WorkQueue:
    """The work of one endpoint in a statement, first come first served."""

    def __init__(self) -> None:
        self._parts: deque[Iterator[Work]] = deque()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, works: Works) -> None:
        """Takes work for when its turn comes."""
        self._parts.append(works.each)
        self._count += works.total

    def add_first(self, works: Works) -> None:
        """Takes work whose turn is now."""
        self._parts.appendleft(works.each)
        self._count += works.total

    def take(self) -> Work | None:
        """The next piece of work, None where there is none."""
        while self._parts:
            work = next(self._parts[0], None)
            if work is not None:
                self._count -= 1
                return work
            self._parts.popleft()
        return None

    def clear(self) -> None:
        """Forgets all work that was not taken."""
        self._parts.clear()
        self._count = 0


def texts_per_call(settings: Settings, endpoint: Endpoint) -> int:
    """Texts in one embeddings call: what the settings say, or fewer where a provider of the endpoint takes fewer."""
    own = settings.endpoints.get(endpoint.name)
    wanted = own.embedding_batch_rows if own and own.embedding_batch_rows else settings.embedding_batch_rows
    return inputs_per_call(endpoint.entities, wanted)


def embeddings_packs(
    settings: Settings,
    endpoint: Endpoint,
    caller: Caller,
    statement_id: str,
    fresh: Sequence[tuple[Ask, Slot]],
    fail_fast: bool,
) -> list[Work]:
    """Requests with as many texts each as the endpoint takes. Only those that differ in nothing else share one."""
    most = texts_per_call(settings, endpoint)
    most_characters = characters_per_call(endpoint.entities, MAX_PACK_CHARACTERS)

    def pack(asks: Sequence[tuple[Ask, Slot]]) -> Work:
        first = asks[0][0]
        body = {**first.body, "input": [ask.body["input"][0] for ask, _ in asks]}
        request = Request(
            endpoint.name,
            "llm/v1/embeddings",
            body,
            caller,
            statement_id,
            first.key,
            rows=len(asks),
            function=first.function,
        )
        return Work(request, [slot for _, slot in asks], fail_fast)

    packs: list[Work] = []
    groups: dict[str, list[tuple[Ask, Slot]]] = {}
    for ask, slot in fresh:
        groups.setdefault(repr({k: v for k, v in ask.body.items() if k != "input"}), []).append((ask, slot))
    for group in groups.values():
        asks: list[tuple[Ask, Slot]] = []
        characters = 0
        for ask, slot in group:
            length = len(ask.body["input"][0])
            if asks and (len(asks) >= most or characters + length > most_characters):
                packs.append(pack(asks))
                asks, characters = [], 0
            asks.append((ask, slot))
            characters += length
        packs.append(pack(asks))
    return packs


def halves(work: Work) -> list[Work]:
    """A pack as two, in order."""
    request, slots, fail_fast = work
    texts, middle = request.body["input"], len(slots) // 2
    return [
        Work(
            request._replace(body={**request.body, "input": texts[part]}, rows=len(slots[part]), suspect=True),
            slots[part],
            fail_fast,
        )
        for part in (slice(None, middle), slice(middle, None))
    ]
