"""Keeps `system.serving.served_entities`: one row per served entity and configuration change of its endpoint.

The truth about what is in the table is in the table's own log, committed with the rows: for each endpoint, its
configuration version and the version at which a configuration was seen last. A small file next to the tables repeats
it, so that a start where nothing changed need not read the log, with the file that each endpoint was read from: where
that is gone and no endpoint has its name, the endpoint was deleted.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from aiq.config.endpoint import Endpoint
from aiq.errors import LedgerError
from aiq.ledger import delta
from aiq.ledger.commit import Workspace
from aiq.ledger.file_lock import locked
from aiq.ledger.private import tighten
from aiq.ledger.records import SERVED_ENTITIES_SCHEMA, SERVED_ENTITIES_TABLE

if TYPE_CHECKING:
    from deltalake import DeltaTable

_FILE = "served_entities.json"


def sync_entities(
    workspace: Workspace, endpoints: Iterable[Endpoint], *, created_by: str, now_s: float
) -> dict[str, int]:
    """Appends rows for the endpoints whose configuration is not the table's latest, and gives them a new version.

    The rows of endpoints whose files are gone get their `endpoint_delete_time`. Returns the configuration version (from
    1) by endpoint name. `now_s`: UTC seconds, for `change_time`. Several processes may call it at once. Raises
    LedgerError.
    """
    wanted = {endpoint.name: (endpoint, _digest(endpoint)) for endpoint in endpoints}
    path = workspace.table(SERVED_ENTITIES_TABLE)
    there = not isinstance(path, Path) or (path / "_delta_log").is_dir()
    known = _known(workspace.home) if there else {}
    gone = [name for name, (_, _, file) in known.items() if name not in wanted and _is_gone(file)]
    if not gone and all(
        name in known and known[name][0] == digest and known[name][2] == _file(endpoint)
        for name, (endpoint, digest) in wanted.items()
    ):
        return {name: known[name][1] for name in wanted}
    try:
        with locked(workspace.home / f"{_FILE}.lock"):
            return _sync(workspace, path, wanted, gone, created_by, now_s)
    except OSError as error:
        raise LedgerError(
            f"cannot write {workspace.home / _FILE}: {error}. Free space and check rights, or set AIQ_HOME or home=..."
        ) from error


def _sync(
    workspace: Workspace,
    path: delta.Location,
    wanted: dict[str, tuple[Endpoint, str]],
    gone: list[str],
    created_by: str,
    now_s: float,
) -> dict[str, int]:
    versions: dict[str, int] = {}
    changed: list[Endpoint] = []
    table = delta.open_table(path, SERVED_ENTITIES_TABLE)
    for name, (endpoint, digest) in wanted.items():
        versions[name], current = _recorded(table, name, digest)
        if not current:
            versions[name] += 1
            changed.append(endpoint)
    if changed:
        transactions = {}
        for endpoint in changed:
            transactions[_app(endpoint.name)] = versions[endpoint.name]
            transactions[_app(endpoint.name, wanted[endpoint.name][1])] = versions[endpoint.name]
        data = _rows(workspace, changed, versions, created_by, now_s)
        first = changed[0].name

        def missing(table: DeltaTable) -> pa.Table | None:
            # All rows come in one commit, so the first endpoint tells whether an earlier try reached the log.
            return None if _recorded(table, first, wanted[first][1]) == (versions[first], True) else data

        delta.append(path, SERVED_ENTITIES_TABLE, SERVED_ENTITIES_SCHEMA, transactions, missing)
        if workspace.is_home:
            tighten(Path(str(path)))
    known = _known(workspace.home) if table is not None else {}
    for name in gone:
        if table is not None and name in known and _is_gone(known[name][2]):
            _delete(path, name, now_s)
            del known[name]
    known.update({name: (digest, versions[name], _file(endpoint)) for name, (endpoint, digest) in wanted.items()})
    fresh = workspace.home / f"{_FILE}.{os.getpid()}"
    with open(os.open(fresh, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600), "w") as file:
        file.write(json.dumps(known))
    fresh.replace(workspace.home / _FILE)
    return versions


def _recorded(table: DeltaTable | None, name: str, digest: str) -> tuple[int, bool]:
    """The latest version of an endpoint in the table (0: none), and whether `digest` is its configuration."""
    if table is None:
        return 0, False
    version = table.transaction_version(_app(name)) or 0
    return version, version > 0 and table.transaction_version(_app(name, digest)) == version


def _delete(path: delta.Location, name: str, now_s: float) -> None:
    """Says in an endpoint's rows when it was deleted. One of its name that comes later has a version of its own."""
    table = delta.open_table(path, SERVED_ENTITIES_TABLE)
    version, _ = _recorded(table, name, "")
    if table is None or not version:
        return
    delta.update(
        table,
        SERVED_ENTITIES_TABLE,
        path,
        {"endpoint_delete_time": f"to_timestamp_micros({round(now_s * 1_000_000)})"},
        "endpoint_name = '{}' AND endpoint_delete_time IS NULL".format(name.replace("'", "''")),
        {_app(name): version + 1},
    )


def _is_gone(file: str) -> bool:
    """Whether an endpoint's file was removed. Where its folder is not there, it may be another machine's."""
    return bool(file) and os.path.isdir(os.path.dirname(file)) and not os.path.exists(file)


def _file(endpoint: Endpoint) -> str:
    return os.path.abspath(endpoint.file) if endpoint.file else ""


def _app(name: str, digest: str = "") -> str:
    return f"aiq-endpoint/{name}/{digest}"


def _digest(endpoint: Endpoint) -> str:
    parts = [endpoint.fingerprint, endpoint.id]
    for e in endpoint.entities:
        parts += [
            e.id,
            e.name,
            e.provider,
            e.model,
            e.entity_version or "",
            e.task,
            str(e.traffic_percentage),
        ]
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


def _rows(
    workspace: Workspace, endpoints: list[Endpoint], versions: dict[str, int], created_by: str, now_s: float
) -> pa.Table:
    rows: list[dict[str, Any]] = []
    for endpoint in endpoints:
        for entity in endpoint.entities:
            custom = entity.provider == "model-server"
            rows.append(
                {
                    "served_entity_id": entity.id,
                    "account_id": workspace.account_id,
                    "workspace_id": workspace.workspace_id,
                    "created_by": created_by,
                    "endpoint_name": endpoint.name,
                    "endpoint_id": endpoint.id,
                    "served_entity_name": entity.name,
                    "entity_type": "CUSTOM_MODEL" if custom else "EXTERNAL_MODEL",
                    "entity_name": entity.model,
                    "entity_version": entity.entity_version,
                    "endpoint_config_version": versions[endpoint.name],
                    "task": entity.task,
                    "external_model_config": None if custom else {"provider": entity.provider},
                    "change_time": round(now_s * 1_000_000),
                }
            )
    return pa.Table.from_pylist(rows, schema=SERVED_ENTITIES_SCHEMA)


def _known(home: Path) -> dict[str, tuple[str, int, str]]:
    """By endpoint: the digest of its configuration, its version, and the file it was read from."""
    try:
        known = json.loads((home / _FILE).read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(known, dict):
        return {}
    entries = {name: entry for name, entry in known.items() if isinstance(entry, list) and len(entry) in (2, 3)}
    return {name: (entry[0], entry[1], str(entry[2]) if len(entry) > 2 else "") for name, entry in entries.items()}
