"""Answers of a session by the text of their requests."""

from __future__ import annotations

from typing import Any

import pytest

from aiq.batch.slots import UNKNOWN
from aiq.batch.texts import KnownTexts, SessionTexts
from aiq.errors import RequestFailed

KIND = b"chat"


def asked_of(answers: dict[str, Any], log: list[str]) -> Any:
    """Answers texts, and notes which."""

    def ask(texts: list[str]) -> list[Any]:
        log.extend(texts)
        return [answers[text] for text in texts]

    return ask


def test_what_one_statement_was_answered_the_next_one_knows() -> None:
    session, log = SessionTexts(), list[str]()
    ask = asked_of({"a": "A", "b": "B"}, log)
    assert KnownTexts(session, KIND).values(["a", "b"], ask) == (["A", "B"], 0)
    assert KnownTexts(session, KIND).values(["b", "a", "b"], ask) == (["B", "A", "B"], 3)
    assert log == ["a", "b"]


def test_only_what_is_not_known_is_asked_and_rows_stay_in_order() -> None:
    session, log = SessionTexts(), list[str]()
    ask = asked_of({"a": "A", "b": "B", "c": "C"}, log)
    KnownTexts(session, KIND).values(["b"], ask)
    assert KnownTexts(session, KIND).values(["a", "b", "c"], ask) == (["A", "B", "C"], 1)
    assert log == ["b", "a", "c"]


def test_a_hit_is_a_text_that_the_statement_did_not_get_answered_itself() -> None:
    session, log = SessionTexts(), list[str]()
    ask = asked_of({"a": "A", "b": "B"}, log)
    first = KnownTexts(session, KIND)
    first.values(["a"], ask)
    first.values(["a", "a"], ask)
    assert first.hits == 0
    second = KnownTexts(session, KIND)
    for texts in (["a", "b"], ["b", "a"], ["a"]):
        second.values(texts, ask)
    assert second.hits == 1


@pytest.mark.parametrize(
    "value", [UNKNOWN, RequestFailed("no", endpoint="chat", status=400)], ids=["unknown", "failed"]
)
def test_what_has_no_answer_is_not_known(value: Any) -> None:
    session, log = SessionTexts(), list[str]()
    for _ in range(2):
        KnownTexts(session, KIND).values(["a"], asked_of({"a": value}, log))
    assert log == ["a", "a"]


def test_an_answer_without_content_is_one() -> None:
    session, log = SessionTexts(), list[str]()
    for _ in range(2):
        assert KnownTexts(session, KIND).values(["a"], asked_of({"a": None}, log))[0] == [None]
    assert log == ["a"]


def test_another_kind_of_call_has_other_answers() -> None:
    session, log = SessionTexts(), list[str]()
    for kind in (b"chat", b"chat with other parameters"):
        KnownTexts(session, kind).values(["a"], asked_of({"a": "A"}, log))
    assert log == ["a", "a"]


@pytest.mark.parametrize("room", [{"most": 2}, {"most_characters": 3}], ids=["texts", "characters"])
def test_when_there_is_no_room_no_more_is_taken(room: dict[str, int]) -> None:
    session, log = SessionTexts(**room), list[str]()
    ask = asked_of({"a": "A", "b": "B", "long": "C"}, log)
    for _ in range(2):
        assert KnownTexts(session, KIND).values(["a", "b", "long"], ask)[0] == ["A", "B", "C"]
    assert log == ["a", "b", "long", "long"]
