"""Where the parts of a statement stand in its text, by DuckDB's grammar: its query, or what an UPDATE, DELETE or MERGE
says. Reads tokens; what it takes for a query counts only if DuckDB reads it as one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from aiq.plan import calls, tree

_QUERY_STARTS = ("SELECT", "WITH", "FROM", "VALUES", "TABLE", "(")


class Span(NamedTuple):
    """A part of a text, `end` exclusive."""

    start: int
    end: int

    def of(self, text: str) -> str:
        """The part itself."""
        return text[self.start : self.end]


class Parts(NamedTuple):
    """A statement taken apart.

    `kind` is select, create, insert, copy, update, delete or merge. `query` is the place of the query of the first four.
    `made` is the table, with the names before it, that a CREATE TABLE must not find there; None where it replaces it.
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


class When(NamedTuple):
    """One WHEN of a MERGE: which rows of the join it takes (matched, source, target: those of it alone)."""

    rows: str
    condition: Span | None
    values: tuple[Span, ...]


class _Word(NamedTuple):
    """A token at the outermost level, with its place among all tokens. Several words that are one token are several."""

    text: str
    start: int
    end: int


def parts(text: str) -> Parts | None:
    """The parts of one statement; None for a statement of another kind, or one that is not understood."""
    found = list(_outermost(text))
    if not found:
        return None
    words = [word.text for word in found]
    first = words[0]
    if first in _QUERY_STARTS or first == "UNPIVOT" or first == "PIVOT":
        return Parts("select", Span(0, len(text)))
    if first == "CREATE":
        return _create(text, found, words)
    if first == "INSERT":
        return _insert(text, found, words)
    if first == "COPY":
        return _copy(text, found, words)
    change = {"DELETE": _delete, "UPDATE": _update, "MERGE": _merge}.get(first)
    if change is None:
        return None
    return change(text, found, words) or Parts(first.lower(), returning="RETURNING" in words)


def _outermost(text: str) -> Iterator[_Word]:
    """The tokens that are in no parenthesis and in no CASE, each group of those as one token, without a last `;`."""
    from sqlglot import TokenType

    depth = cases = 0
    opened = 0
    for token in calls.tokenize(text):
        quoted = token.token_type in (TokenType.IDENTIFIER, TokenType.STRING) or text[token.start] in "'\"$"
        word = "" if quoted else token.text.upper()
        if word in ("(", "[", "{"):
            if depth == 0 and cases == 0:
                opened = token.start
            depth += 1
        elif word in (")", "]", "}"):
            depth -= 1
            if depth == 0 and cases == 0:
                yield _Word(text[opened], opened, token.end + 1)
        elif depth:
            continue
        elif word == "CASE":
            if cases == 0:
                opened = token.start
            cases += 1
        elif cases:
            cases -= word == "END"
            if cases == 0:
                yield _Word("CASE", opened, token.end + 1)
        elif word == ";":
            return
        elif quoted:
            yield _Word("", token.start, token.end + 1)
        else:
            start = token.start
            for piece in text[token.start : token.end + 1].split():
                start = text.index(piece, start)
                yield _Word(piece.upper(), start, start + len(piece))
                start += len(piece)


def _is_query(text: str, span: Span) -> bool:
    return tree.read(span.of(text)) is not None


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
    if "TABLE" not in words[:5] or "AS" not in words:
        return None
    kind = words.index("TABLE")
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
    span = Span(found[start].start, found[-1].end)
    return Parts("create", span, None if replaces else name)


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


def _delete(text: str, found: Sequence[_Word], words: Sequence[str]) -> Parts | None:
    clauses = _clauses(words, ("USING", "WHERE", "RETURNING"), 2)
    limits = [*sorted(clauses.values()), len(found)]

    def part(name: str) -> Span | None:
        at = clauses.get(name)
        return None if at is None else _between(found, at + 1, next(limit for limit in limits if limit > at))

    target = _between(found, 2, limits[0])
    if target is None:
        return None
    return Parts("delete", target=target, source=part("USING"), where=part("WHERE"), returning="RETURNING" in clauses)


def _update(text: str, found: Sequence[_Word], words: Sequence[str]) -> Parts | None:
    clauses = _clauses(words, ("SET", "FROM", "WHERE", "RETURNING"), 1)
    if "SET" not in clauses:
        return None
    limits = [*sorted(clauses.values()), len(found)]

    def part(name: str) -> Span | None:
        at = clauses.get(name)
        return None if at is None else _between(found, at + 1, next(limit for limit in limits if limit > at))

    target, assigned = _between(found, 1, clauses["SET"]), part("SET")
    if target is None or assigned is None:
        return None
    values = _assigned([word for word in found if assigned.start <= word.start < assigned.end])
    if values is None:
        return None
    return Parts(
        "update",
        target=target,
        source=part("FROM"),
        values=values,
        where=part("WHERE"),
        returning="RETURNING" in clauses,
    )


def _assigned(found: Sequence[_Word]) -> tuple[Span, ...] | None:
    """The values of `a = x, b = y`; None where it is written in another way, such as `(a, b) = (x, y)`."""
    values: list[Span] = []
    for words in _at_commas(found):
        if len(words) < 3 or words[0].text == "(" or words[1].text not in ("=", ".", "["):
            return None
        equal = next((i for i, word in enumerate(words) if word.text == "="), None)
        if equal is None or equal + 1 == len(words):
            return None
        values.append(Span(words[equal + 1].start, words[-1].end))
    return tuple(values)


def _at_commas(found: Sequence[_Word]) -> list[list[_Word]]:
    lists: list[list[_Word]] = [[]]
    for word in found:
        if word.text == ",":
            lists.append([])
        else:
            lists[-1].append(word)
    return lists


def _merge(text: str, found: Sequence[_Word], words: Sequence[str]) -> Parts | None:
    clauses = _clauses(words, ("USING", "ON", "WHEN"), 2)
    if len(clauses) < 3:
        return None
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
    rows = "matched" if head[1:2] == ["MATCHED"] else "target" if "SOURCE" in head[:6] else "source"
    condition = _between(found, head.index("AND") + 1, then) if "AND" in head else None
    values: tuple[Span, ...] | None = ()
    kinds = [word.text for word in action]
    if kinds[:2] == ["UPDATE", "SET"] and kinds[2:3] != ["*"]:
        values = _assigned(action[2:])
    elif kinds[:1] == ["INSERT"] and "VALUES" in kinds:
        group = action[kinds.index("VALUES") + 1]
        inside = list(_outermost(text[group.start + 1 : group.end - 1]))
        moved = [word._replace(start=word.start + group.start + 1, end=word.end + group.start + 1) for word in inside]
        values = tuple(Span(one[0].start, one[-1].end) for one in _at_commas(moved) if one)
    return None if values is None else When(rows, condition, values)
