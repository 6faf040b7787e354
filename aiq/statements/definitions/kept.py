"""The functions and views that a home keeps, as one session has them: what every engine does alike.

An engine adds what its own catalog knows and keeps (`KeptDefinitions` is its base); it never says how a query runs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakMethod

from aiq.errors import StatementError
from aiq.sql.words import DATABRICKS, DUCKDB, words
from aiq.statements.definitions.commands import Commands, Done
from aiq.statements.definitions.expand import Expansion, Place, Surroundings
from aiq.statements.definitions.parsed import Create, Name
from aiq.statements.definitions.store import Definitions
from aiq.statements.definitions.tables import KeptTables
from aiq.statements.settings import without_hints

HEADS = ("CR", "DR", "AL", "RE", "DE", "SH", "--", "/*")
"""How statements about definitions begin, and those that begin with a comment."""
RunStatement = Callable[[str, str, bool], None]


class KeptDefinitions(ABC):
    """Functions and views of one session. Names are dotted parts as written."""

    dialect: ClassVar[str]
    """Of the SQL that the engine itself looks at."""

    def __init__(self, home: Path, owner: str) -> None:
        self.owner, self.definitions = owner, Definitions(home)
        self.expansion = Expansion(
            self.definitions,
            Surroundings(
                self.place,
                self.has_relation,
                self.hides,
                self.is_built_in,
                self.to_duckdb,
                self.with_files,
                self.own_catalogs(),
            ),
        )
        self._commands = Commands(self)
        self._runs: WeakMethod[RunStatement] | None = None

    def runs_by(self, run: WeakMethod[RunStatement]) -> None:
        """Whose statements these are: `run` takes a text, its dialect, and whether its answers are to be kept.

        Held weakly: a circle would keep the connection for the collector, which a forked child may run.
        """
        self._runs = run

    def may_be_meant(self, text: str) -> bool:
        """Whether a statement may be about definitions, by how it begins."""
        return text.lstrip()[:2].upper() in HEADS

    def carry_out(self, text: str, params: Any, dialect: str) -> Done | None:
        """The result of a statement about definitions; None for any other."""
        bare = without_hints(text)
        return None if params else self._commands.carry_out(bare, dialect_of(bare, dialect))

    def expanded(self, text: str, dialect: str) -> str:
        """A statement with kept functions and views spelled out."""
        return self.expansion.expanded(text, dialect)

    def run(self, text: str, dialect: str, *, keep: bool = False) -> None:
        """Runs a statement in the ordinary way; with `keep` its answers serve later statements that ask for that."""
        run = self._runs() if self._runs is not None else None
        assert run is not None  # a session that runs a statement is there
        run(text, dialect, keep)

    @abstractmethod
    def check(self, query: str, dialect: str) -> None:
        """Has the engine look at a query without running it. Raises its errors and StatementError."""

    @abstractmethod
    def check_fields(self, body: str, cast: str) -> None:
        """Raises StatementError where a cast of a STRUCT would not go by the order of its fields, as Spark's does."""

    @abstractmethod
    def keeps(self, created: Create, text: str, dialect: str, *, asks: bool, own: bool) -> bool:
        """Lets the engine itself keep a definition, where it can; `own` says that it names nothing kept here."""

    @abstractmethod
    def has_relation(self, name: Name) -> bool:
        """Whether the engine itself has a table or view."""

    @abstractmethod
    def has_view(self, name: Name) -> bool:
        """Whether the engine itself has a view."""

    @abstractmethod
    def has_function(self, name: Name) -> bool:
        """Whether the engine itself has a function that a person has made."""

    @abstractmethod
    def hides(self, name: Name) -> bool:
        """Whether a function of the engine's own is what a call of this name means, where the kept one has no call."""

    @abstractmethod
    def is_built_in(self, name: str) -> bool:
        """Whether a function of this name belongs to the engine."""

    @abstractmethod
    def functions(self, which: str) -> list[str]:
        """The names of the engine's own functions: USER, or ALL."""

    @abstractmethod
    def drop(self, kind: str, name: Name) -> None:
        """Drops what the engine itself has."""

    @abstractmethod
    def made_tables(self) -> KeptTables:
        """How tables of materialized views are filled."""

    @abstractmethod
    def place(self) -> Place:
        """The catalog and the schema in which names are looked up."""

    @abstractmethod
    def own_catalogs(self) -> frozenset[str]:
        """The catalogs that stand for the engine's own, in lower case."""

    @abstractmethod
    def with_files(self, text: str) -> str:
        """A Databricks statement that reads tables where it reads files."""

    @abstractmethod
    def to_duckdb(self, text: str) -> str:
        """A Databricks statement in DuckDB's words, where DuckDB is to run it."""


def dialect_of(text: str, dialect: str) -> str:
    """The dialect that a text is read in: with back-ticks it is Databricks' in any case."""
    try:
        written = dialect == DUCKDB and "`" in text and any(word.says("`") for word in words(text, DUCKDB))
    except StatementError:  # it escapes a quote as only Databricks' do
        written = True
    return DATABRICKS if written else dialect
