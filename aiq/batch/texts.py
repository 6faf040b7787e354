"""Answers of a session by the text of their requests: a call that comes upon the same texts again takes them from here,
with neither key nor body made for each. Knows texts and values; must never know whose answers they are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from aiq.batch.slots import UNKNOWN
from aiq.errors import RequestFailed

MAX_TEXTS = 200_000
MAX_CHARACTERS = 64 * 1024 * 1024


class Texts:
    """The answered texts of one kind of call: one endpoint, configuration and parameters. Their places count from 0."""

    __slots__ = ("places", "values")

    def __init__(self) -> None:
        self.places: dict[str, int] = {}
        self.values: list[Any] = []


class SessionTexts:
    """The answered texts of one session, by kind of call. For several threads at once."""

    def __init__(self, *, most: int = MAX_TEXTS, most_characters: int = MAX_CHARACTERS) -> None:
        """When there are `most` texts, or `most_characters` in them, no more are taken."""
        self._room, self._room_characters = most, most_characters
        self._kinds: dict[bytes, Texts] = {}
        self._lock = threading.Lock()

    def of(self, kind: bytes) -> Texts:
        """The texts of one kind."""
        with self._lock:
            return self._kinds.setdefault(kind, Texts())

    def add(self, to: Texts, texts: Sequence[str], values: Sequence[Any]) -> range:
        """Takes texts with their values, and returns their places.

        Those without an answer, with a failure for one, or for which there is no room, are left out.
        """
        with self._lock:
            first = len(to.values)
            for text, value in zip(texts, values, strict=True):
                if self._room <= 0 or self._room_characters < len(text):
                    break
                if value is UNKNOWN or isinstance(value, RequestFailed) or text in to.places:
                    continue
                self._room -= 1
                self._room_characters -= len(text)
                to.values.append(value)  # before its place is known, because others read without the lock
                to.places[text] = len(to.values) - 1
            return range(first, len(to.values))


class KnownTexts:
    """The texts of one kind as one statement uses them. For several threads at once."""

    def __init__(self, session: SessionTexts, kind: bytes) -> None:
        self._session, self._texts = session, session.of(kind)
        self._used: set[int] = set()
        self._own: set[int] = set()

    def values(
        self, texts: list[str], ask: Callable[[list[str]], list[Any]], *, take: bool = True
    ) -> tuple[list[Any], int]:
        """The values of some texts, in order, and how many were known; `ask` is called for the others.

        Without `take`, only those are known that the statement has used before.
        """
        places = list(map(self._texts.places.get, texts))
        if not take:
            before = self._used | self._own
            places = [place if place in before else None for place in places]
        known = self._texts.values
        if None not in places:
            self._used.update(places)  # type: ignore[arg-type]
            return list(map(known.__getitem__, places)), len(texts)  # type: ignore[arg-type]
        fresh = [text for text, place in zip(texts, places, strict=True) if place is None]
        self._used.update(place for place in places if place is not None)
        asked = ask(fresh)
        if take:
            self._own.update(self._session.add(self._texts, fresh, asked))
        rest = iter(asked)
        return [next(rest) if place is None else known[place] for place in places], len(texts) - len(fresh)

    @property
    def hits(self) -> int:
        """How many of the texts used so far were known before the statement came upon them."""
        return len(self._used - self._own if self._own else self._used)
