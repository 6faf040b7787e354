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
from aiq.ledger.records import CALLS_SCHEMA, CALLS_TABLE, PAYLOAD_SCHEMA, USAGE_SCHEMA, USAGE_TABLE
from aiq.ledger.rows import SEQ, delta_rows
from aiq.ledger.spool import CorruptSpool, Spool

if TYPE_CHECKING:
    from deltalake import DeltaTable

CHUNK_BYTES = 32 * 1024 * 1024
"""Spooled bytes that are read, and committed, at once."""

_SCHEMAS = {CALLS_TABLE: CALLS_SCHEMA, USAGE_TABLE: USAGE_SCHEMA}


class Workspace(NamedTuple):
    """Where the tables are, and what `endpoint_usage` says of whose they are."""

    home: Path
    account_id: str | None = None
    workspace_id: str | None = None


def drain(spool: Spool, workspace: Workspace) -> None:
    """Commits all groups in the spool and forgets them. Intents without outcome stay.

    A table that cannot be written holds up no other one: then nothing is forgotten, and LedgerError names it at the
    end. The next call gives it all it missed, and gives no other table a row twice.
    """
    position = _Position(spool)
    failed: dict[str, LedgerError] = {}
    for last, outcomes in position.chunks(spool):
        rows = delta_rows(outcomes, account_id=workspace.account_id, workspace_id=workspace.workspace_id)
        for name, data in rows.items():
            if name in failed:  # a later chunk must not overtake an earlier one
                continue
            try:
                _append(spool.app_id, last, workspace.home, name, data)
            except LedgerError as error:
                failed[name] = error
        if not failed:
            spool.forget(last, groups.encode_kept(position.fields, position.intents))
    if failed:
        raise LedgerError("; ".join(str(error) for error in failed.values()))


def open_intents(spool: Spool) -> groups.OpenIntents:
    """The intents in the spool that have no outcome. Commits nothing."""
    position = _Position(spool)
    for _ in position.chunks(spool):
        pass
    return position.intents


class _Position:
    """How far a spool has been read: up to which group, which intents are open there, what the columns are named."""

    def __init__(self, spool: Spool) -> None:
        self.after, kept = spool.kept()
        self.intents: groups.OpenIntents = {}
        self.fields: list[Sequence[str]] = groups.default_fields()
        if kept:
            groups.decode([(self.after, kept)], self.fields, self.intents)

    def chunks(self, spool: Spool) -> Iterator[tuple[int, groups.Outcomes]]:
        """Outcomes, with the number of their last group. Of a damaged spool what comes before; then CorruptSpool."""
        while read := spool.read(self.after, CHUNK_BYTES):
            try:
                outcomes = groups.decode(read, self.fields, self.intents)
            except ValueError as error:
                read = list(itertools.takewhile(lambda group: groups.readable(group[1], self.fields), read))
                if not read:
                    raise CorruptSpool(spool.path, f"a group cannot be decoded ({error})") from error
                outcomes = groups.decode(read, self.fields, self.intents)
            self.after = read[-1][0]
            yield self.after, outcomes


def _append(app_id: str, last: int, home: Path, name: str, data: pa.Table) -> None:
    def missing(table: DeltaTable) -> pa.Table:
        done = table.transaction_version(app_id)
        fresh = data if done is None else data.filter(pc.greater(data.column(SEQ), done))
        return fresh.drop_columns([SEQ])

    path = delta.table_path(home, name)
    delta.append(path, name, _SCHEMAS.get(name, PAYLOAD_SCHEMA), {app_id: last}, missing)
