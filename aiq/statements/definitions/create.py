"""Reads the statements that define, change, drop and refresh functions and views.

One text in, one value out; None for a statement that is an engine's own. Knows no engine and keeps nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from aiq.errors import StatementError
from aiq.sql.words import DATABRICKS, Word, at_commas, behind_group, name_at, string_value, words
from aiq.statements.definitions.parsed import (
    Alter,
    Command,
    Create,
    Describe,
    Drop,
    FunctionParameter,
    Kind,
    Name,
    Refresh,
    Show,
)

_CHARACTERISTICS = ("LANGUAGE", "DETERMINISTIC", "NOT", "COMMENT", "CONTAINS", "READS", "SQL", "RETURN")
_OF_FUNCTION = re.compile(
    r"(?>\s|--[^\n]*\n|/\*.*?\*/)*+CREATE\s+(?:OR\s+REPLACE\s+)?(?:TEMP(?:ORARY)?\s+)?FUNCTION\b",
    re.IGNORECASE | re.DOTALL,
)
_STARTS_QUERY = ("SELECT", "WITH", "VALUES", "FROM", "TABLE")


def read(text: str, dialect: str) -> Command | None:
    """What a statement says, or None where it is none of these. Raises StatementError where one is not whole.

    A function with RETURN is Databricks' in either dialect: DuckDB's own (AS) are its own.
    """
    if not text.lstrip()[:1].isalpha() and not text.lstrip().startswith(("--", "/*")):
        return None
    found = words(text, DATABRICKS if _OF_FUNCTION.match(text) else dialect)
    while found and found[-1].says(";"):
        found.pop()
    if len(found) < 2 or any(word.says(";") for word in found):
        return None
    reader: dict[str, Callable[[str, Sequence[Word]], Command | None]]
    reader = {"CREATE": _create, "DROP": _drop, "ALTER": _alter, "REFRESH": _refresh, "SHOW": _show}
    reader |= {"DESCRIBE": _describe, "DESC": _describe}
    first = found[0]
    if first.kind != "word" or first.text not in reader:
        return None
    return reader[first.text](text, found)


class _Cursor:
    """Reads words one after the other."""

    def __init__(self, text: str, found: Sequence[Word]) -> None:
        self.text, self.words, self.at = text, found, 0

    def take(self, *said: str) -> bool:
        """Goes past these words, if they are next."""
        there = self.words[self.at : self.at + len(said)]
        matches = len(there) == len(said) and all(word.says(one) for word, one in zip(there, said, strict=True))
        self.at += len(said) if matches else 0
        return matches

    def next(self, *said: str) -> bool:
        """Whether one of these is next."""
        return self.at < len(self.words) and self.words[self.at].says(*said)

    def name(self) -> Name:
        parts, self.at = name_at(self.words, self.at, self.text)
        return parts

    def string(self, what: str) -> str:
        if self.at == len(self.words) or self.words[self.at].kind != "text":
            raise StatementError(f"{what} takes a text in quotes")
        word = self.words[self.at]
        self.at += 1
        return string_value(word.text)

    def group(self) -> tuple[int, int]:
        """Goes past a bracket; the places of the words in it."""
        start = self.at + 1
        self.at = behind_group(self.words, self.at)
        return start, self.at - 1

    def of(self, start: int, end: int) -> str:
        """The text from one word to another, `end` exclusive."""
        return self.text[self.words[start].start : self.words[end - 1].end] if start < end else ""

    def rest(self) -> str:
        return self.of(self.at, len(self.words))

    @property
    def done(self) -> bool:
        return self.at >= len(self.words)


def _create(text: str, found: Sequence[Word]) -> Create | None:
    cursor = _Cursor(text, found)
    cursor.take("CREATE")
    replaces = cursor.take("OR", "REPLACE")
    refreshes = not replaces and cursor.take("OR", "REFRESH")
    temporary = cursor.take("TEMP") or cursor.take("TEMPORARY")
    cursor.take("PRIVATE")  # to its pipeline; here a table is its owner's anyhow
    live = cursor.take("STREAMING", "LIVE") or cursor.take("INCREMENTAL", "LIVE")
    if live and cursor.take("VIEW"):
        kind: Kind = "VIEW"
    elif (live and cursor.take("TABLE")) or cursor.take("STREAMING", "TABLE"):
        kind = "STREAMING TABLE"
    elif cursor.take("MATERIALIZED", "VIEW") or cursor.take("LIVE", "TABLE"):
        kind = "MATERIALIZED VIEW"
    elif cursor.take("VIEW") or cursor.take("LIVE", "VIEW"):
        kind = "VIEW"
    elif cursor.take("FUNCTION"):
        return _function(cursor, replaces, temporary)
    else:
        return None
    made = Create(kind, (), "", replaces or refreshes, temporary)
    made = made._replace(unless_there=cursor.take("IF", "NOT", "EXISTS"), name=cursor.name())
    if not made.name:
        raise StatementError(f"CREATE {kind} needs a name")
    return _view(cursor, made)


def _view(cursor: _Cursor, made: Create) -> Create:
    what = f"{made.kind} {'.'.join(made.name)}"
    if cursor.next("("):
        start, end = cursor.group()
        columns = []
        for first, last in at_commas(cursor.words, start, end):
            if first < last and cursor.words[first].says("CONSTRAINT"):
                if made.kind == "VIEW":
                    raise StatementError(
                        f"{what}: a CONSTRAINT is for tables; write the condition in WHERE of its query"
                    )
                made = made._replace(expected=(*made.expected, _expected(cursor, first, last, what)))
                continue
            parts, behind = name_at(cursor.words, first, cursor.text)
            if len(parts) != 1:
                raise StatementError(f"{what}: '{cursor.of(first, last)}' is no column")
            if any(cursor.words[i].says("MASK", "GENERATED", "DEFAULT") for i in range(behind, last)):
                raise StatementError(
                    f"{what}: of a column its name, type and COMMENT are supported; leave out the rest"
                )
            columns.append((parts[0], ""))
        made = made._replace(columns=tuple(columns))
    extra: list[str] = []
    while not cursor.done and not cursor.next("AS"):
        start = cursor.at
        if cursor.take("COMMENT"):
            made = made._replace(comment=cursor.string("COMMENT"))
        elif cursor.take("WITH", "SCHEMA"):
            cursor.name()
            cursor.take("EVOLUTION")
        elif made.kind != "VIEW" and cursor.take("SCHEDULE"):
            while not cursor.done and not cursor.next("AS", "COMMENT", "TBLPROPERTIES", "CLUSTER", "PARTITIONED"):
                cursor.at += 1
            made = made._replace(schedule=cursor.of(start, cursor.at))
        elif cursor.take("TBLPROPERTIES"):
            cursor.group()
        elif made.kind != "VIEW" and (cursor.take("PARTITIONED", "BY") or cursor.take("CLUSTER", "BY")):
            by_name = cursor.next("AUTO", "NONE")
            if by_name:
                cursor.at += 1
            else:
                cursor.group()
                extra.append(cursor.of(start, cursor.at))
        elif cursor.take("USING"):
            cursor.name()
            extra.append(cursor.of(start, cursor.at))
        else:
            raise StatementError(f"{what}: '{cursor.of(start, start + 1)}' is not understood before AS; leave it out")
    if not cursor.take("AS") or cursor.done:
        raise StatementError(f"{what} has no query; write CREATE {made.kind} name AS SELECT ...")
    return made._replace(body=cursor.rest(), is_query=True, extra=" ".join(extra))


def _expected(cursor: _Cursor, first: int, last: int, what: str) -> str:
    """The condition of `CONSTRAINT name EXPECT (condition) ON VIOLATION DROP ROW`."""
    said = cursor.words[first:last]
    behind = behind_group(cursor.words, first + 3) if len(said) > 3 and said[3].says("(") else last
    action = [word.text for word in cursor.words[behind:last]]
    if behind == last or not said[2].says("EXPECT") or action != ["ON", "VIOLATION", "DROP", "ROW"]:
        raise StatementError(
            f"{what}: of constraints only CONSTRAINT name EXPECT (condition) ON VIOLATION DROP ROW is supported; leave "
            "out others, and count the rows that do not meet them in a query"
        )
    return cursor.of(first + 3, behind)


def _function(cursor: _Cursor, replaces: bool, temporary: bool) -> Create | None:
    returns_at = next((i for i, word in enumerate(cursor.words) if word.says("RETURN", "RETURNS")), None)
    if returns_at is None:
        return None  # DuckDB's macro, or a class of Spark's
    unless_there = cursor.take("IF", "NOT", "EXISTS")
    name = cursor.name()
    what = f"FUNCTION {'.'.join(name)}"
    if not name or not cursor.next("("):
        raise StatementError("CREATE FUNCTION needs a name and its parameters in parentheses: name(x STRING)")
    made = Create("FUNCTION", name, "", replaces, temporary, unless_there)
    made = made._replace(parameters=_parameters(cursor, what))
    if cursor.take("RETURNS", "TABLE"):
        made = made._replace(is_table=True, columns=_columns(cursor, what) if cursor.next("(") else ())
    elif cursor.take("RETURNS"):
        start = cursor.at
        _past_type(cursor, _CHARACTERISTICS)
        made = made._replace(returns=cursor.of(start, cursor.at))
        if not made.returns:
            raise StatementError(f"{what}: RETURNS needs a type, such as RETURNS STRING")
    while not cursor.done and not cursor.next("RETURN"):
        start = cursor.at
        if cursor.take("COMMENT"):
            made = made._replace(comment=cursor.string("COMMENT"))
        elif not any(
            cursor.take(*said.split())
            for said in (
                "LANGUAGE SQL",
                "NOT DETERMINISTIC",
                "DETERMINISTIC",
                "CONTAINS SQL",
                "READS SQL DATA",
                "SQL SECURITY DEFINER",
            )
        ):
            raise StatementError(
                f"{what}: '{cursor.of(start, min(start + 2, len(cursor.words)))}' is not understood; a function here "
                "is one of SQL: RETURNS type RETURN expression"
            )
    if not cursor.take("RETURN") or cursor.done:
        raise StatementError(f"{what} has no body; write RETURN and an expression or a query")
    if cursor.next("("):  # a query in parentheses is one without
        start, end = cursor.at + 1, behind_group(cursor.words, cursor.at)
        if end == len(cursor.words) and cursor.words[start].says(*_STARTS_QUERY) and made.is_table:
            return made._replace(body=cursor.of(start, end - 1), is_query=True)
    return made._replace(body=cursor.rest(), is_query=cursor.next(*_STARTS_QUERY))


def _parameters(cursor: _Cursor, what: str) -> tuple[FunctionParameter, ...]:
    end = behind_group(cursor.words, cursor.at) - 1
    cursor.at += 1
    found: list[FunctionParameter] = []
    while cursor.at < end:
        parts = cursor.name()
        if len(parts) != 1:
            raise StatementError(f"{what}: '{cursor.of(cursor.at, cursor.at + 1)}' is no name of a parameter")
        start = cursor.at
        _past_type(cursor, ("DEFAULT", "COMMENT", ",", ")"))
        kind, default = cursor.of(start, cursor.at), None
        if not kind:
            raise StatementError(f"{what}: the parameter {parts[0]} needs a type: {parts[0]} STRING")
        if cursor.take("DEFAULT"):
            start = cursor.at
            while cursor.at < end and not cursor.next(",", "COMMENT"):
                cursor.at = behind_group(cursor.words, cursor.at) if cursor.next("(", "[") else cursor.at + 1
            default = cursor.of(start, cursor.at)
            if not default:
                raise StatementError(f"{what}: DEFAULT of the parameter {parts[0]} has no value")
        elif found and found[-1].default is not None:
            raise StatementError(
                f"{what}: the parameter {parts[0]} needs a DEFAULT too, as {found[-1].name} before it has one"
            )
        if cursor.take("COMMENT"):
            cursor.string("COMMENT")
        if any(one.name.lower() == parts[0].lower() for one in found):
            raise StatementError(f"{what} has two parameters called {parts[0]}; rename one")
        found.append(FunctionParameter(parts[0], kind, default))
        if not cursor.take(",") and cursor.at < end:
            raise StatementError(f"{what}: '{cursor.of(cursor.at, cursor.at + 1)}' is not understood in its parameters")
    cursor.at = end + 1
    return tuple(found)


def _columns(cursor: _Cursor, what: str) -> tuple[tuple[str, str], ...]:
    end = behind_group(cursor.words, cursor.at) - 1
    cursor.at += 1
    found = []
    while cursor.at < end:
        parts = cursor.name()
        start = cursor.at
        _past_type(cursor, ("COMMENT", ",", ")"))
        kind = cursor.of(start, cursor.at)
        if len(parts) != 1 or not kind:
            raise StatementError(f"{what}: each column of RETURNS TABLE needs a name and a type")
        if cursor.take("COMMENT"):
            cursor.string("COMMENT")
        cursor.take(",")
        found.append((parts[0], kind))
    cursor.at = end + 1
    return tuple(found)


def _past_type(cursor: _Cursor, stops: Sequence[str]) -> None:
    """Goes past a type, up to one of some words that is in none of its brackets."""
    depth = 0
    while not cursor.done and not (depth == 0 and cursor.next(*stops)):
        if cursor.next("("):
            cursor.group()
            continue
        depth += cursor.next("<") - cursor.next(">")
        cursor.at += 1


def _drop(text: str, found: Sequence[Word]) -> Drop | None:
    cursor = _Cursor(text, found)
    cursor.take("DROP")
    cursor.take("TEMPORARY")
    kind = next((kind for kind in _DROPPED if cursor.take(*kind.split())), None)
    if kind is None:
        return None
    there = cursor.take("IF", "EXISTS")
    name = cursor.name()
    if cursor.next("("):  # the types of a function's parameters
        return None
    return Drop(kind, name, there) if name and cursor.done else None


_DROPPED = ("FUNCTION", "VIEW", "TABLE", "MATERIALIZED VIEW", "STREAMING TABLE")


def _alter(text: str, found: Sequence[Word]) -> Alter | None:
    cursor = _Cursor(text, found)
    cursor.take("ALTER")
    if not any(cursor.take(*kind.split()) for kind in ("VIEW", "MATERIALIZED VIEW", "STREAMING TABLE")):
        return None
    name, rest = cursor.name(), cursor.rest()
    body = cursor.rest() if cursor.take("AS") else None
    return Alter(name, body, rest) if name else None


def _refresh(text: str, found: Sequence[Word]) -> Refresh | None:
    cursor = _Cursor(text, found)
    cursor.take("REFRESH")
    kinds = ("MATERIALIZED VIEW", "STREAMING TABLE", "TABLE")
    kind = next((kind for kind in kinds if cursor.take(*kind.split())), None)
    name = cursor.name()
    full = cursor.take("FULL")
    synchronous = cursor.take("SYNC")
    if cursor.next("ASYNC"):
        raise StatementError("REFRESH .. ASYNC is not supported: a refresh runs at once; leave out ASYNC")
    return Refresh(name, full, kind) if name and cursor.done and (kind or full or synchronous) else None


def _describe(text: str, found: Sequence[Word]) -> Describe | None:
    cursor = _Cursor(text, found)
    cursor.at = 1
    if not cursor.take("FUNCTION"):
        return None
    extended = cursor.take("EXTENDED")
    name = cursor.name()
    return Describe(name, extended) if name and cursor.done else None


def _show(text: str, found: Sequence[Word]) -> Show | None:
    cursor = _Cursor(text, found)
    cursor.take("SHOW")
    which = next((which for which in ("USER", "ALL", "SYSTEM") if cursor.take(which)), "ALL")
    if not cursor.take("FUNCTIONS"):
        return None
    if cursor.take("IN") or cursor.take("FROM"):
        cursor.name()
    cursor.take("LIKE")
    if cursor.done:
        return Show(which, None)
    word = cursor.words[cursor.at]
    return Show(which, string_value(word.text) if word.kind == "text" else text[word.start : word.end])
