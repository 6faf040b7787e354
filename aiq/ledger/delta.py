"""Exactly-once appends to the Delta tables of a home folder. Knows no record: a table has a name and a schema.

Source: Delta's protocol, transaction identifiers (`txn` actions): the version of an application that a table carries
moves in the same commit as the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from aiq.config.connections import Secret
from aiq.config.endpoint import Settings
from aiq.errors import LedgerError
from aiq.forked import note_use
from aiq.ledger.private import make_folders

if TYPE_CHECKING:
    from deltalake import DeltaTable

_ATTEMPTS = 8
"""How often a commit is tried when others change the table at the same time; Delta retries each try 50 times."""
_CONFIGURATION = {"delta.checkpointInterval": "20"}
_STATISTICS = "delta.dataSkippingStatsColumns"
_OWN = "system.aiq."
"""Tables that are ours alone: a later version may add columns to them."""
_UNSEARCHED = {"request", "response", "error_message"}
"""Long texts, whose minimum and maximum cost time and are of no use."""


class Remote(NamedTuple):
    """A table, or the root of tables, in an object store. `options` are deltalake's `storage_options`."""

    uri: str
    options: Mapping[str, str | Secret] = {}

    def __str__(self) -> str:
        return self.uri

    def revealed(self) -> dict[str, str]:
        """The options as the store's client takes them. Raises SecretError for one that cannot be found."""
        return {name: value.reveal() if isinstance(value, Secret) else value for name, value in self.options.items()}


Location = Path | Remote


def root_of(home: Path, settings: Settings) -> Location:
    """Where the tables of a home lie: in it, unless the settings say otherwise."""
    if settings.tables is None:
        return home / "tables"
    if "://" in settings.tables:
        return Remote(settings.tables, settings.storage_options)
    return Path(settings.tables)


def located(root: Location, name: str) -> Location:
    """Where the table `<catalog>.<schema>.<table>` lies. Raises LedgerError for a name that is no such thing."""
    if isinstance(root, Path):
        return root.joinpath(*_parts(name))
    return Remote("/".join([root.uri, *_parts(name)]), root.options)


def _parts(name: str) -> list[str]:
    parts = name.split(".")
    if len(parts) != 3 or any(not part.strip() or "/" in part or "\\" in part or "\0" in part for part in parts):
        raise LedgerError(f"{name!r} is no table name; expected <catalog>.<schema>.<table>")
    return parts


def append(
    path: Location,
    name: str,
    schema: pa.Schema,
    transactions: dict[str, int],
    rows: Callable[[DeltaTable], pa.Table | None],
) -> int:
    """Appends `rows(table)` to the table in one commit that also sets `transactions` (version by application).

    `rows` is asked again for every attempt, with the table as others have left it; None or no row: no commit. Creates
    the table where there is none. Returns the number of rows. Raises LedgerError, and then the caller may call again:
    what was committed meanwhile shows in the table's transaction versions.
    """
    from deltalake import write_deltalake
    from deltalake.exceptions import CommitFailedError
    from deltalake.transaction import CommitProperties, Transaction

    properties = CommitProperties(
        app_transactions=[Transaction(app, version) for app, version in transactions.items()],
        max_commit_retries=50,
    )
    for attempt in range(_ATTEMPTS):
        try:
            table = open_or_create(path, name, schema)
            data = rows(table)
            if data is None or not len(data):
                return 0
            write_deltalake(table, _fit(data, table, name), mode="append", commit_properties=properties)
            return len(data)
        except LedgerError:
            raise
        except CommitFailedError as error:
            if attempt == _ATTEMPTS - 1:
                raise unusable(path, name, error) from error
        except BaseException as error:
            _reraise_ours(error)
            raise unusable(path, name, error) from error
    raise AssertionError("unreachable")


