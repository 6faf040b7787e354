"""Finds AI calls and table names in a statement's text and replaces them in place, leaving all other text untouched.

Works on sqlglot's tokens, so whatever DuckDB's own parser takes around a call is never rewritten by another parser.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, lru_cache
from typing import NamedTuple

from sqlglot import Token, TokenType
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import SqlglotError

from aiq.errors import StatementError
from aiq.functions.signature import FUNCTION

_KEPT_CHARACTERS = 20_000
"""Of a text whose tokens are kept."""


class Argument(NamedTuple):
    """One argument as written: its name (None if positional) and its text with everything nested in it."""

    name: str | None
    text: str


class Call(NamedTuple):
    """One `ai_query(...)`, `start` to `end` (exclusive) in the text it was found in.

    `is_column` is true where it is by itself a column of a SELECT, without an alias: then `text` names the column.
    """

    start: int
    end: int
    arguments: list[Argument]
    text: str
    is_column: bool = False


class ParameterPlace(NamedTuple):
    """A `?`, `$1` or `$name` of a prepared statement. `name` is '1', '2', ... or the given name."""

    start: int
    end: int
    name: str


def tokenize(text: str, dialect: str = "duckdb") -> list[Token]:
    """The tokens of a statement. Raises StatementError where a string or comment does not end.

    A statement's text is read several times on its way; the tokens of the latest short ones are kept.
    """
    return _tokens(text, dialect).copy() if len(text) <= _KEPT_CHARACTERS else _read_tokens(text, dialect)


@lru_cache(maxsize=16)
def _tokens(text: str, dialect: str) -> list[Token]:
    return _read_tokens(text, dialect)


def _read_tokens(text: str, dialect: str) -> list[Token]:
    try:
        return list(Dialect.get_or_raise(dialect).tokenize(text))
    except SqlglotError as error:
        raise StatementError(f"the statement cannot be read: {str(error).splitlines()[0]}") from None


def words(text: str) -> tuple[str, ...]:
    """What a text says apart from blanks, comments and the case of its names: texts of the same words mean the same."""
    quoted = (TokenType.IDENTIFIER, TokenType.STRING)
    pieces = [(token, text[token.start : token.end + 1]) for token in tokenize(text)]
    return tuple(
        piece
        if token.token_type in quoted or piece[0] in "'\"$" or piece[-1] == "'"
        else " ".join(piece.lower().split())
        for token, piece in pieces
    )


def statements(text: str, tokens: Sequence[Token]) -> int:
    """How many statements a text holds; empty ones do not count."""
    count, inside = 0, False
    for token in tokens:
        if token.token_type == TokenType.SEMICOLON:
            inside = False
        elif not inside:
            count, inside = count + 1, True
    return count


def identifiers(tokens: Iterable[Token]) -> set[str]:
    """All words of a statement that may be names, as written; keywords may be."""
    return {token.text for token in tokens if token.token_type != TokenType.STRING and token.text.isidentifier()}


def has_backticks(tokens: Iterable[Token]) -> bool:
    """True for a text that only Databricks' dialect can mean."""
    return any(token.token_type == TokenType.UNKNOWN and token.text == "`" for token in tokens)


def is_closed(tokens: Iterable[Token]) -> bool:
    """Whether a text closes each parenthesis and bracket that it opens, and no other."""
    types = _types()
    depth = 0
    for token in tokens:
        depth += (token.token_type in types.opening) - (token.token_type in types.closing)
        if depth < 0:
            return False
    return depth == 0


IsName = Callable[[str], bool]


def is_function(name: str) -> bool:
    """Whether a name is that of an AI function, as people write it."""
    return name.lower() == FUNCTION


def find_calls(text: str, tokens: Sequence[Token], is_name: IsName = is_function) -> list[Call]:
    """The outermost calls, in order. Raises StatementError for a call whose parenthesis does not close."""
    types = _types()
    calls: list[Call] = []
    selecting = [False]  # whether each open parenthesis, and the statement, is in the columns of a SELECT
    i = 0
    while i + 1 < len(tokens):
        kind = tokens[i].token_type
        if _is_call(tokens, i, is_name):
            call, before = _call(text, tokens, i), tokens[i - 1].token_type if i else None
            while i < len(tokens) and tokens[i].start < call.end:
                i += 1
            alone = i == len(tokens) or tokens[i].token_type in types.after_column
            calls.append(call._replace(is_column=selecting[-1] and before in types.before_column and alone))
            continue
        if kind in types.opening:
            selecting.append(False)
        elif kind in types.closing and len(selecting) > 1:
            selecting.pop()
        elif kind == types.select:
            selecting[-1] = True
        elif kind in types.clauses:
            selecting[-1] = False
        i += 1
    return calls


def _is_call(tokens: Sequence[Token], i: int, is_name: IsName) -> bool:
    types = _types()
    token = tokens[i]
    return (
        token.token_type in types.names
        and is_name(token.text)
        and tokens[i + 1].token_type == types.open
        and (i == 0 or tokens[i - 1].token_type != types.dot)
    )


class _Types(NamedTuple):
    names: frozenset[object]
    open: object
    close: object
    dot: object
    opening: frozenset[object]
    closing: frozenset[object]
    comma: object
    arrows: frozenset[object]
    select: object
    clauses: frozenset[object]
    before_column: frozenset[object]
    after_column: frozenset[object]


