"""Operators of two numbers as macros that get the types of both sides: `a + b * 2` is `plus(a, times(b, 2, ..), ..)`.

The type of an operator within another is written out of the types of its own sides, so that a long chain stays short.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from sqlglot import exp

from aiq.sql.databricks.decimal_types import named
from aiq.sql.databricks.intervals import is_interval
from aiq.sql.databricks.macros import FUNCTION, SCHEMA
from aiq.sql.databricks.words import Print, asks_rows, may_fail, message, quoted, refusal, refused, tried

_SIGNS: dict[type[exp.Expr], str] = {
    exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/", exp.Mod: "%", exp.IntDiv: "div",
}  # fmt: skip
_MACROS = {"+": "plus", "-": "less", "*": "times", "/": "ratio", "%": "rest", "div": "parts"}
_NAMES = {"mod": "%", "try_divide": "/", "try_add": "+", "try_subtract": "-", "try_multiply": "*"}
_ONE_OF = frozenset({"coalesce", "nvl", "ifnull", "greatest", "least", "if"})


class Typed(NamedTuple):
    """A value and its type, as DuckDB's text; the type is a constant when the statement is bound."""

    value: str
    type: str


def arithmetic(node: exp.Expr, show: Print) -> str | None:
    """An operator of two numbers in DuckDB's words; None for anything else, also one with an INTERVAL."""
    made = _operator(node, show)
    return made.value if made is not None else None


def _operator(node: exp.Expr, show: Print) -> Typed | None:
    sign = _SIGNS.get(type(node))
    if sign is None or is_interval(node.this) or is_interval(node.expression):
        return None
    name = f"the operator {sign} of these types"
    left, right = _typed(node.this, show), _typed(node.expression, show)
    left, right = _number(node.this, node.expression, left, right), _number(node.expression, node.this, right, left)
    macro = "share" if sign == "/" and _is_not_zero(node.expression) else _MACROS[sign]
    return _combined(sign, left, right, name, macro)


def _is_not_zero(node: exp.Expr) -> bool:
    """Whether a divisor is never 0: a number, or NULLIF(.., 0). Without the look at it, its text stands once less."""
    value = node.unnest()
    if isinstance(value, exp.Literal):
        return not value.is_string and float(value.name) != 0
    zero = _arguments_of_nullif(value)[1:]
    return bool(zero) and isinstance(zero[0], exp.Literal) and not zero[0].is_string and float(zero[0].name) == 0


def _number(node: exp.Expr, other: exp.Expr, side: Typed, opposite: Typed) -> Typed:
    """A side of an operator. The text of a number is a BIGINT beside a whole number, else a DOUBLE."""
    value = node.unnest()
    if not (isinstance(value, exp.Literal) and value.is_string) or other.find(exp.Anonymous, exp.Subquery) is not None:
        return side
    if _is_text(other.unnest()) or re.fullmatch(r"\s*[+-]?\d{1,18}(\.\d{1,18})?\s*", value.name, re.ASCII) is None:
        return side
    macro = "text_double" if "." in value.name else "text_number"
    said = message("the operator of a number and a text")
    made = f"{SCHEMA}.{macro}({quoted(value.name.strip())}, {opposite.value}, {said})"
    return Typed(made, f"typeof({made})")


def _is_text(node: exp.Expr) -> bool:
    return isinstance(node, exp.Literal) and bool(node.is_string)


def _combined(sign: str, left: Typed, right: Typed, name: str, macro: str) -> Typed:
    kind = f"{FUNCTION}result_type({quoted(sign)}, {left.type}, {right.type})"
    made = f"{SCHEMA}.{macro}({left.value}, {right.value}, {left.type}, {right.type}, {kind}, {message(name)})"
    return Typed(made, kind)


def type_of(node: exp.Expr, show: Print) -> str:
    """The type of a value, as a text of DuckDB's that is a constant when the statement is bound."""
    return _typed(node, show).type


