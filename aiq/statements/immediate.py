"""EXECUTE IMMEDIATE of Databricks' SQL as the statement that it runs.

`EXECUTE IMMEDIATE 'SELECT ai_query(:m, body) FROM t' INTO a USING 'chat' AS m` is read as
`SET VAR (a) = (SELECT ai_query('chat', body) FROM t)`. Knows SQL text; what its expressions give, an engine says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from aiq.errors import StatementError
from aiq.sql import calls
from aiq.sql.literals import Parameters, with_values
from aiq.sql.text import clean
from aiq.sql.words import DATABRICKS, asks

if TYPE_CHECKING:
    from sqlglot import Token

Row = Callable[[str], tuple[Sequence[Any], Sequence[str]]]
"""The one row of a query that reads no table, in Databricks' SQL, and the engine's names of its types."""

_IMMEDIATE = re.compile(r"(?>\s|--[^\n]*\n|/\*.*?\*/)*+EXECUTE\s+IMMEDIATE\b", re.IGNORECASE | re.DOTALL)
_QUERY = re.compile(r"(?>\s|--[^\n]*\n|/\*.*?\*/|\()*+(?:SELECT|WITH|FROM|VALUES|TABLE)\b", re.IGNORECASE | re.DOTALL)
_NO_LITERAL = re.compile(r"\b(?:float|real|struct|map|variant|interval)\b", re.IGNORECASE)
_OPEN, _CLOSE = ("L_PAREN", "L_BRACKET", "L_BRACE"), ("R_PAREN", "R_BRACKET", "R_BRACE")


class _Said(NamedTuple):
    """The parts as written: the text to run, variables that take its row, and values with the name of each, or ''."""

    text: str
    into: tuple[str, ...]
    using: tuple[tuple[str, str], ...]


def run_by(text: str, params: Parameters, row: Row) -> str | None:
    """The statement that EXECUTE IMMEDIATE runs, with its values in it; None for any other statement.

    `params` are those of the whole. Raises StatementError before any call, and what `row` raises.
    """
    if (head := _IMMEDIATE.match(text)) is None:
        return None
    said = _said(with_values(text[head.end() :], params, DATABRICKS))  # with its head it would be one token
    written = [said.text, *(value for value, _ in said.using)]
    if any(asks(part, DATABRICKS) for part in written):
        raise StatementError(
            "EXECUTE IMMEDIATE takes its text and the values of USING from expressions without AI calls; SET VAR a "
            "variable to the answer first, and use the variable"
        )
    (statement, *values), (_, *types) = row("SELECT " + ", ".join(f"{part} AS c{i}" for i, part in enumerate(written)))
    if not isinstance(statement, str) or not statement.strip():
        raise StatementError(
            f"EXECUTE IMMEDIATE needs the text of a statement, but {said.text} is "
            f"{'NULL' if statement is None else repr(statement)}"
        )
    for kind, (value, _) in zip(types, said.using, strict=True):
        if _NO_LITERAL.search(kind):
            raise StatementError(
                f"USING {value}: a {kind} cannot be written into the text exactly; give text, a number or a date, a "
                "FLOAT as CAST(.. AS DOUBLE), and the fields of a STRUCT one by one"
            )
    statement = clean(statement, databricks=True).strip().rstrip(";")
    if _IMMEDIATE.match(statement):
        raise StatementError("the text of EXECUTE IMMEDIATE is an EXECUTE IMMEDIATE itself; run the inner one alone")
    statement = _filled(statement, [name for _, name in said.using], values)
    if not said.into:
        return statement
    if _QUERY.match(statement) is None:
        raise StatementError(f"EXECUTE IMMEDIATE .. INTO takes the row of a query, not of '{statement[:40]}'")
    return f"SET VAR ({', '.join(said.into)}) = ({statement}\n)"


def _filled(statement: str, names: Sequence[str], values: Sequence[Any]) -> str:
    """A statement with the values of USING."""
    if any(names) and not all(names):
        raise StatementError("USING names either all of its values (USING 'chat' AS model, ..) or none")
    try:
        return with_values(statement, dict(zip(names, values, strict=True)) if any(names) else values, DATABRICKS)
    except StatementError as error:
        raise StatementError(f"EXECUTE IMMEDIATE: {error} (params are the values of USING)") from None


def _said(text: str) -> _Said:
    tokens = [token for token in calls.tokenize(text, DATABRICKS) if token.token_type.name != "SEMICOLON"]
    starts: dict[str, int] = {}
    for i, _ in _outside(tokens):
        if (word := tokens[i].text.lower()) in ("into", "using") and tokens[i].token_type.name != "STRING":
            starts.setdefault(word, i)
    into, using = starts.get("into", len(tokens)), starts.get("using", len(tokens))
    if using < into < len(tokens):
        raise StatementError("EXECUTE IMMEDIATE has INTO before USING: EXECUTE IMMEDIATE text INTO a, b USING 1, 2")
    command = _between(text, tokens[:into][:using])
    names = [_between(text, part) for part in _parts(tokens[into + 1 : using])]
    values = [_named(text, part) for part in _parts(_bare(tokens[using + 1 :]))]
    if not command or not all(names) or not all(value for value, _ in values):
        raise StatementError("EXECUTE IMMEDIATE needs a text: EXECUTE IMMEDIATE 'SELECT ..' INTO a USING 1")
    return _Said(command, tuple(names), tuple(values))


def _outside(tokens: Sequence[Token]) -> Sequence[tuple[int, str]]:
    """The tokens that stand in no bracket, with their kinds."""
    found, depth = [], 0
    for i, token in enumerate(tokens):
        kind = token.token_type.name
        depth -= kind in _CLOSE
        if depth == 0:
            found.append((i, kind))
        depth += kind in _OPEN
    return found


def _bare(tokens: Sequence[Token]) -> Sequence[Token]:
    """The values of `USING (1, 2)` without the brackets around all of them."""
    return tokens[1:-1] if [kind for _, kind in _outside(tokens)] == ["L_PAREN", "R_PAREN"] else tokens


def _parts(tokens: Sequence[Token]) -> list[Sequence[Token]]:
    """What commas part."""
    if not tokens:
        return []
    cuts = [i for i, kind in _outside(tokens) if kind == "COMMA"]
    return [tokens[start:end] for start, end in zip([0, *(i + 1 for i in cuts)], [*cuts, len(tokens)], strict=True)]


def _named(text: str, tokens: Sequence[Token]) -> tuple[str, str]:
    """A value and its name: `1 AS n`, `1 n`."""
    if len(tokens) > 2 and tokens[-2].text.lower() == "as":
        return _between(text, tokens[:-2]), tokens[-1].text
    ends = ("NUMBER", "STRING", "VAR", "IDENTIFIER", *_CLOSE)
    if len(tokens) > 1 and tokens[-1].token_type.name in ("VAR", "IDENTIFIER") and tokens[-2].token_type.name in ends:
        return _between(text, tokens[:-1]), tokens[-1].text
    return _between(text, tokens), ""


def _between(text: str, tokens: Sequence[Token]) -> str:
    return text[tokens[0].start : tokens[-1].end + 1] if tokens else ""
