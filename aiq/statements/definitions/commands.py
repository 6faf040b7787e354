"""Defines, drops, shows and refreshes functions and views: one way for every engine.

Knows the definitions of a home; must never know how an engine runs a query.
"""

from __future__ import annotations

import datetime
import fnmatch
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from aiq.errors import FunctionError, StatementError
from aiq.sql.words import DATABRICKS, DUCKDB, asks
from aiq.statements.definitions.create import read
from aiq.statements.definitions.parsed import Alter, Command, Create, Describe, Drop, Refresh, Show
from aiq.statements.definitions.store import Definition
from aiq.statements.definitions.substitute import expression_of, gives, parameters_in

if TYPE_CHECKING:
    from aiq.statements.definitions.kept import KeptDefinitions


class Done(NamedTuple):
    """A statement that was carried out here, and its rows, None where it has none."""

    table: pa.Table | None = None


class Commands:
    """Carries out what a session says of functions and views."""

    def __init__(self, host: KeptDefinitions) -> None:
        self._host = host

    def carry_out(self, text: str, dialect: str) -> Done | None:
        """The result of a statement that defines, drops, shows or refreshes; None for one that is the engine's.

        Raises StatementError before any call; nothing is left half done.
        """
        command: Command | None = read(text, dialect)
        if isinstance(command, Create):
            created_in = DATABRICKS if command.kind == "FUNCTION" else dialect
            return self._create(command, text, created_in)
        if isinstance(command, Drop):
            return self._drop(command)
        if isinstance(command, Alter):
            return self._alter(command, dialect)
        if isinstance(command, Refresh):
            return self._refresh(command)
        if isinstance(command, Describe):
            return self._describe(command)
        return self._show(command) if isinstance(command, Show) else None

    def _create(self, created: Create, text: str, dialect: str) -> Done | None:
        host, what = self._host, f"{created.kind.lower()} {'.'.join(created.name)}"
        if created.replaces and created.unless_there:
            raise StatementError(f"the {what}: OR REPLACE and IF NOT EXISTS exclude each other; keep one")
        if created.temporary and len(created.name) > 1:
            raise StatementError(f"the {what} is temporary, so its name has one part: {created.name[-1]}")
        definition = self._definition(created, text, dialect)
        family = definition.family
        earlier = host.definitions.find(family, definition.place, temporary=created.temporary)
        body = host.expansion.expanded(created.body, dialect, within=(definition,))
        own, ai = body == created.body, asks(body, dialect)
        definition = definition._replace(asks=ai)
        table = created.kind in _TABLES
        if earlier is not None and not created.temporary and (table or earlier.dialect == dialect == DUCKDB):
            if not host.has_relation(created.name):
                earlier = None  # it was made in another database, or one that is gone
            elif not table and not created.replaces:
                return None  # the engine has it, too
        if created.kind == "VIEW" and own and not ai and earlier is None:
            return None
        if earlier is not None and not created.replaces:
            if created.unless_there:
                return Done()
            raise StatementError(
                f"there is a {earlier.kind.lower()} {earlier} already; write CREATE OR REPLACE {created.kind}, or "
                f"CREATE {created.kind} IF NOT EXISTS"
            )
        if earlier is not None and earlier.kind != created.kind:
            raise StatementError(f"{earlier} is a {earlier.kind.lower()}; DROP {earlier.kind} it first")
        if table:
            if created.unless_there and host.has_relation(created.name):
                return Done()
            if earlier is None and host.has_relation(created.name):
                raise StatementError(f"there is a table or view {'.'.join(created.name)} already; drop it first")
            host.made_tables().check(created, dialect)
            host.made_tables().fill(created, dialect, again=earlier is not None)
            self._warn_of_schedule(created)
            host.definitions.add(definition, replace=True)
            return Done()
        if created.kind == "VIEW" and own and not ai and earlier is not None:
            host.definitions.remove(earlier)  # the one that replaces it is the engine's
            return None
        if created.kind == "FUNCTION":
            if len(created.name) == 1 and host.is_built_in(created.name[0]):
                raise StatementError(f"{created.name[0]} is a function of SQL itself; give yours another name")
            self._check_function(created, body, definition)
        if host.keeps(created, text, dialect, asks=ai, own=own):
            if created.temporary:
                return Done()
        elif created.kind == "VIEW":
            host.check(created.body, dialect)
            if host.has_relation(created.name) and not created.temporary:
                if not created.replaces or not host.has_view(created.name):
                    raise StatementError(f"there is a table or view {'.'.join(created.name)} already; drop it first")
                host.drop("VIEW", created.name)
        host.definitions.add(definition, replace=True)
        return Done()

    def _check_function(self, created: Create, body: str, definition: Definition) -> None:
        typed = False
        if created.is_table:
            if not created.is_query:
                raise StatementError(f"{definition}: RETURNS TABLE needs a query: RETURN SELECT ...")
        else:
            spelled = created._replace(body=body)
            expression = expression_of(spelled)
            if expression is not None:
                parameters_in(expression, spelled, definition)
                typed = gives(expression, created.returns)
        try:
            sample, dialect = self._host.expansion.sample, self._host.dialect
            self._host.check(sample(created, body, definition, dialect), dialect)
            if created.returns is not None and "STRUCT" in created.returns.upper() and not typed:
                written = created._replace(returns=None)
                self._host.check_fields(
                    sample(written, body, definition, dialect), sample(created, body, definition, dialect)
                )
        except FunctionError as error:
            if error.condition not in _OF_PARAMETERS:
                raise

    def _warn_of_schedule(self, created: Create) -> None:
        if created.schedule is not None:
            warnings.warn(
                f"{'.'.join(created.name)}: {created.schedule} is kept with its definition, but nothing here runs it; "
                f"have your scheduler run REFRESH {created.kind} {'.'.join(created.name)}",
                stacklevel=6,
            )

    def _definition(self, created: Create, text: str, dialect: str) -> Definition:
        place = ("", "", created.name[-1]) if created.temporary else self._host.expansion.qualified(created.name)
        return Definition(created.kind, *place, text.strip(), dialect, False, self._host.owner, 0.0, created.temporary)

    def _drop(self, drop: Drop) -> Done | None:
        host = self._host
        family = "function" if drop.kind == "FUNCTION" else "relation"
        found = host.expansion.find(family, drop.name)
        if found is None:
            if drop.kind not in _TABLES:
                return None
            if drop.if_exists:
                return Done()
            raise StatementError(f"there is no {drop.kind.lower()} {'.'.join(drop.name)}")
        table = found.kind in _TABLES
        if drop.kind != found.kind and not (table and drop.kind == "TABLE"):
            if drop.kind == "TABLE":
                return None  # a table of the engine's hides it
            raise StatementError(f"{found} is a {found.kind.lower()}; write DROP {found.kind} {found}")
        if not found.temporary:
            if table:
                created = read(found.text, found.dialect)
                assert isinstance(created, Create)
                host.made_tables().drop(created._replace(name=drop.name), found.dialect)
            elif (host.has_function if family == "function" else host.has_relation)(drop.name):
                host.drop(drop.kind, drop.name)
        host.definitions.remove(found)
        return Done()

    def _alter(self, alter: Alter, dialect: str) -> Done | None:
        found = self._host.expansion.find("relation", alter.name)
        if found is None:
            return None
        if alter.body is None or found.kind != "VIEW":
            raise StatementError(
                f"ALTER {found.kind} {found} {alter.rest}: only ALTER VIEW name AS query is supported; drop it and "
                "create it anew"
            )
        kind = "TEMPORARY VIEW" if found.temporary else "VIEW"
        written = ".".join("`" + part + "`" if dialect == DATABRICKS else f'"{part}"' for part in alter.name)
        return self.carry_out(f"CREATE OR REPLACE {kind} {written} AS {alter.body}", dialect)

    def _refresh(self, refresh: Refresh) -> Done | None:
        host = self._host
        found = host.expansion.find("relation", refresh.name)
        if found is None or found.kind not in _TABLES:
            if refresh.kind in _TABLES:
                raise StatementError(f"there is no {refresh.kind.lower()} {'.'.join(refresh.name)} to refresh")
            return None
        created = read(found.text, found.dialect)
        assert isinstance(created, Create)
        created = created._replace(name=refresh.name)
        host.expansion.expanded(created.body, found.dialect, within=(found,))  # it must not read itself
        host.made_tables().check(created, found.dialect)
        if host.has_relation(refresh.name):
            host.made_tables().refresh(created, found.dialect, full=refresh.full)
        else:
            host.made_tables().fill(created, found.dialect)
        return Done()

    def _describe(self, describe: Describe) -> Done | None:
        found = self._host.expansion.find("function", describe.name)
        if found is None or (not found.asks and self._host.has_function(describe.name)):
            return None
        created = read(found.text, found.dialect)
        assert isinstance(created, Create)
        returns = f"TABLE ({', '.join(map(' '.join, created.columns))})" if created.is_table else created.returns or ""
        lines = [
            f"Function: {found}",
            f"Type:     {'TABLE' if created.is_table else 'SCALAR'}",
            f"Input:    {', '.join(_written(one) for one in created.parameters) or '()'}",
            f"Returns:  {returns}",
        ]
        if describe.extended:
            created_at = datetime.datetime.fromtimestamp(found.created_s, datetime.UTC)
            lines += [
                f"Comment:  {created.comment or ''}",
                f"Owner:    {found.owner}",
                f"Created:  {created_at:%Y-%m-%d %H:%M:%S} UTC",
                f"Body:     {created.body}",
            ]
        return Done(pa.table({"function_desc": lines}))

    def _show(self, show: Show) -> Done | None:
        kept = self._host.definitions.all("function")
        if show.which == "SYSTEM" or not kept:
            return None
        pattern = (show.pattern or "*").lower()
        names = {
            str(one) for one in kept for part in pattern.split("|") if fnmatch.fnmatch(one.name.lower(), part.strip())
        }
        names |= {
            name
            for name in self._host.functions(show.which)
            for part in pattern.split("|")
            if fnmatch.fnmatch(name.split(".")[-1].lower(), part.strip())
        }
        return Done(pa.table({"function": sorted(names)}))


_TABLES = ("MATERIALIZED VIEW", "STREAMING TABLE")
_OF_PARAMETERS = ("NON_FOLDABLE_ARGUMENT",)
"""What is wrong with a function for which a sample of its arguments is no constant; a call of it may give one."""


def _written(parameter: Any) -> str:
    default = "" if parameter.default is None else f" DEFAULT {parameter.default}"
    return f"{parameter.name} {parameter.type}{default}"
