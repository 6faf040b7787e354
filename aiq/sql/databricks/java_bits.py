"""The parts of a DOUBLE that fdlibm, the method of Java's StrictMath, computes with."""

from __future__ import annotations

import math
import struct


def table(text: str) -> tuple[float, ...]:
    return tuple(float.fromhex(each) for each in text.split())


def series(value: float, table: tuple[float, ...]) -> float:
    """The polynomial with these coefficients, the constant one first."""
    made = table[-1]
    for each in table[-2::-1]:
        made = each + value * made
    return made


def high_bits(value: float) -> int:
    """The upper 32 bits, with their sign."""
    return int(struct.unpack(">i", struct.pack(">d", value)[:4])[0])


def with_high(value: float, high: int) -> float:
    return float(struct.unpack(">d", struct.pack(">I", high & 0xFFFFFFFF) + struct.pack(">d", value)[4:])[0])


def cut(value: float) -> float:
    """The value without its lower 32 bits."""
    return float(struct.unpack(">d", struct.pack(">d", value)[:4] + b"\0\0\0\0")[0])


def scaled(value: float, power: int) -> float:
    try:
        return math.ldexp(value, power)
    except OverflowError:
        return math.copysign(math.inf, value)
