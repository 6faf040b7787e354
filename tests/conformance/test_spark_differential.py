"""Random SELECTs on Spark beside plain DuckDB with a function of the same answers: equal rows for no more requests.

The statements are of what both engines take, and total: no value of a row makes them fail.
"""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conformance.conftest import Beside, Engine

ENGINES = ("spark",)
STATEMENTS = int(os.environ.get("AIQ_FUZZ_SPARK", "16"))
TABLES = ("t", "u")
WORDS = ("a", "b", "yes", "red", "")


class Grammar:
    """Statements drawn by a seed, so that a failure can be run again."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def rows(self) -> dict[str, list[Any]]:
        """The columns `k` and `s` of a table of up to eight rows."""
        count = self._random.randint(1, 8)
        numbers = [self._random.choice([0, 1, 2, 3, None]) for _ in range(count)]
        return {"k": numbers, "s": [self._random.choice([*WORDS, "c", "no", None]) for _ in range(count)]}

    def text(self, aliases: tuple[str, ...], depth: int = 2) -> str:
        """An expression of type STRING."""
        pick = self._random.choice
        column = f"{pick(aliases)}.s"
        kind = pick(
            ["column", "word", "concat"] if depth == 0 else ["column", "call", "call", "coalesce", "case", "upper"]
        )
        if kind == "column":
            return column
        if kind == "word":
            return f"'{pick(WORDS)}'"
        if kind == "concat":
            return f"({column} || '{pick(WORDS)}')"
        inner, other = self.text(aliases, depth - 1), self.text(aliases, depth - 1)
        if kind == "call":
            return f"ai_query('chat', {inner})"
        if kind == "coalesce":
            return f"coalesce({inner}, {other})"
        if kind == "upper":
            return f"upper({inner})"
        return f"CASE WHEN {self.condition(aliases, depth - 1)} THEN {inner} ELSE {other} END"

    def condition(self, aliases: tuple[str, ...], depth: int = 2) -> str:
        """An expression of type BOOLEAN."""
        pick, alias = self._random.choice, self._random.choice(aliases)
        kind = pick(
            ["number", "null", "answer"] if depth == 0 else ["number", "answer", "answer", "and", "or", "not", "in"]
        )
        if kind == "number":
            return f"{alias}.{pick(['id', 'k'])} {pick(['<', '>=', '='])} {self._random.randint(0, 4)}"
        if kind == "null":
            return f"{alias}.{pick(['k', 's'])} IS {pick(['', 'NOT '])}NULL"
        if kind == "answer":
            test = pick(["= 'yes'", "<> 'no'", "LIKE '%e%'", "IS NULL", "> 'c'", "IN ('red', 'blue')"])
            return f"ai_query('chat', {self.text(aliases, min(depth, 1))}) {test}"
        if kind == "not":
            return f"NOT ({self.condition(aliases, depth - 1)})"
        if kind == "in":
            return f"{alias}.k IN (SELECT z.k FROM u AS z WHERE {self.condition(('z',), 0)})"
        return f"({self.condition(aliases, depth - 1)} {kind.upper()} {self.condition(aliases, depth - 1)})"

    def select(self) -> str:
        """A SELECT with the columns `x` and `y`."""
        pick = self._random.choice
        source, aliases = pick(
            [
                ("t AS a", ("a",)),
                ("t AS a JOIN u AS b ON a.k = b.k", ("a", "b")),
                ("t AS a LEFT JOIN u AS b ON a.id = b.k", ("a", "b")),
                (f"(SELECT id, k, {self.text(('d',), 1)} AS s FROM t AS d) AS a", ("a",)),
            ]
        )
        where = f" WHERE {self.condition(aliases)}" if pick([True, False]) else ""
        value = self.text(aliases)
        kind = pick(["rows", "rows", "distinct", "group", "window", "limit"])
        if kind == "distinct":
            return f"SELECT DISTINCT {aliases[0]}.k AS x, {value} AS y FROM {source}{where}"
        if kind == "group":
            having = pick(["", " HAVING count(*) > 1", " HAVING ai_query('chat', max(a.s)) <> 'no'"])
            return f"SELECT a.k AS x, max({value}) AS y FROM {source}{where} GROUP BY a.k{having}"
        if kind == "window":
            over = f"PARTITION BY {self.text(aliases, 1)} ORDER BY {', '.join(f'{alias}.id' for alias in aliases)}"
            return f"SELECT count(*) OVER ({over}) AS x, {value} AS y FROM {source}{where}"
        rows = f"SELECT a.id AS x, {value} AS y FROM {source}{where}"
        if kind == "limit":
            # Each engine has its own idea of where NULLs come, and of rows that tie.
            nulls = "NULLS LAST"
            return (
                f"SELECT x, y FROM ({rows}) AS s ORDER BY x {nulls}, y DESC {nulls} LIMIT {self._random.randint(0, 4)}"
            )
        return rows

    def statement(self) -> str:
        """One or two SELECTs, combined, with a call in them."""
        kind, one = self._random.choice(["plain", "plain", "union", "cte", "outer"]), self.select()
        if kind == "union":
            text = f"SELECT x, y FROM ({one}) AS m UNION ALL SELECT x, y FROM ({self.select()}) AS n"
        elif kind == "cte":
            text = f"WITH c AS ({one}) SELECT m.x, n.y FROM c AS m JOIN c AS n ON m.x = n.x WHERE m.y = n.y"
        else:
            text = one
        if kind == "outer" or "ai_query" not in text:
            return f"SELECT x, ai_query('chat', y) AS y FROM ({text}) AS s WHERE x IS NOT NULL"
        return text


@pytest.mark.parametrize("seed", range(STATEMENTS))
def test_a_random_select_gives_the_rows_of_a_plain_function(beside: Beside, engine: Engine, seed: int) -> None:
    grammar = Grammar(seed)
    for table in TABLES:
        columns = grammar.rows()
        beside.load(table, k=columns["k"], s=columns["s"])
    statement = grammar.statement()
    beside.evaluated.clear()
    expected = sorted(beside.plain.execute(statement).fetchall(), key=repr)
    assert sorted(engine.sql(statement), key=repr) == expected, statement
    assert engine.requests() <= len(beside.evaluated), statement
