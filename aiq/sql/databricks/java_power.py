"""power(x, y) as Java's StrictMath computes it, and so Spark: to the last bit, by the method of fdlibm."""

from __future__ import annotations

import math

from aiq.sql.databricks.java_bits import cut, high_bits, scaled, series, table, with_high

_POW_LOG = table("0x1.3333333333303p-1 0x1.b6db6db6fabffp-2 0x1.55555518f264dp-2 0x1.17460a91d4101p-2 "
                  "0x1.d864a93c9db65p-3 0x1.a7e284a454eefp-3")  # fmt: skip
_POW_EXP = table("0x1.555555555553ep-3 -0x1.6c16c16bebd93p-9 0x1.1566aaf25de2cp-14 -0x1.bbd41c5d26bf1p-20 "
                  "0x1.6376972bea4d0p-25")  # fmt: skip
_CP, _CP_HIGH, _CP_LOW, _DP_HIGH, _DP_LOW = table(
    "0x1.ec709dc3a03fdp-1 0x1.ec709ep-1 -0x1.e2fe0145b01f5p-28 0x1.2b8034p-1 0x1.cfdeb43cfd006p-27"
)
_ONE_BY_LN2 = float.fromhex("0x1.71547652b82fep0")


def _one_by(value: float) -> float:
    return 1.0 / value if value else math.copysign(math.inf, value)


def _parity(value: float) -> int:
    """1 for an odd whole number, 2 for an even one, 0 for what is none."""
    return 0 if value != math.floor(value) else 2 - int(math.fmod(abs(value), 2))


def power(base: float, by: float) -> float:
    if by == 0:
        return 1.0
    if math.isnan(base) or math.isnan(by):
        return math.nan
    size = abs(base)
    if by == 2:
        return base * base
    if by == 0.5 and base != -math.inf:
        return math.sqrt(base + 0.0) if base >= 0 else math.nan
    if abs(by) == 1:
        return base if by == 1 else _one_by(base)
    if math.isinf(by):
        if size == 1:
            return math.nan
        return math.inf if (size > 1) == (by > 0) else 0.0
    negative = math.copysign(1, base) < 0
    parity = _parity(by) if negative else 0
    if size in (0.0, 1.0, math.inf):
        made = size if by > 0 else _one_by(size)
        if negative and size == 1 and parity == 0:
            return math.nan
        return -made if parity == 1 else made
    if negative and parity == 0:
        return math.nan
    sign = -1.0 if parity == 1 else 1.0
    if abs(by) > float.fromhex("0x1.00000ffffffffp31"):
        if size < float.fromhex("0x1.fffff00000000p-1"):
            return sign * (math.inf if by < 0 else 0.0)
        if size > float.fromhex("0x1.00000ffffffffp0"):
            return sign * (math.inf if by > 0 else 0.0)
        high, low = _log2_near_one(size - 1.0)
    else:
        high, low = _log2_in_two(size)
    by_high = cut(by)
    p_low = (by - by_high) * high + by * low
    p_high = by_high * high
    return sign * _two_to(p_high, p_low)


def _log2_near_one(t: float) -> tuple[float, float]:
    """The logarithm to the base 2 of 1 + t, in two parts."""
    rest = (t * t) * (0.5 - t * (0.3333333333333333333333 - t * 0.25))
    u = float.fromhex("0x1.715476p0") * t
    v = t * float.fromhex("0x1.4ae0bf85ddf44p-26") - rest * _ONE_BY_LN2
    high = cut(u + v)
    return high, v - (high - u)


def _log2_in_two(size: float) -> tuple[float, float]:
    """The logarithm to the base 2 of a number above 0, in two parts."""
    power = 0
    if size < 2.0**-1022:
        size, power = size * 2.0**53, -53
    top = high_bits(size)
    power += (top >> 20) - 0x3FF
    mantissa = top & 0xFFFFF
    top = mantissa | 0x3FF00000
    k = 0
    if 0x3988E < mantissa < 0xBB67A:
        k = 1
    elif mantissa >= 0xBB67A:
        power += 1
        top -= 0x100000
    size = with_high(size, top)
    center = 1.0 + 0.5 * k
    u, v = size - center, 1.0 / (size + center)
    s = u * v
    s_high = cut(s)
    t_high = with_high(0.0, ((top >> 1) | 0x20000000) + 0x80000 + (k << 18))
    t_low = size - (t_high - center)
    s_low = v * ((u - s_high * t_high) - s_high * t_low)
    square = s * s
    rest = square * square * series(square, _POW_LOG)
    rest += s_low * (s_high + s)
    square = s_high * s_high
    t_high = cut(3.0 + square + rest)
    t_low = rest - ((t_high - 3.0) - square)
    u, v = s_high * t_high, s_low * t_high + t_low * s
    p_high = cut(u + v)
    p_low = v - (p_high - u)
    z_high, z_low = _CP_HIGH * p_high, _CP_LOW * p_high + p_low * _CP + _DP_LOW * k
    t = float(power)
    high = cut(((z_high + z_low) + _DP_HIGH * k) + t)
    return high, z_low - (((high - t) - _DP_HIGH * k) - z_high)


def _two_to(high: float, low: float) -> float:
    """2 to the power of a sum of two parts."""
    z = low + high
    if z > 1024 or (z == 1024 and low + 8.0085662595372944372e-17 > z - high):
        return math.inf
    if z < -1075 or (z == -1075 and low <= z - high):
        return 0.0
    integer = 0
    if high_bits(abs(z)) > 0x3FE00000:
        top = high_bits(z)
        moved = top + (0x100000 >> (((top & 0x7FFFFFFF) >> 20) - 0x3FF + 1))
        k = ((moved & 0x7FFFFFFF) >> 20) - 0x3FF
        high -= with_high(0.0, moved & ~(0xFFFFF >> k))
        integer = ((moved & 0xFFFFF) | 0x100000) >> (20 - k)
        if top < 0:
            integer = -integer
    t = cut(low + high)
    u = t * float.fromhex("0x1.62e43p-1")
    v = (low - (t - high)) * float.fromhex("0x1.62e42fefa39efp-1") + t * float.fromhex("-0x1.05c610ca86c39p-29")
    z = u + v
    w = v - (z - u)
    square = z * z
    near = z - square * series(square, _POW_EXP)
    rest = (z * near) / (near - 2.0) - (w + z * w)
    return scaled(1.0 - (rest - z), integer)
