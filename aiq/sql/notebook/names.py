"""Names in Databricks' three parts, as this machine's databases have them: catalogs, USE, IDENTIFIER.

Knows SQL text and a map of catalogs; the engine says which databases and schemas there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from sqlglot import Token

from aiq.errors import StatementError
from aiq.sql import calls

OWN = ("system",)
"""The catalog of the ledger's tables."""
_BEFORE_TABLE = {"from", "join", "into", "table", "update", "view", "using", "overwrite", "describe", "desc", "stream"}
_ENDS_FROM = {"where", "group", "group by", "order", "order by", "having", "limit", "select", "qualify", "window"}
_ENDS_COLUMNS = {
    "FROM",
    "WHERE",
    "UNION",
    "EXCEPT",
    "INTERSECT",
    "SEMICOLON",
    "ORDER_BY",
    "LIMIT",
    "GROUP_BY",
    "R_PAREN",
}
_NOT_NAMES = {
    "if",
    "not",
    "exists",
    "or",
    "replace",
    "temporary",
    "as",
    "extended",
    "only",
    "lateral",
    "select",
    "values",
}


class Databases(Protocol):
    """What an engine has. `understands_use`: whether it knows Databricks' USE of what is not in the map."""

    understands_use: bool

    def current(self) -> str:
        """The name of the database that stands for a catalog without a name of its own."""
        ...

    def known(self, catalog: str) -> bool:
        """Whether names of this catalog can be found without a map."""
        ...

    def schema(self, database: str, schema: str) -> str:
        """The engine's name of a schema: Databricks' `default` may have another one."""
        ...


class Name(NamedTuple):
    """A name of a table, function or schema: its first and last token, and its parts as written."""

    first: int
    last: int
    parts: tuple[str, ...]
    of_schema: bool = False


def with_catalogs(text: str, catalogs: Mapping[str, str | None], databases: Databases) -> str:
    """A Databricks statement whose names of tables, functions and schemas lead to databases of this engine.

    `catalogs` leads from a catalog's name to a database; None is the current one. Raises StatementError for a catalog
    that is neither in the map nor known to the engine.
    """
    if "." not in text:
        return text
    by_name = {name.lower(): database for name, database in catalogs.items()}
    tokens = calls.tokenize(text, "databricks")
    replaced: list[tuple[int, int, str]] = []
    moved: dict[tuple[str, ...], tuple[str, ...]] = {}
    for name in _names(tokens):
        parts = name.parts
        catalog = parts[0].lower()
        full = len(parts) == (2 if name.of_schema else 3)
        if full and catalog in OWN and catalog not in by_name:
            continue
        if full:
            if catalog in by_name:
                database = by_name[catalog] or databases.current()
            elif databases.known(parts[0]):
                database = parts[0]
            else:
                raise unknown(parts[0])
            new: tuple[str, ...] = (database, databases.schema(database, parts[1]), *parts[2:])
        elif len(parts) == 2 and not name.of_schema:
            database = databases.current()
            schema = databases.schema(database, parts[0])
            new = parts if schema == parts[0] else (database, schema, parts[1])
        else:
            continue
        if new != parts:
            replaced.append((tokens[name.first].start, tokens[name.last].end + 1, spelled(new)))
            moved[tuple(part.lower() for part in parts)] = new
    if not replaced:
        return text
    replaced_at = {start for start, _, _ in replaced}
    for name in _dotted(tokens):  # a column by the full name of its table
        for count in (3, 2):
            prefix = tuple(part.lower() for part in name.parts[:count])
            if len(name.parts) > count and prefix in moved and tokens[name.first].start not in replaced_at:
                end = tokens[name.first + 2 * (count - 1)].end + 1
                replaced.append((tokens[name.first].start, end, spelled(moved[prefix])))
                replaced_at.add(tokens[name.first].start)
    return calls.replace(text, replaced)


def unknown(catalog: str) -> StatementError:
    """The error for a catalog that leads nowhere."""
    return StatementError(
        f"there is no catalog '{catalog}' here; say in conf/aiq.yml which database it means, for example "
        f"catalogs: {{{catalog}: }} for the current one"
    )


def with_use(text: str, catalogs: Mapping[str, str | None], databases: Databases) -> str:
    """`USE CATALOG c`, `USE SCHEMA s`, `USE c.s` and `SET CATALOG c` as `USE database.schema`; other text as it is."""
    tokens = [token for token in calls.tokenize(text, "databricks") if token.text != ";"]
    said = [token.text.lower() for token in tokens[:2]]
    if not said or said[0] not in ("use", "set") or (said[0] == "set" and said[1:] != ["catalog"]):
        return text
    kind = said[1] if len(said) == 2 and said[1] in ("catalog", "schema", "database", "namespace") else ""
    rest = tokens[2 if kind and len(tokens) > 2 else 1 :]
    parts = [token.text for token in rest if token.text != "."]
    if len(rest) != 2 * len(parts) - 1 or not 1 <= len(parts) <= 2 or (kind == "catalog" and len(parts) > 1):
        return text
    by_name = {name.lower(): database for name, database in catalogs.items()}
    is_catalog = kind == "catalog" or len(parts) == 2
    if databases.understands_use and not (is_catalog and parts[0].lower() in by_name):
        return text
    if not is_catalog:
        database = databases.current()
        return f"USE {spelled((database, databases.schema(database, parts[0])))}"
    if parts[0].lower() in by_name:
        database = by_name[parts[0].lower()] or databases.current()
    elif databases.known(parts[0]):
        database = parts[0]
    else:
        raise unknown(parts[0])
    return f"USE {spelled((database, databases.schema(database, parts[1] if len(parts) == 2 else 'default')))}"


