"""Takes over the spools of processes that died: commits what they recorded, and says which calls were cut off.

Never touches the spool of a living process.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from pathlib import Path

from aiq.errors import LedgerError
from aiq.ledger import commit, groups
from aiq.ledger.spool import CorruptSpool, Spool, is_free, set_aside

_log = logging.getLogger("aiq.ledger")


TOGETHER, TOGETHER_BYTES = 64, 16 * 1024 * 1024
"""Spools that are committed in one go, and bytes of them: their rows are in memory at once."""


def recover(folder: Path, workspace: commit.Workspace, *, own: Path | None = None) -> int:
    """Commits and deletes the spools in `folder` whose process is dead. Returns how many calls were cut off.

    A spool that cannot be committed stays for the next start; a damaged one is renamed to `*.corrupt`. Both are logged
    as warnings: a start must not fail because an earlier process did.
    """
    orphans = 0
    small: list[Spool] = []
    size = 0
    try:
        for path in sorted(folder.glob("*.db")):
            if path == own:
                continue
            try:
                spool = Spool.take(path)
                if spool is None:
                    continue
                orphans += _end_intents(spool, workspace)
                if spool.size > TOGETHER_BYTES:
                    _commit([spool], workspace)
                else:
                    small.append(spool)
                    size += spool.size
            except CorruptSpool as error:
                _set_aside(path, error)
            except (LedgerError, OSError) as error:
                _log.warning(_NOT_RECOVERED, path, error)
            if len(small) >= TOGETHER or size >= TOGETHER_BYTES:
                _commit(small, workspace)
                small, size = [], 0
        _commit(small, workspace)
        small = []
    finally:
        for spool in small:
            spool.close()
    return orphans


def recover_in_turn(folder: Path, workspace: commit.Workspace, own: Path) -> None:
    """Commits what processes have left in `folder`, unless another process does so, which then commits this one's too.

    One at a time, so that the spools of many processes become few commits.
    """
    before: set[Path] = set()
    while True:
        turn = os.open(folder / "commit.turn", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
            recover(folder, workspace, own=own)
        except BlockingIOError:
            return
        finally:
            os.close(turn)
        # A process that left one while it was our turn has relied on us.
        left = {path for path in folder.glob("*.db") if path != own and is_free(path)}
        if not left - before:  # what is left twice cannot be committed now
            return
        before = left


def recover_after_others(folder: Path, workspace: commit.Workspace, own: Path) -> None:
    """Commits what processes have left in `folder`, after the one that is at it now. Raises LedgerError."""
    try:
        turn = os.open(folder / "commit.turn", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(turn, fcntl.LOCK_EX)
            recover(folder, workspace, own=own)
        finally:
            os.close(turn)
    except OSError as error:
        raise LedgerError(f"cannot read the spools in {folder}: {error}") from error


_NOT_RECOVERED = "the spool %s of an earlier process was not recovered: %s"


def _end_intents(spool: Spool, workspace: commit.Workspace) -> int:
    """Gives calls without outcome one, and statements an end, in the spool: a recovery that dies here counts none of
    them twice. Returns how many calls.
    """
    try:
        if spool.is_complete:
            return 0
        try:
            intents, statements = commit.unfinished(spool)
        except CorruptSpool:
            commit.drain(spool, workspace)  # commits what comes before the damage, and raises again
            raise
        if intents or statements:
            ended = [groups.orphaned(statement) for statement in statements.values()]
            spool.write(groups.field_names())
            spool.write(groups.encode([], [groups.orphan(intent) for intent in intents.values()], ended))
    except BaseException:
        spool.close()
        raise
    return len(intents)


def _commit(spools: list[Spool], workspace: commit.Workspace) -> None:
    """Commits spools and deletes those that are done: all together, and where that fails each by itself."""
    together = False
    try:
        if len(spools) > 1:
            with contextlib.suppress(LedgerError, OSError):
                commit.drain_together(spools, workspace)
                together = True
        while spools:
            spool = spools.pop()
            try:
                if not together:
                    commit.drain(spool, workspace)
                spool.close(remove=True)
            except CorruptSpool as error:
                spool.close()
                _set_aside(spool.path, error)
            except (LedgerError, OSError) as error:
                spool.close()
                _log.warning(_NOT_RECOVERED, spool.path, error)
    finally:
        for spool in spools:
            spool.close()


def _set_aside(path: Path, error: CorruptSpool) -> None:
    aside = set_aside(path)
    if aside is not None:
        _log.warning("%s; what came before the damage is in the tables, the file is kept as %s", error, aside)
