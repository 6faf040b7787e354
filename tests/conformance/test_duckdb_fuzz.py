"""Random statements mean what they say: rows, names, types, tables and requests are plain DuckDB's.

A statement is made from its number alone (duckdb_statements.py). `AIQ_FUZZ_EXAMPLES` says how many are tried, from
number `AIQ_FUZZ_SEED` on: `AIQ_FUZZ_SEED=17 AIQ_FUZZ_EXAMPLES=1` tries the statement 17 again.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import duckdb
import pytest

from aiq.engines.duckdb.rewrite.parts import without_conflict
from tests.conformance.duckdb_statements import Statement, statement
from tests.conformance.duckdb_words import SCHEMA, TARGET
from tests.conformance.side_by_side import Outcome, Pair, open_pair, same_names

if TYPE_CHECKING:
    from tests.conftest import ConfFolder

EXAMPLES = int(os.environ.get("AIQ_FUZZ_EXAMPLES", "800"))
FIRST = int(os.environ.get("AIQ_FUZZ_SEED", "0"))
AT_ONCE = 100
"""Statements in a test."""

BOUND = ("ParserException", "BinderException", "CatalogException")
"""Errors that DuckDB finds without looking at a row. Of all others it depends on the order of evaluation whether
they come, so that a statement that has one is only an example of an error."""


MOST, EXACT = 4, 12
"""Columns of EXPLAIN AI."""
MAY_ASK_MORE = 2
"""Of AT_ONCE statements, so many may ask more than plain DuckDB evaluates, if EXPLAIN AI says so: where answers decide
on other calls, DuckDB takes conditions in another order each time."""


class Mismatch(NamedTuple):
    seed: int
    kind: str
    said: str
    sql: str

    def __str__(self) -> str:
        return f"seed {self.seed}, {self.kind}: {self.said}\n    {self.sql}"


class Fuzzer:
    """A pair that is opened anew after an internal error, which leaves a database unusable."""

    def __init__(self, open_one: Callable[[], Pair], folder: Path) -> None:
        self._open, self._folder = open_one, folder
        self.pair = open_one()
        self.at_most: list[Mismatch] = []
        """Statements that asked more than plain DuckDB evaluated, as EXPLAIN AI says that they may."""

    def mismatch(self, seed: int) -> Mismatch | None:
        """What is different with us, if anything."""
        made = statement(seed)
        found = self._difference(made, in_transaction=seed % 3 == 0, stream=seed % 5 == 0)
        if found is None:
            return None
        mismatch = Mismatch(seed, *found, made.sql)
        if mismatch.kind != "asked in vain" or made.writes or not self._was_said(made.sql):
            return mismatch
        self.at_most.append(mismatch)
        return None

    def _was_said(self, sql: str) -> bool:
        """Whether EXPLAIN AI gives a bound of the requests and no number, and the bound held."""
        asked = len(self.pair.asked)
        *_, total = self.pair.session.sql(f"EXPLAIN AI {sql}").fetchall()
        return total[EXACT] is False and asked <= total[MOST]

    def _difference(self, made: Statement, in_transaction: bool, stream: bool) -> tuple[str, str] | None:
        pair = self.pair
        if made.writes:
            pair.both(TARGET)
        if made.writes and in_transaction:
            pair.both("BEGIN")
        stream = stream and not made.writes
        for copied in self._folder.iterdir():
            copied.unlink()
        theirs = (pair.of_plain_stream if stream else pair.of_plain)(self._sql(made, "theirs"))
        ours = (pair.of_stream if stream else pair.of_session)(self._sql(made, "ours"))
        try:
            if _kind(theirs) in ("InternalException", "FatalException"):
                self.pair = self._open()
                return None
            if _kind(ours) in ("InternalException", "FatalException"):
                self.pair = self._open()
                return "internal error", ours.error
            return self._compared(made, theirs, ours)
        finally:
            if self.pair is pair and made.writes and in_transaction:
                pair.both("ROLLBACK")

    def _sql(self, made: Statement, side: str) -> str:
        return made.sql.replace("copied.csv", str(self._folder / side))

    def _compared(self, made: Statement, theirs: Outcome, ours: Outcome) -> tuple[str, str] | None:
        pair = self.pair
        if theirs.error:
            if not ours.error:
                return ("no error", theirs.error) if _kind(theirs) in BOUND else None
            if _kind(theirs) not in BOUND:
                return None
            # The columns of a PIVOT without IN are those of its rows; functions and tables are known before.
            of_rows = set() if _kind(theirs) == "CatalogException" else pair.evaluated
            if early := set(pair.asked) - of_rows:
                return "asked before an error", f"{theirs.error}: {early}"
            return None if _kind(ours) in (_kind(theirs), "StatementError") else ("kind of error", ours.error)
        if ours.error:
            # In an INSERT with a conflict clause DuckDB takes a column that is not there; we refuse it.
            if (stricter := without_conflict(made.sql)) != made.sql:
                return None if _kind(pair.of_plain(stricter)) == _kind(ours) else ("error", ours.error)
            return "error", ours.error
        # What DuckDB counts is no result of a statement, and a stream of no rows tells no names.
        shown = (not made.writes or "RETURNING" in made.sql) and (ours.columns or theirs.rows)
        results = [(ours, theirs)] if shown else []
        if not made.ordered:
            results = [(a.unordered(), b.unordered()) for a, b in results]
        if made.writes:
            results += self._written()
        where = " written" if made.writes else ""
        for a, b in results:
            if (a.rows, a.error) != (b.rows, b.error):
                return f"rows{where}", _in_place_of(a.rows, b.rows)
            if a.types != b.types:
                return f"types{where}", _in_place_of(a.types, b.types)
        if (asked := self._asked_in_vain(made.sql)) is not None:
            return asked
        for a, b in results:  # at last, so that a wrong name hides no wrong row
            if not same_names(a.columns, b.columns):
                return f"columns{where}", _in_place_of(a.columns, b.columns)
        return None

    def _written(self) -> list[tuple[Outcome, Outcome]]:
        """Tables and files after a statement that writes: with the session, and with plain DuckDB."""
        is_made = "FROM duckdb_tables() SELECT table_name WHERE table_name = 'made'"
        there = self.pair.contents(is_made)
        tables = ["w", "made"] if all(side.rows for side in there) else ["w"]
        files = [self._folder / "ours", self._folder / "theirs"]
        copies = [_of_file(file) for file in files]
        return [there, *(self.pair.contents(f"FROM {table}") for table in tables), (copies[0], copies[1])]

    def _asked_in_vain(self, sql: str) -> tuple[str, str] | None:
        """Requests that came twice, or that plain DuckDB did not evaluate the function for."""
        asked, evaluated = self.pair.asked, set(self.pair.evaluated)
        if len(asked) != len(set(asked)):
            return "asked twice", _shortened(sorted(asked))
        extra = set(asked) - evaluated
        if extra and self._evaluates_while_planning(sql):
            return None
        return ("asked in vain", _shortened(extra)) if extra else None

    def _evaluates_while_planning(self, sql: str) -> bool:
        """Whether DuckDB evaluates a call on a literal while it plans, and so may see that no row passes."""
        self.pair.evaluated.clear()
        with suppress(duckdb.Error):
            self.pair.plain.execute(f"EXPLAIN {sql}")
        return bool(self.pair.evaluated)


def _kind(outcome: Outcome) -> str:
    return outcome.error.partition(":")[0]


def _of_file(path: Path) -> Outcome:
    """A CSV file, whose first line has the names."""
    if not path.exists():
        return Outcome(error="no file")
    with path.open(newline="") as file:
        names, *rows = list(csv.reader(file)) or [[]]
    return Outcome(tuple(names), rows=tuple(sorted(map(str, rows))))


def _in_place_of(ours: object, theirs: object) -> str:
    return f"{_shortened(ours)} in place of {_shortened(theirs)}"


def _shortened(value: object) -> str:
    return re.sub(r"\s+", " ", str(value))[:400]


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory: pytest.TempPathFactory, make_conf: Callable[[Path, str], ConfFolder]) -> Iterator[Fuzzer]:
    with ExitStack() as opened:

        def open_one() -> Pair:
            pair = opened.enter_context(open_pair(tmp_path_factory.mktemp("fuzz"), make_conf, keeps_answers=False))
            pair.both(SCHEMA)
            return pair

        yield Fuzzer(open_one, tmp_path_factory.mktemp("copied"))


@pytest.mark.parametrize("start", range(FIRST, FIRST + EXAMPLES, AT_ONCE))
def test_a_random_statement_means_what_it_says(fuzzer: Fuzzer, start: int) -> None:
    seeds = range(start, min(start + AT_ONCE, FIRST + EXAMPLES))
    fuzzer.at_most.clear()
    mismatches = [found for seed in seeds if (found := fuzzer.mismatch(seed)) is not None]
    assert not mismatches, "\n".join([f"{len(mismatches)} of {len(seeds)}", *map(str, mismatches)])
    assert len(fuzzer.at_most) <= MAY_ASK_MORE, "\n".join(map(str, fuzzer.at_most))
