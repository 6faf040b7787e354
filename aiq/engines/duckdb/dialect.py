"""The spelling of an AI call's arguments: Databricks' named_struct, array, map and 0.0D in DuckDB's words.

Whole statements of Databricks are translated in `aiq.sql.databricks`.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from aiq.errors import FunctionError, StatementError
from aiq.functions.types import parse_type

if TYPE_CHECKING:
    from sqlglot import Generator, Parser, Token, exp

_DATABRICKS_ONLY = {"named_struct", "array", "map", "struct"}
_LEFT_OUT = ("Hints are not supported", "Unsupported property")
"""What sqlglot leaves out of a statement without changing its rows: hints, and how Databricks is to store a table."""
_SUFFIXES = {"D", "L", "S", "Y", "F", "BD"}


def _spelled(text: str) -> str:
    """A query of one argument as DuckDB reads it.

    Raises StatementError where sqlglot cannot read it, or says that a part of it would be lost.
    """
    from sqlglot.errors import SqlglotError

    parser, generator = _translators()
    statements: list[str] = []
    try:
        trees = parser.parse(parser.dialect.tokenize(text), text)
    except SqlglotError as error:
        raise StatementError(f"the statement cannot be read as Databricks SQL: {_first_line(error)}") from None
    for tree in trees:
        if tree is not None:
            statements.append(generator.generate(tree.transform(_from_json), copy=False))
            if lost := [words for words in generator.unsupported_messages if not words.startswith(_LEFT_OUT)]:
                raise StatementError(
                    f"the statement cannot be translated from Databricks SQL: {lost[0].strip().rstrip('.')}; write "
                    "that part in DuckDB's SQL, or run the statement on Spark"
                )
    return ";\n".join(statements)


def _translators() -> tuple[Parser, Generator]:
    """A parser of Databricks' SQL and a generator of DuckDB's that write to no log."""
    from sqlglot import ErrorLevel
    from sqlglot.dialects.databricks import Databricks
    from sqlglot.dialects.duckdb import DuckDB
    from sqlglot.parsers.databricks import DatabricksParser

    class Quiet(DatabricksParser):
        def _warn_unsupported(self) -> None:
            """A statement that sqlglot does not know goes to DuckDB as it is written, which has its own words on it."""

    source, target = Databricks(), DuckDB()
    source.STRICT_JSON_PATH_SYNTAX = target.STRICT_JSON_PATH_SYNTAX = False  # where it would warn of a path
    return Quiet(dialect=source), target.generator(unsupported_level=ErrorLevel.IGNORE)


def expression_to_duckdb(text: str, tokens: list[Token]) -> str:
    """An argument's text, translated only where it uses a spelling that DuckDB does not have."""
    from sqlglot import TokenType

    ours = {TokenType.L_BRACKET, TokenType.SELECT}  # map([..], [..]) and array(SELECT ..) are DuckDB's own
    spelled = any(
        name.text.lower() in _DATABRICKS_ONLY
        and opening.token_type == TokenType.L_PAREN
        and first.token_type not in ours
        for name, opening, first in zip(tokens, tokens[1:], tokens[2:], strict=False)
    )
    suffixed = any(
        number.token_type == TokenType.NUMBER and letter.start == number.end + 1 and letter.text.upper() in _SUFFIXES
        for number, letter in pairwise(tokens)
    )
    if not spelled and not suffixed:
        return text
    translated = _spelled(f"SELECT {text}")
    return translated.removeprefix("SELECT ")


def _from_json(node: exp.Expr) -> exp.Expr:
    """`from_json(text, '<DDL>')` takes a JSON description of the type in DuckDB."""
    from sqlglot import exp

    schema = node.args.get("expression") if isinstance(node, exp.FromJson) else None
    if not (isinstance(schema, exp.Literal) and schema.is_string):
        return node
    try:
        structure = json.dumps(_structure(parse_type(schema.this)))
    except FunctionError:
        return node  # already DuckDB's own form
    return exp.Anonymous(this="from_json", expressions=[node.this, exp.Literal.string(structure)])


def _structure(kind: pa.DataType) -> Any:
    """DuckDB's JSON structure of a type: names as text, lists in brackets, structs as objects."""
    from aiq.functions.types import duckdb_type

    if pa.types.is_struct(kind):
        return {field.name: _structure(field.type) for field in kind}
    if pa.types.is_list(kind):
        return [_structure(kind.value_type)]
    return duckdb_type(kind)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
