"""Phone numbers as presidio's PhoneRecognizer finds them, without parsing what cannot be one.

presidio searches a text once for each region. Here all regions share one search, and before a candidate is parsed for
a region its digits must fit that region's numbering plan. Knows no request and no other kind of PII.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from phonenumbers import (
    COUNTRY_CODE_TO_REGION_CODE,
    Leniency,
    PhoneMetadata,
    PhoneNumberMatch,
    PhoneNumberMatcher,
    phonenumbermatcher,
)

from aiq.policy.guardrails.gates import PHONE_PUNCTUATION, is_short_phone, next_phone_run

_matcher: Any = phonenumbermatcher  # its private parts, which are compared with in the tests

MIN_DIGITS = 4
"""No number of any region that presidio asks for has fewer digits; a test tries all shorter ones."""

_SIMPLE = re.compile(r"[0-9 ()./\[\]-]*")
_INTERNATIONAL = re.compile(r"\+([1-9][0-9 ()./\[\]-]*)")
_NOT_DIGITS = re.compile(r"[^0-9]+")
_OTHER_DIGIT = re.compile(r"(?![0-9])\d")
_SIGN = re.compile(rf"(?![x~])(?![ -\x7f])[{PHONE_PUNCTUATION}]")
_INNER_SEPARATOR = re.compile(r"[/(\s.‒-―－]")
"""Without one of these, nothing inside a candidate is tried on its own; ` - ` has spaces."""
_UNLIMITED = 20
"""Characters up to which none of the package's limits on digits and groups cuts a candidate short."""
_GLUE = frozenset(string.ascii_letters + "%$")
_MOST_DEAD = 20_000
_PARSE, _MATCH = 12, 50
"""Steps of work: one is a look at the digits of an attempt, about two microseconds."""
_LEAST_WORK, _WORK_A_CHARACTER = 50_000, 2
"""Steps that a text may cost: 32,768 characters take a tenth of a second where all of them look like numbers."""
_CANDIDATE_CHARACTERS = frozenset("0123456789+-()[]./~ \t;=,:#xXeEtTnNsSiIoOaA")
"""What a number with an extension may contain; of other scripts, everything."""
_TYPES = (
    "fixed_line", "mobile", "toll_free", "premium_rate", "shared_cost", "personal_number", "voip", "pager", "uan",
    "voicemail",
)  # fmt: skip


class _Attempt(NamedTuple):
    """A piece of text that is parsed as a number, for those regions whose numbers have such digits."""

    text: str
    offset: int
    digits: str | None  # None: there is more than digits and plain punctuation, so every region parses it
    worldwide: bool = False  # begins with + and a country code, so that it is the same number in every region


class _Plan(NamedTuple):
    """What the digits of a number written in a region must look like: necessary, not sufficient."""

    region: str
    family: tuple[object, ...]  # regions of one family read ten digits or more alike
    lengths: frozenset[int]  # digits of all numbers but those that begin with 0
    number: re.Pattern[str]
    longer: re.Pattern[str]  # a country code or national prefix, then a number; or the prefix for calls abroad
    national_prefix: re.Pattern[str] | None
    formats: Any

    def may_be(self, digits: str) -> bool:
        """False where no number of this region is written with these digits."""
        if digits[0] != "0" and len(digits) not in self.lengths:
            return False
        if self.longer.fullmatch(digits):
            return True
        if not self.number.fullmatch(digits):
            return False
        if self.national_prefix is not None and self.national_prefix.match(digits):
            return True
        # Some numbers are always written with the national prefix, so without it this is none.
        rule = _matcher._choose_formatting_pattern_for_number(self.formats, digits)
        return (
            rule is None
            or not rule.national_prefix_formatting_rule
            or bool(rule.national_prefix_optional_when_formatting)
            or bool(_matcher._formatting_rule_has_first_group_only(rule.national_prefix_formatting_rule))
        )


class PhoneFinder:
    """Finds what `PhoneRecognizer(supported_regions, leniency)` finds. Safe to share between threads."""

    def __init__(self, regions: Sequence[str], leniency: int) -> None:
        self._leniency = leniency
        self._plans = [_plan(region) for region in regions]
        self._dead: set[str] = set()

    def find(self, text: str, begin: int = 0) -> set[tuple[int, int]]:
        """Start and end of every number; those inside another one may be missing. No digit stands before `begin`."""
        while begin > 0 and _may_belong(text[begin - 1]):
            begin -= 1
        search = _Search(text, self._plans, self._leniency, self._dead)
        try:
            first = search.settle(begin)
            if first is not None:
                begin = first.start
                for plan in self._plans:
                    search.walk(plan, first)
        except _Exhausted:
            search.take_all(begin)
        return search.found


class _Exhausted(Exception):
    """The text has more that looks like a phone number than is worth telling apart."""


class _PhoneCandidate(NamedTuple):
    """A stretch of text that looks like a number, with what in it must be tried region by region.

    `closed`: no search that begins in it finds anything that reaches beyond its end.
    """

    start: int
    end: int
    attempts: list[_Attempt]
    closed: bool


