"""Division of decimals as Java does it: Arrow columns of numbers in, texts of decimals out.

Each function gets the type of its result as its last column. NULL for NULL; a zero divisor is an error where both
sides have a value.
"""

from __future__ import annotations

import decimal
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal

import pyarrow as pa

from aiq.sql.databricks.decimal_types import digits

_WIDE = decimal.Context(prec=200, rounding=ROUND_HALF_UP)


def quotient(one: Decimal, two: Decimal) -> Decimal:
    """To 39 digits after the point, half up, as Spark divides before it rounds to the scale of the result."""
    divisor = abs(int(two.scaleb(60, _WIDE)))
    made, rest = divmod(abs(int(one.scaleb(99, _WIDE))), divisor)
    value = Decimal(made + (2 * rest >= divisor)).scaleb(-39, _WIDE)
    return value.copy_negate() if (one < 0) != (two < 0) else value


def remainder(one: Decimal, two: Decimal) -> Decimal:
    """What is left over, with the sign of the first."""
    return _WIDE.remainder(one, two)


def whole(one: Decimal, two: Decimal) -> Decimal:
    """The quotient without its fraction."""
    return _WIDE.divide_int(one, two)


def over_decimals(
    function: Callable[[Decimal, Decimal], Decimal], *, may_fail: bool = False
) -> Callable[..., pa.Array]:
    """A function of two decimals as one of Arrow columns, rounded half up to the scale of a type.

    `may_fail`: NULL where there is no value. Raises ZeroDivisionError or OverflowError otherwise.
    """

    def over(left: pa.ChunkedArray, right: pa.ChunkedArray, kinds: pa.ChunkedArray) -> pa.Array:
        made: list[str | None] = []
        for one, two, kind in zip(left.to_pylist(), right.to_pylist(), kinds.to_pylist(), strict=True):
            wanted = digits(kind)
            if wanted is None or one is None or two is None or (may_fail and two == 0):
                made.append(None)  # in a lambda DuckDB computes what is not wanted, too
                continue
            if two == 0:
                raise ZeroDivisionError("Division by zero")
            precision, scale = wanted
            value = function(Decimal(one), Decimal(two)).quantize(Decimal(1).scaleb(-scale), context=_WIDE)
            fits = value == 0 or value.adjusted() < precision - scale
            if not fits and not may_fail:
                raise OverflowError(f"{value:f} is out of range of {kind}")
            made.append(f"{value if value else abs(value):f}" if fits else None)
        return pa.array(made, pa.string())

    return over
