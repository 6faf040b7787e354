"""The statements of a script, apart. Knows where a statement ends; must never know what it does."""

from __future__ import annotations

from sqlglot import Token, TokenType
from sqlglot.dialects.databricks import Databricks
from sqlglot.errors import SqlglotError

from aiq.errors import StatementError
from aiq.sql.calls import tokenize
from aiq.sql.compound import CompoundBlock


def split(text: str, dialect: str = "duckdb") -> list[str]:
    """The statements of a script, without their semicolons; what is only comments is none.

    Raises StatementError where a string or comment does not end.
    """
    from aiq.sql.text import clean

    text = clean(text, databricks=dialect == "databricks")
    statements: list[str] = []
    start, inside, quoted = 0, False, False
    block = CompoundBlock() if dialect == "databricks" else None
    for token in _databricks_tokens(text) if dialect == "databricks" else tokenize(text):
        if token.token_type == TokenType.UNKNOWN and token.text == "`":  # which DuckDB's tokens do not take for a quote
            quoted = not quoted
        if block is not None and block.holds(token.text, is_name=token.token_type != TokenType.STRING):
            inside = True
            continue
        if token.token_type == TokenType.SEMICOLON and not quoted:
            if inside:
                statements.append(text[start : token.start].strip())
            start, inside = token.end + 1, False
        else:
            inside = True
    if inside:
        statements.append(text[start:].strip())
    return statements


def _databricks_tokens(text: str) -> list[Token]:
    """Databricks escapes quotes with a backslash, which DuckDB's tokens would take for the end of the string."""
    try:
        return list(Databricks().tokenize(text))
    except SqlglotError as error:
        raise StatementError(f"the statement cannot be read: {str(error).splitlines()[0]}") from None
