"""Aggregates, windows and subqueries within macros, which DuckDB chooses by types, and those have none until it binds.

A text of one is printed by a function that looks at values. For all else it is the item of a list that has a type when
the macro over it is chosen: `list_transform([max(d)], lambda v: timestamp(v))[1]`.
"""

from __future__ import annotations

from sqlglot import Token, TokenType
from sqlglot.dialects.duckdb import DuckDB

from aiq.sql.databricks.macros import FUNCTION, SCHEMA, typed_places

OVER_ROWS = frozenset(
    {
        "sum",
        "count",
        "count_star",
        "avg",
        "min",
        "max",
        "first",
        "last",
        "any_value",
        "median",
        "list",
        "string_agg",
        "max_by",
        "min_by",
        "stddev",
        "stddev_samp",
        "stddev_pop",
        "variance",
        "var_samp",
        "var_pop",
        "bool_or",
        "bool_and",
        "count_if",
        "quantile_cont",
        "bit_and",
        "bit_or",
        "bit_xor",
        "grouping",
        "over",
        "select",
    }
)
"""Functions and words of DuckDB's that compute something of several rows."""

_OF_ANY = {"joined": f"{FUNCTION}text", "text": f"{FUNCTION}text", "item_texts": f"{SCHEMA}.each_text"}
"""Macros that see types, and what takes a value of any type in their place."""


_BRACKETS = {TokenType.L_PAREN: 1, TokenType.L_BRACKET: 1, TokenType.L_BRACE: 1,
             TokenType.R_PAREN: -1, TokenType.R_BRACKET: -1, TokenType.R_BRACE: -1}  # fmt: skip


def with_typed_aggregates(text: str) -> str:
    """A translated text in which DuckDB knows the types of aggregates, windows and subqueries that macros are over."""
    if SCHEMA not in text:
        return text
    tokens = DuckDB().tokenize(text)
    for i in reversed(range(len(tokens) - 3)):  # what is within another first
        if tokens[i].text != SCHEMA:
            continue
        tried = i > 1 and tokens[i - 1].token_type == TokenType.L_PAREN and tokens[i - 2].text.upper() == "TRY"
        is_chosen = tried or tokens[i + 2].text in _OF_ANY or tokens[i + 2].text in typed_places()
        if is_chosen and _asks_rows(tokens, i + 3):
            text = _with_type(text, tokens[i - 2 if tried else i].start, tried)
    return text


def _with_type(text: str, start: int, tried: bool) -> str:
    """The text with a type for what the macro at a place is given; `tried` is whether that is all of a TRY."""
    tokens = DuckDB().tokenize(text[start:])
    opening = 5 if tried else 3
    name = tokens[opening - 1].text
    if name in _OF_ANY:
        place = start + tokens[opening - 3].start
        return f"{text[:place]}{_OF_ANY[name]}{text[start + tokens[opening - 1].end + 1 :]}"
    arguments, closing = _arguments(text[start:], tokens, opening)
    end = start + tokens[closing].end + 1
    if tried:
        if closing + 1 >= len(tokens) or tokens[closing + 1].token_type != TokenType.R_PAREN:
            return text
        end = start + tokens[closing + 1].end + 1
    places = range(len(arguments)) if tried else typed_places().get(name, ())
    rows = [place for place in places if place < len(arguments) and _asks_rows(_tokens(arguments[place]), 0)]
    if not rows:
        return text
    value = f"aiq_r{start}"
    if len(rows) == 1:
        items = arguments[rows[0]]
        arguments[rows[0]] = value
    else:
        items = "{" + ", ".join(f"'v{place}': {arguments[place]}" for place in rows) + "}"
        for place in rows:  # HAVING takes a field behind a dot for a column
            arguments[place] = f"struct_extract({value}, 'v{place}')"
    made = f"{SCHEMA}.{name}({', '.join(arguments)})"
    made = f"TRY({made})" if tried else made
    return f"{text[:start]}list_transform([{items}], lambda {value}: {made})[1]{text[end:]}"


def _tokens(argument: str) -> list[Token]:
    return DuckDB().tokenize(f"({argument})")


def _arguments(text: str, tokens: list[Token], opening: int) -> tuple[list[str], int]:
    """The texts of the arguments behind a parenthesis, and where that is closed."""
    found, depth, begin = [], 0, tokens[opening].end + 1
    for i in range(opening, len(tokens)):
        depth += _BRACKETS.get(tokens[i].token_type, 0)
        if depth == 0 or (depth == 1 and tokens[i].token_type == TokenType.COMMA):
            found.append(text[begin : tokens[i].start].strip())
            begin = tokens[i].end + 1
        if depth == 0:
            return found, i
    return found, len(tokens) - 1


def with_texts_of_outer_columns(text: str) -> str:
    """A query of LATERAL in which every `joined(x)` is `text(x)`: over a column of the query around it, DuckDB binds no
    macro of several forms there.
    """
    for name, made in {**_OF_ANY, "piece": f"{SCHEMA}.any_piece"}.items():
        text = text.replace(f"{SCHEMA}.{name}(", f"{made}(")
    return text


def _asks_rows(tokens: list[Token], opening: int) -> bool:
    """Whether there is an aggregate, a window or a subquery within a parenthesis."""
    depth = 0
    for i in range(opening, len(tokens)):
        kind = tokens[i].token_type
        depth += (kind == TokenType.L_PAREN) - (kind == TokenType.R_PAREN)
        if depth == 0:
            return False
        name = tokens[i].text.lower()
        if name in OVER_ROWS and kind not in (TokenType.STRING, TokenType.IDENTIFIER):
            return True
    return False
