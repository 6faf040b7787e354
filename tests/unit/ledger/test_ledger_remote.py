"""Tables outside of the home: in another folder, or where only a URI leads, as in an object store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiq.config.connections import Secret
from aiq.config.endpoint import Settings
from aiq.errors import LedgerError
from aiq.ledger.delta import Location, Remote, located, root_of
from aiq.ledger.ledger import Ledger
from aiq.ledger.tables import Tables

CALLS = "system.aiq.calls"


@pytest.fixture(params=["folder", "uri"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    lake = tmp_path / "lake"
    return lake if request.param == "folder" else Remote(f"file://{lake}")


def test_rows_arrive_once_and_are_read_there(root: Location, tmp_path: Path, outcome: Callable[..., Any]) -> None:
    home = tmp_path / "home"
    ledger = Ledger.open(home, root=root)
    ledger.record(outcome(request_id="r0"))
    ledger.hand_over()
    ledger.record(outcome(request_id="r1"))
    ledger.close()
    tables = Tables(home, root)
    assert CALLS in tables.names()
    assert sorted(tables.to_arrow(CALLS)["request_id"].to_pylist()) == ["r0", "r1"]
    tables.optimize(CALLS)
    assert next(each for each in tables.info() if each.name == CALLS).files == 1
    assert not (home / "tables").exists()


def test_a_dead_process_spool_is_committed_there(root: Location, tmp_path: Path, outcome: Callable[..., Any]) -> None:
    ledger = Ledger.open(tmp_path / "home", root=root)
    ledger.record(outcome(request_id="r0"))
    ledger._spool.close()  # as if it had been killed
    ledger._closed = True
    Ledger.open(tmp_path / "home", root=root).close()
    assert Tables(tmp_path / "home", root).to_arrow(CALLS)["request_id"].to_pylist() == ["r0"]


def test_a_table_that_is_not_there_is_told(root: Location, tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"there is no table a\.b\.c"):
        Tables(tmp_path / "home", root).path("a.b.c")


def test_settings_say_where_the_tables_are(tmp_path: Path) -> None:
    assert root_of(tmp_path, Settings()) == tmp_path / "tables"
    assert root_of(tmp_path, Settings(tables="/lake")) == Path("/lake")
    options: dict[str, str | Secret] = {"AWS_REGION": "eu-central-1", "AWS_SECRET_ACCESS_KEY": Secret("s3cr3t", "test")}
    root = root_of(tmp_path, Settings(tables="s3://bucket/aiq", storage_options=options))
    assert isinstance(root, Remote) and root.revealed()["AWS_SECRET_ACCESS_KEY"] == "s3cr3t"
    assert "s3cr3t" not in repr(root)
    assert str(located(root, CALLS)) == "s3://bucket/aiq/system/aiq/calls"
