"""Cheap proofs that a text holds no PII of a kind: necessary conditions of presidio's recognizers.

A gate that stays shut means the recognizer finds nothing; one that opens means only that it must be asked. Most texts
are settled here, so this module imports nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

_DIGIT = re.compile(r"\d")
_ALONE, _ENDS = "(?<![0-9A-Za-z_])", "(?![0-9A-Za-z_])"
"""A word boundary, as far as ASCII goes: what is a letter elsewhere is left to the recognizer."""
_ACCOUNT = re.compile(rf"{_ALONE}[0-9]{{8,17}}{_ENDS}")
_SSN = re.compile(rf"{_ALONE}[0-9]{{3}}[- .]?[0-9]{{2}}[- .]?[0-9]{{4}}{_ENDS}")
_CARD = re.compile(rf"{_ALONE}[13456]\d{{3}}[- ]?\d{{3,4}}[- ]?\d{{3,4}}[- ]?\d{{3,5}}{_ENDS}")
PHONE_PUNCTUATION = (
    r"-x\u2010-\u2015\u2212\u30fc\uff0d-\uff0f \u00a0\u00ad\u200b\u2060\u3000"
    r"()\uff08\uff09\uff3b\uff3d.\[\]/~\u2053\u223c\uff5e"
)
"""What phonenumbers takes between the digits of a number, case-insensitively; a test compares."""
_PHONE_RUN = re.compile(rf"\d(?:[{PHONE_PUNCTUATION}]{{0,4}}\d){{3,4}}", re.IGNORECASE)
_SHORT_PHONE = re.compile(r"16[489][0-9]")
"""The only phone numbers of four digits: old German pagers."""
_DOTTED = re.compile(r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]")
_IBAN_DIGITS = re.compile(r"[0-9]{2}(?<=[^\W\d_]{2}[0-9]{2})(?=[ -]?[^\W_]{4}[ -]?[^\W_]{4})")
"""The check digits of what may be an IBAN: two letters before them, two groups of four after them."""
_SEPARATORS = re.compile(r"\D+")


def may_hold_account(text: str, begin: int = 0) -> bool:
    """A bank account is eight to seventeen digits in a row."""
    return _ACCOUNT.search(text, begin) is not None


def may_hold_ssn(text: str, begin: int = 0) -> bool:
    """An SSN is nine digits, in up to three groups."""
    return _SSN.search(text, begin) is not None


def may_hold_card(text: str, begin: int = 0) -> bool:
    """A card is thirteen to seventeen digits, in up to four groups."""
    return _CARD.search(text, begin) is not None


def may_hold_ip(text: str, begin: int = 0) -> bool:
    """An address has `::`, seven colons, or four numbers with dots."""
    return "::" in text or text.count(":") >= 7 or _DOTTED.search(text, begin) is not None


def may_hold_iban(text: str, begin: int = 0) -> bool:
    """An IBAN is two letters, two digits and at least two groups of four."""
    return _IBAN_DIGITS.search(text, begin) is not None


def count_digits(text: str) -> int:
    """How many digits a text has, of any script."""
    return len(_DIGIT.findall(text))


def next_phone_run(text: str, index: int = 0) -> int:
    """Where, from `index` on, at least five digits stand close to one another (four in German pagers), or -1."""
    for run in _PHONE_RUN.finditer(text, index):
        digits = _SEPARATORS.sub("", run[0])
        if len(digits) > 4 or not digits.isascii() or is_short_phone(digits):
            return run.start()
    return -1


def is_short_phone(digits: str) -> bool:
    """True for the only phone numbers of four digits."""
    return _SHORT_PHONE.fullmatch(digits) is not None


def may_hold_phone(text: str, begin: int = 0) -> bool:
    """A phone number has at least five digits close to one another, but for German pagers."""
    return next_phone_run(text, begin) >= 0


_NUMBER_GATES: dict[str, Callable[[str, int], bool]] = {
    "CREDIT_CARD": may_hold_card,
    "US_BANK_NUMBER": may_hold_account,
    "US_SSN": may_hold_ssn,
    "IBAN_CODE": may_hold_iban,
    "PHONE_NUMBER": may_hold_phone,
}


class Gates:
    """The gates of a list of entities. An entity that has none is always asked for."""

    def __init__(self, entities: Iterable[str]) -> None:
        wanted = set(entities)
        self._ungated = frozenset(wanted - set(_NUMBER_GATES) - {"EMAIL_ADDRESS", "IP_ADDRESS"})
        self._email, self._ip = "EMAIL_ADDRESS" in wanted, "IP_ADDRESS" in wanted
        self._numbers = [(gate, entity) for entity, gate in _NUMBER_GATES.items() if entity in wanted]

    def suspects(self, text: str) -> tuple[frozenset[str], int]:
        """The entities that the text may hold, none for certainly none, and where its first digit is (0 without)."""
        found = self._ungated
        if self._email and "@" in text:
            found |= {"EMAIL_ADDRESS"}
        digit = _DIGIT.search(text)
        begin = 0 if digit is None else digit.start()
        if self._ip and may_hold_ip(text, begin):
            found |= {"IP_ADDRESS"}
        if digit is not None:
            for gate, entity in self._numbers:
                if gate(text, begin):
                    found |= {entity}
        return found, begin
