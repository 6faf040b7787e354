"""The engines that the conformance suite runs on, each reduced to the few operations the suite needs.

A rule that holds on every engine is tested with `engine`; what only one engine can do has a file of its own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterator, Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol

import duckdb
import pyarrow as pa
import pytest

import aiq
from aiq import runtime
from aiq.engines.duckdb.dialect import expression_to_duckdb
from aiq.engines.duckdb.spark_values import translated
from aiq.errors import FunctionError, StatementError
from aiq.simulator.answers import choices
from aiq.simulator.exchange import VendorRequest
from aiq.simulator.process import SimulatorProcess
from aiq.sql import calls
from tests.conformance.gaps import gap_of

if TYPE_CHECKING:
    from aiq.gateway import Gateway
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


class RegisteredEngine(DuckDBEngine):
    """A DuckDB connection of somebody's own after `aiq.register`: there `ai_query` is a function like any other.

    Its statements are spelled for DuckDB here, as a session does it. DuckDB passes on only the words of our errors.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection, gateway: Gateway, simulator: SimulatorProcess) -> None:
        self._con, self._gateway, self._simulator = con, gateway, simulator
        self._seen = 0

    @property
    def session(self) -> Any:
        """What of a session such a connection has."""
        return SimpleNamespace(con=self._con, sql=lambda text: self._con.sql(_for_duckdb(self._con, text)))

    def sql(self, text: str, params: Any = None) -> list[tuple[Any, ...]]:
        try:
            found = self._con.execute(_for_duckdb(self._con, text), params)
            return found.fetchall() if found is not None and found.description else []
        except duckdb.Error as error:
            raise _our_own(error) from None
        finally:
            self._gateway.ledger.commit()


def _for_duckdb(con: duckdb.DuckDBPyConnection, text: str) -> str:
    """A statement in DuckDB's spelling."""
    if calls.has_backticks(calls.tokenize(text)):
        text = translated(con, text)

    def spelled(call: calls.Call) -> str:
        arguments = [
            f"{'' if name is None else f'{name} => '}{expression_to_duckdb(value, calls.tokenize(value))}"
            for name, value in call.arguments
        ]
        return f"ai_query({', '.join(arguments)})"

    return calls.rewrite_calls(text, spelled)


def _our_own(error: duckdb.Error) -> Exception:
    """Our error, made again of the words that DuckDB passes on."""
    found = re.search(
        r"executing the UDF: (FunctionError|StatementError): (?:\[([\w.]+)\] )?(.*?)(?: SQLSTATE: \w+)?$",
        str(error),
        re.S,
    )
    if found is None:
        return error
    kind, condition, words = found.groups()
    return FunctionError(condition, words) if kind == "FunctionError" else StatementError(words)


class SparkEngine:
    """`aiq.connect(spark)` on a SparkSession that all tests share; its tables are views of this test's rows."""

    def __init__(self, session: Any, simulator: SimulatorProcess) -> None:
        self.session, self._simulator = session, simulator
        self._seen = 0

    def load(self, table: str, **columns: Sequence[Any] | pa.Array) -> None:
        count = len(next(iter(columns.values())))
        rows = pa.table({"id": pa.array(range(count), pa.int32()), **columns})
        self.session.spark.createDataFrame(rows).createOrReplaceTempView(table)

    def sql(self, text: str, params: Any = None) -> list[tuple[Any, ...]]:
        return [tuple(map(_plain, row)) for row in self.session.sql(text, params).collect()]

    def requests(self) -> int:
        before, self._seen = self._seen, self._simulator.stats()["requests"]
        return self._seen - before

    def close(self) -> None:
        spark = self.session.spark
        views = {row.viewName for row in spark.sql("SHOW VIEWS").collect()}
        for _, name, _ in spark.sql("SHOW TABLES").collect():
            spark.sql(f"DROP {'VIEW' if name in views else 'TABLE'} {name}")
        self.session.close()


