"""A statement's answers that are too many for memory, looked up by key where they lie on the disk.

What the statement's log has is read there and written nowhere else; the rest (failures, answers of other statements,
those that are not kept) goes to a file without a name. Knows keys and bytes; never what an answer is.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path

from aiq.answers.log import KEY_BYTES, append, frame, groups
from aiq.answers.places import FILTER_BITS, RUN_ENTRIES, Places
from aiq.errors import LedgerError

_NO_SCOPE = bytes(KEY_BYTES)
"""A file without a name is of one statement alone."""


_ENTRIES_AT_ONCE, _BYTES_AT_ONCE = 8192, 16 * 1024 * 1024
"""How far a log is read in one go, so that nobody waits long: twice of what leaves the memory, the oldest first."""


class _File:
    """A file of answers that grows: its number, its size, and from where on the places in it are not known yet."""

    def __init__(self, number: int, descriptor: int) -> None:
        self.number, self.descriptor = number, descriptor
        self.size = self.known = 0
        self.close = weakref.finalize(self, os.close, descriptor)


class SpilledAnswers:
    """Values by 16-byte key. Takes about 32 MiB of memory, however many there are. Not for several threads at once."""

    def __init__(self, folder: Path, *, run_entries: int = RUN_ENTRIES, filter_bits: int = FILTER_BITS) -> None:
        """`folder` gets the files without names."""
        self._folder = folder
        self._places = Places(folder, run_entries=run_entries, filter_bits=filter_bits)
        self._files: list[_File] = []
        self._log: _File | None = None
        self._own: _File | None = None

    def follow(self, log: Path | None) -> None:
        """Finds from here on what the statement's log has and gets, if there is one."""
        with contextlib.suppress(OSError):  # what is not found there is written once more
            if log is not None and self._log is None:
                self._log = self._opened(os.open(log, os.O_RDONLY | os.O_CLOEXEC))
            if self._log is not None:
                self._read_on(self._log)

    def missing(self, keys: Sequence[bytes]) -> list[bytes]:
        """Those of `keys` that are in no file yet."""
        there = {number for _, _, _, number in self._places.find(keys)}
        return [key for number, key in enumerate(keys) if number not in there]

    def add(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Takes some values. Raises LedgerError where there is no room."""
        if not entries:
            return
        try:
            if self._own is None:
                with tempfile.TemporaryFile("ab+", dir=self._folder, prefix="aiq-") as file:
                    self._own = self._opened(os.dup(file.fileno()))
            group = frame(_NO_SCOPE, entries)
            append(self._own.descriptor, self._own.size, group)
            self._own.size += len(group)
            self._read_on(self._own)
        except OSError as error:
            raise self._unwritable(error) from error

    def find(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The values of those of `keys` that are there. Raises LedgerError where a file cannot be read."""
        places = self._places.find(keys)
        try:
            return {keys[number]: self._read(file, offset, length) for file, offset, length, number in places}
        except OSError as error:
            raise LedgerError(
                f"cannot read the files in {self._folder} that hold this statement's answers: "
                f"{error.strerror or error}. Check that disk and run the statement again"
            ) from error

    def close(self) -> None:
        """Gives the room on the disk back."""
        self._places = Places(self._folder)
        for file in self._files:
            file.close()
        self._files, self._log, self._own = [], None, None

    def _opened(self, descriptor: int) -> _File:
        self._files.append(_File(len(self._files), descriptor))
        return self._files[-1]

    def _read(self, file: int, offset: int, length: int) -> bytes:
        value = os.pread(self._files[file].descriptor, length, offset)
        if len(value) != length:
            raise OSError(f"one ends at {offset + len(value)} and not at {offset + length}")
        return value

    def _read_on(self, file: _File) -> None:
        """Notes the places of what a file has got since the last time. Raises OSError."""
        found, entries, begin = [], 0, file.known
        for group in groups(file.descriptor, begin):
            found.append(group)
            entries, file.known = entries + group.entries, group.end
            if entries >= _ENTRIES_AT_ONCE or file.known - begin >= _BYTES_AT_ONCE:
                break
        if found:
            self._places.add(found, [file.number] * len(found))

    def _unwritable(self, error: OSError) -> LedgerError:
        return LedgerError(
            f"cannot write the temporary file in {self._folder} for answers that are too many for memory: "
            f"{error.strerror or error}. Free space on that disk, or choose another folder with AIQ_HOME or home=..., "
            "and run the statement again: what is answered is kept"
        )
