"""What tests of the plan share: cases of before and after in SQL files, numbered calls, and small random tables.

Over these a call is a plain function, so that the rows of what a text becomes can be compared with DuckDB's own.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pytest

from aiq.engines.duckdb.rewrite import tree
from aiq.engines.duckdb.rewrite.split import Columns

FOLDER = Path(__file__).parent
CALL = "__aiq_0c0ffee00001"
"""A function's name as the engines make them."""
_TABLES = ("t", "u", "s")
_COLUMNS = {
    "id": "INTEGER",
    "k": "INTEGER",
    "c": "INTEGER",
    "day": "INTEGER",
    "price": "DOUBLE",
    "body": "VARCHAR",
    "a": "VARCHAR",
    "b": "VARCHAR",
    "name": "VARCHAR",
    "kind": "VARCHAR",
    "photo": "VARCHAR",
    "seen": "BOOLEAN",
    "ok": "BOOLEAN",
    "st": "STRUCT(p INTEGER, q VARCHAR)",
}
_WORDS = ("yes", "no", "x", "y", None)


def numbered(text: str) -> str:
    """`ai2(x)` as statements are rewritten to: the call of site 2."""
    return re.sub(r"\bai(\d+)\(", rf"{CALL}(\1, ", text)


def named(text: str) -> str:
    """Numbered calls as cases write them."""
    return re.sub(rf"{CALL}\((\d+), ", r"ai\1(", text)


def shown(text: str) -> str:
    """A text as cases show it: calls by their sites, names of our own without what keeps them apart from all others."""
    return named(text).replace("__aiq_rows", "picked").replace("__aiq_", "")


def query(text: str) -> tree.Query:
    """The tree of a query in which `ai1(x)` is the call of site 1."""
    found = tree.read(numbered(text))
    assert found is not None, text
    return found


def printed(text: str) -> str:
    """A query as DuckDB prints it."""
    found = query(text).text()
    assert found is not None, text
    return found


def cases(path: str) -> list[tuple[str, str, str | None]]:
    """(title, before, after) of each case of a file beside this one; `after` None where nothing is to change."""
    _, *parts = (FOLDER / path).read_text(encoding="utf-8").split("\n-- case: ")
    found: list[tuple[str, str, str | None]] = []
    for part in parts:
        title, _, rest = part.partition("\n")
        before, becomes, after = rest.partition("\n-- becomes\n")
        if not becomes:
            before, stays, _ = rest.partition("\n-- stays")
            assert stays, title
        found.append((title, before.strip(), after.strip() if becomes else None))
    return found


def params(path: str) -> list[object]:
    """The cases of a file as parameters (before, after)."""
    return [pytest.param(before, after, id=title) for title, before, after in cases(path)]


VOLATILE = frozenset({"random", "uuid", "nextval"})


def answer(site: int, request: str | None, *files: str | None) -> str | None:
    """What a call gives: a word, its request in capitals or NULL, the same each time; NULL for a NULL request."""
    if request is None:
        return None
    known = (*_WORDS, request.upper())
    return known[zlib.crc32(repr((site, request, files)).encode()) % len(known)]


class Database:
    """Tables t, u and s of a few rows, and calls that answer at once."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self.con = con
        self.asked: set[tuple[Any, ...]] = set()
        con.execute("SET threads = 1")

        def call(*given):  # type: ignore[no-untyped-def]  # without types DuckDB takes any number of arguments
            if given[1] is not None:
                self.asked.add(given)
            return answer(*given)

        con.create_function(CALL, call, None, "VARCHAR", null_handling="special")  # type: ignore[arg-type]

    def describe(self, text: str) -> Columns | None:
        """As of `aiq.engines.duckdb.rewrite.split.Describe`."""
        try:
            return [(row[0], row[1]) for row in self.con.execute(f"DESCRIBE {text}").fetchall()]
        except duckdb.Error:
            return None

    def columns(self, text: str) -> Columns:
        """The columns of a query that DuckDB takes."""
        found = self.describe(numbered(text))
        assert found is not None, text
        return found

    def rows(self, text: str) -> list[tuple[Any, ...]]:
        """The rows of a text with numbered calls, in their order."""
        return self.con.execute(numbered(text)).fetchall()

    def rows_in_two(self, once: str, over: str) -> list[tuple[Any, ...]]:
        """The rows of a text over the table `made`, which another text makes."""
        self.con.execute(f"CREATE OR REPLACE TEMP TABLE made AS {numbered(once)}")
        try:
            return self.rows(over)
        finally:
            self.con.execute("DROP TABLE temp.made")

    def written(self, text: str, table: str = "t") -> list[str]:
        """The rows of a table after a statement, which is taken back."""
        self.con.execute("BEGIN")
        try:
            self.con.execute(numbered(text))
            return sorted(map(repr, self.rows(f"SELECT * FROM {table}")))
        finally:
            self.con.execute("ROLLBACK")

    def asks(self, text: str) -> set[tuple[Any, ...]]:
        """What the calls of a text are asked."""
        self.asked.clear()
        self.rows(text)
        return set(self.asked)


def database(seed: int = 1) -> Database:
    """A database whose rows are drawn by `seed`. `id` is unique, all else repeats itself and may be NULL."""
    return _database(seed)


@cache
def _database(seed: int) -> Database:
    draw = random.Random(seed)
    of_type: dict[str, Callable[[], str]] = {
        "INTEGER": lambda: draw.choice(["1", "2", "3", "4", "9", "NULL"]),
        "DOUBLE": lambda: draw.choice(["0.5", "1.5", "2.5", "NULL"]),
        "VARCHAR": lambda: draw.choice(["'yes'", "'x'", "'abc'", "'de'", "'Red'", "NULL"]),
        "BOOLEAN": lambda: draw.choice(["true", "false", "NULL"]),
        "STRUCT(p INTEGER, q VARCHAR)": lambda: draw.choice(["{'p': 1, 'q': 'x'}", "{'p': 2, 'q': NULL}", "NULL"]),
    }
    con = duckdb.connect()
    for name in _TABLES:
        con.execute(f"CREATE TABLE {name} ({', '.join(f'{one} {kind}' for one, kind in _COLUMNS.items())})")
        for number in draw.sample(range(20), 12):
            values = [str(number), *(of_type[kind]() for kind in list(_COLUMNS.values())[1:])]
            con.execute(f"INSERT INTO {name} VALUES ({', '.join(values)})")
    return Database(con)
