"""What a forked child cannot use: libraries that have threads of their own, once its parent has used them.

Knows processes; must never know what the libraries are for.
"""

from __future__ import annotations

import os

from aiq.errors import StatementError

ADVICE = (
    "Start processes with multiprocessing.get_context('spawn') or 'forkserver', and call aiq.connect or aiq.register "
    "in each"
)

_used: set[str] = set()
_lost: set[str] = set()


def note_use(library: str) -> None:
    """Notes that this process has used a library that does not survive a fork."""
    _used.add(library)


def check_libraries() -> None:
    """Raises StatementError in a child of a process that had used such a library when it forked."""
    if _lost:
        raise StatementError(
            f"this process was forked from one that had already used {' and '.join(sorted(_lost))}, which cannot be "
            f"used after a fork. {ADVICE}, or fork before the first statement with ai_query"
        )


def _lose_after_fork() -> None:
    _lost.update(_used)


os.register_at_fork(after_in_child=_lose_after_fork)
