"""Whether a statement that DuckDB has run gave back rows, or only DuckDB's `Count` of changes or its empty `Success`.

Knows what DuckDB's own parser says of a statement; must never know AI calls.
"""

from __future__ import annotations

from collections.abc import Sequence, Sized

import duckdb
from sqlglot import TokenType

from aiq.engines.duckdb.rewrite.parts import parts
from aiq.sql import calls

_OF_NO_ROWS = (["Count"], ["Success"])
_CHANGES = ("INSERT", "UPDATE", "DELETE", "MERGE_INTO")
_SAYS_SUCCESS = ("PRAGMA", "CALL", "MULTI")
"""What may answer with `Success` and no row, though it may also have rows: CHECKPOINT is a CALL, COPY FROM DATABASE a
PRAGMA, and a statement over a PIVOT without IN is several."""


def has_rows(con: duckdb.DuckDBPyConnection, text: str, columns: Sequence[str], rows: Sized) -> bool:
    """Whether the statement `text`, which gave back `rows` of these `columns`, has rows: SELECT, SHOW, RETURNING, ...

    A SELECT of no row has rows; INSERT without RETURNING, CREATE, SET, COPY, BEGIN and the like have none.
    """
    if list(columns) not in _OF_NO_ROWS:
        return True
    kind = con.extract_statements(text)[0].type.name
    if kind == "EXECUTE":
        return has_rows(con, prepared_as(con, text), columns, rows)
    if kind in _CHANGES:
        return _has_returning(text)
    if kind == "MULTI" and (made := parts(text)) is not None and made.kind != "select":  # CREATE TABLE AS PIVOT, COPY
        return made.returning
    return kind == "SELECT" or (kind in _SAYS_SUCCESS and (list(columns) == ["Count"] or len(rows) > 0))


def prepared_as(con: duckdb.DuckDBPyConnection, text: str) -> str:
    """The statement that an EXECUTE runs."""
    name = calls.tokenize(calls.tokenize(text)[1].text)[0].text  # all that follows EXECUTE is one token
    query = "SELECT statement FROM duckdb_prepared_statements() WHERE lower(name) = lower(?)"
    statement: str = con.execute(query, [name]).fetchall()[0][0]
    return statement


def _has_returning(text: str) -> bool:
    """Whether a statement that changes rows has a RETURNING of its own: the word is reserved but after AS or a dot."""
    depth, before = 0, None
    for token in calls.tokenize(text):
        kind = token.token_type
        if kind == TokenType.RETURNING and not depth and before not in (TokenType.ALIAS, TokenType.DOT):
            return True
        depth += (kind == TokenType.L_PAREN) - (kind == TokenType.R_PAREN)
        before = kind
    return False
