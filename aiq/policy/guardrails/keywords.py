"""Words that a text must not hold. Knows texts, no requests.

A keyword is found as whole words, in any case, whatever the white space between them: `kill` is not found in `skills`.
Full-width letters, ligatures and other compatibility forms count as their plain ones, and invisible characters as
nothing (Unicode NFKC without format characters). Letters of other scripts that look alike are other letters. A keyword
that begins or ends with a character of a script without spaces between words is found anywhere there.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


class Keywords:
    """A list of keywords, made ready to be looked for."""

    def __init__(self, keywords: Sequence[str]) -> None:
        self._keywords = []
        for keyword in keywords:
            plain = normalised(keyword)
            if plain:
                before = "" if _is_unbounded(plain[0]) else r"(?<!\w)"
                after = "" if _is_unbounded(plain[-1]) else r"(?!\w)"
                self._keywords.append((keyword, plain, re.compile(before + re.escape(plain) + after)))

    def find(self, texts: Iterable[str]) -> str | None:
        """The first keyword, as it was configured, that any text holds."""
        for text in texts:
            plain = normalised(text)
            for keyword, needle, pattern in self._keywords:
                if needle in plain and pattern.search(plain) is not None:
                    return keyword
        return None


def normalised(text: str) -> str:
    """The text in one case, in compatibility form, without invisible characters, with single spaces."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
        text = "".join(c for c in text if unicodedata.category(c) != "Cf")
        # Folding may leave composed forms apart that were equal before.
        return " ".join(unicodedata.normalize("NFKC", text.casefold()).split())
    return " ".join(text.lower().split())


def _is_unbounded(character: str) -> bool:
    """A character that no word boundary is expected beside: punctuation, or a script without spaces."""
    return not (character.isalnum() or character == "_") or _UNSPACED.match(character) is not None
