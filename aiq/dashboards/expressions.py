"""The expressions of widgets' fields, as Databricks SQL: what only dashboards know is replaced, by places in the text.

``COUNT(`*`)`` becomes `COUNT(*)`, ``BIN_FLOOR(`x`, 5)`` becomes `(FLOOR((x) / (5)) * (5))`, and a column that the
dataset defines by an expression, or ``MEASURE(`x`)`` of it, becomes that expression.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from sqlglot import Token, TokenType

from aiq.errors import AiqError
from aiq.sql import calls
from aiq.sql.reading_only import only_reads

_AGGREGATES = frozenset(
    (
        "any_value", "approx_count_distinct", "approx_percentile", "approx_top_k", "array_agg", "avg",
        "bit_and", "bit_or", "bit_xor", "bool_and", "bool_or", "collect_list", "collect_set", "corr", "count",
        "count_if", "covar_pop", "covar_samp", "every", "first", "first_value", "grouping", "histogram_numeric",
        "kurtosis", "last", "last_value", "listagg", "max", "max_by", "mean", "median", "min", "min_by", "mode",
        "percentile", "percentile_approx", "percentile_cont", "percentile_disc", "regr_avgx", "regr_avgy",
        "regr_count", "regr_intercept", "regr_r2", "regr_slope", "regr_sxx", "regr_sxy", "regr_syy", "skewness",
        "some", "std", "stddev", "stddev_pop", "stddev_samp", "string_agg", "sum", "try_avg", "try_sum",
        "var_pop", "var_samp", "variance",
    )
)  # fmt: skip
_BINS = ("BIN_FLOOR", "BIN")
_DEEPEST = 20
_PLAIN = re.compile(
    r"(?P<all>COUNT\s*\(\s*\*\s*\))|(?:(?P<function>SUM|MIN|MAX|COUNT)\s*\(\s*)?`(?P<column>(?:[^`]|``)+)`"
    r"(?(function)\s*\))",
    re.IGNORECASE,
)
_WIDTH = re.compile(r"(?i)bin(?:_floor)?\s*\(.*?,\s*(?:binWidth\s*=\s*)?(?P<width>\d+(?:\.\d+)?)\s*\)", re.DOTALL)


def to_sql(expression: str, columns: Mapping[str, str], depth: int = 0) -> str:
    """An expression of a field as Databricks SQL. Raises AiqError for one that is none."""
    if depth > _DEEPEST:
        raise AiqError("the columns of the dataset are defined by each other, without end")
    if not expression.strip():
        raise AiqError("a field of the widget has no expression")
    tokens = calls.tokenize(expression, "databricks")
    replaced: list[tuple[int, int, str]] = []
    at = 0
    while at < len(tokens):
        token, name = tokens[at], tokens[at].text
        called = at + 1 < len(tokens) and tokens[at + 1].token_type is TokenType.L_PAREN
        column = columns.get(name)
        if called and token.token_type is not TokenType.STRING and name.upper() in ("MEASURE", *_BINS):
            end, arguments = _arguments(expression, tokens, at + 1)
            if name.upper() == "MEASURE" and len(arguments) == 1:
                inner = arguments[0].strip().strip("`")
                text = f"({to_sql(columns[inner], columns, depth + 1)})" if inner in columns else None
                if text is None:
                    raise AiqError(f"the dataset defines no measure {inner}")
            elif len(arguments) == 2:
                value = to_sql(arguments[0], columns, depth + 1)
                width = arguments[1].split("=")[-1].strip()
                text = f"(FLOOR(({value}) / ({width})) * ({width}))"
            else:
                raise AiqError(f"{name} takes a column and a width: {expression}")
            replaced.append((token.start, tokens[end].end + 1, text))
            at = end
        elif token.token_type is TokenType.IDENTIFIER and name == "*":
            replaced.append((token.start, token.end + 1, "*"))
        elif column is not None and not called and _stands_alone(tokens, at):
            replaced.append((token.start, token.end + 1, f"({to_sql(column, columns, depth + 1)})"))
        at += 1
    return calls.replace(expression, replaced)


def _stands_alone(tokens: Sequence[Token], at: int) -> bool:
    """Whether a name is a column: no string, and no part of a longer name."""
    if tokens[at].token_type not in (TokenType.IDENTIFIER, TokenType.VAR):
        return False
    return not (at and tokens[at - 1].token_type is TokenType.DOT)


def _arguments(text: str, tokens: Sequence[Token], opening: int) -> tuple[int, list[str]]:
    """The place of the closing parenthesis, and the texts between the commas. Raises AiqError where it is missing."""
    depth, start = 0, tokens[opening].end + 1
    found: list[str] = []
    for at in range(opening, len(tokens)):
        kind = tokens[at].token_type
        if kind is TokenType.L_PAREN:
            depth += 1
        elif kind is TokenType.R_PAREN:
            depth -= 1
            if depth == 0:
                return at, [*found, text[start : tokens[at].start]]
        elif kind is TokenType.COMMA and depth == 1:
            found.append(text[start : tokens[at].start])
            start = tokens[at].end + 1
    raise AiqError(f"a parenthesis is not closed: {text}")


def is_aggregate(text: str) -> bool:
    """Whether an expression stands for many rows: it calls an aggregate that is no window function."""
    tokens = calls.tokenize(text, "databricks")
    for at, token in enumerate(tokens[:-1]):
        if token.token_type is TokenType.STRING or token.text.lower() not in _AGGREGATES:
            continue
        if tokens[at + 1].token_type is TokenType.L_PAREN:
            end, _ = _arguments(text, tokens, at + 1)
            after = [each.text.upper() for each in tokens[end + 1 : end + 3]]
            if after[:1] != ["OVER"]:
                return True
    return False


def same_in_duckdb(text: str, kinds: Mapping[str, str]) -> str | None:
    """An expression of Databricks SQL as DuckDB's, where both give the same values: a column, or SUM, MIN, MAX or COUNT
    of one. None for any other. `kinds` are the columns' types by their names in lower case.

    ``SUM(`a b`)`` becomes `SUM("a b")`: most of a board's expressions, which then need no translation.
    """
    found = _PLAIN.fullmatch(text.strip())
    if found is None:
        return None
    if found["all"]:
        return "COUNT(*)"
    name = found["column"].replace("``", "`")
    kind = kinds.get(name.lower(), "").split("(")[0]
    function = (found["function"] or "").upper()
    if not kind or (function == "SUM" and kind not in ("DECIMAL", "DOUBLE", "INTEGER", "BIGINT")):
        return None
    column = '"' + name.replace('"', '""') + '"'
    return f"{function}({column})" if function else column


def bin_width(expression: str) -> float | None:
    """How wide the bins of an expression are, None for one that makes none."""
    found = _WIDTH.search(expression)
    return float(found["width"]) if found else None


def check_query(text: str, title: str) -> str:
    """A dataset's text without the semicolon at its end. Raises AiqError for what is no query, or asks a model.

    A file from elsewhere must change nothing, and opening a board must not cost anything.
    """
    stripped = text.strip()
    if not stripped:
        raise AiqError(f"the dataset {title} has no query")
    tokens = calls.tokenize(stripped, "databricks")
    if tokens and tokens[-1].token_type is TokenType.SEMICOLON:
        stripped = stripped[: tokens[-1].start]
        tokens = tokens[:-1]
    if not only_reads(tokens):
        first = tokens[0].text.upper() if tokens else ""
        raise AiqError(f"the dataset {title} is no query; a board runs SELECT alone, not {first[:40] or 'a comment'}")
    if calls.find_calls(stripped, tokens):
        raise AiqError(
            f"the dataset {title} asks a model, which would be paid each time the board opens; "
            "write the answers into a table, and let the board read that"
        )
    return stripped
