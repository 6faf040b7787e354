"""Numbers by a pattern of digits, as Spark's `to_char(12454.8, '99,999.9')` and `to_number('$12', '$99')`."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Decimal, localcontext
from functools import cache
from typing import NamedTuple

_PICTURE = re.compile(r"(MI|S|)(\$?)([09]+(?:[,G][09]+)*|)([.D]?)([09]*)(MI|S|PR|)")


class NumberFormat(NamedTuple):
    """A pattern: groups of digits before the point ('099', '999'), a point, digits after it, signs."""

    first_sign: str
    dollar: str
    groups: tuple[str, ...]
    point: bool
    fraction: int
    last_sign: str

    @property
    def precision(self) -> int:
        return self.fraction + sum(map(len, self.groups))


@cache
def number_format(pattern: str) -> NumberFormat | None:
    """What a pattern says; None for one that Spark does not take, or that has a sign at both ends."""
    found = _PICTURE.fullmatch(pattern.upper())
    if found is None:
        return None
    first, dollar, whole, point, fraction, last = found.groups()
    groups = tuple(re.split("[,G]", whole)) if whole else ()
    made = NumberFormat(first, dollar, groups, bool(point), len(fraction), last)
    return made if 0 < made.precision <= 38 and not (first and last) and (point or not fraction) else None


def to_char(value: Decimal | float | int, pattern: str) -> str | None:
    """A number as its pattern prints it, `#` for each digit where it has more than the pattern; None for NaN, infinity.

    Raises OverflowError for a DOUBLE that is no DECIMAL(30,15), which is what Spark makes of it.
    """
    form = number_format(pattern)
    assert form is not None  # the translation has refused the pattern
    number = _exact(value)
    if number is None:
        return None
    whole, _, fraction = f"{abs(number):f}".partition(".")
    whole, fraction = whole.lstrip("0"), fraction.rstrip("0")
    places = form.precision - form.fraction
    if len(whole) > places or len(fraction) > form.fraction:
        whole, fraction = "#" * places, "#" * form.fraction
    made = _signed("", form.first_sign, number < 0) + form.dollar
    made = "<" + made if form.last_sign == "PR" and number < 0 else made
    made = _with_groups(made, form.groups, whole.rjust(places))
    if form.point:
        made = (made[:-1] + "0" if made.endswith(" ") else made) + "." + fraction.ljust(form.fraction, "0")
    return _without_lone_point(_signed(made, form.last_sign, number < 0)) or "0"


def to_number(value: str, pattern: str) -> str:
    """The number that a text is by a pattern, in plain digits. Raises ValueError for a text that is not like it."""
    form = number_format(pattern)
    assert form is not None
    made = _parsed(value, form)
    if made is None:
        raise ValueError(
            f"to_number cannot read {value!r} by the pattern {pattern!r}. Use try_to_number, which gives NULL then"
        )
    return made


def try_to_number(value: str, pattern: str) -> str | None:
    form = number_format(pattern)
    assert form is not None
    return _parsed(value, form)


def _exact(value: Decimal | float | int) -> Decimal | None:
    if not isinstance(value, float):
        return Decimal(value)
    if value - value != 0:
        return None
    if abs(value) >= 10**15:
        raise OverflowError(f"{value} cannot be a DECIMAL(30,15), which to_char makes of a DOUBLE")
    with localcontext(prec=60):
        return Decimal(repr(value)).quantize(Decimal("1E-15"), ROUND_HALF_UP)


def _with_groups(made: str, groups: tuple[str, ...], digits: str) -> str:
    at = 0
    for number, group in enumerate(groups):
        if number:
            made = made + "," if made[-1:].isdigit() else _spaced(made)
        for digit in digits[at : at + len(group)]:
            if digit != " ":
                made += digit
            else:
                made = made + "0" if group[0] == "0" else _spaced(made)
        at += len(group)
    return made


def _spaced(made: str) -> str:
    """With a space, which goes before signs at the end."""
    kept = made.rstrip("+-<")
    return f"{kept} {made[len(kept) :]}"


def _signed(made: str, sign: str, negative: bool) -> str:
    """With the sign of a pattern, which goes before spaces at the end."""
    if not sign:
        return made
    if not negative and sign == "MI":
        return made + " "
    made = _without_lone_point(made)
    if not negative and sign == "PR":
        return made + "  "
    mark = "+" if not negative else ">" if sign == "PR" else "-"
    kept = made.rstrip(" ")
    return kept + mark + made[len(kept) :]


def _without_lone_point(made: str) -> str:
    at = made.find(".")
    return made[:at] + " " + made[at + 1 :] if at >= 0 and made[at + 1 : at + 2] in ("", " ") else made


def _parsed(value: str, form: NumberFormat) -> str | None:
    rest = value
    opened = form.last_sign == "PR" and rest.startswith("<")
    rest = rest[opened:]
    rest, negative = _sign_read(rest, form.first_sign)
    if form.dollar and rest:
        if not rest.startswith("$"):
            return None
        rest = rest[1:]
    whole, rest = _digits(rest) if form.groups else ("", rest)
    if form.groups and not _fits(whole, form.groups):
        return None
    fraction, pointed = "", False
    if form.point and rest.startswith("."):
        rest, pointed = rest[1:], True
    if form.fraction:
        fraction, rest = _digits(rest)
        if not _fits(fraction, ("9" * form.fraction,)):
            return None
        if not pointed:
            whole, fraction = whole + fraction, ""
    closed = False
    if form.last_sign == "PR" and rest.startswith(">"):
        if not opened:
            return None
        closed, negative, rest = True, True, rest[1:]
    elif form.last_sign in ("S", "MI"):
        rest, negative = _sign_read(rest, form.last_sign)
    whole, fraction = (re.sub(r"[\s,]", "", each) for each in (whole, fraction))
    if rest or opened != closed or not (whole or fraction):
        return None
    return f"{'-' if negative else ''}{whole or '0'}.{fraction or '0'}"


def _sign_read(text: str, sign: str) -> tuple[str, bool]:
    if sign in ("S", "MI") and text.startswith("-"):
        return text[1:], True
    return (text[1:], False) if sign == "S" and text.startswith("+") else (text, False)


def _digits(text: str) -> tuple[str, str]:
    """The digits, commas and spaces that a text begins with, and the rest."""
    found = re.match(r"[\d,\s]*", text)
    assert found is not None
    return found.group(), text[found.end() :]


def _fits(text: str, groups: tuple[str, ...]) -> bool:
    """Whether digits in groups fit those of a pattern, counted from the right; one that begins with 0 is full."""
    sizes = [len(re.sub(r"\s", "", each)) for each in reversed(text.split(","))]
    if len(sizes) > len(groups):
        return False
    sizes += [0] * (len(groups) - len(sizes))
    return all(
        size == len(group) if group[0] == "0" else size <= len(group)
        for size, group in zip(sizes, reversed(groups), strict=True)
    )
