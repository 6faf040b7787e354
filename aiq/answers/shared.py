"""Answers of statements that several processes work on at once: who asks for what, and what is answered already.

What a store of them must be able to do; aiq/answers/shared_file.py is the one of a host. Knows no engine. A store may
always be lost, and must never be wrong.
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple, Protocol


class Shared(NamedTuple):
    """A statement as its processes share it.

    `scope` (16 bytes) tells it from all others, `caller` (16 bytes) says whose it is, `owner` is the process that will
    say how it ends. `resumable`: should that process die before, others of the same caller may use its answers.
    `run` names what the engine runs right now; where `lasting`, the statement lives on when that has ended. `asking` is
    the statement that asks, where the statements of a session share one scope; `text` is its SQL, where that is known.
    """

    id: str
    scope: bytes
    caller: bytes
    owner: str
    resumable: bool = True
    run: str = ""
    lasting: bool = False
    asking: str = ""
    text: str = ""


class Entry(NamedTuple):
    """An answer as JSON text, or a failure's; a failure serves its own statement only."""

    key: bytes
    text: str
    failed: bool = False


class Claimed(NamedTuple):
    """What became of some keys: `known` were answered for this statement, `reused` for another one.

    That is an earlier one of its session, or one that was cut off. From here on they are this statement's.
    All of `mine` are to be asked by this process, and by nobody else; `theirs` are being asked by another one.
    """

    known: dict[bytes, str]
    reused: dict[bytes, str]
    mine: list[bytes]
    theirs: list[bytes]


class SharedAnswers(Protocol):
    """A store of them. Any thread may call, in the process that opened it. All raise LedgerError.

    `together_s`: for how long an answer should wait for others to be stored with it, in seconds.
    """

    together_s: float

    def claim(self, statement: Shared, keys: Sequence[bytes]) -> Claimed:
        """Divides `keys`. What a dead process had claimed is free again."""

    def keep(self, statement: Shared, entries: Sequence[Entry]) -> None:
        """Stores answers, durable against `kill -9` when it returns. Nobody waits for their keys from here on."""

    def keep_at_once(self, statement: Shared, entries: Sequence[Entry]) -> bool:
        """`keep`, for an event loop: False, and nothing done, where it would take more than a few milliseconds."""

    def release(self, statement: Shared, keys: Sequence[bytes]) -> None:
        """Gives up this process' claims on keys that it will not ask for any more."""

    def running(self, owner: str) -> list[Shared]:
        """The statements of `owner` of which it is not known how they ended."""

    def progress(self, statement: Shared) -> tuple[int, int]:
        """How many keys of a statement are answered, and how many its processes are asking for."""

    def end(self, statement: Shared, *, well: bool) -> None:
        """The statement is over. Its answers are gone, or where it did not end well there for the next one."""

    def close(self) -> None:
        """Gives up the connection."""


def scope_of_statement(caller: bytes, name: str) -> bytes:
    """The scope of a statement called `name`, or of a whole session of statements that share their answers."""
    return hashlib.blake2b(caller + name.encode(), digest_size=16).digest()


def process_name() -> str:
    """This process, as others may ask `is_dead` about: host, number, and when it began."""
    return _process_name(os.getpid())


def is_dead(name: str) -> bool:
    """Whether a process is known to be over. One on another host never is."""
    _, number, began = name.rsplit(":", 2)
    return is_local(name) and _began(int(number)) != began


def is_local(name: str) -> bool:
    """Whether `is_dead` can know how it is with a process."""
    return name.rsplit(":", 2)[0] == _host()


def name_of(pid: int) -> str:
    """A process of this host, as `is_dead` takes it."""
    return f"{_host()}:{pid}:{_began(pid)}"


_process_name = cache(name_of)


@cache
def _host() -> str:
    """Where numbers of processes mean the same: containers may share a host's name, and count their own."""
    try:
        return f"{socket.gethostname()}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return socket.gethostname()


def _began(pid: int) -> str:
    """When a process began, in the system's own count; "" where it is not there. Numbers come again, times do not."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]  # what has ended stays there until its parent looks at it
    except (OSError, IndexError):
        pass
    if Path("/proc/self/stat").exists():
        return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except OSError:
        pass
    return "0"
