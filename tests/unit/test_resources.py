"""A lack of open files or memory is told as such, whoever met it first, and nothing else is."""

from __future__ import annotations

import errno
from typing import Any

import duckdb
import pytest

from aiq.errors import LedgerError, ProviderError, ResourceError
from aiq.resources import advice, lack, plain_errors


class PanicException(BaseException):
    """As libraries in Rust raise it: no Exception."""


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EMFILE, "Too many open files"),
        OSError(errno.ENFILE, "Too many open files in system"),
        duckdb.IOException('IO Error: Cannot open file "t.csv": Too many open files'),
        PanicException('Failed to create a tokio runtime: Os { code: 24, message: "Too many open files" }'),
        type("DeltaError", (Exception,), {})("Generic error: Too many open files (os error 24)"),
    ],
)
def test_a_lack_of_files_names_the_limit_and_what_to_do(error: BaseException) -> None:
    with pytest.raises(ResourceError, match=r"may open no more files: its limit is \d+ \(ulimit -n\)"), plain_errors():
        raise error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        duckdb.InvalidInputException(
            "Invalid Input Error: Python exception occurred while executing the UDF: MemoryError: "
        ),
        SystemError("error return without exception set"),
        RuntimeError("can't start new thread"),
        duckdb.Error("std::bad_alloc"),
        duckdb.InternalException("INTERNAL Error: std::bad_alloc\nStack Trace:"),
        duckdb.OutOfMemoryException("Out of Memory Error: Allocation failure"),
    ],
)
def test_a_lack_of_memory_is_told(error: BaseException) -> None:
    found = lack(error)
    assert found is not None
    assert "not enough memory" in str(found)


def test_a_cause_further_down_counts() -> None:
    with pytest.raises(ResourceError), plain_errors():
        try:
            raise OSError(errno.EMFILE, "Too many open files")
        except OSError as error:
            raise RuntimeError("cannot import a module") from error


@pytest.mark.parametrize(
    "error",
    [
        duckdb.ConversionException("Could not convert string 'Too many open files' to INT32"),
        duckdb.OutOfMemoryException("Out of Memory Error: could not allocate block of size 256.0 KiB"),
        ProviderError("Too many open files", kind="overloaded", status=500),
        LedgerError("cannot write: Too many open files"),
        OSError(errno.ENOENT, "No such file or directory"),
        KeyboardInterrupt(),
        ValueError("MemoryError"),
        duckdb.ConversionException("Conversion Error: Could not convert string 'std::bad_alloc' to INT32"),
        duckdb.InvalidInputException("Invalid Input Error: why did C++ say std::bad_alloc?"),
        duckdb.InvalidInputException(
            "Invalid Input Error: Python exception occurred while executing the UDF: ValueError: executing the UDF: "
            "MemoryError"
        ),
        duckdb.IOException('IO Error: Cannot open file "too many open files": No such file or directory'),
        duckdb.IOException('IO Error: No files found that match the pattern "too many open files"'),
        RuntimeError("the answer was: can't start new thread, it says"),
    ],
)
def test_what_is_something_else_stays_what_it_is(error: Any) -> None:
    with pytest.raises(type(error)) as caught, plain_errors():
        raise error
    assert caught.value is error


def test_the_advice_for_what_cannot_be_written_depends_on_why() -> None:
    assert "ulimit -n" in advice(OSError(errno.EMFILE, "Too many open files"))
    assert advice(OSError(errno.ENOSPC, "No space left on device")).startswith("Free space")
