"""Where answers lie in their files, by key: 28 bytes of memory each, and past a limit a temporary file.

Knows keys, files by number, and bytes. It must never know what an answer is.
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from aiq.answers.log import KEY_BYTES, Group

RUN_ENTRIES = 1 << 18
"""Entries that are sorted in memory before they go to the temporary file: 7 MiB."""
FILTER_BITS = 1 << 28
"""Of the Bloom filter: it takes one new key in 2,000 for one that may be there at 10 million, 1 in 25 at 40."""

_WORDS = np.dtype("<u8")
_PARTS = np.dtype("<u4")
_FILE_SHIFT = 40
"""A place is one number: which file, and below that the byte, so that a file has at most a TiB."""
_Array = npt.NDArray[Any]
Place = tuple[int, int, int, int]
"""File, byte, length, and which one of the keys it is that were asked for."""


class _Run(NamedTuple):
    """Entries sorted by the first half of their keys. `pages` is the memory map that holds them, None in memory."""

    first: _Array
    second: _Array
    place: _Array
    length: _Array
    pages: mmap.mmap | None = None

    def find(self, first: _Array, second: _Array) -> tuple[_Array, _Array]:
        """Which of some keys, given by their halves, it has, and the positions of those."""
        places = np.searchsorted(self.first, first)
        while True:  # once, but for keys of which one half is the same
            inside = np.minimum(places, len(self.first) - 1)
            same = (self.first[inside] == first) & (places < len(self.first))
            hit = same & (self.second[inside] == second)
            behind = same & ~hit
            if not behind.any():
                return hit, inside[hit]
            places = places + behind

    def let_go(self) -> None:
        """Leaves what was read of a memory map to the operating system, which counts it as ours until then."""
        if self.pages is not None and hasattr(mmap, "MADV_DONTNEED"):
            self.pages.madvise(mmap.MADV_DONTNEED)


class Places:
    """Places of values by 16-byte key. Of equal keys either is found: both were paid for the same request.

    Not for several threads at once.
    """

    def __init__(self, folder: Path | None = None, *, run_entries: int = RUN_ENTRIES, filter_bits: int = 0) -> None:
        """`folder` gets the temporary files, None: that of the system. `filter_bits` pay where most keys are new."""
        self._folder, self._run_entries, self._filter_bits = folder, run_entries, filter_bits
        self._stored: list[_Run] = []
        self._newest: list[_Run] = []
        """In memory, the largest first."""
        self._filter: _Array | None = None

    @property
    def in_memory(self) -> int:
        """Entries that are in memory."""
        return sum(len(run.first) for run in self._newest)

    def add(self, groups: Sequence[Group], files: Iterable[int]) -> None:
        """Takes the groups of some files, one number a group. Raises OSError where a temporary file has no room."""
        run = _run(groups, np.fromiter(files, _WORDS, len(groups)))
        # Together with smaller ones before it, so that there are few to search.
        while self._newest and len(self._newest[-1].first) <= 2 * len(run.first):
            run = _sorted([run, self._newest.pop()])
        self._newest.append(run)
        if self.in_memory >= self._run_entries:
            self.store()

    def store(self) -> None:
        """Moves what is in memory to a temporary file. Raises OSError, and then it stays."""
        if self._newest:
            run = _sorted(self._newest)
            self._stored.insert(0, _in_file(run, self._folder))
            self._newest = []
            if self._filter_bits:
                if self._filter is None:
                    self._filter = np.zeros(self._filter_bits // 8, np.uint8)
                byte, bit = self._bits(np.stack((run.first, run.second), 1).view(_PARTS))
                np.bitwise_or.at(self._filter, byte, bit)

    def find(self, keys: Sequence[bytes]) -> list[Place]:
        """The places of those of `keys` that are there, by file and offset."""
        halves = np.frombuffer(_joined(keys), _WORDS).reshape(-1, 2)
        numbers = np.argsort(halves[:, 0])  # neighbours touch the same pages
        halves = halves[numbers]
        found: list[_Array] = []
        for run in reversed(self._newest):
            numbers, halves, _ = _look_up(run, numbers, halves, found)
        if self._filter is not None and len(numbers):
            byte, bit = self._bits(halves.view(_PARTS))
            possible = (self._filter[byte] & bit).all(axis=1)
            numbers, halves = numbers[possible], halves[possible]
        for run in list(self._stored):
            if not len(numbers):
                break
            numbers, halves, hits = _look_up(run, numbers, halves, found)
            if hits:  # the next keys are probably where these were: rows keep their order
                self._stored = [run, *(other for other in self._stored if other is not run)]
            run.let_go()
        if not found:
            return []
        together = np.concatenate(found, axis=1)
        places, lengths, which = together[:, np.argsort(together[0])]
        files, offsets = places >> np.uint64(_FILE_SHIFT), places & np.uint64((1 << _FILE_SHIFT) - 1)
        return list(zip(files.tolist(), offsets.tolist(), lengths.tolist(), which.tolist(), strict=True))

    def _bits(self, parts: _Array) -> tuple[_Array, _Array]:
        """Where each key's four bits are: keys are hashes, so their parts will do."""
        bits = parts & np.uint32(self._filter_bits - 1)
        return bits >> 3, np.left_shift(1, bits & 7).astype(np.uint8)


