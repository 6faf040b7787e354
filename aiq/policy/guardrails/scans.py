"""One scan for each recognizer of presidio.

Those of phone numbers and e-mail addresses are our own, because presidio's take seconds for hostile texts. Any other
recognizer is asked itself: 32 KB that are made to be slow take it at most 0.2 s (IP addresses), and copies of them that
were here before saved a third of that. Imports presidio, so it is imported when the first text needs it. Knows texts,
no requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from presidio_analyzer.predefined_recognizers import EmailRecognizer, PhoneRecognizer

from aiq.policy.guardrails.emails import PATTERN, find_addresses
from aiq.policy.guardrails.phones import PhoneFinder
from aiq.policy.guardrails.pii import Finding, Scan
from aiq.policy.guardrails.presidio import engine_with_model, recognizers


def pattern_scans(languages: Sequence[str], entities: Sequence[str]) -> list[tuple[frozenset[str], Scan]]:
    """The scans that find the entities, each with the entities it finds."""
    scans = []
    for recognizer in recognizers(languages, entities):
        types = frozenset(recognizer.supported_entities) & frozenset(entities)
        scans.append((types, _scan_of(recognizer, entities)))
    return scans


def _scan_of(recognizer: Any, entities: Sequence[str]) -> Scan:
    """The recognizer itself, or the same thing in less time."""
    if isinstance(recognizer, PhoneRecognizer):
        return _phone_scan(recognizer)
    patterns = [pattern.regex for pattern in getattr(recognizer, "patterns", ())]
    if isinstance(recognizer, EmailRecognizer) and patterns == [PATTERN]:
        return _email_scan(recognizer)
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
    entity, has_domain = recognizer.supported_entities[0], recognizer.validate_result
    return lambda text, begin: [Finding(entity, start, end, 1.0) for start, end in find_addresses(text, has_domain)]


def model_scan(model: str, language: str, entities: Sequence[str]) -> list[tuple[frozenset[str], Scan]]:
    """presidio's own engine over an installed spaCy model: names, and scores that context words raise."""
    engine, wanted = engine_with_model(model, language), list(entities)

    def scan(text: str, begin: int) -> list[Finding]:
        results = engine.analyze(text, language, entities=wanted)
        return [Finding(r.entity_type, r.start, r.end, r.score) for r in results]

    return [(frozenset(entities), scan)]
