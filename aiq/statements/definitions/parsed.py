"""What statements about functions and views say, as values. Knows no text and no engine."""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["FUNCTION", "VIEW", "MATERIALIZED VIEW", "STREAMING TABLE"]
Name = tuple[str, ...]


class FunctionParameter(NamedTuple):
    """A parameter of a function: its SQL type, and the SQL of its default, None where it has none."""

    name: str
    type: str
    default: str | None = None


class Create(NamedTuple):
    """A definition. `body` is its query, or what a function returns: an expression, or (`is_query`) a query.

    `returns` is a function's SQL type, None where it says none; `columns` are the names and types of the rows of a
    table function, or the names of a view's columns (their types are ''). `is_table` says that a function gives rows.
    `expected` are conditions that the rows of a table have to meet, else they are left out.
    `extra` is what of a table's clauses an engine must know (PARTITIONED BY, TBLPROPERTIES), as written.
    """

    kind: Kind
    name: Name
    body: str
    replaces: bool = False
    temporary: bool = False
    unless_there: bool = False
    parameters: tuple[FunctionParameter, ...] = ()
    returns: str | None = None
    columns: tuple[tuple[str, str], ...] = ()
    is_query: bool = False
    is_table: bool = False
    comment: str | None = None
    expected: tuple[str, ...] = ()
    extra: str = ""
    schedule: str | None = None


class Drop(NamedTuple):
    """`DROP kind [IF EXISTS] name`; kind is FUNCTION, VIEW, TABLE, MATERIALIZED VIEW or STREAMING TABLE."""

    kind: str
    name: Name
    if_exists: bool


class Alter(NamedTuple):
    """`ALTER VIEW name AS body`; `body` is None for all else that ALTER says, which is `rest`."""

    name: Name
    body: str | None
    rest: str


class Refresh(NamedTuple):
    """`REFRESH [MATERIALIZED VIEW | STREAMING TABLE | TABLE] name [FULL]`."""

    name: Name
    full: bool
    kind: str | None


class Describe(NamedTuple):
    """`DESCRIBE FUNCTION [EXTENDED] name`."""

    name: Name
    extended: bool


class Show(NamedTuple):
    """`SHOW [USER | ALL | SYSTEM] FUNCTIONS [LIKE 'pattern']`."""

    which: str
    pattern: str | None


Command = Create | Drop | Alter | Refresh | Describe | Show
