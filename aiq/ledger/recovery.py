"""Takes over the spools of processes that died: commits what they recorded, and says which calls were cut off.

Never touches the spool of a living process.
"""

from __future__ import annotations

import logging
from pathlib import Path

from aiq.errors import LedgerError
from aiq.ledger import commit, groups
from aiq.ledger.spool import CorruptSpool, Spool, set_aside

_log = logging.getLogger("aiq.ledger")


def recover(folder: Path, workspace: commit.Workspace, *, own: Path | None = None) -> int:
    """Commits and deletes the spools in `folder` whose process is dead. Returns how many calls were cut off.

    A spool that cannot be committed stays for the next start; a damaged one is renamed to `*.corrupt`. Both are logged
    as warnings: a start must not fail because an earlier process did.
    """
    orphans = 0
    for path in sorted(folder.glob("*.db")):
        if path == own:
            continue
        try:
            orphans += _recover(path, workspace)
        except CorruptSpool as error:
            aside = set_aside(path)
            if aside is not None:
                _log.warning("%s; what came before the damage is in the tables, the file is kept as %s", error, aside)
        except (LedgerError, OSError) as error:
            _log.warning("the spool %s of an earlier process was not recovered: %s", path, error)
    return orphans


def _recover(path: Path, workspace: commit.Workspace) -> int:
    spool = Spool.take(path)
    if spool is None:
        return 0
    try:
        try:
            intents = commit.open_intents(spool)
        except CorruptSpool:
            commit.drain(spool, workspace)  # commits what comes before the damage, and raises again
            raise
        if intents:
            # In the spool first: a recovery that dies here finds these calls ended, and counts none of them twice.
            spool.write(groups.field_names())
            spool.write(groups.encode([], [groups.orphan(intent) for intent in intents.values()]))
        commit.drain(spool, workspace)
    except BaseException:
        spool.close()
        raise
    spool.close(remove=True)
    return len(intents)