def _plain(value: Any) -> Any:
    """A value of Spark's as DuckDB gives it."""
    from pyspark.sql import Row

    if isinstance(value, Row):
        return {name: _plain(field) for name, field in value.asDict().items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What takes an engine runs on the `ENGINES` of its module, or those of its own mark."""
    if "engine" in metafunc.fixturenames:
        only = metafunc.definition.get_closest_marker("engines")
        engines = only.args if only is not None else getattr(metafunc.module, "ENGINES", ("duckdb",))
        metafunc.parametrize("engine", engines, indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of the tests of the function itself every fourth runs on Spark, where each takes a second.

    All do with AIQ_SPARK_ALL set; those of what is evaluated once always do.
    """
    if "AIQ_SPARK_ALL" in os.environ:
        return
    of_function = [item for item in items if item.path.name.startswith("test_ai_query_") and "[spark" in item.name]
    left_out = {id(item) for number, item in enumerate(of_function) if number % 4}
    config.hook.pytest_deselected(items=[item for item in items if id(item) in left_out])
    items[:] = [item for item in items if id(item) not in left_out]


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """What an engine cannot do (gaps.py) fails as it is said there, and nothing else is right."""
    callspec = getattr(pyfuncitem, "callspec", None)
    if callspec is None or "engine" not in callspec.params:
        return (yield)
    name, _, case = callspec.id.partition("-")
    gap = gap_of(name, pyfuncitem.originalname, case)
    if gap is None:
        return (yield)
    error: BaseException | None = None
    try:
        yield
    except (Exception, pytest.fail.Exception) as raised:
        error = raised
    assert error is not None, f"{name} can do this by now ({gap.reason}); take it out of gaps.py"
    if not re.search(gap.error, str(error), re.DOTALL):
        raise error
    assert gap.asks or pyfuncitem.funcargs["engine"].requests() == 0
    return True


@pytest.fixture
def engine(
    request: pytest.FixtureRequest, conf: ConfFolder, home: Path, simulator: SimulatorProcess
) -> Iterator[Engine]:
    """An engine whose session belongs to ann@example.com, a member of analysts."""
    who: dict[str, Any] = {"user": "ann@example.com", "groups": ["analysts"]}
    if request.param == "spark":
        on_spark = SparkEngine(
            aiq.connect(request.getfixturevalue("spark"), conf=conf.path, home=home, **who), simulator
        )
        yield on_spark
        on_spark.close()
        return
    if request.param == "registered":
        with duckdb.connect() as con:
            aiq.register(con, conf=conf.path, home=home, **who)
            (gateway,) = (each for each in runtime._gateways.values() if each.ledger.home == home)
            yield RegisteredEngine(con, gateway, simulator)
        return
    with aiq.connect(conf=conf.path, home=home, **who) as session:
        yield DuckDBEngine(session, simulator)


@pytest.fixture
def session(engine: Engine) -> aiq.Session:
    """The engine's session, for what is not SQL."""
    return engine.session


@cache
def simulated_answer(prompt: str) -> str:
    """What the simulator says to this prompt on the endpoint `chat`."""
    asked = VendorRequest(
        "chat", "gpt-4o-mini", {}, messages=[{"role": "user", "content": prompt}], sampling=(None, None, None)
    )
    return choices(asked, seed=0, label=True)[0].text or ""


class Beside:
    """An engine beside plain DuckDB, where a pure function stands in for the call: same tables, same statements.

    `ai_query(endpoint, request)` is all that the plain DuckDB knows of our functions.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine, self.plain = engine, duckdb.connect()
        self.evaluated: set[str] = set()
        """The prompts that the plain function was called for."""
        evaluated = self.evaluated  # not self: a function that holds its connection keeps both alive for ever

        def answers(_: pa.ChunkedArray, prompts: pa.ChunkedArray) -> pa.Array:
            texts = prompts.to_pylist()
            evaluated.update(text for text in texts if text is not None)
            return pa.array([None if text is None else simulated_answer(text) for text in texts], pa.string())

        self.plain.create_function(
            "ai_query", answers, ["VARCHAR", "VARCHAR"], "VARCHAR", type="arrow", null_handling="special"
        )

    def load(self, table: str, **columns: Sequence[Any]) -> None:
        """A table of these columns, with a number `id` from 0 in front, on both."""
        self.engine.load(table, **columns)
        rows = pa.table({"id": pa.array(range(len(next(iter(columns.values())))), pa.int32()), **columns})
        self.plain.register("__rows", rows)
        self.plain.execute(f"CREATE OR REPLACE TABLE {table} AS SELECT * FROM __rows")
        self.plain.unregister("__rows")

    def check(self, statements: str, most: int, least: int | None = None) -> None:
        """Statements (split at `;`) have plain DuckDB's rows, and cost as many requests as their result needs.

        That is exactly `most`; or where DuckDB's own rows leave a choice, from `least` to `most`. Rows are compared
        in order where the last statement ends in ORDER BY.
        """
        *before, last = statements.split(";")
        for statement in before:
            self.plain.execute(statement)
            self.engine.sql(statement)
        expected = self.plain.execute(last).fetchall()
        found = self.engine.sql(last)
        asked = self.engine.requests()
        if "ORDER BY" not in last.rpartition(")")[2]:
            expected, found = sorted(expected, key=repr), sorted(found, key=repr)
        assert found == expected
        assert asked <= most, f"asks {asked} requests where {most} do"
        least = most if least is None else least
        assert asked >= least, f"asks only {asked} requests where {least} do"


@pytest.fixture
def beside(engine: Engine) -> Beside:
    """The engine beside plain DuckDB with a pure function of the same answers."""
    return Beside(engine)


@pytest.fixture
def items(beside: Beside) -> Beside:
    """`items`: 24 rows in 4 groups with distinct questions (8 are answered yes, 12 good).

    `name` has 6 values, `note` is NULL in 5 rows and distinct in 19.
    """
    ids = range(24)
    beside.load(
        "items",
        grp=[i % 4 for i in ids],
        name=[f"thing {i % 6}" for i in ids],
        note=[None if i % 5 == 0 else f"note {i}" for i in ids],
        ask=[f"Item {i}: {'no' if i % 3 else 'yes'}.\nAnswer with exactly one of: yes, no" for i in ids],
        check_it=[f"Look at {i}: {'bad' if i % 2 else 'good'}.\nAnswer with exactly one of: good, bad" for i in ids],
    )
    return beside
