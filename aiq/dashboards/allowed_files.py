"""Which files the queries of boards may read: a board may come from elsewhere, and would show them.

The limit is DuckDB's own, set once for the life of a database; nothing that a query says can lift it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from aiq.ledger.delta import root_of

if TYPE_CHECKING:
    from aiq.engines.duckdb.session import DuckDBSession

_FILE = re.compile(r'Cannot access file "(.*?)" - ', re.DOTALL)


def allow_only(session: DuckDBSession, folders: Iterable[Path] = ()) -> None:
    """From now on the session's database reads the home's tables, the volumes of the configuration and `folders` alone.

    It opens no other database, no web address and no extension either.
    """
    settings = session.gateway.config.settings
    tables = root_of(Path(session.gateway.ledger.home), settings)
    allowed = [*map(Path, settings.volumes.values()), *folders, *([tables] if isinstance(tables, Path) else [])]
    places = dict.fromkeys(str(each) for folder in allowed for each in (folder.absolute(), folder.resolve()))
    listed = ", ".join("'" + place.replace("'", "''") + "'" for place in places)
    session.con.execute(f"SET allowed_directories = [{listed}]")
    session.con.execute("SET enable_external_access = false")


def in_words(error: duckdb.Error) -> str:
    """An error of a board's query for its tile."""
    text = str(error).split("\n\nLINE")[0]
    found = _FILE.search(text) if isinstance(error, duckdb.PermissionException) else None
    if found is None:
        return text
    return (
        f"the query reads {found[1]}; a board reads the tables of the home and the volumes of conf/aiq.yml, and other "
        "folders where --allow-folder names them"
    )
