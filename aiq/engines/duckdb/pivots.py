"""A PIVOT without IN, as DuckDB can look at it before there is a row: with a made-up value for each of its columns.

DuckDB runs such a statement as several, and the first reads rows to know the columns. Most of what may be wrong with it
(functions, tables, types, the columns it groups by) needs no row. Must never know AI calls.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import duckdb
from sqlglot import TokenType

from aiq.sql import calls

_PIVOT = ("PIVOT", "PIVOT_WIDER")
_OPEN = (TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE)
_CLOSED = (TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE)
_END_OF_PIVOT = ("ORDER", "LIMIT", "OFFSET", "UNION", "EXCEPT", "INTERSECT", ";")
_END_OF_LIST = ("USING", "GROUP", *_END_OF_PIVOT)
_VALUE = "__aiq_value"
_OF_COLUMN = re.compile(rf"Referenced (?:column|table)|have a column|column named|{_VALUE}", re.IGNORECASE)
OF_BINDING = (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException, duckdb.SyntaxException)


@dataclass
class _Parenthesis:
    """What was read of one pair of parentheses: a PIVOT, its ON list, whether an expression of that has an IN."""

    pivots: bool = False
    lists: bool = False
    has_in: bool = False


def with_values(text: str) -> str:
    """A statement whose PIVOTs all have an IN, as it is written but for those that had none."""
    levels, ends, last = [_Parenthesis()], [], 0

    def expression_ends() -> None:
        if levels[-1].lists and not levels[-1].has_in:
            ends.append(last)
        levels[-1].has_in = False

    for token in calls.tokenize(text):
        level, word = levels[-1], token.text.upper().partition(" ")[0]
        if token.token_type in _OPEN:
            levels.append(_Parenthesis())
        elif token.token_type in _CLOSED:
            expression_ends()
            del levels[max(1, len(levels) - 1) :]
        elif word in _PIVOT:
            level.pivots = True
        elif level.lists:
            level.has_in |= word == "IN"
            if word == "," or word in _END_OF_LIST:
                expression_ends()
                level.pivots = level.lists = word == ","
        elif word == "ON":
            level.lists = level.pivots
        last = token.end + 1
    expression_ends()
    return calls.replace(text, [(end, end, f" IN ('{_VALUE}')") for end in ends])


def alone(text: str) -> str | None:
    """The statement without what may read the columns that its PIVOT makes; None where it is not a PIVOT itself."""
    depth, pivots = 0, False
    for token in calls.tokenize(text):
        word = token.text.upper().partition(" ")[0]
        depth += (token.token_type in _OPEN) - (token.token_type in _CLOSED)
        if depth:
            continue
        if pivots and word in _END_OF_PIVOT:
            return text[: token.start]
        if word in ("SELECT", "FROM") and not pivots:
            return None
        pivots |= word in _PIVOT
    return text if pivots else None


def may_be_of_rows(error: duckdb.Error) -> bool:
    """Whether an error over `with_values` may not be one of the statement: its columns have other names."""
    message = str(error).partition("\nLINE ")[0]
    return not isinstance(error, OF_BINDING) or _OF_COLUMN.search(message) is not None
