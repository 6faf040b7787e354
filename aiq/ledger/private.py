"""Keeps a home folder to its user: prompts and answers are in it. Knows names and modes, no content.

SQLite and Delta make files by the process's umask, and a folder may have been made by hand: what is wider than that is
tightened when a home is opened, and after each commit.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

_OWN_FOLDERS = ("answers", "conf", "local", "spark", "spool", "tables")
_OWN_FILES = ("answers.db", "statements.db", "limits.sqlite", "definitions.sqlite", "served_entities.json")
_WIDE = 0o077


def make_private(home: Path) -> None:
    """Makes the folder, mode 0700, or takes the rights of others from it and from what is aiq's in it.

    A folder of another user, or one that all may use (/tmp), stays as it is. Raises OSError where it cannot be made.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = home.stat()
    if not is_wide(status):
        return
    if not status.st_mode & stat.S_ISVTX and status.st_uid == os.geteuid():
        home.chmod(0o700)
    for name in _OWN_FOLDERS:
        tighten(home / name)
    for file in (path for name in _OWN_FILES for path in home.glob(f"{name}*")):
        _tighten(file)


def make_folders(path: Path) -> None:
    """Makes a folder and those above it, none wider than the nearest that was there: 0700 in a home."""
    if not path.is_dir():
        make_folders(path.parent)
        path.mkdir(mode=stat.S_IMODE(path.parent.stat().st_mode) & 0o777, exist_ok=True)


def tighten(folder: Path) -> None:
    """Takes the rights of others from a folder and all that is in it. Links are not followed."""
    if folder.is_symlink() or not folder.is_dir():
        return
    _tighten(folder)
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:  # another process has just removed it
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            tighten(Path(entry.path))
        else:
            _tighten(Path(entry.path))


def is_wide(status: os.stat_result) -> bool:
    """Whether others than the owner have any right. Not asked of links, whose modes mean nothing."""
    return os.name == "posix" and not stat.S_ISLNK(status.st_mode) and bool(status.st_mode & _WIDE)


def _tighten(path: Path) -> None:
    try:
        status = path.lstat()
        if is_wide(status) and status.st_uid == os.geteuid():
            path.chmod(stat.S_IMODE(status.st_mode) & ~_WIDE)
    except FileNotFoundError:  # another process has just removed it
        pass
