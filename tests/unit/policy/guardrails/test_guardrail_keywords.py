"""Keywords are found as words, whatever case and form they come in."""

from __future__ import annotations

import pytest

from aiq.policy.guardrails.keywords import Keywords

FOUND = [
    ("kill", "KILL it"),
    ("Project X", "about project\n  x."),
    ("secret", "ｓｅｃｒｅｔ"),
    ("secret", "sec\u200bret"),
    ("secret", "se\u00adcr\u2060et"),
    ("straße", "STRASSE"),
    ("c++", "I like C++ too"),
    ("机密", "这是机密文件"),
    ("ﬁle", "a file"),
    ("kill", "(kill)"),
]
NOT_FOUND = [
    ("kill", "skills"),
    ("kill", "killing"),
    ("project x", "project xy"),
    ("a", "bab"),
    ("kill", ""),
    ("k", "_k_"),
]


@pytest.mark.parametrize(("keyword", "text"), FOUND)
def test_a_keyword_is_found(keyword: str, text: str) -> None:
    assert Keywords([keyword]).find([text]) == keyword


@pytest.mark.parametrize(("keyword", "text"), NOT_FOUND)
def test_a_part_of_a_word_is_no_keyword(keyword: str, text: str) -> None:
    assert Keywords([keyword]).find([text]) is None


def test_any_of_several_texts_counts() -> None:
    assert Keywords(["one", "two"]).find(["three", "two"]) == "two"