@cache
def _types() -> _Types:
    clauses = {
        TokenType.FROM,
        TokenType.WHERE,
        TokenType.GROUP_BY,
        TokenType.HAVING,
        TokenType.QUALIFY,
        TokenType.ORDER_BY,
        TokenType.LIMIT,
        TokenType.WINDOW,
        TokenType.UNION,
        TokenType.EXCEPT,
    }
    clauses |= {TokenType.INTERSECT, TokenType.SEMICOLON}
    return _Types(
        frozenset({TokenType.VAR, TokenType.IDENTIFIER}),
        TokenType.L_PAREN,
        TokenType.R_PAREN,
        TokenType.DOT,
        frozenset({TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE}),
        frozenset({TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE}),
        TokenType.COMMA,
        frozenset({TokenType.FARROW, TokenType.COLON_EQ}),
        TokenType.SELECT,
        frozenset(clauses),
        frozenset({TokenType.SELECT, TokenType.DISTINCT, TokenType.COMMA}),
        frozenset(clauses | {TokenType.COMMA, TokenType.R_PAREN}),
    )


def _call(text: str, tokens: Sequence[Token], i: int) -> Call:
    """The call whose name is token `i`, with its arguments split at the commas of its own level."""
    types = _types()
    depth, first = 0, i + 2
    arguments: list[Argument] = []

    def finish(last: int) -> None:
        if last < first:
            if arguments or (last + 1 < len(tokens) and tokens[last + 1].token_type == types.comma):
                raise StatementError(f"{FUNCTION} has an empty argument; remove a comma")
            return
        if not arguments and first < last and tokens[first].text.upper() in ("DISTINCT", "ALL"):
            raise StatementError(f"{FUNCTION} is a function of one row; it takes no {tokens[first].text.upper()}")
        name, begin = None, first
        if first + 1 <= last and tokens[first + 1].token_type in types.arrows:
            name, begin = tokens[first].text, first + 2
            if begin > last:
                raise StatementError(f"{FUNCTION} has no value for its argument {name}")
        arguments.append(Argument(name, text[tokens[begin].start : tokens[last].end + 1]))

    for j in range(i + 1, len(tokens)):
        kind = tokens[j].token_type
        if kind in types.opening:
            depth += 1
        elif kind in types.closing:
            depth -= 1
            if depth == 0:
                finish(j - 1)
                start, end = tokens[i].start, tokens[j].end + 1
                return Call(start, end, arguments, text[start:end])
        elif kind == types.comma and depth == 1:
            finish(j - 1)
            first = j + 1
    raise StatementError(f"{FUNCTION}( is not closed; add the missing parenthesis")


def _three_part_names(tokens: Sequence[Token]) -> Iterator[tuple[int, str]]:
    """Names of the form `a.b.c`, in lower case, with the position of their first token."""
    dot = _types().dot
    for i in range(len(tokens) - 4):
        dotted = tokens[i + 1].token_type == dot and tokens[i + 3].token_type == dot
        if dotted and (i == 0 or tokens[i - 1].token_type != dot):
            yield i, ".".join(tokens[j].text for j in (i, i + 2, i + 4)).lower()


def has_three_part_name(tokens: Sequence[Token]) -> bool:
    """Whether a statement names anything as `a.b.c`, as the ledger's tables are named."""
    return next(_three_part_names(tokens), None) is not None


def find_tables(tokens: Sequence[Token], names: Iterable[str]) -> list[tuple[int, int, str]]:
    """Where three-part table names of the ledger stand: (start, end, name as the ledger spells it)."""
    known = {name.lower(): name for name in names}
    return [
        (tokens[i].start, tokens[i + 4].end + 1, known[name]) for i, name in _three_part_names(tokens) if name in known
    ]


def find_unknown_tables(tokens: Sequence[Token], names: Iterable[str]) -> list[str]:
    """Three-part names in the schemas of the ledger that no table of the ledger has."""
    known = {name.lower() for name in names}
    schemas = ("system.aiq.", "system.serving.", "system.ai_gateway.")
    return [name for _, name in _three_part_names(tokens) if name.startswith(schemas) and name not in known]


def find_parameters(tokens: Sequence[Token]) -> list[ParameterPlace]:
    """The parameters of a prepared statement, in order; a `?` is numbered by its place."""
    found: list[ParameterPlace] = []
    number = 0
    for i, token in enumerate(tokens):
        follower = tokens[i + 1] if i + 1 < len(tokens) else None
        adjacent = follower is not None and follower.start == token.end + 1
        if token.token_type == TokenType.PARAMETER and adjacent and follower is not None:
            found.append(ParameterPlace(token.start, follower.end + 1, follower.text))
        elif token.token_type == TokenType.PLACEHOLDER:
            if adjacent and follower is not None and follower.token_type == TokenType.NUMBER:
                found.append(ParameterPlace(token.start, follower.end + 1, follower.text))
            else:
                number += 1
                found.append(ParameterPlace(token.start, token.end + 1, str(number)))
        elif token.token_type == TokenType.QDCOLON:  # `?::`, which in DuckDB is a parameter and its cast
            number += 1
            found.append(ParameterPlace(token.start, token.start + 1, str(number)))
    return found


def replace(text: str, replacements: Iterable[tuple[int, int, str]]) -> str:
    """The text with some of its parts, which do not overlap, replaced."""
    pieces, position = [], 0
    for start, end, new in sorted(replacements):
        pieces += [text[position:start], new]
        position = end
    return "".join([*pieces, text[position:]])


def rewrite_calls(text: str, compile_call: Callable[[Call], str], *, dialect: str = "duckdb") -> str:
    """Every call replaced by what `compile_call` makes of it, the inner ones first."""

    def rewritten(argument: Argument) -> Argument:
        return argument._replace(text=rewrite_calls(argument.text, compile_call, dialect=dialect))

    return replace(
        text,
        [
            (call.start, call.end, compile_call(call._replace(arguments=list(map(rewritten, call.arguments)))))
            for call in find_calls(text, tokenize(text, dialect))
        ],
    )
