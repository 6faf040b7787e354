"""Databricks' SQL in DuckDB's words: whole statements on request, and the spelling of an AI call's arguments always.

sqlglot does the translation; what it leaves behind (from_json with a DDL schema) is finished here.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from aiq.errors import FunctionError, StatementError
from aiq.functions.types import parse_type

if TYPE_CHECKING:
    from sqlglot import Token, exp

_DATABRICKS_ONLY = {"named_struct", "array", "map", "struct"}
_SUFFIXES = {"D", "L", "S", "Y", "F", "BD"}


def to_duckdb(text: str) -> str:
    """A Databricks statement as DuckDB reads it. Raises StatementError where sqlglot cannot read it."""
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        trees = sqlglot.parse(text, read="databricks")
    except SqlglotError as error:
        raise StatementError(f"the statement cannot be read as Databricks SQL: {_first_line(error)}") from None
    return ";\n".join(tree.transform(_from_json).sql(dialect="duckdb") for tree in trees if tree is not None)


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
    translated = to_duckdb(f"SELECT {text}")
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
