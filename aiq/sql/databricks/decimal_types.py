"""Types of arithmetic as Spark 4.1 gives them: from the names of DuckDB's types to the name of the result's.

Called while a statement is bound, with the types of its columns. '' is a result that has no exact counterpart.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pyarrow as pa

_INTEGERS = {"TINYINT": 3, "SMALLINT": 5, "INTEGER": 10, "BIGINT": 20, "HUGEINT": 20}
_UNSIGNED = {"UTINYINT": "SMALLINT", "USMALLINT": "INTEGER", "UINTEGER": "BIGINT", "UBIGINT": "DECIMAL(20,0)"}
"""As Spark reads them from Parquet."""
_DAYS = ("TINYINT", "SMALLINT", "INTEGER")
_NULL = '"NULL"'
_DIGITS, _KEPT_SCALE = 38, 6

Digits = tuple[int, int]
"""Precision and scale."""


def digits(kind: str) -> Digits | None:
    """Precision and scale of a type in decimal arithmetic; None for one that takes no part in it.

    `INTEGER:3` is a literal of three digits, which Spark takes for a DECIMAL(3,0).
    """
    if (found := re.fullmatch(r"DECIMAL\((\d+),(\d+)\)", _UNSIGNED.get(kind, kind))) is not None:
        return int(found[1]), int(found[2])
    name, _, written = _UNSIGNED.get(kind, kind).partition(":")
    if name not in _INTEGERS or written == "?":
        return None
    return (int(written) if written else _INTEGERS[name]), 0


def named(precision: int, scale: int) -> str:
    return f"DECIMAL({precision},{scale})"


def bounded(precision: int, scale: int) -> str:
    """Spark's `DecimalType.bounded`: at most 38 digits, those after the point kept."""
    return named(min(precision, _DIGITS), min(scale, _DIGITS))


def adjusted(precision: int, scale: int) -> Digits:
    """Spark's `adjustPrecisionScale`: above 38 digits some after the point are given up, down to six."""
    if precision <= _DIGITS:
        return precision, scale
    return _DIGITS, max(_DIGITS - (precision - scale), min(scale, _KEPT_SCALE))


def _sum(one: Digits, two: Digits) -> Digits:
    scale = max(one[1], two[1])
    return max(one[0] - one[1], two[0] - two[1]) + scale + 1, scale


def _product(one: Digits, two: Digits) -> Digits:
    return one[0] + two[0] + 1, one[1] + two[1]


def _quotient(one: Digits, two: Digits) -> Digits:
    scale = max(_KEPT_SCALE, one[1] + two[0] + 1)
    return one[0] - one[1] + two[1] + scale, scale


def _rest(one: Digits, two: Digits) -> Digits:
    scale = max(one[1], two[1])
    return min(one[0] - one[1], two[0] - two[1]) + scale, scale


_RESULTS: dict[str, Callable[[Digits, Digits], Digits]] = {
    "+": _sum, "-": _sum, "*": _product, "/": _quotient, "%": _rest,
}  # fmt: skip


def result_type(sign: str, left: str, right: str) -> str:
    """The type of `left sign right`, or ''. Types are names as `typeof` gives them, literals as of `digits`."""
    left, right = _UNSIGNED.get(left, left), _UNSIGNED.get(right, right)
    if sign == "/" and left == _NULL:
        left = "DOUBLE"
    left, right = (right, right) if left == _NULL else (left, left if right == _NULL else right)
    if left == _NULL:
        return "DOUBLE" if sign == "/" else "BIGINT" if sign == "div" else "INTEGER"
    if "DATE" in (left, right):
        other = right if left == "DATE" else left
        return "DATE" if other.partition(":")[0] in _DAYS and (sign == "+" or (sign == "-" and left == "DATE")) else ""
    names = [kind.partition(":")[0] for kind in (left, right)]
    if sign == "/":
        names = ["DOUBLE" if name == "FLOAT" else name for name in names]
    if names == ["FLOAT", "FLOAT"]:
        return "" if sign == "div" else "FLOAT"
    names = ["DOUBLE" if name == "FLOAT" else name for name in names]
    if any(name not in (*_INTEGERS, "DOUBLE") and digits(name) is None for name in names):
        return ""
    integers = all(name in _INTEGERS for name in names)
    if sign == "div":
        return "" if "DOUBLE" in names or None in (digits(left), digits(right)) else "BIGINT"
    if "DOUBLE" in names or (integers and sign == "/"):
        return "DOUBLE"
    if integers:
        widest = max(names, key=list(_INTEGERS).index)
        return "BIGINT" if widest == "HUGEINT" else widest
    one, two = digits(left), digits(right)
    if one is None or two is None:
        return ""
    natural = _RESULTS[sign](one, two)
    made = adjusted(*natural)
    if made[1] != natural[1] and sign not in "/%":
        return ""  # DuckDB's own + and * have no digits for what is to be rounded
    return named(*made)


def side(sign: str, kind: str, result: str) -> str:
    """The type in which DuckDB computes with a side of an operator without running out of digits."""
    own = digits(kind)
    if result == "DATE":
        return "INTEGER" if kind == _NULL else kind.partition(":")[0]
    if not result.startswith("DECIMAL"):
        return result
    if sign in "/%":
        return "INTEGER" if kind == _NULL else kind.partition(":")[0]  # `decimal_values.py` computes it
    if sign != "*" or own is None:
        return result
    precision, _ = digits(result) or own
    return named(18 if precision <= 18 else _DIGITS, own[1])  # widths of DuckDB's numbers


