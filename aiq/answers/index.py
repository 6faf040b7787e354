"""Finds answers by scope and key in the files that statements left behind. Reads those files and writes none."""

from __future__ import annotations

import contextlib
import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from aiq.answers import log
from aiq.answers.places import Place, Places

ENTRIES_IN_MEMORY = 3_500_000
"""Answers whose places are in memory, 100 MB; of more, they go to temporary files."""
LOADED_AT_ONCE = 1_000_000
"""Answers of a scope that are sorted together: what loading needs in memory at once."""
_log = logging.getLogger("aiq.ledger")


class AnswerIndex:
    """Where the answers of files are, by scope and key. Not for several threads at once."""

    def __init__(self, *, entries_in_memory: int = ENTRIES_IN_MEMORY) -> None:
        self.entries: dict[Path, int] = {}
        """How many answers each file has."""
        self._files: list[Path] = []
        self._entries_in_memory = entries_in_memory
        self._places: dict[bytes, Places] = {}

    def add(self, paths: Sequence[Path]) -> None:
        """Reads files, the oldest first. What is damaged or already deleted is left out."""
        loaded: dict[bytes, list[tuple[log.Group, int]]] = {}
        counts: Counter[bytes] = Counter()
        for path in paths:
            number = len(self._files)
            self._files.append(path)
            self.entries[path] = 0
            try:
                for group in log.groups(path):
                    if group.entries:
                        loaded.setdefault(group.scope, []).append((group, number))
                        counts[group.scope] += group.entries
                        self.entries[path] += group.entries
                        if counts[group.scope] >= LOADED_AT_ONCE:
                            del counts[group.scope]
                            self._insert(group.scope, loaded.pop(group.scope))
            except FileNotFoundError:
                pass
            except OSError as error:
                _log.warning("answers left in %s cannot be read, and are asked for again: %s", path, error)
        for scope, groups in loaded.items():
            self._insert(scope, groups)

    def find(self, scope: bytes, keys: Sequence[bytes]) -> tuple[dict[bytes, str], Counter[Path]]:
        """The values of those of `keys` that `scope` has, and how many are from which file.

        Files that were deleted meanwhile have none.
        """
        places = self._places.get(scope)
        return self._read(places.find(keys), keys) if places is not None and keys else ({}, Counter())

    def _read(self, found: list[Place], keys: Sequence[bytes]) -> tuple[dict[bytes, str], Counter[Path]]:
        values: dict[bytes, str] = {}
        used: Counter[int] = Counter()
        opened, descriptor = -1, -1
        try:
            for file, offset, length, number in found:
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

    def _insert(self, scope: bytes, groups: list[tuple[log.Group, int]]) -> None:
        places = self._places.setdefault(scope, Places())
        try:
            places.add([group for group, _ in groups], (number for _, number in groups))
            if sum(each.in_memory for each in self._places.values()) > self._entries_in_memory:
                for each in self._places.values():
                    each.store()
        except OSError as error:
            _log.warning("answers that were left behind fill the memory for lack of temporary space: %s", error)
