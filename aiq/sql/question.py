"""The words `EXPLAIN AI [ANALYZE]` before a statement."""

from __future__ import annotations

import re
from typing import NamedTuple

_QUESTION = re.compile(
    r"(?>\s|--[^\n]*(?:\n|$)|/\*.*?\*/)*+(?P<words>explain\s+ai\b(?P<analyze>\s+analyze\b)?)", re.I | re.DOTALL
)


class Question(NamedTuple):
    """What stands after `EXPLAIN AI`, and whether the statement is to be run as well."""

    text: str
    analyze: bool

    def around(self, text: str) -> str:
        """The same question about another text."""
        return f"EXPLAIN AI {'ANALYZE ' if self.analyze else ''}{text}"


def question(text: str) -> Question | None:
    """The statement that `EXPLAIN AI [ANALYZE]` asks about; None for any other text."""
    found = _QUESTION.match(text)
    if found is None:
        return None
    return Question(text[: found.start("words")] + text[found.end("words") :], found["analyze"] is not None)