def through(kind: str, result: str) -> str:
    """The type that a side gets first: a text where DuckDB's own cast to DOUBLE may miss the last digit."""
    own = digits(kind)
    wide = result == "DOUBLE" and kind.startswith("DECIMAL") and own is not None and own[0] > 15
    return "VARCHAR" if wide or result == "" else "INTEGER" if kind == _NULL else kind.partition(":")[0]


def way(sign: str, left: str, right: str, result: str) -> str:
    """How `/`, `%` and `div` of these types are computed: double, integer or decimal."""
    if result.startswith("DECIMAL") or (sign == "div" and any(each.startswith("DECIMAL") for each in (left, right))):
        return "decimal"
    return "double" if result in ("DOUBLE", "FLOAT") else "integer"


def compared_with_text(kind: str) -> str:
    """The type that the text of a number gets in a comparison with a value of a type."""
    if kind in (*_INTEGERS, *_UNSIGNED):
        return "BIGINT"
    if kind in ("DOUBLE", "FLOAT") or kind.startswith("DECIMAL"):
        return "DOUBLE"
    return kind if kind in ("BOOLEAN", "DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE") else "VARCHAR"


def compared_with_number(kind: str, other: str) -> str:
    """The type that a literal gets in a comparison with a value of another type."""
    return "DOUBLE" if other == "FLOAT" else kind


def widest(*kinds: str) -> str:
    """The type of one of several numbers, or ''."""
    names = [_UNSIGNED.get(kind, kind).partition(":")[0] for kind in kinds if kind != _NULL]
    if not names:
        return _NULL
    if any(name not in (*_INTEGERS, "DOUBLE") and digits(name) is None for name in names):
        return names[0] if len(set(names)) == 1 else ""
    if "DOUBLE" in names:
        return "DOUBLE"
    if all(name in _INTEGERS for name in names):
        return max(names, key=list(_INTEGERS).index)
    found = [each for each in map(digits, names) if each is not None]
    scale = max(each[1] for each in found)
    precision = max(each[0] - each[1] for each in found) + scale
    return named(precision, scale) if precision <= _DIGITS else ""


def sum_type(kind: str) -> str:
    """The type of a sum, or ''."""
    kind = kind.partition(":")[0]
    if kind.startswith("DECIMAL"):
        precision, scale = digits(kind) or (_DIGITS, 0)
        return bounded(precision + 10, scale)
    if kind in _INTEGERS or kind in _UNSIGNED:
        return "BIGINT"
    return "DOUBLE" if kind in ("DOUBLE", "FLOAT", _NULL) else ""


def average_type(kind: str) -> str:
    """The type of an average, or ''."""
    if kind.startswith("DECIMAL"):
        precision, scale = digits(kind) or (_DIGITS, 0)
        return bounded(precision + 4, scale + 4)
    return "DOUBLE" if sum_type(kind) else ""


def rounded_type(kind: str, places: str) -> str:
    """The type of `round(x, places)` of a decimal."""
    if not kind.startswith("DECIMAL") or not places:
        return "INTEGER"  # not what is computed
    precision, scale = digits(kind) or (_DIGITS, 0)
    integers = precision - scale + 1
    if int(places) < 0:
        return named(min(max(integers, 1 - int(places)), _DIGITS), 0)
    kept = min(scale, int(places))
    return named(min(integers + kept, _DIGITS), kept)


def numeric(kind: str) -> str:
    """How a number is rounded: double, decimal, or same for an integer; ''."""
    name = kind.partition(":")[0]
    if name.startswith("DECIMAL"):
        return "decimal"
    return "double" if name == "DOUBLE" else "same" if name in (*_INTEGERS, *_UNSIGNED) else ""


def rounded_integer(kind: str) -> str:
    """The type of `round(i, places)` of an integer, or ''; any for other numbers."""
    name = kind.partition(":")[0]
    if name in ("TINYINT", "SMALLINT", *_UNSIGNED) or not numeric(kind):
        return ""
    return "INTEGER" if name == "INTEGER" else "BIGINT"


def integer_type(kind: str) -> str:
    """The type of ceil and floor of a decimal."""
    if not kind.startswith("DECIMAL"):
        return "INTEGER"  # not what is computed
    precision, scale = digits(kind) or (_DIGITS, 0)
    return named(min(precision - scale + 1, _DIGITS), 0) if scale else kind


def as_decimal(kind: str) -> str:
    """The decimal that a number becomes for `ceil(x, places)` and `floor(x, places)`, or ''."""
    name = kind.partition(":")[0]
    if name.startswith("DECIMAL"):
        return name
    return named(30, 15) if name == "DOUBLE" else named(_INTEGERS[name], 0) if name in _INTEGERS else ""


def over_types(function: Callable[..., str]) -> Callable[..., pa.Array]:
    """A function of type names as one of Arrow columns; NULL for NULL."""

    def over(*columns: pa.ChunkedArray) -> pa.Array:
        rows = zip(*(column.to_pylist() for column in columns), strict=True)
        return pa.array([None if None in row else function(*row) for row in rows], pa.string())

    return over
