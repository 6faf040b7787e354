"""Division of decimals as Java does it: Arrow columns of numbers in, texts of decimals out.

Each function gets the type of its result as its last column. NULL for NULL; a zero divisor is an error where both
sides have a value. Numbers are computed with as integers of one scale, without their signs.
"""

from __future__ import annotations

import decimal
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from aiq.sql.databricks.decimal_types import digits

_WIDE = decimal.Context(prec=80)
_DIVIDED = 39
"""Digits after the point to which Spark divides before it rounds to the scale of the result."""

Division = Callable[[int, int], int]


def quotient(one: int, two: int) -> int:
    """To 39 digits after the point, half up."""
    made, rest = divmod(one * int(10**_DIVIDED), two)
    return made + int(2 * rest >= two)


def half_even(value: str, places: int) -> str:
    """The text of a number with so many digits after the point, a half towards the even digit."""
    return _placed(value, places, decimal.ROUND_HALF_EVEN)


def ceiling(value: str, places: int) -> str:
    """The text of a number, raised to so many digits after the point."""
    return _placed(value, places, decimal.ROUND_CEILING)


def floor(value: str, places: int) -> str:
    """The text of a number, lowered to so many digits after the point."""
    return _placed(value, places, decimal.ROUND_FLOOR)


def _placed(value: str, places: int, how: str) -> str:
    number = decimal.Decimal(value)
    if not number.is_finite():
        return value
    if -int(number.as_tuple().exponent) > places:
        number = number.quantize(decimal.Decimal(1).scaleb(-places), how, _WIDE)
    return f"{number or abs(number):f}"  # Java's have no -0


def _integers(column: pa.ChunkedArray, scale: int) -> list[int | None]:
    """The numbers of a column times a power of ten."""
    values = column.to_pylist()
    if not pa.types.is_decimal(column.type):
        factor = 10**scale
        return [None if value is None else int(value) * factor for value in values]
    return [None if value is None else int(value.scaleb(scale, _WIDE)) for value in values]


def _scale(column: pa.ChunkedArray) -> int:
    return int(column.type.scale) if pa.types.is_decimal(column.type) else 0


def _text(value: int, scale: int) -> str:
    if scale == 0:
        return str(value)
    shown = f"{abs(value):0{scale + 1}d}"
    return f"{'-' if value < 0 else ''}{shown[:-scale]}.{shown[-scale:]}"


def _rounded(value: int, scale: int, wanted: int) -> int:
    """A number of one scale in another, half up."""
    if wanted >= scale:
        return value * int(10 ** (wanted - scale))
    power = int(10 ** (scale - wanted))
    return (value + power // 2) // power


def over_decimals(function: Division, scale_of: int | None, *, may_fail: bool = False) -> Callable[..., pa.Array]:
    """A division as a function of Arrow columns, rounded half up to the scale of a type.

    `scale_of` is the scale of what `function` gives, None for a remainder, which has the scale and the sign of the
    first number. `may_fail`: NULL where there is no value. Raises ZeroDivisionError or OverflowError otherwise.
    """

    def over(left: pa.ChunkedArray, right: pa.ChunkedArray, kinds: pa.ChunkedArray) -> pa.Array:
        wanted = digits(kinds[0].as_py()) if len(kinds) else None  # the same for all rows
        if wanted is None:  # in a lambda DuckDB computes what is not asked for, too
            return pa.nulls(len(left), pa.string())
        common = max(_scale(left), _scale(right))
        scale, limit = common if scale_of is None else scale_of, 10 ** wanted[0]

        def value(one: int, two: int) -> Any:
            if two == 0:
                if may_fail:
                    return None
                raise ZeroDivisionError("Division by zero")
            made = _rounded(function(abs(one), abs(two)), scale, wanted[1])
            if made >= limit:
                if may_fail:
                    return None
                raise OverflowError(f"{_text(made, wanted[1])} is out of range of DECIMAL({wanted[0]},{wanted[1]})")
            return _text(-made if (one < 0) != (scale_of is not None and two < 0) else made, wanted[1])

        rows = zip(_integers(left, common), _integers(right, common), strict=True)
        return pa.array([None if one is None or two is None else value(one, two) for one, two in rows], pa.string())

    return over
