"""Session variables of Databricks' SQL on an engine that has none of that spelling: DECLARE, SET VAR, and their names.

`SELECT ai_query(model, body)` becomes `SELECT ai_query(getvariable('model'), body)`. Knows SQL text; what columns
there are, the engine says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from sqlglot import Token

from aiq.errors import StatementError
from aiq.sql import calls
from aiq.sql.notebook.names import closing, column_spans


class Variable(NamedTuple):
    """A declared variable: its type (None: that of its value) and its default, as written."""

    type: str | None
    default: str


class Assignment(NamedTuple):
    """Variables that a statement sets: `values` one each, or `query` one row for all. `declares` those that are new."""

    names: tuple[str, ...]
    values: tuple[str, ...] = ()
    query: str | None = None
    declares: tuple[Variable, ...] = ()
    drops: bool = False


def assignment(text: str, declared: dict[str, Variable]) -> Assignment | None:
    """What DECLARE, SET VAR or DROP TEMPORARY VARIABLE does; None for other statements. Raises StatementError."""
    if text.strip()[:1].lower() not in ("d", "s", "-", "/"):
        return None
    tokens = [token for token in calls.tokenize(text, "databricks") if token.token_type.name != "SEMICOLON"]
    said = [token.text.lower() for token in tokens[:4]]
    if said[:1] == ["declare"]:
        return _declaration(text, tokens, declared)
    if said[:1] == ["set"] and len(said) > 1 and said[1] in ("var", "variable"):
        return _set(text, tokens[2:], declared)
    if said[:1] == ["drop"] and "variable" in said[1:3]:
        rest = tokens[said.index("variable") + 1 :]
        lenient = [token.text.lower() for token in rest[:2]] == ["if", "exists"]
        name = rest[-1].text.lower()
        if name not in declared and not lenient:
            raise _undeclared(name)
        return Assignment((name,), drops=True)
    return None


def with_values(text: str, declared: dict[str, Variable], is_column: Callable[[str], bool]) -> str:
    """A statement in which the declared variables are read by `getvariable`.

    `session.x` is always the variable. A bare name that a table of the statement has as a column is refused, because
    it would be the column in one place and the variable in another.
    """
    lower = text.lower()
    if not declared or not any(name in lower for name in declared):
        return text
    tokens = calls.tokenize(text, "databricks")
    aliases = _aliases(tokens)
    replaced: list[tuple[int, int, str]] = []
    columns = set(column_spans(tokens))
    for i, token in enumerate(tokens):
        kind = token.token_type.name
        name = token.text.lower()
        if name not in declared or kind in ("STRING", "RAW_STRING"):
            continue
        first = _qualified(tokens, i)
        following = tokens[i + 1].text.lower() if i + 1 < len(tokens) else ";"
        before = tokens[first - 1].text.lower() if first else ""
        if first == i:
            if before in (".", "as", "from", "join", "into", "table", ":") or following in ("(", "=>", ":="):
                continue
            if following == "." or (i and tokens[i - 1].token_type.name == "R_PAREN"):
                continue
            if name in aliases or is_column(name):
                raise StatementError(
                    f"{token.text} is a session variable, and a column of what the statement reads; write session."
                    f"{token.text} for the variable, and the table's name before the column"
                )
        new = f"getvariable('{name}')" + (f" AS {token.text}" if (first, i + 1) in columns else "")
        replaced.append((tokens[first].start, token.end + 1, new))
    return calls.replace(text, replaced)


def _qualified(tokens: Sequence[Token], i: int) -> int:
    """The first token of `session.x` or `system.session.x`, whose last token is `i`."""
    if i >= 2 and tokens[i - 1].text == "." and tokens[i - 2].text.lower() == "session":
        return i - 4 if i >= 4 and tokens[i - 3].text == "." and tokens[i - 4].text.lower() == "system" else i - 2
    return i


def _aliases(tokens: Sequence[Token]) -> set[str]:
    """Names that a statement gives itself: of columns, and of a lambda's parameters."""
    pairs = list(pairwise(tokens))
    after = {second.text.lower() for first, second in pairs if first.text.lower() == "as"}
    return after | {first.text.lower() for first, second in pairs if second.text == "->"}


