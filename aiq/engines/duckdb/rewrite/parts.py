"""Where the parts of a statement stand in its text, by DuckDB's grammar: its query, or what an UPDATE, DELETE or MERGE
says. Reads tokens; what it takes for a query counts only if DuckDB reads it as one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from aiq.engines.duckdb.rewrite import tree
from aiq.sql import calls

_QUERY_STARTS = ("SELECT", "WITH", "FROM", "VALUES", "TABLE", "(")
_CHANGES = ("INSERT", "UPDATE", "DELETE", "MERGE")


class Span(NamedTuple):
    """A part of a text, `end` exclusive."""

    start: int
    end: int

    def of(self, text: str) -> str:
        """The part itself."""
        return text[self.start : self.end]


class Parts(NamedTuple):
    """A statement taken apart.

    `kind` is select, create, insert, copy, update, delete or merge. `query` is the place of the query of the first
    four, None where it must not be evaluated apart: its CTEs change rows, or stand before the INSERT.
    `made` is the table, with the names before it, that a CREATE TABLE must not find there; `replaced` the one that it
    replaces, if it is a table.
    For the last three, `target` and `source` are what they read, `values` the expressions that they write, `where` the
    condition on rows (of a MERGE, ON), `whens` the WHEN clauses.
    """

    kind: str
    query: Span | None = None
    made: tuple[str, ...] | None = None
    target: Span | None = None
    source: Span | None = None
    values: tuple[Span, ...] = ()
    where: Span | None = None
    whens: tuple[When, ...] = ()
    returning: bool = False
    replaced: tuple[str, ...] | None = None


class When(NamedTuple):
    """One WHEN of a MERGE: which rows of the join it takes (matched, source, target: those of it alone)."""

    rows: str
    condition: Span | None
    values: tuple[Span, ...]


class _Word(NamedTuple):
    """A word, sign or quoted text, in capitals, and its place in the text."""

    text: str
    start: int
    end: int


def parts(text: str) -> Parts | None:
    """The parts of one statement; None for a statement of another kind, or one that is not understood."""
    split = list(_split(text))
    found = list(_outermost(split))
    if not found:
        return None
    words = [word.text for word in found]
    first, returning = words[0], "RETURNING" in words
    if first == "WITH" and (behind := _behind_ctes(words)) in _CHANGES:
        return Parts(behind.lower(), returning=returning)
    if first in (*_QUERY_STARTS, "PIVOT", "UNPIVOT"):
        made: Parts | None = Parts("select", Span(0, len(text)))
    elif first in _TAKE_APART:
        made = _TAKE_APART[first](text, found, words)
    else:
        return None
    if made is None:
        return Parts(first.lower(), returning=returning) if first in _CHANGES else None
    return made._replace(query=None) if _has_changing_cte(split) else made


def without_conflict(text: str) -> str:
    """An INSERT that does not say what a conflict does, everything else in its place; any other text as it is.

    `INSERT OR IGNORE INTO t (nope) ..`: DuckDB 2.0 takes the column, and looks for it only without OR IGNORE.
    """
    found = list(_outermost(_split(text)))
    words = [word.text for word in found]
    if words[:1] != ["INSERT"]:
        return text
    cut: list[_Word] = found[1:3] if words[1:2] == ["OR"] else []
    at = next((at for at, pair in enumerate(pairwise(words)) if pair == ("ON", "CONFLICT")), None)
    if at is not None:
        end = words.index("RETURNING", at) if "RETURNING" in words[at:] else len(words)
        cut = [*cut, _Word("", found[at].start, found[end - 1].end)]
    for word in cut:
        text = text[: word.start] + re.sub(r"\S", " ", text[word.start : word.end]) + text[word.end :]
    return text


def _has_changing_cte(split: Sequence[_Word]) -> bool:
    """Whether the query of a CTE, or what stands behind CTEs in parentheses, changes rows."""
    words = [word.text for word in split]
    open_: list[bool] = []  # whether each open parenthesis is that of a CTE's query
    of_cte = False
    for before, word in pairwise(words):
        if before == "(":
            of_cte = bool(open_) and open_[-1]
        elif before == ")":
            of_cte = bool(open_) and open_.pop()
        else:
            of_cte = False
        if of_cte and word in (*_CHANGES, "TRUNCATE"):
            return True
        if word == "(":
            open_.append(before in ("AS", "MATERIALIZED"))
    return False


def _behind_ctes(words: Sequence[str]) -> str:
    """The word behind the CTEs that a statement begins with; '' for none."""
    for at in range(2, len(words)):
        if words[at - 1] == "(" and words[at] not in ("AS", "USING", ","):
            return words[at]
    return ""


def _split(text: str) -> Iterator[_Word]:
    """All words of a text in capitals; what is quoted, or a name though it is CASE or END, has none."""
    before = ""
    for token in calls.tokenize(text):
        piece = text[token.start : token.end + 1]
        if not piece:  # what follows PREPARE or EXECUTE is one token, which has no place
            continue
        quoted = piece[0] in "'\"$" or piece[-1] in "'\""
        if quoted or (before in (".", "AS") and piece.upper() in ("CASE", "END")):
            before = ""
            yield _Word("", token.start, token.end + 1)
            continue
        start = token.start
        for one in piece.split():
            start = text.index(one, start)
            before = one.upper()
            yield _Word(before, start, start + len(one))
            start += len(one)


def _outermost(split: Iterable[_Word]) -> Iterator[_Word]:
    """The words that are in no parenthesis and in no CASE, each group of those as one word, without a last `;`."""
    depth = cases = 0
    opening = _Word("", 0, 0)
    for word in split:
        outermost = depth == 0 and cases == 0
        if word.text in ("(", "[", "{", "CASE") and outermost:
            opening = word
        if word.text in ("(", "[", "{"):
            depth += 1
        elif word.text in (")", "]", "}"):
            depth -= 1
        elif depth == 0 and word.text == "CASE":
            cases += 1
        elif depth == 0 and word.text == "END" and cases:
            cases -= 1
        elif word.text == ";" and outermost:
            return
        elif outermost:
            yield word
        if not outermost and depth == 0 and cases == 0:
            yield opening._replace(end=word.end)


def _is_query(text: str, span: Span) -> bool:
    return tree.read(span.of(text)) is not None or tree.kind_of(span.of(text)) == "MULTI"  # a PIVOT without IN


def _name(text: str, found: Sequence[_Word], at: int) -> tuple[tuple[str, ...], int]:
    """The dotted name that starts at a word, and the place of the word behind it."""
    names: list[str] = []
    while at < len(found):
        word = text[found[at].start : found[at].end]
        names.append(word[1:-1].replace('""', '"') if word.startswith('"') else word)
        if at + 1 < len(found) and found[at + 1].text == ".":
            at += 2
            continue
        return tuple(names), at + 1
    return tuple(names), at


def _create(text: str, found: Sequence[_Word], words: Sequence[str]) -> Parts | None:
    if "TABLE" not in words[:5]:
        return None
    kind = words.index("TABLE")
    if not set(words[1:kind]) <= {"OR", "REPLACE", "TEMP", "TEMPORARY", "PERSISTENT", "LOCAL", "GLOBAL", "UNLOGGED"}:
        return None
    at = kind + 1
    replaces = "REPLACE" in words[:kind]
    if words[at : at + 3] == ["IF", "NOT", "EXISTS"]:
        at += 3
    name, at = _name(text, found, at)
    if "AS" not in words[at:]:
        return None
    start = words.index("AS", at) + 1
    if start >= len(found) or words[start] not in (*_QUERY_STARTS, "PIVOT", "UNPIVOT"):
        return None
    made = Parts("create", None, None if replaces else name, replaced=name if replaces else None)
    if words[-3:] == ["WITH", "NO", "DATA"]:
        return made
    end = -3 if words[-2:] == ["WITH", "DATA"] else -1
    return made._replace(query=Span(found[start].start, found[end].end))


def _insert(text: str, found: Sequence[_Word], words: Sequence[str]) -> Parts | None:
    if "INTO" not in words[:4]:
        return None
    _, at = _name(text, found, words.index("INTO") + 1)
    if words[at : at + 1] == ["AS"]:
        at += 2
    elif at < len(found) and words[at] not in (
        "(",
        "BY",
        "SELECT",
        "WITH",
        "FROM",
        "VALUES",
        "TABLE",
        "DEFAULT",
        "SET",
    ):
        at += 1
    for start in range(at, min(at + 4, len(found))):
        if words[start] not in _QUERY_STARTS:
            continue
        ends = [
            i for i in range(start + 1, len(found)) if words[i] == "RETURNING" or words[i : i + 2] == ["ON", "CONFLICT"]
        ]
        for end in [*ends, len(found)]:
            span = Span(found[start].start, found[end - 1].end)
            if _is_query(text, span):
                return Parts("insert", span, returning="RETURNING" in words[end:])
    return None


def _copy(text: str, found: Sequence[_Word], words: Sequence[str]) -> Parts | None:
    if words[1:3] != ["(", "TO"]:
        return None
    span = Span(found[1].start + 1, found[1].end - 1)
    return Parts("copy", span) if _is_query(text, span) else None


def _clauses(words: Sequence[str], names: Sequence[str], start: int) -> dict[str, int]:
    """The places of the first of each of some words, in the order in which they are given."""
    found: dict[str, int] = {}
    for name in names:
        for at in range(start, len(words)):
            distinct = name == "FROM" and words[at - 1] == "DISTINCT"
            if words[at] == name and not distinct:
                found[name] = start = at
                break
    return found


def _between(found: Sequence[_Word], start: int, end: int) -> Span | None:
    return Span(found[start].start, found[end - 1].end) if start < end else None


def _behind(found: Sequence[_Word], clauses: dict[str, int]) -> dict[str, Span | None]:
    """What each clause says, up to the next one."""
    ends = [*clauses.values(), len(found)][1:]
    return {name: _between(found, at + 1, end) for (name, at), end in zip(clauses.items(), ends, strict=True)}


def _delete(text: str, found: Sequence[_Word], words: Sequence[str]) -> Parts | None:
    clauses = _clauses(words, ("USING", "WHERE", "RETURNING"), 2)
    target, said = _between(found, 2, min(clauses.values(), default=len(found))), _behind(found, clauses)
    if target is None:
        return None
    return Parts(
        "delete",
        target=target,
        source=said.get("USING"),
        where=said.get("WHERE"),
        returning="RETURNING" in clauses,
    )


def _update(text: str, found: Sequence[_Word], words: Sequence[str]) -> Parts | None:
    clauses = _clauses(words, ("SET", "FROM", "WHERE", "RETURNING"), 1)
    if "SET" not in clauses:
        return None
    said = _behind(found, clauses)
    target, assigned = _between(found, 1, clauses["SET"]), said["SET"]
    if target is None or assigned is None:
        return None
    values = _assigned(text, [word for word in found if assigned.start <= word.start < assigned.end])
    if values is None:
        return None
    return Parts(
        "update",
        target=target,
        source=said.get("FROM"),
        values=values,
        where=said.get("WHERE"),
        returning="RETURNING" in clauses,
    )


def _assigned(text: str, found: Sequence[_Word]) -> tuple[Span, ...] | None:
    """The values of `a = x, (b, c) = (y, z)` but for DEFAULT; None where it is written in another way."""
    values: list[Span] = []
    for words in _at_commas(found):
        equal = next((i for i, word in enumerate(words) if word.text == "="), None)
        if equal is None or equal + 1 == len(words):
            return None
        if words[0].text != "(":
            values += _expressions([words[equal + 1 :]])
            continue
        several = _at_commas(_inside(text, words[equal + 1]))
        if len(words) != 3 or words[2].text != "(" or len(several) < 2 or several[0][0].text in _QUERY_STARTS[:-1]:
            return None
        values += _expressions(several)
    return tuple(values)


def _expressions(lists: Sequence[Sequence[_Word]]) -> list[Span]:
    return [Span(words[0].start, words[-1].end) for words in lists if [word.text for word in words] != ["DEFAULT"]]


def _inside(text: str, group: _Word) -> list[_Word]:
    """The words of a group in parentheses."""
    start = group.start + 1
    inside = _outermost(_split(text[start : group.end - 1]))
    return [word._replace(start=word.start + start, end=word.end + start) for word in inside]


def _at_commas(found: Sequence[_Word]) -> list[list[_Word]]:
    lists: list[list[_Word]] = [[]]
    for word in found:
        if word.text == ",":
            lists.append([])
        else:
            lists[-1].append(word)
    return [words for words in lists if words]


def _merge(text: str, found: Sequence[_Word], words: Sequence[str]) -> Parts | None:
    clauses = _clauses(words, ("USING", "ON", "WHEN"), 2)
    if len(clauses) < 3:
        return None
    clauses["ON"] = max(at for at in range(clauses["WHEN"]) if words[at] == "ON")  # the others are of joins
    target = _between(found, 2, clauses["USING"])
    source = _between(found, clauses["USING"] + 1, clauses["ON"])
    where = _between(found, clauses["ON"] + 1, clauses["WHEN"])
    stop = next((i for i in range(clauses["WHEN"], len(found)) if words[i] == "RETURNING"), len(found))
    starts = [i for i in range(clauses["WHEN"], stop) if words[i] == "WHEN"]
    whens = [_when(text, found[start:next_]) for start, next_ in zip(starts, [*starts[1:], stop], strict=True)]
    if target is None or source is None or where is None or None in whens:
        return None
    return Parts(
        "merge",
        target=target,
        source=source,
        where=where,
        whens=tuple(when for when in whens if when is not None),
        returning=stop < len(found),
    )


def _when(text: str, found: Sequence[_Word]) -> When | None:
    words = [word.text for word in found]
    if "THEN" not in words:
        return None
    then = words.index("THEN")
    head, action = words[:then], list(found[then + 1 :])
    rows = "matched" if head[1:2] == ["MATCHED"] else "target" if head[3:5] == ["BY", "SOURCE"] else "source"
    condition = _between(found, head.index("AND") + 1, then) if "AND" in head else None
    values: tuple[Span, ...] | None = ()
    kinds = [word.text for word in action]
    if kinds[:2] == ["UPDATE", "SET"] and kinds[2:3] != ["*"]:
        values = _assigned(text, action[2:])
    elif kinds[:1] == ["INSERT"] and kinds[-2:] == ["VALUES", "("]:
        values = tuple(_expressions(_at_commas(_inside(text, action[-1]))))
    return None if values is None else When(rows, condition, values)


_TAKE_APART = {
    "CREATE": _create,
    "INSERT": _insert,
    "COPY": _copy,
    "DELETE": _delete,
    "UPDATE": _update,
    "MERGE": _merge,
}
