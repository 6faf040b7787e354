"""Puts the text of kept functions and views in the places where a statement reads them.

`SELECT gist(body) FROM t` becomes `SELECT CAST(ai_query('chat', (CAST(body AS STRING))) AS STRING) ... FROM t`.
Knows texts and definitions; must never know an engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from aiq.errors import StatementError
from aiq.sql.words import DATABRICKS, DUCKDB, Word, quoted, words
from aiq.statements.definitions.create import read
from aiq.statements.definitions.parsed import Create
from aiq.statements.definitions.store import Definition, Definitions, folded
from aiq.statements.definitions.substitute import spelled_call, spelled_rows, translated
from aiq.statements.definitions.walk import Reference, alias_of, references

MAX_CHARACTERS = 2_000_000
MAX_DEPTH = 32
MAX_SPELLED = 1000
Place = tuple[str, str]


class Surroundings(NamedTuple):
    """What an engine knows of names.

    `place` gives the catalog and the schema in which names are looked up, '' for the engine's own. `has_relation` and
    `has_function` say whether the engine itself has one of a name, `is_built_in` whether a function is its own.
    `to_duckdb` translates a Databricks statement, `with_files` has it read tables where it reads files.
    """

    place: Callable[[], Place]
    has_relation: Callable[[tuple[str, ...]], bool]
    has_function: Callable[[tuple[str, ...]], bool]
    is_built_in: Callable[[str], bool]
    to_duckdb: Callable[[str], str]
    with_files: Callable[[str], str]
    own_catalogs: frozenset[str] = frozenset()


class Expansion:
    """Spells out the statements of one session."""

    def __init__(self, definitions: Definitions, around: Surroundings) -> None:
        self._definitions, self._around = definitions, around
        self._spelled_out = 0

    def expanded(self, text: str, dialect: str, *, within: Sequence[Definition] = ()) -> str:
        """A statement with every kept function and view that it reads spelled out. Raises StatementError."""
        spelled = self._expanded(text, dialect, within)
        return self._around.with_files(spelled) if dialect == DATABRICKS else spelled

    def _expanded(self, text: str, dialect: str, within: Sequence[Definition]) -> str:
        if not within:
            self._spelled_out = 0
        names = self._definitions.names() | {one.place[2] for one in within}
        lower = text.lower()
        if not any(name in lower for name in names):
            return text
        found = words(text, dialect)
        if not any(word.may_name and word.text.lower() in names for word in found):
            return text
        return self._spelled(text, found, dialect, tuple(within))

    def _spelled(self, text: str, found: list[Word], dialect: str, within: tuple[Definition, ...]) -> str:
        made: list[tuple[int, int, str]] = []
        items: dict[tuple[int, int], None] = {}
        read_views: list[tuple[Definition, str]] = []
        done = 0
        walked = references(text, found)
        for reference in walked.references:
            if reference.start < done:
                continue  # in the arguments of one before
            definition = self._meant(reference, within, walked.hidden)
            if definition is None:
                continue
            spelled = self._one(text, reference, definition, dialect, within)
            made.append((reference.start, reference.end, spelled))
            done = reference.end
            if reference.item is not None:
                items[reference.item] = None
            if not reference.is_call:
                read_views.append((definition, spelled))
        for definition, spelled in read_views:
            _check_hidden(definition, spelled, dialect, walked.hidden)
        for start, end in items:
            if (alias := alias_of(text, found, start, end)) is not None:
                at = found[end - 1].end
                made.append((at, at, f" AS {quoted(alias, dialect)}"))
        pieces, position = [], 0
        for start, end, new in sorted(made, key=lambda one: (one[0], one[1])):
            pieces += [text[position:start], new]
            position = end
        expanded = "".join([*pieces, text[position:]])
        if len(expanded) > MAX_CHARACTERS:
            raise StatementError(
                f"with its functions and views spelled out the statement has {len(expanded):,} characters; at most "
                f"{MAX_CHARACTERS:,} are possible. Use a function's parameters less often, or fewer functions in others"
            )
        return expanded

    def _meant(self, reference: Reference, within: tuple[Definition, ...], hidden: frozenset[str]) -> Definition | None:
        """The definition that a name means; None for a name that is the engine's."""
        name = reference.name
        family = "function" if reference.is_call else "relation"
        if len(name) == 1 and not reference.is_call and name[0].lower() in hidden:
            return None
        if len(name) == 1 and reference.is_call and self._around.is_built_in(name[0]):
            return None
        place = folded(*self.qualified(name))
        found = next((one for one in within if one.family == family and one.place == place), None)
        if found is not None and found.kind in ("MATERIALIZED VIEW", "STREAMING TABLE"):
            raise StatementError(f"the definition of {found} reads itself; define it anew without that")
        found = found or self.find(family, name, within[-1] if within else None)
        if found is None or found.kind in ("MATERIALIZED VIEW", "STREAMING TABLE"):
            return None
        if not reference.is_call and not found.temporary and self._around.has_relation(name):
            return None
        if reference.is_call and not found.asks and found not in within and self._around.has_function(name):
            return None
        return found

    def sample(self, created: Create, body: str, definition: Definition, dialect: str) -> str:
        """A query over a call of a function with NULLs, for an engine to look at. `body` is its own, spelled out."""
        created = created._replace(body=body)
        nulls = [(None, "NULL")] * len(created.parameters)
        if created.is_table:
            return f"SELECT * FROM {spelled_rows(created, nulls, definition, dialect, self._around.to_duckdb)} AS f"
        return f"SELECT {spelled_call(created, nulls, definition, dialect, self._around.to_duckdb)} AS f"

    def find(self, family: str, name: tuple[str, ...], inside: Definition | None = None) -> Definition | None:
        """The definition of a name as a statement, or a definition that it stands in, writes it."""
        if len(name) > 3 or not name:
            return None
        found = self._definitions.find(family, ("", "", name[0]), temporary=True) if len(name) == 1 else None
        if found is not None:
            return found
        places = [] if inside is None or inside.temporary else [(inside.catalog, inside.schema)]
        for place in [*places, self._around.place()]:
            found = self._definitions.find(family, self.qualified(name, place))
            if found is not None:
                return found
        if len(name) != 2:
            return None
        same = [one for one in self._definitions.all(family) if one.place[1:] == folded("", *name)[1:]]
        return same[0] if len(same) == 1 else None

    def qualified(self, name: tuple[str, ...], place: Place | None = None) -> tuple[str, str, str]:
        """A name with the catalog and schema that it has here; '' where they are the engine's own."""
        catalog, schema = place or self._around.place()
        if len(name) == 3:
            catalog, schema = name[0], name[1]
        elif len(name) == 2:
            schema = name[0]
        if catalog.lower() in self._around.own_catalogs:
            catalog = ""
        if not catalog and schema.lower() in ("main", "default"):
            schema = ""
        return catalog, schema, name[-1]

    def _one(
        self, text: str, reference: Reference, definition: Definition, dialect: str, within: tuple[Definition, ...]
    ) -> str:
        if any(one.place == definition.place and one.family == definition.family for one in within):
            chain = " -> ".join(str(one) for one in [*within, definition])
            raise StatementError(f"the definition of {definition} reads itself ({chain}); define it anew without that")
        if len(within) >= MAX_DEPTH:
            raise StatementError(f"definitions read each other more than {MAX_DEPTH} deep, from {within[0]} on")
        self._spelled_out += 1
        if self._spelled_out > MAX_SPELLED:
            raise StatementError(
                f"the statement reads functions and views {MAX_SPELLED:,} times, counting those in others; that is the "
                "most possible. Call fewer functions in others, or run it in parts"
            )
        created = read(definition.text, definition.dialect)
        assert isinstance(created, Create)
        inner, written = (*within, definition), definition.dialect
        body = created.body
        if written == DUCKDB and dialect == DATABRICKS:
            body, written = translated(body, definition, dialect, self._around.to_duckdb), dialect
        body = self.expanded(body, written, within=inner)
        if not reference.is_call:
            if reference.alone:
                here = reference._replace(alone=False)
                return f" SELECT * FROM {self._one(text, here, definition, dialect, within)}"
            query = body if written == dialect else translated(body, definition, dialect, self._around.to_duckdb)
            columns = ", ".join(quoted(name, dialect) for name, _ in created.columns)
            if not columns and reference.aliased:
                return f"({query}\n)"
            alias = quoted(reference.name[-1], dialect)
            if not columns:
                return f"({query}\n) AS {alias}"
            named = f"(SELECT * FROM ({query}\n) AS {alias}({columns}))"
            return named if reference.aliased else f"{named} AS {alias}"
        arguments = [
            (name, self.expanded(argument, dialect, within=within) if argument else argument)
            for name, argument in reference.arguments
        ]
        created = created._replace(
            body=body,
            parameters=tuple(
                one
                if one.default is None
                else one._replace(default=self.expanded(one.default, definition.dialect, within=inner))
                for one in created.parameters
            ),
        )
        if created.is_table and not reference.in_from:
            raise StatementError(f"{definition} gives rows; read it in FROM: SELECT * FROM {definition}(...)")
        if not created.is_table and reference.in_from:
            raise StatementError(f"{definition} gives one value; call it in SELECT, not in FROM")
        spell = spelled_rows if created.is_table else spelled_call
        spelled = spell(created, arguments, definition, dialect, self._around.to_duckdb)
        if created.is_table and not reference.aliased:
            spelled += f" AS {quoted(reference.name[-1], dialect)}"
        return spelled


def _check_hidden(definition: Definition, spelled: str, dialect: str, hidden: frozenset[str]) -> None:
    """Raises StatementError where a CTE of a statement would stand for a table that a view reads."""
    if not hidden:
        return
    inside = references(spelled, words(spelled, dialect))
    used = {ref.name[0].lower() for ref in inside.references if not ref.is_call and len(ref.name) == 1}
    if both := sorted((used - inside.hidden) & hidden):
        raise StatementError(
            f"the statement has a WITH query called {both[0]}, and {definition} reads a table of that name; give the "
            "WITH query another name"
        )
