"""Keeps a table of many small commits small: few files, few checkpoints, a short log. Knows Delta's files, no record.

Every UPKEEP_VERSIONS commits, in the committer: small files become one, and what no version of the last KEPT_S seconds
needs is deleted. A reader that has opened the table has that long to read it. Each step may be cut short or done again;
none of them is needed for a row to be safe.

delta-rs does not notice that two compactions put the same files together, which would double their rows. So compactions
of a home take turns, and a table that another engine writes to is left alone; so is one with a retention of somebody's
own (`delta.deletedFileRetentionDuration`) or with features that hide rows from its files. Source: Delta's protocol.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from deltalake import DeltaTable

UPKEEP_VERSIONS = 20
KEPT_S = 150.0
RETENTION = "delta.deletedFileRetentionDuration"
OWN_RETENTION = "interval 150 seconds"
_SMALL_BYTES = 1024 * 1024
"""Smaller files are put together, so that no more than this is rewritten for a commit."""
_MOST_DELETED = 400
"""Commits whose files are deleted at once."""
_COMMIT = re.compile(r"(\d{20})\.(json|crc)")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint(\.\d+\.\d+)?\.parquet")
_log = logging.getLogger(__name__)


@contextlib.contextmanager
def turn(path: Path, *, wait: bool) -> Iterator[bool]:
    """Whether it is this process's turn to compact the table at `path`; no other one of this machine has it then."""
    descriptor = os.open(path / ".upkeep.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def keep_small(path: Path, name: str, wall: Callable[[], float] = time.time) -> None:
    """Does what is due for a table in a home. `wall` is Unix time. Raises nothing: the next time does it."""
    try:
        commits = _numbered(path, _COMMIT)
        if commits and max(commits) % UPKEEP_VERSIONS == 0 and not _has_another_engine(commits):
            with turn(path, wait=False) as is_ours:
                if is_ours:
                    _keep_small(path, wall())
    except Exception as error:
        _log.info("upkeep of table %s is left to a later commit: %s", name, error)


def _keep_small(path: Path, now_s: float) -> None:
    from deltalake import DeltaTable

    table = DeltaTable(path)
    if table.protocol().reader_features or table.metadata().partition_columns:
        return
    if table.metadata().configuration.get(RETENTION) is None:
        table.alter.set_table_properties({RETENTION: OWN_RETENTION})
    if table.metadata().configuration.get(RETENTION) != OWN_RETENTION:
        return
    _compact(table)
    table.create_checkpoint()
    _forget(path, table, now_s)


def _has_another_engine(commits: Mapping[int, list[Path]]) -> bool:
    """Whether a commit that is still there was made by Spark or the like."""
    files = [file for version in commits for file in commits[version] if file.suffix == ".json"]
    return any(b'"engineInfo":"Apache-Spark' in file.read_bytes() for file in files)


def _compact(table: DeltaTable) -> None:
    import pyarrow as pa
    from deltalake.transaction import PostCommitHookProperties

    sizes = pa.table(table.get_add_actions()).column("size_bytes").to_pylist()
    if sum(size < _SMALL_BYTES for size in sizes) >= UPKEEP_VERSIONS // 2:
        table.optimize.compact(
            target_size=_SMALL_BYTES, post_commithook_properties=PostCommitHookProperties(create_checkpoint=False)
        )


def _forget(path: Path, table: DeltaTable, now_s: float) -> None:
    """Deletes old checkpoints but the last two, the commits before these, and what those commits took out.

    What a reader may just be opening stays: whatever is younger than KEPT_S.
    """
    checkpoints = _numbered(path, _CHECKPOINT)
    kept = sorted(checkpoints)[-2:]
    if len(kept) < 2:
        return
    for version in sorted(checkpoints)[:-2]:
        for file in checkpoints[version]:
            if now_s - file.stat().st_mtime >= KEPT_S:
                file.unlink(missing_ok=True)
    current = {Path(unquote(uri)).name for uri in table.file_uris()}
    commits = _numbered(path, _COMMIT)
    for version in sorted(version for version in commits if version < kept[0])[:_MOST_DELETED]:
        if any(now_s - file.stat().st_mtime < KEPT_S for file in commits[version]):
            break
        for file in commits[version]:
            if file.suffix == ".json":
                for removed in _removed(file):
                    if removed not in current and "/" not in removed:
                        (path / removed).unlink(missing_ok=True)
        for file in commits[version]:
            file.unlink(missing_ok=True)


def _removed(commit: Path) -> Iterator[str]:
    """The data files that a commit took out of the table."""
    for line in commit.read_text().splitlines():
        removed = json.loads(line).get("remove")
        if removed is not None:
            yield unquote(removed["path"])


def _numbered(path: Path, pattern: re.Pattern[str]) -> dict[int, list[Path]]:
    """The files of the log whose names match, by version."""
    found: dict[int, list[Path]] = {}
    for file in (path / "_delta_log").iterdir():
        match = pattern.fullmatch(file.name)
        if match is not None:
            found.setdefault(int(match[1]), []).append(file)
    return found
