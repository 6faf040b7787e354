"""exp and log as Java's StrictMath computes them, and so Spark: to the last bit, by the polynomials of fdlibm."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

_HIGH, _LOW, _INVERSE = 6.93147180369123816490e-01, 1.90821492927058770002e-10, 1.44269504088896338700
_EXP = (1.66666666666666019037e-01, -2.77777777770155933842e-03, 6.61375632143793436117e-05,
        -1.65339022054652515390e-06, 4.13813679705723846039e-08)  # fmt: skip
_LOG = (6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01, 2.222219843214978396e-01,
        1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01)  # fmt: skip


def _bits(value: float) -> int:
    return int(struct.unpack(">Q", struct.pack(">d", value))[0])


def exp(value: float) -> float:
    if math.isnan(value):
        return value
    if value > 7.09782712893383973096e02:
        return math.inf
    if value < -7.45133219101941108420e02:
        return 0.0
    size = (_bits(value) >> 32) & 0x7FFFFFFF
    high = low = 0.0
    power = 0
    if size > 0x3FD62E42:
        power = int(math.copysign(1, value)) if size < 0x3FF0A2B2 else int(_INVERSE * value + math.copysign(0.5, value))
        high, low = value - power * _HIGH, power * _LOW
        value = high - low
    elif size < 0x3E300000:
        return 1.0 + value
    square = value * value
    rest = 0.0
    for each in reversed(_EXP):
        rest = square * (each + rest)
    rest = value - rest
    if power == 0:
        return 1.0 - ((value * rest) / (rest - 2.0) - value)
    return math.ldexp(1.0 - ((low - (value * rest) / (2.0 - rest)) - high), power)


def log(value: float) -> float | None:
    """Of a number above 0; None, as Spark has NULL, for others."""
    if math.isnan(value) or value == math.inf:
        return value
    if value <= 0:
        return None
    power = -1023
    if value < 2.2250738585072014e-308:
        power, value = power - 54, value * 2.0**54
    bits = _bits(value)
    top = (bits >> 32) & 0xFFFFF
    power += bits >> 52
    half = (top + 0x95F64) & 0x100000
    joined = ((top | (half ^ 0x3FF00000)) << 32) | (bits & 0xFFFFFFFF)
    power += half >> 20
    part = float(struct.unpack(">d", struct.pack(">Q", joined))[0]) - 1.0
    high, low = power * _HIGH, power * _LOW
    if (0xFFFFF & (2 + top)) < 3:
        if part == 0:
            return high + low if power else 0.0
        near = part * part * (0.5 - 0.33333333333333333 * part)
        return high - ((near - low) - part) if power else part - near
    ratio = part / (2.0 + part)
    square = ratio * ratio
    fourth = square * square
    even = fourth * (_LOG[1] + fourth * (_LOG[3] + fourth * _LOG[5]))
    odd = square * (_LOG[0] + fourth * (_LOG[2] + fourth * (_LOG[4] + fourth * _LOG[6])))
    rest = odd + even
    if (top - 0x6147A) | (0x6B851 - top) > 0:
        middle = 0.5 * part * part
        if power == 0:
            return float(part - (middle - ratio * (middle + rest)))
        return float(high - ((middle - (ratio * (middle + rest) + low)) - part))
    if power == 0:
        return float(part - ratio * (part - rest))
    return float(high - ((ratio * (part - rest) - low) - part))


def log_of(base: float, value: float) -> float | None:
    above, below = log(value), log(base)
    if above is None or below is None:
        return None
    if below == 0:
        return math.nan if above == 0 or math.isnan(above) else math.copysign(math.inf, above)
    return above / below


def log2(value: float) -> float | None:
    return log_of(2.0, value)


FUNCTIONS: dict[str, Callable[..., float | None]] = {"exp": exp, "ln": log, "log": log_of, "log2": log2}
"""By the name that `values.py` gives them in SQL."""