def _declaration(text: str, tokens: list[Token], declared: dict[str, Variable]) -> Assignment:
    i = 1
    replaces = [token.text.lower() for token in tokens[1:3]] == ["or", "replace"]
    i += 2 * replaces
    if i < len(tokens) and tokens[i].text.lower() in ("variable", "var"):
        i += 1
    names = []
    while i < len(tokens):
        names.append(tokens[i].text.lower())
        i += 1
        if i >= len(tokens) or tokens[i].text != ",":
            break
        i += 1
    if not names:
        raise StatementError("DECLARE needs a name: DECLARE VARIABLE model STRING DEFAULT 'chat'")
    if not replaces and (old := [name for name in names if name in declared]):
        raise StatementError(f"the variable {old[0]} is declared already; write DECLARE OR REPLACE VARIABLE {old[0]}")
    depth, split = 0, len(tokens)
    for j in range(i, len(tokens)):
        kind = tokens[j].token_type.name
        depth += (kind in ("L_PAREN", "LT")) - (kind in ("R_PAREN", "GT"))
        if depth == 0 and tokens[j].text.lower() in ("default", "="):
            split = j
            break
    kind_of = _between(text, tokens, i, split)
    default = _between(text, tokens, split + 1, len(tokens)) or "NULL"
    variable = Variable(kind_of or None, default)
    return Assignment(tuple(names), (cast(default, variable),) * len(names), declares=(variable,) * len(names))


def _set(text: str, tokens: list[Token], declared: dict[str, Variable]) -> Assignment:
    if tokens and tokens[0].token_type.name == "L_PAREN":
        end = closing(tokens, 0)
        names = tuple(token.text.lower() for token in tokens[1:end] if token.text != ",")
        opening = end + 2
        if opening >= len(tokens) or tokens[opening].token_type.name != "L_PAREN":
            raise StatementError("SET VAR (a, b) needs a query in parentheses: SET VAR (a, b) = (SELECT ..)")
        query = _between(text, tokens, opening + 1, closing(tokens, opening))
        _check(names, declared)
        return Assignment(names, query=query)
    names_, values = list[str](), list[str]()
    start, depth = 0, 0
    for i in range(len(tokens) + 1):
        kind = tokens[i].token_type.name if i < len(tokens) else "COMMA"
        depth += (kind in ("L_PAREN", "L_BRACKET")) - (kind in ("R_PAREN", "R_BRACKET"))
        if depth == 0 and kind == "COMMA":
            part = tokens[start:i]
            equals = next((j for j, token in enumerate(part) if token.text == "="), 0)
            if not equals:
                raise StatementError("SET VAR needs a name and a value: SET VAR model = 'chat'")
            name = part[equals - 1].text.lower()
            _check((name,), declared)
            value = _between(text, part, equals + 1, len(part))
            names_.append(name)
            values.append(cast(declared[name].default if value.lower() == "default" else value, declared[name]))
            start = i + 1
    return Assignment(tuple(names_), tuple(values))


def cast(value: str, variable: Variable) -> str:
    """A value in the type of its variable."""
    return f"({value})" if variable.type is None else f"CAST(({value}) AS {variable.type})"


def _check(names: tuple[str, ...], declared: dict[str, Variable]) -> None:
    for name in names:
        if name not in declared:
            raise _undeclared(name)


def _undeclared(name: str) -> StatementError:
    return StatementError(f"there is no session variable {name}; declare it first: DECLARE VARIABLE {name} STRING")


def _between(text: str, tokens: Sequence[Token], first: int, end: int) -> str:
    return text[tokens[first].start : tokens[end - 1].end + 1] if first < end else ""
