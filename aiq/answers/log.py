"""One file of answers for each running statement: groups appended while it runs, deleted when it ends well.

The statement itself reads there what it has no room for in memory, and whoever runs it again what it had before it was
cut off.

What `append` took survives `kill -9`; a torn end is recognised by its checksum. Knows nothing of looking answers up.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import uuid
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from aiq.errors import LedgerError

KEY_BYTES = 16
"""Length of a request key, and of a scope."""
LIVE, KEPT = ".live", ".kept"
"""Ends of the name of a file while its statement runs, and from when it was cut off."""

_CHECKSUM = struct.Struct("<I")
_HEAD = struct.Struct("<II16s")  # bytes after the head, entries, scope
_FRAME_BYTES = _CHECKSUM.size + _HEAD.size


class Group(NamedTuple):
    """Answers that were appended together: `keys` and `lengths` (little-endian uint32) of `entries` values.

    The values lie behind each other from byte `offset` of the file, and the group ends before byte `end`.
    """

    scope: bytes
    entries: int
    keys: bytes
    lengths: bytes
    offset: int
    end: int


class AnswerLog:
    """The answers of one running statement. Its lock is held until the statement ends, or its process does."""

    def __init__(self, path: Path, descriptor: int) -> None:
        """Use `AnswerLog.create`."""
        self.path = path
        self._descriptor = descriptor
        self.size = 0

    @classmethod
    def create(cls, folder: Path, now_s: float) -> AnswerLog:
        """A new file in `folder`, which is created if need be. `now_s` (UTC seconds) is its age, kept in its name."""
        while True:
            path = folder / f"{time_prefix(now_s)}-{uuid.uuid4().hex}{LIVE}"
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise LedgerError(_unwritable(path, error)) from error
            if _locked(path, descriptor):
                return cls(path, descriptor)
            os.close(descriptor)  # another process' start found it before the lock, and took it for a dead one's

    @classmethod
    def adopt(cls, path: Path) -> AnswerLog | None:
        """Takes over a file that was left behind. None where it is gone, or another process has it by now."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        log = cls(path.with_suffix(LIVE), descriptor)
        try:
            if _locked(path, descriptor):  # before the rename: a live file without a lock is a dead process's
                log.size = os.fstat(descriptor).st_size
                path.rename(log.path)
                return log
        except OSError:
            pass
        log.release()
        return None

    def append(self, frame: bytes) -> None:
        """Appends a group made by `frame`, durable against `kill -9` on return. Raises LedgerError, adding nothing."""
        try:
            append(self._descriptor, self.size, frame)
        except OSError as error:
            raise LedgerError(_unwritable(self.path, error)) from error
        self.size += len(frame)

    def finish(self) -> None:
        """Deletes the file: its statement ended well."""
        try:
            self.path.unlink(missing_ok=True)
        finally:
            self.release()

    def abandon(self) -> None:
        """Leaves the file to whoever runs the statement again."""
        try:
            _leave(self.path, self.size)
        finally:
            self.release()

    def release(self) -> None:
        """Closes the descriptor, and nothing else: in a forked child the parent keeps its lock."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def append(descriptor: int, size: int, frame: bytes) -> None:
    """Appends to a file of `size` bytes, opened for that (O_APPEND). Raises OSError, adding nothing."""
    written = 0
    try:
        while written < len(frame):
            more = os.write(descriptor, frame[written:])
            if not more:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            written += more
    except OSError:
        # What was written of the group would hide all groups after it.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, size)
        raise


def frame(scope: bytes, entries: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A group of answers as it stands in a file. Raises ValueError where a key or `scope` has not 16 bytes."""
    keys = [key for key, _ in entries]
    if len(scope) != KEY_BYTES or any(len(key) != KEY_BYTES for key in keys):
        raise ValueError(f"keys and scopes have {KEY_BYTES} bytes")
    values = [value for _, value in entries]
    rest = b"".join((*keys, struct.pack(f"<{len(values)}I", *map(len, values)), *values))
    head = _HEAD.pack(len(rest), len(keys), scope)
    return b"".join((_CHECKSUM.pack(zlib.crc32(rest, zlib.crc32(head))), head, rest))


def leave_dead(folder: Path) -> None:
    """Marks the files of dead processes as left behind. Files of living ones are not touched."""
    for path in folder.glob(f"*{LIVE}"):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            if _locked(path, descriptor):
                _leave(path, os.fstat(descriptor).st_size)
        finally:
            os.close(descriptor)


def groups(path: Path | int, offset: int = 0) -> Iterator[Group]:
    """The groups of a file (or of an open one, by its descriptor) from byte `offset`, where one begins.

    Ends before the first that is torn or damaged. Raises OSError.
    """
    with open(path, "rb", buffering=1 << 20, closefd=not isinstance(path, int)) as file:
        end = os.fstat(file.fileno()).st_size
        file.seek(offset)
        while len(start := file.read(_FRAME_BYTES)) == _FRAME_BYTES:
            head = start[_CHECKSUM.size :]
            size, count, scope = _HEAD.unpack(head)
            offset += _FRAME_BYTES
            if offset + size > end:
                return
            rest = file.read(size)
            if zlib.crc32(rest, zlib.crc32(head)) != _CHECKSUM.unpack_from(start)[0]:
                return
            values = count * (KEY_BYTES + 4)
            keys, lengths = rest[: count * KEY_BYTES], rest[count * KEY_BYTES : values]
            yield Group(scope, count, keys, lengths, offset + values, offset + size)
            offset += size


def time_prefix(now_s: float) -> str:
    """How the name of a file begins that was created at `now_s`: names sort by time."""
    return f"{max(0, int(now_s * 1000)):013d}"


def _locked(path: Path, descriptor: int) -> bool:
    """Locks the file of `descriptor` if nobody has it and it still has its name."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.stat(path).st_ino == os.fstat(descriptor).st_ino
    except (BlockingIOError, FileNotFoundError):
        return False


def _leave(path: Path, size: int) -> None:
    with contextlib.suppress(OSError):
        if size:
            path.rename(path.with_suffix(KEPT))
        else:
            path.unlink()


def _unwritable(path: Path, error: OSError) -> str:
    return (
        f"cannot keep answers in {path}: {error.strerror or error}. Free space on that disk and check its rights, "
        "or choose another folder with AIQ_HOME or home=..."
    )
