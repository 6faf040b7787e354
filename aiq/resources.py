"""What a machine may give too little of: open files and memory. Says so in words that help, whoever met it first.

SQLite, DuckDB, Delta and Python each tell it in their own way. Knows no file and no engine.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import resource
import sqlite3
from collections.abc import Iterator

from aiq.errors import AiqError, ResourceError

# An error's text may quote the user's: words count at the places where the libraries put their own.
_FILES = re.compile(r'(?:^|: |message: ")too many open files(?:"| \(os error \d+\)|\s*$)', re.IGNORECASE | re.MULTILINE)
_OF_FILES = frozenset({"IOException", "PanicException", "DeltaError", "CommitFailedError", "TableNotFoundError"})
_MEMORY = re.compile(
    r"Invalid Input Error: Python exception occurred while executing the UDF: MemoryError(?::|$)|"
    r"error return without exception set|can't start new thread$|"
    r"(?:(?:INTERNAL|Out of Memory) Error: )?(?:std::bad_alloc|Allocation failure)(?:\n|$)"
)


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Raises ResourceError, from what was raised, where that came of a lack of open files or memory."""
    try:
        yield
    except (KeyboardInterrupt, GeneratorExit, SystemExit):
        raise
    except BaseException as error:  # also the panics of Rust libraries
        found = None if isinstance(error, AiqError) else lack(error)
        if found is None:
            raise
        raise found from error


def lack(error: BaseException) -> ResourceError | None:
    """Our own error where the cause of `error` is a lack of open files or memory; None for any other cause."""
    seen: BaseException | None = error
    while seen is not None:
        if _is_of_files(seen):
            return ResourceError(
                f"this process may open no more files: {advice_on_files()}, then run the statement again"
            )
        if isinstance(seen, MemoryError) or _MEMORY.match(str(seen)):
            return ResourceError(
                "there is not enough memory for this statement; answers that were paid for are kept. Give the process "
                "more (ulimit -v, the container's limit), let DuckDB use less (SET memory_limit, SET threads), or ask "
                "fewer rows at a time, then run the statement again"
            )
        seen = seen.__cause__ or seen.__context__
    return None


def advice_on_files() -> str:
    """What to do where no more files can be opened."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return (
        f"its limit is {limit} (ulimit -n), of which a statement needs about 64 and one for each request in flight. "
        "Raise it (ulimit -n 1024) or lower concurrency in conf/aiq.yml"
    )


def advice(error: BaseException) -> str:
    """The first half of an advice where something cannot be written: `Free space on that disk and check its rights`."""
    if _is_of_files(error):
        return f"The process may open no more files: {advice_on_files()}"
    return "Free space on that disk and check its rights"


def _is_of_files(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return True
    words = str(error)
    if type(error).__name__ in _OF_FILES and _FILES.search(words):
        return True
    return isinstance(error, sqlite3.OperationalError) and "unable to open" in words and not _may_open()


def _may_open() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
