"""One scan for each recognizer of presidio: the same findings without its bookkeeping, where a text can hold any.

Only those that are asked often are written anew; any other recognizer is asked itself. Imports presidio, so it is
imported when the first text needs it. Knows texts, no requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import regex  # type: ignore[import-untyped]
from presidio_analyzer.predefined_recognizers import (
    CreditCardRecognizer,
    EmailRecognizer,
    IbanRecognizer,
    IpRecognizer,
    PhoneRecognizer,
    UsBankRecognizer,
    UsSsnRecognizer,
)

from aiq.policy.guardrails.emails import PATTERN, find_addresses
from aiq.policy.guardrails.gates import DIGIT_RUN, IBAN_DIGITS, next_ip_hint
from aiq.policy.guardrails.phones import PhoneFinder
from aiq.policy.guardrails.pii import Finding, Scan
from aiq.policy.guardrails.presidio import engine_with_model, recognizers

_IP_FORWARDS = regex.compile(r"[\w:.%/]+")
_IP_BACKWARDS = regex.compile(r"(?r)[\w:.%/]+")


def pattern_scans(languages: Sequence[str], entities: Sequence[str]) -> list[tuple[frozenset[str], Scan]]:
    """The scans that find the entities, each with the entities it finds."""
    scans = []
    for recognizer in recognizers(languages, entities):
        types = frozenset(recognizer.supported_entities) & frozenset(entities)
        scans.append((types, _scan_of(recognizer, entities)))
    return scans


def _scan_of(recognizer: Any, entities: Sequence[str]) -> Scan:
    """The recognizer itself, or for those that are asked often the same thing without its bookkeeping."""
    if isinstance(recognizer, PhoneRecognizer):
        return _phone_scan(recognizer)
    if isinstance(recognizer, EmailRecognizer):
        return _email_scan(recognizer)
    if isinstance(recognizer, CreditCardRecognizer | UsBankRecognizer | UsSsnRecognizer):
        return _matches(recognizer, _digit_windows)
    if isinstance(recognizer, IpRecognizer):
        return _matches(recognizer, _ip_windows)
    if isinstance(recognizer, IbanRecognizer) and not recognizer.exact_match:
        return _iban_scan(recognizer)
    wanted = list(entities)

    def scan(text: str, begin: int) -> list[Finding]:
        results = recognizer.analyze(text, wanted, None) or ()
        return [Finding(r.entity_type, r.start, r.end, r.score) for r in results if r.entity_type in entities]

    return scan


def _phone_scan(recognizer: Any) -> Scan:
    finder = PhoneFinder(recognizer.supported_regions, recognizer.leniency)
    entity, score = recognizer.supported_entities[0], recognizer.SCORE
    return lambda text, begin: [Finding(entity, start, end, score) for start, end in finder.find(text, begin)]


def _email_scan(recognizer: Any) -> Scan:
    if [pattern.regex for pattern in recognizer.patterns] != [PATTERN]:
        return _matches(recognizer, _whole)
    entity, has_domain = recognizer.supported_entities[0], recognizer.validate_result
    return lambda text, begin: [Finding(entity, start, end, 1.0) for start, end in find_addresses(text, has_domain)]


def _matches(recognizer: Any, windows: Callable[[str, int], Iterable[tuple[int, int]]]) -> Scan:
    """What `PatternRecognizer.analyze` finds, looked for in those parts of the text that can hold a match."""
    entity = recognizer.supported_entities[0]
    patterns = [(regex.compile(p.regex, recognizer.global_regex_flags), p.score) for p in recognizer.patterns]
    validate, invalidate = recognizer.validate_result, recognizer.invalidate_result

    def scan(text: str, begin: int) -> list[Finding]:
        found = []
        for first, last in windows(text, begin):
            for pattern, base in patterns:
                for match in pattern.finditer(text, first, last):
                    start, end = match.span()
                    if start == end:
                        continue
                    score, valid = base, validate(match[0])
                    if valid is not None:
                        score = 1.0 if valid else 0.0
                    if score and not invalidate(match[0]):
                        found.append(Finding(entity, start, end, score))
        return found

    return scan


def _iban_scan(recognizer: Any) -> Scan:
    """What `IbanRecognizer.analyze` finds: of each match the longest beginning that has the right check digits."""
    entity, validate = recognizer.supported_entities[0], recognizer.validate_result
    patterns = [(regex.compile(p.regex, recognizer.global_regex_flags), p.score) for p in recognizer.patterns]

    def scan(text: str, begin: int) -> list[Finding]:
        found = []
        for pattern, base in patterns:
            stop = 0
            for digits in IBAN_DIGITS.finditer(text, begin):
                match = pattern.match(text, digits.start() - 2) if digits.start() - 2 >= stop else None
                if match is None:
                    continue
                start, stop = match.span()
                for group in range(len(match.groups()), 0, -1):
                    end = match.end(group) if match.end(group) > 0 else stop
                    valid = validate(text[start:end])
                    if valid or valid is None:
                        found.append(Finding(entity, start, end, 1.0 if valid else base))
                        break
        return found

    return scan


def _ip_windows(text: str, _: int) -> Iterable[tuple[int, int]]:
    """Runs of the characters of IP addresses, where they hold what makes one."""
    stop = 0
    while (hint := next_ip_hint(text, stop)) >= 0:
        begin, stop = _IP_BACKWARDS.match(text, stop, hint + 1).start(), _IP_FORWARDS.match(text, hint).end()
        yield begin, stop


def _whole(text: str, _: int) -> Iterable[tuple[int, int]]:
    return ((0, len(text)),)


def _digit_windows(text: str, begin: int) -> Iterable[tuple[int, int]]:
    """Runs of digits, with the character that follows: the patterns look at it to see whether the number goes on."""
    for run in DIGIT_RUN.finditer(text, begin):
        yield run.start(), run.end() + 1


def model_scan(model: str, language: str, entities: Sequence[str]) -> list[tuple[frozenset[str], Scan]]:
    """presidio's own engine over an installed spaCy model: names, and scores that context words raise."""
    engine, wanted = engine_with_model(model, language), list(entities)

    def scan(text: str, begin: int) -> list[Finding]:
        results = engine.analyze(text, language, entities=wanted)
        return [Finding(r.entity_type, r.start, r.end, r.score) for r in results]

    return [(frozenset(entities), scan)]