class _Search:
    """One text's candidates and attempts, worked out once and tried for each region."""

    def __init__(self, text: str, plans: Sequence[_Plan], leniency: int, dead: set[str]) -> None:
        """`dead` are candidates in which no region sees a number, shared by all texts: years and amounts come back."""
        self._text, self._plans, self._dead = text, plans, dead
        self._matcher: Any = PhoneNumberMatcher(text, plans[0].region, leniency=leniency)
        self._strict = leniency >= Leniency.VALID
        self._candidates: dict[int, _PhoneCandidate | None] = {}
        self._plausible: dict[tuple[str, str], bool] = {}
        self._known: dict[tuple[object, ...], PhoneNumberMatch | None] = {}
        self._settled: set[tuple[int, int]] = set()
        self._work_left = max(_LEAST_WORK, len(text) * _WORK_A_CHARACTER)
        self.found: set[tuple[int, int]] = set()

    def walk(self, plan: _Plan, candidate: _PhoneCandidate | None) -> None:
        """As `PhoneNumberMatcher` walks through a text, but without its limit on tries, behind which one could hide."""
        while candidate is not None:
            index = candidate.end
            for attempt in candidate.attempts:
                match = self._parse(attempt, plan)
                if match is not None:
                    self.found.add((match.start, match.end))
                    index = match.end
                    break
            candidate = self._next(index)

    def settle(self, begin: int) -> _PhoneCandidate | None:
        """Finds those candidates that are numbers as a whole, and returns the first of the others.

        Only for the candidates that every region comes by: a number that one region sees inside an open candidate may
        lead it astray from the others.
        """
        first = candidate = self._next(begin, settle=True)
        while candidate is not None and candidate.closed:
            candidate = self._next(candidate.end, settle=True)
        return first

    def take_all(self, begin: int) -> None:
        """Takes all that looks like a number for one, from `begin` on: too much is better than one in a crowd."""
        index = begin
        while (begin := next_phone_run(self._text, index)) >= 0:
            while begin > index and _may_belong(self._text[begin - 1]):
                begin -= 1
            match = _matcher._PATTERN.search(self._text, begin)
            if match is None:
                return
            # The last digits or signs before a candidate may be the first of its number.
            before = self._text[begin : match.start()].lstrip(string.ascii_letters + string.whitespace)
            start = match.start() - len(before)
            self.found.add((start, match.end()))
            index = match.end()

    def _work(self, steps: int) -> None:
        self._work_left -= steps
        if self._work_left < 0:
            raise _Exhausted

    def _next(self, index: int, *, settle: bool = False) -> _PhoneCandidate | None:
        """The next candidate from `index` on that has anything to be tried."""
        if index not in self._candidates:
            self._candidates[index] = self._search(index, settle)
        return self._candidates[index]

    def _search(self, index: int, settle: bool) -> _PhoneCandidate | None:
        text = self._text
        while (begin := next_phone_run(text, index)) >= 0:
            # From the last character that no candidate contains, the search finds the same as from the beginning.
            while begin > index and _may_belong(text[begin - 1]):
                begin -= 1
            match = _matcher._PATTERN.search(text, begin)
            if match is None:
                return None
            start, candidate = match.start(), self._trim(_matcher._SECOND_NUMBER_START_PATTERN, match[0])
            index = start + len(candidate)
            if candidate in self._dead or not self._is_tried(candidate, start) or (start, index) in self._settled:
                continue
            if self._is_glued(start, index) and _INNER_SEPARATOR.search(candidate) is None:
                continue
            stretch = self._attempt(candidate, start)
            plain = stretch.digits is not None or stretch.worldwide
            # Where all of a closed candidate is a number in any region, those that others see in it are parts of it.
            closed = plain and index == match.end() and len(candidate) <= _UNLIMITED
            if closed and settle and any(self._parse(stretch, plan) is not None for plan in self._plans):
                self._settled.add((start, index))
                self.found.add((start, index))
                continue
            attempts = [stretch, *self._inner(candidate, start)]
            attempts = [a for a in attempts if any(self._may_be(a, plan) for plan in self._plans)]
            if attempts:
                return _PhoneCandidate(start, index, attempts, closed)
            if plain and len(candidate) <= _UNLIMITED and len(self._dead) < _MOST_DEAD:
                self._dead.add(candidate)
        return None

    def _is_glued(self, start: int, end: int) -> bool:
        """True for what `PhoneNumberMatcher._parse_and_verify` refuses for the letter or sign before or after it."""
        text = self._text
        if not self._strict:
            return False
        before = text[start - 1] if start > 0 and text[start].isdigit() else " "
        after = text[end] if end < len(text) else " "
        return before in _GLUE or after in _GLUE

    def _is_tried(self, candidate: str, start: int) -> bool:
        """False for what `PhoneNumberMatcher._extract_match` takes for a date or a time."""
        if sum(map(str.isdigit, candidate)) < MIN_DIGITS or _matcher._SLASH_SEPARATED_DATES.search(candidate):
            return False
        if _matcher._TIME_STAMPS.search(candidate):
            following = self._text[start + len(candidate) : start + len(candidate) + 3]
            return _matcher._TIME_STAMPS_SUFFIX.match(following) is None
        return True

    def _inner(self, candidate: str, start: int) -> Iterator[_Attempt]:
        """What `PhoneNumberMatcher._extract_inner_match` would parse, in its order."""
        if _INNER_SEPARATOR.search(candidate) is None:
            return
        for inner in _matcher._INNER_MATCHES:
            group = inner.search(candidate)
            if group is not None:
                yield self._attempt(self._trim(_matcher._UNWANTED_END_CHAR_PATTERN, candidate[: group.start()]), start)
            while group is not None:
                piece = self._trim(_matcher._UNWANTED_END_CHAR_PATTERN, group[1])
                yield self._attempt(piece, start + group.start(1))
                group = inner.search(candidate, group.start() + 1)

    def _trim(self, pattern: re.Pattern[str], candidate: str) -> str:
        trimmed: str = self._matcher._trim_after_first_match(pattern, candidate)
        return trimmed

    def _attempt(self, text: str, offset: int) -> _Attempt:
        plain = text if text.isascii() else _in_ascii(text)
        if _SIMPLE.fullmatch(plain):
            return _Attempt(text, offset, _NOT_DIGITS.sub("", plain))
        abroad = _INTERNATIONAL.fullmatch(plain)
        if abroad is None:
            return _Attempt(text, offset, None)
        digits = _NOT_DIGITS.sub("", abroad[1])
        if len(digits) <= MIN_DIGITS:
            return _Attempt(text, offset, "")
        return _Attempt(text, offset, None, _has_country_code(digits))

    def _may_be(self, attempt: _Attempt, plan: _Plan) -> bool:
        self._work(1)
        digits = attempt.digits
        if digits is None:
            return True
        if len(digits) <= MIN_DIGITS and not is_short_phone(digits):
            return False
        key = (digits, plan.region)
        if key not in self._plausible:
            self._plausible[key] = plan.may_be(digits)
        return self._plausible[key]

    def _parse(self, attempt: _Attempt, plan: _Plan) -> PhoneNumberMatch | None:
        if not self._may_be(attempt, plan):
            return None
        key: tuple[object, ...] = (attempt.text, attempt.offset)
        if not attempt.worldwide:
            key = (*key, plan.family if attempt.digits and len(attempt.digits) >= 10 else plan.region)
        if key not in self._known:
            self._work(_PARSE)
            self._matcher.preferred_region = plan.region
            match = self._known[key] = self._matcher._parse_and_verify(attempt.text, attempt.offset)
            self._work(0 if match is None else _MATCH)
        return self._known[key]


