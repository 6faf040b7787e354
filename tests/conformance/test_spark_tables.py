"""The ledger's Delta tables in Spark: written by either engine, read by both."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pyspark.sql import SparkSession
from pyspark.sql.pandas.types import from_arrow_schema

import aiq
from aiq.alerts.files import read_alerts
from aiq.cli.report import opened
from aiq.engines.spark.tables import with_ledger_tables
from aiq.errors import StatementError
from aiq.ledger.records import PAYLOAD_SCHEMA, SYSTEM_TABLES
from aiq.ledger.tables import Tables
from aiq.runtime import open_gateway
from aiq.shipped_sql import read_sql, shipped_folder, sql_folder
from aiq.simulator.process import SimulatorProcess
from aiq.sql import calls
from tests.conftest import ConfFolder
from tests.made_ledger import made_ledger

Rows = list[dict[str, Any]]


@pytest.fixture
def registered(spark: SparkSession, conf: ConfFolder, home: Path, simulator: SimulatorProcess) -> SparkSession:
    aiq.register(spark, conf=conf.path, home=home, user="ann@example.com")
    return spark


def test_both_engines_write_the_tables_that_both_read(
    registered: SparkSession, conf: ConfFolder, home: Path, simulator: SimulatorProcess
) -> None:
    registered.sql("SELECT ai_query('chat', concat('Spark ', id)) FROM range(0, 6, 1, 2)").collect()
    with aiq.connect(conf=conf.path, home=home, user="bob@example.com") as session:
        session.sql("SELECT ai_query('chat', 'DuckDB ' || i) FROM range(5) t(i)")
        count = "SELECT requester, count(*) AS n FROM system.aiq.calls GROUP BY requester ORDER BY requester"
        expected = [("ann@example.com", 6), ("bob@example.com", 5)]
        relation = session.sql(count)
        assert relation is not None and relation.fetchall() == expected
    gateway = open_gateway(conf.path, home)
    assert [tuple(row) for row in registered.sql(with_ledger_tables(registered, gateway, count)).collect()] == expected
    for name in ("system.serving.endpoint_usage", "main.ai.chat_payload"):
        text = with_ledger_tables(registered, gateway, f"SELECT count(*) FROM {name}")
        assert registered.sql(text).collect()[0][0] == 11
    usage = "SELECT requester, count(*) AS n FROM system.ai_gateway.usage GROUP BY requester ORDER BY requester"
    assert [tuple(row) for row in registered.sql(with_ledger_tables(registered, gateway, usage)).collect()] == expected
    entities = with_ledger_tables(registered, gateway, "SELECT endpoint_name FROM system.serving.served_entities")
    assert {row[0] for row in registered.sql(entities).collect()} >= {"chat", "emb"}


def test_views_show_what_was_committed_last(registered: SparkSession) -> None:
    views = aiq.ledger_views(registered)
    assert {"system_aiq_calls", "system_serving_endpoint_usage", "main_ai_chat_payload"} <= set(views)
    assert registered.table("system_aiq_calls").count() == 0
    registered.sql("SELECT ai_query('chat', 'One') FROM range(1)").collect()
    assert registered.table("system_aiq_calls").where("status = 'ok'").count() == 1


def test_without_delta_the_data_files_are_read(
    registered: SparkSession, conf: ConfFolder, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiq.engines.spark.tables.has_delta", lambda spark: False)
    registered.sql("SELECT ai_query('chat', 'One') FROM range(1)").collect()
    text = with_ledger_tables(registered, open_gateway(conf.path, home), "SELECT requester FROM system.aiq.calls")
    assert [row[0] for row in registered.sql(text).collect()] == ["ann@example.com"]


def test_a_name_that_no_table_has_is_told_with_the_nearest(
    registered: SparkSession, conf: ConfFolder, home: Path
) -> None:
    with pytest.raises(StatementError, match=r"system\.aiq\.calls"):
        with_ledger_tables(registered, open_gateway(conf.path, home), "SELECT * FROM system.aiq.cals")


def test_many_small_files_become_one(registered: SparkSession, home: Path, ledger_rows: Callable[..., Rows]) -> None:
    for number in range(3):
        registered.sql(f"SELECT ai_query('chat', 'Number {number}') FROM range(1)").collect()
    before = next(each for each in Tables(home).info() if each.name == "system.aiq.calls")
    Tables(home).optimize("system.aiq.calls")
    after = next(each for each in Tables(home).info() if each.name == "system.aiq.calls")
    assert (before.files, after.files) == (3, 1)
    aiq.ledger_views(registered)
    assert registered.table("system_aiq_calls").count() == 3


@pytest.mark.timeout(300)
def test_every_shipped_analysis_has_the_same_rows_on_both_engines(spark: SparkSession, tmp_path: Path) -> None:
    """Over rows in memory: how Spark finds the tables is tested above, and takes longer than the analyses."""
    made_ledger(tmp_path, datetime.now(UTC), requests=80)
    con, views = duckdb.connect(), {}
    con.execute("SET TimeZone = 'UTC'")
    for name, schema in (SYSTEM_TABLES | {"main.aiq.chat_payload": PAYLOAD_SCHEMA}).items():
        rows = Tables(tmp_path).to_arrow(name) if name in Tables(tmp_path).names() else schema.empty_table()
        views[name] = f"shipped_{name.replace('.', '_')}"
        con.register(views[name], rows)
        frame = spark.createDataFrame(rows.to_pylist(maps_as_pydicts="strict"), from_arrow_schema(schema))
        frame.coalesce(1).createOrReplaceTempView(views[name])
    for name in sorted(path.stem for path in sql_folder().glob("*.sql")):
        text = read_sql(name)
        found = calls.find_tables(calls.tokenize(text), views)
        text = calls.replace(text, [(start, end, views[table]) for start, end, table in found])
        on_spark, relation = spark.sql(text), con.sql(text)
        assert on_spark.columns == relation.columns, name
        expected = sorted(map(comparable, relation.fetchall()))  # they order NULLs of equal rows differently
        assert sorted(map(comparable, on_spark.collect())) == expected, name
    (tmp_path / "conf").mkdir()
    with opened(tmp_path / "conf", tmp_path) as session:
        for alert in read_alerts(shipped_folder("alerts")).alerts:
            found = calls.find_tables(calls.tokenize(alert.query), views)
            text = calls.replace(alert.query, [(start, end, views[table]) for start, end, table in found])
            rows = session.sql(alert.query, dialect="databricks")
            assert rows is not None
            expected = sorted(map(comparable, rows.fetchall()))
            assert sorted(map(comparable, spark.sql(text).collect())) == expected, alert.id


def comparable(row: tuple[Any, ...]) -> list[str]:
    """A row without the zone of its times, and with numbers as such, to four digits after the point."""
    plain = [value.astimezone(UTC) if isinstance(value, datetime) else value for value in row]
    return [str(round(float(value), 4) if isinstance(value, int | float | Decimal) else value) for value in plain]