def with_identifiers(text: str, value: Callable[[str], Any]) -> str:
    """A Databricks statement with the names that `IDENTIFIER('a.b')` gives; `value` gives session variables.

    An argument that is more than texts put together stays for the engine.
    """
    if "identifier" not in text.lower():
        return text
    tokens = calls.tokenize(text, "databricks")
    replaced: list[tuple[int, int, str]] = []
    for i, token in enumerate(tokens[:-1]):
        if (
            token.text.lower() != "identifier"
            or tokens[i + 1].text != "("
            or token.text != text[token.start : token.end + 1]
        ):
            continue
        end = closing(tokens, i + 1)
        words = constant_text(text, tokens[i + 2 : end], value)
        if words is not None:
            parts = [part.strip("`") for part in words.split(".")]
            replaced.append((token.start, tokens[end].end + 1, spelled(parts)))
    return calls.replace(text, replaced)


def column_spans(tokens: Sequence[Token]) -> Iterator[tuple[int, int]]:
    """The first token of each column of a SELECT, and the token behind its last one."""
    starts: list[int | None] = [None]
    for i, token in enumerate(tokens):
        kind = token.token_type.name
        if kind in ("L_PAREN", "L_BRACKET", "L_BRACE"):
            starts.append(None)
        elif kind == "SELECT" or (kind == "DISTINCT" and starts[-1] == i):
            starts[-1] = i + 1
        elif starts[-1] is not None and (kind == "COMMA" or kind in _ENDS_COLUMNS):
            yield starts[-1], i
            starts[-1] = i + 1 if kind == "COMMA" else None
        if kind in ("R_PAREN", "R_BRACKET", "R_BRACE"):
            starts = starts[:-1] or [None]
    if starts[-1] is not None:
        yield starts[-1], len(tokens)


def closing(tokens: Sequence[Token], opening: int) -> int:
    """The token that closes the parenthesis of token `opening`. Raises StatementError where there is none."""
    depth = 0
    for i in range(opening, len(tokens)):
        depth += (tokens[i].text == "(" and tokens[i].token_type.name == "L_PAREN") - (
            tokens[i].text == ")" and tokens[i].token_type.name == "R_PAREN"
        )
        if depth == 0:
            return i
    raise StatementError("the statement has a parenthesis that is not closed")


def constant_text(text: str, tokens: Sequence[Token], value: Callable[[str], Any]) -> str | None:
    """The text of an expression of texts and variables with `||` or `concat`; None for any other."""
    if tokens and tokens[0].text.lower() == "concat" and len(tokens) > 1 and closing(tokens, 1) == len(tokens) - 1:
        tokens = tokens[2:-1]
    words: list[str] = []
    joined = True
    for token in tokens:
        kind = token.token_type.name
        if kind in ("DPIPE", "COMMA") and not joined:
            joined = True
        elif kind in ("STRING", "RAW_STRING"):
            words.append(token.text)  # two in a row are one text
            joined = False
        elif joined and token.text.isidentifier():
            try:
                words.append(str(value(token.text)))
            except KeyError:
                return None
            joined = False
        else:
            return None
    return "".join(words) if words and not joined else None


def spelled(parts: Sequence[str]) -> str:
    """A name of these parts as Databricks' SQL writes it."""
    return ".".join(
        part if part.isidentifier() and part.isascii() and part.lower() != "default" else f"`{part.replace('`', '``')}`"
        for part in parts
    )


def _dotted(tokens: Sequence[Token]) -> Iterator[Name]:
    """Every name with dots, and single words, by their tokens."""
    i = 0
    while i < len(tokens):
        if not _is_word(tokens[i]) or (i and tokens[i - 1].text == "." and tokens[i - 1].token_type.name == "DOT"):
            i += 1
            continue
        last = i
        while last + 2 < len(tokens) and tokens[last + 1].token_type.name == "DOT" and _is_word(tokens[last + 2]):
            last += 2
        yield Name(i, last, tuple(tokens[j].text for j in range(i, last + 1, 2)))
        i = last + 1


def _names(tokens: Sequence[Token]) -> Iterator[Name]:
    """The names of tables, functions and schemas."""
    dotted = {name.first: name for name in _dotted(tokens)}
    in_from: list[bool | None] = [False]  # None in parentheses that are no query: EXTRACT(day FROM x) names no table
    before = ""
    for i, token in enumerate(tokens):
        word = token.text.lower() if token.token_type.name not in ("STRING", "IDENTIFIER", "RAW_STRING") else ""
        name = dotted.get(i)
        if name is not None and len(name.parts) > 1:
            called = name.last + 1 < len(tokens) and tokens[name.last + 1].token_type.name == "L_PAREN"
            if before in ("schema", "database"):
                yield name._replace(of_schema=True)
            elif (
                before in _BEFORE_TABLE
                or (before == "," and in_from[-1])
                or (called and len(name.parts) == 3)
                or before == "function"
            ):
                yield name
        if token.token_type.name in ("L_PAREN", "L_BRACKET", "L_BRACE"):
            in_from.append(None)
        elif token.token_type.name in ("R_PAREN", "R_BRACKET", "R_BRACE"):
            in_from = in_from[:-1] or [False]
        elif word in ("from", "join"):
            if in_from[-1] is None or before == "distinct":
                word = ""
            else:
                in_from[-1] = True
        elif word in _ENDS_FROM and (word == "select" or in_from[-1] is not None):
            in_from[-1] = False
        if word not in _NOT_NAMES:
            before = "," if token.token_type.name == "COMMA" else word if word != "(" or before != "stream" else before


def _is_word(token: Token) -> bool:
    return token.token_type.name == "IDENTIFIER" or (
        token.token_type.name not in ("STRING", "RAW_STRING", "NUMBER") and token.text.isidentifier()
    )
