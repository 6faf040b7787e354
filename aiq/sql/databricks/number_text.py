"""Numbers as Java prints them, and so Spark."""

from __future__ import annotations

import decimal
import math

import numpy as np


def double_text(value: float) -> str:
    """Java's text of a DOUBLE: 1.0, 1.0E10, 1.0E-5, NaN, Infinity."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0:
        return "-0.0" if math.copysign(1, value) < 0 else "0.0"
    return _java(repr(value), abs(value))


def _java(digits: str, size: float) -> str:
    if 1e-3 <= size < 1e7:
        text = f"{decimal.Decimal(digits):f}"
        return text if "." in text else f"{text}.0"
    sign, numbers, exponent = decimal.Decimal(digits).as_tuple()
    assert isinstance(exponent, int)
    whole = "".join(map(str, numbers))
    power = len(whole) - 1 + exponent
    rest = whole[1:].rstrip("0") or "0"
    return f"{'-' if sign else ''}{whole[0]}.{rest}E{power}"


def float_text(value: float) -> str:
    """Java's text of a FLOAT."""
    if math.isnan(value) or math.isinf(value) or value == 0:
        return double_text(value)
    return _java(np.format_float_positional(np.float32(value), trim="0"), abs(value))