def _look_up(run: _Run, numbers: _Array, halves: _Array, found: list[_Array]) -> tuple[_Array, _Array, bool]:
    """Adds to `found` what `run` has. Returns the keys that it has not, and whether it has any."""
    hit, positions = run.find(halves[:, 0], halves[:, 1])
    if not len(positions):
        return numbers, halves, False
    found.append(np.array((run.place[positions], run.length[positions], numbers[hit]), _WORDS))
    return numbers[~hit], halves[~hit], True


def _joined(keys: Sequence[bytes]) -> bytes:
    joined = b"".join(keys)
    if len(joined) != KEY_BYTES * len(keys) or any(len(key) != KEY_BYTES for key in keys):
        raise ValueError(f"keys have {KEY_BYTES} bytes")
    return joined


def _run(groups: Sequence[Group], files: _Array) -> _Run:
    """Groups of answers as one run: each value's byte follows from where its group begins."""
    halves = np.frombuffer(b"".join(group.keys for group in groups), _WORDS).reshape(-1, 2)
    lengths = np.frombuffer(b"".join(group.lengths for group in groups), _PARTS)
    counts = np.fromiter((group.entries for group in groups), _WORDS, len(groups))
    begins = np.fromiter((group.offset for group in groups), _WORDS, len(groups)) + (files << np.uint64(_FILE_SHIFT))
    behind = np.cumsum(lengths, dtype=_WORDS) - lengths  # bytes of values before each one, over all groups
    firsts = (np.cumsum(counts) - counts).astype(np.intp)
    places = behind + np.repeat(begins - behind[firsts], counts.astype(np.intp))
    return _sorted([_Run(halves[:, 0], halves[:, 1], places, lengths)])


def _sorted(runs: Sequence[_Run]) -> _Run:
    """Several runs in memory as one."""
    first, second, place, length = (np.concatenate(arrays) for arrays in list(zip(*runs, strict=True))[:4])
    order = np.argsort(first, kind="stable")  # quick where most of it is in order already
    return _Run(first[order], second[order], place[order], length[order])


def _in_file(run: _Run, folder: Path | None) -> _Run:
    """The same run in a file that has no name, and ends with the process. Raises OSError."""
    count = len(run.first)
    with tempfile.TemporaryFile(dir=folder, prefix="aiq-") as file:
        for array in run[:4]:
            file.write(array.tobytes())
        file.flush()
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    words = np.frombuffer(pages, _WORDS, 3 * count).reshape(3, count)
    return _Run(words[0], words[1], words[2], np.frombuffer(pages, _PARTS, count, words.nbytes), pages)
