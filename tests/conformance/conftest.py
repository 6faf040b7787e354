"""The engines that the conformance suite runs on, each reduced to the few operations the suite needs.

A rule that holds on every engine is tested with `engine`; what only one engine can do has a file of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
import pytest

import aiq
from aiq.simulator.process import SimulatorProcess

if TYPE_CHECKING:
    from tests.conftest import ConfFolder


class Engine(Protocol):
    """One engine under test. SQL is in the words that all engines take: Databricks' functions, `=>`, `||`."""

    session: aiq.Session

    def load(self, table: str, **columns: Sequence[Any] | pa.Array) -> None:
        """A table of these columns; a number `id` from 0 is added in front."""
        ...

    def sql(self, text: str, params: Any = None) -> list[tuple[Any, ...]]:
        """The rows, as Python values: structs are dicts, arrays are lists."""
        ...

    def requests(self) -> int:
        """Requests that the provider has seen since the last time this was asked."""
        ...


class DuckDBEngine:
    """`aiq.connect()` on a DuckDB database in memory."""

    def __init__(self, session: aiq.Session, simulator: SimulatorProcess) -> None:
        self.session, self._simulator = session, simulator
        self._seen = 0

    def load(self, table: str, **columns: Sequence[Any] | pa.Array) -> None:
        count = len(next(iter(columns.values())))
        rows = pa.table({"id": pa.array(range(count), pa.int32()), **columns})
        self.session.con.register("__rows", rows)
        self.session.con.execute(f"CREATE OR REPLACE TABLE {table} AS SELECT * FROM __rows")
        self.session.con.unregister("__rows")

    def sql(self, text: str, params: Any = None) -> list[tuple[Any, ...]]:
        result = self.session.sql(text, params)
        return [] if result is None else result.fetchall()

    def requests(self) -> int:
        before, self._seen = self._seen, self._simulator.stats()["requests"]
        return self._seen - before


@pytest.fixture(params=["duckdb"])
def engine(
    request: pytest.FixtureRequest, conf: ConfFolder, home: Path, simulator: SimulatorProcess
) -> Iterator[Engine]:
    """An engine whose session belongs to ann@example.com, a member of analysts."""
    assert request.param == "duckdb"
    with aiq.connect(conf=conf.path, home=home, user="ann@example.com", groups=["analysts"]) as session:
        yield DuckDBEngine(session, simulator)


@pytest.fixture
def session(engine: Engine) -> aiq.Session:
    """The engine's session, for what is not SQL."""
    return engine.session
