"""SIGTERM ends a command as Ctrl-C does: its statement stops, requests end as cancelled, answers are kept."""

from __future__ import annotations

import signal
from types import FrameType
from typing import NoReturn

_terminated = False


def stop_on_sigterm() -> None:
    """From now on, in this process."""
    from aiq.engines.duckdb.interrupt import stopping_signals

    stopping_signals.add(signal.SIGTERM)
    signal.signal(signal.SIGTERM, _raise)


def is_terminated() -> bool:
    """Whether SIGTERM has come."""
    return _terminated


def exit_code(of_ctrl_c: int) -> int:
    """What a stopped command ends with."""
    return 128 + signal.SIGTERM if _terminated else of_ctrl_c


def _raise(number: int, frame: FrameType | None) -> NoReturn:
    global _terminated
    _terminated = True
    raise KeyboardInterrupt
