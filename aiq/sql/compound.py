"""Scripts of Databricks' SQL: `BEGIN .. END`, one statement with statements in it.

Knows where a script begins and ends, and nothing of what it does.
"""

from __future__ import annotations

import re

_SCRIPT = re.compile(
    r"(?>\s|--[^\n]*\n|/\*.*?\*/)*+(?:[a-z_]\w*\s*:\s*)?BEGIN\b(?!\s*(?:;|$|TRANSACTION\b|WORK\b))",
    re.IGNORECASE | re.DOTALL,
)
_OPENS = ("IF", "LOOP", "WHILE", "REPEAT", "FOR")
_STARTS_STATEMENT = ("", ";", ":", "BEGIN", "THEN", "ELSE", "DO", *_OPENS)


def is_script(text: str) -> bool:
    """Whether a text is a script, not a statement."""
    return _SCRIPT.match(text) is not None


class CompoundBlock:
    """Where a text stands between BEGIN and END, token by token."""

    def __init__(self) -> None:
        self._depth, self._before, self._tokens = 0, "", 0

    def holds(self, token: str, *, is_name: bool) -> bool:
        """Whether a token, which is the next one, belongs to a script that it does not end."""
        word = token.upper() if is_name else "'"
        before, self._before = self._before, word
        if self._depth == 0:
            self._depth, self._tokens = int(word == "BEGIN" and before in ("", ";", ":")), 0
            return self._depth == 1
        self._tokens += 1
        if self._tokens == 1 and word in (";", "TRANSACTION", "WORK"):  # BEGIN of a transaction
            self._depth = 0
            return False
        starts = before in _STARTS_STATEMENT
        if word == "END":
            self._depth -= 1
        elif before != "END" and (word == "CASE" or (starts and word in ("BEGIN", *_OPENS))):
            self._depth += 1
        return True
