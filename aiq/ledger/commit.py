"""Moves what is in a spool into the Delta tables, exactly once. Knows what a replay is, and no clock or thread."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from aiq.errors import LedgerError
from aiq.ledger import delta, groups
from aiq.ledger.private import tighten
from aiq.ledger.records import PAYLOAD_SCHEMA, SYSTEM_TABLES
from aiq.ledger.rows import SEQ, delta_rows
from aiq.ledger.spool import CorruptSpool, Spool
from aiq.ledger.upkeep import keep_small

if TYPE_CHECKING:
    from deltalake import DeltaTable

CHUNK_BYTES = 32 * 1024 * 1024
"""Spooled bytes that are committed at once."""
PIECE_BYTES = 1024 * 1024
"""Spooled bytes that are decoded at once: as Python objects they take ten times their size, as Arrow columns once."""


class Workspace(NamedTuple):
    """Where the tables are, and what `endpoint_usage` says of whose they are."""

    home: Path
    account_id: str | None = None
    workspace_id: str | None = None
    root: delta.Location | None = None

    @property
    def is_home(self) -> bool:
        """Whether the tables lie in the home, which is its user's alone, and not where settings say."""
        return self.root in (None, self.home / "tables")

    def table(self, name: str) -> delta.Location:
        """Where a table lies."""
        return delta.located(self.root or self.home / "tables", name)


def drain(spool: Spool, workspace: Workspace) -> None:
    """Commits all groups in the spool and forgets them. Intents without outcome stay.

    A table that cannot be written holds up no other one: then nothing is forgotten, and LedgerError names it at the
    end. The next call gives it all it missed, and gives no other table a row twice.
    """
    position = _Position(spool)
    failed: dict[str, LedgerError] = {}
    waiting: dict[str, list[pa.Table]] = {}
    size = 0

    def commit() -> None:
        for name, tables in waiting.items():
            if name in failed:  # a later chunk must not overtake an earlier one
                continue
            try:
                parts = [(spool.app_id, pa.concat_tables(tables))]
                _append({spool.app_id: position.after}, workspace, name, parts)
            except LedgerError as error:
                failed[name] = error
        waiting.clear()
        if not failed:
            spool.forget(position.after, groups.encode_kept(position.fields, position.intents, position.statements))

    try:
        for read, outcomes in position.pieces(spool):
            rows = delta_rows(outcomes, account_id=workspace.account_id, workspace_id=workspace.workspace_id)
            for name, data in rows.items():
                waiting.setdefault(name, []).append(data)
            size += read
            if size >= CHUNK_BYTES:
                commit()
                size = 0
    except CorruptSpool:
        if size:  # what comes before the damage
            commit()
        raise
    if size:
        commit()
    if failed:
        raise LedgerError("; ".join(str(error) for error in failed.values()))


def drain_together(spools: Sequence[Spool], workspace: Workspace) -> None:
    """Commits several small spools of processes that are over, all in one commit a table. Forgets nothing.

    Raises LedgerError where a table cannot be written; done again, no table gets a row twice.
    """
    waiting: dict[str, list[tuple[str, pa.Table]]] = {}
    last: dict[str, int] = {}
    for spool in spools:
        position = _Position(spool)
        for _, outcomes in position.pieces(spool):
            rows = delta_rows(outcomes, account_id=workspace.account_id, workspace_id=workspace.workspace_id)
            for name, data in rows.items():
                waiting.setdefault(name, []).append((spool.app_id, data))
        last[spool.app_id] = position.after
    failed = []
    for name, parts in waiting.items():
        try:
            _append({app_id: last[app_id] for app_id, _ in parts}, workspace, name, parts)
        except LedgerError as error:
            failed.append(str(error))
    if failed:
        raise LedgerError("; ".join(failed))


def unfinished(spool: Spool) -> tuple[groups.OpenIntents, groups.OpenStatements]:
    """The intents in the spool that have no outcome, and the statements that have no end. Commits nothing."""
    position = _Position(spool)
    for _ in position.pieces(spool):
        pass
    return position.intents, position.statements


class _Position:
    """How far a spool has been read: up to which group, what is unfinished there, what the columns are named."""

    def __init__(self, spool: Spool) -> None:
        self.after, kept = spool.kept()
        self.intents: groups.OpenIntents = {}
        self.statements: groups.OpenStatements = {}
        self.fields: list[Sequence[str]] = groups.default_fields()
        if kept:
            groups.decode([(self.after, kept)], self.fields, self.intents, self.statements)

    def pieces(self, spool: Spool) -> Iterator[tuple[int, groups.Outcomes]]:
        """Bytes and their outcomes, up to group `after`. Of a damaged spool what comes before; then CorruptSpool."""
        while read := spool.read(self.after, min(PIECE_BYTES, CHUNK_BYTES)):
            try:
                outcomes = groups.decode(read, self.fields, self.intents, self.statements)
            except ValueError as error:
                read = list(itertools.takewhile(lambda group: groups.readable(group[1], self.fields), read))
                if not read:
                    raise CorruptSpool(spool.path, f"a group cannot be decoded ({error})") from error
                outcomes = groups.decode(read, self.fields, self.intents, self.statements)
            self.after = read[-1][0]
            yield sum(len(payload) for _, payload in read), outcomes


def _append(last: dict[str, int], workspace: Workspace, name: str, parts: Sequence[tuple[str, pa.Table]]) -> None:
    """Appends rows by spool. `last` is how far each spool has been read."""

    def missing(table: DeltaTable) -> pa.Table:
        done = {app_id: table.transaction_version(app_id) for app_id in last}
        fresh = []
        for app_id, data in parts:
            version, seq = done[app_id], data.column(SEQ)
            all_newer = version is None or pc.min(seq).as_py() > version  # which saves a copy
            fresh.append((data if all_newer else data.filter(pc.greater(seq, version))).drop_columns([SEQ]))
        return fresh[0] if len(fresh) == 1 else pa.concat_tables(fresh)

    path = workspace.table(name)
    if delta.append(path, name, SYSTEM_TABLES.get(name, PAYLOAD_SCHEMA), last, missing) and workspace.is_home:
        keep_small(Path(str(path)), name)
        tighten(Path(str(path)))
