"""What a session needs of an engine: to read a statement, run it, count it, and hand its rows over.

DuckDB and Spark are two. A statement that is read has to be bound before it runs: no call is paid for one that cannot.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, TypeVar

import pyarrow as pa

from aiq.batch.observer import Observer
from aiq.gateway.statements import Totals
from aiq.sql.notebook.notebook import Parameters
from aiq.statements.definitions.kept import KeptDefinitions
from aiq.statements.estimate import Counted
from aiq.statements.settings import StatementSettings

Result = TypeVar("Result")
"""What an engine gives for a statement: a relation or None on DuckDB, a data frame on Spark."""
Rows_co = TypeVar("Rows_co", covariant=True)


class Written(NamedTuple):
    """A statement as its engine takes it, the parameters that it still has, and whose SQL it is."""

    text: str
    params: Parameters
    dialect: str


class RequestCounts(NamedTuple):
    """What the calls of a statement would ask, in that order; `nothing` says why there is none.

    `sites` has for each count the place of its call among those that were numbered, None where that is not known.
    """

    counts: list[Counted]
    sites: list[int | None]
    nothing: str = "no row reaches an AI call"


class Run(Protocol[Rows_co]):
    """One statement that has been read. It is ended once, whatever became of it."""

    id: str
    asks: bool
    """False where no call of it is lifted: then `result` is all there is to do."""

    @property
    def has_asked(self) -> bool:
        """Whether something of it is on its way to the ledger's tables."""

    def result(self) -> Rows_co:
        """Runs it to its end. Raises the engine's errors in the user's words, and what its calls raise."""

    def end(self, *, well: bool) -> None:
        """Its calls are over. With `well` its answers stay until `Engine.finish_earlier`."""


class Stream(Protocol):
    """One statement whose rows come as their answers do."""

    id: str

    def batches(self, batch_rows: int) -> Iterator[pa.RecordBatch]:
        """Its rows in order. Raises as `Run.result`."""

    def end(self, *, well: bool) -> None:
        """As `Run.end`."""


class Engine(Protocol[Result]):
    """One connection, or one SparkSession, and what a session keeps on it."""

    name: str
    """As `system.aiq.statements` has it."""
    dialect: str
    """Of texts that do not say whose SQL they are."""

    @property
    def definitions(self) -> KeptDefinitions:
        """The home's functions and views, as this engine has them."""

    def read(self, text: str, params: Parameters, dialect: str, variables: Mapping[str, Any] | None) -> Written:
        """A statement as a person wrote it, its widgets, names and files in this engine's words.

        Raises StatementError; no call is made.
        """

    def assigned(self, written: Written, run: Any) -> Written | None:
        """Sets the session variables that a statement sets (None), or gives it with those that it reads.

        `run` runs a query of the session.
        """

    def prepare(self, written: Written, settings: StatementSettings, observer: Observer | None = None) -> Run[Result]:
        """A statement ready to run. Raises StatementError, FunctionError and the engine's errors; no call is made."""

    def prepare_stream(self, written: Written, settings: StatementSettings) -> Stream | None:
        """The same for rows that come as their answers do; None where the statement has to be finished first."""

    def count(self, written: Written, settings: StatementSettings, *, gently: bool = False) -> RequestCounts | None:
        """What a statement would ask. Makes no call and changes nothing. Raises as running it would, before any call.

        With `gently` nothing that running it may need is read or ended, and None says that it cannot be told so.
        """

    def batches(self, result: Result, batch_rows: int) -> Iterator[pa.RecordBatch]:
        """The rows of a finished result, in order."""

    def result_of(self, table: pa.Table | None) -> Result:
        """A table as the engine gives results; None: the result of a statement without rows."""

    def exhaust(self, result: Result) -> None:
        """Evaluates a result to its end, and forgets its rows."""

    def in_users_words(self, text: str) -> AbstractContextManager[None]:
        """While inside, the engine's errors over a statement are raised in the words of who wrote it."""

    def took(self, statement_id: str) -> Totals | None:
        """What the requests of a running statement took, where other processes sent them; None: they were sent here."""

    def finish_earlier(self) -> None:
        """Lets go of the answers of earlier statements, whose results the caller has: another one is to ask."""

    def interrupt(self) -> None:
        """Stops what another thread is running."""

    def close(self) -> None:
        """Closes what the session opened."""
