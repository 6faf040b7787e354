"""Texts of aggregates and windows: macros cannot see their types, so a function that looks at values prints them."""

from __future__ import annotations

from sqlglot import Token, TokenType
from sqlglot.dialects.duckdb import DuckDB

from aiq.sql.databricks.macros import FUNCTION, SCHEMA

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


def with_texts_of_aggregates(text: str) -> str:
    """A translated text in which `joined(count(*))` is `text(count(*))` of `values.py`: it has a text for any type."""
    if SCHEMA not in text:
        return text
    tokens = DuckDB().tokenize(text)
    places = [
        (tokens[i].start, tokens[i + 2].end + 1, _OF_ANY[tokens[i + 2].text])
        for i in range(len(tokens) - 3)
        if tokens[i].text == SCHEMA and tokens[i + 2].text in _OF_ANY and _asks_rows(tokens, i + 3)
    ]
    for start, end, name in reversed(places):
        text = f"{text[:start]}{name}{text[end:]}"
    return text


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
