# ruff: noqa: RUF012 -- tables of one line an entry, and class attributes as sqlglot wants them
"""Parses Databricks' SQL with every function call as it was written: name and arguments, nothing interpreted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from sqlglot import Token, TokenType, exp
from sqlglot.dialects.databricks import Databricks
from sqlglot.parsers.databricks import DatabricksParser

_SPECIAL = {"CAST", "TRY_CAST", "EXTRACT", "POSITION", "TRIM", "OVERLAY", "SUBSTRING", "SUBSTR"}
PLACE = "place"
"""In the meta of a `?`: which one of the text it is, from 1. What is printed twice must stay one parameter."""
_CONSTRUCTORS = {"ARRAY", "MAP", "STRUCT"}
_RANKS: dict[type[exp.Expr], int] = {
    exp.DPipe: 4, exp.BitwiseLeftShift: 3, exp.BitwiseRightShift: 3, exp.BitwiseAnd: 2, exp.BitwiseXor: 1,
    exp.BitwiseOr: 0,
}  # fmt: skip
"""How tightly Spark binds operators that sqlglot and DuckDB read from left to right."""


_BEFORE_A_COLUMN = frozenset({TokenType.SELECT, TokenType.COMMA, TokenType.GROUP_BY, TokenType.ORDER_BY})
_BEHIND_A_COLUMN = frozenset({TokenType.COMMA, TokenType.FROM, TokenType.ALIAS})


class _Dialect(Databricks):
    STRICT_JSON_PATH_SYNTAX = False  # where it would warn of a path
    UNESCAPED_SEQUENCES: dict[str, str] = {}

    class Tokenizer(Databricks.Tokenizer):
        QUOTES = ["'"]
        STRING_ESCAPES = ["'"]
        RAW_STRINGS: ClassVar[list[str | tuple[str, str]]] = []


class _QueryParser(DatabricksParser):
    """A call is an Anonymous node, except for calls with words of their own between their parentheses."""

    ARRAY_CONSTRUCTORS: ClassVar[dict[str, type[exp.Func]]] = {}  # `array(1)[0]` is an element, not an array
    FUNCTIONS: ClassVar[dict[str, Callable[..., Any]]] = {}
    FUNCTION_PARSERS = {name: parse for name, parse in DatabricksParser.FUNCTION_PARSERS.items() if name in _SPECIAL}
    NO_PAREN_FUNCTION_PARSERS = {
        name: parse
        for name, parse in DatabricksParser.NO_PAREN_FUNCTION_PARSERS.items()
        if name in ("ANY", "CASE", "IF")
    }

    PLACEHOLDER_PARSERS: ClassVar[dict[TokenType, Callable[..., Any]]] = {
        **DatabricksParser.PLACEHOLDER_PARSERS,
        TokenType.PLACEHOLDER: lambda self: _placeholder(self),
    }

    def _warn_unsupported(self) -> None:
        """A statement that sqlglot does not know goes to DuckDB as it is written, which has its own words on it."""


def _placeholder(parser: Any) -> exp.Placeholder:
    made = exp.Placeholder()
    made.meta[PLACE] = parser._prev.start
    return made


def _by_rank(top: exp.Expr) -> exp.Expr:
    """A chain of operators as Spark groups it: `a | b & c` becomes `a | (b & c)`."""
    chain: list[exp.Expr] = []
    node = top
    while type(node) in _RANKS:
        chain.append(node)
        node = node.this
    if len({_RANKS[type(each)] for each in chain}) < 2:
        return top
    values: list[exp.Expr] = [node]
    waiting: list[exp.Expr] = []
    for each in [*reversed(chain), None]:
        while waiting and (each is None or _RANKS[type(waiting[-1])] >= _RANKS[type(each)]):
            right, left = values.pop(), values.pop()
            made = type(waiting.pop())(this=left, expression=right)
            values.append(exp.Paren(this=made))
        if each is not None:
            waiting.append(each)
            values.append(each.expression)
    return values[0]


def _grouped(tree: exp.Expr) -> exp.Expr:
    for node in list(tree.find_all(*_RANKS)):
        if type(node.parent) not in _RANKS and (made := _by_rank(node)) is not node:
            if node is tree:
                return made
            node.replace(made)
    return tree


def trees(text: str) -> list[exp.Expr | None]:
    """The statements of a text of plain literals. Raises SqlglotError."""
    dialect = _Dialect()
    found: list[Token] = dialect.tokenize(text)
    for before, token, following in zip([None, *found], found, found[1:], strict=False):
        if token.text.upper() in _CONSTRUCTORS and following.token_type == TokenType.L_PAREN:
            token.token_type = TokenType.VAR  # a call, not a type: sqlglot loses the elements of `array(1)[0]`
        if (
            token.token_type == TokenType.ALL
            and before is not None
            and before.token_type in _BEFORE_A_COLUMN
            and following.token_type in _BEHIND_A_COLUMN
        ):
            token.token_type = TokenType.IDENTIFIER  # in `SELECT all, b`
    made = [None if tree is None else _grouped(tree) for tree in _QueryParser(dialect=dialect).parse(found, text)]
    waiting = [
        each for tree in made if tree is not None for each in tree.find_all(exp.Placeholder) if PLACE in each.meta
    ]
    places = sorted({each.meta[PLACE] for each in waiting})
    for each in waiting:
        each.meta[PLACE] = places.index(each.meta[PLACE]) + 1
    return made
