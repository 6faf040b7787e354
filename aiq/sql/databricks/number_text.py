"""Numbers as Java 17 prints them, and so Spark: not always the shortest text that reads back as the same number."""

from __future__ import annotations

import math
import struct

_BITS_OF_DOUBLE = 53


def double_text(value: float) -> str:
    """Java's text of a DOUBLE: 1.0, 1.0E10, 1.0E-5, NaN, Infinity."""
    return _text(value, _BITS_OF_DOUBLE, -1074)


def float_text(value: float) -> str:
    """Java's text of a FLOAT."""
    return _text(struct.unpack("f", struct.pack("f", value))[0], 24, -149)


def _text(value: float, bits: int, lowest: int) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    sign = "-" if math.copysign(1, value) < 0 else ""
    if value == 0:
        return f"{sign}0.0"
    digits, point = _digits(abs(value), bits, lowest)
    if 0 < point < 8:
        return f"{sign}{digits[:point].ljust(point, '0')}.{digits[point:] or '0'}"
    if -3 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    return f"{sign}{digits[0]}.{digits[1:] or '0'}E{point - 1}"


def _digits(value: float, bits: int, lowest: int) -> tuple[str, int]:
    """The decimal digits, and how many of them stand before the point.

    Digits are made until they tell the number from its neighbours, as by Steele and White, with what Java's
    `Double.toString` has of its own before Java 19: the neighbours of a power of two are taken to be as far below as
    above, a text with an exponent has two digits at least, a whole number drops digits by the power of two, and what
    fits in 32 or 64 bits is computed in them, where sums may wrap around.
    """
    mantissa, exponent = math.frexp(value)
    power = exponent - 1
    integer = int(mantissa * 2**_BITS_OF_DOUBLE)  # 53 bits, the first is set
    significant = min(bits, power - lowest + 1)
    tail = (integer & -integer).bit_length() - 1
    fraction_bits = _BITS_OF_DOUBLE - tail
    tiny = max(0, fraction_bits - power - 1)
    if tiny == 0 and power <= 62:
        return _integer_digits(int(value), power - significant - 1)
    estimate = (mantissa * 2 - 1.5) * 0.289529654 + 0.176091259 + power * 0.301029995663981
    decimal = math.floor(estimate)
    five, two = max(0, -decimal), max(0, -decimal) + tiny + power
    margin_two = two - significant - (fraction_bits == 1)
    two -= fraction_bits - 1
    scale_five, scale_two = max(0, decimal), max(0, decimal) + tiny
    common = min(two, scale_two)
    lift = max(0, common - margin_two) - common
    number_bits = fraction_bits + two + lift + _five_bits(five)
    scale_bits = scale_two + lift + 1 + _five_bits(scale_five + 1)
    width = next((each for each in (32, 64) if number_bits < each and scale_bits < each), 0)
    number = (integer >> tail) * 5**five << (two + lift)
    scale = 5**scale_five << (scale_two + lift)
    margin = 5**five << (margin_two + lift)
    digits: list[int] = []
    digit, rest = divmod(number, scale)
    number, margin, tens = rest * 10, margin * 10, scale * 10
    low, high = _ends(number, margin, tens, width)
    if digit == 0 and not high:
        decimal -= 1
    else:
        digits.append(digit)
    if decimal < -3 or decimal >= 8:
        low = high = False
    while not low and not high:
        digit, rest = divmod(number, scale)
        digits.append(digit)
        number, margin = rest * 10, margin * 10
        low, high = _ends(number, margin, tens, width)
    middle = _wrapped(2 * number - tens, width)
    if high and (not low or middle > 0 or (middle == 0 and digits[-1] % 2)):
        up = int("".join(map(str, digits))) + 1
        text = str(up)
        return text.rstrip("0") or "0", decimal + 1 + len(text) - len(digits)
    return "".join(map(str, digits)), decimal + 1


def _five_bits(power: int) -> int:
    return 0 if power == 0 else (5**power).bit_length() if power < 27 else power * 3


def _wrapped(value: int, width: int) -> int:
    return value if not width else (value + 2 ** (width - 1)) % 2**width - 2 ** (width - 1)


def _ends(number: int, margin: int, tens: int, width: int) -> tuple[bool, bool]:
    """Whether the digits so far tell the number from the one below, and from the one above."""
    if width == 0:
        return number < margin, number + margin >= tens
    if _wrapped(margin, width) <= 0:
        return True, True
    return number < margin, _wrapped(number + margin, width) > tens


def _integer_digits(number: int, beyond: int) -> tuple[str, int]:
    dropped = int(beyond * 0.30102999566) if beyond > 1 else 0
    made, rest = divmod(number, 10**dropped)
    text = str(made + (dropped > 0 and 2 * rest >= 10**dropped))
    return text.rstrip("0"), len(text) + dropped
