"""Labels in the place of personal data."""

from __future__ import annotations

import json

import pytest

from aiq.policy.guardrails.masking import edit_json, mask
from aiq.policy.guardrails.pii import Finding


@pytest.mark.parametrize(
    ("text", "findings", "masked"),
    [
        ("nothing", [], "nothing"),
        ("to a@b.com now", [("EMAIL_ADDRESS", 3, 10, 1.0)], "to <EMAIL_ADDRESS> now"),
        ("123456789", [("US_SSN", 0, 9, 0.05), ("PHONE_NUMBER", 0, 9, 0.4)], "<PHONE_NUMBER>"),
        ("0123456789", [("A", 0, 10, 0.1), ("B", 2, 5, 0.9)], "<A>"),
        ("0123456789", [("A", 0, 5, 0.1), ("A", 3, 8, 0.9)], "<A>89"),
        ("0123456789", [("A", 0, 5, 0.1), ("B", 3, 8, 0.9)], "<A><B>89"),
        ("12  34", [("A", 0, 2, 0.5), ("A", 4, 6, 0.5)], "<A>"),
        ("12, 34", [("A", 0, 2, 0.5), ("A", 4, 6, 0.5)], "<A>, <A>"),
    ],
)
def test_findings_become_labels(text: str, findings: list[tuple[str, int, int, float]], masked: str) -> None:
    assert mask(text, [Finding(*finding) for finding in findings]) == masked


def shout(text: str) -> str:
    return "<X>" if text in ("secret", "42", "4.5") else text


@pytest.mark.parametrize("value", ["secret", {"secret": 1}, {"a": ["b", {"c": "secret"}]}, [42], {"n": 4.5}])
def test_edited_json_is_still_json(value: object) -> None:
    edited = edit_json(json.dumps(value), shout)
    assert "<X>" in edited and json.loads(edited) != value


def test_a_number_that_is_edited_becomes_a_string() -> None:
    assert edit_json('{"n": 42}', shout) == '{"n": "<X>"}'


@pytest.mark.parametrize("text", ['{"a":  1.10, "b": true, "c": null}', '"x"', "[]"])
def test_json_without_anything_to_edit_stays_as_written(text: str) -> None:
    assert edit_json(text, shout) == text


def test_text_that_is_no_json_is_edited_as_it_is() -> None:
    assert edit_json("secret", shout) == "<X>"


def test_what_an_escape_hides_in_json_is_seen() -> None:
    assert edit_json('{"a": "secr\\u0065t"}', shout) == '{"a": "<X>"}'
