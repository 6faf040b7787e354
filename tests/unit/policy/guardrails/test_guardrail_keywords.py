"""Keywords are found as words, whatever case and form they come in."""

from __future__ import annotations

import sys
import unicodedata

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
    *[("top-secret", f"top{dash}secret") for dash in "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d-"],
    ("top\u2013secret", "top-secret"),
    ("don't", "don\u2019t"),
    ("secret", "se\ufe0fcr\U000e0100et"),
    ("secret", "s\u200de\u200cc\ufeffr\u034fe\u2063t"),
    ("secret", "se\u115fcr\u3164et"),
    ("secret", "se\x00cr\x08et"),
    ("secret", "s\U000e0065ecret"),
    ("project falcon", "project\u200bfalcon"),
    ("project falcon", "pro\u200bject \ufe0ffalcon"),
    ("secret", "𝓼𝓮𝓬𝓻𝓮𝓽"),
    ("secret", "ⓢⓔⓒⓡⓔⓣ"),
    ("top-secret", "ＴＯＰ－ＳＥＣＲＥＴ"),
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


def test_every_format_character_and_every_variation_selector_is_invisible() -> None:
    selectors = [*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0), *range(0x180B, 0x180E)]
    formats = [c for c in range(sys.maxunicode + 1) if unicodedata.category(chr(c)) == "Cf"]
    missed = [hex(c) for c in (*selectors, *formats) if Keywords(["secret"]).find([f"sec{chr(c)}ret"]) is None]
    assert missed == []


def test_any_of_several_texts_counts() -> None:
    assert Keywords(["one", "two"]).find(["three", "two"]) == "two"
