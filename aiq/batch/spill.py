"""Where a statement's answers lie once memory has enough of them: a temporary file, looked up by key.

Takes about 32 MiB of memory, however many answers there are. Knows keys and bytes; never what an answer is.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from aiq.errors import LedgerError
from aiq.resources import advice

KEY_BYTES = 16
RUN_ENTRIES = 1 << 18
"""Entries that are sorted in memory before their index goes to the file too: 7 MiB."""
FILTER_BITS = 1 << 28
"""Of the Bloom filter: it takes one new key in 2,000 for one that may be in the file at 10 million, 1 in 25 at 40."""

_WORDS = np.dtype("<u8")
_PARTS = np.dtype("<u4")
_Array = npt.NDArray[Any]


class _Run(NamedTuple):
    """Entries sorted by the first half of their keys. `pages` is the memory map that holds them, None in memory."""

    first: _Array
    second: _Array
    offset: _Array
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


class Spill:
    """Values by 16-byte key, written once and read often, in a file without a name that ends with the process.

    Not for several threads at once.
    """

    def __init__(self, folder: Path, *, run_entries: int = RUN_ENTRIES, filter_bits: int = FILTER_BITS) -> None:
        """Raises LedgerError where `folder` has no room for a file."""
        self._folder, self._run_entries = folder, run_entries
        try:
            file = tempfile.TemporaryFile(dir=folder, prefix="aiq-", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise self._unwritable(error) from error
        self._file = file.fileno()
        self._close = weakref.finalize(self, file.close)
        self._end = 0
        self._runs: list[_Run] = []
        self._newest: _Run | None = None
        self._filter, self._last_bit = np.zeros(filter_bits // 8, np.uint8), np.uint32(filter_bits - 1)

    def add(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Takes some values; of a key that is there already both are kept, and either is found. Raises LedgerError."""
        keys = _joined([key for key, _ in entries])
        lengths = np.fromiter((len(value) for _, value in entries), _PARTS, len(entries))
        offsets = self._end + np.cumsum(lengths, dtype=_WORDS) - lengths
        self._write(b"".join(value for _, value in entries))
        halves = np.frombuffer(keys, _WORDS).reshape(-1, 2)
        run = _sorted([_Run(halves[:, 0], halves[:, 1], offsets, lengths), *([self._newest] if self._newest else [])])
        if len(run.first) >= self._run_entries:
            self._runs.insert(0, self._stored(run))
            self._newest = None
        else:
            self._newest = run
        byte, bit = self._bits(keys)
        np.bitwise_or.at(self._filter, byte, bit)

    def find(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The values of those of `keys` that are there. Raises LedgerError where the file cannot be read."""
        joined = _joined(keys)
        byte, bit = self._bits(joined)
        halves = np.frombuffer(joined, _WORDS).reshape(-1, 2)
        numbers = np.flatnonzero((self._filter[byte] & bit).all(axis=1))
        numbers = numbers[np.argsort(halves[numbers, 0])]  # neighbours touch the same pages
        halves = halves[numbers]
        places: list[tuple[int, int, int]] = []
        for run in [self._newest, *self._runs]:
            if not len(numbers):
                break
            if run is None:
                continue
            hit, positions = run.find(halves[:, 0], halves[:, 1])
            if len(positions):
                offsets, lengths = run.offset[positions].tolist(), run.length[positions].tolist()
                places += zip(offsets, lengths, numbers[hit].tolist(), strict=True)
                numbers, halves = numbers[~hit], halves[~hit]
                if run.pages is not None:  # the next keys are probably where these were: rows keep their order
                    self._runs = [run, *(other for other in self._runs if other is not run)]
            run.let_go()
        places.sort()
        try:
            return {keys[number]: self._read(offset, length) for offset, length, number in places}
        except OSError as error:
            raise LedgerError(
                f"cannot read the temporary file in {self._folder} that holds this statement's answers: "
                f"{error.strerror or error}. Check that disk and run the statement again"
            ) from error

    def close(self) -> None:
        """Gives the room on the disk back."""
        self._runs, self._newest = [], None
        self._close()

    def _read(self, offset: int, length: int) -> bytes:
        value = os.pread(self._file, length, offset)
        if len(value) != length:
            raise OSError(f"it ends at {offset + len(value)} and not at {offset + length}")
        return value

    def _write(self, data: bytes) -> None:
        written = 0
        view = memoryview(data)
        try:
            while written < len(data):
                written += os.pwrite(self._file, view[written:], self._end + written)
        except OSError as error:
            raise self._unwritable(error) from error
        self._end += written

    def _stored(self, run: _Run) -> _Run:
        """The same run in the file."""
        self._end += -self._end % mmap.ALLOCATIONGRANULARITY
        start, count = self._end, len(run.first)
        self._write(b"".join(array.tobytes() for array in (run.first, run.second, run.offset, run.length)))
        pages = mmap.mmap(self._file, self._end - start, offset=start, access=mmap.ACCESS_READ)
        words = np.frombuffer(pages, _WORDS, 3 * count).reshape(3, count)
        lengths = np.frombuffer(pages, _PARTS, count, words.nbytes)
        return _Run(words[0], words[1], words[2], lengths, pages)

    def _bits(self, keys: bytes) -> tuple[_Array, _Array]:
        """Where each key's four bits are: keys are hashes, so their parts will do."""
        bits = np.frombuffer(keys, _PARTS).reshape(-1, 4) & self._last_bit
        return bits >> 3, np.left_shift(1, bits & 7).astype(np.uint8)

    def _unwritable(self, error: OSError) -> LedgerError:
        return LedgerError(
            f"cannot write the temporary file in {self._folder} for answers that are too many for memory: "
            f"{error.strerror or error}. {advice(error)}, or choose another folder with AIQ_HOME or home=..., "
            "and run the statement again: what is answered is kept"
        )


def _joined(keys: Sequence[bytes]) -> bytes:
    joined = b"".join(keys)
    if len(joined) != KEY_BYTES * len(keys) or any(len(key) != KEY_BYTES for key in keys):
        raise ValueError(f"keys have {KEY_BYTES} bytes")
    return joined


def _sorted(runs: Sequence[_Run]) -> _Run:
    """Several runs in memory as one."""
    first, second, offset, length = (np.concatenate(arrays) for arrays in list(zip(*runs, strict=True))[:4])
    order = np.argsort(first, kind="stable")  # quick where most of it is in order already
    return _Run(first[order], second[order], offset[order], length[order])
