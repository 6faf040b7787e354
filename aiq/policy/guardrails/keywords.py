"""Words that a text must not hold. Knows texts, no requests.

A keyword is found as whole words, in any case, whatever the white space between them: `kill` is not found in `skills`.
Full-width letters, ligatures and other compatibility forms count as their plain ones (Unicode NFKC), every dash as
`-`, every apostrophe as `'`, and invisible characters as nothing or, between words, as a space. Letters of other
scripts that look alike are other letters. A keyword that begins or ends with a character of a script without spaces
between words is found anywhere there.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

_INVISIBLE = re.compile(
    # Unicode's Default_Ignorable_Code_Point, other format characters, and control characters that are no white space
    r"[\u0000-\u0008\u000e-\u001b\u007f-\u0084\u0086-\u009f\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891"
    r"\u08e2\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0"
    r"\ufff0-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    r"\U000e0000-\U000e0fff]"
)
_ALIKE = {
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u2212\u2e3a\u2e3b\ufe58\ufe63\uff0d"), "-"),
    **dict.fromkeys(map(ord, "\u02bc\u2018\u2019\u201b\u2032\uff07"), "'"),
    **dict.fromkeys(map(ord, "\u201c\u201d\u201f\u2033\uff02"), '"'),
}
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
            # What is invisible may stand inside a word, or between two.
            visible = (text.isascii() and text.isprintable()) or _INVISIBLE.search(text) is None
            forms = (normalised(text),) if visible else (normalised(text), normalised(text, " "))
            for plain in forms:
                for keyword, needle, pattern in self._keywords:
                    if needle in plain and pattern.search(plain) is not None:
                        return keyword
        return None


def normalised(text: str, invisible: str = "") -> str:
    """The text in one case, in compatibility form, with `invisible` for what is, with single spaces."""
    if text.isascii():
        text = text if text.isprintable() else _INVISIBLE.sub(invisible, text)
    else:
        text = _INVISIBLE.sub(invisible, text)
        text = unicodedata.normalize("NFKC", text.translate(_ALIKE)).translate(_ALIKE)
        text = _INVISIBLE.sub(invisible, text)
        # Folding may leave composed forms apart that were equal before.
        return " ".join(unicodedata.normalize("NFKC", text.casefold()).split())
    return " ".join(text.lower().split())


def _is_unbounded(character: str) -> bool:
    """A character next to which no word boundary is expected: punctuation, or a script without spaces."""
    return not (character.isalnum() or character == "_") or _UNSPACED.match(character) is not None
