"""Lets a statement name the data frames of whoever called us, and nothing of ours.

DuckDB looks for a table it does not know among the variables of the Python frame that calls it. That frame is made
here, with the caller's variables of those names and no others.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

_LITERAL = re.compile(r"'([^'\n]{1,4096})'")
_CALL = compile("__aiq_call(__aiq_text, **__aiq_options)", "<aiq statement>", "eval")


def variables_of_caller(names: Iterable[str]) -> dict[str, Any]:
    """The variables of these names in the frames of our callers, the nearest first."""
    wanted, found = set(names), dict[str, Any]()
    frame = sys._getframe(1)
    while frame is not None and wanted:
        if not f"{frame.f_globals.get('__name__')}.".startswith("aiq."):
            for space in (frame.f_locals, frame.f_globals):
                found |= {name: space[name] for name in wanted if name in space}  # since 3.13 keys() is a list
                wanted -= found.keys()
        frame = frame.f_back  # type: ignore[assignment]
    return found


def read_once(variables: dict[str, Any]) -> str | None:
    """The name of a variable that gives its rows only once, such as a `pyarrow.RecordBatchReader`, or None."""
    for name, value in variables.items():
        if hasattr(value, "__arrow_c_stream__") and not hasattr(value, "__len__"):
            return name
    return None


def call_seeing(variables: dict[str, Any], function: Callable[..., Any], text: str, **options: Any) -> Any:
    """Calls `function(text, **options)` in a frame that has only these variables."""
    return eval(_CALL, {**variables, "__aiq_call": function, "__aiq_text": text, "__aiq_options": options})


def reads_pipe(text: str) -> bool:
    """Whether a statement names a pipe, a terminal or a socket: it gives its rows once, and even planning reads it."""
    for name in _LITERAL.findall(text):
        with suppress(OSError, ValueError):
            mode = os.stat(name).st_mode
            if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode):
                return True
    return False
