"""Parameters of a statement, written into its text as literals: `:name` and `?`.

Spark's own parameters stop at queries, and at the parser of Delta. Knows SQL text and Python values.
"""

from __future__ import annotations

import datetime
import decimal
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from aiq.errors import StatementError
from aiq.sql import calls

if TYPE_CHECKING:
    from sqlglot import Token

_BEFORE_VALUES = frozenset(
    {"ALL", "AND", "BETWEEN", "BY", "CASE", "DISTINCT", "ELSE", "ESCAPE", "HAVING", "ILIKE", "IN", "INTERVAL", "IS"}
    | {"LIKE", "LIMIT", "NOT", "OFFSET", "ON", "OR", "RLIKE", "SELECT", "SET", "THEN", "VALUES", "WHEN", "WHERE"}
)
Parameters = Sequence[Any] | Mapping[str, Any] | None


def with_values(text: str, params: Parameters, dialect: str) -> str:
    """A statement with a literal in the place of each parameter.

    Raises StatementError for a parameter without a value, a value without a parameter, and a value of a type that SQL
    does not know.
    """
    if params is None:
        return text
    found = places(text, dialect, named=isinstance(params, Mapping))
    values: dict[str, Any]
    if isinstance(params, Mapping):
        values = {str(name): value for name, value in params.items()}
    else:
        values = {str(position): value for position, value in enumerate(params, 1)}
    wanted = {name for _, _, name in found}
    if missing := sorted(wanted - values.keys()):
        raise StatementError(f"no value for parameter {', '.join(missing)}; params has {len(values)}")
    if extra := sorted(values.keys() - wanted):
        raise StatementError(f"params has a value for {', '.join(extra)}, which the statement does not use")
    written = [(start, end, literal(values[name])) for start, end, name in found]
    # `LIMIT:n` is two words, which the value must not make one
    apart = [(start, end, f" {words}" if text[:start][-1:].isidentifier() else words) for start, end, words in written]
    return calls.replace(text, apart)


def literal(value: Any) -> str:
    """A Python value as Spark SQL: text, numbers, dates, times, bytes, lists (arrays) and dicts (maps)."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, int):
        return str(value) if -(2**31) <= value < 2**31 else f"{value}L" if -(2**63) <= value < 2**63 else f"{value}BD"
    if isinstance(value, float):
        return f"{value!r}D" if math.isfinite(value) else f"CAST('{value}' AS DOUBLE)"
    if isinstance(value, decimal.Decimal):
        return f"{value:f}BD"
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    if isinstance(value, bytes):
        return f"X'{value.hex()}'"
    if isinstance(value, datetime.datetime):
        return f"TIMESTAMP{'_NTZ' if value.tzinfo is None else ''} '{value.isoformat(' ')}'"
    if isinstance(value, datetime.date):
        return f"DATE '{value.isoformat()}'"
    if isinstance(value, Mapping):
        return f"map({', '.join(literal(item) for pair in value.items() for item in pair)})"
    if isinstance(value, Sequence):
        return f"array({', '.join(map(literal, value))})"
    raise StatementError(f"a parameter cannot be of type {type(value).__name__}; give text, a number, a date or a list")


def places(text: str, dialect: str, *, named: bool) -> list[tuple[int, int, str]]:
    """Where parameters stand: start, end, name; `?` are numbered from 1."""
    from sqlglot import TokenType

    tokens = calls.tokenize(text, dialect)
    if not named:
        marks = [token for token in tokens if token.token_type == TokenType.PLACEHOLDER]
        return [(mark.start, mark.end + 1, str(number)) for number, mark in enumerate(marks, 1)]
    found = []
    for i, (colon, name) in enumerate(pairwise(tokens)):
        is_name = name.start == colon.end + 1 and name.text.isidentifier()
        if colon.token_type == TokenType.COLON and is_name and not _is_path(tokens, i):
            found.append((colon.start, name.end + 1, name.text))
    return found


def _is_path(tokens: Sequence[Token], i: int) -> bool:
    """Whether a colon leads into JSON, as in `column:field`, `f(x):field`, `items[0]:field`."""
    from sqlglot import TokenType

    if not i or tokens[i - 1].end + 1 != tokens[i].start:
        return False
    before = tokens[i - 1]
    closing = (TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.IDENTIFIER, TokenType.STRING)
    return before.token_type in closing or (before.text.isidentifier() and before.text.upper() not in _BEFORE_VALUES)
