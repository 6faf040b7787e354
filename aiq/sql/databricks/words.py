# ruff: noqa: E501 -- one line an entry
"""What calls of Spark functions are made of: templates filled in, literals, refusals."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from sqlglot import exp

from aiq.errors import StatementError
from aiq.sql.databricks.macros import FUNCTION, SCHEMA
from aiq.sql.databricks.moment_texts import named_moment
from aiq.sql.databricks.templates import AGGREGATES

Print = Callable[[exp.Expr], str]

PLACE = re.compile(r"\{([sdti]?)(\d+|\*|m)\}")


def message(what: str) -> str:
    """A refusal as a literal that DuckDB shows when it binds; `in_users_words` takes it out again."""
    text = f"aiq: {what} has no exact counterpart on DuckDB; CAST its values to the types you mean"
    return "'" + text.replace("'", "''") + "'"


def refused(name: str, why: str = "has no exact counterpart on DuckDB") -> StatementError:
    return StatementError(
        f"the statement cannot be translated from Databricks SQL: {name} {why}; write that part in DuckDB's SQL, or run "
        "the statement on Spark"
    )


def refusal(what: str, advice: str = "") -> StatementError:
    """The error for what DuckDB cannot do exactly as Databricks does."""
    rest = advice or "write that part in DuckDB's SQL, or run the statement on Spark"
    return StatementError(f"the statement cannot be translated from Databricks SQL: {what}; {rest}")


def name_of(node: exp.Expr) -> str:
    """The name of a call in lower case; empty for anything else."""
    return node.name.lower() if isinstance(node, exp.Anonymous) else ""


def filled(template: str, name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    def value(found: re.Match[str]) -> str:
        kind, place = found.groups()
        if place == "m":
            return message(name)
        if place == "*":
            return ", ".join(map(show, arguments))
        node = arguments[int(place)]
        text = show(node)
        if kind == "i":
            return whole_number(node, name, show)
        if kind in ("d", "t"):
            text = dated(node, "DATE" if kind == "d" else "TIMESTAMPTZ", show)
        if kind == "s" and name_of(node) in _BINARY and name not in _OF_BYTES:
            raise refusal(f"{name} of a BINARY", "write decode(.., 'UTF-8')")
        if kind == "s":
            plain = isinstance(node, exp.Literal) and node.is_string
            return text if plain else f"{SCHEMA}.joined({text})"
        return f"{SCHEMA}.{'as_date' if kind == 'd' else 'moment'}({text})" if kind else text

    made = PLACE.sub(value, template.replace("@", f"{SCHEMA}.").replace("#", FUNCTION))
    return made


def whole_number(node: exp.Expr, name: str, show: Print) -> str:
    """An argument that is a whole number: of a fraction, DuckDB's cast takes the nearest, and Spark's drops its digits."""
    text = show(node)
    value = node.this if isinstance(node, exp.Neg) else node
    if (isinstance(value, exp.Literal) and value.name.isdigit()) or asks_rows(node):
        return text
    macro = "no_fraction" if name in _OF_WHOLE_NUMBERS else "cut"
    return f"{SCHEMA}.{macro}({text}, {message(name + ' of a fraction as a whole number')})"


def asks_rows(node: exp.Expr) -> bool:
    """Whether an aggregate, a window or a subquery is in an expression: DuckDB knows its type after it is bound."""
    return any(
        isinstance(each, (exp.Window, exp.Query)) or name_of(each) in AGGREGATES
        for each in node.walk()
        if each is not None
    )


def may_fail(node: exp.Expr) -> bool:
    """Whether an error of an argument is possible, which a try_ function around it does not catch in Spark."""
    return any(
        (isinstance(each, exp.Cast) and not isinstance(each, exp.TryCast) and each.to.this != exp.DType.TEXT)
        or isinstance(each, _FAILING)
        or (
            isinstance(each, exp.Anonymous) and not name_of(each).startswith(_SAFE_KINDS) and name_of(each) not in _SAFE
        )
        for each in node.walk()
    )


def tried(made: Callable[[str], str], value: str, *, apart: bool) -> str:
    """`TRY(f(value))`; `apart`, the value is computed before, and its own errors end the statement."""
    return f"list_transform([{value}], lambda aiq_t: TRY({made('aiq_t')}))[1]" if apart else f"TRY({made(value)})"


_FAILING = (exp.Bracket, exp.Add, exp.Sub, exp.Mul, exp.Div, exp.IntDiv, exp.Mod, exp.Neg)
_SAFE_KINDS = ("ai_", "try_", "regexp_")
_SAFE = frozenset({
    "upper", "lower", "ucase", "lcase", "trim", "ltrim", "rtrim", "btrim", "replace", "split_part", "substring", "substr",
    "left", "right", "concat", "concat_ws", "coalesce", "nvl", "ifnull", "nullif", "if", "iff", "get_json_object",
    "translate", "initcap", "substring_index", "lpad", "rpad", "repeat", "reverse", "length", "array_join", "to_json",
    "string", "date_format", "split", "get", "named_struct", "struct", "array",
})  # fmt: skip


def _is_concat(node: exp.Expr) -> bool:
    return name_of(node) == "concat" or isinstance(node, exp.DPipe)


def text_of_concat(node: exp.Expr, shown: str) -> str:
    """`CAST(concat(a, b) AS STRING)` where another concat may read it: of arrays, Spark joins their texts there or not, as
    its optimizer comes to it, so they are refused.
    """
    value = node.unnest()
    if not _is_concat(value) or asks_rows(value):
        return shown
    above = value.parent
    while above is not None and not isinstance(above, exp.Query) and not _is_concat(above):
        above = above.parent
    inner = isinstance(above, exp.Query) and above.find_ancestor(exp.Query, exp.CTE) is not None
    if above is None or (isinstance(above, exp.Query) and not inner):
        return shown
    return f"{SCHEMA}.flat({shown}, {message('the text of joined arrays within another concat')})"


def makes_array(node: exp.Expr) -> bool:
    """Whether a node is an aggregate that makes an array: no macro can see the type of one."""
    return isinstance(node, exp.Anonymous) and node.name.lower() in ("collect_list", "collect_set", "array_agg")


def makes_nested(node: exp.Expr) -> bool:
    """Whether a node makes an array or a struct by its words: DuckDB puts NULL in one of them last, Spark first."""
    value = node.unnest()
    return isinstance(value, exp.Anonymous) and value.name.lower() in ("array", "struct", "named_struct")


NUMBER = re.compile(r"\s*[-+]?[\d.]+\s*", re.ASCII)


def branch(node: exp.Expr, show: Print) -> str:
    """A value beside others of its type: DuckDB would read the text of a number as one."""
    text = show(node)
    number = isinstance(node, exp.Literal) and node.is_string and NUMBER.fullmatch(str(node.this))
    return f"CAST({text} AS VARCHAR)" if number else text


def literal(node: exp.Expr, name: str, what: str) -> str:
    if not (isinstance(node, exp.Literal) and node.is_string):
        raise refused(f"{name} with a {what} that is no literal")
    return str(node.this)


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def typed(node: exp.Expr, show: Print) -> str:
    """An argument of a macro; DuckDB reads a literal as any type that a macro takes."""
    text = show(node)
    return f"CAST({text} AS VARCHAR)" if isinstance(node, exp.Literal) and node.is_string else text


def constant_text(node: exp.Expr) -> str | None:
    """The text of a constant: a literal, a CAST of one to STRING, literals side by side. None for anything else."""
    node = node.unnest()
    if isinstance(node, exp.Literal):
        return str(node.this) if node.is_string else None
    if isinstance(node, exp.Cast):
        return constant_text(node.this) if node.to.this == exp.DType.TEXT else None
    if isinstance(node, (exp.DPipe, exp.Concat)) or name_of(node) == "concat":
        sides = [node.this, node.expression] if isinstance(node, exp.DPipe) else node.expressions
        texts = [constant_text(each) for each in sides]
        return None if None in texts else "".join(each for each in texts if each is not None)
    return None


def dated(node: exp.Expr, kind: str, show: Print) -> str:
    """An argument that becomes a DATE, TIMESTAMPTZ or TIMESTAMP; `'today'` and its like are resolved."""
    text = constant_text(node)
    if text is None and _computes_a_text(node):
        return f"{SCHEMA}.word({typed(node, show)}, {quoted(kind)})"
    return (text is not None and named_moment(text, kind)) or typed(node, show)


def _computes_a_text(node: exp.Expr) -> bool:
    """Whether an expression computes a text of constants, which Spark reads as it reads `'today'`."""
    other = (exp.Column, exp.Identifier, exp.Query, exp.Placeholder, exp.Parameter, exp.Window)
    value = node.unnest()
    return (
        not isinstance(value, (exp.Cast, exp.Literal))
        and any(isinstance(each, exp.Literal) and each.is_string for each in node.walk())
        and not any(isinstance(each, other) or name_of(each).startswith("ai_") for each in node.walk())
    )


_BINARY = frozenset({"encode", "unhex", "unbase64", "to_binary"})
_OF_WHOLE_NUMBERS = frozenset(
    {"date_add", "dateadd", "date_sub", "format_number", "timestamp_millis", "timestamp_micros", "array_insert"}
)
"""Functions that take no fraction for a whole number in Spark; others drop its digits."""
_OF_BYTES = frozenset({"md5", "sha", "sha1", "sha2", "crc32"})


def piece(node: exp.Expr, show: Print) -> str:
    """A value as a piece of a longer text. DuckDB would print the bytes of a BINARY as escapes: they are refused."""
    if name_of(node) in _BINARY:
        raise refusal("a BINARY beside a text", "write decode(.., 'UTF-8')")
    text = show(node)
    if (isinstance(node, exp.Literal) and node.is_string) or makes_array(node):
        return text
    if asks_rows(node):
        return f"{SCHEMA}.joined({text})"
    return f"{SCHEMA}.piece({text}, {message('a BINARY, MAP or STRUCT as a piece of a text')})"


def all_binary(nodes: Sequence[exp.Expr]) -> bool:
    return all(name_of(each) in _BINARY for each in nodes)
