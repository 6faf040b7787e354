"""The tables of a home folder: names, files, upkeep."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from pathlib import Path

import duckdb
import pytest

from aiq.errors import LedgerError
from aiq.ledger.ledger import Ledger
from aiq.ledger.records import CALLS_TABLE, PAYLOAD_SCHEMA, USAGE_TABLE, Outcome
from aiq.ledger.tables import Tables

PAYLOADS = "main.ai.chat_payload"


@pytest.fixture
def tables(ledger: Ledger, outcome: Callable[..., Outcome]) -> Tables:
    for request_id in ("a", "b"):
        ledger.record(outcome(request_id))
        ledger.commit()
    return Tables(ledger.home)


def test_a_new_home_has_no_tables(tmp_path: Path) -> None:
    assert Tables(tmp_path).names() == []


def test_tables_are_named_by_catalog_schema_and_table(tables: Tables) -> None:
    assert tables.names() == [PAYLOADS, CALLS_TABLE, USAGE_TABLE]


def test_an_unknown_table_gets_the_nearest_name(tables: Tables) -> None:
    with pytest.raises(LedgerError, match=r"did you mean system\.aiq\.calls"):
        tables.path("system.aiq.call")


def test_duckdb_reads_the_listed_files(tables: Tables) -> None:
    files = tables.parquet_files(PAYLOADS)
    assert files is not None
    found = duckdb.read_parquet(files).project("databricks_request_id").order("1").fetchall()
    assert found == [("a",), ("b",)]


def test_a_payload_table_has_the_columns_of_databricks_in_order(tables: Tables) -> None:
    assert tables.schema(PAYLOADS).names == PAYLOAD_SCHEMA.names


def test_info_counts_rows_and_files(tables: Tables) -> None:
    info = next(info for info in tables.info() if info.name == CALLS_TABLE)
    assert (info.rows, info.files, info.version) == (2, 2, 2)
    assert info.bytes > 0
    assert info.committed is not None and info.committed.tzinfo is UTC


def test_optimize_makes_one_file_of_many(tables: Tables) -> None:
    tables.optimize(CALLS_TABLE)
    files = tables.parquet_files(CALLS_TABLE)
    assert files is not None and len(files) == 1
    assert tables.to_arrow(CALLS_TABLE).num_rows == 2


def test_a_commit_after_optimize_and_vacuum_adds_no_row_twice(
    tables: Tables, ledger: Ledger, outcome: Callable[..., Outcome]
) -> None:
    tables.optimize(CALLS_TABLE)
    tables.vacuum(CALLS_TABLE, 0, dry_run=False)
    ledger.record(outcome("c"))
    ledger.commit()
    assert sorted(tables.to_arrow(CALLS_TABLE).column("request_id").to_pylist()) == ["a", "b", "c"]


def test_a_dry_vacuum_deletes_nothing(tables: Tables) -> None:
    tables.optimize(CALLS_TABLE)
    assert len(tables.vacuum(CALLS_TABLE, 0, dry_run=True)) == 2
    assert len(list(tables.path(CALLS_TABLE).glob("*.parquet"))) == 3


def test_vacuum_keeps_what_is_within_the_retention(tables: Tables) -> None:
    tables.optimize(CALLS_TABLE)
    assert tables.vacuum(CALLS_TABLE, dry_run=False) == []


def test_a_table_with_deletion_vectors_is_not_read_by_its_files(tables: Tables) -> None:
    from deltalake import DeltaTable, TableFeatures

    DeltaTable(tables.path(PAYLOADS)).alter.add_feature(
        TableFeatures.DeletionVectors, allow_protocol_versions_increase=True
    )
    assert tables.parquet_files(PAYLOADS) is None
    assert tables.to_arrow(PAYLOADS).num_rows == 2


def test_a_damaged_table_is_named(tables: Tables) -> None:
    (tables.path(CALLS_TABLE) / "_delta_log" / "00000000000000000002.json").write_text("{ torn")
    with pytest.raises(LedgerError, match=CALLS_TABLE):
        tables.info()
