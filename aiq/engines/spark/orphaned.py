"""Ends a Python worker whose driver, or the process that started it, is gone: Spark may take long to notice.

What it has in flight is closed with it, so that providers stop computing. Knows processes of this host only.
"""

from __future__ import annotations

import os
import threading
import time
from functools import cache

from aiq.answers.shared import is_dead, name_of, process_name

LOOK_S = 0.25


def end_with(owner: str) -> None:
    """Ends this process, from now on, as soon as the process `owner` (`process_name`) or its own parent has ended.

    In the process `owner` it does nothing.
    """
    if owner and owner != process_name():
        _follow(owner, process_name())


@cache
def _follow(owner: str, _: str) -> None:
    """Once for an owner in a process; a forked one has no thread of its parent."""
    above = (owner, name_of(os.getppid()))
    threading.Thread(target=_end_after, args=(above,), name="aiq-spark-orphaned", daemon=True).start()


def _end_after(processes: tuple[str, ...]) -> None:
    while not any(is_dead(process) for process in processes):
        time.sleep(LOOK_S)
    # At once, as if it were killed: its spool and its claims are taken over by the next one. Connections that are
    # merely given up would stay open until their request times out.
    os._exit(1)
