"""The ledger's Delta tables in Spark SQL: by their three-part names in `session.sql`, and as temporary views.

Read through delta-spark where the session has it; else the data files of the moment, which need nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_schema

from aiq.config.nearest import nearest
from aiq.engines.spark.register import registration
from aiq.errors import LedgerError, StatementError
from aiq.gateway import Gateway
from aiq.ledger.gateway_usage import GATEWAY_USAGE_VIEW, gateway_usage_query
from aiq.ledger.records import CALLS_TABLE, PAYLOAD_SCHEMA, SYSTEM_TABLES
from aiq.ledger.tables import Tables
from aiq.sql import calls

_CATALOG = "spark.sql.catalog.spark_catalog"


def ledger_views(spark: SparkSession) -> list[str]:
    """Makes a temporary view of each table of the ledger, its name with `_` for the dots, and returns their names.

    `system.aiq.calls` is `system_aiq_calls`. With Delta in the session a view shows what was committed last; without
    it, what was there when this was called. Raises LedgerError.
    """
    gateway, _ = registration(spark)
    tables = gateway.ledger.tables
    gateway.ledger.commit()
    names = []
    for name in sorted({*_known(gateway), *tables.names(_known(gateway)), GATEWAY_USAGE_VIEW}):
        view = name.replace(".", "_").replace("-", "_")
        _read(spark, gateway, tables, name).createOrReplaceTempView(f"`{view}`")
        names.append(view)
    return names


def with_ledger_tables(spark: SparkSession, gateway: Gateway, text: str) -> str:
    """A statement in which the ledger's tables have names that Spark finds. Commits what was recorded so far.

    Raises StatementError for a name in the ledger's schemas that no table has.
    """
    tables = gateway.ledger.tables
    names = {*_known(gateway), *tables.names(_known(gateway)), GATEWAY_USAGE_VIEW}
    tokens = calls.tokenize(text, "databricks")
    if unknown := calls.find_unknown_tables(tokens, names):
        raise StatementError(f"there is no table {unknown[0]}.{nearest(unknown[0], names)}")
    found = calls.find_tables(tokens, names)
    if not found:
        return text
    gateway.ledger.commit()
    replacements = {name: _spelled(spark, gateway, tables, name) for name in {name for _, _, name in found}}
    return calls.replace(text, [(start, end, replacements[name]) for start, end, name in found])


def _spelled(spark: SparkSession, gateway: Gateway, tables: Tables, name: str) -> str:
    if has_delta(spark) and name != GATEWAY_USAGE_VIEW:
        return f"delta.`{_path(gateway, tables, name)}`"
    view = f"__aiq_{name.replace('.', '_')}"
    _read(spark, gateway, tables, name).createOrReplaceTempView(f"`{view}`")
    return f"`{view}`"


def _read(spark: SparkSession, gateway: Gateway, tables: Tables, name: str) -> DataFrame:
    if name == GATEWAY_USAGE_VIEW:
        return spark.sql(gateway_usage_query(_spelled(spark, gateway, tables, CALLS_TABLE)))
    path = _path(gateway, tables, name)
    if has_delta(spark):
        return spark.read.format("delta").load(path)
    files = tables.parquet_files(name)
    if files is None:
        raise LedgerError(
            f"table {name} uses features of Delta that this SparkSession does not have. Start it with "
            "delta.configure_spark_with_delta_pip, spark.sql.extensions=io.delta.sql.DeltaSparkSessionExtension and "
            f"{_CATALOG}=org.apache.spark.sql.delta.catalog.DeltaCatalog"
        )
    if not files:
        return spark.createDataFrame([], from_arrow_schema(tables.schema(name)))
    return spark.read.option("mergeSchema", "true").parquet(*files)


def _path(gateway: Gateway, tables: Tables, name: str) -> str:
    """Where a table lies, which is made if nothing was recorded in it yet."""
    if name not in tables.names([name]):
        tables.create(name, SYSTEM_TABLES.get(name, PAYLOAD_SCHEMA))
    path = str(tables.path(name))
    return f"s3a{path[2:]}" if path.startswith("s3:") else path  # Hadoop's name for it


def has_delta(spark: SparkSession) -> bool:
    """Whether a session reads and writes Delta tables."""
    return "delta" in (spark.conf.get(_CATALOG, None) or "").lower()


def _known(gateway: Gateway) -> Iterable[str]:
    payloads = {e.inference_table for e in gateway.config.endpoints.values() if e.inference_table}
    return {*payloads, *SYSTEM_TABLES}