def _may_belong(character: str) -> bool:
    return character in _CANDIDATE_CHARACTERS or not character.isascii()


def _in_ascii(text: str) -> str:
    """Digits of any script as 0 to 9, and signs that are only looked past as `-`."""
    return _SIGN.sub("-", _OTHER_DIGIT.sub(lambda match: str(unicodedata.digit(match[0])), text.replace("\uff0b", "+")))


def _has_country_code(digits: str) -> bool:
    return any(int(digits[:n]) in COUNTRY_CODE_TO_REGION_CODE for n in (1, 2, 3))


def _plan(region: str) -> _Plan:
    metadata: Any = PhoneMetadata.metadata_for_region(region)
    code, prefix = metadata.country_code, metadata.national_prefix_for_parsing
    regions = COUNTRY_CODE_TO_REGION_CODE[code]
    sharing: list[Any] = [PhoneMetadata.metadata_for_region_or_calling_code(code, each) for each in regions]
    kinds = [getattr(each, name) for each in sharing for name in _TYPES]
    number = "|".join(sorted({k.national_number_pattern for k in kinds if k and k.national_number_pattern}))
    # Where a rule rewrites the number (a carrier's code in Brazil), up to four digits go, and twice at that.
    removed = r"\d{1,8}" if metadata.national_prefix_transform_rule else f"(?:{prefix}){{1,2}}"
    before = f"(?:{code}(?:{removed})?|{removed})" if prefix else f"{code}"
    # A prefix for calls abroad begins with 0, so of what does not, the length is known.
    assert metadata.international_prefix.startswith("0")
    prefixes: Sequence[int] = range(9)
    if prefix and not metadata.national_prefix_transform_rule:
        each_prefix = [0, *map(len, prefix.split("|"))]
        prefixes = sorted({one + other for one in each_prefix for other in each_prefix})
    national = {length for each in sharing for length in each.general_desc.possible_length}
    lengths = frozenset(n + c + p for n in national for c in (0, len(str(code))) for p in prefixes)
    return _Plan(
        region,
        (code, prefix, metadata.international_prefix, metadata.general_desc.national_number_pattern),
        lengths,
        re.compile(number),
        re.compile(rf"{before}(?:{number})|(?:{metadata.international_prefix})\d*"),
        re.compile(prefix) if prefix else None,
        sharing[0].number_format,
    )