def update(
    table: DeltaTable,
    name: str,
    path: Location,
    values: Mapping[str, str],
    where: str,
    transactions: Mapping[str, int],
) -> None:
    """Sets columns to SQL expressions in the rows `where`, in one commit that also sets `transactions`.

    Raises LedgerError.
    """
    from deltalake.transaction import CommitProperties, Transaction

    properties = CommitProperties(app_transactions=[Transaction(app, version) for app, version in transactions.items()])
    try:
        table.update(dict(values), predicate=where, commit_properties=properties)
    except BaseException as error:
        _reraise_ours(error)
        raise unusable(path, name, error) from error


def open_table(path: Location, name: str) -> DeltaTable | None:
    """The table as it is now, None where there is none. Raises LedgerError for a damaged one."""
    from deltalake import DeltaTable
    from deltalake.exceptions import TableNotFoundError

    if isinstance(path, Path) and not (path / "_delta_log").is_dir():
        if next(path.glob("*.parquet"), None) is not None:
            raise LedgerError(
                f"table {name}: {path} has data files and no _delta_log. Restore the log or move the folder away; "
                "no row is lost meanwhile"
            )
        return None
    note_use("deltalake")
    try:
        return DeltaTable(path) if isinstance(path, Path) else DeltaTable(path.uri, storage_options=path.revealed())
    except TableNotFoundError:
        return None
    except BaseException as error:
        _reraise_ours(error)
        raise unusable(path, name, error) from error


def _reraise_ours(error: BaseException) -> None:
    """Goes on with what is no failure of the table. A library in Rust panics where it can open no more files."""
    if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
        raise error


def unusable(path: Location, name: str, error: BaseException) -> LedgerError:
    """The error of a table that cannot be read or written, with the first line of what Delta said."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:500]
    return LedgerError(
        f"table {name} cannot be used: {reason}. Repair {path} or move it away (a new table is then made); "
        "its rows wait in the spool until then"
    )


def open_or_create(path: Location, name: str, schema: pa.Schema) -> DeltaTable:
    """The table, made if there is none; where it is ours alone, with the columns it lacks. Raises LedgerError."""
    from deltalake import DeltaTable, Schema
    from deltalake.exceptions import DeltaError

    table = open_table(path, name)
    if table is not None:
        return _with_columns(table, schema) if name.startswith(_OWN) else table
    note_use("deltalake")
    flat = [f.name for f in schema if not pa.types.is_nested(f.type) and f.name not in _UNSEARCHED]
    try:
        if isinstance(path, Path):
            make_folders(path)
        return DeltaTable.create(
            path if isinstance(path, Path) else path.uri,
            storage_options=None if isinstance(path, Path) else path.revealed(),
            schema=Schema.from_arrow(schema),
            name=name,
            mode="error",
            configuration={**_CONFIGURATION, _STATISTICS: ",".join(flat)},
        )
    except DeltaError:  # another process was faster
        table = open_table(path, name)
        if table is None:
            raise
        return table


def _with_columns(table: DeltaTable, schema: pa.Schema) -> DeltaTable:
    """The table with the columns that it lacks because an earlier version made it."""
    from deltalake import Schema

    names = set(table.schema().to_arrow().names)
    added = [field for field in schema if field.name not in names]
    if added:
        table.alter.add_columns(Schema.from_arrow(pa.schema(added)).fields)
    return table


def _fit(data: pa.Table, table: DeltaTable, name: str) -> pa.Table:
    """The rows with the table's own columns: those that users added are NULL. Raises LedgerError where it cannot."""
    columns = []
    schema = pa.schema(table.schema().to_arrow())
    missing = [column for column in data.column_names if column not in schema.names]
    if missing:
        raise LedgerError(
            f"table {name} has no column {', '.join(missing)} any more. Add it again (ALTER TABLE ... ADD COLUMNS) or "
            "move the table's folder away; its rows wait in the spool until then"
        )
    for field in schema:
        if field.name in data.column_names:
            columns.append(data.column(field.name))
        elif field.nullable:
            columns.append(pa.nulls(len(data), field.type))
        else:
            raise LedgerError(
                f"table {name} has a column {field.name} that must not be NULL and that the ledger does not know. Make "
                "it nullable; the table's rows wait in the spool until then"
            )
    return pa.table(columns, names=schema.names)
