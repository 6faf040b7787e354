"""Powers, roots, angles and hyperbolic functions as Java computes them: to the last bit, by the method of fdlibm.

Sine, cosine and tangent are not here: Java has code of its own for each kind of processor, whose last digits differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from aiq.sql.databricks import java_power
from aiq.sql.databricks.java_bits import cut, high_bits, scaled, series, table, with_high
from aiq.sql.databricks.java_math import exp, log

_HALF_PI, _HALF_PI_REST = float.fromhex("0x1.921fb54442d18p0"), float.fromhex("0x1.1a62633145c07p-54")
_LN2, _LN2_REST = float.fromhex("0x1.62e42feep-1"), float.fromhex("0x1.a39ef35793c76p-33")
_ONE_BY_LN2 = float.fromhex("0x1.71547652b82fep0")
_LOG_2, _LOG_2_REST = float.fromhex("0x1.34413509f6p-2"), float.fromhex("0x1.9fef311f12b36p-42")
_ONE_BY_LN10 = float.fromhex("0x1.bcb7b1526e50ep-2")


_ASIN = table("0x1.5555555555555p-3 -0x1.4d61203eb6f7dp-2 0x1.9c1550e884455p-3 -0x1.48228b5688f3bp-5 "
               "0x1.9efe07501b288p-11 0x1.23de10dfdf709p-15")  # fmt: skip
_ASIN_BELOW = table("0x1.0p0 -0x1.33a271c8a2d4bp1 0x1.02ae59c598ac8p1 -0x1.6066c1b8d0159p-1 0x1.3b8c5b12e9282p-4")
_ATAN = table("0x1.555555555550dp-2 -0x1.999999998ebc4p-3 0x1.24924920083ffp-3 -0x1.c71c6fe231671p-4 "
               "0x1.745cdc54c206ep-4 -0x1.3b0f2af749a6dp-4 0x1.10d66a0d03d51p-4 -0x1.dde2d52defd9ap-5 "
               "0x1.97b4b24760debp-5 -0x1.2b4442c6a6c2fp-5 0x1.0ad3ae322da11p-6")  # fmt: skip
_ATAN_AT = table("0x1.dac670561bb4fp-2 0x1.921fb54442d18p-1 0x1.f730bd281f69bp-1 0x1.921fb54442d18p0")
_ATAN_AT_REST = table("0x1.a2b7f222f65e2p-56 0x1.1a62633145c07p-55 0x1.007887af0cbbdp-56 0x1.1a62633145c07p-54")
_EXPM1 = table("0x1.0p0 -0x1.11111111110f4p-5 0x1.a01a019fe5585p-10 -0x1.4ce199eaadbb7p-14 "
                "0x1.0cfca86e65239p-18 -0x1.afdb76e09c32dp-23")  # fmt: skip
_LOG1P = table("0x1.5555555555593p-1 0x1.999999997fa04p-2 0x1.2492494229359p-2 0x1.c71c51d8e78afp-3 "
                "0x1.7466496cb03dep-3 0x1.39a09d078c69fp-3 0x1.2f112df3e5244p-3")  # fmt: skip
_CBRT = table("0x1.15f15f15f15f1p-1 -0x1.691de2532c834p-1 0x1.6a0ea0ea0ea0fp0 0x1.9b6db6db6db6ep0 0x1.6db6db6db6db7p-2")


def cbrt(value: float) -> float:
    if value == 0 or not math.isfinite(value):
        return value
    size = abs(value)
    if size < 2.0**-1022:
        root = size * 2.0**54
        root = with_high(root, high_bits(root) // 3 + 696219795)
    else:
        root = with_high(0.0, high_bits(size) // 3 + 715094163)
    c, d, e, f, g = _CBRT
    ratio = root * root / size
    near = c + ratio * root
    root *= g + f / (near + e + d / near)
    root = cut(root)
    root = with_high(root, high_bits(root) + 1)
    ratio = size / (root * root)
    return math.copysign(root + root * ((ratio - root) / ((root + root) + ratio)), value)


def hypot(one: float, other: float) -> float:
    a, b = abs(one), abs(other)
    if not (math.isfinite(a) and math.isfinite(b)):
        return math.inf if math.inf in (a, b) else math.nan
    if b > a:
        a, b = b, a
    if high_bits(a) - high_bits(b) > 0x3C00000:
        return a + b
    power = 0
    if a > float.fromhex("0x1.00000ffffffffp500"):
        a, b, power = a * 2.0**-600, b * 2.0**-600, 600
    if b < 2.0**-500:
        if b == 0:
            return a
        by = 1022 if b < 2.0**-1022 else 600
        a, b, power = a * 2.0**by, b * 2.0**by, power - by
    apart = a - b
    if apart > b:
        cutoff = cut(a)
        made = math.sqrt(cutoff * cutoff - (b * (-b) - (a - cutoff) * (a + cutoff)))
    else:
        a += a
        cut_b, cutoff = cut(b), cut(a)
        made = math.sqrt(cutoff * cut_b - (apart * (-apart) - (cutoff * (b - cut_b) + (a - cutoff) * b)))
    return scaled(made, power)


def log10(value: float) -> float | None:
    """Of a number above 0; None, as Spark has NULL, for others."""
    if math.isnan(value) or value == math.inf:
        return value
    if value <= 0:
        return None
    power = 0
    if value < 2.0**-1022:
        power, value = -54, value * 2.0**54
    high = high_bits(value)
    power += (high >> 20) - 1023
    below = 1 if power < 0 else 0
    value = with_high(value, (high & 0xFFFFF) | ((0x3FF - below) << 20))
    number = float(power + below)
    logarithm = log(value)
    assert logarithm is not None
    return (number * _LOG_2_REST + _ONE_BY_LN10 * logarithm) + number * _LOG_2


def log1p(value: float) -> float | None:
    """Of a number above -1; None, as Spark has NULL, for others."""
    if math.isnan(value) or value == math.inf:
        return value
    if value <= -1:
        return None
    high = high_bits(value)
    power, rest, top = 1, 0.0, 0
    part = 0.0
    if high < 0x3FDA827A:
        if abs(value) < 2.0**-29:
            return value if abs(value) < 2.0**-54 else value - value * value * 0.5
        if high > 0 or high <= 0xBFD2BEC3 - 2**32:
            power, part, top = 0, value, 1
    if power:
        number = 1.0 + value if high < 0x43400000 else value
        power = (high_bits(number) >> 20) - 1023
        if high < 0x43400000:
            rest = (1.0 - (number - value) if power > 0 else value - (number - 1.0)) / number
        top = high_bits(number) & 0xFFFFF
        if top < 0x6A09E:
            number = with_high(number, top | 0x3FF00000)
        else:
            power += 1
            number = with_high(number, top | 0x3FE00000)
            top = (0x100000 - top) >> 2
        part = number - 1.0
    half = 0.5 * part * part
    if top == 0:
        if part == 0:
            return power * _LN2 + (rest + power * _LN2_REST) if power else 0.0
        near = half * (1.0 - 0.66666666666666666 * part)
        return power * _LN2 - ((near - (power * _LN2_REST + rest)) - part) if power else part - near
    ratio = part / (2.0 + part)
    square = ratio * ratio
    near = square * series(square, _LOG1P)
    if power == 0:
        return part - (half - ratio * (half + near))
    return power * _LN2 - ((half - (ratio * (half + near) + (power * _LN2_REST + rest))) - part)


def expm1(value: float) -> float:
    if math.isnan(value) or value == math.inf:
        return value
    if value > 7.09782712893383973096e02:
        return math.inf
    size = high_bits(value) & 0x7FFFFFFF
    if size >= 0x4043687A and value < 0:
        return -1.0
    power, rest = 0, 0.0
    if size > 0x3FD62E42:
        step = math.copysign(0.5, value)
        power = int(2 * step) if size < 0x3FF0A2B2 else int(_ONE_BY_LN2 * value + step)
        high, low = value - power * _LN2, power * _LN2_REST
        value = high - low
        rest = (high - value) - low
    elif size < 0x3C900000:
        return value
    half = 0.5 * value
    square = value * half
    near = series(square, _EXPM1)
    t = 3.0 - near * half
    error = square * ((near - t) / (6.0 - value * t))
    if power == 0:
        return value - (value * error - square)
    error = value * (error - rest) - rest
    error -= square
    if power == -1:
        return 0.5 * (value - error) - 0.5
    if power == 1:
        return -2.0 * (error - (value + 0.5)) if value < -0.25 else 1.0 + 2.0 * (value - error)
    if power <= -2 or power > 56:
        return _moved(1.0 - (error - value), power) - 1.0
    if power < 20:
        return _moved(with_high(1.0, 0x3FF00000 - (0x200000 >> power)) - (error - value), power)
    return _moved((value - (error + 2.0**-power)) + 1.0, power)


def _moved(value: float, power: int) -> float:
    """The exponent raised by adding to its bits, which wraps where a number would be too large."""
    return with_high(value, high_bits(value) + (power << 20))


def asin(value: float) -> float:
    size = abs(value)
    if math.isnan(value) or size > 1:
        return math.nan
    if size == 1:
        return value * _HALF_PI + value * _HALF_PI_REST
    if size < 0.5:
        if size < 2.0**-27:
            return value
        square = value * value
        return value + value * (square * series(square, _ASIN) / series(square, _ASIN_BELOW))
    square = (1.0 - size) * 0.5
    ratio = square * series(square, _ASIN) / series(square, _ASIN_BELOW)
    root = math.sqrt(square)
    if high_bits(size) >= 0x3FEF3333:
        made = _HALF_PI - (2.0 * (root + root * ratio) - _HALF_PI_REST)
    else:
        cutoff = cut(root)
        rest = (square - cutoff * cutoff) / (root + cutoff)
        made = _HALF_PI / 2 - ((2.0 * root * ratio - (_HALF_PI_REST - 2.0 * rest)) - (_HALF_PI / 2 - 2.0 * cutoff))
    return math.copysign(made, value)


def acos(value: float) -> float:
    size = abs(value)
    if math.isnan(value) or size > 1:
        return math.nan
    if size == 1:
        return 0.0 if value > 0 else math.pi + 2.0 * _HALF_PI_REST
    if size < 0.5:
        if high_bits(size) <= 0x3C600000:
            return _HALF_PI + _HALF_PI_REST
        square = value * value
        ratio = square * series(square, _ASIN) / series(square, _ASIN_BELOW)
        return _HALF_PI - (value - (_HALF_PI_REST - value * ratio))
    square = (1.0 - size) * 0.5
    root = math.sqrt(square)
    ratio = square * series(square, _ASIN) / series(square, _ASIN_BELOW)
    if value < 0:
        return math.pi - 2.0 * (root + (ratio * root - _HALF_PI_REST))
    cutoff = cut(root)
    return 2.0 * (cutoff + (ratio * root + (square - cutoff * cutoff) / (root + cutoff)))


def atan(value: float) -> float:
    if math.isnan(value):
        return value
    size = abs(value)
    if size >= 2.0**66:
        return math.copysign(_ATAN_AT[3] + _ATAN_AT_REST[3], value)
    if size < 2.0**-29:
        return value
    place = -1
    x = value
    if size >= 0.4375:
        if size < 0.6875:
            place, x = 0, (2.0 * size - 1.0) / (2.0 + size)
        elif size < 1.1875:
            place, x = 1, (size - 1.0) / (size + 1.0)
        elif size < 2.4375:
            place, x = 2, (size - 1.5) / (1.0 + 1.5 * size)
        else:
            place, x = 3, -1.0 / size
    square = x * x
    fourth = square * square
    odd = square * series(fourth, _ATAN[0::2])
    even = fourth * series(fourth, _ATAN[1::2])
    if place < 0:
        return x - x * (odd + even)
    return math.copysign(_ATAN_AT[place] - ((x * (odd + even) - _ATAN_AT_REST[place]) - x), value)


def atan2(y: float, x: float) -> float:
    """Spark adds 0.0 to both, so that there is no -0.0."""
    y, x = y + 0.0, x + 0.0
    if math.isnan(x) or math.isnan(y):
        return math.nan
    if x == 1:
        return atan(y)
    left = math.copysign(1, x) < 0
    if y == 0:
        return math.copysign(math.pi, y) if left else y
    if x == 0:
        return math.copysign(_HALF_PI, y)
    if math.isinf(x):
        if math.isinf(y):
            return math.copysign(3.0 * (_HALF_PI / 2) if left else _HALF_PI / 2, y)
        return math.copysign(math.pi if left else 0.0, y)
    if math.isinf(y):
        return math.copysign(_HALF_PI, y)
    apart = ((high_bits(y) & 0x7FFFFFFF) - (high_bits(x) & 0x7FFFFFFF)) >> 20
    if apart > 60:
        made = _HALF_PI + _HALF_PI_REST
    elif left and apart < -60:
        made = 0.0
    else:
        made = atan(abs(y / x))
    if not left:
        return math.copysign(made, y)
    return math.copysign(math.pi - (made - 2.0 * _HALF_PI_REST), y)


def sinh(value: float) -> float:
    if not math.isfinite(value):
        return value
    size, half = abs(value), math.copysign(0.5, value)
    if size < 22:
        if size < 2.0**-28:
            return value
        t = expm1(size)
        return half * (2.0 * t - t * t / (t + 1.0)) if size < 1 else half * (t + t / (t + 1.0))
    return _large(size, half)


def _large(size: float, half: float) -> float:
    """Half of e to this power, with the sign of `half`."""
    if high_bits(size) < 0x40862E42:
        return half * exp(size)
    if size <= float.fromhex("0x1.633ce8fb9f87dp9"):
        root = exp(0.5 * size)
        return half * root * root
    return math.copysign(math.inf, half)


def cosh(value: float) -> float:
    if not math.isfinite(value):
        return abs(value)
    size = abs(value)
    if high_bits(size) < 0x3FD62E43:
        t = expm1(size)
        above = 1.0 + t
        return above if high_bits(size) < 0x3C800000 else 1.0 + (t * t) / (above + above)
    if size < 22:
        t = exp(size)
        return 0.5 * t + 0.5 / t
    return _large(size, 0.5)


def tanh(value: float) -> float:
    if math.isnan(value):
        return value
    size = abs(value)
    if size >= 22:
        return math.copysign(1.0, value)
    if size < 2.0**-55:
        return value * (1.0 + value)
    if size >= 1:
        return math.copysign(1.0 - 2.0 / (expm1(2.0 * size) + 2.0), value)
    t = expm1(-2.0 * size)
    return math.copysign(-t / (t + 2.0), value)


def _log(value: float) -> float:
    """The logarithm with Java's NaN and -Infinity."""
    made = log(value)
    return made if made is not None else -math.inf if value == 0 else math.nan


def _root(value: float) -> float:
    return math.sqrt(value) if value >= 0 else math.nan


def asinh(value: float) -> float:
    return value if value == -math.inf else _log(value + _root(value * value + 1.0))


def acosh(value: float) -> float:
    return _log(value + _root(value * value - 1.0))


def _log1p(value: float) -> float:
    made = log1p(value)
    return made if made is not None else -math.inf if value == -1 else math.nan


def atanh(value: float) -> float:
    return 0.5 * (_log1p(value) - _log1p(-value))


FUNCTIONS: dict[str, Callable[..., float | None]] = {
    "power": java_power.power, "hypot": hypot, "atan2": atan2, "cbrt": cbrt, "log10": log10,
    "log1p": log1p, "expm1": expm1, "asin": asin, "acos": acos, "atan": atan, "sinh": sinh, "cosh": cosh, "tanh": tanh,
    "asinh": asinh, "acosh": acosh, "atanh": atanh,
}  # fmt: skip
"""By the name that `values.py` gives them in SQL."""
