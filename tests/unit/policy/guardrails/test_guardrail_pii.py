"""Personal data is found exactly as presidio finds it with a blank spaCy pipeline."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiq.config.endpoint import PII_ENTITIES
from aiq.policy.guardrails.gates import PHONE_PUNCTUATION
from aiq.policy.guardrails.pii import Finding, PiiDetector, without_duplicates

COUNT = int(os.environ.get("AIQ_PII_TEXTS", "3000"))
"""Generated texts that are compared. 20,000 take about a minute and a half."""
FIRST = int(os.environ.get("AIQ_PII_SEED", "0"))

WRITTEN = [
    "",
    " ",
    "Nothing here but words, in 2024 and between 2020-2024, at 10:30 and for $1,200.50.",
    "Write to jane.doe@example.com, jane@localhost or @nobody.",
    "Call (425) 882-8080, +49 30 901820 or 020 7946 0958 ext. 12.",
    "Cards 4111 1111 1111 1111 and 4111 1111 1111 1112, amex 378282246310005.",
    "SSN 536-22-1234, 536221234, 000-12-3456; account 12345678901.",
    "DE89 3704 0044 0532 0130 00 and GB82WEST12345698765432 and de89370400440532013000",
    "10.0.0.1, 256.1.1.1, 2001:db8::1, ::ffff:10.0.0.1, std::vector<int>, 12:30:45",
    '{"phone": "212-555-0123", "email": "a@b.com", "n": [4111111111111111]}',
    "https://user:pw@example.com/p/4111111111111111?phone=2125550123#a@b.org",
    "212-555-0123/212-555-0124, 876-120-1439 089 672 4935",
    "٤١١١١١١١١١١١١١١١ and ２１２-５５５-０１２３ and 4111\u200b111111111111",
    "212-\n555-0123\n4111\n1111 1111 1111\r\na@\nb.com a@b.\ncom",
    "1640 1689 1650 16 40",
    "४1२-555-0123 ext149८#604-662-6746",
    "x" * 5000 + " a@b.com " + "9" * 500 + " 212-555-0123",
    "1 " * 200,
    "a.b-" * 300 + "@example.com",
]


@pytest.mark.parametrize("text", WRITTEN)
def test_findings_are_those_of_plain_presidio(text: str, plain: Any, detector: PiiDetector) -> None:
    assert detector.find(text) == plain(text)


def test_findings_in_generated_texts_are_those_of_plain_presidio(
    texts: ModuleType, plain: Any, detector: PiiDetector
) -> None:
    different = []
    for seed in range(FIRST, FIRST + COUNT):
        text = texts.text(seed)
        if detector.find(text) != plain(text):
            different.append((seed, text))
    assert different == []


@settings(max_examples=300, deadline=None)
@given(text=st.text(alphabet="0123456789 -.+()/@:xabAB,#\u0660\u200b\n_", max_size=60))
def test_findings_in_noise_are_those_of_plain_presidio(text: str, plain: Any, detector: PiiDetector) -> None:
    assert detector.find(text) == plain(text)


def test_a_shut_gate_means_that_presidio_finds_nothing(texts: ModuleType, plain: Any, detector: PiiDetector) -> None:
    shut = [text for text in map(texts.text, range(10_000_000, 10_001_000)) if not detector.may_hold(text)]
    assert len(shut) > 20 and [text for text in shut if plain(text)] == []


def test_no_phone_number_is_shorter_than_the_gate_says(detector: PiiDetector) -> None:
    from phonenumbers import PhoneNumberMatcher
    from presidio_analyzer.predefined_recognizers import PhoneRecognizer

    missed = []
    for region in PhoneRecognizer.DEFAULT_SUPPORTED_REGIONS:
        for number in [str(n).zfill(width) for width in (2, 3, 4) for n in range(10**width)]:
            if PhoneNumberMatcher(number, region, leniency=1).has_next() and not detector.may_hold(number):
                missed.append((region, number))
    assert missed == []


def test_the_gate_knows_all_punctuation_of_phone_numbers() -> None:
    from phonenumbers import phonenumberutil

    gate, theirs = re.compile(f"[{PHONE_PUNCTUATION}]"), re.compile(f"[{phonenumberutil._VALID_PUNCTUATION}]")
    assert [c for c in map(chr, range(0x11000)) if theirs.match(c) and not gate.match(c)] == []


def test_presidio_has_the_patterns_that_the_gates_were_proved_for() -> None:
    from aiq.policy.guardrails.presidio import recognizers

    found = recognizers(["en"], PII_ENTITIES)
    patterns = sorted(f"{type(r).__name__} {p.score} {p.regex}" for r in found for p in getattr(r, "patterns", ()))
    digest = hashlib.sha256("\n".join(patterns).encode()).hexdigest()[:16]
    assert digest == "c95040fcac24d78a", "compare gates.py, emails.py and scans.py with the new patterns"


def test_a_threshold_drops_what_presidio_is_less_sure_of() -> None:
    sure = PiiDetector(["US_BANK_NUMBER", "US_SSN"], threshold=0.5)
    assert [f.entity_type for f in sure.find("536-22-1234 and 12345678901")] == ["US_SSN"]


def test_only_the_entities_asked_for_are_found() -> None:
    assert [f.entity_type for f in PiiDetector(["IP_ADDRESS"]).find("a@b.com 10.0.0.1")] == ["IP_ADDRESS"]


def test_an_entity_without_a_gate_is_found_by_presidio_itself() -> None:
    assert [f.entity_type for f in PiiDetector(["US_ITIN"]).find("912-71-1234")] == ["US_ITIN"]


def test_several_languages_find_what_each_of_them_finds() -> None:
    found = PiiDetector(["ES_NIF", "US_SSN"], ["en", "es"]).find("55555555K and 536-22-1234")
    assert {f.entity_type for f in found} == {"ES_NIF", "US_SSN"}


def test_a_finding_inside_another_one_that_is_as_sure_is_dropped() -> None:
    inner, outer = Finding("A", 2, 4, 0.5), Finding("A", 1, 5, 0.5)
    assert without_duplicates([inner, outer]) == [outer]


def test_a_finding_inside_another_one_that_is_less_sure_stays() -> None:
    inner, outer = Finding("A", 2, 4, 0.9), Finding("A", 1, 5, 0.5)
    assert without_duplicates([outer, inner]) == [inner, outer]


def test_names_are_found_by_an_installed_model_beside_the_rest(tmp_path: Path) -> None:
    import spacy

    nlp = spacy.blank("en")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "PERSON", "pattern": "Jane Doe"}])
    nlp.to_disk(tmp_path / "model")
    named = PiiDetector(["PERSON", "EMAIL_ADDRESS"], ner_model=str(tmp_path / "model"))
    found = named.find("Jane Doe, jane@example.com")
    assert [(f.entity_type, f.start, f.end) for f in found] == [("EMAIL_ADDRESS", 10, 26), ("PERSON", 0, 8)]