def _typed(node: exp.Expr, show: Print) -> Typed:
    """A side of an operator. Literals have Spark's types, which DuckDB would take from the other side."""
    if isinstance(node, exp.Paren):
        return _typed(node.this, show)
    if (made := _operator(node, show)) is not None:
        return made
    number = node.this if isinstance(node, exp.Neg) else node
    text = show(node)
    if isinstance(number, exp.Literal) and not number.is_string:
        if number.name.isdigit():
            kind = "INTEGER" if int(number.name) < 2**31 + isinstance(node, exp.Neg) else "BIGINT"
            return Typed(f"CAST({text} AS {kind})", quoted(f"{kind}:{len(str(int(number.name)))}"))
        if (digits := decimal_literal(number.name)) is not None:
            return Typed(text, quoted(named(*digits)))
    if (
        isinstance(number, exp.Cast)
        and isinstance(number.this, exp.Literal)
        and not number.this.is_string
        and number.to.this in (exp.DType.BIGINT, exp.DType.SMALLINT, exp.DType.TINYINT)
    ):  # `3L` is parsed as CAST(3 AS BIGINT), but in decimal arithmetic Spark tells them apart
        return Typed(text, quoted(f"{number.to.this.value}:?"))
    if (of_nullif := _arguments_of_nullif(node)) and (made := _operator(of_nullif[0], show)) is not None:
        return Typed(text, made.type)
    if branches := _branches(node):
        kinds = ", ".join(_typed(each, show).type for each in branches)
        return Typed(text, f"{FUNCTION}widest({kinds})")
    return Typed(text, f"typeof({text})")


def _arguments_of_nullif(node: exp.Expr) -> list[exp.Expr]:
    """The value whose type NULLIF has, and that which it is not, without parentheses; none for anything else."""
    arguments = [node.this, node.expression] if isinstance(node, exp.Nullif) else []
    if isinstance(node, exp.Anonymous) and node.name.lower() == "nullif" and len(node.expressions) == 2:
        arguments = node.expressions
    return [each.unnest() for each in arguments]


def _branches(node: exp.Expr) -> list[exp.Expr]:
    """The values of which a node is one: Spark gives a BIGINT among decimals 20 digits, and DuckDB 19."""
    if isinstance(node, exp.Case):
        default = node.args.get("default")
        return [*(each.args["true"] for each in node.args["ifs"]), *([default] if default is not None else [])]
    name = node.name.lower() if isinstance(node, exp.Anonymous) else ""
    if name in _ONE_OF:
        return list(node.expressions[1 if name == "if" else 0 :])
    return []


def decimal_literal(text: str) -> tuple[int, int] | None:
    """Precision and scale of a number like 0.05 in Spark: DECIMAL(2,2). None for one with an exponent."""
    integer, point, fraction = text.partition(".")
    if not point or not (integer + fraction).isdigit():
        return None
    count = len((integer + fraction).lstrip("0"))
    return max(count, len(fraction), 1), len(fraction)


def check_number(text: str) -> None:
    """Raises StatementError for a number that Spark does not read, and that DuckDB reads as another one."""
    if re.fullmatch(r"[\d.]+[eE][+-]?\d+", text) and math.isinf(float(text)):
        raise refusal(f"the number {text} is beyond DOUBLE", "write DOUBLE('Infinity')")
    if (digits := decimal_literal(text)) is not None and digits[0] > 38:
        raise refusal(f"the number {text} has more than 38 digits", f"write {text}D for a DOUBLE")


def _call(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    if len(arguments) != 2:
        raise refused(f"{name} with {len(arguments)} arguments")
    left, right = (_typed(each, show) for each in arguments)
    sign = _NAMES[name]
    if not name.startswith("try_"):
        return _combined(sign, left, right, name, _MACROS[sign]).value
    if sign == "/":
        return _combined(sign, left, right, name, "try_ratio").value
    apart = any(map(may_fail, arguments)) and not any(map(asks_rows, arguments))
    if not apart:
        return f"TRY({_combined(sign, left, right, name, _MACROS[sign]).value})"
    value = f"{{'a': {left.value}, 'b': {right.value}}}"
    left, right = left._replace(value="aiq_t.a"), right._replace(value="aiq_t.b")
    return tried(lambda _: _combined(sign, left, right, name, _MACROS[sign]).value, value, apart=True)


def _rounded(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    if len(arguments) not in (1, 2):
        raise refused(f"{name} with {len(arguments)} arguments")
    macro = {"round": "rounded", "floor": "down", "bround": "half_even"}.get(name, "up")
    if name == "round" and isinstance(arguments[0].unnest(), exp.Div) and _is_places(arguments[1:]):
        macro = "share_rounded"  # which is no integer
    value = _typed(arguments[0], show)
    places = "".join(f"{show(each)}, " for each in arguments[1:])
    if len(arguments) == 2:
        macro += "_to"
    elif name == "bround":
        macro, places = "half_even_to", "0, "
    return f"{SCHEMA}.{macro}({value.value}, {places}{value.type}, {message(name)})"


def _is_places(arguments: Sequence[exp.Expr]) -> bool:
    """Whether `round` is told no digits, or a number of them that is not negative."""
    return all(isinstance(each, exp.Literal) and not each.is_string and each.name.isdigit() for each in arguments)


CALLS = dict.fromkeys(_NAMES, _call) | dict.fromkeys(("round", "bround", "ceil", "ceiling", "floor"), _rounded)
