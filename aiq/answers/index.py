"""Finds answers by scope and key in the files that statements left behind. Reads those files and writes none.

28 to 32 bytes of memory for each answer, whole keys compared; past a limit the index itself lies in a temporary file.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from aiq.answers import log
from aiq.answers.log import KEY_BYTES

MEMORY_BYTES = 100_000_000
"""Size of the index above which what is added goes to a temporary file."""
SEGMENT_ENTRIES = 1_000_000
"""Answers that are sorted together: what loading needs in memory at once."""

_KEY = np.dtype(f"S{KEY_BYTES}")  # shorter strings do not exist here, so numpy's padding hides no difference
_PLACE = np.dtype([("offset", "<u8"), ("length", "<u4"), ("file", "<u4")])
_log = logging.getLogger("aiq.ledger")


class _Segment(NamedTuple):
    """Sorted keys, and where each one's value is. Of equal keys any is right: both were paid for the same request."""

    keys: npt.NDArray[Any]
    places: npt.NDArray[Any]
    in_memory: bool = True

    @property
    def nbytes(self) -> int:
        return self.keys.nbytes + self.places.nbytes


class _Loading:
    """The groups of one scope that are not sorted yet."""

    def __init__(self) -> None:
        self.count = 0
        self.keys: list[bytes] = []
        self.lengths: list[bytes] = []
        self.groups: list[tuple[int, int, int]] = []  # entries, offset, file

    def add(self, group: log.Group, file: int) -> None:
        self.count += group.entries
        self.keys.append(group.keys)
        self.lengths.append(group.lengths)
        self.groups.append((group.entries, group.offset, file))

    def segment(self) -> _Segment:
        keys = np.frombuffer(b"".join(self.keys), _KEY)
        lengths = np.frombuffer(b"".join(self.lengths), "<u4")
        counts, offsets, files = np.array(self.groups, "<i8").T
        behind = np.cumsum(lengths, dtype="<i8") - lengths  # bytes of values before each one, over all groups
        first = np.cumsum(counts) - counts
        places = np.empty(len(keys), _PLACE)
        places["offset"] = behind + np.repeat(offsets - behind[first], counts)
        places["length"] = lengths
        places["file"] = np.repeat(files, counts)
        return _sorted(keys, places)


class AnswerIndex:
    """Where the answers of files are, by scope and key. Not for several threads at once."""

    def __init__(self, *, memory_bytes: int = MEMORY_BYTES) -> None:
        self.entries: dict[Path, int] = {}
        """How many answers each file has."""
        self._files: list[Path] = []
        self._memory_bytes = memory_bytes
        self._in_memory = 0
        self._segments: dict[bytes, list[_Segment]] = {}

    def add(self, paths: Sequence[Path]) -> None:
        """Reads files, the oldest first. What is damaged or already deleted is left out."""
        loading: dict[bytes, _Loading] = {}
        for path in paths:
            self._files.append(path)
            self.entries[path] = 0
            with contextlib.suppress(FileNotFoundError):
                try:
                    for group in log.groups(path):
                        if group.entries:
                            part = loading.setdefault(group.scope, _Loading())
                            part.add(group, len(self._files) - 1)
                            self.entries[path] += group.entries
                            if part.count >= SEGMENT_ENTRIES:
                                self._insert(group.scope, loading.pop(group.scope).segment())
                except FileNotFoundError:
                    raise
                except OSError as error:
                    _log.warning("answers left in %s cannot be read, and are asked for again: %s", path, error)
        for scope, part in loading.items():
            self._insert(scope, part.segment())

    def find(self, scope: bytes, keys: Sequence[bytes]) -> tuple[dict[bytes, str], Counter[Path]]:
        """The values of those of `keys` that `scope` has, and how many are from which file.

        Files that were deleted meanwhile have none.
        """
        segments = self._segments.get(scope)
        if not segments or not keys:
            return {}, Counter()
        if any(len(key) != KEY_BYTES for key in keys):
            raise ValueError(f"keys have {KEY_BYTES} bytes")
        wanted = np.frombuffer(b"".join(keys), _KEY)
        numbers = np.arange(len(keys))
        found: list[tuple[int, int, int, int]] = []
        for segment in reversed(segments):
            positions = np.searchsorted(segment.keys, wanted)
            positions[positions == len(segment.keys)] = 0
            hit = segment.keys[positions] == wanted
            if hit.any():
                places = segment.places[positions[hit]]
                files, offsets, lengths = (places[name].tolist() for name in ("file", "offset", "length"))
                found += zip(files, offsets, lengths, numbers[hit].tolist(), strict=True)
                wanted, numbers = wanted[~hit], numbers[~hit]
                if not len(wanted):
                    break
        return self._read(found, keys)

    def _read(
        self, found: list[tuple[int, int, int, int]], keys: Sequence[bytes]
    ) -> tuple[dict[bytes, str], Counter[Path]]:
        values: dict[bytes, str] = {}
        used: Counter[int] = Counter()
        opened, descriptor = -1, -1
        try:
            for file, offset, length, number in sorted(found):
                if file != opened:
                    if descriptor >= 0:
                        os.close(descriptor)
                    opened, descriptor = file, -1
                    with contextlib.suppress(OSError):
                        descriptor = os.open(self._files[file], os.O_RDONLY | os.O_CLOEXEC)
                if descriptor >= 0:
                    value = os.pread(descriptor, length, offset)
                    if len(value) == length:
                        values[keys[number]] = value.decode("utf-8", "surrogatepass")
                        used[file] += 1
        except OSError as error:
            _log.warning("answers left in %s cannot be read, and are asked for again: %s", self._files[opened], error)
        finally:
            if descriptor >= 0:
                os.close(descriptor)
        return values, Counter({self._files[file]: count for file, count in used.items()})

    def _insert(self, scope: bytes, segment: _Segment) -> None:
        """Adds a segment, together with smaller ones before it, so that there are few to search."""
        segments = self._segments.setdefault(scope, [])
        while segments and len(segments[-1].keys) <= min(2 * len(segment.keys), SEGMENT_ENTRIES - len(segment.keys)):
            older = segments.pop()
            self._in_memory -= older.nbytes if older.in_memory else 0
            segment = _sorted(
                np.concatenate((segment.keys, older.keys)), np.concatenate((segment.places, older.places))
            )
        if self._in_memory + segment.nbytes <= self._memory_bytes:
            self._in_memory += segment.nbytes
            segments.append(segment)
            return
        try:
            segments.append(_spilled(segment))
        except OSError as error:
            _log.warning("%d answers cannot be used again for lack of temporary space: %s", len(segment.keys), error)


def _sorted(keys: npt.NDArray[Any], places: npt.NDArray[Any]) -> _Segment:
    order = np.argsort(keys, kind="stable")
    return _Segment(keys[order], places[order])


def _spilled(segment: _Segment) -> _Segment:
    """The same in a temporary file that has no name, and ends with the process. Raises OSError."""
    size = len(segment.keys)
    with tempfile.TemporaryFile(prefix="aiq-") as file:
        file.write(segment.keys.tobytes())
        file.write(segment.places.tobytes())
        file.flush()
        keys = np.memmap(file, _KEY, "r", 0, (size,))
        places = np.memmap(file, _PLACE, "r", segment.keys.nbytes, (size,))
    return _Segment(np.asarray(keys), np.asarray(places), in_memory=False)
