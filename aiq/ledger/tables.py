"""The Delta tables of a home folder, for reading and upkeep. Does not know how their rows are made."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from aiq.errors import LedgerError
from aiq.ledger import delta
from aiq.ledger.records import SYSTEM_TABLES
from aiq.ledger.upkeep import turn

if TYPE_CHECKING:
    from deltalake import DeltaTable

_UNREADABLE_FEATURES = {"deletionVectors", "columnMapping"}


class TableInfo(NamedTuple):
    """A table at its latest version. `bytes` of its data files; `committed` is the UTC time of the last commit."""

    name: str
    rows: int
    files: int
    bytes: int
    version: int
    committed: datetime | None


class Tables:
    """The tables under `<root>/<catalog>/<schema>/<table>`. Names are `<catalog>.<schema>.<table>`."""

    def __init__(self, home: Path, root: delta.Location | None = None) -> None:
        """`root` is where they are, if not in `home`."""
        self._root = root or home / "tables"

    def names(self, known: Iterable[str] = ()) -> list[str]:
        """All tables, sorted. In an object store, which is not listed, those of the system and of `known`."""
        if isinstance(self._root, Path):
            return sorted(".".join(log.parent.parts[-3:]) for log in self._root.glob("*/*/*/_delta_log"))
        names = {*SYSTEM_TABLES, *known}
        return sorted(name for name in names if delta.open_table(delta.located(self._root, name), name) is not None)

    def path(self, name: str) -> delta.Location:
        """The table's folder or URI. Raises LedgerError for a table that does not exist, naming the nearest."""
        names = self.names([name])
        if name not in names:
            near = difflib.get_close_matches(name, names, 1, 0.4) or names
            hint = f"did you mean {near[0]}?" if near else "nothing has been recorded yet."
            raise LedgerError(f"there is no table {name} in {self._root}; {hint}")
        return delta.located(self._root, name)

    def create(self, name: str, schema: pa.Schema) -> None:
        """Makes a table in which nothing was recorded yet. Raises LedgerError."""
        delta.open_or_create(delta.located(self._root, name), name, schema)

    def info(self) -> list[TableInfo]:
        """Rows, files, bytes, version and last commit of every table. Raises LedgerError for a damaged one."""
        return [self._info(name) for name in self.names()]

    def parquet_files(self, name: str) -> list[str] | None:
        """The data files of the latest version; None where they alone do not tell the table's rows.

        That is so in an object store, and where a user enabled deletion vectors or column mapping, partitioned the
        table, or changed its columns: then `to_arrow` reads it.
        """
        if not isinstance(self._root, Path):
            return None
        table = self._open(name)
        protocol, configuration = table.protocol(), table.metadata().configuration
        mapped = configuration.get("delta.columnMapping.mode", "none") != "none"
        if mapped or _UNREADABLE_FEATURES & set(protocol.reader_features or ()) or table.metadata().partition_columns:
            return None
        return table.file_uris()

    def to_arrow(self, name: str) -> pa.Table:
        """All rows of the latest version, in no particular order, whatever Delta features the table uses."""
        table = self._open(name)
        try:
            return pa.RecordBatchReader.from_stream(table.scan()).read_all()
        except Exception as error:
            raise delta.unusable(self.path(name), name, error) from error

    def schema(self, name: str) -> pa.Schema:
        """The table's columns."""
        return pa.schema(self._open(name).schema().to_arrow())

    def optimize(self, name: str) -> dict[str, Any]:
        """Rewrites many small files as few large ones, and checkpoints. Returns Delta's metrics of it."""
        path = self.path(name)
        try:
            # In turn with the upkeep of other processes: two compactions at once would double rows.
            with turn(path, wait=True) if isinstance(path, Path) else contextlib.nullcontext():
                table = self._open(name)
                metrics = table.optimize.compact()
                table.create_checkpoint()
        except Exception as error:
            raise delta.unusable(self.path(name), name, error) from error
        return dict(metrics)

    def vacuum(self, name: str, retention_hours: int | None = None, *, dry_run: bool = True) -> list[str]:
        """Deletes files that no version within the retention (default: the table's own, 168 hours) needs.

        Returns their paths; with `dry_run` nothing is deleted. A reader or writer that is at work longer than
        `retention_hours` may lose files under its hands.
        """
        table = self._open(name)
        try:
            return table.vacuum(retention_hours, dry_run=dry_run, enforce_retention_duration=False)
        except Exception as error:
            raise delta.unusable(self.path(name), name, error) from error

    def _open(self, name: str) -> DeltaTable:
        table = delta.open_table(self.path(name), name)
        if table is None:
            raise LedgerError(f"there is no table {name} in {self._root} any more")
        return table

    def _info(self, name: str) -> TableInfo:
        table = self._open(name)
        actions = pa.table(table.get_add_actions(flatten=True))
        counts = actions.column("num_records")
        rows = table.count() if counts.null_count else sum(counts.to_pylist())
        stamps = [entry["timestamp"] for entry in table.history(1) if "timestamp" in entry]
        committed = datetime.fromtimestamp(stamps[0] / 1000, UTC) if stamps else None
        size = sum(actions.column("size_bytes").to_pylist())
        return TableInfo(name, rows, len(actions), size, table.version(), committed)
