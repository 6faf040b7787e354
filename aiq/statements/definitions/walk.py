"""Finds the functions that a statement calls and the tables and views that it reads, by the words around them.

Knows where names stand in SQL; must never know what they mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from aiq.errors import StatementError
from aiq.sql.words import Word, at_commas, behind_group, listed, name_at

Argument = tuple[str | None, str]
_ENDS_SELECT = ("WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "QUALIFY", "WINDOW", "OFFSET")
_ENDS_FROM = (*_ENDS_SELECT, "SET", "VALUES", "DISTRIBUTE", "CLUSTER", "SORT", "RETURNING", "WHEN", "FETCH")
_COMBINES = ("UNION", "EXCEPT", "INTERSECT", "MINUS")
_BEFORE_NO_CALL = ("FUNCTION", "INTO", "TABLE", "AS", "MACRO", "VIEW", "UPDATE", "DATABASE", "SCHEMA", ".", "::")
_NO_ALIAS = listed(
    "ON USING WHERE GROUP HAVING ORDER LIMIT QUALIFY WINDOW OFFSET JOIN LEFT RIGHT FULL INNER OUTER CROSS NATURAL SEMI "
    "ANTI ASOF POSITIONAL LATERAL UNION EXCEPT INTERSECT MINUS PIVOT UNPIVOT TABLESAMPLE SET WHEN FETCH CLUSTER SORT "
    "DISTRIBUTE RETURNING SELECT VERSION TIMESTAMP FOR AT USE FROM VALUES THEN END AND OR WITH"
)
_NOT_LAST = listed("NULL TRUE FALSE END")
_NOT_BEFORE_ALIAS = listed(
    "AND OR NOT IS IN LIKE ILIKE RLIKE BETWEEN THEN ELSE WHEN DISTINCT DIV CASE COLLATE INTERVAL ESCAPE REGEXP"
)


class Reference(NamedTuple):
    """A name that is called, or read in FROM: its parts as written, its place with the arguments.

    `arguments` are those of a call. `in_from` says that it stands where FROM reads; `aliased` that an alias follows
    there; `alone` that there is no FROM: TABLE v, DESCRIBE v.
    `item` are the first and last word, exclusive, of the column of a SELECT that it stands in.
    """

    name: tuple[str, ...]
    start: int
    end: int
    is_call: bool
    in_from: bool = False
    aliased: bool = False
    arguments: tuple[Argument, ...] = ()
    item: tuple[int, int] | None = None
    alone: bool = False


class Walked(NamedTuple):
    """What was found, in order, and the names of WITH queries in lower case."""

    references: list[Reference]
    hidden: frozenset[str]


@dataclass(slots=True)
class _Level:
    """What stands within one bracket, or the statement: in which clause we are, and since which word in a column."""

    clause: str = ""
    expecting: bool = False
    first: bool = True
    item: int = -1
    alone: int = -1
    waiting: list[int] = field(default_factory=list)


def references(text: str, found: Sequence[Word]) -> Walked:
    """The calls and the tables of a statement or an expression."""
    walk = _ReferenceWalk(text, found)
    walk.run()
    return Walked(walk.made, _with_names(found))


class _ReferenceWalk:
    def __init__(self, text: str, found: Sequence[Word]) -> None:
        self._text, self._words = text, found
        self._levels = [_Level()]
        self.made: list[Reference] = []
        self._kind = next((word.text for word in found if word.kind == "word"), "")

    def run(self) -> None:
        i = 0
        while i < len(self._words):
            i = self._step(i)
        while self._levels:
            self._end_item(len(self._words))
            self._levels.pop()

    def _step(self, i: int) -> int:
        word, level = self._words[i], self._levels[-1]
        first, level.first = level.first, False
        if word.says("(", "[", "{"):
            inner = _Level()
            if level.expecting and word.text == "(":
                inner.clause, inner.expecting = "FROM", True
            level.expecting = False
            self._levels.append(inner)
            return i + 1
        if word.says(")", "]", "}"):
            if len(self._levels) > 1:
                self._end_item(i)
                self._levels.pop()
            return i + 1
        if word.says(","):
            if level.clause == "SELECT":
                self._end_item(i)
                level.item = i + 1
            level.expecting = level.clause == "FROM"
            return i + 1
        if word.kind == "word" and self._keyword(i, word, level, first):
            return i + 1
        if word.may_name and not (i and self._words[i - 1].says(".")):
            return self._name(i, level)
        level.expecting = False
        return i + 1

    def _keyword(self, i: int, word: Word, level: _Level, first: bool) -> bool:
        """Whether a word is one that says where we are."""
        said, before = word.text, self._words[i - 1].text if i else ""
        if said == "SELECT":
            self._end_item(i)
            level.clause, level.item, level.expecting = "SELECT", i + 1, False
        elif said in ("DISTINCT", "ALL") and level.item == i:
            level.item = i + 1
        elif said == "FROM" and before not in ("DISTINCT", "DELETE"):
            outermost = len(self._levels) == 1
            if not (first or level.clause in ("SELECT", "WITH") or outermost):
                return True  # extract(year FROM x)
            self._end_item(i)
            level.clause, level.expecting = "FROM", True
        elif said in ("JOIN", "APPLY") and level.clause == "FROM":
            level.expecting = True
        elif (said == "USING" and len(self._levels) == 1 and self._kind in ("MERGE", "DELETE")) or (
            said in ("PIVOT", "UNPIVOT") and first
        ):
            level.clause, level.expecting = "FROM", True
        elif said in ("TABLE", "SUMMARIZE", "DESCRIBE", "DESC") and first:
            level.expecting, level.alone = True, self._words[i].start if said == "TABLE" else self._words[i].end
        elif said in ("LATERAL", "STREAM", "TABLE") and level.expecting:
            pass
        elif said in ("VIEW", "OUTER") and level.expecting:
            level.expecting = False
        elif said in (_ENDS_SELECT if level.clause == "SELECT" else _ENDS_FROM):
            self._end_item(i)
            level.clause, level.expecting = said, False
        elif said in _COMBINES:
            self._end_item(i)
            level.clause, level.expecting, level.first = "", False, True
        elif said in ("ALL", "BY", "NAME") and level.clause == "" and before in (*_COMBINES, "ALL", "BY"):
            level.first = True
        elif said == "WITH" and first:
            level.clause = "WITH"
        else:
            return False
        return True

    def _name(self, i: int, level: _Level) -> int:
        name, behind = name_at(self._words, i, self._text)
        called = behind < len(self._words) and self._words[behind].says("(")
        in_from, level.expecting = level.expecting, False
        if not called and not in_from:
            return behind
        start, end = self._words[i].start, self._words[behind - 1].end
        if not called:
            alone = level.alone >= 0 and self._words[i - 1].says("TABLE", "SUMMARIZE", "DESCRIBE", "DESC")
            start = level.alone if alone else start
            self.made.append(Reference(name, start, end, False, True, not alone and self._aliased(behind), alone=alone))
            return behind
        if i and self._words[i - 1].says(*_BEFORE_NO_CALL) and not in_from:
            return behind
        last = behind_group(self._words, behind)
        arguments = tuple(self._arguments(behind + 1, last - 1))
        reference = Reference(name, start, self._words[last - 1].end, True, in_from, False, arguments)
        if in_from:
            reference = reference._replace(aliased=self._aliased(last))
        self.made.append(reference)
        for outer in self._levels:
            if outer.clause == "SELECT" and not in_from:
                outer.waiting.append(len(self.made) - 1)
        return behind

    def _arguments(self, start: int, end: int) -> list[Argument]:
        found: list[Argument] = []
        for first, last in at_commas(self._words, start, end):
            name = None
            if last - first > 2 and self._words[first + 1].says("=>", ":=") and self._words[first].may_name:
                word = self._words[first]
                name = word.text if word.kind == "name" else self._text[word.start : word.end]
                first += 2
            if first == last:
                raise StatementError("a call has an empty argument; remove a comma")
            found.append((name, self._text[self._words[first].start : self._words[last - 1].end]))
        return found

    def _aliased(self, at: int) -> bool:
        if at >= len(self._words):
            return False
        word = self._words[at]
        return word.says("AS") or word.kind == "name" or (word.kind == "word" and word.text not in _NO_ALIAS)

    def _end_item(self, i: int) -> None:
        """A column of a SELECT ends before word `i`; its calls are told where it stands."""
        level = self._levels[-1]
        if level.item >= 0 and level.item < i:
            for number in level.waiting:
                if self.made[number].item is None or self._is_outermost(level):
                    self.made[number] = self.made[number]._replace(item=(level.item, i))
        level.waiting, level.item = [], -1

    def _is_outermost(self, level: _Level) -> bool:
        return False if level is not self._levels[-1] else not any(one.clause == "SELECT" for one in self._levels[:-1])


def _with_names(found: Sequence[Word]) -> frozenset[str]:
    """What WITH calls its queries: a name, perhaps columns, AS and a bracket, behind WITH or a comma."""
    names = set()
    if not any(word.says("WITH") for word in found):
        return frozenset()
    for i, word in enumerate(found):
        if not word.may_name or not i or not found[i - 1].says("WITH", "RECURSIVE", ","):
            continue
        at = i + 1
        if at < len(found) and found[at].says("("):
            at = behind_group(found, at)
        if at < len(found) and found[at].says("AS"):
            at += 1
            while at < len(found) and found[at].says("NOT", "MATERIALIZED"):
                at += 1
            if at < len(found) and found[at].says("("):
                names.add(word.text.lower())
    return frozenset(names)


def alias_of(text: str, found: Sequence[Word], start: int, end: int) -> str | None:
    """What an engine would call the column of a SELECT between two words, None where it has a name already."""
    if start >= end or (end - start > 1 and found[start].may_name and found[start + 1].says(":")):
        return None
    if found[start].says("*") or (end - start > 2 and found[start + 1].says(".") and found[start + 2].says("*")):
        return None
    depth = 0
    for word in found[start:end]:
        if word.says("COLUMNS", "EXCLUDE", "REPLACE", "EXCEPT", "RENAME") and depth == 0:
            return None
        depth += word.says("(", "[", "{") - word.says(")", "]", "}")
        if depth == 0 and word.says("AS"):
            return None
    last = found[end - 1]
    if end - start > 1 and last.may_name and last.text not in _NOT_LAST:
        before = found[end - 2]
        operator = before.kind == "word" and before.text in _NOT_BEFORE_ALIAS
        if (before.kind != "sign" and not operator) or before.says(")", "]", "}"):
            return None
    return text[found[start].start : last.end]
