"""Whether a statement only reads. What runs files of others (boards, alerts) lets nothing else through."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import Token, TokenType

_QUERIES = frozenset(("SELECT", "WITH", "FROM", "VALUES", "TABLE"))
_CHANGES = frozenset(("INSERT", "UPDATE", "DELETE", "MERGE"))
_NAMES_AND_TEXTS = (TokenType.IDENTIFIER, TokenType.STRING)


def only_reads(tokens: Sequence[Token]) -> bool:
    """Whether one statement is a query: it begins as one, and no `WITH .. DELETE` or `FROM .. INSERT`.

    In one that begins with WITH or FROM, a column called `delete` needs quotes.
    """
    words = [token for token in tokens if token.token_type is not TokenType.L_PAREN]
    first = words[0].text.upper() if words else ""
    return first in _QUERIES and (first == "SELECT" or not _outer_words(tokens) & _CHANGES)


def _outer_words(tokens: Sequence[Token]) -> set[str]:
    """The words that stand in no parentheses and no quotes."""
    depth, found = 0, set()
    for token in tokens:
        if token.token_type is TokenType.L_PAREN:
            depth += 1
        elif token.token_type is TokenType.R_PAREN:
            depth -= 1
        elif depth == 0 and token.token_type not in _NAMES_AND_TEXTS:
            found.add(token.text.upper())
    return found
