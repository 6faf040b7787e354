"""Functions of texts as Spark does them, a value at a time. `values.py` makes them functions of columns."""

from __future__ import annotations

import decimal
import re
import unicodedata
from base64 import b64encode
from urllib.parse import quote_plus

_SOUNDS = {letter: digit for digit, letters in {
    "1": "BFPV", "2": "CGJKQSXZ", "3": "DT", "4": "L", "5": "MN", "6": "R", "7": "HW",
}.items() for letter in letters}  # fmt: skip
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_PERCENT = re.compile(rb"\+|%([0-9a-fA-F]{2})|%|[^%+]+")


def initcap(value: str) -> str:
    return re.sub(r"[^ ]+", lambda word: word.group()[0].title() + word.group()[1:].lower(), value)


def reverse(value: str) -> str:
    """By characters; DuckDB's own keeps a letter and its accent together."""
    return value[::-1]


def base64(value: bytes) -> str:
    """In lines of 76 letters, as Spark's are."""
    text = b64encode(value).decode()
    return "\r\n".join(text[at : at + 76] for at in range(0, len(text), 76))


def find_in_set(value: str, within: str) -> int:
    return 0 if "," in value else ([*within.split(","), value].index(value) + 1) % (within.count(",") + 2)


def translate(value: str, old: str, new: str) -> str:
    table: dict[int, str | None] = {}
    for i, letter in enumerate(old):
        table.setdefault(ord(letter), new[i] if i < len(new) else None)
    return value.translate(table)


def locate(part: str, value: str, start: int) -> int:
    """From 1; 0 where it is not there. `start` counts from 1 as well."""
    return 0 if start < 1 else 1 if not part else value.find(part, start - 1) + 1


def overlay(value: str, new: str, start: int, length: int) -> str:
    """`length` below zero stands for the length of the new text. A start below 1 has no exact counterpart here."""
    if start < 1:
        raise ValueError(f"overlay begins at 1 or later, not at {start}")
    size = len(new) if length < 0 else length
    return value[: start - 1] + new + value[start - 1 + size :]


def soundex(value: str) -> str:
    """Spark's form: a text that does not begin with a letter of ASCII stays as it is."""
    if not value or not (value[0].isascii() and value[0].isalpha()):
        return value
    made, last = value[0].upper(), _SOUNDS.get(value[0].upper(), "0")
    for letter in value[1:].upper():
        if not (letter.isascii() and letter.isalpha()):
            last = "0"
            continue
        code = _SOUNDS.get(letter, "0")
        if code == "7":
            continue
        if code not in ("0", last):
            made += code
            if len(made) == 4:
                break
        last = code
    return made.ljust(4, "0")


def url_encode(value: str) -> str:
    return quote_plus(value, safe="*").replace("~", "%7E")


def url_decode(value: str) -> str:
    """Raises ValueError for a percent sign that two hexadecimal digits do not follow."""
    made = b""
    for found in _PERCENT.finditer(value.encode()):
        piece = found.group()
        if piece == b"%":
            raise ValueError(f"url_decode cannot read {value!r}: a % without two hexadecimal digits")
        made += b" " if piece == b"+" else bytes.fromhex(found.group(1).decode()) if found.group(1) else piece
    return made.decode("utf-8", "replace")


def mask(value: str, upper: str, lower: str, digit: str, other: str) -> str:
    """Each letter by its kind; '' keeps those of a kind. A letter beyond 16 bits is two others in Java."""
    kinds = {"Lu": upper, "Ll": lower, "Nd": digit}
    return "".join(
        (other * 2 if ord(letter) > 0xFFFF else kinds.get(unicodedata.category(letter), other)) or letter
        for letter in value
    )


def luhn_check(value: str) -> bool:
    if not value or not (value.isascii() and value.isdigit()):
        return False
    doubled = (int(digit) * (1 + at % 2) for at, digit in enumerate(reversed(value)))
    return sum(each - 9 if each > 9 else each for each in doubled) % 10 == 0


def conv(value: str, base: int, to: int) -> str | None:
    """A number in another base: the longest beginning that is one, in 64 bits; a base below zero prints a sign."""
    if not (2 <= base <= 36 and 2 <= abs(to) <= 36):
        return None
    text = value.strip(" ")
    if not text:
        return None
    negative = text.startswith("-")
    number = 0
    for letter in text[negative:].upper():
        digit = _DIGITS.find(letter)
        if not 0 <= digit < base:
            break
        number = number * base + digit
    if number >= 2**64:
        raise OverflowError(f"conv cannot read {value!r}: it is no number of 64 bits")
    if negative and to > 0:
        number = 2**64 - number if number < 2**63 else 2**64 - 1
        number %= 2**64
    signed = to < 0 and number >= 2**63
    if signed:
        number = 2**64 - number
    made = ""
    while number:
        number, digit = divmod(number, abs(to))
        made = _DIGITS[digit] + made
    return ("-" if (to < 0 and negative) or signed else "") + (made or "0")


def str_to_map(value: str, pairs: str, keys: str) -> list[tuple[str, str | None]]:
    """Raises ValueError for a key that comes twice, as Spark does."""
    made: dict[str, str | None] = {}
    for pair in value.split(pairs):
        key, colon, rest = pair.partition(keys)
        if key in made:
            raise ValueError(f"str_to_map has the key {key!r} twice")
        made[key] = rest if colon else None
    return list(made.items())


def format_number(value: float | int | decimal.Decimal, digits: int) -> str | None:
    """Thousands apart, rounded half to even on the value's exact digits, as Java's DecimalFormat does."""
    if digits < 0:
        return None
    if isinstance(value, float) and value - value != 0:
        return "NaN" if value != value else "∞" if value > 0 else "-∞"
    with decimal.localcontext(prec=400):
        exact = decimal.Decimal(value).quantize(decimal.Decimal(1).scaleb(-digits), decimal.ROUND_HALF_EVEN)
    return f"{exact:,f}"


def fixed(value: float, digits: int) -> str:
    """`%.2f` of Java's Formatter: rounded half up on the digits that the number prints with."""
    if value - value != 0:
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    with decimal.localcontext(prec=400):
        exact = decimal.Decimal(repr(value)).quantize(decimal.Decimal(1).scaleb(-digits), decimal.ROUND_HALF_UP)
    return f"{exact:f}"


def levenshtein(one: str, other: str) -> int:
    """How many letters must be put in, left out or replaced."""
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, wanted in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (letter != wanted))
    return row[-1]
