"""Who is next of those who wait. Fair between users by the tokens they were served; knows no limits.

The user who was served the least is next (a virtual token counter: deficit round robin with a quantum of one token).
Within a user, first come first served. Who comes back after a pause starts at the others' level, not with savings.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Generator, Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)
_REMEMBERED = 10_000
"""Users whose count is kept while they wait for nothing."""


class _Flow(Generic[T]):
    __slots__ = ("name", "served", "waiting")

    def __init__(self, name: str, served: int) -> None:
        self.name, self.served = name, served
        self.waiting: OrderedDict[T, int] = OrderedDict()


class FairQueue(Generic[T]):
    """Those who wait, by user."""

    def __init__(self) -> None:
        self._flows: dict[str, _Flow[T]] = {}
        self._active: dict[str, _Flow[T]] = {}
        self._level = 0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def push(self, user: str, item: T, cost: int, *, first: bool = False) -> bool:
        """`cost` is what serving it counts for. True where it is the next one of its user."""
        flow = self._flows.get(user)
        if flow is None:
            if len(self._flows) >= _REMEMBERED:
                self._flows = dict(self._active)
            flow = self._flows[user] = _Flow(user, self._level)
        if not flow.waiting:
            flow.served = max(flow.served, self._level)
            self._active[user] = flow
        flow.waiting[item] = cost
        if first:
            flow.waiting.move_to_end(item, last=False)
        self._length += 1
        return first or len(flow.waiting) == 1

    def remove(self, user: str, item: T) -> None:
        """Takes out one who waits no longer, if it is still there."""
        flow = self._active.get(user)
        if flow is not None and flow.waiting.pop(item, None) is not None:
            self._length -= 1
            if not flow.waiting:
                del self._active[user]

    def all(self) -> list[T]:
        """Everybody who waits."""
        return [item for flow in self._active.values() for item in flow.waiting]

    def turns(self) -> Generator[T, bool, None]:
        """The first of each user, the least served user first.

        Send True where the request was served: the next one of its user takes its place. False passes it over.
        """
        order = [(flow.served, number, flow) for number, flow in enumerate(self._active.values())]
        heapq.heapify(order)
        number = len(order)
        while order:
            _, _, flow = heapq.heappop(order)
            if not flow.waiting:
                continue
            item = next(iter(flow.waiting))
            served = yield item
            if served and item in flow.waiting:
                cost = flow.waiting.pop(item)
                self._length -= 1
                self._level = max(self._level, flow.served)
                flow.served += cost
                if flow.waiting:
                    number += 1
                    heapq.heappush(order, (flow.served, number, flow))
                else:
                    self._active.pop(flow.name, None)
