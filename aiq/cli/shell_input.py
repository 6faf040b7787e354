"""What the shell reads: where a statement ends, and what may stand at the cursor."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from aiq.sql.pieces import pieces

_ENDPOINT = re.compile(r"\b(?:ai_query|ai_\w+)\s*\(\s*'([\w.-]*)$", re.IGNORECASE)
_WORD = re.compile(r"[\w.]*$")
_DOT_COMMAND = re.compile(r"\s*(\.\w*)$")
_KEYWORDS = """\
SELECT FROM WHERE GROUP BY ORDER LIMIT JOIN LEFT ON USING AS WITH UNION ALL DISTINCT HAVING QUALIFY CREATE TABLE VIEW
INSERT INTO VALUES UPDATE DELETE DROP SET RESET SHOW DESCRIBE EXPLAIN ANALYZE BETWEEN CASE WHEN THEN ELSE END NULL
"""
_AI_WORDS = ("ai_query(", "EXPLAIN AI ", "SET aiq_reuse = ", "SET aiq_max_cost_usd = ", "SHOW aiq_settings")
Words = Callable[[], list[str]]


def is_complete(text: str, *, databricks: bool) -> bool:
    """Whether a text can be run: a command with a dot, or statements of which the last ends with a semicolon."""
    stripped = text.strip()
    if not stripped or stripped.startswith("."):
        return True
    code = [piece for piece in pieces(text, databricks=databricks) if piece.kind != "comment"]
    last = next((piece for piece in reversed(code) if text[piece.start : piece.end].strip()), None)
    return last is not None and last.kind == "code" and text[last.start : last.end].rstrip().endswith(";")


class SqlCompleter(Completer):
    """Endpoints where a call begins, commands after a dot, else tables, columns, functions and words of SQL."""

    def __init__(
        self, commands: Iterable[str], endpoints: Callable[[], list[str]], names: Callable[[], list[str]]
    ) -> None:
        """`names` are tables, columns and functions as they are now."""
        self._commands, self._endpoints, self._names = sorted(commands), endpoints, names

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        before = document.text_before_cursor
        if (found := _DOT_COMMAND.fullmatch(before)) is not None:
            yield from _starting(found[1], self._commands)
            return
        if (found := _ENDPOINT.search(before)) is not None:
            yield from _starting(found[1], self._endpoints())
            return
        word = _WORD.search(before)
        assert word is not None  # it may be empty
        start = word[0].rpartition(".")[2]
        if not start and not complete_event.completion_requested:
            return
        yield from _starting(start, [*_AI_WORDS, *self._names(), *_KEYWORDS.split()])


def _starting(start: str, words: Iterable[str]) -> Iterator[Completion]:
    wanted = start.lower()
    for word in dict.fromkeys(words):
        if word.lower().startswith(wanted):
            yield Completion(word, start_position=-len(start))
