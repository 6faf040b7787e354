"""The answers of one statement: in memory as far as they fit, the others on the disk.

Knows keys and values; must never know who asks, nor what is kept beyond the statement.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from aiq.answers.spilled import SpilledAnswers
from aiq.errors import RequestFailed

MAX_ANSWERS = 500_000
MAX_BYTES = 256 * 1024 * 1024
"""Answers, and bytes of them, in memory: whichever comes first."""

_SPILLED_AT_ONCE, _BYTES_AT_ONCE = 4096, 8 * 1024 * 1024
"""What is written in one go: some milliseconds of the event loop's time."""
_ENTRY_BYTES, _NUMBER_BYTES = 200, 32
"""What an entry takes in memory beside its text, and one number of a list."""
_FAILED = b"!"
"""Begins what is no JSON: the fields of a RequestFailed."""


class Answers:
    """Values by key; a value is an answer's, or the RequestFailed it ended with. Not for several threads at once."""

    def __init__(self, folder: Path, *, most: int | None = None, most_bytes: int | None = None) -> None:
        """The latest `most` answers, of `most_bytes` bytes in all, stay in memory; `folder` gets temporary files."""
        self.log: Callable[[], Path | None] = lambda: None
        """Where they are kept for running the statement again: what is there need not be written once more."""
        self._folder = folder
        self._most = MAX_ANSWERS if most is None else most
        self._most_bytes = MAX_BYTES if most_bytes is None else most_bytes
        self._latest: dict[bytes, Any] = {}
        self._bytes = 0
        self._spilled: SpilledAnswers | None = None

    @property
    def in_memory(self) -> int:
        """How many are in memory."""
        return len(self._latest)

    def add(self, key: bytes, value: Any) -> None:
        """Takes the value of a key that has none yet. Raises LedgerError where there is no room on the disk."""
        self._latest[key] = value
        self._bytes += _size(value)
        if len(self._latest) > self._most or self._bytes > self._most_bytes:
            self._spill_oldest()

    def find(self, keys: Sequence[bytes]) -> dict[bytes, Any]:
        """The values of those of `keys` that have one. Raises LedgerError where the file cannot be read."""
        latest = self._latest
        found = {key: latest[key] for key in keys if key in latest}
        if self._spilled is not None and len(found) < len(keys):
            spilled = self._spilled.find([key for key in keys if key not in found])
            found.update((key, decoded(text)) for key, text in spilled.items())
        return found

    def close(self) -> None:
        """Forgets all of them, and gives the room on the disk back."""
        self._latest = {}
        if self._spilled is not None:
            self._spilled.close()
            self._spilled = None

    def _spill_oldest(self) -> None:
        oldest, size = {}, 0
        for key, value in islice(self._latest.items(), _SPILLED_AT_ONCE):
            oldest[key] = value
            size += _size(value)
            if size >= _BYTES_AT_ONCE:
                break
        if self._spilled is None:
            self._spilled = SpilledAnswers(self._folder)
        self._spilled.follow(self.log())
        self._spilled.add([(key, encoded(oldest[key])) for key in self._spilled.missing(list(oldest))])
        for key in oldest:
            del self._latest[key]
        self._bytes -= size


def _size(value: Any) -> int:
    """About what a value takes in memory, in bytes."""
    if isinstance(value, str):
        return _ENTRY_BYTES + len(value)
    if isinstance(value, list):
        first = value[0] if value else None
        numbers = isinstance(first, int | float)
        return _ENTRY_BYTES + (_NUMBER_BYTES * len(value) if numbers else 4 * len(orjson.dumps(value)))
    return 4 * _ENTRY_BYTES if isinstance(value, RequestFailed) else _ENTRY_BYTES


def encoded(value: Any) -> bytes:
    """A value, or the RequestFailed a request ended with, as bytes of text."""
    if not isinstance(value, RequestFailed):
        return orjson.dumps(value)
    entry: list[Any] = [type(value).__name__, vars(value)]
    try:
        return _FAILED + orjson.dumps(entry, default=_left_out)
    except TypeError:  # a provider's words that are no text
        entry[1] = {name: _cleaned(field) for name, field in vars(value).items()}
        return _FAILED + orjson.dumps(entry, default=_left_out)


def _left_out(_: Any) -> None:
    """What hangs on a failure and is no JSON was needed while it was asked."""


def _cleaned(field: Any) -> Any:
    if isinstance(field, str):
        return field.encode("utf-8", "replace").decode()
    return field if isinstance(field, int | float) else None


def decoded(text: bytes) -> Any:
    """The value that `encoded` made `text` of."""
    if not text.startswith(_FAILED):
        return orjson.loads(text)
    name, fields = orjson.loads(text[len(_FAILED) :])
    error = (kind := _failures()[name]).__new__(kind, fields["reason"])
    vars(error).update((name, tuple(field) if isinstance(field, list) else field) for name, field in fields.items())
    return error


def _failures() -> dict[str, type[RequestFailed]]:
    """Every kind of failed request by its name."""
    found, kinds = {}, [RequestFailed]
    while kinds:
        kind = kinds.pop()
        found[kind.__name__] = kind
        kinds += kind.__subclasses__()
    return found
