"""Our errors on their way from a worker to the driver: Spark passes on only their words.

Knows how an error is written into a message and read out of it again. Its fields hold no secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import orjson
import pyarrow as pa

from aiq import errors
from aiq.engines.spark.ask import ask
from aiq.engines.spark.job import Job
from aiq.engines.spark.prepare import PREFIX, as_written, with_colons
from aiq.errors import AiqError, StatementError
from aiq.functions.signature import NOT_ROWS
from aiq.statements.sites import Compiled

if TYPE_CHECKING:
    from pyspark.errors import PySparkException

_WRITTEN = re.compile(r"^.*\baiq\.failed (\[.*\])$", re.MULTILINE)
_QUALIFY = re.compile(r"== SQL ==.*\bQUALIFY\s", re.IGNORECASE | re.DOTALL)
_noted: dict[str, AiqError] = {}
_MOST_NOTED = 100
_KEPT = (str, int, float, bool, type(None))


class FailedOnWorker(RuntimeError):
    """What a worker raises in the place of one of our errors: its words, and its fields for the driver."""


def asked(batches: Iterable[pa.RecordBatch], job: Job) -> Iterator[pa.RecordBatch]:
    """`ask`, with errors that the driver can read."""
    try:
        yield from ask(iter(batches), job)
    except AiqError as error:
        raise FailedOnWorker(f"{error}\naiq.failed {_written(error)}") from None


def noted(error: AiqError) -> str:
    """The words of an error that goes through the JVM of this process; `explained` gives the error back for them."""
    words = str(error)
    if len(_noted) >= _MOST_NOTED:
        _noted.clear()
    _noted.pop(words, None)
    _noted[words] = error
    return words


def explained(error: PySparkException, sites: Mapping[int, Compiled]) -> BaseException:
    """Our own error, where Spark only passes on its words; else Spark's, with the calls as they were written."""
    if (ours := _noted.get(str(error))) is not None:
        return ours
    found = _WRITTEN.search(str(error))
    if found is not None:
        return _read(found.group(1))
    from pyspark.errors import AnalysisException

    words = str(error)
    if error.getCondition() == "UNRESOLVABLE_TABLE_VALUED_FUNCTION" and PREFIX in words:
        return StatementError(NOT_ROWS)
    written = with_colons(as_written(words, sites))
    return AnalysisException(written) if isinstance(error, AnalysisException) and written != words else error


@contextmanager
def words_found() -> Iterator[None]:
    """Gives words to what Spark has none for: QUALIFY, our errors in a script, `text:path` where it stays."""
    from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]
    from pyspark.errors import AnalysisException, ParseException

    try:
        yield
    except AnalysisException as error:
        if not isinstance(error, ParseException):
            written = with_colons(str(error))
            raise (error if written == str(error) else AnalysisException(written)) from None
        if _QUALIFY.search(str(error)) is None:
            raise
        raise StatementError(
            "Spark 4.1 has no QUALIFY; number the rows in a query and choose them around it: SELECT * EXCEPT (n) FROM "
            "(SELECT .., row_number() OVER (..) AS n FROM ..) WHERE n = 1"
        ) from None
    except Py4JJavaError as error:
        if not is_of_text_field(error):
            if "SqlScriptingExecution" in str(error) and _noted:  # a script stumbles over an error none of Spark's
                raise list(_noted.values())[-1] from None
            raise
        raise StatementError(
            "Spark itself reads fields of a VARIANT with a colon, not of a STRING; write get_json_object(answer, "
            "'$.label'), or parse_json(answer):label, in the place of answer:label"
        ) from None


def is_of_text_field(error: Exception) -> bool:
    """Whether Spark stumbled over `text:path` of a STRING, which it has no error of its own for."""
    return "COLUMN_IS_NOT_VARIANT_TYPE" in str(error)


def _written(error: AiqError) -> str:
    fields = {name: value for name, value in vars(error).items() if isinstance(value, _KEPT)}
    words = error.args[0] if error.args else ""
    return orjson.dumps([type(error).__name__, str(words), fields]).decode()


def _read(text: str) -> AiqError:
    name, words, fields = orjson.loads(text)
    kind = getattr(errors, name, AiqError)
    error: AiqError = kind.__new__(kind)
    error.args = (words,)
    vars(error).update(fields)
    return error
